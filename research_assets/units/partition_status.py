"""The status of a partition: how many of its units are open or waiting, and since when it is complete.

Not here: the status of a single unit (see coverage.py); how the status is read from the raw tables (see
planning/inputs.py).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from research_assets.units.estimates import NO_COST, Estimate

REPEAT_WITHIN = timedelta(days=1)
"""Time between two complete observations of a day up to which the second one repeats the first."""


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """Status of one partition of an entity.

    `open_units` can be collected now, `waiting_units` from `next_try` on (UTC). `unconfirmed_units` are videos with a
    comment count of zero that a re-observation of their day is to confirm. `last_complete_at` is the end of the newest
    observation in which all units were complete. `failed_before` is true if every open unit had an earlier attempt,
    `is_recounted` if a newer comment count opened every open unit, `in_progress` if a pause interrupted the collection.
    `is_materialized` is true if Dagster has a materialization of the partition. `is_missing_accounts` is true if a day
    is collected except for accounts whose next try is due, `is_repeated` if two complete observations of a day are at
    most `REPEAT_WITHIN` apart. `estimate` is the cost of the open units.
    """

    open_units: int = 0
    waiting_units: int = 0
    unconfirmed_units: int = 0
    next_try: datetime | None = None
    last_complete_at: datetime | None = None
    failed_before: bool = False
    is_recounted: bool = False
    in_progress: bool = False
    is_materialized: bool = True
    is_missing_accounts: bool = False
    is_repeated: bool = False
    estimate: Estimate = NO_COST
