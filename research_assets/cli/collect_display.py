"""Output of `research-assets collect`: bars in a terminal, otherwise lines.

Not here: the loop over the runs (see collection.py).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from research_assets.cli.terminal import Terminal
from research_assets.clock import SystemClock
from research_assets.collect.types import PartitionResult, RunProgress
from research_assets.fields import ENTITIES
from research_assets.planning.messages import pluralize
from research_assets.planning.types import PlannedRun
from research_assets.text import terminal_text

LINE_INTERVAL_SECONDS = 60.0
"""Seconds between two lines about a run where there are no bars."""


@dataclass(slots=True)
class RunCounts:
    """Counts of one run so far: requests, rows, and partitions that are complete."""

    requests: int = 0
    rows: int = 0
    complete: int = 0


@dataclass(frozen=True, slots=True)
class RequestLimit:
    """The requests that bound the call: its budget, or the day's quota of a pool."""

    label: str
    used: int
    total: int


class CollectDisplay:
    """Shows runs while they collect, and one line for each afterwards.

    `quiet` prints warnings only. The methods `on_progress` and `on_result` may be called from another thread.
    """

    def __init__(self, console: Terminal, *, quiet: bool = False) -> None:
        self._console, self._quiet = console, quiet
        self._bars = not quiet and console.is_terminal
        self._clock = SystemClock()
        self._lock = threading.Lock()
        self._counts = RunCounts()
        self._run: PlannedRun | None = None
        self._limit: RequestLimit | None = None
        self._live: _Bars | None = None
        self._last_line_at = 0.0

    def say(self, text: object = "") -> None:
        """Print a text or a table, unless the display is quiet."""
        if not self._quiet:
            self._console.print(text)

    def warn(self, text: str) -> None:
        """Print a text that a person should read to stderr, also if the display is quiet."""
        click.echo(terminal_text(text), err=True)

    @contextmanager
    def working(self, text: str) -> Iterator[None]:
        """Show what the command does while the block lasts."""
        if self._bars:
            with self._console.status(text):
                yield
        else:
            yield

    @contextmanager
    def run(self, run: PlannedRun, limit: RequestLimit) -> Iterator[RunCounts]:
        """Show a run and its limit during the block, and yield its counts."""
        with self._lock:
            self._counts, self._run, self._limit = RunCounts(), run, limit
            self._last_line_at = self._clock.monotonic()
        if not self._bars:
            self.say(f"{run_title(run)}: {describe_partitions(run)} ...")
            yield self._counts
            return
        self._live = _Bars(run, limit)
        try:
            # The bars are redrawn in place, so they must fit into any terminal.
            console = Terminal(min_width=1, soft_wrap=False, file=self._console.file)
            with Live(self._live, console=console, transient=True, refresh_per_second=8):
                yield self._counts
        finally:
            self._live = None

    def on_progress(self, progress: RunProgress) -> None:
        """Show the counts after a request."""
        with self._lock:
            self._counts.requests, self._counts.rows = progress.requests, progress.rows
            self._show(progress.partition)

    def on_result(self, result: PartitionResult) -> None:
        """Show that the run has ended a partition. Those between the planned ones were complete before."""
        with self._lock:
            is_planned = self._run is not None and result.partition in self._run.partitions
            self._counts.complete += is_planned and result.state == "complete"
            self._show(str(result.partition))

    def _show(self, partition: str) -> None:
        run, limit, counts = self._run, self._limit, self._counts
        if run is None or limit is None:
            return
        if self._live is not None:
            self._live.update(
                counts.complete,
                limit.used + counts.requests,
                f"{partition}: {pluralize(counts.requests, 'request')}, {pluralize(counts.rows, 'row')}",
            )
        elif self._clock.monotonic() - self._last_line_at >= LINE_INTERVAL_SECONDS:
            self._last_line_at = self._clock.monotonic()
            self.say(f"  {partition}: {pluralize(counts.requests, 'request')}, {pluralize(counts.rows, 'row')} so far")


MAX_BAR_WIDTH, MIN_BAR_WIDTH = 30, 5
"""Columns of a bar. A terminal without room for the shortest bar shows the numbers only."""


class _Bars:
    """Two bars and a line about the current request, within any width. Names are shortened, never numbers."""

    def __init__(self, run: PlannedRun, limit: RequestLimit) -> None:
        self._run, self._limit = run, limit
        self._complete, self._requests = 0, limit.used
        self._spinner = Spinner("dots")
        self._action = "Starting ..."

    def update(self, complete: int, requests: int, action: str) -> None:
        """Show the complete partitions, the used requests of the limit, and the current action."""
        self._complete, self._requests, self._action = complete, requests, terminal_text(action)

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        # A line that the terminal wraps would not be removed.
        width = options.max_width - 1
        rows = (
            (f"{self._run.study}/{self._run.entity}", self._complete, len(self._run.partitions)),
            (self._limit.label, self._requests, self._limit.total),
        )
        numbers = (
            f"{self._complete:,} of {describe_partitions(self._run)}",
            f"{self._requests:,} of {pluralize(self._limit.total, 'request')}",
        )
        n_numbers = max(map(len, numbers))
        label_width = min(max(len(label) for label, *_ in rows), max(1, width - n_numbers - 1))
        bar_width = min(MAX_BAR_WIDTH, width - label_width - n_numbers - 2)
        table = Table.grid(padding=(0, 1, 0, 0))
        for (label, done, total), text in zip(rows, numbers, strict=True):
            short = Text(label, no_wrap=True)
            short.truncate(label_width, overflow="ellipsis")
            bar = [ProgressBar(max(1, total), done, bar_width)] if bar_width >= MIN_BAR_WIDTH else []
            table.add_row(short, *bar, Text(text, no_wrap=True))
        yield table
        action = Text(self._action, style="dim", no_wrap=True)
        action.truncate(max(1, width - 2), overflow="ellipsis")
        self._spinner.update(text=action)
        yield self._spinner


def run_title(run: PlannedRun) -> str:
    """Return study, entity and partitions of a run: `gardening/videos 2026-02-01..2026-02-07`."""
    first, last = run.partitions[0], run.partitions[-1]
    return f"{run.study}/{run.entity} {first}" + (f"..{last}" if first != last else "")


def describe_partitions(run: PlannedRun) -> str:
    """Return the number of partitions of a run: `7 days`, `1 period`."""
    noun = "day" if ENTITIES[run.entity].time_axis == "content" else "period"
    return pluralize(len(run.partitions), noun)
