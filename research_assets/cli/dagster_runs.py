"""Dagster runs that a command executes in its own process, and stops at a signal. The UI shows them like all others.

A run executes in a thread, because Dagster takes the stop signals of the main thread for itself and would record a
stopped run as failed. Not here: what to run (see collection.py, build.py and demo.py), and processes of other programs
(see child_process.py).
"""

import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

import dagster as dg

from research_assets.cli.child_process import STOP_SIGNALS
from research_assets.cli.exit_codes import PAUSED
from research_assets.clock import Clock, SystemClock
from research_assets.collect.types import PartitionResult, RunProgress
from research_assets.definitions import CodeLocation, build_code_location
from research_assets.resources import CollectorResource
from research_assets.sensors.run_process import RunProcess
from research_assets.settings import Settings
from research_assets.storage.locks import lock_run

POLL_SECONDS = 0.2
"""Seconds between two checks of a run and of the stop signals."""

MAX_RECORD_SECONDS = 30.0
"""Seconds for which a run waits for the record of its cancellation before its next request."""

_NO_RETRY = {"dagster/max_retries": "0"}
"""Dagster cannot retry a run that none of its servers started, but other runs would wait for the retry."""

_SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class RunStopped(Exception):
    """A signal stopped a run that can be interrupted anywhere; it is recorded as cancelled."""


