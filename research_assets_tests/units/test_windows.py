"""The planner: windows cover what is wanted, and no cheaper cut exists."""

from datetime import date, timedelta
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.units.windows import (
    SearchWindow,
    apportion,
    estimate_hits_per_day,
    plan_windows,
    requests_for_hits,
    split_window,
)

FIRST = date(2026, 1, 1)


def day(offset: int) -> date:
    return FIRST + timedelta(days=offset)


def total_requests(windows: list[SearchWindow], density: dict[date, float]) -> int:
    return sum(requests_for_hits(sum(density.get(d, 0.0) for d in window.days)) for window in windows)


wanted_days = st.sets(st.integers(0, 80), min_size=1, max_size=40)
densities = st.lists(st.integers(0, 400), min_size=81, max_size=81)


@given(wanted_days, densities, st.integers(1, 31))
def test_the_windows_cover_every_wanted_day_once_and_none_is_too_long(
    offsets: set[int], hits: list[int], most_days: int
) -> None:
    density = {day(i): float(n) for i, n in enumerate(hits)}
    windows = plan_windows([day(i) for i in offsets], density, most_days=most_days)
    covered = [d for window in windows for d in window.days]
    assert {day(i) for i in offsets} <= set(covered)
    assert len(covered) == len(set(covered))
    assert all(len(window.days) <= most_days for window in windows)
    assert all(
        window.first in {day(i) for i in offsets} and window.last in {day(i) for i in offsets} for window in windows
    )
    assert windows == sorted(windows, key=lambda window: window.first, reverse=True)


@given(st.sets(st.integers(0, 14), min_size=1, max_size=9), st.lists(st.integers(0, 250), min_size=15, max_size=15))
def test_no_cut_is_cheaper_than_the_plan(offsets: set[int], hits: list[int]) -> None:
    density = {day(i): float(n) for i, n in enumerate(hits)}
    wanted = sorted(offsets)

    @cache
    def cheapest(start: int) -> int:
        if start == len(wanted):
            return 0
        return min(
            requests_for_hits(sum(hits[wanted[start] : wanted[end] + 1])) + cheapest(end + 1)
            for end in range(start, len(wanted))
        )

    plan = plan_windows([day(i) for i in wanted], density, most_days=31, most_pages=10_000)
    assert total_requests(plan, density) == cheapest(0)


def test_a_year_of_sparse_days_shares_twelve_requests() -> None:
    density = {day(i): 3.0 for i in range(365)}
    windows = plan_windows(list(density), density)
    assert len(windows) == 12
    assert total_requests(windows, density) == 12


def test_an_unknown_density_asks_the_widest_windows() -> None:
    assert [len(w.days) for w in plan_windows([day(i) for i in range(62)], {})] == [31, 31]


def test_known_dense_days_are_cut_for_working_side_by_side_at_under_one_percent() -> None:
    density = {day(i): 950.0 for i in range(100)}
    windows = plan_windows(list(density), density)
    assert len(windows) >= 10
    assert total_requests(windows, density) <= 950 * 1.01


def test_one_missing_day_between_held_ones_is_asked_alone() -> None:
    density = {day(i): 950.0 for i in range(10)}
    assert plan_windows([day(2), day(8)], density) == [SearchWindow(day(8), day(8)), SearchWindow(day(2), day(2))]


def test_sparse_gaps_are_bridged_because_that_is_cheaper() -> None:
    density = {day(i): 2.0 for i in range(10)}
    assert plan_windows([day(0), day(4), day(9)], density) == [SearchWindow(day(0), day(9))]


@given(st.integers(2, 31), st.integers(0, 5), st.lists(st.integers(0, 2000), min_size=31, max_size=31))
def test_halves_make_up_the_window_and_remember_the_failure(length: int, failures: int, hits: list[int]) -> None:
    window = SearchWindow(day(0), day(length - 1), failures)
    older, newer = split_window(window, {day(i): float(n) for i, n in enumerate(hits)})
    assert older.days + newer.days == window.days
    assert older.n_failures == newer.n_failures == failures + 1
    assert abs(len(older.days) - len(newer.days)) <= 3


def test_halves_waste_the_least_of_their_pages() -> None:
    density = {day(i): 950.0 for i in range(14)}
    older, newer = split_window(SearchWindow(day(0), day(13)), density)
    assert {len(older.days), len(newer.days)} == {6, 8}


@given(st.integers(0, 10_000), st.dictionaries(st.integers(0, 30).map(day), st.floats(0, 1e6), min_size=1))
def test_apportioning_loses_nothing(total: int, weights: dict[date, float]) -> None:
    shares = apportion(total, weights)
    assert sum(shares.values()) == total
    assert all(share >= 0 for share in shares.values())


def test_densities_spread_from_the_nearest_days_and_unknown_is_not_zero() -> None:
    assert estimate_hits_per_day({}, [day(0)]) == {}
    expected = estimate_hits_per_day({day(0): 10.0, day(1): 20.0}, [day(0), day(5)])
    assert expected == {day(0): 10.0, day(5): pytest.approx(15.0)}
