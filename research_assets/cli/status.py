"""`research-assets status`: show the remaining quota, the units by state, the open units and recent failures.

The command writes nothing. It sends no request, except for the time of a simulated API, whose clock can be moved.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta
from textwrap import fill
from typing import TYPE_CHECKING, get_args

import click

from research_assets.settings import UI_COMMAND, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from research_assets.cli.terminal import Terminal
    from research_assets.clock import Clock
    from research_assets.planning.coverage_board import BoardRow, CoverageBoard, StateRun
    from research_assets.planning.coverage_summary import StateCount
    from research_assets.quota.ledger import PoolState
    from research_assets.storage.sent_by import SentBy
    from research_assets.study.spec import StudySpec
    from research_assets.units.coverage import UnitState

MAX_RUNS = 5
"""Highest number of runs of partitions in one state that are listed for an entity.

More are drawn as a bar, followed by the longest runs that are not settled."""
MAX_BAR_WIDTH = 60
"""Highest number of characters of a bar."""
STATE_COLOURS: "Mapping[UnitState, str]" = {
    "complete": "green",
    "refused": "blue",
    "missing": "blue",
    "partial": "cyan",
    "suspicious": "yellow",
    "quarantined": "red",
    "too_fresh": "dim",
    "not_asked": "magenta",
}
"""Colours of the states in Rich. The symbols say the same without colours."""
OPEN_STATES = ("partial", "suspicious", "quarantined", "not_asked")
MAX_OPEN_ROWS = 12
"""Highest number of rows in the table of open units."""
FAILURE_WINDOW = timedelta(days=7)
"""Age up to which failures are shown."""
MAX_FAILURE_ROWS = 5
"""Highest number of rows in the table of failures."""

MAX_CAPTURE_ROWS = 5
"""Highest number of captures with problems that are listed."""

UnitCounts = dict[tuple[str, str], Counter[str]]
"""Units in each state, by study and entity; `rows` counts their rows."""


@click.command("status")
def command() -> None:
    """Show the remaining quota and the units of each study by state. Sends no request.

    A unit is a day of a search, the comments of a video, a profile, or a list of an account. The command also shows
    the partitions of each entity by state, the open units, captures that are damaged or not in the raw tables, and the
    failures of the last 7 days. The exit code is 1 if the ledger of the quota cannot be read.
    """
    from research_assets.cli.environment import data_settings
    from research_assets.cli.terminal import Terminal, print_warning
    from research_assets.clock import SystemClock
    from research_assets.compliance.retention import deletion_notice
    from research_assets.planning.coverage_summary import read_state_counts
    from research_assets.quota.server_time import server_clock_or_local
    from research_assets.storage.listing import matching_paths
    from research_assets.study.left_out import describe_left_out
    from research_assets.study.loader import overlooked_files
    from research_assets.units.coverage import read_days_without_videos

    settings = data_settings()
    clock = server_clock_or_local(settings, SystemClock())
    console = Terminal()
    if not settings.is_simulated:
        console.print(f"Data in {settings.root}, from {settings.origin}.")
    _print_access(console, settings)
    console.print()
    ledger_error = _print_quota(console, settings, clock)
    counts = read_state_counts(settings.raw)
    studies, issues = _studies(settings)
    for file in overlooked_files(settings):
        console.print(str(file), markup=False)
    for study in studies:
        if text := describe_left_out(study):
            console.print(text)
        if notice := deletion_notice(study, clock.now().date()):
            print_warning(console, notice.text)
        _print_changes(console, settings, study)
    if counts:
        _print_units(console, count_units(counts))
        print_coverage(console, _read_boards(settings, studies, counts, clock.now()))
        expected = _expected_counts(counts, studies)
        _print_unconfirmed_counts(console, expected)
        if open_counts := [count for count in expected if count.state in OPEN_STATES]:
            _print_open_units(console, open_counts)
        print_studies_without_videos(console, read_days_without_videos(settings.raw))
        if new := sorted({study.name for study in studies} - {count.study for count in counts}):
            console.print(f"No data yet: {', '.join(new)}. What starts next: research-assets collect --dry-run")
    elif next(matching_paths(settings.captures, "*/study=*/*/*.jsonl.zst"), None) is not None:
        console.print(
            "\nThe raw tables are empty. Build them from the captures, without a request: research-assets replay"
        )
    else:
        console.print(
            f"\nNo data collected yet. Start with: {UI_COMMAND}\nWithout the UI: research-assets collect\n"
            "Estimate the cost with: research-assets plan"
        )
    _print_capture_problems(console, settings)
    if failures := _failures(settings):
        console.print(_failure_table(failures))
        console.print(f"All failures: {settings.alerts}\nIn Dagster's UI, see Runs and Automation.")
    if issues:
        console.print(f"\nCollection is stopped until the study files are corrected.\n{issues}")
    if ledger_error is not None:
        raise ledger_error


def _print_quota(console: "Terminal", settings: Settings, clock: "Clock") -> Exception | None:
    """Print the quota and who used it. Return the error if the ledger cannot be read: the rest needs no ledger."""
    from research_assets.cli.terminal import print_warning
    from research_assets.quota.ledger import read_pools, read_senders
    from research_assets.quota.ledger_database import DamagedLedger, LedgerError

    try:
        pools, _ = read_pools(settings, clock)
        senders = read_senders(settings, clock)
    except (DamagedLedger, LedgerError) as error:
        print_warning(console, "The remaining quota is unknown,", "so nothing can be collected. See the error below.")
        return error
    console.print(_pool_table([*pools.values()]))
    if table := _sender_table(senders):
        console.print(table)
    return None


def _print_changes(console: "Terminal", settings: Settings, study: "StudySpec") -> None:
    """Print how the study file was changed after the first collection; nothing if it was not."""
    from research_assets.report.provenance import change_sentences, preregistration_sentences
    from research_assets.study.provenance import ProvenanceError, contents_of, read_provenance

    try:
        record = read_provenance(settings, study.name)
    except ProvenanceError as error:
        console.print(str(error), markup=False)
        return
    if record.first is None:
        return
    state = [f"study file {record.first.sha256[:12]}, first collection {record.first.at:%Y-%m-%d %H:%M} UTC."]
    changes = change_sentences(record, contents_of(study))
    text = " ".join([*state, *(changes or ["Not changed since."]), *preregistration_sentences(record)])
    console.print(fill(f"{study.name}: {text}", console.columns, break_on_hyphens=False), markup=False)


def _print_access(console: "Terminal", settings: Settings) -> None:
    """Print whether other users of this machine can read the data."""
    from research_assets.cli.terminal import print_warning
    from research_assets.compliance.access import describe_readers, open_folders

    folders = open_folders(settings)
    for folder in folders:
        print_warning(
            console,
            "Readable by other users:",
            f"{folder.path}, with {folder.contents} (permissions {folder.permissions}). Run: chmod 700 {folder.path}",
        )
    if not folders and settings.root.exists():
        console.print("Only the owner of the data folder can read it.")
    if settings.shared_marts is not None:
        readers = describe_readers(settings.shared_marts)
        console.print(f"The marts are copied to {settings.shared_marts}: {readers}.", markup=False)


def _studies(settings: Settings) -> "tuple[Sequence[StudySpec], str]":
    """Return the studies with valid files, and the issues of the other files."""
    from research_assets.study.loader import StudyError, load_studies

    try:
        return load_studies(settings), ""
    except StudyError as error:
        return error.valid_studies, str(error)


def _failures(settings: Settings) -> "list[tuple[datetime, str, str]]":
    """Return time, run or sensor, and error of the failures within `FAILURE_WINDOW`, newest first.

    The window is measured by the machine's clock, as are the times of alerts.
    """
    from research_assets.alerts import read_alerts
    from research_assets.clock import SystemClock

    since, failures = SystemClock().now() - FAILURE_WINDOW, []
    for alert in read_alerts(settings):
        subject = alert.get("sensor") or " ".join(
            [", ".join(alert.get("assets", ())) or "a run", alert.get("partitions", "")]
        )
        failures.append((datetime.fromisoformat(alert["at"]), subject.strip(), " ".join(alert["message"])))
    return sorted((failure for failure in failures if failure[0] >= since), reverse=True)


def count_units(counts: "Sequence[StateCount]") -> UnitCounts:
    """Return the units in each state by study and entity."""
    from research_assets.fields import ENTITIES

    order = list(ENTITIES)
    units: UnitCounts = {}
    for count in sorted(counts, key=lambda one: (one.study, order.index(one.entity))):
        entry = units.setdefault((count.study, count.entity), Counter())
        entry[count.state] += count.units
        entry["rows"] += count.rows
    return units


def _pool_table(pools: "list[PoolState]") -> "Table":
    """Return the quota of the current UTC day."""
    from rich.table import Table

    table = Table("pool", title=f"Quota of {pools[0].day} UTC", title_justify="left", box=None, pad_edge=False)
    for heading in ("used", "cap", "remaining", "refused", "available (UTC)"):
        table.add_column(heading, justify="right")
    for pool in pools:
        available = f"{pool.available_at.astimezone(UTC):%Y-%m-%d %H:%M}" if pool.available_at else "now"
        table.add_row(
            pool.pool, *(f"{n:,}" for n in (pool.used, pool.cap, pool.remaining, pool.n_refused_by_api)), available
        )
    return table


def _sender_table(used: "Mapping[SentBy, Mapping[str, int]]") -> "Table | None":
    """Return the requests of the current UTC day by person, and by host if there are several; None for one sender."""
    from rich.table import Table
    from rich.text import Text

    from research_assets.text import short_label

    if len(used) < 2:
        return None
    hosts = {sender.host for sender in used}
    table = Table("user", title="\nSent today by", title_justify="left", box=None, pad_edge=False)
    if len(hosts) > 1:
        table.add_column("host")
    pools = sorted({pool for of_sender in used.values() for pool in of_sender}, reverse=True)
    for pool in pools:
        table.add_column(pool, justify="right")
    for sender, of_sender in used.items():
        names = (sender.user, sender.host)[: 1 + (len(hosts) > 1)]
        # Text shows brackets as they are: they are no markup of Rich.
        table.add_row(*(Text(short_label(name)) for name in names), *(f"{of_sender.get(pool, 0):,}" for pool in pools))
    return table


def _print_units(console: "Console", units: UnitCounts) -> None:
    """Print the units by state, with the states that occur as columns; as text where the columns do not fit."""
    from rich.measure import Measurement
    from rich.table import Table

    from research_assets.units.coverage import UnitState

    title = "\nUnits by state"
    states = [state for state in get_args(UnitState) if any(state in entry for entry in units.values())]
    table = Table("study", "entity", title=title, title_justify="left", box=None, pad_edge=False)
    for heading in (*states, "rows"):
        table.add_column(heading, justify="right")
    for (study, entity), entry in units.items():
        table.add_row(study, entity, *(f"{entry[column]:,}" for column in (*states, "rows")))
    if Measurement.get(console, console.options.update(max_width=1_000), table).maximum > console.width:
        table = Table("study", "entity", title=title, title_justify="left", box=None, pad_edge=False)
        table.add_column("rows", justify="right")
        table.add_column("units")
        for (study, entity), entry in units.items():
            parts = ", ".join(f"{entry[state]:,} {state}" for state in states if entry[state])
            table.add_row(study, entity, f"{entry['rows']:,}", parts)
    console.print(table)


def _read_boards(
    settings: Settings, known: "Sequence[StudySpec]", counts: "Sequence[StateCount]", now: datetime
) -> "list[CoverageBoard]":
    """Return the boards of all studies with data. Of a study without a valid file only the attempts are known."""
    from research_assets.planning.coverage_board import board_without_study, read_board

    studies = {study.name: study for study in known}
    boards = []
    for name in sorted({count.study for count in counts}):
        of_study = [count for count in counts if count.study == name]
        if name in studies:
            boards.append(read_board(settings, studies[name], now, of_study))
        else:
            boards.append(board_without_study(name, of_study, now))
    return boards


def print_coverage(console: "Terminal", boards: "Sequence[CoverageBoard]") -> None:
    """Print the partitions of each entity as runs of neighbours in one state, in lines as wide as the terminal.

    Entities of a study with the same partitions and states share their lines.
    """
    from rich.text import Text

    from research_assets.planning.coverage_board import STATE_SYMBOLS, BoardRow, state_runs
    from research_assets.planning.messages import pluralize
    from research_assets.units.coverage import SETTLED, format_utc, state_label

    width = console.columns
    lines = Text()
    for board in boards:
        rows_by_states: dict[tuple[object, ...], list[BoardRow]] = {}
        for row in board.rows:
            states = tuple((partition, cell.state) for partition, cell in row.cells.items())
            rows_by_states.setdefault((row.step, states), []).append(row)
        lines.append(_indented(f"\nCoverage of {board.study} as of {format_utc(board.as_of)}", width, "") + "\n")
        for rows in rows_by_states.values():
            row, runs = rows[0], state_runs(rows[0])
            number = pluralize(len(row.cells), "day" if row.step == timedelta(days=1) else "week")
            lines.append(_indented(f"{', '.join(one.entity for one in rows)}: {number}", width, "  ") + "\n")
            shown = runs
            if len(runs) > MAX_RUNS:
                lines.append_text(_bar(row, width))
                open_runs = [run for run in runs if run.state not in SETTLED]
                longest = sorted(open_runs, key=lambda run: run.partitions, reverse=True)[:MAX_RUNS]
                shown = sorted(longest, key=lambda run: run.first)
            for run in shown:
                text = f"{_period_text(run)}  {run.partitions:,} {state_label(run.state)}"
                lines.append(f"  {STATE_SYMBOLS[run.state]} ", STATE_COLOURS[run.state])
                lines.append(_indented(text, width - 4, "", "    ") + "\n", STATE_COLOURS[run.state])
            if len(runs) > len(shown):
                lines.append(f"    and {pluralize(len(runs) - len(shown), 'more run')}\n")
    entries = [
        f"{symbol} {state_label(state)}".replace(" ", "\N{NO-BREAK SPACE}") for state, symbol in STATE_SYMBOLS.items()
    ]
    lines.append("\n" + fill("   ".join(entries), width).replace("\N{NO-BREAK SPACE}", " "))
    console.print(lines)


def _indented(text: str, width: int, indent: str, following: str | None = None) -> str:
    """Return a text in lines of a width; lines after the first begin with `following`, or deeper than `indent`."""
    following = f"{indent}  " if following is None else following
    return "\n".join(
        fill(line, width, initial_indent=indent, subsequent_indent=following, break_on_hyphens=False)
        for line in text.split("\n")
    )


def _period_text(run: "StateRun") -> str:
    """Return `2026-02-01..02-27`; one day without an end, and the end with its year if that is another one."""
    if run.first == run.last:
        return str(run.first)
    return f"{run.first}..{run.last:%m-%d}" if run.first.year == run.last.year else f"{run.first}..{run.last}"


def _bar(row: "BoardRow", width: int) -> "Text":
    """Return one line with a symbol for each partition, or for several neighbours the worst of their states."""
    from rich.text import Text

    from research_assets.planning.coverage_board import STATE_SYMBOLS, symbol_bar

    partitions = list(row.cells)
    first, last = str(partitions[0]), str(partitions[-1])
    room = max(5, min(MAX_BAR_WIDTH, width - len(f"    {first}  {last}")))
    states = {symbol: state for state, symbol in STATE_SYMBOLS.items()}
    line = Text(f"    {first} ")
    for symbol in symbol_bar([cell.state for cell in row.cells.values()], room):
        line.append(symbol, STATE_COLOURS[states[symbol]])
    return line.append(f" {last}\n")


def _print_capture_problems(console: "Console", settings: Settings) -> None:
    """Print the captures whose rows are not in the raw tables or whose files are damaged, and what to do."""
    from research_assets.clock import SystemClock
    from research_assets.planning.messages import pluralize
    from research_assets.storage.capture_problems import ADVICE, find_capture_problems

    # The age of a file is measured by the machine's clock, as is its time of change.
    problems = [*find_capture_problems(settings.captures, settings.raw, "*", SystemClock().now())]
    if not problems:
        return
    waiting = sum(not problem.is_loaded for problem in problems)
    rest = f", {pluralize(waiting, 'capture')} without rows in the raw tables and the marts" if waiting else ""
    console.print(f"\nCaptures with problems: {len(problems):,}{rest}")
    for problem in problems[:MAX_CAPTURE_ROWS]:
        text = f"{problem.path.relative_to(settings.captures)} ({problem.kind}): {problem.reason.rstrip('.')}."
        console.print(fill(text, console.width, subsequent_indent="    ", break_on_hyphens=False), markup=False)
    if len(problems) > MAX_CAPTURE_ROWS:
        console.print(f"and {len(problems) - MAX_CAPTURE_ROWS:,} more")
    for kind in dict.fromkeys(problem.kind for problem in problems):
        console.print(fill(f"{kind}: {ADVICE[kind]}", console.width, break_on_hyphens=False), markup=False)


def _expected_counts(counts: "Iterable[StateCount]", studies: "Iterable[StudySpec]") -> "list[StateCount]":
    """Return the counts without the days that a study does not have any more: nothing is requested for them."""
    from research_assets.fields import ENTITIES

    by_name = {study.name: study for study in studies}
    return [
        count
        for count in counts
        if count.study not in by_name
        or ENTITIES[count.entity].time_axis == "observation"
        or by_name[count.study].has_day(count.partition)
    ]


def _print_unconfirmed_counts(console: "Console", counts: "Iterable[StateCount]") -> None:
    """Print for each study the videos whose comment count of 0 is not confirmed, and the next re-observation."""
    from research_assets.planning.messages import pluralize
    from research_assets.units.coverage import format_utc

    unconfirmed: dict[str, list[StateCount]] = {}
    for count in counts:
        if (count.entity, count.state) == ("comments", "too_fresh"):
            unconfirmed.setdefault(count.study, []).append(count)
    for study, of_study in unconfirmed.items():
        videos = pluralize(sum(count.units for count in of_study), "video")
        next_try = min((count.next_try for count in of_study if count.next_try), default=None)
        when = f"next re-observation: {format_utc(next_try)}" if next_try else "no re-observation is planned"
        console.print(f"{study}: {videos} with an unconfirmed comment count of 0; {when}.")


def _print_open_units(console: "Console", counts: "Iterable[StateCount]") -> None:
    """Print the units that are partial, suspicious, quarantined or not requested, and their next try.

    Reasons follow the table, because they do not fit into a column of a narrow terminal.
    """
    from rich.table import Table

    table = Table(title="\nOpen units", box=None, pad_edge=False)
    table.title_justify = table.caption_justify = "left"
    table.add_column("study", overflow="fold")
    for heading in ("entity", "partition", "state"):
        table.add_column(heading, no_wrap=True)
    table.add_column("units", justify="right")
    table.add_column("next try (UTC)")
    table.add_column("reason", justify="right")
    reasons: dict[str, int] = {}
    by_next_try = sorted(counts, key=lambda one: (one.next_try is not None, one.next_try, one.study, one.entity))
    for count in by_next_try[:MAX_OPEN_ROWS]:
        next_try = f"{count.next_try.astimezone(UTC):%Y-%m-%d %H:%M}" if count.next_try else "now"
        reason = (count.reason or "").split(". ")[0]
        number = f"({reasons.setdefault(reason, len(reasons) + 1)})" if reason else ""
        row = (count.study, count.entity, str(count.partition), count.state, f"{count.units:,}", next_try, number)
        table.add_row(*row)
    if len(by_next_try) > MAX_OPEN_ROWS:
        table.caption = f"and {len(by_next_try) - MAX_OPEN_ROWS:,} more"
    console.print(table)
    for reason, position in reasons.items():
        console.print(fill(f"({position}) {reason}", console.width, subsequent_indent="    "))


def print_studies_without_videos(console: "Console", days: "Mapping[str, int]") -> None:
    """Print for each study whether no video was ever found. `days` are the searched days of such studies."""
    from research_assets.planning.messages import pluralize
    from research_assets.units.coverage import NO_VIDEO_FOUND, NO_VIDEO_FOUND_ADVICE

    for study, number in days.items():
        text = f"{study}: {NO_VIDEO_FOUND} Searched: {pluralize(number, 'day')}. "
        text += NO_VIDEO_FOUND_ADVICE.replace("STUDY", study)
        console.print(f"\n{fill(text, console.width, break_on_hyphens=False)}")


def _failure_table(failures: "Sequence[tuple[datetime, str, str]]") -> "Table":
    """Return the newest failures."""
    from rich.table import Table

    title = f"\nFailures in the last {FAILURE_WINDOW.days} days"
    table = Table("at (UTC)", "run or sensor", "error", title=title, box=None, pad_edge=False)
    table.title_justify = table.caption_justify = "left"
    for at, subject, error in failures[:MAX_FAILURE_ROWS]:
        table.add_row(f"{at.astimezone(UTC):%Y-%m-%d %H:%M}", subject, " ".join(error.split())[:100])
    if len(failures) > MAX_FAILURE_ROWS:
        table.caption = f"and {len(failures) - MAX_FAILURE_ROWS:,} more"
    return table
