"""Captures: the responses of one collection as received, with the requests and the resulting attempts.

An open capture is a journal: a `.jsonl` file of events, one JSON object per line. The journal is the only checkpoint of
a collection. An event counts once `append` has returned; a crash or a full disk leaves a file that `resume` can open. A
sealed capture is a `.jsonl.zst` file with a manifest. It counts as published once the manifest exists.

Nothing is believed without its checksum: each line has its own (see checked_lines.py), the manifest has the SHA-256 of
the sealed file and a checksum of itself. A damaged manifest is rebuilt from its capture. Of a damaged journal the lines
before the damage are resumed, and a copy of the file is kept as `<journal>.line<number>.damaged`.

Layout: `captures/<entity>/study=<study>/<day>/<capture>.jsonl`, after sealing `<capture>.jsonl.zst` and
`<capture>.json`; `<day>` is `<first>..<last>` for several days. A line is
`{"event": ..., ..., "answer": <body>, "crc32": ...}`; an `answer` contains the body as received.

Not here: the meaning of the events (see collect/), typed rows (see raw_writer.py).
"""

import errno
import hashlib
import io
import logging
import os
import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import orjson
import zstandard

from research_assets.storage.checked_lines import add_checksum, is_intact, is_torn
from research_assets.storage.file_locks import FileLock, claim_abandoned, lock_file
from research_assets.storage.files import (
    fdatasync,
    fsync_file,
    fsync_folder,
    private_folder,
    publish_file,
    temporary_path,
    write_private,
)
from research_assets.storage.listing import matching_paths
from research_assets.storage.lock_errors import LocksLost, LockTaken

_LOGGER = logging.getLogger(__name__)

JOURNAL_FORMAT = 1
"""Version of the format of journals, stored in the start event."""

ZSTD_LEVEL = 3

CHUNK = 1 << 20
"""Buffer size in bytes for reading captures."""

_MAX_UNKNOWN_FIELDS = 1000
_MANIFEST_OPTIONS = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
DAMAGED_SUFFIX = ".damaged"
"""End of the name of a damaged file that was set aside. No reader opens it; it is reported until it is removed."""

_RESTORE_ADVICE = (
    "Nothing was changed. Restore the file from a backup; or move it away and materialize its partition with "
    "`recollect: true`."
)
_RESUME_ADVICE = (
    "Nothing was changed. The next collection of its partition resumes before this line and requests the rest again. "
    "To keep the rest, restore the file from a backup before that."
)


class CaptureError(Exception):
    """An operation on a capture failed; the message states the attempt, the cause and what to do."""


class DamagedCapture(CaptureError):
    """A capture cannot be read. `line` counts from 1; 0 refers to the whole file."""

    def __init__(self, path: Path, line: int, reason: str, advice: str) -> None:
        super().__init__(f"The capture {path} cannot be read{f' at line {line}' if line else ''}: {reason}. {advice}")
        self.path, self.line, self.reason = path, line, reason


