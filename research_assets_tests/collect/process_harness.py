"""Test harness with a real server on loopback, and collections in processes of their own, which can be killed.

It serves the crash tests and the benchmarks. Children are forked from a process that has imported everything once.

Not here: the harness without a server (see harness.py).
"""

import asyncio
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from datetime import date, datetime
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from threading import Event
from typing import Any

from research_assets.clock import ServerClock
from research_assets.collect import publish as publishing
from research_assets.collect.run import collect
from research_assets.collect.types import CollectionTask, CollectorContext, RunProgress
from research_assets.quota.ledger import Ledger
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.request_log import LogEntry
from research_assets.sandbox.server import run_in_thread
from research_assets.settings import Settings
from research_assets.storage import raw_writer
from research_assets.study.loader import apply_settings
from research_assets.study.spec import StudySpec
from research_assets.tiktok.client import Client
from research_assets_tests.collect.harness import CollectorHarness
from research_assets_tests.conftest import FakeClock, TrueTime
from research_assets_tests.workers import kill_at_disk_operation

PATIENCE = 120.0
"""Seconds after which a child process counts as hung."""


class ServedHarness(CollectorHarness):
    """A harness whose sandbox is reached over HTTP; `serve_harness` creates it."""

    def tools(self, **changes: Any) -> CollectorContext:
        settings = replace(self.settings, **changes)
        return open_tools(settings, self.server_clock, self.ledger)

    def copy(self, name: str, *, forget: bool = True) -> "ServedHarness":
        """Return a harness on a copy of this data root, with the same server.

        `forget` resets the server's request log, searches and quota.
        """
        if forget:
            self.app.reset()
        other = copy(self)
        other.settings = replace(self.settings, root=self.settings.root.with_name(name))
        self.ledger.close()
        shutil.copytree(self.settings.root, other.settings.root)
        other.server_clock = ServerClock(self.clock)
        other.ledger = Ledger(other.settings.ledger, other.settings.caps, other.server_clock)
        return other

    def at_request(self, number: int, act: Callable[[], object]) -> None:
        """Call `act` when the n-th data request from now has its response, before the response is sent."""
        add, remaining = self.app.request_log.add, [number]

        def add_and_act(entry: LogEntry) -> None:
            add(entry)
            remaining[0] -= not entry.endpoint.startswith("oauth")
            if remaining[0] == 0:
                act()

        self.app.request_log.add = add_and_act  # type: ignore[method-assign]


@contextmanager
def serve_harness(settings: Settings, config: SandboxConfig, clock: FakeClock | None = None) -> Iterator[ServedHarness]:
    """Yield a harness on a data root; its sandbox listens on loopback and uses the harness's clock."""
    harness = ServedHarness(settings, config, clock) if clock else ServedHarness(settings, config)
    with run_in_thread(config, clock=TrueTime(harness.clock)) as sandbox:
        harness.app = sandbox.app
        harness.settings = replace(harness.settings, api_url=sandbox.url)
        yield harness


def open_tools(
    settings: Settings,
    clock: ServerClock,
    ledger: Ledger | None = None,
    progress: Callable[[RunProgress], None] | None = None,
) -> CollectorContext:
    """Return the context of a run with these settings: client, ledger and clock."""
    client = Client(
        key=settings.client_key,
        secret=settings.client_secret,
        base_url=settings.api_url,
        clock=clock,
        timeout=settings.timeout,
        connections=settings.concurrency,
    )
    ledger = ledger or Ledger(settings.ledger, settings.caps, clock, quota_reserve=settings.quota_reserve)
    return CollectorContext(client, ledger, clock, settings, progress)


@dataclass(frozen=True, slots=True)
class CollectorProcess:
    """One collection in a process of its own, and the point at which SIGKILL ends it, if any.

    `pages`: when N pages of this process are durable. `place`: at a point of `KILL_POINTS`. `step`: at the n-th disk
    operation while a capture is published.
    """

    settings: Settings
    entity: str
    partitions: tuple[date, ...]
    moment: datetime
    spec: StudySpec
    pages: int | None = None
    place: str | None = None
    step: int | None = None

    def begin(self) -> BaseProcess:
        """Start the process."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        process = context.Process(target=_run_child, args=(self,), daemon=True)
        process.start()
        return process

    def end(self) -> bool:
        """Start the process and wait for its end; return whether it was killed."""
        return wait_for_exit(self.begin())


KILL_POINTS: dict[str, tuple[tuple[object, str], ...]] = {
    "before the seal": ((publishing, "publish_capture"),),
    "between seal and table": ((raw_writer, "write_capture"),),
    "between table and coverage": ((raw_writer, "_write_attempts"),),
}
"""Points at which a process may be killed, as the functions that begin them."""


def wait_for_exit(process: BaseProcess) -> bool:
    """Wait for a child's end and return whether it was killed. Raise RuntimeError if it failed by itself or hangs."""
    process.join(PATIENCE)
    code = process.exitcode
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"The child process ended with {code}; its output is above.")
    return code != 0


def kill(process: BaseProcess) -> None:
    """Kill a process and return when it is gone, so that no later response reaches it."""
    process.kill()
    wait([process.sentinel], PATIENCE)


def kill_at_page(harness: ServedHarness, page: int, process: CollectorProcess) -> None:
    """Run a child and kill it when the server has the n-th page ready, before it sends a byte of it."""
    child: list[BaseProcess] = []
    begun = Event()

    def act() -> None:
        begun.wait()
        kill(child[0])

    harness.at_request(page, act)
    child.append(process.begin())
    begun.set()
    if not wait_for_exit(child[0]):
        raise RuntimeError(f"The process was not killed at page {page}.")


def _kill_self(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _run_child(process: CollectorProcess) -> None:
    if process.place:
        for owner, name in KILL_POINTS[process.place]:
            setattr(owner, name, _kill_self)
    if process.step is not None:
        publishing.publish_capture = _kill_before(publishing.publish_capture, process.step)
    asyncio.run(_collect(process))


def _kill_before(publish: Callable[..., None], step: int) -> Callable[..., None]:
    def publish_and_kill(*args: Any) -> None:
        kill_at_disk_operation(step)
        publish(*args)

    return publish_and_kill


async def _collect(process: CollectorProcess) -> None:
    def on_progress(progress: RunProgress) -> None:
        if progress.pages == process.pages:
            _kill_self()

    context = open_tools(process.settings, ServerClock(FakeClock(process.moment)), progress=on_progress)
    # A pseudonymous study gets its key here, because a key is not passed between processes.
    spec = apply_settings(process.spec, process.settings)
    async with context.client:
        async for _ in collect(CollectionTask(spec, process.entity, process.partitions), context):
            pass
