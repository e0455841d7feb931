"""Days with more pages than one day's quota, where ids expire overnight and the API refuses to jump to a cursor."""

from dataclasses import replace
from typing import Any

import pytest

from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets_tests.collect.harness import QUERY, START, CollectorHarness, days
from research_assets_tests.collect.test_resume import collect_until_killed

HOUR = 3600


def dense_harness(settings: Settings, volume: int = 8000, cap: int = 60, **knobs: Any) -> CollectorHarness:
    """Return a harness with `volume` videos a day, `cap` requests a day, and jumps that are refused."""
    config = SandboxConfig(
        fixed_volume=volume, research_cap=cap, refuse_jumps=True, search_lifetime=6 * HOUR, profile="clean", **knobs
    )
    return CollectorHarness(replace(settings, research_cap=cap), config)


async def collect_nightly(harness: CollectorHarness, number: int, nights: int) -> int:
    """Collect days night after night until no pause is left; return the nights that this took."""
    for night in range(1, nights + 1):
        _, pause = await harness.collect("videos", days(number))
        if pause is None:
            return night
        harness.clock.moment = max(pause.retry_at, harness.clock.now())
    raise AssertionError(f"not complete after {nights} nights")


def assert_no_row_lost(harness: CollectorHarness, number: int) -> None:
    query = {group: list(conditions) for group, conditions in QUERY.items()}
    found = harness.app.ground_truth.videos(query, days(number)[0], days(number)[-1])
    assert set(harness.ids()) == {video for hits in found.values() for video in hits.deliverable}


@pytest.mark.parametrize(("number", "nights", "requests"), [(1, 3, 182), (2, 5, 280)])
async def test_day_larger_than_the_quota_is_completed_in_parts(
    settings: Settings, number: int, nights: int, requests: int
) -> None:
    harness = dense_harness(settings, 8000)
    assert await collect_nightly(harness, number, nights) <= nights
    assert harness.requests_sent <= requests
    assert_no_row_lost(harness, number)
    parts = harness.sql(
        "SELECT partition, count(DISTINCT unit), sum(kept), sum(requests) FROM {coverage} "
        "WHERE unit_kind = 'part' AND state = 'complete' GROUP BY 1 ORDER BY 1"
    )
    assert parts == [(day, 3, 8000, 0.0) for day in days(number)]
    complete = harness.sql(
        "SELECT partition, kept, reason FROM {coverage} WHERE unit_kind = 'day' AND state = 'complete'"
    )
    assert sorted(complete) == [(day, 8000, "Collected in 3 parts.") for day in days(number)]
    assert harness.sql("SELECT sum(requests) FROM {coverage}") == [(pytest.approx(harness.requests_sent),)]
    before = harness.requests_sent
    finished, _ = await harness.collect("videos", days(number))
    assert {result.was_complete for result in finished.values()} == {True}
    assert harness.requests_sent == before


async def test_day_that_is_collected_in_some_parts_says_so(settings: Settings) -> None:
    harness = dense_harness(settings, 8000)
    for _ in range(2):
        _, pause = await harness.collect("videos", days(1))
        assert pause is not None
        harness.clock.moment = pause.retry_at
    reasons = harness.sql("SELECT reason FROM {coverage} WHERE unit_kind = 'day' AND state = 'partial'")
    assert any(str(reason).startswith("Collected in 2 of 3 parts. video_length=MID: Paused") for (reason,) in reasons)


async def test_day_that_fits_into_the_quota_is_not_cut(settings: Settings) -> None:
    harness = dense_harness(settings, 4000)
    assert await collect_nightly(harness, 3, 3) == 3
    assert harness.requests_sent <= 166
    assert_no_row_lost(harness, 3)
    assert harness.sql("SELECT count(*) FROM {coverage} WHERE unit_kind = 'part'") == [(0,)]


@pytest.mark.parametrize("page", [5, 20, 40])
async def test_run_killed_in_a_part_is_resumed_there(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    harness = dense_harness(settings, 8000)
    _, pause = await harness.collect("videos", days(1))
    assert pause is not None
    harness.clock.moment = pause.retry_at
    await collect_until_killed(harness, monkeypatch, days(1), "page", page)
    assert await collect_nightly(harness, 1, 3) <= 3
    assert harness.requests_sent <= 60 * 3 + 10
    assert_no_row_lost(harness, 1)


async def test_parts_that_lack_known_videos_are_suspicious_until_another_day_confirms_them(settings: Settings) -> None:
    harness = dense_harness(settings, withdrawn_are_hits=False)
    _, pause = await harness.collect("videos", days(1))
    assert pause is not None
    harness.clock.moment = pause.retry_at
    query = {group: list(conditions) for group, conditions in QUERY.items()}
    hits = harness.app.ground_truth.videos(query, START, START)[START].raw
    harness.app.world.withdrawn.update(hits[::3])
    results = []
    for _ in range(5):
        finished, pause = await harness.collect("videos", days(1))
        results += [finished[START]] if START in finished else []
        if pause is None and results[-1].state == "complete":
            break
        harness.clock.moment = pause.retry_at if pause else results[-1].next_try or harness.clock.now()
    assert [result.state for result in results] == ["suspicious", "complete"]
    assert "an earlier search of the day found 6000" in str(results[0].reason)
    assert "Confirmed on another day" in str(results[1].reason)
