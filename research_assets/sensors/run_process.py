"""The process of a run, noted as a tag when the run starts, and whether that process still exists.

The note names the host, its boot, the namespace of process ids, the process and its start. Without all of them a run on
another machine or in another container would look dead on this one. Not here: the sensor (see orphaned_runs.py).
"""

import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from research_assets.storage.locks import lock_run
from research_assets.storage.sent_by import this_process

PROCESS_TAG = ".dagster/research_process"
"""Tag of a run with its `RunProcess`. The UI hides tags with this prefix."""

HOST_TAG = "research/host"
"""Tag of a run with the name of the host of its process."""


@dataclass(frozen=True, slots=True)
class RunProcess:
    """A process on a host. `started` is in clock ticks since the boot; an empty text or 0 where the system has none.

    `name` is that of the host, for people. `folder` is the identity of the data folder if its locks are in a database.
    """

    run: str
    host: str
    boot: str
    namespace: str
    pid: int
    started: int
    name: str = ""
    folder: str = ""

    @classmethod
    def of(cls, run: str, pid: int, folder: str = "") -> "RunProcess":
        """Return the present process `pid` of this host as that of a run."""
        return cls(
            run,
            _read("/etc/machine-id") or platform.node(),
            _read("/proc/sys/kernel/random/boot_id"),
            _link("/proc/self/ns/pid"),
            pid,
            _started(pid) or 0,
            this_process().host,
            folder,
        )

    @property
    def tag(self) -> dict[str, str]:
        """The tags that note the process; the UI shows the name of its host."""
        return {PROCESS_TAG: json.dumps(asdict(self)), HOST_TAG: self.name}

    @property
    def is_visible(self) -> bool:
        """Whether this process can see whether the other one exists."""
        here = RunProcess.of(self.run, os.getpid())
        return here.host == self.host and (here.boot != self.boot or here.namespace == self.namespace)

    @property
    def is_gone(self) -> bool:
        """Whether the process certainly no longer exists; False for a process that is not visible from here."""
        here = RunProcess.of(self.run, os.getpid())
        if here.host != self.host:
            return False
        if here.boot != self.boot:
            return bool(here.boot and self.boot)
        if here.namespace != self.namespace:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # a process of another user, which may be another one with the same id
        if _is_zombie(self.pid):
            return True
        started = _started(self.pid)
        # The system reuses process ids.
        return bool(self.started) and started is not None and started != self.started


def noted_process(run: dg.DagsterRun) -> RunProcess | None:
    """Return the process that a run noted; None without a note, or with one that a retry copied from its parent."""
    try:
        process = RunProcess(**json.loads(run.tags[PROCESS_TAG]))
    except (KeyError, TypeError, ValueError):
        return None
    return process if process.run == run.run_id else None


class _NotingExecutor(dg.Executor):
    """Notes the process of a run before its first step, and leaves the rest to another executor."""

    def __init__(self, executor: dg.Executor, state: Path) -> None:
        self._executor, self._state = executor, state

    @property
    def retries(self) -> Any:
        """The retry mode of the other executor."""
        return self._executor.retries

    @property
    def step_dependency_config(self) -> Any:
        """The step dependency config of the other executor."""
        return self._executor.step_dependency_config

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        """Note the process of the run, and execute its plan."""
        with lock_run(self._state, plan_context.run_id) as folder:
            process = RunProcess.of(plan_context.run_id, os.getpid(), folder)
            plan_context.instance.add_run_tags(plan_context.run_id, process.tag)
            yield from self._executor.execute(plan_context, execution_plan)


def noting_in_process_executor(state: Path) -> dg.ExecutorDefinition:
    """Return Dagster's executor of one process, with a note of that process. `state` is the folder of the locks."""

    def create_executor(init_context: dg.InitExecutorContext) -> dg.Executor:
        create = dg.in_process_executor.executor_creation_fn
        if create is None:
            raise TypeError("dagster.in_process_executor has no creation function.")
        return _NotingExecutor(create(init_context), state)

    return dg.ExecutorDefinition(
        name="in_process",
        config_schema=dg.in_process_executor.config_schema.as_field(),
        executor_creation_fn=create_executor,
        description="Executes all steps in one process, as Dagster's own executor, and notes it in the run's tags.",
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    """Return the start of a process in clock ticks since the boot; None where the system does not say."""
    fields = _stat(pid)
    return int(fields[19]) if len(fields) > 19 else None


def _is_zombie(pid: int) -> bool:
    """Return whether a process has ended and its parent has not noticed.

    In a container whose first process reaps no others, it stays so until the container ends.
    """
    return _stat(pid)[:1] in (["Z"], ["X"])


def _stat(pid: int) -> list[str]:
    """Return the fields of a process from the third on (its state); none where the system does not say."""
    # The second field may contain spaces and brackets.
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
