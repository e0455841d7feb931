"""The coverage board of a study: the state of each partition of each entity, and runs of neighbours in one state.

The board is computed from raw/coverage, the expected units and the open journals, not from the marts. So it is true
before the first build and while a build is pending: it counts the units that the mart `coverage` would have if it were
built now. Not here: the page (see report/coverage_board.py), the picture in a terminal (see cli/status.py).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

from research_assets.clock import week_of
from research_assets.fields import ENTITIES
from research_assets.planning.coverage_summary import StateCount, read_state_counts
from research_assets.planning.expected_units import read_unattempted_units
from research_assets.planning.inputs import read_observed_periods, study_entities
from research_assets.settings import Settings
from research_assets.storage.captures import days_of
from research_assets.storage.listing import matching_paths
from research_assets.study.spec import StudySpec
from research_assets.units.coverage import SETTLED, UnitState, worst_state
from research_assets.units.periods import ObservedPeriods, current_period, period_length

STATE_SYMBOLS: Mapping[UnitState, str] = {
    "complete": "#",
    "refused": "x",
    "missing": "-",
    "partial": "%",
    "suspicious": "?",
    "quarantined": "!",
    "too_fresh": ":",
    "not_asked": ".",
}
"""Character of a state, in the order of a legend. ASCII, so that every terminal shows them, also without colours."""

NO_ACCOUNT = "No account is known yet."
"""Reason of a period in which the study expects no account."""

NO_COMMENTS = "No video of the day has comments to collect."
"""Reason of a day of comments without a unit."""

JOURNAL_OPEN = "The collection has started and is not finished."
"""Reason of a partition with an open journal and without an attempt."""

NOT_REQUESTED = "Expected by the study, not requested yet."
TOO_RECENT = "Too recent to be collected."

DAY = timedelta(days=1)
WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class BoardCell:
    """A partition of an entity: its state, its units by state, and the rows kept.

    `reason` and `next_try` (UTC) are those of the units in the state of the cell, `next_try` the earliest of them.
    `is_partition` is false if Dagster has no such partition: a day that has not ended, or one outside the study.
    """

    state: UnitState
    units: Mapping[UnitState, int] = field(default_factory=dict)
    rows: int = 0
    reason: str | None = None
    next_try: datetime | None = None
    is_partition: bool = True

    @property
    def settled(self) -> int:
        """Number of settled units."""
        return sum(units for state, units in self.units.items() if state in SETTLED)

    @property
    def expected(self) -> int:
        """Number of all units."""
        return sum(self.units.values())


@dataclass(frozen=True, slots=True)
class BoardRow:
    """An entity with its cells in order; `step` is the time from one partition to the next.

    With `is_sampled` days that were not drawn are no partitions, so neighbours in the sample are neighbours.
    """

    entity: str
    step: timedelta
    cells: Mapping[date, BoardCell]
    is_sampled: bool = False


@dataclass(frozen=True, slots=True)
class CoverageBoard:
    """The rows of a study, one per entity in the order of the registry, as known at `as_of` (UTC)."""

    study: str
    as_of: datetime
    rows: Sequence[BoardRow]

    def count_partitions(self) -> dict[UnitState, int]:
        """Return the number of partitions in each of the eight states."""
        counted = Counter(cell.state for row in self.rows for cell in row.cells.values())
        return {state: counted[state] for state in STATE_SYMBOLS}

    def count_units(self) -> dict[UnitState, int]:
        """Return the number of units in each of the eight states."""
        counted: Counter[UnitState] = Counter()
        for row in self.rows:
            for cell in row.cells.values():
                counted.update(cell.units)
        return {state: counted[state] for state in STATE_SYMBOLS}


@dataclass(frozen=True, slots=True)
class StateRun:
    """Neighbouring partitions in one state, from `first` to `last`."""

    state: UnitState
    first: date
    last: date
    partitions: int


def read_board(
    settings: Settings, study: StudySpec, now: datetime, attempted: Iterable[StateCount] | None = None
) -> CoverageBoard:
    """Return the board of a study at `now` from its raw tables and journals. Nothing is written, no request is sent.

    `attempted` are the counts of `read_state_counts` for this study if the caller has them.
    """
    counts = [*(read_state_counts(settings.raw, study.name) if attempted is None else attempted)]
    counts += [
        StateCount(
            study.name,
            unattempted.entity,
            unattempted.partition,
            "too_fresh" if unattempted.is_too_fresh else "not_asked",
            unattempted.units,
            0,
            unattempted.due_at if unattempted.is_too_fresh else None,
            TOO_RECENT if unattempted.is_too_fresh else NOT_REQUESTED,
        )
        for unattempted in read_unattempted_units(settings.raw, study, now)
    ]
    periods = read_observed_periods(settings, study, now)
    return build_board(study, counts, periods, now, set(_days_of_open_journals(settings.captures, study.name)))


def build_board(
    study: StudySpec,
    counts: Iterable[StateCount],
    periods: Mapping[str, ObservedPeriods],
    now: datetime,
    in_progress: Iterable[tuple[str, date]] = (),
) -> CoverageBoard:
    """Return the board from the units by state, the `periods` of observed entities, and partitions with open journals.

    A partition has the worst state of its open units. If all are settled, it is complete, as in Dagster, unless none of
    them is. A partition without a unit is shown as well, so that no gap is invisible.
    """
    by_entity = _by_entity(counts)
    expected = study_entities(study)
    started = set(in_progress)
    rows: dict[str, BoardRow] = {}
    for entity in ENTITIES:
        if entity not in expected and entity not in by_entity:
            continue
        found = by_entity.get(entity, {})
        is_content = ENTITIES[entity].time_axis == "content"
        partitions: set[date] = set()
        if entity in expected:
            partitions = set(study.days_until(now) if is_content else _periods_until(study, periods.get(entity), now))
        # A day that has not ended is expected, but Dagster has a partition for it only when it has ended.
        selectable = {one for one in partitions if not is_content or one < now.date()}
        cells = {}
        for partition in sorted(partitions | found.keys()):
            if partition in found:
                cell = _cell(found[partition], is_partition=partition in selectable)
            else:
                videos = rows["videos"].cells.get(partition) if entity == "comments" else None
                cell = _empty_cell(study, entity, partition, videos, now, is_partition=partition in selectable)
            if cell.state == "not_asked" and (entity, partition) in started:
                reason = JOURNAL_OPEN if cell.reason in (None, NOT_REQUESTED, NO_ACCOUNT) else cell.reason
                cell = BoardCell("partial", cell.units, cell.rows, reason, cell.next_try, cell.is_partition)
            cells[partition] = cell
        is_sampled = is_content and study.day_sample is not None
        rows[entity] = BoardRow(entity, DAY if is_content else period_length(study), cells, is_sampled)
    return CoverageBoard(study.name, now, [*rows.values()])


def board_without_study(name: str, counts: Iterable[StateCount], now: datetime) -> CoverageBoard:
    """Return the board of collected data whose study file does not exist or is invalid, so nothing is expected."""
    by_entity = _by_entity(counts)
    rows = []
    for entity in ENTITIES:
        found = by_entity.get(entity, {})
        cells = {one: _cell(found[one], is_partition=False) for one in sorted(found)}
        is_weekly = ENTITIES[entity].time_axis == "observation" and all(week_of(one) == one for one in found)
        if cells:
            rows.append(BoardRow(entity, WEEK if is_weekly else DAY, cells))
    return CoverageBoard(name, now, rows)


def _by_entity(counts: Iterable[StateCount]) -> dict[str, dict[date, list[StateCount]]]:
    """Return the counts by entity and partition."""
    by_entity: dict[str, dict[date, list[StateCount]]] = {}
    for count in counts:
        by_entity.setdefault(count.entity, {}).setdefault(count.partition, []).append(count)
    return by_entity


def _periods_until(study: StudySpec, periods: ObservedPeriods | None, now: datetime) -> Iterator[date]:
    """Yield the periods up to the running one that are partitions."""
    running = current_period(study, now)
    periods = periods or ObservedPeriods(running)
    period = periods.first
    while period <= running:
        if periods.contains(period):
            yield period
        period += period_length(study)


def _cell(counts: Sequence[StateCount], *, is_partition: bool) -> BoardCell:
    """Return the cell of a partition with these units, of which there is at least one."""
    units: Counter[UnitState] = Counter()
    for count in counts:
        units[count.state] += count.units
    is_open = any(state not in SETTLED for state in units)
    state: UnitState = worst_state(units) if is_open or "complete" not in units else "complete"
    of_state = [count for count in counts if count.state == state]
    reasons: Counter[str] = Counter()
    for count in of_state:
        if count.reason:
            reasons[count.reason] += count.units
    return BoardCell(
        state,
        dict(units),
        sum(count.rows for count in counts),
        max(reasons, key=lambda reason: (reasons[reason], reason), default=None),
        min((count.next_try for count in of_state if count.next_try), default=None),
        is_partition,
    )


def _empty_cell(
    study: StudySpec, entity: str, partition: date, videos: BoardCell | None, now: datetime, *, is_partition: bool
) -> BoardCell:
    """Return the cell of a partition without a unit. `videos` is the cell of its videos, for a day of comments."""
    if ENTITIES[entity].time_axis == "observation":
        return BoardCell("not_asked", reason=NO_ACCOUNT, is_partition=is_partition)
    if videos is not None and videos.state == "complete":
        return BoardCell("complete", reason=NO_COMMENTS, is_partition=is_partition)
    if study.is_too_fresh(partition, now):
        due_at = study.settles_at(partition)
        return BoardCell("too_fresh", reason=TOO_RECENT, next_try=due_at, is_partition=is_partition)
    return BoardCell("not_asked", reason=NOT_REQUESTED, is_partition=is_partition)


def state_runs(row: BoardRow) -> list[StateRun]:
    """Return the runs of an entity, oldest first. A missing partition ends a run."""
    runs: list[StateRun] = []
    for partition, cell in row.cells.items():
        is_next = bool(runs) and (row.is_sampled or runs[-1].last + row.step == partition)
        if is_next and runs[-1].state == cell.state:
            runs[-1] = StateRun(cell.state, runs[-1].first, partition, runs[-1].partitions + 1)
        else:
            runs.append(StateRun(cell.state, partition, partition, 1))
    return runs


def symbol_bar(states: Sequence[UnitState], width: int) -> str:
    """Return one symbol per partition; above `width` partitions one for several, with the worst of their states."""
    per_symbol = max(1, -(-len(states) // width))
    groups = (states[index : index + per_symbol] for index in range(0, len(states), per_symbol))
    return "".join(STATE_SYMBOLS[worst_state(group)] for group in groups)


def _days_of_open_journals(captures: Path, study: str) -> Iterator[tuple[str, date]]:
    """Yield entity and partition of the open journals of a study, from the names of their folders."""
    for path in matching_paths(captures, f"*/study={study}/*/*.jsonl"):
        with suppress(ValueError):
            first, last = days_of(path)
            for offset in range((last - first).days + 1):
                yield path.parent.parent.parent.name, first + offset * DAY
