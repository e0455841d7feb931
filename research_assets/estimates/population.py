"""The size of a population from repeated random draws: shared items of pairs of draws, and Chapman's two-list estimate.

Both assume that every item is drawn with the same probability. If the probabilities differ by a coefficient of
variation CV, items that are drawn often are shared more often, and the estimate is about N/(1 + CV²): a lower bound.
"""

from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import TypeVar

from research_assets.estimates.quantiles import chi_square_tail, normal_quantile, poisson_limits
from research_assets.estimates.shares import LEVEL

K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Hashable)

MIN_EXPECTED = 5
"""Smallest expected number of a class in a test of chi-squared; smaller classes are merged."""


@dataclass(frozen=True, slots=True)
class PopulationEstimate:
    """The estimated size of a population, from the draws of one day.

    `n_pairs` is the sum over pairs of draws of the products of their sizes, `n_shared` the number of items that pairs
    share. `estimate` is their ratio, and the limits follow from the exact Poisson limits of `n_shared`; `estimate` and
    `high` are None without a shared item. None of the three is below `n_distinct`.
    """

    n_draws: int
    n_drawn: int
    n_distinct: int
    n_pairs: int
    n_shared: int
    estimate: float | None
    low: float
    high: float | None


def estimate_population(draws: Sequence[Collection[Hashable]], level: float = LEVEL) -> PopulationEstimate:
    """Return the size of the population of some draws without replacement: N = Σ nᵢ·nⱼ / C over the pairs i < j.

    The draws of one pair are those of Lincoln and Petersen; sums over pairs are the estimate of Schnabel 1938.
    """
    sizes = [len(draw) for draw in draws]
    n_drawn = sum(sizes)
    n_pairs = (n_drawn**2 - sum(size**2 for size in sizes)) // 2
    counts = Counter(item for draw in draws for item in draw)
    n_shared = sum(count * (count - 1) // 2 for count in counts.values())
    fewest, most = poisson_limits(n_shared, level)
    return PopulationEstimate(
        n_draws=len(draws),
        n_drawn=n_drawn,
        n_distinct=len(counts),
        n_pairs=n_pairs,
        n_shared=n_shared,
        # There are at least as many items as were seen. If some are drawn much more often, the ratio is lower.
        estimate=max(float(len(counts)), n_pairs / n_shared) if n_shared else None,
        low=max(float(len(counts)), n_pairs / most),
        high=max(float(len(counts)), n_pairs / fewest) if fewest else None,
    )


def draws_for_precision(expected: float, precision: float, draw_size: int = 100, level: float = LEVEL) -> int:
    """Return the number of draws after which the limits are about `precision` of the estimate away from it.

    The relative standard error is 1/√C. `expected` is the size that the population is believed to have; a draw has at
    most `draw_size` items. At least 3 draws, because two show no difference between pairs.
    """
    shared = (normal_quantile((1 + level) / 2) / precision) ** 2
    per_pair = min(draw_size, max(expected, 1)) ** 2 / max(expected, 1)
    return max(3, ceil(0.5 + sqrt(0.25 + 2 * shared / per_pair)))


def uniformity_p_value(draws: Sequence[Mapping[K, V]]) -> float | None:
    """Return the p-value of the hypothesis that items of all classes are drawn with the same probability.

    Each draw maps items to their class. Under the hypothesis the shared items of pairs have the classes of the drawn
    ones: a class that is drawn with twice the probability has four times the shared items. The statistic of chi-squared
    allows for the random classes of the drawn items. None with fewer than two classes of enough items.
    """
    drawn = Counter(group for draw in draws for group in draw.values())
    counts = Counter(item for draw in draws for item in draw)
    group_of = {item: group for draw in draws for item, group in draw.items()}
    shared: Counter[V] = Counter()
    for item, count in counts.items():
        shared[group_of[item]] += count * (count - 1) // 2
    n_drawn, n_shared = drawn.total(), shared.total()
    if not n_shared:
        return None
    classes: list[tuple[float, int]] = []
    rest_expected, rest_found = 0.0, 0
    for group, number in drawn.items():
        expected = n_shared * number / n_drawn
        if expected >= MIN_EXPECTED:
            classes.append((expected, shared[group]))
        else:
            rest_expected, rest_found = rest_expected + expected, rest_found + shared[group]
    if rest_expected >= MIN_EXPECTED:
        classes.append((rest_expected, rest_found))
    elif rest_expected and classes:
        smallest = min(classes)
        classes[classes.index(smallest)] = (smallest[0] + rest_expected, smallest[1] + rest_found)
    if len(classes) < 2:
        return None
    statistic = sum((found - expected) ** 2 / expected for expected, found in classes)
    return chi_square_tail(statistic / (1 + n_shared / n_drawn), len(classes) - 1)


@dataclass(frozen=True, slots=True)
class TwoLists:
    """Two lists of one population: their sizes, the items in both, Jaccard's index, and Chapman's estimate.

    The standard error is Seber's. `jaccard` is 1 for two empty lists.
    """

    first: int
    second: int
    both: int
    jaccard: float
    estimate: float
    standard_error: float


def compare_lists(first: int, second: int, both: int) -> TwoLists:
    """Return the comparison of two lists (Chapman 1951; Seber 1970 for the variance)."""
    union = first + second - both
    estimate = (first + 1) * (second + 1) / (both + 1) - 1
    variance = (first + 1) * (second + 1) * (first - both) * (second - both) / ((both + 1) ** 2 * (both + 2))
    return TwoLists(first, second, both, both / union if union else 1.0, estimate, sqrt(variance))
