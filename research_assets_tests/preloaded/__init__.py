"""Processes of the tests that are forked from one that has already imported what they need.

Hundreds of processes run in the tests: builds of the warehouse, Dagster's runs and servers, drawings, commands. The
imports of each take 0.5 to 3 seconds, most of what it does. `server.py` imports all of it once and forks a process for
each call. `sitecustomize.py` runs at the start of each Python process of the tests: one that is about to run a program
of its list hands its arguments, environment, folder, limits and open files to the server, waits, and ends as the other
one does. All else is as without the server: the program is a process of its own, sees only what it was given, receives
the signals of the process that called it, and ends with it. A call waits until the server has imported everything, and
imports by itself if that failed.
Not here: what is done once for all calls of dbt (see `dbt_project.py` and `dbt_shortcuts.py`).

`make wheel`, the long lane and a single test start all processes as users do.
"""

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parent
_PREFIX = "research-preloaded-"
_SECONDS_TO_END = 10


@contextmanager
def preloaded_processes() -> Iterator[None]:
    """Run the server, and let all processes that are started meanwhile use it: its folder is in their module path."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
        Path(folder, "sitecustomize.py").symlink_to(_FOLDER / "sitecustomize.py")
        with Path(folder, "starting").open("w") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            # The server ends when its standard input does. `-P`: this folder provides no modules.
            server = subprocess.Popen(
                [sys.executable, "-P", str(_FOLDER / "server.py"), f"{folder}/socket", str(starting.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=[starting.fileno()],
            )
        with server:
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), folder]))
            try:
                yield
            finally:
                # Before it ends, it kills the processes that still run.
                with suppress(subprocess.TimeoutExpired):
                    server.communicate(timeout=_SECONDS_TO_END)
                server.kill()


def use_server() -> None:
    """Add the server's folder to the module path, which the project hands to dbt and drawings.

    A parallel worker inherits the variable, but pytest-xdist replaces its module path by that of the first process.
    """
    for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        if Path(entry).name.startswith(_PREFIX) and entry not in sys.path:
            sys.path.append(entry)


def start_as_users_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process start others without the server until the end of the test."""
    kept = [entry for entry in sys.path if not Path(entry).name.startswith(_PREFIX)]
    monkeypatch.setattr(sys, "path", kept)
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(one for one in entries if not Path(one).name.startswith(_PREFIX)))
