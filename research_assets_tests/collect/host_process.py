"""A host of a lab in a process tree of its own: its name, its path of the data folder, and its collectors.

The first process takes its job from the standard input, says that it is ready, waits for the end of the input, and
forks the collectors, which inherit its imports. Where the system allows it, the tree has a UTS namespace of its own, so
that the host has a name of its own.

Not here: the test (see test_two_hosts.py).
"""

import asyncio
import ctypes
import os
import pickle
import random
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from datetime import date, datetime

from research_assets.clock import ServerClock
from research_assets.collect.run import collect
from research_assets.collect.types import CollectionTask, Paused
from research_assets.quota.ledger import open_ledger
from research_assets.settings import Settings
from research_assets.storage.captures import list_open_journals
from research_assets.storage.locks import PartitionBusy
from research_assets.study.spec import StudySpec
from research_assets_tests.collect.process_harness import open_tools
from research_assets_tests.conftest import FakeClock

_CLONE_NEWUTS = 0x04000000
_READY = b"ready\n"


@dataclass(frozen=True, slots=True)
class Host:
    """A host: its name, the settings with its path of the data folder, and what its collectors collect."""

    name: str
    settings: Settings
    days: tuple[date, ...]
    spec: StudySpec
    moment: datetime
    n_collectors: int

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the host in a group of processes of its own. Its collectors wait for `release`."""
        process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(pickle.dumps(self))
        process.stdin.flush()
        assert process.stdout.readline() == _READY
        return process


def release(host: "subprocess.Popen[bytes]") -> None:
    """Let the collectors of a host begin."""
    assert host.stdin is not None
    host.stdin.close()


def kill(host: "subprocess.Popen[bytes]") -> None:
    """Kill a host with all its processes."""
    os.killpg(host.pid, signal.SIGKILL)
    host.wait()


def can_name_hosts() -> bool:
    """Return whether hosts have names of their own here."""
    return os.getuid() == 0


def name_host(name: str) -> None:
    """Give this process, and those that it starts, a host name of their own, where the system allows it."""
    if can_name_hosts():
        assert ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUTS) == 0
        socket.sethostname(name)


def main() -> None:
    """Run the host whose description is on the standard input; the exit code is 0 if all collectors ended well."""
    host: Host = pickle.load(sys.stdin.buffer)
    name_host(host.name)
    sys.stdout.buffer.write(_READY)
    sys.stdout.flush()
    sys.stdin.buffer.read()
    children = []
    for number in range(host.n_collectors):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                asyncio.run(_collect(host, random.Random(f"{host.name} {number}")))
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        children.append(child)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))


async def _collect(host: Host, rng: random.Random) -> None:
    """Collect days, begun ones first, until all are complete or the quota is used up."""
    # Settings that were pickled do not know yet that their data folder has a database.
    settings = replace(host.settings)
    clock = ServerClock(FakeClock(host.moment))
    context = open_tools(settings, clock, open_ledger(settings, clock))
    open_days, busy, waiting = set(host.days), set[date](), threading.Event()
    async with context.client:
        while open_days:
            if not open_days - busy:
                # All that is left is being collected by others, one of which may be killed.
                waiting.wait(0.05)
                busy.clear()
            paths = list_open_journals(settings.captures, "videos", host.spec.name)
            begun = {date.fromisoformat(path.parent.name) for path in paths}
            day = rng.choice(sorted((open_days - busy) & begun or open_days - busy))
            try:
                async for result in collect(CollectionTask(host.spec, "videos", (day,)), context):
                    if isinstance(result, Paused):
                        return
                    assert result.state == "complete", result
                    open_days.discard(result.partition)
                # The other collectors may have been killed meanwhile.
                busy.clear()
            except PartitionBusy:
                busy.add(day)
