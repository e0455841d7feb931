"""`research-assets demo`: collect the demo study from a simulated API, and build its marts and its report.

The command materializes the same assets as Dagster's UI, stage by stage, in the same data folder. It then prints the
rows of the marts, the requests sent and the missing units.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from research_assets.settings import DEMO_STUDIES_DIR, UI_COMMAND, Settings
from research_assets.text import log_text

if TYPE_CHECKING:
    import dagster as dg
    from rich.console import Console
    from rich.table import Table

    from research_assets.quota.ledger import PoolState
    from research_assets.study.spec import StudySpec


@click.command("demo")
def command() -> None:
    """Collect the demo study from a simulated API, and build its marts and its report. Needs no credentials.

    All data is simulated and has its own folder. Sends no request to TikTok. A second run requests only data that is
    not complete yet. Afterwards the UI shows the same data.
    """
    from research_assets.cli.environment import api_settings, prepare_instance, uses_sandbox
    from research_assets.cli.terminal import Terminal
    from research_assets.settings import prepare_root
    from research_assets.study.loader import find_studies

    if not uses_sandbox(Settings.from_env()):
        raise click.UsageError(
            "The demo runs on its own simulated API, but credentials or the address of an API are set. "
            "No request was sent. Unset TIKTOK_CLIENT_KEY, TIKTOK_CLIENT_SECRET and TIKTOK_API_URL for the demo. "
            f"For your own studies, use: {UI_COMMAND}."
        )
    console = Terminal()
    with api_settings(demo=True) as settings:
        prepare_root(settings)
        prepare_instance(settings)
        demo = [found.spec for found in find_studies(settings) if found.file.is_relative_to(DEMO_STUDIES_DIR)]
        if not demo:
            raise click.UsageError(
                "RESEARCH_STUDIES is set, so the demo study is not loaded. No request was sent. Unset it for the demo."
            )
        console.print(f"Simulated Research API: {settings.api_url}\nData folder: {settings.root}\n")
        Demo(settings, demo[0], console).run()


@dataclass(frozen=True, slots=True)
class Stage:
    """One Dagster run: its assets, and the partitions from `first` to `last` if the assets have partitions."""

    title: str
    keys: tuple["dg.AssetKey", ...]
    first: date | None = None
    last: date | None = None

    @property
    def tags(self) -> dict[str, str]:
        """The run's tags, which select its partitions."""
        if self.first is None:
            return {}
        return {
            "dagster/asset_partition_range_start": str(self.first),
            "dagster/asset_partition_range_end": str(self.last),
        }


