"""How studies divide a day's quota: weighted, fair, and with nothing left lying while somebody wants it.

Arithmetic only. The ledger says who wants what and has had what; here is who may take the next place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import floor


@dataclass(frozen=True, slots=True)
class StudyDemand:
    """What a study has had today and still wants, in requests, and its weight (above 0)."""

    weight: float
    used: int
    requested: int


def fair_shares(cap: int, claims: Mapping[str, StudyDemand]) -> dict[str, int]:
    """The number of requests at which each study's day would fairly end, rounded down.

    Weighted max-min fairness: one level for all, each study at weight times level, but never below what it has had nor
    above what it wants in all. Whoever wants less than its part leaves the rest to the others by their weights.
    """
    bounds = {
        name: (Fraction(claim.weight), claim.used, claim.used + max(0, claim.requested))
        for name, claim in claims.items()
    }

    def at(level: Fraction) -> dict[str, Fraction]:
        return {
            name: max(Fraction(low), min(weight * level, Fraction(high)))
            for name, (weight, low, high) in bounds.items()
        }

    level, shares = Fraction(0), at(Fraction(0))
    for turn in sorted({bound / weight for weight, *both in bounds.values() for bound in both}):
        beyond = at(turn)
        gain = sum(beyond.values()) - sum(shares.values())
        room = cap - sum(shares.values())
        if gain > room:
            # Between two turns each share is a straight line, so the level that just fills the cap is on it.
            if room > 0:
                shares = at(level + (turn - level) * room / gain)
            break
        level, shares = turn, beyond
    return {name: floor(share) for name, share in shares.items()}


def may_reserve(study: str, cap: int, claims: Mapping[str, StudyDemand]) -> bool:
    """Whether a study may take one more place: it is below its fair share, or no other's share shrinks by it.

    While a place is free and somebody wants it, somebody may take it: if nobody is below a whole share, then nobody's
    can shrink.
    """
    own, shares = claims[study], fair_shares(cap, claims)
    if sum(claim.used for claim in claims.values()) >= cap:
        return False
    if own.used < shares[study]:
        return True
    after = fair_shares(cap, {**claims, study: StudyDemand(own.weight, own.used + 1, own.requested - 1)})
    return all(after[name] >= share for name, share in shares.items())
