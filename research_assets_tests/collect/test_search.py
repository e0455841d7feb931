"""Videos: every deliverable row, within the request budgets of `make bench`, and a reason for every gap."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.study.day_sample import DaySample
from research_assets_tests.collect.harness import QUERY, START, CollectorHarness, before_next_lock, days, study


def dense_config(**knobs: object) -> SandboxConfig:
    return SandboxConfig(**{"fixed_volume": 950, "profile": "clean"} | knobs)  # type: ignore[arg-type]


async def test_seven_clean_days_cost_their_pages(settings: Settings) -> None:
    harness = CollectorHarness(settings, dense_config())
    finished, pause = await harness.collect("videos", days(7))
    assert pause is None
    assert {f.state for f in finished.values()} == {"complete"}
    assert harness.requests_sent == 67
    assert len(harness.ids()) == len(set(harness.ids())) == 7 * 950
    assert [f.kept for f in finished.values()] == [950] * 7
    assert sum(f.requests for f in finished.values()) == pytest.approx(67)


async def test_second_run_sends_no_request_for_complete_days(settings: Settings) -> None:
    harness = CollectorHarness(settings, dense_config())
    await harness.collect("videos", days(3))
    before = harness.requests_sent
    finished, _ = await harness.collect("videos", days(3))
    assert harness.requests_sent == before
    assert all(f.was_complete and f.state == "complete" and f.kept == 950 for f in finished.values())


async def test_day_that_another_run_completes_before_it_is_locked_is_not_collected_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = CollectorHarness(settings, dense_config(fixed_volume=150))
    before_next_lock(monkeypatch, lambda: harness.collect("videos", days(1)))
    finished, pause = await harness.collect("videos", days(2))
    assert pause is None
    assert [(result.state, result.was_complete) for result in finished.values()] == [
        ("complete", True),
        ("complete", False),
    ]
    assert len(harness.ids()) == len(set(harness.ids())) == 2 * 150


async def test_search_loses_no_row_with_errors_of_every_kind(settings: Settings) -> None:
    config = dense_config(fresh_search_id_refusals=1, every_500=17, every_504=23, every_429=29, undeliverable=0.1)
    harness = CollectorHarness(settings, config)
    finished, _ = await harness.collect("videos", days(7))
    assert {f.state for f in finished.values()} == {"complete"}
    assert len(set(harness.ids())) == 7 * 855
    assert harness.requests_sent <= 77
    assert sum(harness.clock.slept) <= 60
    assert sum(f.offered for f in finished.values()) == 7 * 950
    assert sum(f.kept for f in finished.values()) == 7 * 855


async def test_only_sampled_days_are_searched(settings: Settings) -> None:
    sampled = study(day_sample=DaySample(0.3, ("month",), 7))
    harness = CollectorHarness(settings, dense_config(fixed_volume=150))
    finished, pause = await harness.collect("videos", days(28), sampled)
    assert pause is None
    drawn = set(sampled.days_to(days(28)[-1]))
    assert len(drawn) == 8
    assert {day for day, result in finished.items() if result.state == "complete"} == drawn
    others = [result for day, result in finished.items() if day not in drawn]
    assert all(result.state == "not_asked" and "not in the study's sample" in str(result.reason) for result in others)
    assert {day for (day,) in harness.sql("SELECT DISTINCT day FROM {videos}")} == drawn
    assert len(harness.ids()) == 8 * 150
    # Consecutive days share a search: the last page of each search is partial.
    assert harness.requests_sent <= 2 * 8


@pytest.mark.parametrize("dead", [0, 3, 9, 13])
async def test_search_quarantines_a_dead_day_and_completes_all_others(settings: Settings, dead: int) -> None:
    harness = CollectorHarness(settings, dense_config(dead_days=frozenset({START + timedelta(days=dead)})))
    finished, _ = await harness.collect("videos", days(14))
    states = {day: f.state for day, f in finished.items()}
    assert states.pop(START + timedelta(days=dead)) == "quarantined"
    assert set(states.values()) == {"complete"}
    assert len(set(harness.ids())) == 12_350
    assert harness.requests_sent <= 130
    next_try = finished[START + timedelta(days=dead)].next_try
    assert next_try is not None
    assert timedelta(hours=23) < next_try - harness.clock.now() <= timedelta(days=1)


async def test_quarantined_day_costs_nothing_until_its_next_try_and_then_backs_off_longer(settings: Settings) -> None:
    dead = START + timedelta(days=2)
    harness = CollectorHarness(settings, dense_config(fixed_volume=10, dead_days=frozenset({dead})))
    await harness.collect("videos", days(5))
    before = harness.requests_sent
    finished, _ = await harness.collect("videos", days(5))
    assert harness.requests_sent == before
    assert finished[dead].state == "quarantined"
    harness.clock.advance(days=1, seconds=1)
    finished, _ = await harness.collect("videos", days(5))
    assert harness.requests_sent - before <= 2
    next_try = finished[dead].next_try
    assert next_try is not None
    assert next_try - harness.clock.now() > timedelta(days=1, hours=23)
    before = harness.requests_sent
    await harness.collect("videos", [dead], retry_now=True)
    assert harness.requests_sent > before


async def test_a_year_of_sparse_days_shares_requests(settings: Settings) -> None:
    harness = CollectorHarness(settings, dense_config(fixed_volume=3))
    spec = study(start=date(2025, 4, 1))
    finished, _ = await harness.collect("videos", days(365, spec.start), spec)
    assert {f.state for f in finished.values()} == {"complete"}
    assert len(finished) == 365
    assert harness.requests_sent == 12
    assert len(set(harness.ids())) == 3 * 365


async def test_pause_publishes_the_days_that_the_search_has_passed(settings: Settings) -> None:
    # Colleagues use the quota, so the run does not know that only 40 requests are left.
    harness = CollectorHarness(settings, dense_config(research_cap=40))
    finished, pause = await harness.collect("videos", days(7))
    assert pause is not None
    assert pause.retry_at.hour == 0
    assert harness.app.request_log.outcomes["daily_quota_limit_exceeded"] == 1
    # Ids of the last day can lie 60 hours before it, so the days that the search has passed since then are complete.
    assert {day: result.state for day, result in finished.items()} == {days(7)[-1]: "complete"}
    assert harness.sql("SELECT count(DISTINCT id) FROM {videos} WHERE day = DATE '2026-02-07'") == [(950,)]
    assert pause.remaining == days(6)
    harness.clock.moment = pause.retry_at
    finished, pause = await harness.collect("videos", days(7))
    assert pause is None
    assert {f.state for f in finished.values()} == {"complete"}
    assert [f.kept for _, f in sorted(finished.items())] == [950] * 7
    assert len(harness.ids()) == len(set(harness.ids())) == 7 * 950
    assert harness.app.request_log.outcomes["ok"] - 2 <= 67
    assert harness.app.request_log.outcomes["daily_quota_limit_exceeded"] == 1


async def test_search_that_does_not_fit_is_replaced_by_windows_that_do(settings: Settings) -> None:
    settings = replace(settings, research_cap=40)
    harness = CollectorHarness(settings, dense_config(research_cap=40))
    finished, pause = await harness.collect("videos", days(7))
    assert pause is not None
    assert sorted(finished) == list(days(7))[3:], "38 of 40 requests complete four days"
    assert {f.state for f in finished.values()} == {"complete"}
    assert harness.app.request_log.outcomes["daily_quota_limit_exceeded"] == 0
    harness.clock.moment = pause.retry_at
    finished, pause = await harness.collect("videos", days(7))
    assert pause is None
    assert {f.state for f in finished.values()} == {"complete"}
    assert len(set(harness.ids())) == 7 * 950
    assert harness.requests_sent <= 70


async def test_too_fresh_days_cost_no_request(settings: Settings) -> None:
    harness = CollectorHarness(settings, dense_config(fixed_volume=5))
    today = harness.clock.now().date()
    finished, _ = await harness.collect("videos", [today - timedelta(days=n) for n in range(5)])
    assert [finished[today - timedelta(days=n)].state for n in range(5)] == ["too_fresh"] * 3 + ["complete"] * 2
    assert harness.requests_sent == 1


async def test_empty_day_between_full_days_is_suspicious_until_another_day_confirms_the_result(
    settings: Settings,
) -> None:
    empty = START + timedelta(days=3)
    harness = CollectorHarness(settings, dense_config(fixed_volume=50, empty_days=frozenset({empty})))
    finished, _ = await harness.collect("videos", days(7))
    assert finished[empty].state == "suspicious"
    assert sum(f.state == "complete" for f in finished.values()) == 6
    harness.clock.advance(days=1, seconds=1)
    finished, _ = await harness.collect("videos", days(7))
    assert finished[empty].state == "complete"
    assert "different days" in (finished[empty].reason or "")


async def test_empty_search_without_an_error_completes_no_day(settings: Settings) -> None:
    harness = CollectorHarness(settings, dense_config(fixed_volume=50, empty_searches=1))
    finished, _ = await harness.collect("videos", days(7))
    assert {f.state for f in finished.values()} == {"complete"}
    assert len(set(harness.ids())) == 350


async def test_pages_of_another_search_do_not_complete_a_day(settings: Settings) -> None:
    harness = CollectorHarness(settings, dense_config(fixed_volume=950, foreign_page_searches=1))
    finished, _ = await harness.collect("videos", days(3))
    assert {f.state for f in finished.values()} == {"complete"}
    assert len(set(harness.ids())) == 3 * 950


async def test_month_of_dead_days_is_quarantined_within_40_requests(settings: Settings) -> None:
    harness = CollectorHarness(settings, dense_config(fixed_volume=50, dead_days=frozenset(days(31))))
    finished, _ = await harness.collect("videos", days(31))
    assert {f.state for f in finished.values()} == {"quarantined"}
    first = harness.requests_sent
    assert first <= 40
    harness.clock.advance(days=1, seconds=1)
    await harness.collect("videos", days(31))
    assert harness.requests_sent - first <= 7


@pytest.mark.parametrize("seed", range(3))
async def test_complete_days_lack_no_row_with_a_hostile_api(settings: Settings, seed: int) -> None:
    harness = CollectorHarness(
        settings, SandboxConfig(profile="hostile", seed=seed, fixed_volume=260, p_empty_search=0.05)
    )
    for _ in range(12):
        results, _ = await harness.collect("videos", days(10))
        if all(result.state == "complete" for result in results.values()) and len(results) == 10:
            break
        harness.clock.advance(days=2)
    stored = {row[0] for row in harness.sql("SELECT DISTINCT id FROM {videos}")}
    complete = {row[0] for row in harness.sql("SELECT unit FROM {coverage} WHERE state = 'complete'")}
    for day in days(10):
        if day.isoformat() in complete:
            query = {group: list(conditions) for group, conditions in QUERY.items()}
            expected = set(harness.app.ground_truth.videos(query, day, day)[day].deliverable)
            assert expected <= stored, f"{day} is called complete but lacks {len(expected - stored)} rows"
    assert len(complete) >= 8
