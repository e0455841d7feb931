"""The server of preloaded dbt; its argument is the path of its socket. It ends when its standard input does."""

import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from research_assets.settings import DBT_PROJECT_DIR, VARIABLES, Settings
from research_assets_tests.preloaded_dbt.shortcuts import take_shortcuts

_FIRST_FREE = 3
"""The first file descriptor after the standard streams."""


def serve(address: str) -> None:
    """Import dbt, parse the project, then fork a process for each call."""
    import dbt.adapters.duckdb
    import dbt.cli.main  # noqa: F401

    from research_assets.warehouse import dbt_process  # noqa: F401

    take_shortcuts()
    _lend_parsed_project()
    _write_no_manifest_in_builds()
    # The collector of a child would touch, and so copy, all objects of this process. A child ends soon, so it has none.
    gc.collect()
    gc.freeze()
    gc.disable()
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


def _lend_parsed_project() -> None:
    """Let dbt start from this server's parsed project in a target folder that has none; the parse takes 2 seconds.

    dbt compares it with the files as usual, and parses what differs.
    """
    from dbt.contracts.graph.manifest import Manifest
    from dbt.parser.manifest import ManifestLoader, extended_mashumuro_decoder
    from dbt_common.clients.jinja import get_template, template_cache
    from dbt_common.invocation import get_invocation_id

    if (stored := _parse()) is None:
        return
    parsed: Any = Manifest.from_msgpack(stored, decoder=extended_mashumuro_decoder)
    for macro in parsed.macros.values():
        template_cache.get_node_template(macro)
    for node in parsed.nodes.values():
        get_template(node.raw_code, {}, node)
    read: Callable[..., Any] = ManifestLoader.read_manifest_for_partial_parse

    def read_or_lend(loader: Any) -> Any:
        database = loader.root_project.credentials.database
        has_own = (Path(loader.root_project.project_target_path) / "partial_parse.msgpack").exists()
        # Seeds hold the path of the project.
        is_other_project = Path(loader.root_project.project_root) != DBT_PROJECT_DIR
        if (
            has_own
            or is_other_project
            or any(model.database not in (database, "scratch") for model in parsed.nodes.values())
        ):
            return read(loader)
        # The profile's hash covers the paths of the data folder, on which no model depends.
        parsed.state_check.profile_hash = loader.manifest.state_check.profile_hash
        if not loader.is_partial_parsable(parsed)[0]:
            return None
        parsed.metadata.generated_at = datetime.now(UTC).replace(tzinfo=None)
        parsed.metadata.invocation_id = get_invocation_id()
        return parsed

    ManifestLoader.read_manifest_for_partial_parse = read_or_lend  # type: ignore


def _write_no_manifest_in_builds() -> None:
    """Write `manifest.json` for `dbt parse` only, whose copy the project reads; it is a tenth of a small build."""
    from dbt.parser import manifest
    from dbt.task import runnable

    write: Callable[..., None] = manifest.write_manifest

    def write_unless_build(*arguments: Any, **options: Any) -> None:
        if sys.argv[1:2] != ["build"]:
            write(*arguments, **options)

    manifest.write_manifest = write_unless_build
    runnable.write_manifest = write_unless_build  # type: ignore[attr-defined]


def _parse() -> bytes | None:
    """Return the parsed project; None if it has an error, which each call reports.

    The parse starts no thread, which a forked process would lack: dbt's static parser has a pool of them, in which a
    call that parses the project again would wait for ever. It also makes the schemas of dbt's configuration, which each
    call would make again.
    """
    from dbt import deprecations
    from dbt.adapters.factory import reset_adapters
    from dbt.cli.main import dbtRunner

    environment = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="research-dbt-") as folder:
        arguments = ["parse", "--quiet", "--project-dir", str(DBT_PROJECT_DIR), "--profiles-dir", str(DBT_PROJECT_DIR)]
        build = Settings.from_env({VARIABLES["root"].name: folder}).warehouse_build
        os.environ |= {"RESEARCH_WAREHOUSE_BUILD": str(build), "RESEARCH_WAREHOUSE_SCRATCH": ":memory:"}
        dbtRunner().invoke([*arguments, "--no-static-parser", "--target-path", folder, "--log-path", folder])
        parsed = Path(folder) / "partial_parse.msgpack"
        stored = parsed.read_bytes() if parsed.exists() else None
    os.environ.clear()
    os.environ.update(environment)
    reset_adapters()  # type: ignore[no-untyped-call]
    deprecations.reset_deprecations()  # type: ignore[no-untyped-call]
    return stored


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
