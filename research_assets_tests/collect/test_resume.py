"""Interrupted runs: open journals are resumed or ended, and no day is complete without all its rows."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from threading import Event
from typing import Any
from unittest.mock import Mock

import httpx
import orjson
import pytest

from research_assets.collect import publish
from research_assets.collect.run import collect
from research_assets.collect.search import run
from research_assets.collect.types import CollectionTask
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.storage.captures import Journal, list_open_journals
from research_assets.storage.locks import PartitionBusy, lock_open_journals
from research_assets.study.spec import CommentRule, UserRule
from research_assets_tests.collect.harness import (
    QUERY,
    START,
    CollectorHarness,
    TamperingTransport,
    days,
    error_response,
    study,
)
from research_assets_tests.collect.test_lists import garden_config, this_week


def dense(**knobs: object) -> SandboxConfig:
    return SandboxConfig(**{"fixed_volume": 250, "profile": "clean"} | knobs)  # type: ignore[arg-type]


def open_journals(harness: CollectorHarness, entity: str = "videos") -> int:
    return len(list_open_journals(harness.settings.captures, entity, "garden"))


class SimulatedKill(BaseException):
    """Stand-in for the end of a process."""


async def collect_until_killed(
    harness: CollectorHarness, monkeypatch: pytest.MonkeyPatch, partitions: Sequence[date], event: str, number: int
) -> None:
    """Collect days in a run that ends before the n-th event of a kind is written."""
    append, count = Journal.append, 0

    def counted(self: Journal, kind: str, fields: Mapping[str, Any], answer: bytes | None = None) -> None:
        nonlocal count
        count += kind == event
        if kind == event and count == number:
            raise SimulatedKill
        append(self, kind, fields, answer)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", counted)
        with pytest.raises(SimulatedKill):
            await harness.collect("videos", partitions)


@pytest.mark.parametrize("attempt", [1, 2, 4])
async def test_run_killed_between_attempts_is_finished_without_a_request(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, attempt: int
) -> None:
    harness = CollectorHarness(settings, dense(fixed_volume=20))
    await collect_until_killed(harness, monkeypatch, days(4), "unit", attempt)
    before = harness.requests_sent
    finished, _ = await harness.collect("videos", days(4))
    assert harness.requests_sent == before
    assert [finished[day].state for day in days(4)] == ["complete"] * 4
    assert harness.sql("SELECT count(*), count(DISTINCT unit), sum(requests) FROM {coverage}") == [(4, 4, 1.0)]
    assert open_journals(harness) == 0


async def test_search_that_another_run_ends_is_not_sent_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = CollectorHarness(settings, dense())
    await collect_until_killed(harness, monkeypatch, days(1), "page", 2)
    before = harness.requests_sent
    (path,) = list_open_journals(settings.captures, "videos", "garden")
    with Journal.resume(path), pytest.raises(PartitionBusy, match=f"{START}.*{path}"):
        await harness.collect("videos", days(2))
    assert harness.requests_sent == before
    finished, _ = await harness.collect("videos", days(2))
    assert [result.state for result in finished.values()] == ["complete"] * 2
    # The killed run had sent one request whose page was not written.
    assert harness.requests_sent == before + 2 + 3
    assert len(harness.ids()) == len(set(harness.ids())) == 2 * 250


async def test_run_waits_for_another_one_that_looks_through_the_journals_of_all_days(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = CollectorHarness(settings, dense())
    await collect_until_killed(harness, monkeypatch, days(1), "page", 2)
    before, waits = harness.requests_sent, Event()
    (path,) = list_open_journals(settings.captures, "videos", "garden")

    @contextmanager
    def note_and_lock(*arguments: Any) -> Iterator[None]:
        waits.set()
        with lock_open_journals(*arguments):
            yield

    with ThreadPoolExecutor(1) as other:
        with lock_open_journals(settings.state, "garden", "videos"), Journal.resume(path):
            monkeypatch.setattr("research_assets.collect.search.run.lock_open_journals", note_and_lock)
            second = other.submit(asyncio.run, harness.collect("videos", days(1)))
            assert waits.wait(60)
        finished, _ = second.result()
    assert finished[START].state == "complete"
    assert harness.requests_sent == before + 2


async def test_search_of_a_killed_run_that_a_run_of_other_days_finds_is_published_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = CollectorHarness(settings, dense(fixed_volume=20))
    await collect_until_killed(harness, monkeypatch, days(2), "unit", 1)
    before = harness.requests_sent

    @contextmanager
    def collect_another_day_and_lock(*arguments: Any) -> Iterator[None]:
        monkeypatch.setattr(run, "lock_open_journals", lock_open_journals)
        with ThreadPoolExecutor(1) as other:
            other.submit(asyncio.run, harness.collect("videos", [START + timedelta(days=5)])).result()
        with lock_open_journals(*arguments):
            yield

    # Between the look of a run at the status of its days and its look at the journals.
    monkeypatch.setattr(run, "lock_open_journals", collect_another_day_and_lock)
    finished, _ = await harness.collect("videos", days(2))
    assert [result.state for result in finished.values()] == ["complete"] * 2
    assert harness.requests_sent == before + 1
    assert len(harness.ids()) == len(set(harness.ids())) == 3 * 20
    assert open_journals(harness) == 0


@pytest.mark.parametrize("partitions", [days(2)[:1], [START + timedelta(days=5)]])
async def test_ended_search_of_a_killed_run_is_published_by_the_next_run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, partitions: list[date]
) -> None:
    harness = CollectorHarness(settings, dense(fixed_volume=20))
    await collect_until_killed(harness, monkeypatch, days(2), "unit", 1)
    await harness.collect("videos", partitions)
    assert open_journals(harness) == 0
    before = harness.requests_sent
    finished, _ = await harness.collect("videos", days(2))
    assert [result.was_complete for result in finished.values()] == [True, True]
    assert harness.requests_sent == before


async def test_dead_day_evaluated_before_a_crash_costs_no_request(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = CollectorHarness(settings, dense(fixed_volume=20, dead_days=frozenset({START})))
    await harness.collect("videos", days(3)[1:])
    with monkeypatch.context() as patch:
        patch.setattr("research_assets.collect.publish.raw_writer.write_capture", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await harness.collect("videos", days(3))
    before = harness.requests_sent
    finished, _ = await harness.collect("videos", days(3))
    assert finished[START].state == "quarantined"
    assert harness.requests_sent == before


async def test_window_that_spans_a_complete_day_is_resumed(settings: Settings) -> None:
    harness = CollectorHarness(settings, dense(fixed_volume=5, research_cap=2))
    await harness.collect("videos", [START + timedelta(days=1)], page_size=10)
    _, pause = await harness.collect("videos", days(3), page_size=10)
    assert pause is not None
    harness.clock.moment = pause.retry_at
    finished, _ = await harness.collect("videos", days(3), page_size=10)
    assert {f.state for f in finished.values()} == {"complete"}
    assert harness.app.quota.pools["research"].day(harness.clock.now()).used == 1
    assert open_journals(harness) == 0


@pytest.mark.parametrize("page", [1, 2])
async def test_no_window_spans_the_days_of_a_resumed_window(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    harness = CollectorHarness(settings, dense(fixed_volume=50))
    await collect_until_killed(harness, monkeypatch, days(14)[5:9], "page", page)
    assert open_journals(harness) == 1
    before = harness.requests_sent
    finished, _ = await harness.collect("videos", days(14))
    assert {finished[day].state for day in days(14)} == {"complete"}
    assert harness.requests_sent - before == 3 + (3 - page) + 3
    assert harness.sql("SELECT count(*), count(DISTINCT id) FROM {videos}") == [(700, 700)]


@pytest.mark.parametrize(("first", "requests", "open_after"), [(12, 0, 1), (11, 0, 1), (9, 8, 0), (0, 24, 0)])
async def test_open_window_with_some_missing_days_takes_the_cheapest_option(
    settings: Settings, first: int, requests: int, open_after: int
) -> None:
    harness = CollectorHarness(settings, dense(research_cap=17))
    _, pause = await harness.collect("videos", days(14), page_size=100)
    assert pause is not None
    harness.app.quota.pools["research"].cap = 1000
    harness.clock.moment = pause.retry_at
    partitions = days(14)[first:] if first != 12 else [days(14)[12]]
    finished, pause = await harness.collect("videos", partitions)
    assert pause is None
    assert {finished[day].state for day in partitions} == {"complete"}
    assert harness.app.quota.pools["research"].day(harness.clock.now()).used <= requests
    assert open_journals(harness) == open_after


async def test_no_window_spans_a_quarantined_day(settings: Settings) -> None:
    harness = CollectorHarness(settings, dense(fixed_volume=3, dead_days=frozenset({START + timedelta(days=15)})))
    await harness.collect("videos", days(31)[13:18])
    before = harness.requests_sent
    finished, _ = await harness.collect("videos", days(31))
    assert harness.requests_sent - before == 2
    assert [f.state for f in finished.values()].count("complete") == 30


@pytest.mark.parametrize("changes", [{"query": {"not": QUERY["and"]}}, {"fields": {"videos": ("id", "create_time")}}])
async def test_pages_of_another_query_complete_no_day(settings: Settings, changes: dict[str, Any]) -> None:
    harness = CollectorHarness(settings, dense(research_cap=12))
    _, pause = await harness.collect("videos", days(14))
    assert pause is not None
    before = {unit for (unit,) in harness.sql("SELECT unit FROM {coverage} WHERE state = 'complete'")}
    harness.clock.moment = pause.retry_at
    await harness.collect("videos", days(1), study(**changes))
    assert open_journals(harness) == 0
    after = {unit for (unit,) in harness.sql("SELECT unit FROM {coverage} WHERE state = 'complete'")}
    assert after - before == {START.isoformat()}


async def test_interrupted_recollection_resumes_within_two_days(settings: Settings) -> None:
    harness = CollectorHarness(settings, dense(research_cap=13))
    await harness.collect("videos", days(4))
    _, pause = await harness.collect("videos", days(4), recollect=True)
    assert pause is not None
    harness.clock.moment = pause.retry_at
    finished, _ = await harness.collect("videos", days(4))
    assert all(f.was_complete for f in finished.values())
    assert open_journals(harness) == 1, "a run without recollect resumes no re-collection"
    finished, pause = await harness.collect("videos", days(4), recollect=True)
    assert pause is None
    assert harness.app.quota.pools["research"].day(harness.clock.now()).used == 7
    assert open_journals(harness) == 0
    assert harness.sql("SELECT count(*), count(DISTINCT id) FROM {videos}") == [(2000, 1000)]


async def test_recollection_interrupted_long_ago_starts_from_scratch(settings: Settings) -> None:
    harness = CollectorHarness(settings, dense(research_cap=13))
    await harness.collect("videos", days(4))
    await harness.collect("videos", days(4), recollect=True)
    harness.clock.advance(days=5)
    _, pause = await harness.collect("videos", days(4), recollect=True)
    assert pause is None
    assert harness.app.quota.pools["research"].day(harness.clock.now()).used == 10
    assert open_journals(harness) == 0
    assert len(harness.ids()) == 1000 + 300 + 1000, "the pages of the first attempt are stored too"


async def test_period_that_ended_in_a_pause_keeps_its_rows(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig(follow_cap=3))
    _, pause = await harness.collect("followers", [this_week(harness)], garden_config())
    assert pause is not None
    assert pause.pool == "follow"
    rows = harness.sql("SELECT count(*) FROM {coverage}")
    assert rows[0][0] > 0
    harness.clock.advance(days=7)
    await harness.collect("followers", [this_week(harness)], garden_config())
    assert open_journals(harness, "followers") == 1
    periods = {row[0] for row in harness.sql("SELECT DISTINCT date_trunc('week', observed_at)::DATE FROM {followers}")}
    assert this_week(harness) - timedelta(days=7) in periods
    assert harness.sql("SELECT count(*) FROM {coverage} WHERE state = 'partial' AND reason LIKE 'The period ended%'")


async def test_caller_that_stops_iterating_leaves_nothing_locked(settings: Settings) -> None:
    harness = CollectorHarness(settings, dense())
    context = harness.tools()
    async with context.client:
        results = collect(CollectionTask(study(), "videos", days(90)), context)
        async for _ in results:
            break
        await results.aclose()  # type: ignore[attr-defined]
    finished, _ = await harness.collect("videos", days(90))
    assert {f.state for f in finished.values()} == {"complete"}
    assert len(set(harness.ids())) == 90 * 250


async def test_cancelled_caller_waits_for_the_publication(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started, may_end = Event(), Event()

    def publish_slowly(*_: object) -> None:
        started.set()
        assert may_end.wait(60)

    monkeypatch.setattr(publish, "publish_capture", publish_slowly)
    caller = asyncio.create_task(publish.publish_in_background(tmp_path, Mock(spec=Journal)))
    await asyncio.to_thread(started.wait, 60)
    caller.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not caller.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_resumed_run_collects_the_replies_of_a_paused_recollection(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    await harness.collect("videos", days(1), garden_config())
    await harness.collect("comments", days(1), garden_config())
    before = dict(harness.sql("SELECT unit, expected FROM {coverage} WHERE unit_kind = 'comment'"))
    harness.clock.advance(days=20)
    harness.config = SandboxConfig(research_cap=60)
    harness.app = type(harness.app)(harness.config, harness.clock)
    await harness.collect("videos", days(1), garden_config(), recollect=True)
    _, pause = await harness.collect("comments", days(1), garden_config(), recollect=True)
    while pause is not None:
        harness.clock.moment = pause.retry_at
        _, pause = await harness.collect("comments", days(1), garden_config())
    grown = harness.sql(
        "SELECT c.id, max(c.reply_count) FROM {comments} c WHERE asked_comment_id IS NULL GROUP BY 1 "
        "HAVING max(c.reply_count) > min(c.reply_count)"
    )
    now = dict(harness.sql("SELECT unit, max(expected) FROM {coverage} WHERE unit_kind = 'comment' GROUP BY 1"))
    for comment, count in grown:
        assert now[str(comment)] == count, (comment, before.get(str(comment)))


async def test_units_that_are_no_targets_any_more_block_nothing(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    await harness.collect("videos", days(1), garden_config())
    broken = harness.sql("SELECT min(id) FROM {videos} WHERE comment_count > 0")[0][0]

    def fail(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        hit = orjson.loads(request.content).get("video_id") == broken
        return error_response(response, 500, "internal_error", "Server Internal Error") if hit else None

    without_replies = garden_config(comments=CommentRule(replies="none"))
    finished, _ = await harness.collect(
        "comments", days(1), without_replies, transport=TamperingTransport(harness, fail)
    )
    assert finished[START].state == "quarantined"
    finished, _ = await harness.collect(
        "comments", days(1), garden_config(comments=CommentRule("top", n=1, replies="none"))
    )
    assert finished[START].state == "complete"
    assert finished[START].kept > 0


async def test_pages_with_fewer_fields_are_not_copied(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    week, panel = this_week(harness), UserRule("panel")
    narrow = garden_config(name="narrow", users=panel, fields={"users": ("display_name",)})
    await harness.collect("users", [week], narrow)
    await harness.collect("users", [week], garden_config(name="whole", users=panel))
    counts = dict(harness.sql("SELECT study, count(follower_count) FROM {users} GROUP BY 1"))
    assert counts["narrow"] == 0 < counts["whole"]
    before = harness.requests_sent
    await harness.collect("users", [week], garden_config(name="third", users=panel))
    assert harness.requests_sent == before


async def test_refusals_back_off_longer_each_time(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    spec = study(panel=("sandbox_missing",), users=UserRule("panel"))
    backoff_days = []
    for _ in range(3):
        await harness.collect("users", [this_week(harness)], spec)
        next_try = harness.sql("SELECT max(next_try) FROM {coverage}")[0][0]
        backoff_days.append((next_try - harness.clock.now()).days)
        harness.clock.moment = next_try + timedelta(days=1)
    assert backoff_days == [16, 32, 32]


async def test_finished_search_keeps_its_journal_if_no_request_is_left_for_its_canary_check(settings: Settings) -> None:
    few = START + timedelta(days=1)
    harness = CollectorHarness(settings, dense(fixed_volume=90, volume_by_day={few: 1}))
    for day in (START, START + timedelta(days=2)):
        await harness.collect("videos", [day])
    pool = harness.app.quota.pools["research"]
    # One request finds a single video where 90 are usual, the second confirms it, and none is left for the canary.
    pool.cap = harness.requests_sent + 2
    finished, pause = await harness.collect("videos", [few])
    assert finished == {}
    assert pause is not None
    assert open_journals(harness) == 1
    pool.cap = 1000
    harness.clock.advance(days=1)
    before = harness.requests_sent
    finished, _ = await harness.collect("videos", [few])
    assert finished[few].state == "complete"
    assert finished[few].reason == "Only 1 hits; 90 are usual."
    assert harness.requests_sent == before + 1  # the canary check
    assert open_journals(harness) == 0
