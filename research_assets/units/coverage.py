"""What state each asked unit is in: the states, the record of one attempt, and reading back what is held.

A unit is what can be complete: a day of a search, a video's comments, a comment's replies, an account's profile or
list. The record of an attempt is an event of the journal, which `tables.py` turns into raw/coverage.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from research_assets.storage.raw_reader import RawTables, query_raw

UnitState = Literal["complete", "partial", "too_fresh", "suspicious", "refused", "missing", "quarantined", "not_asked"]
UnitKind = Literal["day", "video", "comment", "account", "canary"]

USERNAME_SEPARATOR = ","
"""Stands between the accounts that were asked together: they are one unit."""

SETTLED: frozenset[str] = frozenset({"complete", "refused", "missing"})
"""States in which a unit is done: everything the API gives is held, or it is known that it gives nothing."""

SETTLED_SQL = f"({', '.join(repr(state) for state in sorted(SETTLED))})"
"""The same as a list of SQL."""

STATES_WORST_FIRST: tuple[UnitState, ...] = (
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

CURRENT_ATTEMPT_ORDER = "state = 'complete' DESC, last_at DESC NULLS LAST, state = 'partial', capture DESC"
"""Which attempt at a unit speaks, as the order of SQL: the newest, but what was complete once stays complete. In one
instant a window's rest is given to narrower windows and these are judged: `partial` is the older."""

ATTEMPT_RECENCY = (
    "row(coalesce(last_at, timezone('UTC', try_strptime(left(capture, 16), '%Y%m%dT%H%M%SZ')), "
    "TIMESTAMPTZ '1970-01-01'), state <> 'partial', coalesce(capture, ''))"
)
"""What orders attempts by when they ended, as a value of SQL: the newest is the greatest. A pause before the first page
has no page to tell its moment, but its capture has one."""

MAX_BACKOFF = timedelta(days=32)

MAX_REOBSERVATION_AGE = timedelta(days=2)
"""Age from which an interrupted re-observation is begun anew: a day's counts shall be of about one moment."""

_MOMENTS = ("first_at", "last_at", "next_try")


