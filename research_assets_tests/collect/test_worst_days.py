"""Days on which the quota, the search ids or the expectation do not suffice: depth before breadth, no page twice."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

import pytest

from research_assets.collect.types import RequestBudget
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.storage.captures import list_sealed
from research_assets_tests.collect.harness import QUERY, START, CollectorHarness, days, study


def make_harness(settings: Settings, cap: int, **fields: object) -> CollectorHarness:
    """Return a harness whose sandbox and ledger have the same cap of requests per day."""
    config = SandboxConfig(**{"research_cap": cap} | fields)  # type: ignore[arg-type]
    return CollectorHarness(replace(settings, research_cap=cap), config)


async def collect_nightly(harness: CollectorHarness, partitions: Sequence[date], max_nights: int) -> list[set[date]]:
    """Collect until everything is done; return the days that each night completed."""
    completed = []
    for _ in range(max_nights):
        finished, pause = await harness.collect("videos", partitions)
        completed.append({day for day, one in finished.items() if one.state == "complete" and not one.was_complete})
        if pause is None:
            break
        harness.clock.moment = max(pause.retry_at, harness.clock.now())
    return completed


def lost_rows(harness: CollectorHarness, partitions: Sequence[date]) -> int:
    query = {group: list(conditions) for group, conditions in QUERY.items()}
    truth = harness.app.ground_truth.videos(query, min(partitions), max(partitions))
    stored = set(harness.ids())
    return sum(len(set(truth[day].deliverable) - stored) for day in partitions)


async def test_quota_completes_days_rather_than_beginning_all(settings: Settings) -> None:
    harness = make_harness(settings, 200, fixed_volume=1600)
    completed = await collect_nightly(harness, days(14), 3)
    assert [len(of_night) for of_night in completed] == [12, 2], "16 pages a day, 200 requests"
    assert harness.requests_sent <= 14 * 16 + 2
    assert lost_rows(harness, days(14)) == 0


async def test_days_denser_than_the_rest_of_the_quota_finish_although_search_ids_expire(settings: Settings) -> None:
    harness = make_harness(settings, 60, fixed_volume=4000, search_lifetime=6 * 3600)
    completed = await collect_nightly(harness, days(3), 4)
    assert [len(of_night) for of_night in completed] == [1, 1, 1]
    assert harness.requests_sent <= 132
    assert lost_rows(harness, days(3)) == 0


async def test_day_denser_than_a_whole_quota_is_continued_where_it_stopped(settings: Settings) -> None:
    harness = make_harness(settings, 20, profile="dense", fixed_volume=6000, p_500=0.0)
    completed = await collect_nightly(harness, days(1), 6)
    assert completed[-1] == {START}
    assert harness.requests_sent <= 60 + 3 * len(completed)
    assert lost_rows(harness, days(1)) == 0


@pytest.mark.parametrize("shift", ["arrivals", "withdrawals"])
async def test_place_of_a_search_is_found_although_its_positions_have_shifted(settings: Settings, shift: str) -> None:
    changes = {
        "arrivals": {"fresh_missing": 0.5, "fresh_missing_days": 200.0},
        "withdrawals": {"withdrawn_per_year": 0.0, "withdrawn_are_hits": False},
    }[shift]
    harness = make_harness(settings, 12, fixed_volume=2000, search_lifetime=6 * 3600, **changes)
    _, pause = await harness.collect("videos", days(1))
    assert pause is not None
    query = {group: list(conditions) for group, conditions in QUERY.items()}
    existing = harness.app.ground_truth.videos(query, START, START)[START].deliverable
    harness.clock.moment = pause.retry_at + timedelta(days=20)
    withdrawn = set(existing[:350]) if shift == "withdrawals" else set()
    harness.app.world.withdrawn.update(withdrawn)
    before = harness.requests_sent
    while pause is not None:
        finished, pause = await harness.collect("videos", days(1))
        if pause is not None:
            harness.clock.moment = pause.retry_at
    assert finished[START].state == "complete"
    assert harness.requests_sent - before <= 8 + 8
    assert set(existing) - withdrawn <= set(harness.ids())


@pytest.mark.parametrize("only_newest", [False, True])
async def test_old_search_ids_cost_no_request_and_no_row(settings: Settings, only_newest: bool) -> None:
    harness = make_harness(settings, 1000, fixed_volume=950, p_old_search_id=0.5, only_newest_search_id=only_newest)
    [completed] = await collect_nightly(harness, days(7), 1)
    assert completed == set(days(7))
    assert harness.requests_sent == 67
    assert len(harness.ids()) == len(set(harness.ids())) == 7 * 950


async def test_pages_of_other_data_are_read_again_and_not_the_whole_search(settings: Settings) -> None:
    harness = make_harness(settings, 1000, fixed_volume=950, p_foreign_page=0.5)
    [completed] = await collect_nightly(harness, days(3), 1)
    assert completed == set(days(3))
    assert harness.requests_sent <= 3 * 29
    assert len(set(harness.ids())) == 3 * 950


async def test_window_that_proves_denser_than_expected_is_split(settings: Settings) -> None:
    dense = days(20)[:19]
    harness = make_harness(settings, 1000, fixed_volume=10, volume_by_day=dict.fromkeys(dense, 5100))
    await harness.collect("videos", [days(20)[19]])
    before = harness.requests_sent
    [completed] = await collect_nightly(harness, days(20), 1)
    assert completed == set(dense)
    assert max(capture.pages for capture in list_sealed(harness.settings.captures)) <= 64
    assert harness.requests_sent - before <= 1.01 * 19 * 51 + 1
    assert lost_rows(harness, days(20)) == 0


async def test_year_of_very_sparse_days_costs_its_windows(settings: Settings) -> None:
    first = date(2025, 4, 1)
    # 0.4 videos a day, in stretches: each third week has none.
    volumes = {day: int(i % 2 == 0 and i // 7 % 3 != 0) for i, day in enumerate(days(365, first))}
    harness = make_harness(settings, 1000, fixed_volume=0, volume_by_day=volumes)
    finished, _ = await harness.collect("videos", days(365, first), study(start=first))
    assert {one.state for one in finished.values()} == {"complete"}
    assert harness.requests_sent <= 13
    assert len(set(harness.ids())) == sum(volumes.values())


async def test_query_that_finds_nothing_completes_no_day(settings: Settings) -> None:
    harness = make_harness(settings, 1000, fixed_volume=0)
    finished, _ = await harness.collect("videos", days(62))
    assert {one.state for one in finished.values()} == {"suspicious"}
    assert {one.reason for one in finished.values()} == {"No video was ever found for this query."}
    assert harness.requests_sent == 3, "two windows, and one of them twice"
    harness.clock.advance(days=3)
    finished, _ = await harness.collect("videos", days(62))
    assert {one.state for one in finished.values()} == {"suspicious"}, "a second look does not show that it works"


async def test_search_that_found_nothing_is_repeated_with_a_day_whose_videos_are_known(settings: Settings) -> None:
    volumes = {day: int(i != 5) for i, day in enumerate(days(10))}
    harness = make_harness(settings, 1000, fixed_volume=0, volume_by_day=volumes)
    await harness.collect("videos", days(5))
    before = harness.requests_sent
    finished, _ = await harness.collect("videos", [days(10)[5]])
    assert finished[days(10)[5]].state == "complete"
    assert harness.requests_sent - before == 2
    windows = {(capture.first, capture.last) for capture in list_sealed(harness.settings.captures)}
    assert ("2026-02-05", "2026-02-06") in windows


async def test_run_takes_no_more_than_its_budget(settings: Settings) -> None:
    harness = make_harness(settings, 1000, fixed_volume=500)
    budget = RequestBudget(12)
    finished, pause = await harness.collect("videos", days(7), budget=budget)
    assert harness.requests_sent == 12
    assert budget.remaining == 0
    assert pause is not None
    assert "the run has used its budget" in pause.reason
    assert len([one for one in finished.values() if one.state == "complete"]) == math.floor(11 / 5)
