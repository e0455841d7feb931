"""A child process with children of its own, run until it ends or this process is told to stop. Nothing is left behind.

Knows nothing of what it runs. It waits for real processes, so it counts real time.
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
"""Seconds between two looks at the child."""


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
) -> int:
    """Run `command`; returns its exit code, or 0 if it ended because this process was told to stop.

    What the family says goes to `log`, which is begun anew. `when_ready` is called once, as soon as `ready` says so;
    `when_stopping` when the end was asked for. A stop is handed on as SIGINT, which Dagster takes as the wish to end in
    good order; after a second one, or `patience` seconds, the whole family is killed. So it is if this process fails.
    """
    with _catch_stop_signals() as asked, _truncate(log) as said:
        # A session of its own: a Ctrl-C in the terminal reaches this process alone, and the family can be named.
        # Signals with a handler here are at their defaults there; one ignored by our parent would be ignored for good.
        child = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            handed_on: float | None = None
            reported = False
            while child.poll() is None:
                if len(asked) > 1 or (handed_on is not None and time.monotonic() - handed_on > grace_seconds):
                    break
                if asked and handed_on is None:
                    child.send_signal(signal.SIGINT)
                    handed_on = time.monotonic()
                    when_stopping()
                if not (asked or reported) and ready():
                    reported = True
                    when_ready()
                with suppress(subprocess.TimeoutExpired):
                    child.wait(POLL_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        return 0 if asked else child.returncode


def _truncate(log: Path) -> IO[bytes]:
    """The file, empty and private."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


@contextmanager
def _catch_stop_signals() -> Iterator[list[int]]:
    """The stops asked for so far, instead of their usual effect."""
    asked: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        asked.append(number)

    before = {number: signal.signal(number, note) for number in STOP_SIGNALS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
