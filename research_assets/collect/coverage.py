"""What state each asked unit is in: the states, the record of one attempt, and reading back what is held.

A unit is what can be complete: a day of a search, a video's comments, a comment's replies, an account's profile or
list. The record of an attempt is an event of the journal, which `tables.py` turns into raw/coverage.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import duckdb

State = Literal["complete", "partial", "too_fresh", "suspicious", "refused", "missing", "quarantined", "not_asked"]
UnitKind = Literal["day", "video", "comment", "account"]

SETTLED: frozenset[str] = frozenset({"complete", "refused", "missing"})
"""States in which a unit is done: everything the API gives is held, or it is known that it gives nothing."""

WORST_FIRST: tuple[State, ...] = (
    "partial",
    "quarantined",
    "suspicious",
    "not_asked",
    "too_fresh",
    "refused",
    "missing",
    "complete",
)
"""Which state speaks for a partition that holds units in several."""

LONGEST_REST = timedelta(days=32)

_MOMENTS = ("first_at", "last_at", "next_try")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one attempt at one unit: a row of raw/coverage (`fields.COVERAGE` says what each column means)."""

    entity: str
    partition: date
    unit_kind: UnitKind
    unit: str
    state: State
    first_at: datetime | None
    last_at: datetime | None
    asked: int = 0
    offered: int = 0
    kept: int = 0
    requests: float = 0.0
    expected: int | None = None
    probability: float = 1.0
    reason: str | None = None
    next_try: datetime | None = None
    capture: str | None = None

    def event(self) -> dict[str, Any]:
        """The verdict as fields of a journal event."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


@dataclass(frozen=True, slots=True)
class Held:
    """What is known of a unit from its attempts so far."""

    verdict: Verdict
    study: str
    attempts: int
    quarantines: int
    suspicions: int


def read_held(
    raw: Path, entity: str, *, study: str | None = None, partitions: Iterable[date] | None = None
) -> list[Held]:
    """What is held of an entity, one record per study, partition and unit; an empty folder holds nothing.

    The newest attempt speaks, except that a unit which was complete once stays complete: a later look that failed
    takes nothing away.
    """
    folder = raw / "coverage"
    pattern = f"study={study or '*'}/day=*/*.parquet"
    if not any(folder.glob(pattern)):
        return []
    columns = [item.name for item in fields(Verdict)]
    where = "entity = ?"
    values: list[Any] = [entity]
    if partitions is not None:
        where += " AND partition IN (SELECT unnest(?::DATE[]))"
        values.append(sorted(set(partitions)))
    query = f"""
        SELECT {", ".join(columns)}, study, attempts, quarantines, suspicions
        FROM (
            SELECT *,
                count(DISTINCT capture) OVER unit AS attempts,
                count(*) FILTER (state = 'quarantined') OVER unit AS quarantines,
                count(*) FILTER (state = 'suspicious') OVER unit AS suspicions
            FROM read_parquet({_quoted(folder / pattern)}, hive_partitioning = true, hive_types = {{'study': VARCHAR}})
            WHERE {where}
            WINDOW unit AS (PARTITION BY study, partition, unit_kind, unit)
            QUALIFY row_number() OVER (
                PARTITION BY study, partition, unit_kind, unit
                ORDER BY state = 'complete' DESC, last_at DESC NULLS LAST, capture DESC
            ) = 1
        )
        ORDER BY study, partition, unit
    """
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows = connection.execute(query, values).fetchall()
    width = len(columns)
    return [Held(Verdict(**dict(zip(columns, row, strict=False))), *row[width:]) for row in rows]


def from_event(event: Mapping[str, Any]) -> Verdict:
    """The verdict that a journal's event holds."""
    values: dict[str, Any] = {item.name: event.get(item.name) for item in fields(Verdict)}
    for name, read in (("partition", date.fromisoformat), *((n, datetime.fromisoformat) for n in _MOMENTS)):
        if isinstance(values[name], str):
            values[name] = read(values[name])
    return Verdict(**values)


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def next_try(now: datetime, times: int) -> datetime:
    """When a unit that failed `times` times in all is asked again: after 1, 2, 4 … days, 32 at most."""
    return now + min(timedelta(days=2 ** max(0, times - 1)), LONGEST_REST)


def worst(states: Iterable[str]) -> State:
    """The state that speaks for several units; `complete` for none at all."""
    present = set(states)
    return next((state for state in WORST_FIRST if state in present), "complete")


def tally(states: Iterable[str]) -> dict[str, int]:
    """How many units are in each state."""
    counts: dict[str, int] = {}
    for state in states:
        counts[state] = counts.get(state, 0) + 1
    return counts


def newest_by_unit(records: Iterable[Held]) -> Mapping[tuple[date, str, str], Held]:
    """Records of one study by partition, kind and unit."""
    return {(r.verdict.partition, r.verdict.unit_kind, r.verdict.unit): r for r in records}


def utc(moment: datetime) -> str:
    """A moment as people read it: `2026-02-01 00:00 UTC`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
