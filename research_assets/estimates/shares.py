"""Intervals of a share: of independent items, and of items that were drawn in clusters (a ratio of cluster totals)."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

from research_assets.estimates.quantiles import normal_quantile, t_quantile

LEVEL = 0.95
"""Level of the confidence intervals."""

MIN_CLUSTERS = 10
"""Number of clusters below which the interval of a share may be too narrow: its variance rests on few differences."""


@dataclass(frozen=True, slots=True)
class ClusterShare:
    """A share of items that were drawn in clusters.

    `number` and `hits` are sums over the clusters. `variance` is that of a ratio of cluster totals, m/(m-1) times
    Σ(y-r·x)²/(Σx)² (Cochran 1977, section 6). It is None for fewer than two clusters, about which nothing is known.
    """

    number: float
    hits: float
    n_clusters: int
    variance: float | None

    @property
    def share(self) -> float:
        """Return hits as a share of the items."""
        return self.hits / self.number

    @property
    def design_effect(self) -> float | None:
        """Return how many times the variance is that of items drawn independently (Kish 1965, section 5.4).

        None if no cluster differs from the share, as with a share of 0 or 1: then nothing shows the effect.
        """
        independent = self.share * (1 - self.share) / self.number
        return self.variance / independent if self.variance and independent else None

    def interval(self, level: float = LEVEL) -> tuple[float, float] | None:
        """Return the interval of the share on the logit scale, with t(m-1) quantiles (Korn and Graubard 1999, 2.8).

        If the clusters do not differ, each cluster counts as one item of Wilson's interval. None for fewer than two.
        """
        if self.variance is None:
            return None
        if not self.variance:
            return wilson_interval(self.hits, self.number, level, effective=self.n_clusters)
        return logit_interval(self.share, self.variance, level, degrees=self.n_clusters - 1)


def cluster_share(clusters: Sequence[tuple[float, float]]) -> ClusterShare | None:
    """Return the share of clusters, each with its number of items and of hits; None without an item."""
    clusters = [one for one in clusters if one[0]]
    number, hits, n = sum(one for one, _ in clusters), sum(one for _, one in clusters), len(clusters)
    if not number:
        return None
    share = hits / number
    squares = sum((y - share * x) ** 2 for x, y in clusters)
    # Rounding must not pass for a difference between clusters.
    squares = squares if squares > 1e-12 * number else 0.0
    return ClusterShare(number, hits, n, n / (n - 1) * squares / number**2 if n > 1 else None)


def logit_interval(share: float, variance: float, level: float = LEVEL, *, degrees: int) -> tuple[float, float]:
    """Return the interval of a share strictly between 0 and 1, symmetrical on the logit scale."""
    middle = log(share / (1 - share))
    half = t_quantile((1 + level) / 2, degrees) * sqrt(variance) / (share * (1 - share))
    return _expit(middle - half), _expit(middle + half)


def _expit(value: float) -> float:
    return 1 / (1 + exp(-value)) if value > 0 else exp(value) / (1 + exp(value))


def wilson_interval(
    hits: float, number: float, level: float = LEVEL, *, effective: float | None = None
) -> tuple[float, float] | None:
    """Return Wilson's score interval of a share (E. B. Wilson 1927), valid near 0 and 1 too; None if `number` is 0.

    `effective` is the number of independent items; the default is `number`.
    """
    if not number:
        return None
    size = number if effective is None else effective
    z = normal_quantile((1 + level) / 2)
    share, spread = hits / number, z * z / size
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * sqrt(share * (1 - share) / size + spread / (4 * size))
    return (middle - half if hits else 0.0), (middle + half if hits < number else 1.0)
