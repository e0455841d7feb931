"""Number of units by study, entity, partition and state, read from raw/coverage in one query, and the coverage bar.

Not here: the status of partitions that planning needs (see inputs.py); coverage in the marts (see dbt_project/).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from research_assets.storage.raw_reader import RawTables, query_raw
from research_assets.units.coverage import CURRENT_ATTEMPT_ORDER, SETTLED, STATES_WORST_FIRST, UnitState, worst_state

STATE_MARKS: Mapping[UnitState, str] = {
    "complete": "█",
    "refused": "█",
    "missing": "█",
    "partial": "▒",
    "too_fresh": "░",
    "suspicious": "?",
    "quarantined": "!",
    "not_asked": "·",
}
"""Character of a partition in the coverage bar, by state; distinguishable without colour."""

LEGEND = "█ complete or unavailable   ▒ partial   ? suspicious   ! quarantined   ░ too fresh   · not requested"
"""Explanation of the characters."""


@dataclass(frozen=True, slots=True)
class StateCount:
    """Units of a partition in one state: their number, the rows kept, their earliest next try, one of their reasons."""

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
        SELECT study, entity, partition, state, count(*), sum(coalesce(kept, 0)), min(next_try), any_value(reason)
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


def partition_states(counts: Iterable[StateCount]) -> dict[date, UnitState]:
    """Return the state of each partition: the first of its units' states in `STATES_WORST_FIRST`."""
    states: dict[date, list[str]] = {}
    for count in counts:
        states.setdefault(count.partition, []).append("complete" if count.state in SETTLED else count.state)
    return {partition: worst_state(found) for partition, found in sorted(states.items())}


def coverage_bar(states: Sequence[UnitState], width: int) -> str:
    """Return one character per partition; above `width` partitions, one for several, with the worst of their states."""
    if not states:
        return ""
    per_mark = -(-len(states) // width)
    groups = [states[i : i + per_mark] for i in range(0, len(states), per_mark)]
    return "".join(STATE_MARKS[min(group, key=STATES_WORST_FIRST.index)] for group in groups)
