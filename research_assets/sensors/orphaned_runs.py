"""The sensor `fail_orphaned_runs`, which marks runs as failed whose process no longer exists.

Processes are lost in a power failure, or when everything is stopped during a run. Dagster notices the death of a
process only while the server that started it is alive. Without this sensor such a run would stay in progress for ever,
and every other run would wait for it. While that server is alive it reports first, because it knows the cause of death.

Only runs of this code location are marked, whose process ran on this host, and only under Dagster's default launcher.
Not here: runs on other machines, which have no process to look for on this one; Dagster's run monitoring handles them.
"""

import json
from collections.abc import Callable, Collection, Mapping

import dagster as dg

from research_assets.sensors.run_history import is_of_location, location_of
from research_assets.sensors.run_process import RunProcess, noted_process
from research_assets.settings import Settings

DESCRIPTION = """Ends runs of this project whose process no longer exists, so that others can start.

That happens for example after a power failure. Runs of other code locations, on other hosts and in other containers are
left alone, and so are all runs under another launcher than Dagster's default one.

Re-run: Dagster retries such a run once, and the collection resumes from its journals.

Terms: docs/glossary.md"""


def fail_orphaned_runs(settings: Settings) -> dg.SensorDefinition:
    """Return the sensor over the runs of the code location."""

    @dg.sensor(
        name="fail_orphaned_runs",
        minimum_interval_seconds=settings.sensor_interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=DESCRIPTION,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        if not isinstance(context.instance.run_launcher, dg.DefaultRunLauncher):
            return dg.SkipReason("Runs are not processes of this host: the instance has another launcher.")
        orphaned = find_orphaned(context.instance, location_of(context))
        failed = fail_orphaned(context.instance, orphaned, before=json.loads(context.cursor or "[]"))
        context.update_cursor(json.dumps([*orphaned]))
        return dg.SkipReason(
            f"Marked as failed: {', '.join(failed)}." if failed else "Every started run has its process."
        )

    return sensor


def find_orphaned(
    instance: dg.DagsterInstance,
    location: str | None,
    is_gone: Callable[[RunProcess], bool] = lambda process: process.is_gone,
) -> dict[str, int]:
    """Return the started runs of a code location whose process no longer exists, as process id by run id.

    Runs without a note of their process are never orphaned: other projects started them, or they have not begun.
    """
    orphaned = {}
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        process = noted_process(run)
        if process is not None and is_of_location(run, location) and is_gone(process):
            orphaned[run.run_id] = process.pid
    return orphaned


def fail_orphaned(instance: dg.DagsterInstance, orphaned: Mapping[str, int], before: Collection[str]) -> list[str]:
    """Mark the orphaned runs that were already orphaned at the tick `before` as failed, and return their ids.

    A short time passes between the death of a process and the report of the server that started it. Two ticks leave
    that server the time to report first.
    """
    failed = []
    for run_id in [run_id for run_id in orphaned if run_id in before]:
        # The run may have ended since it was listed.
        run = instance.get_run_by_id(run_id)
        if run is not None and run.status == dg.DagsterRunStatus.STARTED:
            instance.report_run_failed(
                run,
                f"Process {orphaned[run_id]} of this run no longer exists: it was killed or its machine stopped.",
            )
            failed.append(run_id)
    return failed
