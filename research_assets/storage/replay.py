"""Rebuilding the raw tables from the captures, without a request.

It restores a lost or damaged `raw/`, and applies a changed field registry to old captures. Data without a sealed
capture (the tables `expected_units` and `requests`, the coverage of open journals) is kept. Not here: writing one
capture (see raw_writer.py).
"""

import logging
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from research_assets.fields import ENTITIES
from research_assets.storage.captures import CaptureError, DamagedCapture, capture_of, list_sealed_files
from research_assets.storage.files import fsync_folder, private_folder, temporary_path
from research_assets.storage.listing import matching_paths
from research_assets.storage.parquet_io import temporary_folder
from research_assets.storage.raw_digests import find_damaged, publish_raw_files
from research_assets.storage.raw_writer import WrittenCapture, ensure_tables, write_capture

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """The captures that were written, and the errors of those that could not be read."""

    written: Sequence[WrittenCapture]
    errors: Sequence[DamagedCapture]


def replay(captures: Path, raw: Path, study: str | None = None) -> ReplayResult:
    """Rebuild the raw tables of one study or of all studies in a temporary folder, then swap them table by table.

    A capture that cannot be read is in the result; the files that it has in the raw tables are kept. Nothing is changed
    before the swap, so any other error leaves the tables unchanged. Raises CaptureError if there is no sealed capture.
    No collection should run at the same time; captures sealed during the replay are written at its end.
    """
    sealed = require_sealed_files(captures, study)
    with temporary_folder(raw, "replay") as folder:
        fresh = private_folder(folder / "raw")
        written, errors = _write_all(fresh, sealed)
        studies = {path.parent.parent.name.removeprefix("study=") for path in sealed}
        _copy_open_coverage(raw, fresh, studies, {capture_of(path) for path in sealed})
        _copy_files_of(raw, fresh, {capture_of(error.path) for error in errors})
        for name in sorted(studies):
            for table in (*ENTITIES, "rejected", "coverage"):
                _swap(fresh / table / f"study={name}", raw / table / f"study={name}", folder / f"old.{table}.{name}")
    ensure_tables(raw)
    late = [path for path in list_sealed_files(captures, study=study) if path not in set(sealed)]
    more, late_errors = _write_all(raw, late)
    return ReplayResult(written + more, errors + late_errors)


def require_sealed_files(captures: Path, study: str | None) -> list[Path]:
    """Return the sealed captures of one study or of all studies. Raises CaptureError if there is none."""
    if not (sealed := list_sealed_files(captures, study=study)):
        raise CaptureError(
            f"No sealed capture{f' of {study}' if study else ''} found in {captures}. The raw tables were not changed. "
            "Check that this is the right data folder."
        )
    return sealed


def _write_all(raw: Path, sealed: Iterable[Path]) -> tuple[list[WrittenCapture], list[DamagedCapture]]:
    """Write captures; return the written ones, and the errors of the others."""
    written, errors = list[WrittenCapture](), list[DamagedCapture]()
    for path in sealed:
        try:
            written.append(write_capture(raw, path))
        except DamagedCapture as error:
            _LOGGER.warning("%s", error)
            errors.append(error)
    return written, errors


def _copy_files_of(raw: Path, fresh: Path, captures: set[str]) -> None:
    """Copy the intact files of captures from all raw tables."""
    for path in matching_paths(raw, "*/study=*/day=*/*.parquet"):
        if path.stem in captures:
            _copy(path, raw, fresh)


def _copy_open_coverage(raw: Path, fresh: Path, studies: set[str], captures: set[str]) -> None:
    """Copy the intact coverage of journals that are still open; their files are named `<capture>-...`."""
    for path in matching_paths(raw / "coverage", "study=*/day=*/*-*-*.parquet"):
        capture = "-".join(path.stem.split("-")[:2])
        if path.parts[-3].removeprefix("study=") in studies and capture not in captures:
            _copy(path, raw, fresh)


def _copy(path: Path, raw: Path, fresh: Path) -> None:
    if find_damaged([path]):
        _LOGGER.warning("%s does not have the content that was published and was left out.", path)
        return
    target = fresh / path.relative_to(raw)
    draft = temporary_path(private_folder(target.parent) / target.name)
    shutil.copy2(path, draft)
    publish_raw_files([(draft, target)])


def _swap(fresh: Path, target: Path, old: Path) -> None:
    if target.exists():
        target.rename(old)
    if fresh.exists():
        private_folder(target.parent)
        fresh.rename(target)
        fsync_folder(target.parent)
