"""Making an export: a folder built beside, published by one rename, with a manifest by which it is found again.

The manifest says what went in, so that a removal can reach each export that the project made.
"""

import json
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from research_assets.export import columns, stata
from research_assets.export.contents import codebook_csv, read_column_origins, read_coverage_counts, software_version
from research_assets.export.formats import SUFFIXES, WRITERS, write_ids
from research_assets.export.pseudonyms import load_or_create_key, register, unregister
from research_assets.export.readme import render_readme
from research_assets.export.request import (
    Export,
    ExportedFile,
    ExportError,
    ExportRequest,
    MartSelection,
    select_marts,
    validate_request,
)
from research_assets.report.codebook import read_codebook, render_codebook
from research_assets.report.queries import published_at
from research_assets.settings import Settings
from research_assets.storage import files
from research_assets.study.spec import StudySpec
from research_assets.warehouse.reader import (
    connect_read_only,
    is_simulated,
    parse_day,
    read_marts,
    read_studies,
    require_warehouse,
)

MEMORY = "2GB"
"""What DuckDB may take; pandas, for Stata, takes its own."""
MANIFEST = "manifest.json"
_STALE_AFTER = timedelta(days=1)
"""A folder under construction that is older was left by a process that died."""


def export(settings: Settings, request: ExportRequest, specs: Sequence[StudySpec], now: datetime) -> Export:
    """Export what is ordered from the published warehouse; returns what was made.

    `specs` are the studies as they are declared now: the README quotes their queries. Raises ReadingError if there is
    no warehouse or study of that name, and ExportError if the request cannot be met; nothing of it is left then.
    """
    validate_request(request)
    require_warehouse(settings)
    key = load_or_create_key(settings.pseudonym_key) if request.pseudonymous else None
    files.private_folder(settings.exports)
    _remove_stale_builds(settings, now)
    folder = _unused_folder(settings.exports / f"{request.folder_name}-{now:%Y%m%dT%H%M%SZ}")
    build = files.temporary_path(folder)
    build.mkdir(mode=0o700)
    try:
        with closing(connect_read_only(settings.warehouse)) as connection:
            connection.execute(f"SET memory_limit = '{MEMORY}'")
            if key:
                register(connection, key)
            try:
                export = _write_all(connection, settings, request, specs, now, folder, build)
            finally:
                if key:
                    unregister(connection)
        for path in build.rglob("*"):
            if path.is_file():
                files.fsync_file(path)
            else:
                files.fsync_folder(path)
        files.fsync_folder(build)
        build.rename(folder)
        files.fsync_folder(folder.parent)
    except duckdb.Error as error:
        raise ExportError(f"The export could not be written: {error}. Nothing of it is left.") from error
    finally:
        if build.exists():
            shutil.rmtree(build)
    return export


def list_exports(settings: Settings) -> list[Export]:
    """The exports that are in the data folder, oldest first: what a removal has to reach."""
    found = [_from_manifest(path) for path in settings.exports.glob(f"*/{MANIFEST}")]
    return sorted(found, key=lambda one: (one.made_at, one.folder.name))


def _write_all(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    request: ExportRequest,
    specs: Sequence[StudySpec],
    now: datetime,
    folder: Path,
    build: Path,
) -> Export:
    known = read_marts(connection)
    held = read_studies(connection, known)
    chosen, left = select_marts(request, known, held)
    if request.ids_only:
        chosen, left = [], {}
        rows = write_ids(connection, known, request, build / "ids.csv")
        written = [ExportedFile("ids.csv", "", "csv", rows, (build / "ids.csv").stat().st_size)]
    else:
        if "stata" in request.formats:
            stata.check_size(connection, chosen)
        written = [file for part in chosen for file in _write_mart(connection, part, request, build)]
        book = codebook_csv(chosen, request, read_column_origins(connection, known))
        (build / "codebook.csv").write_text(book, encoding="utf-8")
        if any(part.mart.name == "codebook" for part in chosen) and (shown := read_codebook(connection)):
            page = render_codebook(shown, simulated=is_simulated(settings), built=published_at(settings), now=now)
            (build / "codebook.html").write_text(page, encoding="utf-8")
    result = Export(folder, now, request, tuple(written), left)
    asked = [spec for spec in specs if spec.name in (request.studies or held)]
    held_units = read_coverage_counts(connection, known, request)
    text = render_readme(result, chosen, asked, held_units, simulated=is_simulated(settings))
    (build / "README.md").write_text(text, encoding="utf-8")
    (build / MANIFEST).write_text(
        json.dumps(_to_manifest(result), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    return result


def _write_mart(
    connection: duckdb.DuckDBPyConnection, part: MartSelection, request: ExportRequest, build: Path
) -> list[ExportedFile]:
    chosen = columns.export_columns(part.mart, pseudonymous=request.pseudonymous)
    written = []
    for form in request.formats:
        path = build / form / f"{part.mart.name}.{SUFFIXES[form]}"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        rows = WRITERS[form](connection, part, chosen, path)
        written.append(ExportedFile(str(path.relative_to(build)), part.mart.name, form, rows, path.stat().st_size))
    return written


def _unused_folder(folder: Path) -> Path:
    """The folder's name, numbered if it is taken: two exports may be made in one second."""
    number, free = 1, folder
    while free.exists() or files.temporary_path(free).exists():
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free


def _remove_stale_builds(settings: Settings, now: datetime) -> None:
    """Remove what exports that were killed have left."""
    for left in settings.exports.glob(".*.tmp"):
        if left.stat().st_mtime < (now - _STALE_AFTER).timestamp():
            shutil.rmtree(left)


def _to_manifest(result: Export) -> dict[str, Any]:
    request = asdict(result.request)
    days = {name: request[name] and request[name].isoformat() for name in ("first", "last")}
    return {
        "made_at": result.made_at.isoformat(),
        "software": software_version(),
        "request": request | days,
        "files": [asdict(file) for file in result.files],
        "skipped": dict(result.skipped),
    }


def _from_manifest(path: Path) -> Export:
    """An export by its manifest. Raises ExportError rather than leave out one that a removal would then not reach."""
    try:
        reported = json.loads(path.read_text(encoding="utf-8"))
        request = reported["request"]
        days = {name: parse_day(request[name]) for name in ("first", "last")}
        lists = {name: tuple(request[name]) for name in ("studies", "marts", "formats")}
        return Export(
            folder=path.parent,
            made_at=datetime.fromisoformat(reported["made_at"]),
            request=ExportRequest(**(request | lists | days)),
            files=tuple(ExportedFile(**file) for file in reported["files"]),
            skipped=reported["skipped"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(
            f"{path} cannot be read as the manifest of an export ({error}), so nobody knows what is in its folder. Put "
            "it back as it was, or remove the whole folder."
        ) from error
