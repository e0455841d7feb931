"""Wide windows: one with many pages is split after its first page, without losing a row."""

import math
from dataclasses import replace

import pytest

from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.storage.captures import list_sealed
from research_assets.units.windows import MAX_WINDOW_PAGES
from research_assets_tests.collect.harness import CollectorHarness, days


@pytest.fixture
def harness(settings: Settings) -> CollectorHarness:
    """A sandbox with 95 videos a day; 31 days fill 295 pages of 10."""
    return CollectorHarness(replace(settings, page_size=10), SandboxConfig(fixed_volume=95))


async def test_window_with_many_pages_is_split_after_its_first_page(harness: CollectorHarness) -> None:
    finished, pause = await harness.collect("videos", days(31))
    assert pause is None
    assert len(finished) == 31
    assert {result.state for result in finished.values()} == {"complete"}
    assert [result.kept for result in finished.values()] == [95] * 31
    assert len(set(harness.ids())) == 31 * 95
    windows = list(list_sealed(harness.settings.captures))
    first = next(window for window in windows if (window.first, window.last) == ("2026-02-01", "2026-03-03"))
    assert first.pages == 1
    assert max(window.pages for window in windows) <= MAX_WINDOW_PAGES + 1
    assert harness.requests_sent <= 1.01 * sum(math.ceil(window.rows / 10) for window in windows)
    before = harness.requests_sent
    assert all(result.was_complete for result in (await harness.collect("videos", days(31)))[0].values())
    assert harness.requests_sent == before


async def test_window_is_planned_and_not_split_when_hits_per_day_are_known(harness: CollectorHarness) -> None:
    await harness.collect("videos", days(3))
    before = harness.requests_sent
    await harness.collect("videos", days(31))
    assert harness.requests_sent - before <= 28 * 9.5 * 1.02
    assert min(window.pages for window in list_sealed(harness.settings.captures)) > 1
