"""Publication of a journal: append its attempts, seal the capture, write rows and coverage.

The steps are the same for every entity. A crash between any two is safe: a repeated step replaces its own result.

Not here: the journal (see storage/captures.py); the Parquet files (see storage/raw_writer.py).
"""

import asyncio
import logging
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import cache
from pathlib import Path

from research_assets.storage import raw_writer
from research_assets.storage.captures import DamagedCapture, Journal, Manifest, capture_of, list_sealed_files
from research_assets.storage.files import temporary_path
from research_assets.storage.listing import matching_paths
from research_assets.units.coverage import Attempt

_LOGGER = logging.getLogger(__name__)


@cache
def _writer(_process: int) -> ThreadPoolExecutor:
    """Return the writer thread of a process.

    There is one thread, because each thread that wrote Parquet keeps memory, and one per process, because a fork does
    not copy threads.
    """
    return ThreadPoolExecutor(1, "publish")


async def publish_in_background(raw: Path, journal: Journal, attempts: Iterable[Attempt] = ()) -> None:
    """Run `publish_capture` without blocking the event loop; captures that end together are written in turn.

    A cancelled caller waits until the files are written: otherwise it would release the lock of the partition while
    they are, and the next run would publish the same capture at the same time.
    """
    writing = asyncio.get_running_loop().run_in_executor(_writer(os.getpid()), publish_capture, raw, journal, attempts)
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait([writing])
        raise


def publish_capture(raw: Path, journal: Journal, attempts: Iterable[Attempt] = ()) -> None:
    """Append the attempts to a journal, seal it, write the raw tables and delete the coverage of its pauses."""
    for attempt in attempts:
        journal.append("unit", attempt.to_event())
    raw_writer.write_capture(raw, journal.seal())
    for path in _open_coverage_files(raw, str(journal.start["study"]), journal.capture):
        path.unlink(missing_ok=True)


def write_open_coverage(raw: Path, journal: Journal, attempts: Sequence[Attempt], now: datetime) -> None:
    """Write the units of a journal that stays open to raw/coverage, so that a gap has a row."""
    study = str(journal.start["study"])
    for path in _open_coverage_files(raw, study, journal.capture):
        path.unlink(missing_ok=True)
    rows = [attempt.to_event() for attempt in attempts]
    raw_writer.write_rows(raw, "coverage", study=study, day=now.date(), name=f"{journal.capture}-open", rows=rows)


def recover_unpublished(captures: Path, raw: Path, entity: str, study: str) -> list[DamagedCapture]:
    """Publish captures that a crash left sealed but unwritten, and delete open coverage of sealed journals.

    Return the errors of the captures that cannot be written; each is logged, and all other captures are written.
    """
    written = {path.stem: path for path in matching_paths(raw / "coverage" / f"study={study}", "day=*/*.parquet")}
    errors = []
    for path in list_sealed_files(captures, entity=entity, study=study):
        capture = capture_of(path)
        try:
            if capture not in written and Manifest.load(path).units:
                raw_writer.write_capture(raw, path)
        except DamagedCapture as error:
            _LOGGER.error("%s", error)
            errors.append(error)
        open_coverage = written.get(f"{capture}-open")
        if open_coverage is not None:
            open_coverage.unlink(missing_ok=True)
    return errors


def _open_coverage_files(raw: Path, study: str, capture: str) -> Iterable[Path]:
    """Return the coverage of the pauses of a capture, and what a killed process left of writing it."""
    folder = raw / "coverage" / f"study={study}"
    name = Path(f"{capture}-open.parquet")
    return [path for one in (name, temporary_path(name)) for path in matching_paths(folder, f"day=*/{one}")]
