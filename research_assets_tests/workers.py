"""Functions for child processes in the tests of ledger and journal; few imports keep each child fast to start."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from research_assets.clock import SystemClock
from research_assets.quota.ledger import Ledger, QuotaExhausted
from research_assets.quota.ledger_database import LedgerDatabase
from research_assets.storage.captures import Journal
from research_assets.storage.locks import PartitionBusy, lock_partitions


def reserve_until_exhausted(place: Callable[[], LedgerDatabase], folder: Path, start: Barrier) -> None:
    """Reserve requests of a pool of 1,000 until it is exhausted; write the number of reservations to a file."""
    ledger = Ledger(place(), {"research": 1000}, SystemClock())
    start.wait()
    granted = 0
    while True:
        try:
            number = ledger.reserve("research", study="s", entity="videos", unit="u", endpoint="video_query")
        except QuotaExhausted:
            break
        granted += 1
        if granted % 7:
            ledger.settle(number, status=200, code="ok", rows=100, latency=0.5, log_id="x")
    (folder / f"granted.{os.getpid()}").write_text(str(granted))


def append_until_killed(root: Path, reported: int) -> None:
    """Append pages until killed; after each page, write the number of durable pages to a pipe."""
    journal = Journal.create(
        root,
        entity="videos",
        study="s",
        first=date(2026, 2, 1),
        last=date(2026, 2, 1),
        now=datetime(2026, 2, 3, tzinfo=UTC),
        origin="sandbox",
        header={},
    )
    while True:
        journal.append(
            "page", {"rows": 1}, b'{"data":{"videos":[{"id":%d}]},"fill":"%s"}' % (journal.pages, b"x" * 50_000)
        )
        os.write(reported, journal.pages.to_bytes(4, "big"))


def hold_lock(state: Path, days: list[date], ready: int) -> None:
    """Lock days until killed; write to a pipe whether the lock succeeded."""
    try:
        with lock_partitions(state, "s", "videos", days):
            os.write(ready, b"y")
            while True:
                signal.pause()
    except PartitionBusy:
        os.write(ready, b"n")


@contextmanager
def child_process(work: Callable[[], object]) -> Iterator[int]:
    """Run a function in a child process; the process is killed at the end of the block."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def kill_at_disk_operation(step: int) -> list[int]:
    """Make this process kill itself at the start of its n-th operation on the disk; return those until then."""
    remaining = [step]

    def kill_when_due(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            remaining[0] -= 1
            if remaining[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for owner, name in [
        (os, "fsync"),
        (os, "fdatasync"),
        (os, "open"),
        (os, "close"),
        (os, "ftruncate"),
        (os, "fchmod"),
    ]:
        setattr(owner, name, kill_when_due(getattr(owner, name)))
    for name in ("replace", "rename", "unlink"):
        setattr(Path, name, kill_when_due(getattr(Path, name)))
    return remaining
