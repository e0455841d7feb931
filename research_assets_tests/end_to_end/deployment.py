"""Daemon and webserver as `make ui` starts them, on a sandbox whose clock is moved. Nobody clicks and nobody helps.

What a test does here: move the clock, wait until nothing goes on, look. What fate does: `mishaps.py`.
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

PATIENCE = 300.0
"""Seconds after which a state that was waited for is given up: a bound, no measure."""

T = TypeVar("T")


@dataclass(frozen=True)
class Tick:
    """One look of a sensor: when it began (seconds since 1970, the machine's time), how it ended, what it said."""

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

    def set_clock(self, moment: datetime) -> None:
        """Set the sandbox's clock, as a person may: over HTTP."""
        httpx.post(f"{self.sandbox.url}/sandbox/clock", json={"now": moment.isoformat()}).raise_for_status()

    def wait_until_idle(self) -> str:
        """Wait until the quota window finds nothing to do and nothing goes on; gives what it says.

        Only a look counts that began after this call and after the last run.
        """
        since = time.time()

        def resting() -> str | None:
            if self.active():
                return None
            ends = [record.end_time or 0.0 for record in self.instance.get_run_records(limit=5)]
            tick = self.tick("quota_window")
            if tick is None or tick.at <= max(since, *ends, 0.0):
                return None
            assert tick.status != "FAILURE", f"The quota window failed: {tick.message}\n{self.event_log()}"
            return tick.message if tick.status == "SKIPPED" else None

        return self.wait(resting, "the quota window rests")

    def marts(self) -> None:
        """Wait until the published marts hold all that was collected."""
        since = time.time()

        def built() -> bool:
            tick = self.tick("build_marts_on_new_data")
            return not self.active() and tick is not None and tick.at > since and "hold all" in tick.message

        self.wait(built, "the marts hold all")

    def wait(self, state: Callable[[], T | None], what: str) -> T:
        """What `state` gives as soon as it gives something; fails with all that is known after `PATIENCE`."""
        begun, pause = time.monotonic(), threading.Event()
        while not (found := state()):
            assert time.monotonic() - begun < PATIENCE, f"Waited in vain: {what}.\n{self.event_log()}"
            pause.wait(0.5)
        return found

    def active(self) -> Sequence[dg.DagsterRun]:
        """Runs that wait or go on, or are about to be started again."""
        return active_runs(self.instance, datetime.now(UTC))

    def runs(self) -> list[dg.DagsterRun]:
        """All runs, oldest first."""
        return [*reversed(self.instance.get_runs())]

    def tick(self, sensor: str) -> Tick | None:
        """The newest look of a sensor that has ended."""
        return next(iter(self.ticks(sensor, limit=2)), None)

    def ticks(self, sensor: str, limit: int | None = None) -> list[Tick]:
        """Looks of a sensor that have ended, newest first."""
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
        """Partitions that the UI shows as materialized."""
        return set(self.instance.get_materialized_partitions(dg.AssetKey([study, entity])))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the published warehouse."""
        with duckdb.connect(str(self.settings.warehouse), read_only=True) as warehouse:
            return warehouse.execute(query).fetchall()

    def event_log(self) -> str:
        """What happened so far, for a person who wants to know why it went wrong."""
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
    """Everything started, with studies as files outside the checkout; `variables` by the attributes of `Settings`."""
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
        ours = {variable.name: values.get(attribute, "") for attribute, variable in VARIABLES.items()}
        settings = Settings.from_env(ours)
        prepare_root(settings)
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(prepare_home(settings))))
        url = stack.enter_context(ui_process({**os.environ, **ours}, root / "ui.log"))
        yield Deployment(sandbox, settings, url, instance)
