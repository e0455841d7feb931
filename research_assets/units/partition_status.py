"""TODO charter."""

from dataclasses import dataclass
from datetime import datetime

from research_assets.units.estimates import NO_COST, Estimate


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """How one partition stands. `open` units can be asked now, `resting` ones from `wakes` on.

    `looked_at` is when all of it was seen complete, `tried` says that what is open failed before, `begun` that a pause
    interrupted it, `shown` that the UI has it as materialized, `lacks` that a day is held but for accounts that can be
    tried again. `estimate` is for the open units.
    """

    open_units: int = 0
    waiting_units: int = 0
    next_try: datetime | None = None
    last_complete_at: datetime | None = None
    failed_before: bool = False
    in_progress: bool = False
    is_materialized: bool = True
    is_missing_accounts: bool = False
    estimate: Estimate = NO_COST
