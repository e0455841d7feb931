"""Attempts at units: their states, the rule for which attempt counts, and the unit status read from raw/coverage.

A unit can be complete: a day of a search, a video's comments, a comment's replies, an account's profile or list. An
attempt is an event of the journal; `storage/raw_writer.py` writes it to raw/coverage.

Not here: the status of a partition (see partition_status.py); how an attempt is judged (see collect/).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from research_assets.clock import MAX_CLOCK_SKEW
from research_assets.storage.captures import capture_of, capture_time
from research_assets.storage.listing import matching_paths
from research_assets.storage.raw_reader import RawTables, query_raw
from research_assets.study.provenance import Held

UnitState = Literal["complete", "partial", "too_fresh", "suspicious", "refused", "missing", "quarantined", "not_asked"]
Selection = Literal["all", "sample", "top"]
"""How units are selected: all of them, a random sample, or those with the highest counts."""

UnitKind = Literal["day", "part", "video", "comment", "account", "playlist", "canary", "rename"]

USERNAME_SEPARATOR = ","
"""Separator of the accounts of one request: together they are one unit."""

SETTLED: frozenset[str] = frozenset({"complete", "refused", "missing"})
"""States in which a unit is done: all rows that the API returns are collected, or the API returns none for it."""

SETTLED_SQL = f"({', '.join(repr(state) for state in sorted(SETTLED))})"
"""`SETTLED` as an SQL list."""

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
"""The states by rank: a partition with units in several states has the first of them in this order."""

_STATE_LABELS: Mapping[str, str] = {"too_fresh": "too fresh", "not_asked": "not requested"}
"""Labels of states whose name is not a word of its own."""

CURRENT_ATTEMPT_ORDER = (
    "(state = 'complete' AND unit_kind <> 'canary') DESC, last_at DESC NULLS LAST, state = 'partial', capture DESC"
)
"""Rule for which attempt at a unit counts, as an SQL order: the newest complete one, else the newest.

A later failed attempt therefore never replaces collected data. A canary is searched for every week, so its newest
attempt counts. If a window is split, its `partial` attempt and the attempts of the narrower windows can have the same
`last_at`; `partial` is then the older one. The mart `coverage` follows the same rule; warehouse/test_current_attempt.py
in the tests compares the two."""

ATTEMPT_RECENCY = (
    "row(coalesce(last_at, timezone('UTC', try_strptime(left(capture, 16), '%Y%m%dT%H%M%SZ')), "
    "TIMESTAMPTZ '1970-01-01'), state <> 'partial', coalesce(capture, ''))"
)
"""Sort key of attempts by the time they ended, as an SQL value: the newest attempt has the greatest.

