"""`research-assets build`: build the marts and write the reports, in a Dagster run of this process.

Not here: the build itself (see assets/warehouse.py), and the decision of the sensor (see sensors/build_marts.py).
"""

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from research_assets.cli.collect_display import CollectDisplay
    from research_assets.cli.dagster_runs import RunExecutor
    from research_assets.settings import Settings


@click.command("build")
@click.option("--full-refresh", is_flag=True, help="Build all marts from scratch. Default: an increment if possible.")
@click.option("--quiet", "-q", is_flag=True, help="Print only what needs a person, for cron.")
@click.pass_context
def command(ctx: click.Context, full_refresh: bool, quiet: bool) -> None:
    """Build and test the marts and write the reports. Sends no request.

    The run appears in Dagster's UI. A failed model or test leaves the published marts as they are; the exit code is
    then 1. Ctrl-C stops the build at once, with exit code 3.
    """
    from research_assets.cli.collect_display import CollectDisplay
    from research_assets.cli.dagster_runs import RunExecutor, StopRequest
    from research_assets.cli.environment import data_settings, prepare_instance
    from research_assets.cli.terminal import Terminal
    from research_assets.settings import prepare_root

    settings = data_settings()
    prepare_root(settings)
    prepare_instance(settings)
    display, stop = CollectDisplay(Terminal(), quiet=quiet), StopRequest()
    executor = RunExecutor(settings, stop)
    with stop.catch_signals():
        is_built = build_marts(executor, display, full_refresh=full_refresh)
    ctx.exit(0 if is_built else 1)


def marts_blocker(executor: "RunExecutor", settings: "Settings") -> tuple[str | None, bool]:
    """Return why the sensor build_marts_on_new_data would not build now, and whether a person must act.

    None if it would. The time that the sensor waits for more data is left out.
    """
    from datetime import timedelta

    from research_assets.clock import SystemClock
    from research_assets.sensors.build_marts import build_blocker, read_build_state
    from research_assets.sensors.run_history import CODE_LOCATION

    now, location = SystemClock().now(), executor.location
    state = read_build_state(
        executor.instance,
        settings,
        now,
        collected=location.collected,
        warehouse=location.warehouse,
        blocking_checks=location.blocking_checks,
        location=CODE_LOCATION,
    )
    blocker = build_blocker(state, now, timedelta(0))
    is_new = bool(state.data.unbuilt)
    return blocker, blocker is not None and is_new and not state.collecting and not state.building


def build_marts(executor: "RunExecutor", display: "CollectDisplay", *, full_refresh: bool = False) -> bool:
    """Build the marts and write the reports in one run, print the result, and return whether the run succeeded."""
    from rich.table import Table

    from research_assets.cli.dagster_runs import RunStopped
    from research_assets.cli.exit_codes import PAUSED
    from research_assets.clock import SystemClock
    from research_assets.planning.messages import pluralize
    from research_assets.text import log_text

    clock = SystemClock()
    started = clock.monotonic()
    with display.working("Loading Dagster and parsing the dbt project ..."):
        location = executor.location
    config = {"ops": {"warehouse": {"config": {"full_refresh": True}}}} if full_refresh else None
    try:
        with display.working("Building the marts ..."):
            keys = [*location.warehouse, *location.reports]
            result = executor.execute(keys, run_config=config, stop_at_once=True)
    except RunStopped:
        display.warn("Stopped. The marts are those of the last complete build. Continue with: research-assets build")
        # The thread of the run may wait for dbt, which ends with this process.
        os._exit(PAUSED)
    seconds = clock.monotonic() - started
    rows: dict[str, int] = {}
    reports = 0
    failed = []
    for event in result.events:
        if event.is_step_materialization:
            materialization = event.step_materialization_data.materialization
            count = materialization.metadata.get("dagster/row_count")
            if count is not None and "marts" in materialization.asset_key.path:
                rows[materialization.asset_key.path[-1]] = int(str(count.value))
            reports += materialization.asset_key in location.reports
        elif event.event_type_value == "ASSET_CHECK_EVALUATION":
            evaluation = event.asset_check_evaluation_data
            if not evaluation.passed:
                failed.append(
                    f"{evaluation.asset_key.to_user_string()}: {evaluation.check_name} "
                    f"({evaluation.severity.value.lower()})"
                )
    if rows:
        table = Table("mart", box=None, pad_edge=False)
        table.add_column("rows", justify="right")
        for name, number in sorted(rows.items()):
            table.add_row(name, f"{number:,}")
        display.say(table)
    if failed:
        display.warn("Checks that did not pass:\n  " + "\n  ".join(sorted(failed)))
    if not result.success:
        display.warn(f"Failed: {log_text(result.reason)}\nTo inspect the run {result.run_id[:8]}: research-assets ui")
        return False
    display.say(
        f"✓ marts: {pluralize(len(rows), 'table')} built, {pluralize(reports, 'report')} written, {seconds:.1f} s"
    )
    return True
