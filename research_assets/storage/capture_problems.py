"""Sealed captures whose pages are missing from the raw tables, or whose files do not match their manifest.

Not here: loading them (see raw_writer.py); units and open journals (see checks/study_health.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from research_assets.storage.captures import DamagedCapture, Manifest, capture_of, list_sealed_files, manifest_path
from research_assets.storage.listing import matching_paths

PUBLISH_GRACE = timedelta(minutes=10)
"""Time that a capture may take from its seal to its raw tables."""

ProblemKind = Literal["not loaded", "damaged file"]

ADVICE: dict[str, str] = {
    "not loaded": "Materialize a partition of the entity, or run `research-assets replay`; no request is needed.",
    "damaged file": "Restore the file from a backup; or move it away and materialize its partition with "
    "`recollect: true`.",
}
"""Advice by kind of problem."""


@dataclass(frozen=True, slots=True)
class CaptureProblem:
    """A capture with a problem: its sealed file, the time of the file (UTC), and the reason.

    `is_loaded` is whether the raw tables contain its rows.
    """

    kind: ProblemKind
    path: Path
    since: datetime
    reason: str
    is_loaded: bool


def find_capture_problems(captures: Path, raw: Path, study: str, now: datetime) -> Iterator[CaptureProblem]:
    """Yield the problems of the sealed captures of a study (`*`: of all studies), ordered by entity and time."""
    loaded = {path.stem for path in matching_paths(raw / "coverage", f"study={study}/day=*/*.parquet")}
    paths = {*list_sealed_files(captures, study=study), *matching_paths(captures, f"*/study={study}/*/[!.]*.jsonl.zst")}
    for path in sorted(paths, key=lambda path: (path.parts[-4], path.parts[-3], path.name)):
        since = modified_at(path) or modified_at(manifest_path(path))
        if since is None or (not manifest_path(path).exists() and path.with_suffix("").exists()):
            # Both files were removed, or sealing was interrupted: then the journal next to it is the valid one.
            continue
        is_loaded = capture_of(path) in loaded
        try:
            manifest = Manifest.load(path)
            if not path.exists() or path.stat().st_size != manifest.size or (manifest.units and not is_loaded):
                manifest.verify()
        except DamagedCapture as error:
            yield CaptureProblem("damaged file", path, since, error.reason, is_loaded)
            continue
        # A file of the future was written while the machine's clock was ahead.
        if manifest.units and not is_loaded and abs(now - since) > PUBLISH_GRACE:
            reason = f"{manifest.rows:,} {'row' if manifest.rows == 1 else 'rows'} not in the raw tables"
            yield CaptureProblem("not loaded", path, since, reason, is_loaded)


def modified_at(path: Path) -> datetime | None:
    """Return the time of the last change of a file (UTC); None if it no longer exists."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return None
