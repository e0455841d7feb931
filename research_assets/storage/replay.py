"""Rebuilding the raw tables from the captures, without a request.

It restores a lost or damaged `raw/`, and applies a changed field registry to old captures. Data without a sealed
capture (the tables `expected_units` and `requests`, the coverage of open journals) is kept. Not here: writing one
capture (see raw_writer.py).
"""

import logging
import shutil
from pathlib import Path

from research_assets.fields import ENTITIES
from research_assets.storage.captures import CaptureError, Manifest, list_sealed
from research_assets.storage.files import fsync_folder, private_folder, temporary_path
from research_assets.storage.parquet_io import temporary_folder
from research_assets.storage.raw_digests import find_damaged, publish_raw_files
from research_assets.storage.raw_writer import WrittenCapture, ensure_tables, is_written, write_capture

_LOGGER = logging.getLogger(__name__)


def replay(captures: Path, raw: Path, study: str | None = None) -> list[WrittenCapture]:
    """Rebuild the raw tables of one study or of all studies in a temporary folder, then swap them table by table.

    Nothing is changed before the swap, so DamagedCapture leaves the tables unchanged. Raises CaptureError if there is
    no sealed capture. No collection should run at the same time; captures sealed during the replay are written at its
    end.
    """
    manifests = list(list_sealed(captures, study=study))
    if not manifests:
        raise CaptureError(
            f"No sealed capture{f' of {study}' if study else ''} found in {captures}. The raw tables were not changed. "
            "Check that this is the right data folder."
        )
    with temporary_folder(raw, "replay") as folder:
        fresh = private_folder(folder / "raw")
        written = [write_capture(fresh, manifest.path) for manifest in manifests]
        _copy_open_coverage(
            raw, fresh, {manifest.study for manifest in manifests}, {manifest.capture for manifest in manifests}
        )
        for name in sorted({manifest.study for manifest in manifests}):
            for table in (*ENTITIES, "rejected", "coverage"):
                _swap(fresh / table / f"study={name}", raw / table / f"study={name}", folder / f"old.{table}.{name}")
    ensure_tables(raw)
    return written + [write_capture(raw, manifest.path) for manifest in _missing(captures, raw, study)]


def _missing(captures: Path, raw: Path, study: str | None) -> list[Manifest]:
    return [manifest for manifest in list_sealed(captures, study=study) if not is_written(raw, manifest)]


def _copy_open_coverage(raw: Path, fresh: Path, studies: set[str], captures: set[str]) -> None:
    """Copy the coverage of journals that are still open, if it is intact; their files are named `<capture>-...`."""
    for path in (raw / "coverage").glob("study=*/day=*/*-*-*.parquet"):
        capture = "-".join(path.stem.split("-")[:2])
        if path.parts[-3].removeprefix("study=") in studies and capture not in captures:
            if find_damaged([path]):
                _LOGGER.warning("%s is damaged and was left out; the next run of its partition writes it again.", path)
                continue
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
