"""Estimator of the survival of items that are observed in rounds: the share that is still returned.

An item that a round does not return became unavailable at some time since it was last observed, so that its time is
known as an interval between two rounds only. The steps of the estimate are rounds, not days.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

from research_assets.estimates.quantiles import normal_quantile, t_quantile
from research_assets.estimates.shares import LEVEL

Counts = tuple[int, int]
"""Items at risk in one round, and those of them that neither this round nor a later one returned."""


@dataclass(frozen=True, slots=True)
class Survival:
    """The share of items that are still returned after a round, with two variances.

    `greenwood` assumes independent items. `jackknife` leaves out one cluster of items at a time, and allows for items
    of a cluster that become unavailable together. It is None for fewer than two clusters. A variance is None if no item
    remains.
    """

    at_risk: int
    lost: int
    share: float
    greenwood: float | None
    jackknife: float | None = None
    n_clusters: int = 0

    @property
    def is_clustered(self) -> bool:
        """Return whether the interval is that of the jackknife: there are clusters, and they differ."""
        # Rounding must not pass for a difference between clusters.
        return self.jackknife is not None and self.jackknife > 1e-12

    def interval(self, level: float = LEVEL) -> tuple[float, float] | None:
        """Return the confidence interval on the scale log(-log S), which stays within 0 and 1.

        It is that of the jackknife with t(m-1) quantiles if there are clusters that differ, otherwise Greenwood's. None
        without a variance, or if every item survived or none did.
        """
        if not 0 < self.share < 1:
            return None
        if self.jackknife is not None and self.is_clustered:
            variance, quantile = self.jackknife, t_quantile((1 + level) / 2, self.n_clusters - 1)
        elif self.greenwood is not None:
            variance, quantile = self.greenwood, normal_quantile((1 + level) / 2)
        else:
            return None
        half = quantile * sqrt(variance) / (self.share * -log(self.share))
        centre = log(-log(self.share))
        return exp(-exp(centre + half)), exp(-exp(centre - half))


def estimate_survival(rounds: Sequence[Counts]) -> list[Survival]:
    """Return the survival after each round: S = Π(1 - d/n), with Greenwood's variance S²·Σ d/(n(n - d)).

    A round without an item at risk changes nothing. Items may enter later (left truncation), and leave the observation
    while they are still returned (right censoring).
    """
    survival = []
    for share, (at_risk, lost), terms in _steps(rounds):
        survival.append(Survival(at_risk, lost, share, None if terms is None else share**2 * terms))
    return survival


def _steps(rounds: Sequence[Counts]) -> Iterable[tuple[float, Counts, float | None]]:
    share, terms = 1.0, 0.0
    is_certain = True
    for at_risk, lost in rounds:
        if at_risk:
            share *= 1 - lost / at_risk
            if at_risk > lost:
                terms += lost / (at_risk * (at_risk - lost))
            else:
                is_certain = False
        yield share, (at_risk, lost), terms if is_certain else None


def clustered_survival(clusters: Iterable[Sequence[Counts]]) -> list[Survival]:
    """Return the survival after each round, with the delete-one jackknife over clusters.

    Each cluster has its counts of every round. The variance is (m - 1)/m·Σ(S₍ᵢ₎ - S̄)², in which S₍ᵢ₎ is the
    estimate without cluster i and S̄ their mean (Efron and Tibshirani 1993, section 11.5).
    """
    # Clusters with the same counts have the same estimate; most creators have one video.
    numbers = Counter(tuple(cluster) for cluster in clusters if any(at_risk for at_risk, _ in cluster))
    if not numbers:
        return []
    columns = zip(*([(number * n, number * d) for n, d in cluster] for cluster, number in numbers.items()), strict=True)
    totals = [(sum(n for n, _ in column), sum(d for _, d in column)) for column in columns]
    whole, m = estimate_survival(totals), numbers.total()
    if m < 2:
        return whole
    without = [
        (number, [share for share, *_ in _steps(_subtract(totals, cluster))]) for cluster, number in numbers.items()
    ]
    survival = []
    for index, one in enumerate(whole):
        mean = sum(number * shares[index] for number, shares in without) / m
        variance = (m - 1) / m * sum(number * (shares[index] - mean) ** 2 for number, shares in without)
        survival.append(Survival(one.at_risk, one.lost, one.share, one.greenwood, variance, m))
    return survival


def _subtract(totals: Sequence[Counts], cluster: Sequence[Counts]) -> list[Counts]:
    return [(n - less, d - fewer) for (n, d), (less, fewer) in zip(totals, cluster, strict=True)]
