"""Totals and ratios of stratified samples against values computed by hand."""

from math import sqrt

import pytest

from research_assets.estimates.stratified import Stratum, estimate_ratio, estimate_total


def stratum(size: int, *values: float) -> Stratum:
    return Stratum(size, tuple((value, 1.0) for value in values))


def test_total_and_its_error_are_those_of_the_textbook() -> None:
    total = estimate_total([stratum(10, 1, 3), stratum(6, 5, 5, 8)])
    # Variances of the strata: 2 and 3.
    assert total.value == 10 * 2 + 6 * 6
    assert total.standard_error == pytest.approx(sqrt(100 * (1 - 2 / 10) * 2 / 2 + 36 * (1 - 3 / 6) * 3 / 3))
    assert total.degrees == 3
    interval = total.interval()
    assert interval is not None
    assert interval[1] - 56 == pytest.approx(3.182446 * (total.standard_error or 0), rel=1e-6)


def test_mean_of_all_items_is_a_ratio() -> None:
    mean = estimate_ratio([stratum(10, 1, 3), stratum(6, 5, 5, 8)])
    assert mean is not None
    assert mean.value == 56 / 16
    # Within strata of known size the residuals have the variance of the values.
    assert mean.standard_error == pytest.approx(sqrt(80 + 18) / 16)
    assert estimate_ratio([Stratum(3, ((1.0, 0.0),))]) is None


def test_strata_with_one_item_are_collapsed_in_pairs() -> None:
    total = estimate_total([stratum(4, 10), stratum(4, 12), stratum(4, 30), stratum(4, 33), stratum(4, 36)])
    assert total.value == 4 * 121
    # (40 - 48)², and three strata with totals 120, 132, 144 around 132; one of four items of each is sampled.
    assert total.standard_error == pytest.approx(sqrt(0.75 * (2 * (4**2 + 4**2) + 3 / 2 * (12**2 + 12**2))))
    assert total.degrees == 3


def test_without_variance_there_is_no_error() -> None:
    assert estimate_total([stratum(4, 10)]).standard_error is None
    assert estimate_total([stratum(4, 10)]).interval() is None
    census = estimate_total([stratum(2, 10, 20), stratum(1, 5)])
    assert (census.value, census.standard_error) == (35, 0)
    # Seven sampled days without a video do not show that no day has one.
    equal = estimate_total([stratum(28, *[0.0] * 7)])
    assert (equal.value, equal.standard_error, equal.interval()) == (0, None, None)


def test_stratum_without_a_value_joins_its_neighbour() -> None:
    assert estimate_total([stratum(4), stratum(4, 1, 3), stratum(2)]).value == 10 * 2


def test_stratum_without_a_value_prefers_a_neighbour_of_its_group() -> None:
    monday, tuesday = [stratum(4, 1, 3)], [Stratum(2, (), group=1), Stratum(4, ((10.0, 1.0), (20.0, 1.0)), group=1)]
    assert estimate_total([*monday, *tuesday]).value == 4 * 2 + 6 * 15
    # A group of which nothing is known has that of its neighbour.
    assert estimate_total([*monday, *tuesday[:1]]).value == 6 * 2


def test_single_stratum_with_one_item_takes_the_variance_of_both_with_its_neighbour() -> None:
    total = estimate_total([stratum(4, 1, 3), stratum(5, 5)])
    assert total.value == 4 * 2 + 5 * 5
    # 1, 3 and 5 have the variance 4.
    assert total.standard_error == pytest.approx(sqrt(16 * (1 - 2 / 4) * 2 / 2 + 5 * (5 - 1) * 4))
    assert total.degrees == 2


def test_pairs_of_unequal_size_have_the_variance_of_their_items() -> None:
    # The items differ by 2, so their variance is 2.
    assert estimate_total([stratum(8, 10), stratum(3, 12)]).standard_error == pytest.approx(sqrt((8 * 7 + 3 * 2) * 2))
