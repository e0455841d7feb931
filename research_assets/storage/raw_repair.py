"""Repair of the raw tables: each file that is not what was published is built again from its capture, with a warning.

Files without a sealed capture are set aside under a name that no reader opens, and reported until they are removed:
the coverage of an open journal, which the next run of its partition writes again, and the tables that the next build
writes again (`fields.WRITTEN_BY_BUILDS`). Not here: which files are damaged (see raw_digests.py), and the check of all
files of a data folder (see warehouse/verify_files.py).
"""

import logging
from collections.abc import Iterable
from pathlib import Path

from research_assets.fields import WRITTEN_BY_BUILDS
from research_assets.storage.captures import DAMAGED_SUFFIX, CaptureError
from research_assets.storage.listing import matching_paths
from research_assets.storage.raw_digests import DamagedRawFile, find_damaged
from research_assets.storage.raw_writer import PLACEHOLDER_STUDY, ensure_tables, write_capture

_LOGGER = logging.getLogger(__name__)


def captures_beside(raw: Path) -> Path:
    """Return the folder of the captures that the raw tables in `raw` were written from (see settings.py)."""
    return raw.parent / "captures"


def repair_files(raw: Path, paths: Iterable[Path]) -> list[str]:
    """Build the damaged files among `paths` again, and return a sentence about each.

    Raises DamagedRawFile if a file cannot be built again, because its capture is lost or damaged as well, or because
    the folder cannot be written to.
    """
    messages = []
    for path in find_damaged(paths):
        try:
            message = f"{path} does not have the content that was published; {_repair(raw, path)}"
        except (CaptureError, OSError) as error:
            raise DamagedRawFile(
                f"The raw file {path} does not have the content that was published, and it could not be built again: "
                f"{error} Until then nothing reads the file."
            ) from error
        _LOGGER.warning("%s", message)
        messages.append(message)
    return messages


def rebuild(raw: Path, sealed: Path) -> str:
    """Write the raw files of a sealed capture again, and return what was done. Raises DamagedCapture."""
    written = write_capture(raw, sealed)
    return f"it was built again from its capture {sealed} ({sum(written.rows.values()):,} rows)."


def _repair(raw: Path, path: Path) -> str:
    """Build a damaged file again or set it aside, and return what was done."""
    study = path.parents[1].name
    if study == f"study={PLACEHOLDER_STUDY}":
        path.unlink()
        ensure_tables(raw)
        return "it has no rows and was written again."
    for sealed in matching_paths(captures_beside(raw), f"*/{study}/*/{path.stem}.jsonl.zst"):
        done = rebuild(raw, sealed)
        if path.exists() and find_damaged([path]):
            path.unlink()
        return done
    table = path.parents[2].name
    if not (table in WRITTEN_BY_BUILDS or (table == "coverage" and path.stem.endswith("-open"))):
        raise CaptureError(
            f"Its capture is not in {captures_beside(raw)}. Restore the capture or the raw file from a backup; or move "
            "all raw files of this name away: then their days are collected again."
        )
    kept = path.with_name(path.name + DAMAGED_SUFFIX)
    path.rename(kept)
    return f"it has no sealed capture. It was set aside as {kept.name}; the next run or build writes it again."
