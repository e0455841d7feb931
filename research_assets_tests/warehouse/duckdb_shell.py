"""A second process with a DuckDB connection, as a person's shell has it; the test gives it one command at a time."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SHELL = """
import duckdb, os, sys
for line in sys.stdin:
    command, _, text = line.rstrip().partition(" ")
    if command == "open":
        connection = duckdb.connect(text)
    elif command == "close":
        connection.close()
    elif command == "die":
        os.kill(os.getpid(), 9)
    else:
        connection.execute(text)
    print("done", flush=True)
"""


class DuckDBShell:
    """A shell; each method returns when its command was executed, and raises RuntimeError if the command failed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SHELL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def open(self, database: Path) -> None:
        """Open a database for writing."""
        self._command(f"open {database}")

    def execute(self, sql: str) -> None:
        """Execute a statement, and commit it."""
        self._command(f"execute {sql}")

    def close(self) -> None:
        """Close the database as a person does who leaves the shell."""
        self._command("close")

    def die(self) -> None:
        """Kill the shell, which leaves its log."""
        assert self._process.stdin is not None
        self._process.stdin.write("die\n")
        self._process.stdin.close()
        self._process.wait()

    def _command(self, line: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        if self._process.stdout.readline() != "done\n":
            raise RuntimeError(f"The shell failed at: {line}")

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


@contextmanager
def duckdb_shell() -> Iterator[DuckDBShell]:
    """Yield a shell, which ends with the block."""
    shell = DuckDBShell()
    try:
        yield shell
    finally:
        shell.end()
