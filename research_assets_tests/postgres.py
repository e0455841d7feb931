"""A PostgreSQL server for tests, on a free port of the loopback interface, with data in a temporary folder.

Debian's package `postgresql` provides it. Its programs refuse to run as root, so root runs them as the user `postgres`
of that package.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

_FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")
"""The data need not survive the machine, only the server."""


def find_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, of the newest version; None if they are not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


@dataclass
class PostgresServer:
    """A server with a superuser `lab` without a password, and its database `lab`."""

    folder: Path
    programs: Path
    port: int
    settings: tuple[str, ...] = _FAST

    @property
    def url(self) -> str:
        """Return the address of the database `lab`."""
        return f"postgresql://lab@127.0.0.1:{self.port}/lab"

    def start(self) -> None:
        """Start the server on its port, and wait until it answers."""
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} " + " ".join(
            f"-c {one}" for one in ("shared_buffers=16MB", *self.settings)
        )
        self.run("pg_ctl", "-D", f"{self.folder}/data", "-o", options, "-l", f"{self.folder}/log", "-w", "start")

    def is_running(self) -> bool:
        """Return whether the server accepts connections."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; `immediate` is like a crash."""
        self.run("pg_ctl", "-D", f"{self.folder}/data", "-m", mode, "-w", "stop")

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs."""
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        # The output goes to a file: a server that inherits a pipe keeps it open.
        with (self.folder / "programs.log").open("a+") as log:
            done = subprocess.run(
                [*as_user, str(self.programs / program), *arguments],
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "LC_ALL": "C"},
                check=False,
            )
            log.seek(0)
            assert done.returncode == 0, f"{program} failed:\n{log.read()}"


@pytest.fixture(scope="session")
def postgres() -> Iterator["PostgresServer"]:
    """A server for all tests of a worker, each in a schema of its own."""
    with running_postgres() as server:
        yield server


@contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[PostgresServer]:
    """Yield a running server; a `durable` one flushes its commits, as PostgreSQL does by default.

    Without PostgreSQL the test is skipped; with CI set it fails.
    """
    programs = find_programs()
    if programs is None:
        reason = "PostgreSQL is not installed (Debian: apt-get install postgresql)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    # Not in a folder of pytest, which belongs to root alone.
    with TemporaryDirectory(prefix="research-postgres-") as folder, socket.socket() as free:
        if os.getuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        free.bind(("127.0.0.1", 0))
        server = PostgresServer(Path(folder), programs, free.getsockname()[1], () if durable else _FAST)
        free.close()
        server.run("initdb", "-D", f"{folder}/data", "-U", "lab", "-A", "trust", "--no-sync", "-E", "UTF8")
        server.start()
        try:
            server.run("createdb", "-h", "127.0.0.1", "-p", str(server.port), "-U", "lab", "lab")
            yield server
        finally:
            if server.is_running():
                server.stop("immediate")
