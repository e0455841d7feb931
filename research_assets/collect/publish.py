"""From a journal to what others read: verdicts written, capture sealed, rows and coverage published.

The same steps for every entity, in an order that a crash may break anywhere: what is done twice replaces itself.
"""

import asyncio
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import cache
from pathlib import Path

from research_assets.storage import raw_writer
from research_assets.storage.captures import Journal, list_sealed
from research_assets.units.coverage import Attempt


@cache
def _writer(_process: int) -> ThreadPoolExecutor:
    """One thread for all, since each that ever wrote keeps memory; by process, since a fork takes no thread along."""
    return ThreadPoolExecutor(1, "publish")


async def publish_in_background(raw: Path, journal: Journal, attempts: Iterable[Attempt] = ()) -> None:
    """`publish`, while the loop goes on; captures that end together are written one after the other."""
    await asyncio.get_running_loop().run_in_executor(_writer(os.getpid()), publish_capture, raw, journal, attempts)


def publish_capture(raw: Path, journal: Journal, attempts: Iterable[Attempt] = ()) -> None:
    """End a capture: its verdicts, the seal, the raw tables; the notes of its pauses go."""
    for attempt in attempts:
        journal.append("unit", attempt.to_event())
    raw_writer.write_capture(raw, journal.seal())
    for note in _open_coverage_files(raw, str(journal.start["study"]), journal.capture):
        note.unlink(missing_ok=True)


def write_open_coverage(raw: Path, journal: Journal, attempts: Sequence[Attempt], now: datetime) -> None:
    """Make the units of a journal that stays open visible in raw/coverage: a gap is a row."""
    study = str(journal.start["study"])
    for note in _open_coverage_files(raw, study, journal.capture):
        note.unlink(missing_ok=True)
    rows = [attempt.to_event() for attempt in attempts]
    raw_writer.write_rows(raw, "coverage", study=study, day=now.date(), name=f"{journal.capture}-open", rows=rows)


def recover_unpublished(captures: Path, raw: Path, entity: str, study: str) -> None:
    """Do what a crash left undone: publish what was sealed only, and remove notes of journals that are sealed."""
    written = {path.stem: path for path in (raw / "coverage" / f"study={study}").glob("day=*/*.parquet")}
    for manifest in list_sealed(captures, entity=entity, study=study):
        if manifest.units and manifest.capture not in written:
            raw_writer.write_capture(raw, manifest.path)
        note = written.get(f"{manifest.capture}-open")
        if note is not None:
            note.unlink(missing_ok=True)


def _open_coverage_files(raw: Path, study: str, capture: str) -> Iterable[Path]:
    return (raw / "coverage" / f"study={study}").glob(f"day=*/{capture}-open.parquet")