class StopRequest:
    """Whether a person or the system wants the command to end, and whether the present run must stop.

    The run stops after the page that it is receiving is stored.
    """

    def __init__(self) -> None:
        self.n_signals = 0
        self._run_must_stop = threading.Event()

    @property
    def is_set(self) -> bool:
        """Whether a signal was received."""
        return self.n_signals > 0

    @contextmanager
    def catch_signals(self) -> Iterator[None]:
        """Note the stop signals that are received during the block instead of ending the process."""

        def note(*_: object) -> None:
            self.n_signals += 1

        before = {number: signal.signal(number, note) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop_run(self) -> None:
        """Stop the present run at its next request, or before it ends a wait."""
        self._run_must_stop.set()

    def check(self) -> None:
        """Raise Dagster's error for an interrupted run if a signal was received; called in the thread of the run.

        Waits until the main thread has recorded that the run is being cancelled.
        """
        if self.is_set and self._run_must_stop.wait(MAX_RECORD_SECONDS):
            raise dg.DagsterExecutionInterruptedError


@dataclass(frozen=True, slots=True)
class _StoppableClock:
    """The clock of the machine, whose `sleep` ends when the run must stop."""

    clock: Clock
    stop: StopRequest

    def now(self) -> datetime:
        return self.clock.now()

    def monotonic(self) -> float:
        return self.clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        end = self.clock.monotonic() + seconds
        while (left := end - self.clock.monotonic()) > POLL_SECONDS:
            self.stop.check()
            await self.clock.sleep(POLL_SECONDS)
        await self.clock.sleep(max(0.0, left))


@dataclass(frozen=True, slots=True)
class RunResult:
    """A run that has ended. `reason` says why it failed; `is_busy` is true if another run holds its partitions."""

    run_id: str
    status: dg.DagsterRunStatus
    events: Sequence[dg.DagsterEvent]
    reason: str = ""
    is_busy: bool = False

    @property
    def success(self) -> bool:
        """Whether the run ended without a failure; a paused run did."""
        return self.status is dg.DagsterRunStatus.SUCCESS


class RunExecutor:
    """Executes runs of the code location one after the other, on the instance of the settings.

    `on_progress` is called after each request, `on_result` after each partition, both in the thread of the run.
    """

    def __init__(
        self,
        settings: Settings,
        stop: StopRequest | None = None,
        *,
        on_progress: Callable[[RunProgress], None] = lambda _: None,
        on_result: Callable[[PartitionResult], None] = lambda _: None,
    ) -> None:
        self.instance = dg.DagsterInstance.from_config(str(settings.dagster_home))
        self._settings, self._stop = settings, stop or StopRequest()
        self._on_progress = on_progress
        self.collector = CollectorResource(
            settings,
            clock=_StoppableClock(SystemClock(), self._stop),
            on_progress=self._report_progress,
            on_result=on_result,
        )
        self._location: CodeLocation | None = None

    @property
    def location(self) -> CodeLocation:
        """The code location, loaded at the first use, which takes seconds."""
        if self._location is None:
            self._location = build_code_location(self._settings, collector=self.collector)
        return self._location

    def load(self) -> None:
        """Load the code location, unless it is loaded."""
        _ = self.location

    def execute(
        self,
        keys: Sequence[dg.AssetKey],
        tags: Mapping[str, str] | None = None,
        run_config: Mapping[str, object] | None = None,
        *,
        when_stopping: Callable[[], None] = lambda: None,
        stop_at_once: bool = False,
    ) -> RunResult:
        """Execute one run that materializes some assets with their checks, and return how it ended.

        At the first stop signal the run ends as cancelled, `when_stopping` is called, and the run stops once its page
        is stored. A second signal ends the process at once. With `stop_at_once`, for a run that sends no request, the
        first signal raises RunStopped while the run still works, so the caller must end the process.
        """
        job = self.location.definitions.resolve_implicit_global_asset_job_def()
        run_id = str(uuid.uuid4())
        results: list[dg.ExecuteInProcessResult] = []
        errors: list[BaseException] = []

        def work() -> None:
            # A terminal sends Ctrl-C also to the processes that the run starts, such as dbt. Only this one decides.
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            try:
                with lock_run(self._settings.state, run_id) as folder:
                    process = RunProcess.of(run_id, os.getpid(), folder)
                    results.append(
                        job.execute_in_process(
                            instance=self.instance,
                            asset_selection=list(keys),
                            tags={**(tags or {}), **_NO_RETRY, **process.tag},
                            run_id=run_id,
                            run_config={**_SILENT, **(run_config or {})},
                            raise_on_error=False,
                        )
                    )
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=work, name="run", daemon=True)
        thread.start()
        self._wait(thread, run_id, when_stopping, stop_at_once=stop_at_once)
        if errors:
            raise errors[0]
        return _result(results[0], self.instance)

    def _report_progress(self, progress: RunProgress) -> None:
        self._on_progress(progress)
        # The page of this request is durable, and the next one is not sent yet.
        self._stop.check()

    def _wait(
        self, thread: threading.Thread, run_id: str, when_stopping: Callable[[], None], *, stop_at_once: bool
    ) -> None:
        is_stopping = False
        while thread.is_alive():
            if self._stop.is_set and stop_at_once:
                if run := self.instance.get_run_by_id(run_id):
                    self.instance.report_run_canceled(run)
                raise RunStopped
            if self._stop.n_signals > 1:
                if run := self.instance.get_run_by_id(run_id):
                    self.instance.report_run_canceled(run)
                # The thread may wait for a response. What it has stored is durable.
                os._exit(PAUSED)
            if self._stop.is_set and not is_stopping:
                is_stopping = True
                # First, because Dagster records an interruption of a run that is not being cancelled as a failure.
                if (run := self.instance.get_run_by_id(run_id)) and not run.is_finished:
                    self.instance.report_run_canceling(run)
                self._stop.stop_run()
                when_stopping()
            thread.join(POLL_SECONDS)


def _result(result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> RunResult:
    run = instance.get_run_by_id(result.run_id)
    status = run.status if run is not None else dg.DagsterRunStatus.FAILURE
    ended = RunResult(result.run_id, status, result.all_events)
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            names, messages = [], []
            error = data.error
            while error is not None:
                names.append(error.cls_name)
                messages.append(error.message.strip())
                error = error.cause
            described = data.user_failure_data.description if data.user_failure_data else None
            reason = described or (messages[-1] if messages else event.message or "")
            return replace(ended, reason=reason, is_busy="PartitionBusy" in names)
    failed = next((event.message for event in result.all_events if event.is_failure and event.message), "")
    return replace(ended, reason=failed)
