"""The sensor `fail_orphaned_runs`, which marks runs as failed whose process no longer exists.

Processes are lost in a power failure, or when everything is stopped during a run. Dagster notices the death of a
process only while the server that started it is alive. Without this sensor such a run would stay in progress for ever,
and every other run would wait for it. While that server is alive it reports first, because it knows the cause of death.
Not here: runs on other machines, which have no process to look for on this one; Dagster's run monitoring handles them.
"""

import json
import os
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from research_assets.settings import Settings

DESCRIPTION = """Marks runs as failed whose process no longer exists, for example after a power failure.

**Re-run:** Dagster retries such a run once, and the collection resumes from its journals.

Terms: docs/glossary.md"""

_PID_REUSE_TOLERANCE = timedelta(minutes=1)
"""A process that started this much later than the run is another one: the system reuses process ids."""


def fail_orphaned_runs(settings: Settings) -> dg.SensorDefinition:
    """Return the sensor over all runs of the instance."""

    @dg.sensor(
        name="fail_orphaned_runs",
        minimum_interval_seconds=settings.sensor_interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=DESCRIPTION,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        orphaned = find_orphaned(context.instance)
        failed = fail_orphaned(context.instance, orphaned, before=json.loads(context.cursor or "[]"))
        context.update_cursor(json.dumps([*orphaned]))
        return dg.SkipReason(
            f"Marked as failed: {', '.join(failed)}." if failed else "Every started run has its process."
        )

    return sensor


def find_orphaned(
    instance: dg.DagsterInstance, process_exists: Callable[[int, datetime], bool] | None = None
) -> dict[str, int]:
    """Return the started runs whose process no longer exists, as process id by run id."""
    process_exists = process_exists or _process_exists
    orphaned = {}
    for record in instance.get_run_records(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        run_id, pid = record.dagster_run.run_id, run_process_id(instance, record.dagster_run.run_id)
        started_at = None if record.start_time is None else datetime.fromtimestamp(record.start_time, UTC)
        if pid is not None and started_at is not None and not process_exists(pid, started_at):
            orphaned[run_id] = pid
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


def run_process_id(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """Return the id of the process that executes a run on this machine; None if Dagster recorded none."""
    process_id = None
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event else None
        process_id = int(str(pid.value)) if pid else process_id
    return process_id


def _process_exists(pid: int, since: datetime) -> bool:
    """Return whether a process exists and already existed at the time `since`."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # a process of another user, so the id was reused
    try:
        # Field 22: clock ticks since the machine's start. The second field may contain spaces.
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        boot_line = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    except OSError:
        return True  # not Linux: the id alone has to suffice
    started_at = datetime.fromtimestamp(int(boot_line.split()[1]) + ticks / os.sysconf("SC_CLK_TCK"), UTC)
    return started_at < since + _PID_REUSE_TOLERANCE
