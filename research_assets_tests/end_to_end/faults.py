"""Faults that a scenario injects after a number of data requests, such as the kill of a run's process."""

import os
import signal
from collections.abc import Callable, Mapping

import dagster as dg

from research_assets.sandbox.request_log import LogEntry
from research_assets.sandbox.server import RunningSandbox


def inject_after_requests(sandbox: RunningSandbox, faults: Mapping[int, Callable[[], object]]) -> list[int]:
    """Call a fault when the answer to the n-th data request is ready but not sent. Return the list of injected n."""
    add, n_requests, injected = sandbox.app.request_log.add, [0], list[int]()

    def add_and_inject(entry: LogEntry) -> None:
        add(entry)
        n_requests[0] += not entry.endpoint.startswith("oauth")
        number = n_requests[0]
        if number in faults and number not in injected:
            injected.append(number)
            faults[number]()

    sandbox.app.request_log.add = add_and_inject  # type: ignore[method-assign]
    return injected


def kill_run_process(instance: dg.DagsterInstance) -> None:
    """Send SIGKILL to the process of the run in progress."""
    in_progress = instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    for run in in_progress:
        for entry in instance.all_logs(run.run_id):
            event = entry.dagster_event
            pid = event.engine_event_data.metadata.get("pid") if event and event.is_engine_event else None
            if pid is not None:
                os.kill(int(str(pid.value)), signal.SIGKILL)
                return
    raise AssertionError(f"No process to kill: {len(in_progress)} runs are in progress")
