"""Verification of the stored files of a data folder: of all, or of a share each day.

Every file has a checksum that was written with it: the lines and manifests of captures, the digests of the raw tables,
the rows of the ledger, DuckDB's blocks. Files that follow from others are built again, all others are named with what
is lost and how to restore it. Sends no request. Not here: the checksums (see storage/ and quota/), the checks when a
file is read.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Literal

import duckdb

from research_assets.clock import SystemClock
from research_assets.planning.messages import pluralize
from research_assets.quota.ledger import Ledger, open_ledger
from research_assets.quota.ledger_database import LedgerError
from research_assets.settings import Settings
from research_assets.storage.captures import (
    DAMAGED_SUFFIX,
    CaptureError,
    DamagedCapture,
    Manifest,
    capture_of,
    manifest_path,
    read_events,
)
from research_assets.storage.listing import all_files, matching_paths
from research_assets.storage.raw_digests import (
    DIGEST_LOG,
    DamagedRawFile,
    find_damaged,
    forget_verified,
    recorded_files,
)
from research_assets.storage.raw_repair import rebuild, repair_files
from research_assets.storage.raw_sql import sql_identifier
from research_assets.storage.raw_writer import is_written
from research_assets.storage.withdrawals import WithdrawalError, log_path, read_withdrawn
from research_assets.warehouse.changes import forget_record
from research_assets.warehouse.reader import WarehouseReadError, connect_read_only

SHARE_DAYS = 30
"""Days in which the daily shares cover every file once."""


FindingKind = Literal["damaged", "not read", "rebuilt", "set aside"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A file that is not what was written. The message names it and says what was done, or what to do.

    `rebuilt`: it was built again. `set aside`: an earlier process did so, and the file is kept. `damaged`: it needs a
    person. `not read`: it could not be compared, for example without the right to read it.
    """

    kind: FindingKind
    message: str


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a verification: the number and size (bytes) of the files that were read, and the findings."""

    files: int
    size: int
    findings: tuple[Finding, ...]


def verify_files(settings: Settings, share_of: date | None = None) -> Verification:
    """Read the stored files and compare them with their checksums; damaged derived files are built again.

    With a day, only its share of the captures, the raw tables and the warehouse is read: the shares of `SHARE_DAYS`
    consecutive days together are all files. Open journals and the ledger, also one in a database, are read every time.
    """
    forget_verified()
    files = size = 0
    findings = [*_set_aside(settings)]
    for path, verify in _verifiers(settings):
        if share_of is None or _is_in_share(settings, path, share_of):
            try:
                size += path.stat().st_size
                findings += verify()
            except FileNotFoundError:
                # Another process published, sealed or removed it after it was listed.
                continue
            files += 1
    if settings.ledger_url:
        findings += _ledger(open_ledger(settings, SystemClock()))
    return Verification(files, size, tuple(findings))


def _is_in_share(settings: Settings, path: Path, day: date) -> bool:
    is_rewritten = path == settings.ledger or path.suffix == ".jsonl"
    position = zlib.crc32(str(path.relative_to(settings.root)).encode())
    return is_rewritten or position % SHARE_DAYS == day.toordinal() % SHARE_DAYS


def _verifiers(settings: Settings) -> Iterator[tuple[Path, Callable[[], Iterator[Finding]]]]:
    """Yield each stored file with the function that verifies it."""
    missing = _missing_raw_files(settings.raw)
    for path in sorted(matching_paths(settings.captures, "*/study=*/*/[!.]*")):
        if path.suffix == ".jsonl":
            yield path, partial(_journal, path)
        elif path.suffix == ".zst":
            yield path, partial(_capture, settings, path, missing.get(capture_of(path)))
        elif path.suffix == ".json":
            yield path, partial(_manifest, path)
    for path in sorted(matching_paths(settings.raw, "*/study=*/day=*/*.parquet")):
        yield path, partial(_raw_file, settings.raw, path)
    if settings.ledger.exists():
        yield settings.ledger, partial(_ledger, Ledger(settings.ledger, settings.caps, SystemClock()))
    if log_path(settings.state).exists():
        yield log_path(settings.state), partial(_withdrawals, settings)
    if settings.warehouse.exists():
        yield settings.warehouse, partial(_warehouse, settings)


def _set_aside(settings: Settings) -> Iterator[Finding]:
    for folder in (settings.captures, settings.raw, settings.state):
        for path in sorted(all_files(folder, f"*{DAMAGED_SUFFIX}")):
            yield Finding(
                "set aside",
                f"{path} is a damaged file that was set aside. Its content is collected or written again. Remove it "
                "when you do not need it.",
            )


def _missing_raw_files(raw: Path) -> dict[str, Path]:
    """Return a raw file that was published and is not there, by capture."""
    logs = matching_paths(raw, f"*/study=*/{DIGEST_LOG}")
    return {path.stem: path for log in logs for path in recorded_files(log.parent) if not path.exists()}


def _journal(path: Path) -> Iterator[Finding]:
    try:
        for _ in read_events(path):
            pass
    except DamagedCapture as error:
        yield Finding("damaged", str(error))


def _manifest(path: Path) -> Iterator[Finding]:
    sealed = path.with_suffix(".jsonl.zst")
    before = path.read_bytes()
    try:
        manifest = Manifest.load(sealed)
    except CaptureError as error:
        yield Finding("damaged", str(error))
        return
    if path.read_bytes() != before:
        yield Finding("rebuilt", f"The manifest {path} was damaged. It was built again from its capture.")
    if not sealed.exists():
        yield Finding(
            "damaged", f"The capture {sealed} with {_contents(manifest)} is missing. Restore it from a backup."
        )


def _capture(settings: Settings, sealed: Path, missing: Path | None) -> Iterator[Finding]:
    if sealed.with_suffix("").exists():
        # Sealing is in progress or was interrupted: the journal is the valid form.
        return
    had_manifest = manifest_path(sealed).exists()
    try:
        manifest = Manifest.load(sealed)
        if not had_manifest:
            yield Finding("rebuilt", f"The manifest of {sealed} was missing. It was built again from its capture.")
    except DamagedCapture as error:
        yield Finding("damaged", str(error))
        return
    try:
        manifest.verify()
        if missing is not None:
            yield Finding("rebuilt", f"{missing} was missing; {rebuild(settings.raw, sealed)}")
    except DamagedCapture:
        yield Finding("damaged", _damaged_capture(settings, sealed, manifest))


def _damaged_capture(settings: Settings, sealed: Path, manifest: Manifest) -> str:
    """Return what a damaged capture costs: it depends on whether its raw files are whole."""
    contents = f"The capture {sealed} with {_contents(manifest)} is not what was published. Nothing was changed."
    days = f"then {manifest.first} to {manifest.last} are collected again"
    if not is_written(settings.raw, manifest):
        return (
            f"{contents} The raw tables do not have its rows. Restore it from a backup; or move it and its manifest "
            f"away: {days}."
        )
    if damaged := find_damaged(matching_paths(settings.raw, f"*/study=*/day=*/{manifest.capture}.parquet")):
        return (
            f"{contents} Its rows are damaged in the raw tables too ({pluralize(len(damaged), 'file')}). Restore it "
            "from a backup, then run this command again. Without a backup move it, its manifest and all raw files of "
            f"this name away: {days}."
        )
    return (
        f"{contents} The raw tables and the marts have its rows, so nothing is collected again, and `research-assets "
        "replay` keeps them. Restore it from a backup."
    )


def _contents(manifest: Manifest) -> str:
    return f"{manifest.rows:,} rows and {manifest.units:,} attempts of {manifest.first} to {manifest.last}"


def _raw_file(raw: Path, path: Path) -> Iterator[Finding]:
    try:
        if find_damaged([path]):
            yield from (Finding("rebuilt", message) for message in repair_files(raw, [path]))
    except DamagedRawFile as error:
        yield Finding("damaged", str(error))


def _ledger(ledger: Ledger) -> Iterator[Finding]:
    try:
        if ledger.exists():
            ledger.verify()
    except LedgerError as error:
        yield Finding("damaged" if error.is_damage else "not read", str(error))
    finally:
        ledger.close()


def _withdrawals(settings: Settings) -> Iterator[Finding]:
    try:
        n_damaged = read_withdrawn(settings.state).n_damaged
    except WithdrawalError as error:
        yield Finding("damaged", str(error))
        return
    if n_damaged:
        yield Finding(
            "damaged",
            f"{pluralize(n_damaged, 'line')} of the log {log_path(settings.state)} cannot be read, so their items may "
            "be collected again. Restore it from a backup, or repeat the removals whose receipts are in "
            f"{settings.state / 'receipts'} and remove the damaged lines.",
        )


def _warehouse(settings: Settings) -> Iterator[Finding]:
    """Read every block of the warehouse: DuckDB compares the checksum of each."""
    try:
        with connect_read_only(settings.warehouse) as db:
            for schema, table in db.execute(
                "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'warehouse'"
            ).fetchall():
                db.execute(f"SELECT sum(hash(t)) FROM {sql_identifier(schema)}.{sql_identifier(table)} t").fetchall()
    except (duckdb.Error, WarehouseReadError) as error:
        forget_record(settings)
        yield Finding(
            "damaged",
            f"The warehouse {settings.warehouse} cannot be read: {str(error).splitlines()[0]} The next build writes "
            "all of it again from the raw tables. To build now, materialize the group `warehouse/marts`.",
        )
