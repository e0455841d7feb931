"""Building of an export: a temporary folder that is renamed when it is complete, and its manifest.

The manifest lists the contents of an export, so that a removal of data finds every export in the data folder.
Not here: the request (see request.py), the SQL of columns (see columns.py), the file formats (see formats.py).
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from research_assets.export import columns, stata
from research_assets.export.archive import CHECKSUMS, update_archive, write_archive, write_checksums
from research_assets.export.coarse import (
    DISCLOSURE,
    SKIPPED_MARTS,
    SKIPPED_REASON,
    coarsen,
    read_disclosure,
    release_key,
    render_disclosure,
)
from research_assets.export.coding import draw
from research_assets.export.contents import (
    codebook_csv,
    read_column_origins,
    read_coverage_counts,
    read_retrieval,
    software_version,
)
from research_assets.export.formats import SUFFIXES, WRITERS, write_ids
from research_assets.export.networks import write_networks
from research_assets.export.pseudonyms import (
    Scrub,
    load_or_create_key,
    make_pseudonymizer,
    make_scrubber,
    register,
    unregister,
)
from research_assets.export.readme import render_readme, updated_readme
from research_assets.export.request import (
    Export,
    ExportedFile,
    ExportError,
    ExportRequest,
    MartSelection,
    RemovedRows,
    select_marts,
    validate_request,
)
from research_assets.report.codebook import Codebook, read_codebook, render_codebook
from research_assets.settings import Settings
from research_assets.storage import files
from research_assets.storage.listing import all_paths, matching_paths
from research_assets.study.spec import StudySpec
from research_assets.warehouse.reader import (
    connect_read_only,
    is_simulated,
    parse_day,
    published_at,
    read_marts,
    read_studies,
    require_warehouse,
)

MEMORY = "2GB"
"""Memory limit of DuckDB. pandas, which writes Stata and SPSS files, is not limited by it."""
MANIFEST, README = "manifest.json", "README.md"
_STALE_AFTER = timedelta(days=1)
"""Age from which a temporary folder is treated as left behind by a process that died."""


def export(settings: Settings, request: ExportRequest, specs: Sequence[StudySpec], now: datetime) -> Export:
    """Write the requested export from the published warehouse and return it.

    `specs` are the current study definitions; the README quotes their queries. Raise WarehouseReadError if there is no
    warehouse or no data of a requested study. Raise ExportError if the request cannot be fulfilled; no files remain.
    """
    validate_request(request)
    require_warehouse(settings)
    # Before anything is created, because the names of studies become part of the folder's name.
    with closing(connect_read_only(settings.published_marts)) as connection:
        marts = read_marts(connection)
        select_marts(request, marts, read_studies(connection, marts))
    folder = _unused_folder(settings.exports / f"{request.folder_name}-{now:%Y%m%dT%H%M%SZ}")
    key_file = release_key(settings, folder.name) if request.coarse else settings.export_key
    key = load_or_create_key(key_file) if request.has_pseudonyms else None
    files.private_folder(settings.exports)
    _remove_stale_builds(settings, now)
    build = files.temporary_path(folder)
    build.mkdir(mode=0o700)
    try:
        with closing(connect_read_only(settings.published_marts)) as connection:
            connection.execute(f"SET memory_limit = '{MEMORY}'")
            if key:
                register(connection, key)
            try:
                scrub = make_scrubber(make_pseudonymizer(key)) if key else None
                export = _write_all(connection, settings, request, specs, now, folder, build, scrub)
            finally:
                if key:
                    unregister(connection)
        for path in all_paths(build):
            if path.is_file():
                files.fsync_file(path)
            else:
                files.fsync_folder(path)
        files.fsync_folder(build)
        build.rename(folder)
        files.fsync_folder(folder.parent)
    except duckdb.Error as error:
        raise ExportError(
            f"The export could not be written: {error}. Its files were removed. Fix the cause and run the export again."
        ) from error
    finally:
        if build.exists():
            shutil.rmtree(build)
        if request.coarse and not folder.exists():
            key_file.unlink(missing_ok=True)
    return export


def list_exports(settings: Settings) -> list[Export]:
    """Return the exports in the data folder, oldest first."""
    exports = [_from_manifest(path) for path in matching_paths(settings.exports, f"*/{MANIFEST}")]
    return sorted(exports, key=lambda one: (one.made_at, one.folder.name))


def _write_all(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    request: ExportRequest,
    specs: Sequence[StudySpec],
    now: datetime,
    folder: Path,
    build: Path,
    scrub: Scrub | None,
) -> Export:
    simulated, built_at = is_simulated(settings), published_at(settings.published_marts)
    marts = read_marts(connection)
    studies = read_studies(connection, marts)
    selections, skipped = select_marts(request, marts, studies)
    counts = read_coverage_counts(connection, marts, request)
    retrieval = read_retrieval(connection, marts, request)
    if request.coarse:
        skipped |= {one.mart.name: SKIPPED_REASON for one in selections if one.mart.name in SKIPPED_MARTS}
        selections = [one for one in selections if one.mart.name not in SKIPPED_MARTS]
        selections = coarsen(connection, selections, texts=request.texts, simulated=simulated)
        report = render_disclosure(read_disclosure(connection, selections), texts=request.texts, simulated=simulated)
        (build / DISCLOSURE).write_text(report, encoding="utf-8")
    if request.draw:
        selections = [draw(connection, one, request, simulated=simulated) for one in selections]
    if request.ids_only:
        selections, skipped = [], {}
        rows = write_ids(connection, marts, request, build / "ids.csv", simulated=simulated)
        written = [ExportedFile.of(build, build / "ids.csv", "", "csv", rows)]
    else:
        for file_format, program in (("stata", "Stata"), ("spss", "SPSS")):
            if file_format in request.formats:
                stata.check_size(connection, selections, program)
        written = [
            file
            for selection in selections
            for file in _write_mart(connection, selection, request, build, built_at, simulated=simulated)
        ]
        written += write_networks(
            connection, selections, marts, request, request.studies or studies, build, simulated=simulated
        )
        if not written:
            raise ExportError(
                "There are no edges of a network in the selected marts and days, so there is nothing to write. Nothing "
                "was exported. Name other marts, or a format of tables such as parquet."
            )
        without_edges = set(request.network_formats) - {file.format for file in written}
        skipped |= dict.fromkeys(sorted(without_edges), "no edges of a network in the selected marts and days")
        if not request.table_formats:
            selections = []
        origins = read_column_origins(connection, marts)
        columns_csv = codebook_csv(selections, request, origins, simulated=simulated)
        (build / "codebook.csv").write_text(columns_csv, encoding="utf-8")
        has_codebook = any(selection.mart.name == "codebook" for selection in selections)
        if has_codebook and (codebook := read_codebook(connection)):
            if scrub:
                codebook = _scrubbed_codebook(codebook, scrub)
            page = render_codebook(codebook, simulated=simulated, built=built_at, now=now)
            (build / "codebook.html").write_text(page, encoding="utf-8")
    result = Export(folder, now, request, tuple(written), skipped, simulated)
    exported_specs = [spec for spec in specs if spec.name in (request.studies or studies)]
    text = render_readme(result, selections, exported_specs, counts, scrub)
    (build / README).write_text(text, encoding="utf-8")
    write_archive(build, result, selections, exported_specs, counts, retrieval)
    manifest = _manifest_bytes(_to_manifest(result))
    write_checksums(build, written, MANIFEST, manifest)
    (build / MANIFEST).write_bytes(manifest)
    return result


def read_export(folder: Path) -> Export:
    """Return the export in a folder. Raise ExportError if its manifest cannot be read, OSError if there is none."""
    return _from_manifest(folder / MANIFEST)


def record_removal(export: Export, rows: Mapping[str, int], at: datetime, *, study: str = "") -> Export:
    """Write the texts and the manifest of an export whose files were rewritten, and return the export as it is now.

    `rows` are the rows of each file now, by its path; other files keep their entry. The manifest is written last. Until
    then its checksums show that the removal is not finished, and the function may be called again.
    """
    files_now = tuple(
        ExportedFile.of(export.folder, export.folder / one.path, one.mart, one.format, rows[one.path])
        if one.path in rows
        else one
        for one in export.files
    )
    result = replace(export, files=files_now)
    removed = {mart: before - result.rows[mart] for mart, before in export.rows.items() if before != result.rows[mart]}
    changed = {
        before.mart or "ids" for before, now in zip(export.files, files_now, strict=True) if before.sha256 != now.sha256
    }
    removal = RemovedRows(at, removed, tuple(sorted(changed - removed.keys())), study)
    result = replace(result, removals=(*export.removals, removal))
    readme = export.folder / README
    if readme.exists():
        files.write_private(readme, updated_readme(readme.read_text(encoding="utf-8"), result).encode())
    update_archive(result)
    # Members that this version does not know stay as they are.
    manifest = json.loads((export.folder / MANIFEST).read_text(encoding="utf-8"))
    new = _to_manifest(result)
    manifest |= {name: new[name] for name in ("files", "removals")}
    content = _manifest_bytes(manifest)
    if (export.folder / CHECKSUMS).exists():
        write_checksums(export.folder, files_now, MANIFEST, content)
    files.write_private(export.folder / MANIFEST, content)
    return result


def _manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    return (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode()


def _scrubbed_codebook(codebook: Codebook, scrub: Scrub) -> Codebook:
    """Return the codebook with examples in which identifiers are replaced, as in the exported mart."""
    marts = [
        replace(mart, columns=[replace(column, examples=scrub(column.examples or "", None)) for column in mart.columns])
        for mart in codebook.marts
    ]
    return replace(codebook, marts=marts)


def _write_mart(
    connection: duckdb.DuckDBPyConnection,
    selection: MartSelection,
    request: ExportRequest,
    build: Path,
    built_at: datetime,
    *,
    simulated: bool,
) -> list[ExportedFile]:
    mart = selection.mart
    export_columns = columns.selected_columns(selection, pseudonymous=request.pseudonymous, simulated=simulated)
    written = []
    for file_format in request.table_formats:
        path = build / file_format / f"{mart.name}.{SUFFIXES[file_format]}"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        rows = WRITERS[file_format](connection, selection, export_columns, path, built_at)
        written.append(ExportedFile.of(build, path, mart.name, file_format, rows))
    return written


def _unused_folder(folder: Path) -> Path:
    """Return an unused folder name, numbered if another export of the same second has the name."""
    number, free = 1, folder
    while free.exists() or files.temporary_path(free).exists():
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free


def _remove_stale_builds(settings: Settings, now: datetime) -> None:
    """Remove temporary folders of exports that were killed."""
    for folder in matching_paths(settings.exports, ".*.tmp"):
        if folder.stat().st_mtime < (now - _STALE_AFTER).timestamp():
            shutil.rmtree(folder)


def _to_manifest(result: Export) -> dict[str, Any]:
    request = asdict(result.request)
    days = {name: request[name] and request[name].isoformat() for name in ("first", "last")}
    return {
        "made_at": result.made_at.isoformat(),
        "software": software_version(),
        "simulated": result.simulated,
        "request": request | days,
        "files": [asdict(file) for file in result.files],
        "skipped": dict(result.skipped),
        "removals": [asdict(one) | {"at": one.at.isoformat()} for one in result.removals],
    }


def _from_manifest(path: Path) -> Export:
    """Return the export of a manifest.

    Raise ExportError if the manifest cannot be read, because a removal of data would miss a skipped export.
    """
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        request = manifest["request"]
        days = {name: parse_day(request[name]) for name in ("first", "last")}
        lists = {name: tuple(request[name]) for name in ("studies", "marts", "formats")}
        return Export(
            folder=path.parent,
            made_at=datetime.fromisoformat(manifest["made_at"]),
            request=ExportRequest(**(request | lists | days)),
            files=tuple(ExportedFile(**file) for file in manifest["files"]),
            skipped=manifest["skipped"],
            simulated=manifest["simulated"],
            removals=tuple(
                RemovedRows(datetime.fromisoformat(one["at"]), one["rows"], tuple(one["cleaned"]), one["study"])
                for one in manifest["removals"]
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(
            f"{path} cannot be read as the manifest of an export ({error}), so the contents of its folder are unknown. "
            "Restore the file, or delete the whole folder."
        ) from error
