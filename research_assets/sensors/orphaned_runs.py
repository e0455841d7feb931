"""The sensor `fail_orphaned_runs`, which marks runs as failed whose process no longer exists.

Processes are lost in a power failure, or when everything is stopped during a run. Dagster notices the death of a
process only while the server that started it is alive. Without this sensor such a run would stay in progress for ever,
and every other run would wait for it. While that server is alive it reports first, because it knows the cause of death.

A run of this host is judged by its process. A run of another host has no process to look for on this one. If the locks
of its data folder are in a database, it has a lock there, and is marked once that has been free for `REMOTE_LIMIT`;
else only its own host marks it when it returns. Only runs of this code location, or of this data folder, are marked,
and only under Dagster's default launcher.
"""

import json
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg

from research_assets.clock import MAX_CLOCK_SKEW, Clock
from research_assets.sensors.run_history import is_of_location, location_of, read_cursor
from research_assets.sensors.run_process import RunProcess, noted_process
from research_assets.settings import Settings
from research_assets.storage.lock_errors import LockError
from research_assets.storage.locks import is_running

REMOTE_LIMIT = timedelta(minutes=5)
"""Time for which a run of another host must have been without its lock.

A run that lives may be without it for half a minute, after its server was restarted."""

_FREE_SINCE_TAG = ".dagster/research_lock_free_since"
"""Tag of a run with the time since which its lock is free. The UI hides tags with this prefix."""

DESCRIPTION = """Ends runs of this project whose process no longer exists, so that others can start.

That happens for example after a power failure. A run on another host is ended 5 minutes after its lock in the database
of `RESEARCH_LEDGER` became free; without a database it is left alone until its own host returns. Runs of other code
locations and in other containers are left alone, and so are all runs under another launcher than Dagster's default one.

Re-run: Dagster retries such a run once, and the collection resumes from its journals.

Terms: docs/glossary.md"""


def fail_orphaned_runs(settings: Settings, clock: Clock) -> dg.SensorDefinition:
    """Return the sensor over the runs of the code location and of the data folder."""

    @dg.sensor(
        name="fail_orphaned_runs",
        minimum_interval_seconds=settings.sensor_interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=DESCRIPTION,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        if not isinstance(context.instance.run_launcher, dg.DefaultRunLauncher):
            return dg.SkipReason("Runs are not processes of this host: the instance has another launcher.")
        orphaned = find_orphaned(context.instance, location_of(context), settings.state, clock.now())
        failed = fail_orphaned(context.instance, orphaned, before=_read_before(context))
        context.update_cursor(json.dumps([*orphaned]))
        return dg.SkipReason(
            f"Marked as failed: {', '.join(failed)}." if failed else "Every started run has its process."
        )

    return sensor


def _read_before(context: dg.SensorEvaluationContext) -> Collection[str]:
    """Return the orphaned runs of the last tick; none if a person has set another cursor."""
    before = read_cursor(context)
    return before if isinstance(before, list) else []


def find_orphaned(
    instance: dg.DagsterInstance,
    location: str | None,
    state: Path,
    now: datetime,
    is_gone: Callable[[RunProcess], bool] = lambda process: process.is_gone,
) -> dict[str, str]:
    """Return the started runs of a code location or a data folder whose process no longer exists: the reason by run id.

    Runs without a note of their process are never orphaned: other projects started them, or they have not begun.
    """
    orphaned = {}
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        process = noted_process(run)
        if process is None:
            continue
        if is_of_location(run, location) and is_gone(process):
            orphaned[run.run_id] = (
                f"Process {process.pid} of this run no longer exists: it was killed or its machine stopped."
            )
        elif not process.is_visible and _has_lost_host(instance, run, process, state, now):
            orphaned[run.run_id] = (
                f"The host {process.name} of this run has stopped, or its process no longer exists: the lock of the "
                f"run has been free for {REMOTE_LIMIT.seconds // 60} minutes."
            )
    return orphaned


def _has_lost_host(
    instance: dg.DagsterInstance, run: dg.DagsterRun, process: RunProcess, state: Path, now: datetime
) -> bool:
    """Return whether the lock of a run on another host has been free for `REMOTE_LIMIT`; False if that is unknown.

    The time since which it is free is a tag of the run, for the sensors and commands of all hosts.
    """
    try:
        is_free = not is_running(state, process.folder, process.run)
    except LockError:
        return False
    since = run.tags.get(_FREE_SINCE_TAG)
    # A time of the future was noted while the clock of a machine was ahead.
    if is_free and since and (free_for := now - datetime.fromisoformat(since)) > -MAX_CLOCK_SKEW:
        return free_for >= REMOTE_LIMIT
    if is_free or since:
        instance.add_run_tags(run.run_id, {_FREE_SINCE_TAG: now.isoformat() if is_free else ""})
    return False


def fail_orphaned(instance: dg.DagsterInstance, orphaned: Mapping[str, str], before: Collection[str]) -> list[str]:
    """Mark the orphaned runs that were already orphaned at the tick `before` as failed, and return their ids.

    A short time passes between the death of a process and the report of the server that started it. Two ticks leave
    that server the time to report first.
    """
    failed = []
    for run_id in [run_id for run_id in orphaned if run_id in before]:
        # The run may have ended since it was listed.
        run = instance.get_run_by_id(run_id)
        if run is not None and run.status == dg.DagsterRunStatus.STARTED:
            instance.report_run_failed(run, orphaned[run_id])
            failed.append(run_id)
    return failed
