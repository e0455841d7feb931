"""The page of a coverage board: a table of partitions by entity, with the state of each and a link to it in Dagster.

The page is plain HTML and CSS. It runs no script, so it can be opened from a file, mailed and printed. `LiveBoards`
renders it on request for the server of the reports, `write_board` writes it to a file. Not here: the states (see
planning/coverage_board.py), the Dagster asset (see assets/coverage_board.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from html import escape
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from research_assets.clock import SystemClock
from research_assets.fields import ENTITIES
from research_assets.planning.coverage_board import (
    DAY,
    STATE_SYMBOLS,
    BoardCell,
    BoardRow,
    CoverageBoard,
    read_board,
)
from research_assets.planning.messages import describe_day_sample, pluralize
from research_assets.quota.server_time import server_clock_or_local
from research_assets.report.formatting import format_time
from research_assets.report.page import TEMPLATE_FOLDER, render_template
from research_assets.report.paths import BOARD_SUFFIX, board_path, report_path
from research_assets.settings import Settings
from research_assets.storage.files import private_folder, write_private
from research_assets.study.loader import load_valid_studies
from research_assets.study.spec import StudySpec
from research_assets.text import html_text, one_line
from research_assets.units.coverage import SETTLED, UnitState, state_label
from research_assets.units.periods import current_period

MAX_REASON_CHARACTERS = 300
"""Characters of a reason in a cell."""

MAX_DAYS_ON_A_LINE = 93
"""Days up to which a study is one line; a longer one has a line for each quarter, or for each year of weeks."""

MAX_NUMBERED_COLUMNS = 40
"""Columns of a line up to which each day has its number."""

_MEANINGS: Mapping[UnitState, str] = {
    "complete": "All data that the API returns are collected. Single units may be refused or missing.",
    "refused": "The API discloses no unit, for example of private accounts.",
    "missing": "No unit was found. The API gives no reason.",
    "partial": "The collection has started and is not finished.",
    "suspicious": "The result is implausible and is requested again.",
    "quarantined": "The collection failed repeatedly and is tried again later.",
    "too_fresh": "The day has not settled, or a comment count of 0 is not confirmed.",
    "not_asked": "Expected by the study and not requested yet.",
}

_PERIOD_ENDED = "No next try: the period has ended, and the API returns current values only."


@dataclass(frozen=True, slots=True)
class _LegendEntry:
    number: int
    symbol: str
    label: str
    meaning: str
    counts: str


@dataclass(frozen=True, slots=True)
class _Section:
    """Rows with the same partitions under one heading; `lines` are HTML."""

    name: str
    title: str
    sentence: str
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class WrittenBoard:
    """A written page and its board."""

    path: Path
    board: CoverageBoard


def write_board(settings: Settings, study: StudySpec, now: datetime) -> WrittenBoard:
    """Write the page of a study as of `now` and replace an older one. Its links need `settings.dagster_url`."""
    board = read_board(settings, study, now)
    path = board_path(settings, study.name)
    private_folder(settings.reports)
    write_private(path, _render(board, study, settings, is_live=False).encode())
    return WrittenBoard(path, board)


class LiveBoards:
    """The pages of all studies, rendered on request from the current data."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def names(self) -> list[str]:
        """Return the names of the pages."""
        return [board_path(self._settings, name).name for name in self._studies()]

    def render(self, name: str) -> bytes | None:
        """Return the page of this name as of now; None if there is no study for it."""
        study = self._studies().get(name.removesuffix(BOARD_SUFFIX)) if name.endswith(BOARD_SUFFIX) else None
        if study is None:
            return None
        now = server_clock_or_local(self._settings, SystemClock()).now()
        return _render(read_board(self._settings, study, now), study, self._settings, is_live=True).encode()

    def _studies(self) -> dict[str, StudySpec]:
        """Return the studies, read again each time because their files may change while the server runs."""
        return {study.name: study for study in load_valid_studies(self._settings)}


