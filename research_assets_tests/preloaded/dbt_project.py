"""The dbt project, parsed once for all calls of dbt.

In a data folder without a parsed project of its own, dbt begins with that of the server, compares it with the project's
files as usual, and parses those that differ. Not here: shortcuts in dbt that do not depend on the project.
"""

import logging
import os
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from research_assets.settings import DBT_PROJECT_DIR, VARIABLES, Settings


def parse_and_lend() -> None:
    """Parse the project, let dbt of this process and its children start from it, and write it only where it is read."""
    _lend_parsed_project()
    _write_no_manifest_in_builds()


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
    # All forked processes would share its own, and a killed one would not release it.
    parsed._lock = Lock()
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
    # The log file of the parse, whose folder no longer exists.
    logging.shutdown()
    os.environ.clear()
    os.environ.update(environment)
    reset_adapters()  # type: ignore[no-untyped-call]
    deprecations.reset_deprecations()  # type: ignore[no-untyped-call]
    return stored