@dataclass(frozen=True, slots=True)
class Manifest:
    """Contents of a sealed capture. Times are ISO 8601 in UTC; sizes are in bytes.

    `requests` counts pages and failed requests. `rejected` is the number of elements and values that cannot be used.
    `unknown` contains the names of fields that the registry does not define. `longest` is the length of the longest
    line, `plain_size` the size before compression, and `nul` is true if a response contains an escaped NUL character;
    the raw writer chooses its method by them. `path` is the sealed file; it is not part of the JSON.
    """

    path: Path
    capture: str
    entity: str
    study: str
    first: str
    last: str
    origin: str
    software: str
    version: int
    pages: int
    rows: int
    requests: int
    units: int
    rejected: int
    unknown: tuple[str, ...]
    first_at: str | None
    last_at: str | None
    nul: bool
    longest: int
    plain_size: int
    size: int
    sha256: str

    @classmethod
    def load(cls, sealed: Path) -> Self:
        """Read the manifest of a sealed file. A damaged manifest is rebuilt from an intact capture, with a warning.

        Raises DamagedCapture if the capture was never published, or if it and its manifest are damaged.
        """
        path = manifest_path(sealed)
        try:
            stored: dict[str, Any] = orjson.loads(path.read_bytes())
            if stored.pop("checksum") != _manifest_checksum(stored):
                raise ValueError("its checksum does not match")
            return cls._from_stored(sealed, stored)
        except FileNotFoundError as error:
            if not sealed.exists() or (sealed.with_suffix("")).exists():
                raise DamagedCapture(
                    path, 0, "the manifest is missing", "The capture was never published. Collect its partition again."
                ) from error
            # A journal is deleted after its manifest exists, so this manifest was lost later.
            reason = "is missing"
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"is damaged ({error})"
        stored = _rebuild_manifest(sealed)
        _LOGGER.warning("The manifest %s %s; it was rebuilt from its capture.", path, reason)
        return cls._from_stored(sealed, stored)

    @classmethod
    def _from_stored(cls, sealed: Path, stored: Mapping[str, Any]) -> Self:
        values: dict[str, Any] = {field.name: stored[field.name] for field in fields(cls) if field.name != "path"}
        return cls(path=sealed, **values | {"unknown": tuple(values["unknown"])})

    def verify(self) -> None:
        """Raise DamagedCapture unless the sealed file has the published SHA-256."""
        try:
            with self.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError as error:
            raise DamagedCapture(self.path, 0, "the file is missing", _RESTORE_ADVICE) from error
        if digest != self.sha256:
            raise DamagedCapture(
                self.path,
                0,
                f"its content has changed since it was published with {self.rows:,} rows in {self.pages:,} pages",
                _RESTORE_ADVICE,
            )


def list_open_journals(captures: Path, entity: str, study: str) -> list[Path]:
    """Return the open journals of an entity of a study, oldest first.

    Also removes leftovers of a crash: the journal of a published capture, a journal without a complete first line, and
    the draft of a journal. Sets a journal aside whose first line is damaged: without the line nothing is known about
    the others.
    """
    journals = []
    for path in sorted(matching_paths(captures / entity / f"study={study}", "*/*.jsonl*"), key=lambda p: p.name):
        if path.name.startswith("."):
            if path.name.endswith(".jsonl.tmp"):
                _remove_abandoned_draft(path)
            continue
        if path.suffix != ".jsonl":
            continue
        try:
            with path.open("rb") as file:
                first = file.readline()
        except FileNotFoundError:
            # Another collection has published it since the folder was listed.
            continue
        if is_torn(first) or manifest_path(sealed_path(path)).exists():
            path.unlink(missing_ok=True)
        elif not is_intact(first):
            _set_aside(path, 1, 0)
            path.unlink(missing_ok=True)
        else:
            journals.append(path)
    return journals


def _create_draft(journal: Path) -> tuple[int, FileLock]:
    """Create the draft of a new journal and lock the journal; returns the handle of the draft and the lock."""
    draft = temporary_path(journal)
    while True:
        handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            lock = lock_file(handle, journal, is_brief=False)
        except BaseException:
            os.close(handle)
            raise
        if draft.exists():
            return handle, lock
        # Another process has taken it for an abandoned one before it was locked.
        os.close(handle)
        lock.release()


def _open_locked(journal: Path) -> tuple[int, FileLock]:
    """Open a journal to append to it and lock it. Raises JournalBusy if a process has it open, or FileNotFoundError."""
    handle = os.open(journal, os.O_RDWR | os.O_APPEND)
    try:
        return handle, lock_file(handle, journal, wait=False)
    except BaseException as error:
        os.close(handle)
        if isinstance(error, LockTaken):
            raise JournalBusy(
                f"The journal {journal} is open elsewhere: it is locked by {error.holder}. Nothing was changed. "
                "Wait until that collection has ended."
            ) from error
        raise


@contextmanager
def locked_journal(journal: Path) -> Iterator[None]:
    """Lock an open journal for the block. Raises JournalBusy if a process has it open."""
    handle, lock = _open_locked(journal)
    try:
        yield
    finally:
        os.close(handle)
        lock.release()