def _render(board: CoverageBoard, study: StudySpec, settings: Settings, *, is_live: bool) -> str:
    report = report_path(settings, study.name)
    return render_board(
        board,
        study,
        simulated=settings.is_simulated,
        dagster_url=settings.dagster_url,
        is_live=is_live,
        report_file=report.name if report.is_file() else "",
    )


def render_board(
    board: CoverageBoard,
    study: StudySpec,
    *,
    simulated: bool,
    dagster_url: str = "",
    is_live: bool = False,
    report_file: str = "",
) -> str:
    """Return the HTML of a board.

    With the address of Dagster's UI each cell is a link to its partition; without it the page has no dead links.
    `is_live` says that the page shows the state at the time of the request.
    """
    partitions, units = board.count_partitions(), board.count_units()
    legend = [
        _LegendEntry(
            number,
            symbol,
            state_label(state),
            _MEANINGS[state],
            f"{pluralize(partitions[state], 'partition')}, {pluralize(units[state], 'unit')}",
        )
        for number, (state, symbol) in enumerate(STATE_SYMBOLS.items())
    ]
    how = "Point at a cell, or move to it with the Tab key, for its units, its reason and its next try."
    link = " A cell is a link to its partition in Dagster." if dagster_url else ""
    time = (
        " Reload the page for the current state."
        if is_live
        else " This file does not change by itself: research-assets ui serves the current state."
    )
    return render_template(
        "board.html",
        style=(TEMPLATE_FOLDER / "board.css").read_text(encoding="utf-8"),
        study=study.name,
        heading=study.heading,
        simulated=simulated,
        as_of=format_time(board.as_of.astimezone(UTC)),
        note=f"{how}{link}{time}",
        report_file=report_file,
        states=legend,
        sections=[*_sections(board, study, dagster_url)],
    )


def _sections(board: CoverageBoard, study: StudySpec, dagster_url: str) -> Iterator[_Section]:
    """Yield the section of days of publication, and that of periods of observation."""
    content = [row for row in board.rows if ENTITIES[row.entity].time_axis == "content"]
    observed = [row for row in board.rows if ENTITIES[row.entity].time_axis == "observation"]
    if content:
        text = (
            "Each column is the UTC day on which the videos were published."
            if any(row.cells for row in content)
            else f"The study begins on {study.start}; it has no day yet."
        )
        if sample := describe_day_sample(study, board.as_of):
            text = f"{text} {sample}"
        yield _Section("content", "Days of publication", text, [*_lines(content, board, study, dagster_url)])
    if observed:
        period = "day" if study.observe == "daily" else "week, named by its Monday,"
        text = f"Each column is the UTC {period} in which accounts were observed. A past period cannot be collected."
        title = "Days of observation" if study.observe == "daily" else "Weeks of observation"
        yield _Section("observation", title, text, [*_lines(observed, board, study, dagster_url)])


