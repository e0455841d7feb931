"""The server of preloaded processes. It ends when its standard input does.

Its arguments are the path of its socket, and the open file whose lock it releases when it has imported everything.
"""

import atexit
import fcntl
import gc
import importlib
import json
import logging
import os
import resource
import runpy
import select
import signal
import socket
import sys
import tempfile
import threading
import types
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, NoReturn

import dagster as dg
import pytest

from research_assets.warehouse import dbt_process
from research_assets_tests.preloaded.dagster_shortcuts import flush_nothing, read_migrations_once
from research_assets_tests.preloaded.dbt_project import parse_and_lend
from research_assets_tests.preloaded.dbt_shortcuts import take_shortcuts, use_unnamed_locks

MODULES = (
    "altair",
    "dagster._cli",
    "dagster._core.launcher.default_run_launcher",
    "dagster._core.run_coordinator.queued_run_coordinator",
    "dagster._core.storage.event_log",
    "dagster._core.storage.local_compute_log_manager",
    "dagster._core.storage.runs",
    "dagster._core.storage.schedules",
    "dagster._daemon.cli",
    "dagster._grpc.impl",
    "dagster_dg_cli.cli",
    "dagster_webserver.cli",
    "dbt.adapters.duckdb",
    "dbt.cli.main",
    "research_assets.cli",
    "research_assets.definitions",
    "research_assets.report.charts",
    "vl_convert",
)
"""Modules that the programs import, and that start no thread, which a forked process would lack."""

AT_START = ("LANG", "LC_ALL", "LD_PRELOAD", "PYTHONCOERCECLOCALE", "PYTHONIOENCODING", "PYTHONUTF8", "PYTHONWARNINGS")
"""Variables that a process reads at its start only. One with other values of them than the server's imports itself."""


def serve(address: str, starting: int) -> None:
    """Import the modules, parse the dbt project, then fork a process for each call and report its end."""
    use_unnamed_locks()
    for module in MODULES:
        importlib.import_module(module)
    take_shortcuts()
    read_migrations_once()
    _open_instance()
    parse_and_lend()
    # The collector of a child would touch, and so copy, all objects of this process.
    gc.collect()
    gc.freeze()
    gc.disable()
    ended, woken = socket.socketpair()
    for end in (ended, woken):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken.fileno())
    callers: dict[int, socket.socket] = {}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(address)
        listener.listen(64)
        os.close(starting)
        own = [listener, ended, woken]
        while sys.stdin not in (ready := select.select([listener, ended, sys.stdin, *callers.values()], [], [])[0]):
            for child, caller in callers.items():
                if caller in ready:
                    # The caller was killed. Its process ends before the end of another one is reported.
                    os.kill(child, signal.SIGKILL)
                    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
            if ended in ready:
                ended.recv(1024)
            _report_ended(callers)
            if listener in ready:
                _accept(listener, callers, own)
    for child in callers:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    os._exit(0)


def _open_instance() -> None:
    """Open an instance of Dagster, which imports and reads what each process does to open its own."""
    with (
        tempfile.TemporaryDirectory(prefix="research-instance-") as folder,
        dg.DagsterInstance.local_temp(folder) as instance,
    ):
        instance.get_runs(limit=1)


def _report_ended(callers: dict[int, socket.socket]) -> None:
    """Send the exit status of each child that has ended to the process that called it."""
    while callers:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child == 0:
            return
        with callers.pop(child) as caller:
            _send(caller, status)


def _send(caller: socket.socket, number: int) -> None:
    # A caller that was killed has closed it.
    with suppress(OSError):
        caller.sendall(number.to_bytes(8, "big"))


def _accept(listener: socket.socket, callers: dict[int, socket.socket], own: list[socket.socket]) -> None:
    """Read one call and fork its process; refuse a call from another environment than this one."""
    caller, _ = listener.accept()
    head, files, _, _ = socket.recv_fds(caller, 8, 200)
    size, received = int.from_bytes(head, "big"), b""
    while len(received) < size and (part := caller.recv(size - len(received))):
        received += part
    call = json.loads(received) if size and len(received) == size else None
    environment = call["environment"] if call else {}
    if call is None or any(environment.get(name, value) != value for name, value in _at_start().items()):
        caller.close()
    elif (child := os.fork()) == 0:
        try:
            for one in (caller, *own, *callers.values()):
                one.close()
            _run(call, files)
        finally:
            os._exit(1)
    else:
        callers[child] = caller
        _send(caller, child)
    for file in files:
        os.close(file)


def _at_start() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in AT_START}


def _run(call: dict[str, Any], files: list[int]) -> NoReturn:
    """Become the process of a call, run its program, and end as the interpreter does."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in call["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    os.setsid()
    _place(files, call["files"])
    os.environ.clear()
    os.environ.update(call["environment"])
    os.chdir(call["folder"])
    os.umask(call["umask"])
    for name, limit in call["limits"].items():
        if resource.getrlimit(getattr(resource, name)) != tuple(limit):
            resource.setrlimit(getattr(resource, name), tuple(limit))
    _open_streams()
    sys.orig_argv[:] = call["orig_argv"]
    gc.enable()
    code = 1
    try:
        _run_program(call)
        code = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = 120
    os._exit(code & 0xFF)


def _place(files: list[int], numbers: list[int]) -> None:
    """Give the open files of a caller the numbers that they have there, and close those of the server."""
    for other in {int(entry.name) for entry in Path("/dev/fd").iterdir()}.difference(files):
        with suppress(OSError):
            os.close(other)
    above = max([*files, *numbers]) + 1
    moved = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, above) for file in files]
    for file in files:
        os.close(file)
    for file, number in zip(moved, numbers, strict=True):
        os.dup2(file, number)
        os.close(file)


def _open_streams() -> None:
    """Open the standard streams as the interpreter does at its start."""
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        old = getattr(sys, name)
        new = open(number, old.mode, encoding=old.encoding, errors=old.errors, closefd=False)  # noqa: SIM115
        if number > 0:
            new.reconfigure(line_buffering=name == "stderr" or new.isatty(), write_through=unbuffered)
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)


def _run_program(call: dict[str, Any]) -> None:
    """Run a module, a script or code, with the module path and the arguments that the interpreter gives it."""
    kind, name, *arguments = call["program"]
    first = {"-m": call["folder"], "-c": "", "script": str(Path(name).parent)}[kind]
    sys.path[:] = ([] if call["safe_path"] else [first]) + call["path"]
    sys.argv[:] = ["-c" if kind == "-c" else name, *arguments]
    _forget_project_of_other_path()
    if name != dbt_process.__name__:
        # The import of dbt lets all loggers write to the standard error.
        logging.root.handlers.clear()
        flush_nothing(pytest.MonkeyPatch())
    if kind == "-m":
        sys.modules.pop(name, None)
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    elif kind == "script":
        runpy.run_path(name, run_name="__main__")
    else:
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(compile(name, "<string>", "exec"), main.__dict__)


def _forget_project_of_other_path() -> None:
    """Let the program import the project again if its module path leads to a copy of it."""
    found = PathFinder.find_spec("research_assets")
    if found is None or found.origin != sys.modules["research_assets"].__file__:
        for module in [name for name in sys.modules if name.partition(".")[0] == "research_assets"]:
            del sys.modules[module]


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