def _remove_abandoned_draft(draft: Path) -> None:
    """Remove the draft of a journal unless a process creates that journal now."""
    with claim_abandoned(draft, draft.with_name(draft.name[1:].removesuffix(".tmp"))) as is_abandoned:
        if is_abandoned:
            draft.unlink(missing_ok=True)


def list_sealed(captures: Path, *, entity: str | None = None, study: str | None = None) -> Iterator[Manifest]:
    """Yield the manifests of the published captures in the order of `list_sealed_files`. Raises DamagedCapture."""
    for path in list_sealed_files(captures, entity=entity, study=study):
        yield Manifest.load(path)


def list_sealed_files(captures: Path, *, entity: str | None = None, study: str | None = None) -> list[Path]:
    """Return the sealed files of the published captures, ordered by entity, study and time of creation."""
    paths = matching_paths(captures, f"{entity or '*'}/study={study or '*'}/*/[!.]*.json")
    return [path.with_suffix(".jsonl.zst") for path in sorted(paths, key=lambda p: (*p.parts[-4:-2], p.name))]


def capture_time(at: datetime) -> str:
    """Return the beginning of the id of a capture that begins at a time: it orders captures by time."""
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def capture_of(path: Path) -> str:
    """Return the id of the capture of a journal or a sealed file."""
    return path.name.partition(".")[0]


def days_of(path: Path) -> tuple[date, date]:
    """Return the first and the last day of a journal or a sealed file, which the name of its folder contains."""
    first, _, last = path.parent.name.partition("..")
    return date.fromisoformat(first), date.fromisoformat(last or first)


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a journal or a sealed capture in order, with one line in memory at a time.

    Skips an incomplete last line of a journal. Raises DamagedCapture for any other line without its checksum.
    """
    with path.open("rb", buffering=CHUNK) as file:
        is_sealed = path.suffix == ".zst"
        lines = sealed_lines(path, file) if is_sealed else complete_lines(path, file, torn_end=True)
        yield from (event for event, _ in lines)


def sealed_lines(path: Path, file: BinaryIO) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield the events of a sealed capture with their lines. Raises DamagedCapture if it cannot be read."""
    try:
        yield from _read_frame(path, file)
    except zstandard.ZstdError as error:
        raise DamagedCapture(path, 0, f"it cannot be decompressed ({error})", _RESTORE_ADVICE) from error


def _read_frame(path: Path, file: BinaryIO) -> Iterator[tuple[dict[str, Any], bytes]]:
    expected_size = zstandard.frame_content_size(file.read(18))
    file.seek(0)
    size = 0
    with zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False) as reader:
        for event, line in complete_lines(path, io.BufferedReader(reader, CHUNK), torn_end=False):
            size += len(line)
            yield event, line
    # The decompressor raises no error for a file that ends within a frame.
    if expected_size not in (-1, size):
        raise DamagedCapture(path, 0, f"it ends after {size} of {expected_size} bytes", _RESTORE_ADVICE)


