"""Weighted fair shares of the requests of a day between studies.

Pure arithmetic: no request stays unused while a study needs it. Not here: the requests used today (see ledger.py);
what the studies need (see planning/).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import floor


@dataclass(frozen=True, slots=True)
class StudyDemand:
    """The weight of a study (above 0), its requests used today, and the requests that it still needs."""

    weight: float
    used: int
    requested: int


def fair_shares(cap: int, demands: Mapping[str, StudyDemand]) -> dict[str, int]:
    """Return the fair number of requests of each study for the day, rounded down.

    Weighted max-min fairness: each study gets its weight times a common level, but at least its requests used today and
    at most its total need. Requests that a study does not need are divided between the others by their weights.
    """
    bounds = {
        name: (Fraction(demand.weight), demand.used, demand.used + max(0, demand.requested))
        for name, demand in demands.items()
    }

    def shares_at(level: Fraction) -> dict[str, Fraction]:
        return {
            name: max(Fraction(low), min(weight * level, Fraction(high)))
            for name, (weight, low, high) in bounds.items()
        }

    level, shares = Fraction(0), shares_at(Fraction(0))
    for threshold in sorted({bound / weight for weight, *both in bounds.values() for bound in both}):
        next_shares = shares_at(threshold)
        increase = sum(next_shares.values()) - sum(shares.values())
        remaining = cap - sum(shares.values())
        if increase > remaining:
            # Between two thresholds each share is linear in the level, so interpolation finds the level of the cap.
            if remaining > 0:
                shares = shares_at(level + (threshold - level) * remaining / increase)
            break
        level, shares = threshold, next_shares
    return {name: floor(share) for name, share in shares.items()}
