"""A query of many accounts: collected in batches, each video once; an account that breaks searches blocks no other."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.collect.search.username_batches import UsernameBatches
from research_assets.planning.agenda import build_agenda
from research_assets.planning.inputs import read_agenda_inputs
from research_assets.planning.types import Agenda
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.study.spec import CommentRule, StudySpec, UserRule
from research_assets.units.coverage import Attempt, UnitState
from research_assets.units.usernames import (
    batch_usernames,
    batchable_usernames,
    most_frequent_usernames,
    restrict_query,
)
from research_assets.units.windows import SearchWindow
from research_assets_tests.collect.harness import (
    START,
    CollectorHarness,
    TamperingTransport,
    change_data,
    days,
    error_response,
    study,
)

NAMES = st.lists(st.text("abcdefgh_.1", min_size=1, max_size=8), unique=True, max_size=40)


def about(names: list[str], group: str = "and", *others: dict[str, Any]) -> dict[str, tuple[dict[str, Any], ...]]:
    return {group: ({"operation": "IN", "field_name": "username", "field_values": names}, *others)}


def panel(harness: CollectorHarness, number: int) -> list[str]:
    """Return accounts of the sandbox with a fixed volume: with as many videos a day as authors, each has one."""
    flat = harness.app.world.fixed_volume
    assert flat is not None
    return [video.creator.username for index in range(number) if (video := flat.at(20_000, index))]


def make_harness(settings: Settings, **knobs: Any) -> CollectorHarness:
    config: dict[str, Any] = {"fixed_volume": 64, "profile": "clean", "username_batch": 10} | knobs
    return CollectorHarness(settings, SandboxConfig(**config))


def usernames_of(names: list[str]) -> StudySpec:
    return study(query=about(names))


def agenda(harness: CollectorHarness, spec: StudySpec, end: date) -> Agenda:
    now = harness.clock.now()
    pools = {pool: harness.ledger.pool_state(pool, now) for pool in harness.settings.caps}
    spec = replace(spec, end=end, comments=CommentRule(videos="none"), users=UserRule(who="none"))
    return build_agenda(read_agenda_inputs(harness.settings, [spec], pools, now), now)


class RecordingEdit:
    """Transport edit that records the accounts of each search, and fails those for which `breaks` returns True."""

    def __init__(self, breaks: Callable[[list[str], date, date], bool] = lambda *_: False) -> None:
        self.breaks = breaks
        self.searches: list[list[str]] = []

    def __call__(self, request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        body = orjson.loads(request.content)
        names = next(c["field_values"] for c in body["query"]["and"] if c["field_name"] == "username")
        self.searches.append(names)
        window = [date.fromisoformat(body[name]) for name in ("start_date", "end_date")]
        return error_response(response, 500, "internal_error", "Try again.") if self.breaks(names, *window) else None


@given(NAMES, st.integers(1, 12))
def test_every_account_is_in_one_batch_and_no_batch_is_too_large(names: list[str], most: int) -> None:
    parts = batch_usernames(tuple(names), most)
    assert [name for part in parts for name in part] == names
    assert all(1 <= len(part) <= most for part in parts)
    assert len(parts) == -(-len(names) // most)
    assert not parts or max(map(len, parts)) - min(map(len, parts)) <= 1


def test_only_a_condition_that_all_hits_must_meet_is_split() -> None:
    other = {"operation": "EQ", "field_name": "region_code", "field_values": ["DE"]}
    assert batchable_usernames(about(["a", "b", "a"])) == ("a", "b")
    assert batchable_usernames(about(["a", "b"], "and", other)) == ("a", "b")
    assert batchable_usernames(about(["a", "b"], "or")) == ("a", "b")
    assert batchable_usernames(about(["a", "b"], "or", other)) == ()
    assert batchable_usernames(about(["a", "b"], "not")) == ()
    assert batchable_usernames(about(["a"])) == ()
    part = restrict_query({**about(["a", "b"], "and", other), "not": (other,)}, ("b",))
    assert part == {**about(["b"], "and", other), "not": (other,)}


@pytest.mark.parametrize(
    ("authors", "max_videos", "chosen"),
    [
        ("aaabbcd", None, "abc"),
        ("aaabbcd", 4, "ab"),
        ("aaabbcd", 3, "a"),
        ("aaaxxxxbbcd", None, "abc"),
        ("xxxxyyyyyab", 3, "y"),
        ("xxxxaaa", None, "a"),
        ("xab", None, "ab"),
        ("zzzzzzab", None, "ab"),
        ("zzzzzz", None, ""),
        ("", None, ""),
    ],
)
def test_canary_check_uses_accounts_that_fit_into_one_search(authors: str, max_videos: int | None, chosen: str) -> None:
    answered = complete_attempt(datetime(2026, 3, 1, tzinfo=UTC), "x")
    isolated = {"x": answered, "y": answered, "z": replace(answered, state="quarantined")}
    assert most_frequent_usernames(authors, isolated, 3, max_videos) == tuple(chosen)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_later_attempt_at_a_day_is_never_older_than_an_earlier_one(order: tuple[int, int]) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    batches = UsernameBatches(
        about(["a", "b"]),
        [],
        now,
        batch_size=1,
        recollect=False,
        retry_now=False,
        has_same_query=lambda _: True,
    )
    attempts = [
        batches.record_attempt(
            SearchWindow(START, START, usernames=(name,)), complete_attempt(now + timedelta(minutes=minute), name)
        )[-1]
        for minute, name in [((0, "a"), (9, "b"))[index] for index in order]
    ]
    assert [attempt.state for attempt in attempts] == ["partial", "complete"]
    assert attempts[0].last_at <= attempts[1].last_at == now + timedelta(minutes=9)  # type: ignore[operator]
    assert attempts[1].kept == 2


@pytest.mark.parametrize(("state", "isolated"), [("suspicious", False), ("quarantined", True)])
def test_account_is_isolated_if_its_searches_fail_but_not_if_they_find_nothing(
    state: UnitState, isolated: bool
) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    batches = UsernameBatches(
        about(["a", "b"]),
        [],
        now,
        batch_size=1,
        recollect=False,
        retry_now=False,
        has_same_query=lambda _: True,
    )
    window = SearchWindow(START, START, usernames=("a",), days_answer=True)
    attempts = batches.record_attempt(window, replace(complete_attempt(now, "x"), state=state, kept=0))
    assert ("a" in batches.isolated) == isolated
    assert [attempt.unit for attempt in attempts] == (["a"] if isolated else []) + [START.isoformat()]


def complete_attempt(at: datetime, capture: str) -> Attempt:
    return Attempt("videos", START, "day", START.isoformat(), "complete", at, at, kept=1, requests=1, capture=capture)


async def test_many_accounts_are_collected_in_batches_with_each_video_once(settings: Settings) -> None:
    harness, recorded = make_harness(settings), RecordingEdit()
    spec = usernames_of(panel(harness, 25))
    finished, pause = await harness.collect("videos", days(20), spec, transport=TamperingTransport(harness, recorded))
    assert pause is None
    assert {(f.state, f.kept) for f in finished.values()} == {("complete", 25)}
    assert len(harness.ids()) == len(set(harness.ids())) == 25 * 20
    assert max(map(len, recorded.searches)) <= 10
    # 25 videos a day for 20 days, in 3 batches: 8, 8 and 9 accounts.
    assert harness.requests_sent == 2 + 2 + 2
    assert sum(f.requests for f in finished.values()) == pytest.approx(harness.requests_sent)
    spent = harness.requests_sent
    second, _ = await harness.collect("videos", days(20), spec)
    assert all(f.was_complete for f in second.values())
    assert harness.requests_sent == spent
    rows = harness.sql("SELECT sum(requests), sum(kept) FILTER (unit_kind = 'account') FROM {coverage}")
    assert rows == [(pytest.approx(spent), 500)]


async def test_account_that_breaks_searches_is_isolated_from_then_on(settings: Settings) -> None:
    harness = make_harness(settings)
    names = panel(harness, 10)
    harness = make_harness(replaced(settings), breaking_usernames=frozenset({names[3]}))
    spec, recorded = usernames_of(names), RecordingEdit()
    finished, _ = await harness.collect("videos", days(14), spec, transport=TamperingTransport(harness, recorded))
    assert {(f.state, f.kept) for f in finished.values()} == {("complete", 10)}
    assert len(harness.ids()) == len(set(harness.ids())) == 140
    assert harness.requests_sent <= 14
    spent = harness.requests_sent
    more, recorded = days(14, START + timedelta(days=14)), RecordingEdit()
    finished, _ = await harness.collect("videos", more, spec, transport=TamperingTransport(harness, recorded))
    assert {(f.state, f.kept) for f in finished.values()} == {("complete", 10)}
    assert [names[3]] in recorded.searches
    assert harness.requests_sent - spent == len(recorded.searches) <= 4, "no search fails any more"
    spent, later = harness.requests_sent, days(14, START + timedelta(days=28))
    finished, _ = await harness.collect("videos", later, spec)
    assert {(f.state, f.kept) for f in finished.values()} == {("complete", 10)}
    assert harness.requests_sent - spent == len(recorded.searches), "nor later"


async def test_account_that_fails_every_search_is_reported_and_blocks_no_other(settings: Settings) -> None:
    harness = make_harness(settings)
    names = panel(harness, 12)
    recorded = RecordingEdit(lambda searched, *_: names[7] in searched)
    spec, transport = usernames_of(names), TamperingTransport(harness, recorded)
    finished, _ = await harness.collect("videos", days(14), spec, transport=transport)
    assert {(f.state, f.kept) for f in finished.values()} == {("complete", 11)}
    assert all(names[7] in str(f.reason) for f in finished.values())
    gaps = harness.sql("SELECT DISTINCT unit, state, next_try IS NOT NULL FROM {coverage} WHERE state <> 'complete'")
    assert (names[7], "quarantined", True) in gaps
    assert harness.sql("SELECT count(*) FROM {coverage} WHERE unit_kind = 'account' AND state = 'quarantined'") == [
        (14,)
    ]
    assert len(set(harness.ids())) == 11 * 14
    # It is in backoff: neither these days nor later ones cost a request for it, and later days have its gap too.
    recorded.searches.clear()
    later = days(3, START + timedelta(days=14))
    finished, _ = await harness.collect("videos", [*days(14), *later], spec, transport=transport)
    assert [f.kept for f in finished.values()] == [11] * 17
    assert names[7] not in {name for part in recorded.searches for name in part}
    assert harness.sql("SELECT count(*) FROM {coverage} WHERE unit_kind = 'account' AND state = 'quarantined'") == [
        (17,)
    ]
    # At its next try only this account is requested, for all days at once; the agenda knows the cost.
    assert agenda(harness, spec, end=later[-1]).items == ()
    harness.clock.advance(days=1, minutes=1)
    due = agenda(harness, spec, end=later[-1])
    assert [(item.reasons, item.partitions, item.requests) for item in due.items] == [
        (("missing_accounts",), (*days(17),), 1)
    ]
    recorded.searches.clear()
    recorded.breaks = lambda *_: False
    finished, _ = await harness.collect("videos", [*days(14), *later], spec, transport=transport)
    assert recorded.searches == [[names[7]]]
    assert [f.kept for f in finished.values()] == [12] * 17
    assert {f.reason for f in finished.values()} == {None}
    assert len(harness.ids()) == len(set(harness.ids())) == 12 * 17
    assert agenda(harness, spec, end=later[-1]).items == ()


async def test_a_pause_while_a_missing_account_is_tried_leaves_the_days_complete(settings: Settings) -> None:
    harness = make_harness(settings)
    names = panel(harness, 6)
    recorded = RecordingEdit(lambda searched, *_: names[1] in searched)
    await harness.collect("videos", days(8), usernames_of(names), transport=TamperingTransport(harness, recorded))
    harness.clock.advance(days=2)
    harness.ledger.caps["research"] = 0
    finished, pause = await harness.collect(
        "videos", days(8), usernames_of(names), transport=TamperingTransport(harness, recorded)
    )
    assert pause is not None
    assert not finished
    newest = harness.sql("SELECT arg_max(state, capture) FROM {coverage} WHERE unit_kind = 'day' GROUP BY partition")
    assert newest == [("complete",)] * 8
    harness.ledger.caps["research"] = 1000
    (item,) = agenda(harness, usernames_of(names), end=days(8)[-1]).items
    assert (item.reasons, item.recollect) == (("missing_accounts",), False)


async def test_several_accounts_that_break_searches_are_each_isolated(settings: Settings) -> None:
    harness = make_harness(settings)
    names = panel(harness, 30)
    bad = frozenset({names[0], names[5], names[14]})
    harness = make_harness(replaced(settings), breaking_usernames=bad)
    finished, _ = await harness.collect("videos", days(5), usernames_of(names))
    assert {(f.state, f.kept) for f in finished.values()} == {("complete", 30)}
    assert len(harness.ids()) == len(set(harness.ids())) == 150
    assert harness.requests_sent <= 30


@pytest.mark.parametrize("number", [10, 30])
async def test_dead_day_isolates_no_account(settings: Settings, number: int) -> None:
    dead = START + timedelta(days=9)
    harness = make_harness(settings, dead_days=frozenset({dead}))
    spec = usernames_of(panel(harness, number))
    finished, _ = await harness.collect("videos", days(14), spec)
    assert {day: f.state for day, f in finished.items() if f.state != "complete"} == {dead: "quarantined"}
    assert finished[dead].next_try is not None
    assert {f.kept for f in finished.values()} == {0, number}
    assert harness.sql("SELECT DISTINCT unit_kind FROM {coverage} WHERE state = 'quarantined'") == [("day",)]
    # Each batch finds the dead day separately, because they run concurrently.
    assert harness.requests_sent <= 13 * (number // 10)
    spent = harness.requests_sent
    await harness.collect("videos", days(14), spec)
    assert harness.requests_sent == spent


async def test_batch_without_any_video_completes_its_day_after_an_attempt_on_another_day(settings: Settings) -> None:
    harness = make_harness(settings)
    spec = usernames_of([*panel(harness, 10), *(f"silent{number}" for number in range(10))])
    finished, _ = await harness.collect("videos", days(2), spec)
    assert {result.state for result in finished.values()} == {"suspicious"}
    harness.clock.advance(days=2)
    finished, _ = await harness.collect("videos", days(2), spec)
    assert {result.state for result in finished.values()} == {"complete"}
    # From then on a day without videos of these accounts is no surprise: a second search is enough.
    finished, _ = await harness.collect("videos", days(4), spec)
    assert {result.state for result in finished.values()} == {"complete"}


async def test_paused_day_resumes_with_its_missing_batches(settings: Settings) -> None:
    harness = make_harness(settings, research_cap=4)
    spec = usernames_of(panel(harness, 40))
    nights = 0
    while True:
        finished, pause = await harness.collect("videos", days(30), spec, concurrency=2)
        if pause is None:
            break
        nights += 1
        states = harness.sql("SELECT DISTINCT state FROM {coverage} WHERE unit_kind = 'day'")
        assert ("partial",) in states or finished
        harness.clock.moment = pause.retry_at
    assert {(f.state, f.kept) for f in finished.values()} == {("complete", 40)}
    assert len(harness.ids()) == len(set(harness.ids())) == 40 * 30
    # 4 batches with 300 videos each; each night ends with one refusal.
    assert harness.app.request_log.outcomes["ok"] - 1 <= 4 * 3 + nights
    assert nights <= 4


async def test_batches_of_another_query_do_not_count(settings: Settings) -> None:
    harness = make_harness(settings, research_cap=3)
    names = panel(harness, 20)
    _, pause = await harness.collect("videos", days(20), usernames_of(names), concurrency=1)
    assert pause is not None
    assert harness.sql("SELECT count(*) > 0 FROM {coverage} WHERE unit_kind = 'account' AND state = 'complete'") == [
        (True,)
    ]
    harness.clock.moment = pause.retry_at
    spec, recorded = study(query=about([*names, "somebody_else"])), RecordingEdit()
    await harness.collect("videos", days(20), spec, concurrency=1, transport=TamperingTransport(harness, recorded))
    assert set(names[:2]) <= {name for part in recorded.searches for name in part}


async def test_recollected_days_request_all_accounts(settings: Settings) -> None:
    harness = make_harness(settings)
    names = panel(harness, 15)
    harness = make_harness(replaced(settings), breaking_usernames=frozenset({names[2]}))
    spec, recorded = usernames_of(names), RecordingEdit()
    await harness.collect("videos", days(4), spec)
    harness.clock.advance(days=10)
    finished, _ = await harness.collect(
        "videos", days(4), spec, recollect=True, transport=TamperingTransport(harness, recorded)
    )
    assert {(f.state, f.kept, f.was_complete) for f in finished.values()} == {("complete", 15, False)}
    assert sorted(name for part in recorded.searches for name in part) == sorted(names)
    assert len(harness.ids()) == 2 * len(set(harness.ids())) == 2 * 15 * 4


def replaced(settings: Settings) -> Settings:
    """Return the settings on another root, for a second sandbox whose faults name accounts of the first."""
    return replace(settings, root=settings.root / "second")


@pytest.mark.parametrize("recollect", [False, True])
async def test_day_beside_an_empty_one_stays_as_it_was_collected(settings: Settings, recollect: bool) -> None:
    """The second search for an empty batch also names a day whose videos are known, but for this batch alone."""
    harness = make_harness(settings)
    names = panel(harness, 20)
    known, empty = days(2)
    beside: list[dict[str, Any]] = []

    def edit(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        body = orjson.loads(request.content)
        if names[10] not in next(c["field_values"] for c in body["query"]["and"] if c["field_name"] == "username"):
            return None
        if f"{empty:%Y%m%d}" == body["end_date"] != body["start_date"]:
            beside.append(body)
        videos = orjson.loads(response.content)["data"]["videos"]
        videos = [one for one in videos if datetime.fromtimestamp(one["create_time"], UTC).date() != empty]
        return change_data(response, videos=videos, cursor=len(videos), has_more=False)

    async def collect(day: date, **modes: bool) -> None:
        transport = TamperingTransport(harness, edit)
        finished, pause = await harness.collect("videos", [day], usernames_of(names), transport=transport, **modes)
        assert pause is None
        assert {one.state for one in finished.values()} == {"complete"}

    await collect(known)
    await collect(empty)
    if recollect:
        beside.clear()
        harness.clock.advance(days=10)
        await collect(empty, recollect=True)
    assert beside
    attempts = harness.sql(
        f"SELECT state, kept FROM {{coverage}} WHERE unit_kind = 'day' AND partition = DATE '{known}' "
        "AND entity = 'videos'"
    )
    # Its own two batches, and nothing of the search for the other day.
    assert sorted(attempts) == [("complete", 20), ("partial", 10)]
    runs = [one for one in agenda(harness, usernames_of(names), empty).items if "canary" not in one.reasons]
    assert runs == []
