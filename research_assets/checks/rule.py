"""A rule for the rows of a collected entity, as data, and words that several rules share. No Dagster."""

from dataclasses import dataclass
from typing import Literal

from research_assets.collect.coverage import SETTLED_SQL

RETRY_ADVICE = (
    "The sensor quota_window asks what is partial or not asked as soon as the quota allows, and what is quarantined or "
    "suspicious at its next try. To ask it now, or with the sensor switched off, materialize its partition alone."
)
"""What to do about units that are not complete."""

IS_OPEN_SQL = f"state not in {SETTLED_SQL} and state <> 'too_fresh'"
"""Which units are a lack, in SQL: what is settled is final for now, and days that are too fresh will come."""

RECOLLECT_ADVICE = "Materialize these partitions once more with `again`, and look whether it stays."
"""What to do about rows that one more look may mend."""


@dataclass(frozen=True, slots=True)
class CheckRule:
    """Rows of `over` that should not be: `sql` finds them, `advice` says what to do.

    `blocking` where the marts would be built on wrong data. `numbers` is SQL for one row that is shown in any case.
    """

    name: str
    description: str
    sql: str
    advice: str
    table: Literal["held", "units", "canaries"] = "held"
    blocking: bool = False
    summary_sql: str | None = None
