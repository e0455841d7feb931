"""The sensor that ends runs whose process is gone, after a power loss or when all was stopped while they worked.

Dagster notices the death of a process only while the server lives that started it. Without this such a run would stay
in progress for ever, and everything would wait for it. As long as that server lives it comes first: it knows what the
process died of. Where runs do not work on this machine there is no process to look for, and Dagster's own monitoring
sees to them.
"""

import json
import os
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from research_assets.settings import Settings

DESCRIPTION = """Ends runs whose process is gone, after a power loss or when everything was stopped while they worked.
Dagster then starts them once more, and they go on where they stopped."""

_PID_REUSE_TOLERANCE = timedelta(minutes=1)
"""A process is not the run's if it began this much later: numbers of processes are used again."""


def fail_orphaned_runs(settings: Settings) -> dg.SensorDefinition:
    """The sensor over all runs of the instance."""

    @dg.sensor(
        name="fail_orphaned_runs",
        minimum_interval_seconds=settings.sensor_interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=DESCRIPTION,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        gone = find_orphaned(context.instance)
        ended = fail_orphaned(context.instance, gone, before=json.loads(context.cursor or "[]"))
        context.update_cursor(json.dumps([*gone]))
        return dg.SkipReason(f"Ended: {', '.join(ended)}." if ended else "Every run that goes on has its process.")

    return sensor


def find_orphaned(instance: dg.DagsterInstance, lives: Callable[[int, datetime], bool] | None = None) -> dict[str, int]:
    """The runs in progress whose process is gone, by id, with the process."""
    lives = lives or _process_exists
    gone = {}
    for record in instance.get_run_records(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        run_id, pid = record.dagster_run.run_id, run_process_id(instance, record.dagster_run.run_id)
        began = None if record.start_time is None else datetime.fromtimestamp(record.start_time, UTC)
        if pid is not None and began is not None and not lives(pid, began):
            gone[run_id] = pid
    return gone


def fail_orphaned(instance: dg.DagsterInstance, gone: Mapping[str, int], before: Collection[str]) -> list[str]:
    """End the lost runs that were lost at the look `before` as well, so nobody else has seen to them; gives their ids.

    Between a process's death and the word of the server that started it lies a moment.
    """
    ended = []
    for run_id in [one for one in gone if one in before]:
        # It may have ended since it was listed.
        run = instance.get_run_by_id(run_id)
        if run is not None and run.status == dg.DagsterRunStatus.STARTED:
            instance.report_run_failed(
                run, f"The process of this run, {gone[run_id]}, is gone: it was killed or lost its machine."
            )
            ended.append(run_id)
    return ended


def run_process_id(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """The process that works on a run, on this machine; None if Dagster did not note any."""
    found = None
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event else None
        found = int(str(pid.value)) if pid else found
    return found


def _process_exists(pid: int, since: datetime) -> bool:
    """Whether a process exists and is the one that existed at a moment."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # somebody else's, so the number was used again
    try:
        # Field 22: clock ticks from the machine's start; the second field may hold spaces.
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    except OSError:
        return True  # no Linux: the number has to do
    began = datetime.fromtimestamp(int(booted.split()[1]) + ticks / os.sysconf("SC_CLK_TCK"), UTC)
    return began < since + _PID_REUSE_TOLERANCE
