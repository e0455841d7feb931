"""Totals and means of a stratified random sample without replacement, with their standard errors (Cochran 1977, 5.3).

A stratum with one sampled item shows no variance. Such strata are collapsed in pairs of neighbours in their order, and
their differences estimate it (Cochran 1977, 5A.12), with the finite population correction of the pair. That is the
variance if the items of a pair are alike, and too high if their strata differ.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import fsum, inf, sqrt

from research_assets.estimates.quantiles import t_quantile
from research_assets.estimates.shares import LEVEL


@dataclass(frozen=True, slots=True)
class Stratum:
    """A stratum of `size` items, and the values of the sampled ones: one number or more for each item.

    The value of an item outside of the studied period is 0. A sampled item without a value is left out of `values`: it
    counts as missing at random within the stratum.
    """

    size: int
    values: tuple[tuple[float, ...], ...]


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
    """Return the total of a column by the estimator of Horvitz and Thompson.

    Strata are in the order in which neighbours are collapsed. A stratum without a value joins its neighbour.
    """
    columns = [Stratum(one.size, tuple((row[column],) for row in one.values)) for one in strata]
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
        Stratum(one.size, tuple((row[numerator] - ratio * row[denominator],) for row in one.values)) for one in strata
    ]
    error = _total(_joined(residuals))
    standard_error = None if error.standard_error is None else error.standard_error / abs(below.value)
    return Estimated(ratio, standard_error, error.degrees)


def _joined(strata: Sequence[Stratum]) -> list[Stratum]:
    """Return the strata; one without a value is joined to the stratum before it, or else to the next one."""
    found: list[Stratum] = []
    pending = 0
    for one in strata:
        if one.values:
            found.append(Stratum(one.size + pending, one.values))
            pending = 0
        elif found:
            found[-1] = Stratum(found[-1].size + one.size, found[-1].values)
        else:
            pending += one.size
    return found


def _total(strata: Sequence[Stratum]) -> Estimated:
    variance, degrees = 0.0, 0
    totals: list[tuple[int, float]] = []
    single: list[tuple[int, float]] = []
    for one in strata:
        n, values = len(one.values), [row[0] for row in one.values]
        mean = fsum(values) / n
        totals.append((one.size, one.size * mean))
        if n > 1:
            squares = fsum((value - mean) ** 2 for value in values) / (n - 1)
            variance += one.size**2 * (1 - n / one.size) * squares / n
            degrees += n - 1
        elif one.size > 1:
            single.append(totals[-1])
    is_known = len(single) != 1
    for group in _pairs(single) if len(single) > 1 else ():
        size, total = sum(one for one, _ in group), fsum(one for _, one in group)
        squares = fsum((own - total * own_size / size) ** 2 for own_size, own in group)
        variance += (1 - len(group) / size) * len(group) / (len(group) - 1) * squares
        degrees += len(group) - 1
    value = fsum(total for _, total in totals)
    # A census has no sampling error. Otherwise equal values are no evidence of a certain total.
    if strata and all(len(one.values) == one.size for one in strata):
        return Estimated(value, 0.0, max(1, degrees))
    return Estimated(value, sqrt(variance) if is_known and 0 < variance < inf else None, max(1, degrees))


def _pairs(single: Sequence[tuple[int, float]]) -> Iterator[Sequence[tuple[int, float]]]:
    """Yield pairs of neighbours, the last three together if their number is odd."""
    last = len(single) // 2 * 2 - 2
    for begin in range(0, last, 2):
        yield single[begin : begin + 2]
    yield single[last:]
