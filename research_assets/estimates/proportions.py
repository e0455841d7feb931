"""Shares of a sample with unequal inclusion probabilities, and precision and recall of a rule.

The estimate is Hajek's ratio of weighted sums with the weights 1/p. Its interval is Wilson's (E. B. Wilson 1927) on
Kish's effective number of items, (sum of w)^2 / (sum of w^2) (L. Kish 1965), which is the number itself if all weights
are equal. It ignores that a sample is stratified, or a large part of a finite population, and then is rather too wide.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from research_assets.estimates.shares import LEVEL, wilson_interval


@dataclass(frozen=True, slots=True)
class Proportion:
    """A share with its interval: `n` items of the sample, `hits` with the property, `effective` independent items."""

    share: float
    low: float
    high: float
    hits: int
    n: int
    effective: float


def weighted_proportion(items: Iterable[tuple[bool, float]], level: float = LEVEL) -> Proportion | None:
    """Return the share of items with a property; None without items.

    An item is whether it has the property, and its inclusion probability (above 0, at most 1). Raise ValueError for
    another probability.
    """
    found = list(items)
    if not found:
        return None
    if any(not 0 < probability <= 1 for _, probability in found):
        raise ValueError("an inclusion probability is not above 0 and at most 1")
    weights = [1 / probability for _, probability in found]
    total = sum(weights)
    share = sum(weight for (hit, _), weight in zip(found, weights, strict=True) if hit) / total
    effective = total**2 / sum(weight * weight for weight in weights)
    hits = sum(hit for hit, _ in found)
    weighted_hits = total if hits == len(found) else share * total
    low, high = wilson_interval(weighted_hits, total, level, effective=effective) or (0.0, 1.0)
    return Proportion(share, low, high, hits, len(found), effective)


@dataclass(frozen=True, slots=True)
class CodedItem:
    """A hand-coded item: whether it is relevant, whether the rule selects it, and its inclusion probability."""

    is_relevant: bool
    is_selected: bool
    probability: float


def precision(items: Sequence[CodedItem]) -> Proportion | None:
    """Return the share of relevant items among those that the rule selects; None if it selects none."""
    return weighted_proportion((one.is_relevant, one.probability) for one in items if one.is_selected)


def recall(items: Sequence[CodedItem]) -> Proportion | None:
    """Return the share of items that the rule selects among the relevant ones; None if the sample cannot show it.

    That needs a sample of a population that contains items which the rule does not select, and relevant items.
    """
    if all(one.is_selected for one in items):
        return None
    return weighted_proportion((one.is_selected, one.probability) for one in items if one.is_relevant)
