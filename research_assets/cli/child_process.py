"""A child process with its own children, run until it ends or this process receives a stop signal.

No process of the group survives. The module is independent of the command that it runs, and counts real time.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
POLL_SECONDS = 0.2
"""Seconds between two checks of the child."""


def run_until_stopped(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    log: Path,
    ready: Callable[[], bool],
    when_ready: Callable[[], None],
    when_stopping: Callable[[], None],
    grace_seconds: float = 30.0,
) -> int | None:
    """Run `command`. Return its exit code, or None if it ended because this process received a stop signal.

    The output of the process group goes to `log`, which is truncated first. `when_ready` is called once, as soon as
    `ready` returns True; `when_stopping` is called at the first stop signal. The child receives a stop as SIGINT, on
    which Dagster ends cleanly. After a second signal or `grace_seconds` seconds, the whole group is killed. The group
    is also killed if this process fails.
    """
    with _catch_stop_signals() as stops, _truncate(log) as output:
        # A session of its own: Ctrl-C in the terminal reaches only this process, and the group can be killed by its id.
        # Signals with a handler here have their default in the child. A signal that our parent ignores would stay
        # ignored in the child.
        child = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            interrupted_at: float | None = None
            reported = False
            while child.poll() is None:
                if len(stops) > 1 or (interrupted_at is not None and time.monotonic() - interrupted_at > grace_seconds):
                    break
                if stops and interrupted_at is None:
                    child.send_signal(signal.SIGINT)
                    interrupted_at = time.monotonic()
                    when_stopping()
                if not (stops or reported) and ready():
                    reported = True
                    when_ready()
                with suppress(subprocess.TimeoutExpired):
                    child.wait(POLL_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        return None if stops else child.returncode


def _truncate(log: Path) -> IO[bytes]:
    """Open a log file, empty and readable by its owner only."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


@contextmanager
def _catch_stop_signals() -> Iterator[list[int]]:
    """Yield the list of stop signals received while the block runs. They have no other effect."""
    stops: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        stops.append(number)

    before = {number: signal.signal(number, note) for number in STOP_SIGNALS}
    try:
        yield stops
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
