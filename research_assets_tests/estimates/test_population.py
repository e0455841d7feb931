"""The size of a population from shared items: values by hand, and its two known limits."""

from random import Random

import pytest

from research_assets.estimates.population import (
    compare_lists,
    draws_for_precision,
    estimate_population,
    uniformity_p_value,
)
from research_assets.estimates.quantiles import poisson_limits


def test_estimate_is_the_ratio_of_pairs_and_shared_items() -> None:
    found = estimate_population([{1, 2, 3, 4}, {3, 4, 5}, {4, 6}])
    # Pairs: 4·3 + 4·2 + 3·2. Item 3 is shared once, item 4 by three pairs.
    assert (found.n_draws, found.n_drawn, found.n_distinct, found.n_pairs, found.n_shared) == (3, 9, 6, 26, 4)
    assert found.estimate == 6.5
    low, high = poisson_limits(4)
    assert found.high == pytest.approx(26 / low)
    # There are at least as many as were seen.
    assert found.low == max(6, 26 / high) == 6


def test_no_estimate_is_below_the_number_of_seen_items() -> None:
    # Ten draws of 24 items that are always drawn and one other: the ratio is 26, and 34 items were seen.
    found = estimate_population([{*range(24), 100 + draw} for draw in range(10)])
    assert found.n_pairs / found.n_shared == pytest.approx(26.04, abs=0.01)
    assert (found.n_distinct, found.estimate, found.low, found.high) == (34, 34, 34, 34)


def test_without_shared_items_there_is_a_lower_limit_only() -> None:
    found = estimate_population([range(100), range(100, 200)])
    assert (found.estimate, found.high) == (None, None)
    assert found.low == pytest.approx(10_000 / 3.688879, rel=1e-5)
    assert estimate_population([]).estimate is None


def test_draws_are_planned_from_the_precision() -> None:
    # 385 shared videos for 10 %; a pair of draws shares 100²/1,737 = 5.76 on average.
    assert draws_for_precision(1737, 0.1) == 13
    assert draws_for_precision(1737, 0.05) == 24
    assert draws_for_precision(50, 0.5) == 3
    assert draws_for_precision(100_000, 0.1) == 89


def test_classes_that_are_drawn_more_often_are_found() -> None:
    def draws(often: int) -> list[dict[int, str]]:
        # Each draw has 50 of 1,000 items of class a, and 50 of 1,000 / often items of class b.
        rng = Random(1)
        return [
            dict.fromkeys(rng.sample(range(1000), 50), "a")
            | dict.fromkeys(rng.sample(range(1000, 1000 + 1000 // often), 50), "b")
            for _ in range(20)
        ]

    even, uneven = uniformity_p_value(draws(1)), uniformity_p_value(draws(10))
    assert even is not None
    assert uneven is not None
    assert even > 0.01 > uneven
    assert uniformity_p_value([{1: "a"}, {1: "a"}]) is None
    assert uniformity_p_value([]) is None


def test_two_lists_are_compared_by_jaccard_and_chapman() -> None:
    found = compare_lists(200, 150, 120)
    assert found.jaccard == pytest.approx(120 / 230)
    assert found.estimate == pytest.approx(201 * 151 / 121 - 1)
    assert found.standard_error == pytest.approx((201 * 151 * 80 * 30 / (121**2 * 122)) ** 0.5)
    same = compare_lists(7, 7, 7)
    assert (same.jaccard, same.estimate, same.standard_error) == (1, 7, 0)
    assert (compare_lists(0, 0, 0).jaccard, compare_lists(0, 0, 0).estimate) == (1, 0)
