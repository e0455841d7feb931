"""Number of units by study, entity, partition and state, read from raw/coverage in one query.

Not here: units without an attempt (see expected_units.py); the state of a partition (see coverage_board.py); the status
of partitions that planning needs (see inputs.py); coverage in the marts (see dbt_project/).
"""

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from research_assets.storage.raw_reader import RawTables, query_raw
from research_assets.units.coverage import CURRENT_ATTEMPT_ORDER, UnitState


@dataclass(frozen=True, slots=True)
class StateCount:
    """Units of a partition in one state: their number, the rows kept, their earliest next try, their usual reason."""

    study: str
    entity: str
    partition: date
    state: UnitState
    units: int
    rows: int
    next_try: datetime | None
    reason: str | None


def read_state_counts(raw: Path | RawTables, study: str = "*", entity: str | None = None) -> list[StateCount]:
    """Return the counts of every partition with an attempt; each unit has the state of the attempt that counts."""
    rows = query_raw(
        raw,
        "coverage",
        f"study={study}/day=*",
        f"""
        SELECT study, entity, partition, state, count(*), sum(coalesce(kept, 0)), min(next_try), mode(reason)
        FROM (
            SELECT * FROM {{table}}
            WHERE NOT (entity = 'videos' AND unit_kind <> 'day') AND entity = coalesce($1, entity)
            QUALIFY row_number() OVER (
                PARTITION BY study, entity, partition, unit_kind, unit
                ORDER BY {CURRENT_ATTEMPT_ORDER}
            ) = 1
        )
        GROUP BY ALL ORDER BY study, partition, state
        """,
        [entity],
    )
    return [StateCount(*row) for row in rows]
