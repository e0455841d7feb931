"""The server of preloaded dbt; its argument is the path of its socket. It ends when its standard input does."""

import json
import os
import resource
import select
import signal
import socket
import sys
from pathlib import Path

_FIRST_FREE = 3
"""The first file descriptor after the standard streams."""


def serve(address: str) -> None:
    """Import dbt, then fork a process for each call."""
    import dbt.adapters.duckdb
    import dbt.cli.main  # noqa: F401

    from research_assets.warehouse import dbt_process  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(f"{address}.new")
        listener.listen(64)
        Path(f"{address}.new").rename(address)
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            caller, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _answer(caller)
            caller.close()


def _answer(caller: socket.socket) -> None:
    """Run one call in a child of this process, and send its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, streams, _, _ = socket.recv_fds(caller, 8, 3)
    size, received = int.from_bytes(head, "big"), b""
    while len(received) < size and (part := caller.recv(size - len(received))):
        received += part
    if len(streams) < _FIRST_FREE or len(received) < size:
        os._exit(1)
    arguments, environment, folder, umask, largest_file = json.loads(received)
    child = os.fork()
    if child == 0:
        caller.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        os.umask(umask)
        resource.setrlimit(resource.RLIMIT_FSIZE, tuple(largest_file))
        _run_dbt(arguments, environment)
    for stream in streams:
        os.close(stream)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        caller.send(bytes([code]))
    os._exit(0)


def _run_dbt(arguments: list[str], environment: dict[str, str]) -> None:
    """Run the module that runs dbt, as `python -P -m` does."""
    import runpy

    sys.path[:0] = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.argv = ["", *arguments]
    try:
        runpy.run_module("research_assets.warehouse.dbt_process", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1])
