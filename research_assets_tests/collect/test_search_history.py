"""Evaluation of windows: empty days, low-volume days, canary checks, and the window width."""

from datetime import date, timedelta

import httpx
import orjson
import pytest

from research_assets.collect.search.history import SearchHistory
from research_assets.collect.search.progress import SearchProgress
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.units.windows import SearchWindow
from research_assets_tests.collect.harness import (
    START,
    CollectorHarness,
    TamperingTransport,
    change_data,
    days,
    ids_as_text,
    study,
)
from research_assets_tests.collect.test_username_batches import panel, usernames_of


def volume_config(number: int, **knobs: object) -> SandboxConfig:
    return SandboxConfig(**{"fixed_volume": number, "profile": "clean"} | knobs)  # type: ignore[arg-type]


def count_canary_requests(harness: CollectorHarness) -> int:
    rows = list(harness.ledger.iter_requests())
    return sum(row["unit"].startswith("canary") for row in rows)


async def test_empty_month_after_a_sparse_month_is_suspicious(settings: Settings) -> None:
    month = days(31, START + timedelta(days=31))
    harness = CollectorHarness(settings, volume_config(3, empty_days=frozenset(month)))
    await harness.collect("videos", days(31))
    before = harness.requests_sent
    finished, pause = await harness.collect("videos", month)
    assert pause is None
    assert {f.state for f in finished.values()} == {"suspicious"}
    assert "31 days" in (finished[month[0]].reason or "")
    assert harness.requests_sent - before == 3, "the window twice and the canary check"
    assert count_canary_requests(harness) == 1
    assert sum(f.requests for f in finished.values()) == pytest.approx(3), "two searches and the canary check"
    harness.clock.advance(days=1, seconds=1)
    finished, _ = await harness.collect("videos", month)
    assert {f.state for f in finished.values()} == {"complete"}


async def test_unanswered_query_stops_the_run(settings: Settings) -> None:
    harness = CollectorHarness(settings, volume_config(50))
    await harness.collect("videos", days(10))
    nothing = TamperingTransport(
        harness, lambda _, r: change_data(r, videos=None, cursor=0, has_more=False, search_id=None)
    )
    before = harness.requests_sent
    for attempt in range(2):
        finished, pause = await harness.collect("videos", days(41), transport=nothing, concurrency=1)
        assert pause is not None
        assert "not answering this query" in pause.reason
        states = {day: finished[day].state for day in days(41)[10:] if day in finished}
        assert set(states.values()) == {"suspicious"}
        assert harness.requests_sent - before <= 4
        before = harness.requests_sent
        harness.clock.moment = pause.retry_at
        assert attempt or pause.retry_at > harness.clock.now() - timedelta(seconds=1)
    finished, pause = await harness.collect("videos", days(41))
    assert pause is None
    assert {f.state for f in finished.values()} == {"complete"}
    assert len(set(harness.ids())) == 41 * 50


