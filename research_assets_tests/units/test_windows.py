"""Windows of a search: they cover the requested days, and no other plan needs fewer requests."""

import math
from datetime import date, timedelta
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.units.windows import (
    MAX_WINDOW_PAGES,
    MIN_WINDOW_PAGES,
    SPLIT_PAGES,
    SearchWindow,
    apportion,
    estimate_hits_per_day,
    even_window_pages,
    plan_windows,
    requests_for_hits,
    split_window,
)

FIRST = date(2026, 1, 1)


def day(offset: int) -> date:
    return FIRST + timedelta(days=offset)


def total_requests(windows: list[SearchWindow], hits_per_day: dict[date, float]) -> int:
    return sum(requests_for_hits(sum(hits_per_day.get(d, 0.0) for d in window.days)) for window in windows)


requested_days = st.sets(st.integers(0, 80), min_size=1, max_size=40)
daily_hits = st.lists(st.integers(0, 400), min_size=81, max_size=81)


@given(requested_days, daily_hits, st.integers(1, 31))
def test_windows_cover_every_requested_day_once_within_the_maximum_length(
    offsets: set[int], hits: list[int], max_days: int
) -> None:
    hits_per_day = {day(i): float(n) for i, n in enumerate(hits)}
    windows = plan_windows([day(i) for i in offsets], hits_per_day, max_days=max_days)
    covered = [d for window in windows for d in window.days]
    assert {day(i) for i in offsets} <= set(covered)
    assert len(covered) == len(set(covered))
    assert all(len(window.days) <= max_days for window in windows)
    assert all(
        window.first in {day(i) for i in offsets} and window.last in {day(i) for i in offsets} for window in windows
    )
    assert windows == sorted(windows, key=lambda window: window.first, reverse=True)


@given(st.sets(st.integers(0, 14), min_size=1, max_size=9), st.lists(st.integers(0, 250), min_size=15, max_size=15))
def test_no_other_plan_needs_fewer_requests(offsets: set[int], hits: list[int]) -> None:
    hits_per_day = {day(i): float(n) for i, n in enumerate(hits)}
    requested = sorted(offsets)

    @cache
    def cheapest(start: int) -> int:
        if start == len(requested):
            return 0
        return min(
            requests_for_hits(sum(hits[requested[start] : requested[end] + 1])) + cheapest(end + 1)
            for end in range(start, len(requested))
        )

    plan = plan_windows([day(i) for i in requested], hits_per_day, max_days=31, max_pages=10_000)
    assert total_requests(plan, hits_per_day) == cheapest(0)


def test_year_of_sparse_days_needs_twelve_requests() -> None:
    hits_per_day = {day(i): 3.0 for i in range(365)}
    windows = plan_windows(list(hits_per_day), hits_per_day)
    assert len(windows) == 12
    assert total_requests(windows, hits_per_day) == 12


def test_days_without_known_hits_are_in_the_widest_windows() -> None:
    assert [len(w.days) for w in plan_windows([day(i) for i in range(62)], {})] == [31, 31]


def test_dense_days_are_in_several_windows_that_cost_under_one_percent_more() -> None:
    hits_per_day = {day(i): 950.0 for i in range(100)}
    windows = plan_windows(list(hits_per_day), hits_per_day)
    assert len(windows) >= 10
    assert total_requests(windows, hits_per_day) <= 950 * 1.01


@given(pages=st.floats(1, 100_000), per_day=st.floats(0, 60), concurrency=st.integers(1, 32))
def test_windows_fill_whole_rounds_of_concurrent_searches(pages: float, per_day: float, concurrency: int) -> None:
    size = even_window_pages(pages, per_day, concurrency)
    assert MIN_WINDOW_PAGES <= size <= SPLIT_PAGES
    rounds = math.ceil(pages / (MAX_WINDOW_PAGES * concurrency))
    # A window that ends with a whole day may be shorter than its size by a day.
    if size < SPLIT_PAGES:
        assert pages / (size - math.floor(per_day)) <= rounds * concurrency + 1e-6


def test_dense_missing_days_have_a_window_each() -> None:
    hits_per_day = {day(i): 950.0 for i in range(10)}
    assert plan_windows([day(2), day(8)], hits_per_day) == [SearchWindow(day(8), day(8)), SearchWindow(day(2), day(2))]


def test_window_spans_sparse_gaps_if_that_needs_fewer_requests() -> None:
    hits_per_day = {day(i): 2.0 for i in range(10)}
    assert plan_windows([day(0), day(4), day(9)], hits_per_day) == [SearchWindow(day(0), day(9))]


@given(st.integers(2, 31), st.integers(0, 5), st.lists(st.integers(0, 2000), min_size=31, max_size=31))
def test_split_windows_make_up_the_window_and_count_the_failure(length: int, failures: int, hits: list[int]) -> None:
    window = SearchWindow(day(0), day(length - 1), failures)
    older, newer = split_window(window, {day(i): float(n) for i, n in enumerate(hits)})
    assert older.days + newer.days == window.days
    assert older.n_failures == newer.n_failures == failures + 1
    assert abs(len(older.days) - len(newer.days)) <= 3


def test_window_splits_where_the_parts_need_the_fewest_requests() -> None:
    hits_per_day = {day(i): 950.0 for i in range(14)}
    older, newer = split_window(SearchWindow(day(0), day(13)), hits_per_day)
    assert {len(older.days), len(newer.days)} == {6, 8}


@given(st.integers(0, 10_000), st.dictionaries(st.integers(0, 30).map(day), st.floats(0, 1e6), min_size=1))
def test_apportioned_shares_sum_up_to_the_total(total: int, weights: dict[date, float]) -> None:
    shares = apportion(total, weights)
    assert sum(shares.values()) == total
    assert all(share >= 0 for share in shares.values())


def test_expected_hits_come_from_the_nearest_days_and_are_unknown_without_any() -> None:
    assert estimate_hits_per_day({}, [day(0)]) == {}
    expected = estimate_hits_per_day({day(0): 10.0, day(1): 20.0}, [day(0), day(5)])
    assert expected == {day(0): 10.0, day(5): pytest.approx(15.0)}
