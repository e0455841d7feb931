"""A first window that proves large after one page is asked as several, side by side, and nothing is lost by it."""

import math
from dataclasses import replace

import pytest

from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.storage.captures import list_sealed
from research_assets.units.windows import MAX_WINDOW_PAGES
from research_assets_tests.collect.harness import CollectorHarness, days


@pytest.fixture
def lab(settings: Settings) -> CollectorHarness:
    """31 days of 95 videos, which fill 295 pages of 10."""
    return CollectorHarness(replace(settings, page_size=10), SandboxConfig(fixed_volume=95))


async def test_a_window_that_proves_large_is_asked_as_several(lab: CollectorHarness) -> None:
    finished, pause = await lab.collect("videos", days(31))
    assert pause is None
    assert len(finished) == 31
    assert {result.state for result in finished.values()} == {"complete"}
    assert [result.kept for result in finished.values()] == [95] * 31
    assert len(set(lab.ids())) == 31 * 95
    windows = list(list_sealed(lab.settings.captures))
    first = next(window for window in windows if (window.first, window.last) == ("2026-02-01", "2026-03-03"))
    assert first.pages == 1
    assert max(window.pages for window in windows) <= MAX_WINDOW_PAGES + 1
    assert lab.requests_sent <= 1.01 * sum(math.ceil(window.rows / 10) for window in windows)
    before = lab.requests_sent
    assert all(result.was_complete for result in (await lab.collect("videos", days(31)))[0].values())
    assert lab.requests_sent == before


async def test_where_the_density_is_known_windows_are_planned_and_not_given_up(lab: CollectorHarness) -> None:
    await lab.collect("videos", days(3))
    before = lab.requests_sent
    await lab.collect("videos", days(31))
    assert lab.requests_sent - before <= 28 * 9.5 * 1.02
    assert min(window.pages for window in list_sealed(lab.settings.captures)) > 1