class Demo:
    """The stages of a study on one Dagster instance, and their summary."""

    def __init__(self, settings: Settings, study: "StudySpec", console: "Console") -> None:
        self._settings, self._study, self._console = settings, study, console

    def run(self) -> None:
        """Run all stages and print the summary. Raises ClickException if a run fails."""
        with self._console.status("Loading Dagster and parsing the dbt project ..."):
            from research_assets.cli.dagster_runs import RunExecutor, StopRequest

            stop, display = StopRequest(), _ProgressDisplay(self._console)
            executor = RunExecutor(self._settings, stop, on_progress=display.step)
            specs = list(executor.location.definitions.resolve_all_asset_specs())
        before = self._requests_used()
        with stop.catch_signals():
            for stage in self._stages(specs):
                # An error leaves the block before it marks the stage as done.
                with display.stage(stage.title):
                    result = executor.execute(stage.keys, stage.tags)
                    if stop.is_set:
                        raise click.ClickException(
                            "The demo was stopped. Collected data is stored. To continue, run the command again."
                        )
                    if not result.success:
                        raise click.ClickException(
                            f"The stage {stage.title!r} failed: {log_text(result.reason)} Collected data is stored. To "
                            f"inspect the run: {UI_COMMAND}."
                        )
        self._summarize(self._requests_used() - before)

    def _stages(self, specs: list["dg.AssetSpec"]) -> Iterator[Stage]:
        from research_assets.clock import SystemClock
        from research_assets.fields import ENTITIES
        from research_assets.units.periods import current_period

        study, now = self._study, SystemClock().now()
        own = {spec.key.path[-1]: spec.key for spec in specs if spec.key.path[0] == study.name}
        for name, entity in ENTITIES.items():
            if name not in own:
                continue
            if entity.time_axis == "content":
                yield Stage(name.replace("_", " "), (own[name],), study.start, study.last_settled_day(now))
            else:
                period = current_period(study, now)
                yield Stage(name.replace("_", " "), (own[name],), period, period)
        models = [spec.key for spec in specs if str(spec.group_name).startswith("warehouse/")]
        yield Stage("marts (dbt)", tuple(models))
        compliance = [spec.key for spec in specs if spec.group_name == "compliance"]
        yield Stage("report", (own["report"], own["coverage_board"], *compliance))

    def _requests_used(self) -> int:
        return sum(pool.used for pool in self._pools())

    def _pools(self) -> "Iterable[PoolState]":
        from research_assets.clock import SystemClock
        from research_assets.quota.ledger import read_pools

        states, _ = read_pools(self._settings, SystemClock())
        return states.values()

    def _summarize(self, requests: int) -> None:
        from rich.text import Text

        from research_assets.report.codebook import CODEBOOK_FILE
        from research_assets.report.paths import board_path, report_path
        from research_assets.units.coverage import SETTLED
        from research_assets.warehouse.reader import connect_read_only, read_marts

        with connect_read_only(self._settings.warehouse) as warehouse:
            rows = {
                name: warehouse.execute(f'SELECT count(*) FROM "{name}"').fetchall()[0][0]
                for name in sorted(read_marts(warehouse))
            }
            gaps = warehouse.execute(
                "SELECT entity, state, count(*), any_value(unit), any_value(reason) FROM coverage "
                "WHERE study = ? AND state <> 'complete' GROUP BY 1, 2 ORDER BY 1, 2",
                [self._study.name],
            ).fetchall()
        console = self._console
        console.print(_rows_table(rows))
        console.print(
            f"\n{requests:,} requests were sent." if requests else "\nNo request was sent: all data is collected."
        )
        for pool in self._pools():
            console.print(f"Pool {pool.pool!r}: {pool.remaining:,} of {pool.cap:,} requests remaining today.")
        is_open = any(state not in SETTLED for _, state, *_ in gaps)
        console.print("\nSome data is missing; see below." if is_open else "\nAll available data was collected.")
        if gaps:
            console.print(_gaps_table(gaps))
        console.print(
            f"\nWarehouse: {self._settings.warehouse}\n"
            f"Report:    {report_path(self._settings, self._study.name)}\n"
            f"Codebook:  {self._settings.reports / CODEBOOK_FILE}\n"
            f"Coverage:  {board_path(self._settings, self._study.name)}\n"
        )
        console.print(Text.assemble("To see the same data in Dagster: ", (UI_COMMAND, "bold")))


class _ProgressDisplay:
    """Progress on the console: a live line in a terminal, otherwise a line every `INTERVAL_SECONDS`."""

    INTERVAL_SECONDS = 5.0

    def __init__(self, console: "Console") -> None:
        from research_assets.clock import SystemClock

        self._console, self._clock = console, SystemClock()
        self._last_printed = self._clock.monotonic()
        self._title = ""
        self._line: Any = None
        self._requests = self._rows = 0

    @contextmanager
    def stage(self, title: str) -> Iterator[None]:
        """Show a stage while the block lasts, and its requests, rows and duration afterwards."""
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._title, self._requests, self._rows = title, 0, 0
        started = self._clock.monotonic()
        if self._console.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
            with Progress(*columns, console=self._console, transient=True) as progress:
                task = progress.add_task(f"{title:16} ...")
                self._line = lambda text: progress.update(task, description=text)
                yield
        else:
            self._console.print(f"{title} ...")
            self._line = None
            yield
        seconds = self._clock.monotonic() - started
        done = f"[green]✓[/green] {title:16} {self._counts()}[dim]{seconds:6.1f} s[/dim]"
        self._console.print(done, markup=True)

    def step(self, progress: Any) -> None:
        """Show the counts after a request."""
        self._requests, self._rows = progress.requests, progress.rows
        text = f"{self._title:16} {self._counts()} {progress.partition}"
        if self._line:
            self._line(text)
        elif self._clock.monotonic() - self._last_printed >= self.INTERVAL_SECONDS:
            self._last_printed = self._clock.monotonic()
            self._console.print(f"  {text}")

    def _counts(self) -> str:
        return f"{self._requests:5,} requests {self._rows:8,} rows "


def _rows_table(rows: Mapping[str, int]) -> "Table":
    from rich.table import Table

    table = Table("mart", title="\nRows by mart", title_justify="left", box=None, pad_edge=False)
    table.add_column("rows", justify="right")
    for name, number in rows.items():
        table.add_row(name, f"{number:,}")
    return table


def _gaps_table(gaps: list[tuple[str, str, int, str, str | None]]) -> "Table":
    from rich.table import Table

    table = Table("entity", "state", title="\nMissing units by reason", title_justify="left", box=None, pad_edge=False)
    table.add_column("units", justify="right")
    table.add_column("example", overflow="fold")
    table.add_column("reason", overflow="fold")
    for entity, state, number, unit, reason in gaps:
        table.add_row(entity, state, f"{number:,}", unit, reason or "")
    return table
