"""Raw tables built anew from the captures, without a request.

For a lost or doubted `raw/`, and for rows that a newer registry types better. What was made without a capture (the
tables `wanted` and `requests`, the coverage of open journals) is left as it is.
"""

import shutil
from pathlib import Path

from research_assets.fields import ENTITIES
from research_assets.storage.captures import CaptureError, Manifest, list_sealed
from research_assets.storage.files import fsync_folder, private_folder
from research_assets.storage.parquet_io import temporary_folder
from research_assets.storage.raw_writer import WrittenCapture, ensure_tables, is_written, write_capture


def replay(captures: Path, raw: Path, study: str | None = None) -> list[WrittenCapture]:
    """Rebuild the raw tables of a study, or of all, beside the present ones, then swap them in table by table.

    Until the swap nothing is changed, so a damaged capture (DamagedCapture) leaves the tables as they were. Raises
    CaptureError if there is nothing to rebuild from. No collection should write meanwhile; what one seals during the
    rebuilding is written afterwards.
    """
    manifests = list(list_sealed(captures, study=study))
    if not manifests:
        raise CaptureError(
            f"There is no sealed capture{f' of {study}' if study else ''} below {captures}, so the raw tables were "
            "left as they are. Check that the data folder is the right one."
        )
    with temporary_folder(raw, "replay") as yard:
        fresh = private_folder(yard / "raw")
        written = [write_capture(fresh, manifest.path) for manifest in manifests]
        _copy_open_coverage(
            raw, fresh, {manifest.study for manifest in manifests}, {manifest.capture for manifest in manifests}
        )
        for name in sorted({manifest.study for manifest in manifests}):
            for table in (*ENTITIES, "coverage"):
                _swap(fresh / table / f"study={name}", raw / table / f"study={name}", yard / f"old.{table}.{name}")
    ensure_tables(raw)
    return written + [write_capture(raw, manifest.path) for manifest in _missing(captures, raw, study)]


def _missing(captures: Path, raw: Path, study: str | None) -> list[Manifest]:
    return [manifest for manifest in list_sealed(captures, study=study) if not is_written(raw, manifest)]


def _copy_open_coverage(raw: Path, fresh: Path, studies: set[str], captures: set[str]) -> None:
    """Carry over the coverage of journals that are still open: their files are named `<capture>-...`."""
    for path in (raw / "coverage").glob("study=*/day=*/*-*-*.parquet"):
        capture = "-".join(path.stem.split("-")[:2])
        if path.parts[-3].removeprefix("study=") in studies and capture not in captures:
            shutil.copy2(path, private_folder(fresh / path.relative_to(raw).parent) / path.name)


def _swap(fresh: Path, place: Path, old: Path) -> None:
    if place.exists():
        place.rename(old)
    if fresh.exists():
        private_folder(place.parent)
        fresh.rename(place)
        fsync_folder(place.parent)
