"""Estimator of the yield of searches: the share of reported rows that was returned, over searches of unequal size."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from research_assets.estimates.quantiles import t_quantile
from research_assets.estimates.shares import LEVEL, wilson_interval


@dataclass(frozen=True, slots=True)
class Yield:
    """A yield with the number of searches from which it is estimated.

    `variance` is None for fewer than two searches. It allows for searches that differ in their yield.
    """

    returned: int
    reported: int
    n_searches: int
    variance: float | None

    @property
    def share(self) -> float:
        """Return the returned rows as a share of the reported ones."""
        return self.returned / self.reported

    @property
    def shows_difference(self) -> bool:
        """Return whether the searches differ in their yield: one alone cannot, nor can those that returned all."""
        # Rounding must not pass for a difference.
        return self.variance is not None and self.variance * self.reported > 1e-12

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return the confidence interval with t(n-1) quantiles, within 0 and 1.

        Without a difference between searches it is Wilson's, which assumes that rows are returned independently.
        """
        if self.variance is None or not self.shows_difference:
            return wilson_interval(min(self.returned, self.reported), self.reported, level) or (0.0, 1.0)
        half = t_quantile((1 + level) / 2, self.n_searches - 1) * sqrt(self.variance)
        return max(0.0, self.share - half), min(1.0, self.share + half)


def estimate_yield(searches: Sequence[tuple[int, int]]) -> Yield | None:
    """Return the yield of searches, each with its reported and its returned rows; None if no row was reported.

    A search is that of one day, or of several days whose reported rows are only known together.

    The estimator is the ratio of totals, R = Σk/Σo, with the variance n/(n-1)·Σ(k - R·o)²/(Σo)² (Cochran 1977,
    section 6.4). A search that reported nothing says nothing about the yield.
    """
    searches = [one for one in searches if one[0]]
    reported, returned, n = sum(o for o, _ in searches), sum(k for _, k in searches), len(searches)
    if not n:
        return None
    share = returned / reported
    variance = None
    if n > 1:
        variance = n / (n - 1) * sum((k - share * o) ** 2 for o, k in searches) / reported**2
    return Yield(returned, reported, n, variance)
