"""A lab whose sandbox is a real server on loopback, and collections in processes of their own, which can be killed.

For the crash tests and for the benchmarks. Children are forked from a process that has imported everything once.
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
from research_assets.study.spec import StudySpec
from research_assets.tiktok.client import Client
from research_assets_tests.collect.harness import CollectorHarness
from research_assets_tests.conftest import FakeClock
from research_assets_tests.workers import kill_at_disk_operation

PATIENCE = 120.0
"""Seconds after which a child that should have ended is taken for hung."""


class ServedHarness(CollectorHarness):
    """A lab that is asked over HTTP. `served` makes it."""

    def tools(self, **changes: Any) -> CollectorContext:
        settings = replace(self.settings, **changes)
        return open_tools(settings, self.server_clock, self.ledger)

    def copy(self, name: str, *, forget: bool = True) -> "ServedHarness":
        """The same server for a copy of this data root beside it; with `forget` its books, searches and quota too."""
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
        """Do something when the n-th data request from now has its answer, which has not left yet."""
        enter, left = self.app.books.add, [number]

        def entered(entry: LogEntry) -> None:
            enter(entry)
            left[0] -= not entry.endpoint.startswith("oauth")
            if left[0] == 0:
                act()

        self.app.books.add = entered  # type: ignore[method-assign]


@contextmanager
def serve_harness(settings: Settings, config: SandboxConfig, clock: FakeClock | None = None) -> Iterator[ServedHarness]:
    """A lab on a data root, its sandbox listening on loopback and running on the lab's clock."""
    harness = ServedHarness(settings, config, clock) if clock else ServedHarness(settings, config)
    with run_in_thread(config, clock=harness.clock) as sandbox:
        harness.app = sandbox.app
        harness.settings = replace(harness.settings, api_url=sandbox.url)
        yield harness


def open_tools(
    settings: Settings,
    clock: ServerClock,
    ledger: Ledger | None = None,
    progress: Callable[[RunProgress], None] | None = None,
) -> CollectorContext:
    """The collector's tools as a run has them: client, ledger and clock for these settings."""
    client = Client(
        key=settings.client_key,
        secret=settings.client_secret,
        base_url=settings.api_url,
        clock=clock,
        timeout=settings.timeout,
        connections=settings.concurrency,
    )
    held = ledger or Ledger(settings.ledger, settings.caps, clock, due_reserve=settings.quota_reserve)
    return CollectorContext(client, held, clock, settings, progress)


@dataclass(frozen=True, slots=True)
class CollectorProcess:
    """One collection in a process of its own, and where it ends by SIGKILL, if it does.

    `pages`: once so many pages of this process are durable. `place`: where a function of `PLACES` is called.
    `step`: at the n-th operation on the disk while a capture is published.
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
        """Start it."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        process = context.Process(target=_run_child, args=(self,), daemon=True)
        process.start()
        return process

    def end(self) -> bool:
        """Start it and wait for its end; whether it was killed rather than done."""
        return wait_for_exit(self.begin())


KILL_POINTS: dict[str, tuple[tuple[object, str], ...]] = {
    "before the seal": ((publishing, "publish_capture"),),
    "between seal and table": ((raw_writer, "write_capture"),),
    "between table and coverage": ((raw_writer, "_write_verdicts"),),
}
"""Steps at which a life may end, as the functions that begin them."""


def wait_for_exit(process: BaseProcess) -> bool:
    """Wait for a child's end; whether it was killed. Raises if it failed by itself, or hangs."""
    process.join(PATIENCE)
    code = process.exitcode
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"The child ended with {code}; its words stand above.")
    return code != 0


def kill(process: BaseProcess) -> None:
    """SIGKILL; returns when the process is gone, so that nothing that is sent afterwards reaches it."""
    process.kill()
    wait([process.sentinel], PATIENCE)


def kill_at_page(harness: ServedHarness, page: int, life: CollectorProcess) -> None:
    """Run a child and kill it when the server has the n-th page ready, before a byte of it has left."""
    child: list[BaseProcess] = []
    begun = Event()

    def act() -> None:
        begun.wait()
        kill(child[0])

    harness.at_request(page, act)
    child.append(life.begin())
    begun.set()
    if not wait_for_exit(child[0]):
        raise RuntimeError(f"The process outlived page {page}.")


def _kill_self(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _run_child(life: CollectorProcess) -> None:
    if life.place:
        for owner, name in KILL_POINTS[life.place]:
            setattr(owner, name, _kill_self)
    if life.step is not None:
        publishing.publish_capture = _kill_before(publishing.publish_capture, life.step)
    asyncio.run(_collect(life))


def _kill_before(publish: Callable[..., None], step: int) -> Callable[..., None]:
    def published(*args: Any) -> None:
        kill_at_disk_operation(step)
        publish(*args)

    return published


async def _collect(life: CollectorProcess) -> None:
    def durable(progress: RunProgress) -> None:
        if progress.pages == life.pages:
            _kill_self()

    context = open_tools(life.settings, ServerClock(FakeClock(life.moment)), progress=durable)
    async with context.client:
        async for _ in collect(CollectionTask(life.spec, life.entity, life.partitions), context):
            pass
