"""A process that has imported everything once and has the shim preloaded. It forks a child for each job.

Jobs are functions of modules, with their arguments, so that they can be pickled. Not here: the jobs (see jobs.py).
"""

import faulthandler
import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from research_assets_tests.torture import shim
from research_assets_tests.torture.shim import Fault

PATIENCE = 150
"""Seconds after which a child counts as hung, prints where it waits, and is killed."""


@dataclass(frozen=True, slots=True)
class Job:
    """A function to call in a child, with the fault and the clock of the child."""

    call: Callable[[], Any]
    fault: Fault | None = None
    clock: Path | None = None
    timezone: str | None = None
    patience: int = PATIENCE


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a child: killed, failed with an exception and its traceback, or finished with a result.

    `fired` is the kind of the operation at which the fault happened, `counts` the number of operations by kind. Both
    are unknown if the child was killed.
    """

    killed: bool
    hung: bool = False
    error: str = ""
    error_type: str = ""
    result: Any = None
    fired: str | None = None
    counts: dict[str, int] | None = None


class Zygote:
    """The process; `start_zygote` starts and ends it."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def run(self, job: Job) -> Outcome:
        """Run a job in a child and return how it ended."""
        (outcome,) = self.run_all([job])
        return outcome

    def run_all(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run jobs at the same time, each in a child of its own."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        _send(self._process.stdin, list(jobs))
        outcomes: list[Outcome] = _receive(self._process.stdout)
        return outcomes


@contextmanager
def start_zygote(library: Path, *imports: str) -> Iterator[Zygote]:
    """Start a zygote that has imported these modules, and end it with the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import serve; serve()", *imports],
        env=dict(os.environ) | {"LD_PRELOAD": str(library)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield Zygote(process)
    finally:
        process.kill()
        process.wait()


def _send(stream: IO[bytes], value: Any) -> None:
    content = pickle.dumps(value)
    stream.write(struct.pack("q", len(content)) + content)
    stream.flush()


def _receive(stream: IO[bytes]) -> Any:
    (size,) = struct.unpack("q", stream.read(8))
    return pickle.loads(stream.read(size))


def _run_in_child(job: Job, result: Path) -> None:
    faulthandler.dump_traceback_later(job.patience - 1)
    signal.alarm(job.patience)
    if job.timezone is not None:
        os.environ["TZ"] = job.timezone
        time.tzset()
    if job.clock is not None:
        shim.follow_clock(job.clock)
    if job.fault is not None:
        shim.arm(job.fault)
    value, error, kind = None, "", ""
    try:
        value = job.call()
    except BaseException as raised:
        error, kind = traceback.format_exc(), type(raised).__name__
    fired, counts = shim.fired(), shim.counts()
    shim.disarm()
    result.write_bytes(pickle.dumps(Outcome(False, False, error, kind, value, fired, counts)))


def _outcome(job: Job, status: int, result: Path) -> Outcome:
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGKILL:
        return Outcome(True)
    if code == -signal.SIGALRM:
        return Outcome(False, hung=True, error=f"The child did not end within {job.patience} seconds.")
    if code != 0:
        return Outcome(False, error=f"The child ended with {code}.")
    outcome: Outcome = pickle.loads(result.read_bytes())
    return outcome


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        while True:
            try:
                jobs: list[Job] = _receive(requests)
            except struct.error:  # the parent has ended
                return
            children = []
            for number, job in enumerate(jobs):
                result = Path(folder, str(number))
                result.unlink(missing_ok=True)
                child = os.fork()
                if child == 0:
                    try:
                        _run_in_child(job, result)
                    finally:
                        os._exit(0)
                children.append((job, child, result))
            _send(answers, [_outcome(job, os.waitpid(child, 0)[1], result) for job, child, result in children])


def serve() -> None:
    """Import the modules that the arguments name, and run jobs until the parent ends."""
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for name in sys.argv[1:]:
        import_module(name)
    with suppress(KeyboardInterrupt):
        _serve(sys.stdin.buffer, answers)
