"""Limits that a person sets for a call of `research-assets collect`: days of content, and a number of requests.

Pure. Not here: the decision (see agenda.py), and the budget of each run (see budgets.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date

from research_assets.planning.types import AgendaInputs
from research_assets.quota.ledger import PoolState


@dataclass(frozen=True, slots=True)
class Limits:
    """First and last day of content (UTC), and the requests of all runs together; None for no limit.

    `used` are the requests that the runs of the call have already sent.
    """

    days: tuple[date, date] | None = None
    budget: int | None = None
    used: int = 0

    @property
    def remaining(self) -> int | None:
        """Requests that may still be sent; None for no limit."""
        return None if self.budget is None else max(0, self.budget - self.used)

    def apply(self, inputs: AgendaInputs) -> AgendaInputs:
        """Return the inputs with these limits. The budget acts as a smaller quota.

        The reserve is not taken from the budget: it stays in the part of the quota that the budget leaves.
        """
        inputs = replace(inputs, only_days=self.days)
        if self.budget is None:
            return inputs
        pools = {name: self._capped(pool) for name, pool in inputs.pools.items()}
        return replace(inputs, pools=pools, quota_reserve=_reserve_within(inputs, pools))

    def _capped(self, pool: PoolState) -> PoolState:
        budget, remaining = self.budget or 0, self.remaining or 0
        return replace(pool, cap=min(pool.cap, budget), remaining=min(pool.remaining, remaining))


def _reserve_within(inputs: AgendaInputs, capped: Mapping[str, PoolState]) -> int:
    """Return the part of the reserve that the rest of the quota, outside the budget, does not cover."""
    left = inputs.pools["research"].remaining - capped["research"].remaining
    return max(0, inputs.quota_reserve - left)