@pytest.mark.parametrize(("by_accounts", "text"), [(False, False), (True, False), (False, True)])
async def test_low_volume_day_is_complete_with_a_reason_if_the_canary_check_finds_videos(
    settings: Settings, by_accounts: bool, text: bool
) -> None:
    harness = CollectorHarness(settings, volume_config(90))
    # The API matches handles case-insensitively, so a study may spell them differently than the responses.
    spec = usernames_of([name.upper() for name in panel(harness, 64)]) if by_accounts else study()
    await harness.collect("videos", days(10), spec)
    low_volume = START + timedelta(days=10)

    def drop_videos(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        body = orjson.loads(request.content)
        data = orjson.loads(response.content)["data"]
        canary = any(c["field_name"] == "video_id" for c in body["query"]["and"])
        if canary:
            return ids_as_text(response) if text else None
        return change_data(response, videos=data["videos"][:2], cursor=2, has_more=False)

    finished, _ = await harness.collect(
        "videos", [low_volume], spec, transport=TamperingTransport(harness, drop_videos), username_batch=64
    )
    assert finished[low_volume].state == "complete"
    assert finished[low_volume].reason == "Only 2 hits; 90 are usual."
    assert count_canary_requests(harness) == 1


async def test_day_that_lost_all_its_videos_is_suspicious(settings: Settings) -> None:
    harness = CollectorHarness(settings, volume_config(20))
    await harness.collect("videos", days(2))
    nothing = TamperingTransport(
        harness, lambda _, r: change_data(r, videos=[], cursor=0, has_more=False, search_id=None)
    )
    finished, _ = await harness.collect("videos", days(1), recollect=True, transport=nothing)
    assert finished[START].state == "suspicious"
    finished, _ = await harness.collect("videos", days(1))
    assert finished[START].state == "complete", "a complete day stays complete"


def make_progress(first: int, last: int, *, hits: int = 0, failures: int = 0) -> SearchProgress:
    window = SearchWindow(START + timedelta(days=first), START + timedelta(days=last), failures)
    progress = SearchProgress(window, pages=1, has_more=False)
    for day in window.days:
        progress.offered[day] = progress.kept[day] = hits
    return progress


def test_window_width_falls_with_failures_and_rises_with_successes() -> None:
    history = SearchHistory({}, configured_max_days=31, page_size=100)
    widths = []
    for first in range(4):
        history.record_outcome(make_progress(first, first + history.max_window_days - 1), "failed")
        widths.append(history.max_window_days)
    assert widths == [31, 15, 7, 3]
    for first in range(4):
        history.record_outcome(make_progress(first, first + history.max_window_days - 1, hits=1), "done")
        widths.append(history.max_window_days)
    assert widths[4:] == [6, 12, 24, 31]


def test_split_window_does_not_change_the_window_width() -> None:
    history = SearchHistory({}, configured_max_days=31, page_size=100)
    for first in range(9):
        history.record_outcome(make_progress(first, first + 7, failures=1), "failed")
    assert history.max_window_days == 31


def test_windows_are_no_more_than_searches_that_run_at_a_time() -> None:
    """One window more would run alone in the end, and take as long as all others together."""
    history = SearchHistory({}, configured_max_days=31, page_size=100, concurrency=16)
    history.hits_per_day = {START - timedelta(days=1): 1000.0}
    windows = history.windows([START + timedelta(days=i) for i in range(100)], set(), 10_000)
    assert len(windows) <= 16
    assert sum(len(window.days) for window in windows) == 100


def test_split_window_shows_the_density_of_the_others_before_any_day_is_complete() -> None:
    history = SearchHistory({}, configured_max_days=31, page_size=100, concurrency=16)
    first, second = history.windows([START + timedelta(days=i) for i in range(62)], set(), 10_000)
    assert history.expected_hits(second.days) is None
    highest_id = int((first.search_end - timedelta(minutes=1)).timestamp()) << 32
    progress = SearchProgress(first, pages=1, highest_id=highest_id, lowest_id=highest_id - (8640 << 32))
    progress.recent_pages.append((highest_id, 100))
    history.record_outcome(progress, "wide")
    assert history.expected_hits(second.days) == pytest.approx(31 * 1000, rel=0.02)
    narrower = history.narrow(second, set(), 10_000)
    assert narrower is not None
    assert len(narrower) > 3


async def test_months_that_fail_as_one_window_are_collected_in_narrower_windows(settings: Settings) -> None:
    first = date(2025, 6, 1)
    harness = CollectorHarness(settings, volume_config(3))

    def too_wide(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        body = orjson.loads(request.content)
        wide = date.fromisoformat(body["end_date"]) - date.fromisoformat(body["start_date"]) > timedelta(days=8)
        return httpx.Response(504, text="<html>", headers={"date": response.headers["date"]}) if wide else None

    spec = study(start=first)
    finished, _ = await harness.collect(
        "videos", days(124, first), spec, transport=TamperingTransport(harness, too_wide), concurrency=1
    )
    assert {f.state for f in finished.values()} == {"complete"}
    assert harness.requests_sent <= 16 + 12
