"""Runs at the start of each Python process of the tests: hands a call of dbt to the server that has imported it."""

import os
import sys
from pathlib import Path


def _call(address: str, arguments: list[str]) -> int | None:
    """Return dbt's exit code; None if the server cannot be reached, for example because it is still importing dbt."""
    import json
    import resource
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        try:
            server.connect(address)
            largest_file = resource.getrlimit(resource.RLIMIT_FSIZE)
            call = json.dumps([arguments, dict(os.environ), str(Path.cwd()), os.umask(0o077), largest_file]).encode()
            socket.send_fds(server, [len(call).to_bytes(8, "big")], [0, 1, 2])
            server.sendall(call)
        except OSError:
            return None
        code = server.recv(1)
    # Without a code the process of dbt was killed.
    return code[0] if code else 137


def _module() -> str:
    arguments = sys.orig_argv
    position = arguments.index("-m") if "-m" in arguments else len(arguments)
    return "".join(arguments[position + 1 : position + 2])


if "PRELOADED_DBT" in os.environ and _module() == "research_assets.warehouse.dbt_process":
    _code = _call(os.environ["PRELOADED_DBT"], sys.orig_argv[sys.orig_argv.index("-m") + 2 :])
    if _code is not None:
        os._exit(_code)