def complete_lines(path: Path, file: BinaryIO, *, torn_end: bool) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield events with their lines, each after its checksum matched.

    With `torn_end`, a last line that was not written completely is skipped. Raises DamagedCapture for any other line.
    """
    number = 0
    line = file.readline()
    while line:
        number += 1
        following = file.readline()
        if torn_end and not following and is_torn(line):
            return
        try:
            if not is_intact(line):
                raise ValueError("the line does not match its checksum")
            event = orjson.loads(line)
        except ValueError as error:
            advice = _RESUME_ADVICE if torn_end else _RESTORE_ADVICE
            raise DamagedCapture(path, number, str(error), advice) from error
        del event["crc32"]
        yield event, line
        line = following


def sealed_path(journal: Path) -> Path:
    """Return the path of the sealed form of a journal."""
    return journal.with_name(f"{journal.name}.zst")


def manifest_path(sealed: Path) -> Path:
    """Return the path of the manifest of a sealed capture."""
    return sealed.with_name(sealed.name.removesuffix(".jsonl.zst") + ".json")


def _manifest_checksum(stored: Mapping[str, Any]) -> str:
    """Return the checksum of the other members of a manifest."""
    return hashlib.sha256(orjson.dumps(stored, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _rebuild_manifest(sealed: Path) -> dict[str, Any]:
    """Write the manifest of a sealed capture again, and return its members.

    Each line has its checksum and the compressed file has one of the whole, so what can be read is what was sealed.
    Raises DamagedCapture otherwise.
    """
    start: dict[str, Any] | None = None
    totals, unknown = CaptureTotals(), set[str]()
    with sealed.open("rb", buffering=CHUNK) as compressed:
        for event, line in sealed_lines(sealed, compressed):
            start = start or event
            totals.add(event, line)
            unknown.update(event.get("unknown") or ())
    with sealed.open("rb") as file:
        sha256, size = hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size
    if start is None or start.get("capture") != sealed.name.removesuffix(".jsonl.zst"):
        raise DamagedCapture(sealed, 1, "it does not begin with the start event of this capture", _RESTORE_ADVICE)
    return publish_manifest(sealed, start, totals, unknown, sha256, size)


def publish_manifest(
    sealed: Path, start: Mapping[str, Any], totals: "CaptureTotals", unknown: set[str], sha256: str, size: int
) -> dict[str, Any]:
    """Publish the manifest of a sealed capture, and return its members."""
    counts = asdict(totals)
    start_keys = ("version", "capture", "entity", "study", "first", "last", "origin", "software")
    total_keys = ("pages", "rows", "requests", "units", "rejected", "first_at", "last_at", "nul", "longest")
    stored = {
        **{key: start[key] for key in start_keys},
        **{key: counts[key] for key in total_keys},
        "unknown": sorted(unknown)[:_MAX_UNKNOWN_FIELDS],
        "plain_size": totals.size,
        "size": size,
        "sha256": sha256,
    }
    content = orjson.dumps(stored | {"checksum": _manifest_checksum(stored)}, option=_MANIFEST_OPTIONS)
    write_private(manifest_path(sealed), content)
    return stored


def _set_aside(journal: Path, line: int, offset: int) -> None:
    """Keep a copy of a journal that is damaged at a line, which begins at `offset` bytes, and log what it costs."""
    copy = journal.with_name(f"{journal.name}.line{line}{DAMAGED_SUFFIX}")
    shutil.copyfile(journal, copy)
    fsync_file(copy)
    fsync_folder(copy.parent)
    damaged = pages = rows = 0
    with journal.open("rb", buffering=CHUNK) as file:
        file.seek(offset)
        for text in file:
            if not is_intact(text):
                damaged += 1
            elif (event := orjson.loads(text))["event"] == "page":
                pages, rows = pages + 1, rows + (event.get("rows") or 0)
    _LOGGER.warning(
        "The journal %s is damaged at line %s. The collection resumes before this line. It requests again what the "
        "damaged lines (%s) and the intact pages after them (%s with %s rows) contain. A copy of the damaged file is "
        "%s. To use a backup of the journal instead, stop this run and put the backup in its place.",
        *(journal, line, damaged, pages, rows, copy),
    )


class JournalBusy(CaptureError):
    """Another process or another thread has the journal open."""


class JournalWriteError(CaptureError):
    """An event or a file could not be written durably; the journal keeps all earlier events."""


@dataclass(slots=True)
class CaptureTotals:
    """Running totals of a journal, so that sealing does not read the pages again."""

    size: int = 0
    pages: int = 0
    rows: int = 0
    requests: int = 0
    units: int = 0
    rejected: int = 0
    longest: int = 0
    nul: bool = False
    first_at: str | None = None
    last_at: str | None = None

    def add(self, event: Mapping[str, Any], line: bytes) -> None:
        """Count a durable event and its line."""
        self.size += len(line)
        self.longest = max(self.longest, len(line))
        kind = event["event"]
        if kind == "page":
            self.pages += 1
            self.requests += 1
            self.rows += event.get("rows") or 0
            self.rejected += len(event.get("rejected") or ())
            self.nul = self.nul or b"\\u0000" in line
            if observed_at := event.get("observed_at"):
                text = observed_at.isoformat() if isinstance(observed_at, datetime) else str(observed_at)
                self.first_at = min(self.first_at or text, text)
                self.last_at = max(self.last_at or text, text)
        elif kind == "fail":
            self.requests += 1
        elif kind == "unit":
            self.units += 1


class Journal:
    """An open capture. A lock on the file admits one writer at a time; the methods are thread-safe.

    A process may lose a lock in a database without noticing, for example while its machine stands still. Therefore
    every process that resumes such a journal continues in a copy of the file: what the process before it still writes
    goes to a file without a name, and damages nothing.
    """

    def __init__(self, path: Path, handle: int, lock: FileLock, start: dict[str, Any]) -> None:
        """Wrap an open and locked file; call `create` or `resume` instead."""
        self.path = path
        self._file_lock = lock
        self.capture: str = start["capture"]
        self.start = start
        self._handle = handle
        self._totals = CaptureTotals()
        self._unknown: set[str] = set()
        self._lock = threading.RLock()

    @classmethod
    def create(
        cls,
        captures: Path,
        *,
        entity: str,
        study: str,
        first: date,
        last: date,
        now: datetime,
        origin: str,
        header: Mapping[str, Any],
    ) -> Self:
        """Create a capture of the days `first` to `last`. `header` is data that the collector needs to resume.

        The file gets its final name only after its first line is durable. Raises JournalWriteError on failure.
        """
        capture = f"{capture_time(now)}-{secrets.token_hex(4)}"
        days = first.isoformat() if first == last else f"{first.isoformat()}..{last.isoformat()}"
        path = captures / entity / f"study={study}" / days / f"{capture}.jsonl"
        start = {
            "event": "start",
            "version": JOURNAL_FORMAT,
            "capture": capture,
            "entity": entity,
            "study": study,
            "first": first.isoformat(),
            "last": last.isoformat(),
            "origin": origin,
            "software": software_version(),
            "header": dict(header),
        }
        try:
            private_folder(path.parent)
            handle, lock = _create_draft(path)
        except OSError as error:
            raise _write_error(path, error, "create") from error
        journal = cls(path, handle, lock, start)
        try:
            journal._write(start, _event_line(start))
            temporary_path(path).rename(path)
            fsync_folder(path.parent)
        except BaseException:
            journal.close()
            temporary_path(path).unlink(missing_ok=True)
            raise
        return journal

    @classmethod
    def resume(cls, path: Path) -> Self:
        """Open a journal to append to it; an incomplete last line is removed, all earlier lines are kept.

        If a complete line is damaged, the journal resumes before it: the lines before it are a state that the
        collection had. A copy of the whole file is set aside and a warning says what is requested again. Raises
        JournalBusy if the journal is open elsewhere or was sealed since it was listed, DamagedCapture if it has no
        intact start event.
        """
        sealed_meanwhile = (
            f"Another process has sealed the journal {path} in the meantime. Nothing was changed. Try again."
        )
        try:
            handle, lock = _open_locked(path)
        except FileNotFoundError as error:
            raise JournalBusy(sealed_meanwhile) from error
        try:
            if not _is_file_of(path, handle):
                raise JournalBusy(sealed_meanwhile)
            start: dict[str, Any] | None = None
            totals, unknown = CaptureTotals(), set[str]()
            with path.open("rb", buffering=CHUNK) as file:
                try:
                    for event, line in complete_lines(path, file, torn_end=True):
                        start = start or event
                        totals.add(event, line)
                        unknown.update(event.get("unknown") or ())
                except DamagedCapture as error:
                    if start is None:
                        raise
                    _set_aside(path, error.line, totals.size)
            if start is None or start.get("event") != "start":
                raise DamagedCapture(
                    path, 1, "it does not begin with a start event", "It contains no usable page; move it away."
                )
            if lock.is_shared:
                new = _replace_by_copy(path, totals.size)
                os.close(handle)
                handle = new
            elif os.fstat(handle).st_size != totals.size:
                os.ftruncate(handle, totals.size)
                os.fsync(handle)
            journal = cls(path, handle, lock, start)
            journal._totals, journal._unknown = totals, unknown
            return journal
        except BaseException:
            os.close(handle)
            lock.release()
            raise

    @property
    def pages(self) -> int:
        """Return the number of pages in the journal."""
        return self._totals.pages

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield all events in order, beginning with the start event, with one line in memory at a time."""
        with self.path.open("rb", buffering=CHUNK) as file:
            yield from (event for event, _ in complete_lines(self.path, file, torn_end=True))

    def append(self, event: str, fields: Mapping[str, Any], answer: bytes | None = None) -> None:
        """Write one event durably.

        `answer` is the body of the response. For a `page` it must be valid JSON and is not parsed; for any other event
        a body that is not JSON is stored as a JSON string. A `page` without `seq` gets the next number. Raises
        JournalWriteError, for example if the disk is full; the journal then ends with the previous event.
        """
        record = {"event": event, **fields}
        if not fields.keys().isdisjoint(("answer", "crc32")) or record["event"] != event:
            raise ValueError("`event`, `answer` and `crc32` are not fields: pass the first two as arguments")
        with self._lock:
            if event == "page":
                record.setdefault("seq", self._totals.pages)
            elif answer is not None:
                answer = _as_json(answer)
            self._write(record, _event_line(record, answer))
            self._unknown.update(record.get("unknown") or ())

    def _write(self, record: Mapping[str, Any], line: bytes) -> None:
        if self._handle < 0:
            raise JournalWriteError(
                f"The journal {self.path} is closed, so the event was not written. Resume it first."
            )
        if self._file_lock.is_shared:
            self._require_own_file()
        try:
            remaining = memoryview(line)
            while remaining:
                remaining = remaining[os.write(self._handle, remaining) :]
            fdatasync(self._handle)
        except BaseException as error:
            # After a failed flush the kernel may have dropped unwritten data, so everything after the last durable line
            # is removed.
            self._truncate()
            if isinstance(error, OSError):
                raise _write_error(self.path, error, "append to") from error
            raise
        self._totals.add(record, line)

    def _require_lock(self) -> None:
        """Raise LocksLost if the lock is in a database and this process has lost it."""
        if self._file_lock.is_shared:
            self._file_lock.check()
            self._require_own_file()

    def _require_own_file(self) -> None:
        """Raise LocksLost if another process has replaced or sealed the file. Without a database none does."""
        draft = temporary_path(self.path)
        if not (_is_file_of(self.path, self._handle) or _is_file_of(draft, self._handle)):
            raise LocksLost(
                f"Another process has taken over the journal {self.path} because this one had lost its lock. The event "
                "was not written. No action is needed: the other process requests it again."
            )

    def _truncate(self) -> None:
        try:
            os.ftruncate(self._handle, self._totals.size)
            fdatasync(self._handle)
        except OSError:
            # `resume` will remove the incomplete line; appending after it would damage the journal.
            self.close()

    def seal(self) -> Path:
        """Compress the journal, publish it with its manifest, and delete the journal; returns the sealed file.

        A crash at any point leaves an open journal or a sealed capture; sealing again completes the operation. Raises
        JournalWriteError on failure, and LocksLost if its lock was lost.
        """
        sealed = sealed_path(self.path)
        with self._lock:
            if self._handle < 0 and manifest_path(sealed).exists():
                return sealed
            if self._handle < 0:
                raise JournalWriteError(f"The journal {self.path} is closed and not sealed. Resume it first.")
            self._require_lock()
            try:
                sha256, size = self._compress(temporary_path(sealed))
                self._require_lock()
                publish_file(temporary_path(sealed), sealed)
                start = self.start | {"software": software_version()}
                publish_manifest(sealed, start, self._totals, self._unknown, sha256, size)
            except OSError as error:
                raise _write_error(self.path, error, "seal") from error
            self.path.unlink(missing_ok=True)
            self.close()
        totals = self._totals
        _LOGGER.info("Sealed capture %s: %s pages, %s rows", self.capture, totals.pages, totals.rows)
        return sealed

    def _compress(self, target: Path) -> tuple[str, int]:
        """Compress the lines, each after its checksum matched; returns the SHA-256 and the size of the result."""
        digest, size = hashlib.sha256(), 0
        compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).compressobj(self._totals.size)
        with (
            self.path.open("rb", buffering=CHUNK) as source,
            os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file,
        ):
            for number, line in enumerate(source, 1):
                if not is_intact(line):
                    raise DamagedCapture(self.path, number, "the line does not match its checksum", _RESUME_ADVICE)
                chunk = compressor.compress(line)
                digest.update(chunk)
                size += file.write(chunk)
            chunk = compressor.flush()
            digest.update(chunk)
            size += file.write(chunk)
        return digest.hexdigest(), size

    def close(self) -> None:
        """Close the file without sealing; the journal can be resumed."""
        with self._lock:
            handle, self._handle = self._handle, -1
            if handle >= 0:
                os.close(handle)
                self._file_lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _is_file_of(path: Path, handle: int) -> bool:
    """Return whether an open file still has this path."""
    try:
        return path.stat().st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:
        return False


