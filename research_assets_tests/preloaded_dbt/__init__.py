"""Calls of dbt in processes that are forked from one that has already imported dbt and parsed the project.

The tests build the warehouse more than a hundred times; the import and the parse take 2 seconds each. `server.py` does
both once and forks a process for each call. In a data folder without a parsed project of its own, dbt begins with that
of the server, compares it with the project's files as usual, and parses those that differ. `shortcuts.py` leaves out
what dbt does again for each node. `make wheel` and the long lane build without all of this, as users do.
`site/sitecustomize.py` runs at the start of each Python process of the tests: one that is about to run dbt hands its
arguments, environment, folder, limits and streams to the server, waits, and ends with dbt's exit code. All else is as
without the server: dbt is a process of its own, sees no credentials, and ends with the process that called it. A call
that does not reach the server imports dbt itself.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ADDRESS = "PRELOADED_DBT"
"""Variable with the path of the server's socket. A test that deletes it calls dbt as users do."""

_FOLDER = Path(__file__).parent
SITE = str(_FOLDER / "site")


def use_server() -> None:
    """Let dbt of this process use the server, if there is one: the project hands its module path on to dbt."""
    if ADDRESS in os.environ and SITE not in sys.path:
        sys.path.append(SITE)


@contextmanager
def preloaded_dbt() -> Iterator[None]:
    """Run the server, and let all processes that are started meanwhile use it."""
    with tempfile.TemporaryDirectory(prefix="research-dbt-") as folder:
        address = f"{folder}/socket"
        # The server ends when its standard input does.
        with subprocess.Popen([sys.executable, str(_FOLDER / "server.py"), address], stdin=subprocess.PIPE) as server:
            python_path = [SITE, *filter(None, [os.environ.get("PYTHONPATH")])]
            os.environ |= {ADDRESS: address, "PYTHONPATH": os.pathsep.join(python_path)}
            try:
                yield
            finally:
                server.kill()
