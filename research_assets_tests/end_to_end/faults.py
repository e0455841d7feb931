"""What goes wrong while nobody looks: after so many data requests a run's process is killed, or all tokens end."""

import os
import signal
from collections.abc import Callable, Mapping

import dagster as dg

from research_assets.sandbox.request_log import LogEntry
from research_assets.sandbox.server import RunningSandbox


def inject_after_requests(sandbox: RunningSandbox, mishaps: Mapping[int, Callable[[], object]]) -> list[int]:
    """Do something when the n-th data request has its answer, which has not left yet; gives those that happened."""
    enter, seen, happened = sandbox.app.books.add, [0], list[int]()

    def entered(entry: LogEntry) -> None:
        enter(entry)
        seen[0] += not entry.endpoint.startswith("oauth")
        if seen[0] in mishaps and seen[0] not in happened:
            happened.append(seen[0])
            mishaps[seen[0]]()

    sandbox.app.books.add = entered  # type: ignore[method-assign]
    return happened


def kill_run_process(instance: dg.DagsterInstance) -> None:
    """SIGKILL to the process of the run that goes on."""
    going_on = instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    for run in going_on:
        for entry in instance.all_logs(run.run_id):
            event = entry.dagster_event
            pid = event.engine_event_data.metadata.get("pid") if event and event.is_engine_event else None
            if pid is not None:
                os.kill(int(str(pid.value)), signal.SIGKILL)
                return
    raise AssertionError(f"No process to kill: {len(going_on)} runs go on")
