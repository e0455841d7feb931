"""Daemon and webserver as `make ui` starts them, on a sandbox whose clock the tests set. No user interacts with them.

A test sets the clock, waits until no run is active, and checks the result. Not here: injected faults (see faults.py).
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
import duckdb
import httpx

from research_assets.instance import prepare_home
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import RunningSandbox, run_in_thread
from research_assets.sensors.run_history import active_runs
from research_assets.settings import VARIABLES, Settings, prepare_root
from research_assets_tests.browser.processes import ui_process

WAIT_TIMEOUT = 900.0
"""Seconds after which waiting for a state fails. The limit is generous and measures nothing."""

T = TypeVar("T")


@dataclass(frozen=True)
class Tick:
    """One tick of a sensor: its start (Unix seconds by the machine's clock), its status and its message."""

    at: float
    status: str
    message: str


@dataclass(frozen=True)
class Deployment:
    """The running project: its sandbox, its settings, the address of its UI, and its Dagster instance."""

    sandbox: RunningSandbox
    settings: Settings
    url: str
    instance: dg.DagsterInstance

    def set_clock(self, time: datetime) -> None:
        """Set the sandbox's clock over HTTP."""
        httpx.post(f"{self.sandbox.url}/sandbox/clock", json={"now": time.isoformat()}).raise_for_status()

    def wait_until_idle(self) -> str:
        """Wait until no run is active and the sensor `quota_window` starts none. Return its message.

        Only a tick that started after this call and after the last run counts.
        """
        since = time.time()

        def idle_message() -> str | None:
            if self.active():
                return None
            ends = [record.end_time or 0.0 for record in self.instance.get_run_records(limit=5)]
            tick = self.tick("quota_window")
            if tick is None or tick.at <= max(since, *ends, 0.0):
                return None
            assert tick.status != "FAILURE", f"The sensor quota_window failed: {tick.message}\n{self.event_log()}"
            # A crashed run counts as one that is about to be retried, until Dagster notes that it is not.
            is_idle = tick.status == "SKIPPED" and "budgets of active runs" not in tick.message
            return tick.message if is_idle else None

        return self.wait(idle_message, "quota_window starts no run")

    def wait_for_marts(self) -> None:
        """Wait until the published marts contain all collected data."""
        since = time.time()

        def built() -> bool:
            tick = self.tick("build_marts_on_new_data")
            return not self.active() and tick is not None and tick.at > since and "contain all" in tick.message

        self.wait(built, "the marts contain all data")

    def wait(self, condition: Callable[[], T | None], description: str) -> T:
        """Return the first true value of `condition`. Fails with the event log after `WAIT_TIMEOUT`."""
        started, pause = time.monotonic(), threading.Event()
        while not (result := condition()):
            waited = time.monotonic() - started
            assert waited < WAIT_TIMEOUT, f"Not reached in {waited:.0f} s: {description}.\n{self.event_log()}"
            pause.wait(1)
        return result

    def active(self) -> Sequence[dg.DagsterRun]:
        """Return the runs that are queued, in progress or about to be retried."""
        return active_runs(self.instance, datetime.now(UTC))

    def runs(self) -> list[dg.DagsterRun]:
        """Return all runs, oldest first."""
        return [*reversed(self.instance.get_runs())]

    def tick(self, sensor: str) -> Tick | None:
        """Return the newest finished tick of a sensor."""
        return next(iter(self.ticks(sensor, limit=2)), None)

    def ticks(self, sensor: str, limit: int | None = None) -> list[Tick]:
        """Return the finished ticks of a sensor, newest first."""
        for state in self.instance.all_instigator_state():
            if state.instigator_name == sensor:
                found = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=limit)
                return [
                    Tick(one.timestamp, one.status.value, one.skip_reason or str(one.error or ""))
                    for one in found
                    if one.status.value != "STARTED"
                ]
        return []

    def materialized(self, study: str, entity: str) -> set[str]:
        """Return the partitions that the UI shows as materialized."""
        return set(self.instance.get_materialized_partitions(dg.AssetKey([study, entity])))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query on the published warehouse."""
        with duckdb.connect(str(self.settings.warehouse), read_only=True) as warehouse:
            return warehouse.execute(query).fetchall()

    def event_log(self) -> str:
        """Return the sandbox's state, the runs and the newest ticks as text, for messages of failed assertions."""
        lines = [f"sandbox: {json.dumps({k: self.sandbox.state[k] for k in ('now', 'pools', 'requests', 'outcomes')})}"]
        for run in self.runs():
            tags = {k.partition("/")[2]: v for k, v in run.tags.items() if "research/" in k or "partition_range" in k}
            lines.append(f"{run.run_id[:8]} {run.status.value} {sorted(map(str, run.asset_selection or ()))} {tags}")
        for sensor in ("quota_window", "build_marts_on_new_data"):
            lines += [f"{sensor} {tick.at:.1f} {tick.status} {tick.message}" for tick in self.ticks(sensor, limit=5)]
        return "\n".join(lines)


@contextmanager
def running_deployment(
    config: SandboxConfig, studies: dict[str, str], root: Path, **variables: str
) -> Iterator[Deployment]:
    """Yield the running project with studies in files outside the checkout. `variables` are fields of `Settings`."""
    for name, text in studies.items():
        (root / "studies" / name).mkdir(parents=True)
        (root / "studies" / name / "defs.yaml").write_text(text)
    with ExitStack() as stack:
        sandbox = stack.enter_context(run_in_thread(config))
        values = {
            "root": str(root / "data"),
            "studies": str(root / "studies"),
            "api_url": sandbox.url,
            "client_key": config.client_key,
            "client_secret": config.client_secret,
            **variables,
        }
        environment = {variable.name: values.get(attribute, "") for attribute, variable in VARIABLES.items()}
        settings = Settings.from_env(environment)
        prepare_root(settings)
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(prepare_home(settings))))
        url = stack.enter_context(ui_process({**os.environ, **environment}, root / "ui.log"))
        yield Deployment(sandbox, settings, url, instance)