def _replace_by_copy(path: Path, size: int) -> int:
    """Replace a journal durably by a copy of its first bytes; returns the handle of the copy, to append to it."""
    draft = temporary_path(path)
    handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    try:
        with path.open("rb") as file:
            remaining = size
            while remaining:
                chunk = file.read(min(CHUNK, remaining))
                remaining -= os.write(handle, chunk)
                file.seek(size - remaining)
        publish_file(draft, path)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _event_line(record: Mapping[str, Any], answer: bytes | None = None) -> bytes:
    head = orjson.dumps(record, default=_to_json_value)
    if answer is None:
        return add_checksum(head)
    # In valid JSON, line breaks occur only between tokens; inside a string they are escaped.
    answer = answer.replace(b"\n", b" ").replace(b"\r", b" ")
    return add_checksum(b"".join((head[:-1], b',"answer":', answer, b"}")))


def _to_json_value(value: object) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be stored in a journal")


def _as_json(answer: bytes) -> bytes:
    try:
        orjson.loads(answer)
    except ValueError:
        return orjson.dumps(answer.decode("utf-8", "replace"))
    return answer


MIN_FREE_BYTES = 64 * 2**20
"""Free space on the disk in bytes without which no request is sent: some hundred pages."""

_WRITE_ADVICE = {
    errno.ENOSPC: "Free space on its disk",
    errno.EDQUOT: "Free space in your disk quota",
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f)",
    errno.EIO: "Check the disk, which reports an error",
    errno.EROFS: "Make the file system writable",
    errno.EACCES: "Make its folder writable",
}


