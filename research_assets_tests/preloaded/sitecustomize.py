"""Runs at the start of each Python process of the tests: hands its program to the server that has imported it."""

import os
import sys

MODULES = (
    "dagster",
    "dagster._daemon",
    "dagster_webserver",
    "research_assets.report.drawing_process",
    "research_assets.warehouse.dbt_process",
)
"""Modules of `python -m` that the server runs."""

SCRIPTS = ("dagster", "dagster-daemon", "dagster-webserver", "dg", "research-assets")
"""Commands of this environment that the server runs."""

SPAWNED = "from multiprocessing.spawn import spawn_main;"
"""Beginning of the code of a process of multiprocessing, such as a run of Dagster."""


def _program(arguments: list[str]) -> list[str] | None:
    """Return the kind and the name of the program and its arguments, if the server runs it."""
    rest = arguments[1:]
    while rest[:1] in (["-B"], ["-P"], ["-u"]):
        rest = rest[1:]
    kind, name = "".join(rest[:1]), "".join(rest[1:2])
    if (kind == "-m" and name in MODULES) or (kind == "-c" and name.startswith(SPAWNED)):
        return rest
    folder, _, script = kind.rpartition("/")
    if script in SCRIPTS and folder == f"{sys.prefix}/bin":
        return ["script", *rest]
    return None


def _hand_over(program: list[str]) -> None:
    """Let the server run the program and end as it does. Return if the server refuses or has failed."""
    import fcntl
    import json
    import resource
    import signal
    import socket
    from pathlib import Path

    forwarded = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    ignored = [number for number in forwarded if signal.getsignal(number) == signal.SIG_IGN]
    files = [int(entry.name) for entry in Path("/dev/fd").iterdir() if _is_inherited(int(entry.name))]
    umask = os.umask(0o077)
    os.umask(umask)
    try:
        with Path(__file__).with_name("starting").open() as starting:
            fcntl.flock(starting, fcntl.LOCK_SH)
        # A signal that arrives before the process exists waits for it.
        signal.pthread_sigmask(signal.SIG_BLOCK, forwarded)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.connect(str(Path(__file__).with_name("socket")))
            call = {
                "program": program,
                "orig_argv": sys.orig_argv,
                "path": sys.path,
                "safe_path": sys.flags.safe_path,
                "environment": dict(os.environ),
                "folder": str(Path.cwd()),
                "umask": umask,
                "limits": {
                    name: resource.getrlimit(getattr(resource, name))
                    for name in dir(resource)
                    if name.startswith("RLIMIT_")
                },
                "ignored": ignored,
                "files": files,
            }
            message = json.dumps(call).encode()
            socket.send_fds(server, [len(message).to_bytes(8, "big")], files)
            server.sendall(message)
            child = int.from_bytes(server.recv(8), "big")
            if not child:
                return
            # Also those that this process ignores: the program may handle them.
            for number in forwarded:
                signal.signal(number, lambda number, _: os.kill(child, number))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, forwarded)
            status = server.recv(8)
    except OSError:
        return
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, forwarded)
    # Without a status the server was killed.
    code = os.waitstatus_to_exitcode(int.from_bytes(status, "big")) if status else -signal.SIGKILL
    if code >= 0:
        os._exit(code)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)


def _is_inherited(file: int) -> bool:
    """Return whether this process got the open file from its parent; Python's own are not inheritable."""
    try:
        return os.get_inheritable(file)
    except OSError:
        return False  # that of the listing itself, which is closed


_found = _program(sys.orig_argv)
if _found is not None:
    _hand_over(_found)