def _lines(rows: Sequence[BoardRow], board: CoverageBoard, study: StudySpec, dagster_url: str) -> Iterator[str]:
    """Yield the tables of a section, oldest first. A quarter or a year without a partition has none."""
    present = sorted({partition for row in rows for partition in row.cells})
    if not present:
        return
    step = min(row.step for row in rows)
    columns = [present[0] + step * index for index in range((present[-1] - present[0]) // step + 1)]
    if len(columns) * step <= MAX_DAYS_ON_A_LINE * DAY or (step > DAY and len(columns) <= 53):
        chunks = [(str(columns[0].year), columns)]
    else:
        chunks = [(title, [*group]) for title, group in groupby(columns, key=lambda one: _line_title(one, step))]
    width = max(len(chunk) for _, chunk in chunks)
    occupied = set(present)
    for title, chunk in chunks:
        if not occupied.isdisjoint(chunk):
            yield "".join(_table(title, chunk, width, step, rows, board, study, dagster_url))


def _line_title(partition: date, step: timedelta) -> str:
    return f"{partition.year}, quarter {(partition.month + 2) // 3}" if step == DAY else str(partition.year)


def _table(
    title: str,
    columns: Sequence[date],
    width: int,
    step: timedelta,
    rows: Sequence[BoardRow],
    board: CoverageBoard,
    study: StudySpec,
    dagster_url: str,
) -> Iterator[str]:
    """Yield the parts of the table of one line."""
    yield f'<table style="--n:{len(columns)};--of:{width}"><thead><tr><th>{title}</th>'
    for index, (_, group) in enumerate(groupby(columns, key=lambda one: (one.year, one.month))):
        month = [*group]
        # A name that is wider than its columns would cover the next one.
        text = f"{month[0]:%b %Y}" if index and month[0].month == 1 else f"{month[0]:%b}"
        is_wide = len(month) >= (4 if step == DAY else 2) or len(columns) == len(month)
        yield f'<th scope="colgroup" colspan="{len(month)}">{text if is_wide else ""}</th>'
    yield "</tr>"
    if step == DAY:
        numbers = (
            str(column.day) if width <= MAX_NUMBERED_COLUMNS or column.day in (1, 10, 20) else "" for column in columns
        )
        yield f"<tr><th></th>{''.join(f'<th>{number}</th>' for number in numbers)}</tr>"
    yield "</thead><tbody>"
    running = current_period(study, board.as_of)
    for row in rows:
        asset = f"{dagster_url}/assets/{quote(study.name, safe='')}/{quote(row.entity, safe='')}" if dagster_url else ""
        name = escape(row.entity)
        yield f'<tr><th scope="row">{f"<a href={chr(34)}{escape(asset)}{chr(34)}>{name}</a>" if asset else name}</th>'
        for index, column in enumerate(columns):
            classes = [
                *(["m"] if index and (column - step).month != column.month else []),
                *(["e"] if index > len(columns) // 2 else []),
            ]
            yield f'<td class="{" ".join(classes)}">' if classes else "<td>"
            if cell := row.cells.get(column):
                is_over = ENTITIES[row.entity].time_axis == "observation" and column < running
                text = escape(html_text(_details(row, column, cell, board.as_of, is_over=is_over)))
                look = f'class="c s{_NUMBERS[cell.state]}" data-t="{text}"'
                symbol = STATE_SYMBOLS[cell.state]
                if asset and cell.is_partition:
                    yield f'<a href="{escape(asset)}?view=partitions&amp;partition={column}" {look}>{symbol}</a>'
                else:
                    yield f'<b tabindex="0" {look}>{symbol}</b>'
            yield "</td>"
        yield "</tr>"
    yield "</tbody></table>"


_NUMBERS = {state: number for number, state in enumerate(STATE_SYMBOLS)}
"""Number of a state in the names of CSS classes."""


def _details(row: BoardRow, partition: date, cell: BoardCell, now: datetime, *, is_over: bool) -> str:
    """Return the text of a cell: partition, state, units, rows, reason and next try, a line each."""
    lines = [f"{row.entity} {partition}: {state_label(cell.state)}"]
    if cell.expected:
        lines.append(f"{cell.settled:,} of {pluralize(cell.expected, 'unit')} settled, {pluralize(cell.rows, 'row')}")
        if len(cell.units) > 1:
            states = (state for state in STATE_SYMBOLS if cell.units.get(state))
            lines.append(", ".join(f"{cell.units[state]:,} {state_label(state)}" for state in states))
    if cell.reason:
        lines.append(f"Reason: {one_line(cell.reason, MAX_REASON_CHARACTERS)}")
    if cell.state not in SETTLED:
        if is_over:
            lines.append(_PERIOD_ENDED)
        elif cell.next_try is not None and cell.next_try > now:
            lines.append(f"Next try: {format_time(cell.next_try.astimezone(UTC))}")
        else:
            lines.append("Next try: when quota is available")
    elif cell.next_try is not None and cell.next_try > now and not is_over:
        lines.append(f"Not requested again before {format_time(cell.next_try.astimezone(UTC))}")
    return "\n".join(lines)