@dataclass(frozen=True, slots=True)
class Attempt:
    """The outcome of one attempt at one unit: a row of raw/coverage (`fields.COVERAGE` says what each column means)."""

    entity: str
    partition: date
    unit_kind: UnitKind
    unit: str
    state: UnitState
    first_at: datetime | None
    last_at: datetime | None
    asked: int = 0
    offered: int = 0
    kept: int = 0
    requests: float = 0.0
    expected: int | None = None
    inclusion_probability: float = 1.0
    reason: str | None = None
    next_try: datetime | None = None
    capture: str | None = None

    def to_event(self) -> dict[str, Any]:
        """The verdict as fields of a journal event."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """What is known of a unit from its attempts so far: the one that speaks, and how many ended in which state.

    `refusals` counts the looks that were answered with `refused` or `missing`, `empty_looks` those that found nothing
    where something was to be expected; `most` is the largest number of rows that any attempt kept.
    """

    attempt: Attempt
    study: str
    n_quarantined: int
    n_suspicious: int
    n_refused: int
    n_empty: int
    max_kept: int


def read_unit_status(
    raw: Path | RawTables,
    entity: str,
    *,
    study: str | None = None,
    partitions: Iterable[date] | None = None,
    captures: Path | None = None,
) -> list[UnitStatus]:
    """What is held of an entity, one record per study, partition and unit; an empty folder holds nothing.

    The newest attempt speaks, except that a unit which was complete once stays complete: a later look that failed
    takes nothing away. With the folder of the captures only the files of this entity are opened.
    """
    where, values = "true", []
    if partitions is not None:
        where = "partition IN (SELECT unnest(?::DATE[]))"
        values.append(sorted(set(partitions)))
    return _read(
        raw, entity, study, captures, "study, partition, unit_kind, unit", CURRENT_ATTEMPT_ORDER, where, values
    )


def read_failed_units(raw: Path | RawTables, entity: str, *, captures: Path | None = None) -> dict[str, UnitStatus]:
    """Units whose newest look, of any study and period, did not succeed; a state carried on unasked is no look."""
    order = "last_at DESC NULLS LAST, capture DESC"
    found = _read(raw, entity, None, captures, "unit_kind, unit", order, "requests > 0", [], "state <> 'complete'")
    return {record.attempt.unit: record for record in found}


def count_settled_units(
    raw: Path | RawTables, entity: str, study: str, partitions: Iterable[date], *, captures: Path
) -> int:
    """How many units of some partitions are settled by requests: replies and what had nothing to ask are left out."""
    rows = query_raw(
        raw,
        "coverage",
        f"study={study}/day=*",
        "SELECT count(DISTINCT (partition, unit)) FROM {table} WHERE entity = ? AND state IN (SELECT unnest(?)) "
        "AND unit_kind <> 'comment' AND expected IS DISTINCT FROM 0 AND partition IN (SELECT unnest(?::DATE[]))",
        [entity, sorted(SETTLED), sorted(set(partitions))],
        skip_captures=_captures_of_other_entities(captures, entity, study),
    )
    return int(rows[0][0]) if rows else 0


def _read(
    raw: Path | RawTables,
    entity: str,
    study: str | None,
    captures: Path | None,
    key: str,
    order: str,
    where: str,
    values: list[Any],
    which: str = "true",
) -> list[UnitStatus]:
    columns = [item.name for item in fields(Attempt)]
    rows = query_raw(
        raw,
        "coverage",
        f"study={study or '*'}/day=*",
        f"""
        SELECT {", ".join(columns)}, study, quarantines, suspicions, refusals, empty_looks, coalesce(most, 0)
        FROM (
            SELECT *,
                count(*) FILTER (state = 'quarantined') OVER unit AS quarantines,
                count(*) FILTER (state = 'suspicious') OVER unit AS suspicions,
                count(*) FILTER (state IN ('refused', 'missing') AND requests > 0) OVER unit AS refusals,
                count(*) FILTER (state = 'suspicious' AND coalesce(offered, 0) = 0) OVER unit AS empty_looks,
                max(kept) OVER unit AS most
            FROM {{table}}
            WHERE entity = ? AND {where}
            WINDOW unit AS (PARTITION BY {key})
            QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {order}) = 1
        )
        WHERE {which}
        ORDER BY study, partition, unit
        """,
        [entity, *values],
        skip_captures=_captures_of_other_entities(captures, entity, study) if captures else (),
    )
    width = len(columns)
    return [UnitStatus(Attempt(**dict(zip(columns, row, strict=False))), *row[width:]) for row in rows]


def _captures_of_other_entities(captures: Path, entity: str, study: str | None) -> set[str]:
    """Captures that hold other entities: their coverage need not be opened."""
    return {
        path.name.partition(".")[0]
        for path in captures.glob(f"*/study={study or '*'}/*/[!.]*")
        if path.parent.parent.parent.name != entity
    }


def attempt_from_event(event: Mapping[str, Any]) -> Attempt:
    """The verdict that a journal's event holds."""
    values: dict[str, Any] = {item.name: event.get(item.name) for item in fields(Attempt)}
    for name, read in (("partition", date.fromisoformat), *((n, datetime.fromisoformat) for n in _MOMENTS)):
        if isinstance(values[name], str):
            values[name] = read(values[name])
    return Attempt(**values)


def backoff_until(now: datetime, times: int) -> datetime:
    """When a unit that failed `times` times in all is asked again: after 1, 2, 4 … days, 32 at most."""
    return now + min(timedelta(days=2 ** max(0, times - 1)), MAX_BACKOFF)


def worst_state(states: Iterable[str]) -> UnitState:
    """The state that speaks for several units; `complete` for none at all."""
    present = set(states)
    return next((state for state in STATES_WORST_FIRST if state in present), "complete")


def count_states(states: Iterable[str]) -> dict[str, int]:
    """How many units are in each state."""
    counts: dict[str, int] = {}
    for state in states:
        counts[state] = counts.get(state, 0) + 1
    return counts


def format_utc(moment: datetime) -> str:
    """A moment as people read it: `2026-02-01 00:00 UTC`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
