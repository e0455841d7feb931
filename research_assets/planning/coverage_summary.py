"""How all that is known stands, counted: by study, entity, partition and state, in one reading of raw/coverage."""

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
"""What stands for a partition in a bar; to be told apart without colour."""

LEGEND = "█ complete or known to give nothing   ▒ begun   ? suspicious   ! quarantined   ░ too fresh   · not asked"


@dataclass(frozen=True, slots=True)
class StateCount:
    """Units of a partition that are in one state: how many, the rows they brought, their first next try, a reason."""

    study: str
    entity: str
    partition: date
    state: UnitState
    units: int
    rows: int
    next_try: datetime | None
    reason: str | None


def read_state_counts(raw: Path | RawTables, study: str = "*", entity: str | None = None) -> list[StateCount]:
    """Every partition that was asked; of each unit the attempt that counts."""
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
    """The state that speaks for each partition."""
    states: dict[date, list[str]] = {}
    for count in counts:
        states.setdefault(count.partition, []).append("complete" if count.state in SETTLED else count.state)
    return {partition: worst_state(of) for partition, of in sorted(states.items())}


def coverage_bar(states: Sequence[UnitState], width: int) -> str:
    """One mark for each partition; if there are more than `width`, one for several, and the worst of them speaks."""
    if not states:
        return ""
    per_mark = -(-len(states) // width)
    groups = [states[i : i + per_mark] for i in range(0, len(states), per_mark)]
    return "".join(STATE_MARKS[min(group, key=STATES_WORST_FIRST.index)] for group in groups)