def require_space(captures: Path) -> None:
    """Raise JournalWriteError if the disk has less than `MIN_FREE_BYTES` free, so that a response may be lost.

    A file system that does not report its size is not checked.
    """
    folder = next(one for one in (captures, *captures.parents) if one.exists())
    disk = os.statvfs(folder)
    if disk.f_blocks and disk.f_bavail * disk.f_frsize < MIN_FREE_BYTES:
        raise JournalWriteError(
            f"The disk of {folder} has {disk.f_bavail * disk.f_frsize // 2**20} MiB free, too little for the responses "
            f"of a run ({MIN_FREE_BYTES // 2**20} MiB). No request was sent. {_WRITE_ADVICE[errno.ENOSPC]}, and start "
            "the collection again: it resumes after the last stored page."
        )


def _write_error(path: Path, error: OSError, verb: str) -> JournalWriteError:
    advice = _WRITE_ADVICE.get(error.errno or 0, "Correct the cause")
    return JournalWriteError(
        f"Could not {verb} the journal {path}: {error.strerror}. All earlier events are kept. {advice}, and start the "
        "collection again: it resumes after the last stored page."
    )


@cache
def software_version() -> str:
    """Return the version of this package; `unknown` if it is not installed."""
    try:
        return version("research-assets")
    except PackageNotFoundError:
        return "unknown"