A pause before the first page has no `last_at`; the time in the name of its capture takes its place."""

NO_VIDEO_FOUND = "No video was ever found for this query."
"""Reason of a day, and the sentence about a study, whose searches have found no video on any day."""

NO_VIDEO_FOUND_ADVICE = (
    "Check hashtags, keywords, usernames, region codes and dates in the study file: the API returns an empty page for "
    "a value that does not exist. Then run `research-assets plan STUDY --probe`, which sends at most 15 requests. If "
    "the query is right, report it to the API's support: some queries returned nothing without an error (reference "
    "§7 #10)."
)
"""Advice about a study for which no video was ever found."""

DAYS_WITHOUT_VIDEOS_SQL = "count(DISTINCT \"partition\") FILTER (state IN ('complete', 'suspicious') AND offered = 0)"
"""Number of searched days without a hit, as an SQL aggregate over the attempts at days."""

NO_VIDEO_FOUND_SQL = f"max(coalesce(offered, 0) + coalesce(kept, 0)) = 0 AND {DAYS_WITHOUT_VIDEOS_SQL} > 0"
"""SQL aggregate condition: no attempt at a day found a video, and at least one day was searched to its end."""

MAX_BACKOFF = timedelta(days=32)
"""The longest wait between two attempts at a unit that failed."""

MAX_REOBSERVATION_AGE = timedelta(days=2)
"""Age from which an interrupted re-observation starts from scratch, so that the counts of a day have about one age."""

_TIME_FIELDS = ("first_at", "last_at", "next_try", "selected_at")


@dataclass(frozen=True, slots=True)
class Attempt:
    """The outcome of one attempt at one unit: a row of raw/coverage (`fields.COVERAGE` describes the columns)."""

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
    inclusion_probability: float | None = 1.0
    selection: Selection = "all"
    selection_rank: int | None = None
    selected_at: datetime | None = None
    reason: str | None = None
    next_try: datetime | None = None
    capture: str | None = None

    def to_event(self) -> dict[str, Any]:
        """Return the attempt as fields of a journal event."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """Status of a unit: the attempt that counts, and counters of all attempts.

    `n_refused` counts the attempts that ended as `refused` or `missing` and sent a request. `n_empty` counts the
    suspicious attempts that returned no row although rows were expected. `max_kept` is the largest number of rows that
    one attempt kept. `settled_count` is the largest `expected` of an attempt that settled the unit; None if none did or
    if the count was unknown. `newest_state` and `newest_next_try` are those of the newest attempt, which differs from
    `attempt` if a complete unit was collected again without success.
    """

    attempt: Attempt
    study: str
    n_quarantined: int
    n_suspicious: int
    n_refused: int
    n_empty: int
    max_kept: int
    settled_count: int | None
    newest_state: UnitState
    newest_next_try: datetime | None


def read_unit_status(
    raw: Path | RawTables,
    entity: str,
    *,
    study: str | None = None,
    partitions: Iterable[date] | None = None,
    captures: Path | None = None,
) -> list[UnitStatus]:
    """Return the status of an entity's units, one record per study, partition and unit; none for an empty folder.

    `CURRENT_ATTEMPT_ORDER` selects the attempt that counts. With the folder of the captures only the files of this
    entity are opened.
    """
    condition, values = "true", []
    if partitions is not None:
        condition = "partition IN (SELECT unnest(?::DATE[]))"
        values.append(sorted(set(partitions)))
    return _read(
        raw, (entity,), study, captures, "study, partition, unit_kind, unit", CURRENT_ATTEMPT_ORDER, condition, values
    )


def read_recent_units(raw: Path | RawTables, entity: str, since: datetime, *, captures: Path) -> list[UnitStatus]:
    """Return the status of the units of all studies, from the attempts in captures that began at a time or later."""
    key = "study, partition, unit_kind, unit"
    names = map(capture_of, matching_paths(captures, f"{entity}/study=*/*/[!.]*"))
    earlier = {name for name in names if name < capture_time(since)}
    return _read(
        raw, (entity,), None, captures, key, CURRENT_ATTEMPT_ORDER, "first_at >= ?::TIMESTAMPTZ", [since], skip=earlier
    )


def read_failed_units(
    raw: Path | RawTables, *entities: str, captures: Path | None = None, only: UnitState | None = None
) -> dict[str, UnitStatus]:
    """Return the units whose newest attempt at any of the entities is not complete, in any study and period, by unit.

    With `only` a state, those that ended so. Attempts that sent no request do not count: their state was carried over
    from another partition or entity.
    """
    newest_first = "last_at DESC NULLS LAST, capture DESC"
    failed = _read(
        raw, entities, None, captures, "unit_kind, unit", newest_first, "requests > 0", [], "state <> 'complete'"
    )
    return {status.attempt.unit: status for status in failed if only in (None, status.attempt.state)}


def read_earlier_ends(
    raw: Path | RawTables, entity: str, before: datetime, *, captures: Path | None = None
) -> dict[str, int]:
    """Return the rows that the newest attempt at each unit returned among those that reached the end of its list.

    The attempts are those `before` a time, in any study and period.
    """
    rows = query_raw(
        raw,
        "coverage",
        "study=*/day=*",
        "SELECT unit, arg_max(kept, last_at) FROM {table} WHERE entity = ? AND last_at < ? AND requests > 0 "
        "AND state IN ('complete', 'suspicious') GROUP BY unit",
        [entity, before],
        skip_captures=_captures_of_other_entities(captures, (entity,), None) if captures else (),
    )
    return dict(rows)


def _read(
    raw: Path | RawTables,
    entities: Collection[str],
    study: str | None,
    captures: Path | None,
    key: str,
    order: str,
    condition: str,
    values: list[Any],
    status_condition: str = "true",
    skip: Collection[str] = (),
) -> list[UnitStatus]:
    """Return one status for each `key`: the first attempt in `order` among those that meet `condition`.

    The files of the captures in `skip` are not opened.
    """
    columns = [item.name for item in fields(Attempt)]
    rows = query_raw(
        raw,
        "coverage",
        f"study={study or '*'}/day=*",
        f"""
        SELECT {", ".join(columns)}, study, n_quarantined, n_suspicious, n_refused, n_empty, coalesce(max_kept, 0),
            settled_count, newest.state, newest.next_try
        FROM (
            SELECT *,
                count(*) FILTER (state = 'quarantined') OVER unit AS n_quarantined,
                count(*) FILTER (state = 'suspicious') OVER unit AS n_suspicious,
                count(*) FILTER (state IN ('refused', 'missing') AND requests > 0) OVER unit AS n_refused,
                count(*) FILTER (state = 'suspicious' AND coalesce(offered, 0) = 0) OVER unit AS n_empty,
                max(kept) OVER unit AS max_kept,
                max(expected) FILTER (state IN {SETTLED_SQL}) OVER unit AS settled_count,
                arg_max(struct_pack(state := state, next_try := next_try), {ATTEMPT_RECENCY}) OVER unit AS newest
            FROM {{table}}
            WHERE entity IN (SELECT unnest(?::VARCHAR[])) AND {condition}
            WINDOW unit AS (PARTITION BY {key})
            QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {order}) = 1
        )
        WHERE {status_condition}
        ORDER BY study, partition, unit
        """,
        [list(entities), *values],
        skip_captures={*skip, *(_captures_of_other_entities(captures, entities, study) if captures else ())},
    )
    width = len(columns)
    return [UnitStatus(Attempt(**dict(zip(columns, row, strict=False))), *row[width:]) for row in rows]


def _captures_of_other_entities(captures: Path, entities: Collection[str], study: str | None) -> set[str]:
    """Return the captures of other entities; their coverage files need not be opened."""
    return {
        capture_of(path)
        for path in matching_paths(captures, f"*/study={study or '*'}/*/[!.]*")
        if path.parent.parent.parent.name not in entities
    }


def read_days_without_videos(raw: Path | RawTables, study: str = "*") -> dict[str, int]:
    """Return the studies for which no search ever found a video, with the number of days that were searched.

    A study without a finished day is left out, because nothing is known about its query.
    """
    rows = query_raw(
        raw,
        "coverage",
        f"study={study}/day=*",
        f"SELECT study, {DAYS_WITHOUT_VIDEOS_SQL} FROM {{table}} WHERE entity = 'videos' AND unit_kind = 'day' "
        f"GROUP BY study HAVING {NO_VIDEO_FOUND_SQL} ORDER BY study",
    )
    return dict(rows)


def count_held(raw: Path | RawTables, study: str) -> Held:
    """Return the days of videos and the units of a study with stored rows or a complete attempt."""
    rows = query_raw(
        raw,
        "coverage",
        f"study={study}/day=*",
        "SELECT count(DISTINCT partition) FILTER (entity = 'videos' AND unit_kind = 'day'), "
        "count(DISTINCT (entity, partition, unit_kind, unit)) FROM {table} "
        "WHERE (state = 'complete' OR kept > 0) AND unit_kind NOT IN ('canary', 'rename')",
    )
    return Held(*rows[0]) if rows else Held(0, 0)


def attempt_from_event(event: Mapping[str, Any]) -> Attempt:
    """Return the attempt that a journal event contains."""
    values: dict[str, Any] = {item.name: event.get(item.name) for item in fields(Attempt)}
    for name, read in (("partition", date.fromisoformat), *((n, datetime.fromisoformat) for n in _TIME_FIELDS)):
        if isinstance(values[name], str):
            values[name] = read(values[name])
    return Attempt(**values)


def sum_counts(attempt: Attempt, parts: Iterable[Attempt]) -> Attempt:
    """Return the attempt with the counts of `parts` together, from their earliest to their latest time."""
    parts = list(parts)
    return replace(
        attempt,
        asked=sum(one.asked for one in parts),
        offered=sum(one.offered for one in parts),
        kept=sum(one.kept for one in parts),
        first_at=min((one.first_at for one in parts if one.first_at), default=attempt.first_at),
        # Parts end in any order. Without the maximum a later attempt at the unit could look older than an earlier one.
        last_at=max((one.last_at for one in parts if one.last_at), default=attempt.last_at),
    )


def is_newer_observation(attempt: Attempt, complete: Attempt | None, now: datetime, *, recollect: bool) -> bool:
    """Return whether a unit of a day belongs to the observation that follows `complete`, the day's newest complete one.

    A re-collection only uses what is at most `MAX_REOBSERVATION_AGE` old.
    """
    return attempt_time(attempt) > attempt_time(complete) and not (
        recollect and now - attempt_time(attempt) > MAX_REOBSERVATION_AGE
    )


def attempt_time(attempt: Attempt | None) -> datetime:
    """Return when an attempt ended, for comparisons; without attempt or response the earliest possible time."""
    return (attempt and attempt.last_at) or datetime.min.replace(tzinfo=UTC)


def backoff_until(now: datetime, times: int) -> datetime:
    """Return when the next try of a unit is due that failed `times` times in all: after 1, 2, 4 … 32 days."""
    return now + min(timedelta(days=2 ** max(0, times - 1)), MAX_BACKOFF)


def is_waiting(next_try: datetime | None, now: datetime) -> bool:
    """Return whether the next try of a unit is not due yet.

    No try is further away than `MAX_BACKOFF`. A later time was written under a clock that was ahead and does not count.
    """
    return next_try is not None and now < next_try <= now + MAX_BACKOFF + MAX_CLOCK_SKEW


def worst_state(states: Iterable[str]) -> UnitState:
    """Return the first of some states in `STATES_WORST_FIRST`; `complete` if there are none."""
    present = set(states)
    return next((state for state in STATES_WORST_FIRST if state in present), "complete")


def state_label(state: str) -> str:
    """Return the label of a unit state: `not requested` for `not_asked`."""
    return _STATE_LABELS.get(state, state)


def count_states(states: Iterable[str]) -> dict[str, int]:
    """Return the number of units in each state."""
    counts: dict[str, int] = {}
    for state in states:
        counts[state] = counts.get(state, 0) + 1
    return counts


def join_sentences(*texts: str | None) -> str | None:
    """Return the texts as sentences, each with a capital letter and a full stop; None if there are none."""
    sentences = [f"{text[0].upper()}{text[1:]}" for one in texts if one and (text := one.strip())]
    return " ".join(one if one.endswith((".", "!", "?")) else f"{one}." for one in sentences) or None


def format_utc(time: datetime) -> str:
    """Return a time as text: `2026-02-01 00:00 UTC`."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
