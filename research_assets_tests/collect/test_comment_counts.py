"""Comments of videos whose counts lag: every commented video ends with its comments, complete only when proven."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest

from research_assets.planning.agenda import build_agenda
from research_assets.planning.inputs import read_agenda_inputs
from research_assets.planning.types import AgendaInputs
from research_assets.quota.ledger import read_pools
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.study.spec import CommentRule, StudySpec, UserRule
from research_assets.units.estimates import mean_comment_requests_per_day
from research_assets.units.partition_status import PartitionStatus
from research_assets_tests.collect.harness import (
    START,
    CollectorHarness,
    TamperingTransport,
    change_data,
    days,
    error_response,
    study,
)
from research_assets_tests.collect.test_lists import GARDEN
from research_assets_tests.conftest import FakeClock

WEEK = 7
NOT_DISCLOSED = "The comments of this video are not allowed to be disclosed"
ONLY_COMMENTS = study(
    end=START + timedelta(days=WEEK - 1),
    comments=CommentRule("all"),
    users=UserRule("none"),
    reobserve_days=(12,),
)


def harness_at(settings: Settings, age: int, config: SandboxConfig) -> CollectorHarness:
    """Return a harness at the time at which the first day is `age` days old."""
    clock = FakeClock(datetime(2026, 2, 2, 1, tzinfo=UTC) + timedelta(days=age))
    return CollectorHarness(settings, config, clock)


def lagging_week(settings: Settings, **changes: Any) -> CollectorHarness:
    """Return a world of a week with 7 videos a day, each with 20 comments; counts are up to 10 days old."""
    values = {"fixed_volume": 7, "fixed_comments": 20, "count_lag_days": 10.0, **changes}
    return harness_at(settings, 2, SandboxConfig(**values))


def read_inputs(harness: CollectorHarness, spec: StudySpec) -> AgendaInputs:
    pools, used = read_pools(harness.settings, harness.server_clock)
    return read_agenda_inputs(harness.settings, [spec], pools, harness.server_clock.now(), used=used)


def comments_status(harness: CollectorHarness, spec: StudySpec, day: date = START) -> PartitionStatus:
    return read_inputs(harness, spec).partition_status["garden", "comments"][day]


async def run_agenda(harness: CollectorHarness, spec: StudySpec, **options: Any) -> list[tuple[str, str]]:
    """Run the agenda until it plans nothing; return entity and reasons of each run. A loop without end fails.

    Canary checks run as well and are left out of the result.
    """
    runs: list[tuple[str, str]] = []
    for _ in range(20):
        items = build_agenda(read_inputs(harness, spec), harness.server_clock.now()).items
        if not items:
            return runs
        for item in items:
            is_canary = item.reasons == ("canary",)
            modes = {"recollect": item.recollect, "canary_check": is_canary}
            await harness.collect(item.entity, item.partitions, spec, **modes, **options)
            runs += [] if is_canary else [(item.entity, ", ".join(item.reasons))]
    raise AssertionError(f"The agenda plans runs without end: {runs[-4:]}")


def states(harness: CollectorHarness, extra: str = "true") -> Counter[str]:
    """Return the number of video units of comments by the state of their newest attempt."""
    rows = harness.sql(
        "SELECT arg_max(state, last_at) FROM {coverage} WHERE entity = 'comments' AND unit_kind = 'video' "
        f"AND {extra} GROUP BY unit"
    )
    return Counter(row[0] for row in rows)


async def test_every_commented_video_of_a_week_ends_with_its_comments(settings: Settings) -> None:
    harness = lagging_week(settings)
    for _ in range(WEEK - 1):
        await run_agenda(harness, ONLY_COMMENTS)
        harness.clock.advance(days=1)
    await run_agenda(harness, ONLY_COMMENTS)
    zeros = harness.sql("SELECT count(*) FROM {videos} WHERE comment_count = 0")[0][0]
    assert 10 < zeros < 7 * WEEK, "the world must have counts that lag, and counts that do not"
    assert states(harness) == {"too_fresh": zeros, "complete": 7 * WEEK - zeros}
    requested = harness.app.request_log.requests["video/comment/list"]

    # Nothing is due until the first day is 12 days old.
    harness.clock.advance(days=2)
    assert await run_agenda(harness, ONLY_COMMENTS) == []
    assert harness.app.request_log.requests["video/comment/list"] == requested
    for _ in range(2 + WEEK):
        harness.clock.advance(days=1)
        await run_agenda(harness, ONLY_COMMENTS)
    assert states(harness) == {"complete": 7 * WEEK}
    with_comments = harness.sql("SELECT count(DISTINCT video_id) FROM {comments}")[0][0]
    assert with_comments == 7 * WEEK
    assert harness.app.request_log.requests["video/comment/list"] > requested
    requests = mean_comment_requests_per_day(harness.settings.raw)["garden"]
    assert requests.first * WEEK >= 7 * WEEK - zeros
    assert requests.after_reobservation is not None
    assert requests.after_reobservation * WEEK >= zeros
    for day in days(WEEK):
        assert comments_status(harness, ONLY_COMMENTS, day).last_complete_at is not None


async def test_world_with_frequent_faults_ends_with_the_comments_of_each_settled_video(settings: Settings) -> None:
    spec = replace(ONLY_COMMENTS, query=GARDEN, end=START + timedelta(days=1))
    harness = harness_at(settings, 2, SandboxConfig(profile="typical"))
    for _ in range(20):
        await run_agenda(harness, spec)
        harness.clock.advance(days=1)
    assert states(harness).keys() <= {"complete", "refused", "missing"}
    collected = {row[0] for row in harness.sql("SELECT DISTINCT video_id FROM {comments}")}
    refused = {
        int(unit)
        for (unit,) in harness.sql("SELECT unit FROM {coverage} WHERE state IN ('refused', 'missing')")
        if unit.isdigit()
    }
    commented = set()
    for video, day in harness.sql("SELECT DISTINCT id, day FROM {videos}"):
        settles_at = spec.settles_at(day).timestamp()
        if any(comment >> 32 <= settles_at for comment in harness.app.ground_truth.comments(video)):
            commented.add(video)
    assert len(commented) > 10
    assert commented <= collected | refused
    first = harness.sql(
        "SELECT count(DISTINCT unit) FROM {coverage} WHERE entity = 'comments' AND state = 'too_fresh'"
    )[0][0]
    assert first > 5, "the world must have counts that lag"


async def test_zero_is_complete_only_after_an_observation_that_proves_it(settings: Settings) -> None:
    harness = lagging_week(settings, fixed_comments=0)
    spec = replace(ONLY_COMMENTS, end=START)
    await run_agenda(harness, spec)
    assert states(harness) == {"too_fresh": 7}
    early = comments_status(harness, spec)
    assert (early.open_units, early.unconfirmed_units, early.last_complete_at) == (0, 7, None)
    assert early.next_try == datetime(2026, 2, 14, tzinfo=UTC)
    [deferred] = build_agenda(read_inputs(harness, spec), harness.clock.now()).deferred
    assert (deferred.reason, deferred.units, deferred.until) == ("unconfirmed", 7, early.next_try)
    finished, _ = await harness.collect("comments", [START], spec)
    assert (finished[START].state, finished[START].next_try) == ("too_fresh", early.next_try)

    # Collected again too early, the count still proves nothing.
    harness.clock.advance(days=9)
    await harness.collect("videos", [START], spec, recollect=True)
    assert await run_agenda(harness, spec) == []
    assert states(harness) == {"too_fresh": 7}

    harness.clock.advance(days=1)
    assert await run_agenda(harness, spec) == [("videos", "reobserve"), ("comments", "recounted")]
    assert states(harness) == {"complete": 7}
    assert harness.app.request_log.requests.get("video/comment/list", 0) == 0
    assert comments_status(harness, spec).last_complete_at is not None


async def test_day_first_collected_late_needs_no_second_observation(settings: Settings) -> None:
    harness = harness_at(settings, 12, SandboxConfig(fixed_volume=5, count_lag_days=10.0))
    spec = replace(ONLY_COMMENTS, end=START)
    await run_agenda(harness, spec)
    # Without an attempt, a day whose videos have no comments is complete.
    assert comments_status(harness, spec).open_units == 0
    await harness.collect("comments", [START], spec)
    assert states(harness) == {"complete": 5}
    assert await run_agenda(harness, spec) == []


async def test_without_reobservation_a_zero_stays_unconfirmed_and_nothing_loops(settings: Settings) -> None:
    harness = lagging_week(settings, fixed_comments=0)
    spec = replace(ONLY_COMMENTS, end=START, reobserve_days=())
    await run_agenda(harness, spec)
    harness.clock.advance(days=40)
    assert await run_agenda(harness, spec) == []
    assert states(harness) == {"too_fresh": 7}
    assert harness.sql("SELECT count(*) FROM {coverage} WHERE state = 'too_fresh' AND next_try IS NULL")[0][0] == 7
    # A person who collects the day again gets the answer.
    await harness.collect("videos", [START], spec, recollect=True)
    await run_agenda(harness, spec)
    assert states(harness) == {"complete": 7}


async def test_video_that_the_reobservation_does_not_return_is_requested_once(settings: Settings) -> None:
    harness = lagging_week(settings, fixed_comments=0)
    spec = replace(ONLY_COMMENTS, end=START)
    await run_agenda(harness, spec)
    gone = harness.ids()[0]

    def withdraw(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if "comment" in request.url.path:
            return error_response(response, 400, "invalid_params", NOT_DISCLOSED)
        data = orjson.loads(response.content)["data"]
        return change_data(response, videos=[row for row in data["videos"] if row["id"] != gone])

    harness.clock.advance(days=10)
    await run_agenda(harness, spec, transport=TamperingTransport(harness, withdraw))
    assert states(harness, f"unit = '{gone}'") == {"refused": 1}
    assert states(harness)["complete"] == 6
    assert harness.app.request_log.requests["video/comment/list"] == 1
    assert comments_status(harness, spec).unconfirmed_units == 0


@pytest.mark.parametrize("fails", [False, True])
async def test_grown_list_is_requested_once_for_a_count(settings: Settings, fails: bool) -> None:
    harness = harness_at(settings, 2, SandboxConfig(fixed_volume=4, fixed_comments=60))
    spec = replace(ONLY_COMMENTS, end=START, comments=CommentRule("all", replies="none"), reobserve_days=(12, 13))
    await run_agenda(harness, spec)
    first = harness.app.request_log.requests["video/comment/list"]
    assert first == 4
    held = harness.sql("SELECT count(DISTINCT id) FROM {comments}")[0][0]

    def fail(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if fails and "comment" in request.url.path:
            return error_response(response, 400, "invalid_params", NOT_DISCLOSED)
        return None

    harness.clock.advance(days=10)
    runs = await run_agenda(harness, spec, transport=TamperingTransport(harness, fail))
    assert runs == [("videos", "reobserve"), ("comments", "recounted")]
    assert harness.app.request_log.requests["video/comment/list"] == 2 * first
    if not fails:
        assert harness.sql("SELECT count(DISTINCT id) FROM {comments}")[0][0] > held
    # At an age of 13 days the count is almost the same, so the lists stay closed.
    harness.clock.advance(days=1)
    assert await run_agenda(harness, spec) == [("videos", "reobserve")]
    assert harness.app.request_log.requests["video/comment/list"] == 2 * first


async def test_reopened_list_that_fails_waits_for_its_next_try(settings: Settings) -> None:
    harness = harness_at(settings, 2, SandboxConfig(fixed_volume=1, fixed_comments=60))
    spec = replace(ONLY_COMMENTS, end=START, comments=CommentRule("all", replies="none"))
    await run_agenda(harness, spec)

    def fail(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        return error_response(response, 500, "internal_error", "") if "comment" in request.url.path else None

    harness.clock.advance(days=10)
    await run_agenda(harness, spec, transport=TamperingTransport(harness, fail))
    waiting = comments_status(harness, spec)
    assert (waiting.open_units, waiting.waiting_units) == (0, 1)
    assert waiting.next_try is not None
    harness.clock.advance(days=1, hours=1)
    assert await run_agenda(harness, spec) == [("comments", "recounted")]
    assert comments_status(harness, spec).last_complete_at is not None
