"""The yield of searches: the ratio of totals over searches, and its interval."""

from math import sqrt
from random import Random

import pytest

from research_assets.estimates.quantiles import t_quantile
from research_assets.estimates.shares import wilson_interval
from research_assets.estimates.yields import estimate_yield


def test_yield_is_the_ratio_of_totals_with_the_variance_between_searches() -> None:
    # Σk/Σo = 240/300; the residuals k - 0.8·o are 2, -3 and 1.
    found = estimate_yield([(100, 82), (150, 117), (50, 41), (0, 0)])
    assert found is not None
    assert (found.share, found.returned, found.reported, found.n_searches) == (0.8, 240, 300, 3)
    assert found.variance == pytest.approx(3 / 2 * (4 + 9 + 1) / 300**2)
    low, high = found.interval()
    assert (low + high) / 2 == pytest.approx(0.8)
    assert high - low == pytest.approx(2 * t_quantile(0.975, 2) * sqrt(21) / 300)


def test_interval_of_one_search_is_that_of_independent_rows() -> None:
    one = estimate_yield([(10, 8)])
    assert one is not None
    assert (one.share, one.variance) == (0.8, None)
    # Wilson's interval of 8 of 10.
    assert one.interval() == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert estimate_yield([]) is estimate_yield([(0, 0)]) is None


@pytest.mark.parametrize("searches", [[(10, 10), (5, 5)], [(10, 0), (5, 0)], [(10, 8), (5, 4), (20, 16)], [(3, 4)]])
def test_interval_of_searches_that_do_not_differ_is_that_of_independent_rows(searches: list[tuple[int, int]]) -> None:
    # Without a difference between searches their variance is 0, which is no evidence of a certain yield.
    found = estimate_yield(searches)
    assert found is not None
    assert not found.shows_difference
    returned = min(found.returned, found.reported)
    assert found.interval() == wilson_interval(returned, found.reported)
    low, high = found.interval()
    assert high - low > 0.1


def test_interval_of_a_high_yield_covers_it() -> None:
    # Three searches of 20 rows return all of them in more than half of the draws.
    random, hits = Random(5), 0
    for _ in range(400):
        found = estimate_yield([(20, sum(random.random() < 0.99 for _ in range(20))) for _ in range(3)])
        low, high = found.interval() if found else (1, 0)
        hits += low <= 0.99 <= high
    assert hits >= 372


@pytest.mark.long
@pytest.mark.parametrize("n_days", [28, 60])
def test_interval_of_the_yield_covers_the_truth(n_days: int) -> None:
    # With 14 days of such unequal sizes the coverage is 94 %, with 10 days 93.5 % (4,000 draws).
    random, hits = Random(1), 0
    for _ in range(1000):
        days = []
        for _ in range(n_days):
            offered, share = random.randint(20, 200), random.betavariate(30, 10)
            days.append((offered, sum(random.random() < share for _ in range(offered))))
        found = estimate_yield(days)
        low, high = found.interval() if found else (1, 0)
        hits += low <= 0.75 <= high
    assert 930 <= hits <= 970
