"""Totals and means of a stratified random sample without replacement, with their standard errors (Cochran 1977, 5.3).

A stratum with one sampled item shows no variance. Such strata are collapsed in pairs of neighbours in their order, and
the differences of their items estimate it (Cochran 1977, 5A.12). If there is only one, it is that of its item and the
items of its neighbour. That is the variance if the items are alike, and too high if their strata differ.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import fsum, inf, sqrt

from research_assets.estimates.quantiles import t_quantile
from research_assets.estimates.shares import LEVEL


@dataclass(frozen=True, slots=True)
class Stratum:
    """A stratum of `size` items, and the values of the sampled ones: one number or more for each item.

    A sampled item without a value is left out of `values`: it counts as missing at random within the stratum. Strata of
    the same `group` follow each other, and are more alike than those of different ones.
    """

    size: int
    values: tuple[tuple[float, ...], ...]
    group: int = 0


@dataclass(frozen=True, slots=True)
class Estimated:
    """An estimate, its standard error, and the degrees of freedom of that; None if the sample shows no variance."""

    value: float
    standard_error: float | None
    degrees: int

    def interval(self, level: float = LEVEL) -> tuple[float, float] | None:
        """Return the interval with quantiles of t; None without a standard error."""
        if self.standard_error is None:
            return None
        half = t_quantile((1 + level) / 2, self.degrees) * self.standard_error
        return self.value - half, self.value + half


def estimate_total(strata: Sequence[Stratum], column: int = 0) -> Estimated:
    """Return the total of a column: the sum of the means of the strata times their sizes.

    Strata are in the order in which neighbours are collapsed. A stratum without a value joins its neighbour.
    """
    columns = [replace(one, values=tuple((row[column],) for row in one.values)) for one in strata]
    return _total(_joined(columns))


def estimate_ratio(strata: Sequence[Stratum], numerator: int = 0, denominator: int = 1) -> Estimated | None:
    """Return the ratio of two totals, such as the mean of Hájek, with its linearized standard error.

    None if the total of the denominator is 0.
    """
    above, below = estimate_total(strata, numerator), estimate_total(strata, denominator)
    if not below.value:
        return None
    ratio = above.value / below.value
    residuals = [
        replace(one, values=tuple((row[numerator] - ratio * row[denominator],) for row in one.values)) for one in strata
    ]
    error = _total(_joined(residuals))
    standard_error = None if error.standard_error is None else error.standard_error / abs(below.value)
    return Estimated(ratio, standard_error, error.degrees)


def _joined(strata: Sequence[Stratum]) -> list[Stratum]:
    """Return the strata with a value. One without joins the stratum before it, or else the next one, of its group.

    A group without a value joins its neighbour.
    """
    groups = [_merged(members) for _, members in groupby(strata, key=lambda one: one.group)]
    return [one for one in _merged(one for group in groups for one in group) if one.values]


def _merged(strata: Iterable[Stratum]) -> list[Stratum]:
    """Return the strata with a value, with the sizes of the others; a single one without a value if none has one."""
    found: list[Stratum] = []
    pending = 0
    for one in strata:
        if one.values:
            found.append(replace(one, size=one.size + pending))
            pending = 0
        elif found:
            found[-1] = replace(found[-1], size=found[-1].size + one.size)
        else:
            pending += one.size
    return found or [Stratum(pending, ())]


def _total(strata: Sequence[Stratum]) -> Estimated:
    variance, degrees = 0.0, 0
    for one in strata:
        n = len(one.values)
        if n > 1:
            variance += one.size**2 * (1 - n / one.size) * _variance(one.values) / n
            degrees += n - 1
    single = [index for index, one in enumerate(strata) if one.size > 1 == len(one.values)]
    for group in _pairs(single):
        pooled = [strata[index] for index in (group if len(group) > 1 else _with_neighbour(strata, group[0]))]
        squares = _variance([row for one in pooled for row in one.values]) if len(pooled) > 1 else inf
        variance += fsum(strata[index].size * (strata[index].size - 1) for index in group) * squares
        degrees += max(1, len(group) - 1)
    value = fsum(one.size * fsum(row[0] for row in one.values) / len(one.values) for one in strata)
    # A census has no sampling error. Otherwise equal values are no evidence of a certain total.
    if strata and all(len(one.values) == one.size for one in strata):
        return Estimated(value, 0.0, max(1, degrees))
    return Estimated(value, sqrt(variance) if 0 < variance < inf else None, max(1, degrees))


def _variance(values: Sequence[tuple[float, ...]]) -> float:
    mean = fsum(row[0] for row in values) / len(values)
    return fsum((row[0] - mean) ** 2 for row in values) / (len(values) - 1)


def _with_neighbour(strata: Sequence[Stratum], index: int) -> Sequence[int]:
    """Return a stratum with the one before or after it, of its group if there is one; itself if it is the only one."""
    others = [one for one in (index - 1, index + 1) if 0 <= one < len(strata)]
    return [index, *sorted(others, key=lambda one: strata[one].group != strata[index].group)[:1]]


def _pairs(single: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield pairs of neighbours, the last three together if their number is odd; one alone."""
    last = max(0, len(single) // 2 * 2 - 2)
    for begin in range(0, last, 2):
        yield single[begin : begin + 2]
    if single:
        yield single[last:]
