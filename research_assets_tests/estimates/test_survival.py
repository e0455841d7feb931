"""The survival of items over rounds: the product-limit estimator, Greenwood's variance and the jackknife."""

from collections.abc import Sequence
from math import exp, log
from random import Random
from statistics import mean

import pytest

from research_assets.estimates.survival import Survival, clustered_survival, estimate_survival

SHARES = (0.9, 0.95, 0.85)
"""Shares of items that survive each of three rounds in the simulations."""
TRUTH = 0.9 * 0.95 * 0.85


def test_survival_is_a_product_with_greenwoods_variance() -> None:
    first, second, third, fourth = estimate_survival([(10, 2), (0, 0), (8, 4), (4, 4)])
    assert (first.share, second.share, third.share, fourth.share) == pytest.approx((0.8, 0.8, 0.4, 0.0))
    assert first.greenwood == pytest.approx(0.8 * 0.2 / 10)
    assert third.greenwood == pytest.approx(0.16 * (2 / 80 + 4 / 32))
    assert fourth.greenwood is None
    low, high = third.interval() or (0, 0)
    assert 0 < low < 0.4 < high < 1
    half = 1.959964 * (third.greenwood or 0) ** 0.5 / (0.4 * -log(0.4))
    assert low == pytest.approx(exp(-exp(log(-log(0.4)) + half)))
    assert estimate_survival([(5, 0)])[0].interval() is None


def test_jackknife_leaves_out_one_cluster_at_a_time() -> None:
    clusters = [[(2, 1), (1, 0)], [(2, 1), (1, 0)], [(3, 0), (3, 2)], [(1, 0), (1, 1)], [(0, 0), (0, 0)]]
    estimates = clustered_survival(clusters)
    assert [(one.at_risk, one.lost, one.n_clusters) for one in estimates] == [(8, 2, 4), (6, 3, 4)]
    without = [
        estimate_survival(
            [
                (sum(c[r][0] for c in rest), sum(c[r][1] for c in rest))
                for r in range(2)
                for rest in [[*clusters[:left_out], *clusters[left_out + 1 :]]]
            ]
        )
        for left_out in range(4)
    ]
    for number, one in enumerate(estimates):
        shares = [survival[number].share for survival in without]
        assert one.jackknife == pytest.approx(3 / 4 * sum((share - mean(shares)) ** 2 for share in shares))


def test_survival_without_or_with_one_cluster_has_no_jackknife() -> None:
    assert clustered_survival([]) == clustered_survival([[(0, 0)]]) == []
    [one] = clustered_survival([[(4, 1)]])
    assert (one.share, one.jackknife) == (0.75, None)
    assert one.interval() == estimate_survival([(4, 1)])[0].interval()


def test_clusters_that_do_not_differ_have_greenwoods_interval() -> None:
    # The jackknife is 0 except for rounding, which is no evidence of a certain share.
    for clusters in ([[(2, 1)]] * 2, [[(5, 1), (4, 0)]] * 6):
        last = clustered_survival(clusters)[-1]
        assert not last.is_clustered
        assert last.interval() == estimate_survival(add(clusters))[-1].interval()
        low, high = last.interval() or (0, 0)
        assert high - low > 0.1
    assert clustered_survival([[(2, 1)], [(2, 1)], [(2, 0)]])[-1].is_clustered


def follow(random: Random, shares: Sequence[float]) -> list[tuple[int, int]]:
    """Return the counts of one item that enters before the first or the second round and may leave observation."""
    start = random.choice([0, 0, 0, 1])
    counts = [(0, 0)] * len(shares)
    for number in range(start, random.choice([2, 3, 3])):
        is_lost = random.random() >= shares[number]
        counts[number] = (1, int(is_lost))
        if is_lost:
            break
    return counts


def add(items: Sequence[Sequence[tuple[int, int]]]) -> list[tuple[int, int]]:
    return [(sum(n for n, _ in column), sum(d for _, d in column)) for column in zip(*items, strict=True)]


def hits(estimates: Sequence[Survival]) -> bool:
    low, high = estimates[-1].interval() or (1, 0)
    return low <= TRUTH <= high


@pytest.mark.long
@pytest.mark.parametrize("n_items", [60, 400])
def test_greenwood_interval_covers_the_truth_of_independent_items(n_items: int) -> None:
    random = Random(2)
    covered = sum(hits(estimate_survival(add([follow(random, SHARES) for _ in range(n_items)]))) for _ in range(1000))
    assert 930 <= covered <= 970


@pytest.mark.long
@pytest.mark.parametrize("n_creators", [100, 200])
def test_jackknife_interval_covers_the_truth_of_clustered_items(n_creators: int) -> None:
    """Half of the losses of a creator concern all of its items, as when an account becomes private."""
    random, covered, greenwood = Random(3), 0, 0
    for _ in range(1000):
        creators = []
        for _ in range(n_creators):
            account = [random.random() < share**0.5 for share in SHARES]
            shares = [share**0.5 * is_open for share, is_open in zip(SHARES, account, strict=True)]
            creators.append(add([follow(random, shares) for _ in range(random.choice([1, 1, 2, 3, 8]))]))
        covered += hits(clustered_survival(creators))
        greenwood += hits(estimate_survival(add(creators)))
    assert 930 <= covered <= 970
    # Why the jackknife: the interval for independent items is too narrow.
    assert greenwood < covered - 50
