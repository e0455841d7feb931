"""The journal of pages: begin, append, resume, seal. The writing side of a capture.

The journal is the only checkpoint there is, so an event counts from the moment `append` returns and not before, and
whatever stops the process or fills the disk leaves a file that `resume` goes on with. What the events mean is the
collector's affair; finding and reading captures is that of `captures.py`.
"""

import fcntl
import hashlib
import io
import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import orjson
import zstandard

from research_assets.storage.files import fsync_folder, private_folder, publish_file, temporary_path, write_private

# JOINED: """Captures: what was received, as it was received. Finding and reading them; `journal.py` writes them.
#
# A capture is everything that one collection received, as it was received, with the requests that brought it and the
# verdicts drawn from it. While it is open it is a `.jsonl` file of events, one JSON object per line, and it is the only
# checkpoint there is; sealed it is `.jsonl.zst` with a manifest, whose appearance is the publication. What the events
# mean is the collector's affair, what becomes of the rows that of `tables.py`.
#
# Layout: `captures/<entity>/study=<study>/<day, or first..last>/<capture id>.jsonl`, later `.jsonl.zst` and `.json`.
# A line: `{"event": ..., ..., "answer": <the body as it came>}`; `answer`, where there is one, is the last member.
# """


JOURNAL_FORMAT = 1
ZSTD_LEVEL = 3
_MAX_UNKNOWN_FIELDS = 1000
_PRETTY = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
CHUNK = 1 << 20
_RESTORE_ADVICE = "Nothing was changed. Restore the file from a copy, or move it away and collect again."


class CaptureError(Exception):
    """Something about a capture; the message says what was attempted, what happened and what to do."""


class DamagedCapture(CaptureError):
    """A capture holds what cannot be read. `line` counts from 1; 0 means the file as a whole."""

    def __init__(self, path: Path, line: int, why: str, advice: str) -> None:
        super().__init__(f"The capture {path} cannot be read{f' at line {line}' if line else ''}: {why}. {advice}")
        self.path, self.line = path, line


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a sealed capture holds. Moments are ISO 8601 in UTC, sizes are bytes.

    `requests` counts pages and failed attempts. `unknown` names fields of the answers that the registry does not
    know. `longest` is the longest line, `plain_size` the size before compression, `nul` whether any answer holds an
    escaped NUL character: what a reader needs to choose its way. `path` is the sealed file; it is not in the JSON.
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
        """The manifest beside a sealed file. Raises DamagedCapture if it is missing or cannot be understood."""
        path = manifest_path(sealed)
        try:
            held = orjson.loads(path.read_bytes())
            values: dict[str, Any] = {field.name: held[field.name] for field in fields(cls) if field.name != "path"}
            return cls(path=sealed, **values | {"unknown": tuple(values["unknown"])})
        except FileNotFoundError as error:
            raise DamagedCapture(
                path, 0, "the manifest is missing", "Without it the capture was never published; collect again."
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedCapture(path, 0, f"the manifest is not understood ({error!r})", _RESTORE_ADVICE) from error

    def verify(self) -> None:
        """Raise DamagedCapture unless the sealed file is, byte for byte, the one that was published."""
        try:
            with self.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError as error:
            raise DamagedCapture(self.path, 0, "the file is missing", _RESTORE_ADVICE) from error
        if digest != self.sha256:
            raise DamagedCapture(self.path, 0, "its content is not what was published", _RESTORE_ADVICE)


@dataclass(slots=True)
class CaptureTotals:
    """Running totals of a journal, so that sealing needs no second look at the pages."""

    size: int = 0
    pages: int = 0
    rows: int = 0
    requests: int = 0
    units: int = 0
    longest: int = 0
    nul: bool = False
    first_at: str | None = None
    last_at: str | None = None

    def add(self, event: Mapping[str, Any], line: bytes) -> None:
        """Count an event that has become durable as this line."""
        self.size += len(line)
        self.longest = max(self.longest, len(line))
        kind = event["event"]
        if kind == "page":
            self.pages += 1
            self.requests += 1
            self.rows += event.get("rows") or 0
            self.nul = self.nul or b"\\u0000" in line
            if moment := event.get("observed_at"):
                text = moment.isoformat() if isinstance(moment, datetime) else str(moment)
                self.first_at = min(self.first_at or text, text)
                self.last_at = max(self.last_at or text, text)
        elif kind == "fail":
            self.requests += 1
        elif kind == "unit":
            self.units += 1


def list_open_journals(captures: Path, entity: str, study: str) -> list[Path]:
    """Open journals of a study's entity, oldest first.

    What a crash left over is removed on the way: the open form of a capture that was published, and a journal
    without even a first line.
    """
    found = []
    for path in sorted((captures / entity / f"study={study}").glob("*/*.jsonl"), key=lambda p: p.name):
        if path.name.startswith("."):
            continue
        with path.open("rb") as file:
            holds_nothing = not file.readline().endswith(b"\n")
        if holds_nothing or manifest_path(sealed_path(path)).exists():
            path.unlink(missing_ok=True)
        else:
            found.append(path)
    return found


def list_sealed(captures: Path, *, entity: str | None = None, study: str | None = None) -> Iterator[Manifest]:
    """Manifests of the published captures, by entity, study and age."""
    paths = captures.glob(f"{entity or '*'}/study={study or '*'}/*/[!.]*.json")
    for path in sorted(paths, key=lambda p: (*p.parts[-4:-2], p.name)):
        yield Manifest.load(path.with_suffix(".jsonl.zst"))


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a capture in either form, in order, one line in memory at a time.

    A torn last line of an open journal is left out. Raises DamagedCapture for any other line that cannot be read.
    """
    with path.open("rb", buffering=CHUNK) as file:
        if path.suffix != ".zst":
            for event, _ in complete_lines(path, file, torn_end=True):
                yield event
            return
        try:
            yield from _unpacked(path, file)
        except zstandard.ZstdError as error:
            raise DamagedCapture(path, 0, f"its compressed form is broken ({error})", _RESTORE_ADVICE) from error


def _unpacked(path: Path, file: BinaryIO) -> Iterator[dict[str, Any]]:
    promised = zstandard.frame_content_size(file.read(18))
    file.seek(0)
    found = 0
    with zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False) as reader:
        for event, line in complete_lines(path, io.BufferedReader(reader, CHUNK), torn_end=False):
            found += len(line)
            yield event
    # A file that ends within a frame is no error to the decompressor.
    if promised not in (-1, found):
        raise DamagedCapture(path, 0, f"it ends after {found} of {promised} bytes", _RESTORE_ADVICE)


def complete_lines(path: Path, file: BinaryIO, *, torn_end: bool) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Events with their lines. With `torn_end` a last line that is cut or unreadable ends the file quietly."""
    number = 0
    line = file.readline()
    while line:
        number += 1
        following = file.readline()
        try:
            if not line.endswith(b"\n"):
                raise ValueError("the line is cut off")
            event = orjson.loads(line)
            if not isinstance(event, dict) or "event" not in event:
                raise ValueError("the line is no event")
        except ValueError as error:
            if torn_end and not following:
                return
            raise DamagedCapture(path, number, str(error), _RESTORE_ADVICE) from error
        yield event, line
        line = following


def sealed_path(journal: Path) -> Path:
    """Where an open journal's sealed form will be."""
    return journal.with_name(f"{journal.name}.zst")


def manifest_path(sealed: Path) -> Path:
    """Where a sealed capture's manifest is."""
    return sealed.with_name(sealed.name.removesuffix(".jsonl.zst") + ".json")


class JournalBusy(CaptureError):
    """Another process, or another part of this one, has the journal open."""


class JournalWriteError(CaptureError):
    """An event could not be made durable: the journal is as it was before, and the event is not in it."""


class Journal:
    """An open capture. One writer at a time, held by a lock on the file; safe to call from threads."""

    def __init__(self, path: Path, handle: int, start: dict[str, Any]) -> None:
        """Used by `create` and `resume`."""
        self.path = path
        self.capture: str = start["capture"]
        self.start = start
        self._handle = handle
        self._totals = CaptureTotals()
        self._unknown: set[str] = set()
        self._guard = threading.RLock()

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
        """Begin a capture of the days `first` to `last`. `header` is what the collector wants to find again.

        The journal appears under its name with its first line already durable. Raises NotWritten if it cannot be.
        """
        capture = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
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
            "software": _software_version(),
            "header": dict(header),
        }
        try:
            private_folder(path.parent)
            handle = os.open(temporary_path(path), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        except OSError as error:
            raise _write_error(path, error, "begin") from error
        journal = cls(path, handle, start)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            journal._write(start, _line(start))
            temporary_path(path).rename(path)
            fsync_folder(path.parent)
        except BaseException:
            journal.close()
            temporary_path(path).unlink(missing_ok=True)
            raise
        return journal

    @classmethod
    def resume(cls, path: Path) -> Self:
        """Open an unfinished capture to go on with it; a torn last line is cut off, every line before it counts.

        Raises JournalBusy if somebody has it open, DamagedCapture if a line that is not the last cannot be read.
        """
        handle = os.open(path, os.O_RDWR | os.O_APPEND)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise JournalBusy(
                    f"The journal {path} is open in another process, so it was left alone. "
                    "Wait until that collection has ended."
                ) from error
            if not path.exists() or path.stat().st_ino != os.fstat(handle).st_ino:
                raise JournalBusy(f"The journal {path} was sealed by another process meanwhile. Look again.")
            start: dict[str, Any] | None = None
            totals, unknown = CaptureTotals(), set[str]()
            with path.open("rb", buffering=CHUNK) as file:
                for event, line in complete_lines(path, file, torn_end=True):
                    start = start or event
                    totals.add(event, line)
                    unknown.update(event.get("unknown") or ())
            if start is None or start.get("event") != "start":
                raise DamagedCapture(
                    path, 1, "it does not begin with a start event", "It holds no page that counts; move it away."
                )
            if os.fstat(handle).st_size != totals.size:
                os.ftruncate(handle, totals.size)
                os.fsync(handle)
            journal = cls(path, handle, start)
            journal._totals, journal._unknown = totals, unknown
            return journal
        except BaseException:
            os.close(handle)
            raise

    @property
    def pages(self) -> int:
        """Pages held so far."""
        return self._totals.pages

    def events(self) -> Iterator[dict[str, Any]]:
        """Everything held so far, in order, the start event first. One line in memory at a time."""
        with self.path.open("rb", buffering=CHUNK) as file:
            yield from (event for event, _ in complete_lines(self.path, file, torn_end=True))

    def append(self, event: str, fields: Mapping[str, Any], answer: bytes | None = None) -> None:
        """Write one event; it is durable when this returns.

        `answer` is the answer's body: for a `page` it must be valid JSON and is not parsed again; with any other
        event it may be anything and is kept as a JSON string if it is not JSON. A `page` without `seq` gets the
        next one. Raises NotWritten (disk full, say): the journal then ends with the event before.
        """
        record = {"event": event, **fields}
        if "answer" in fields or record["event"] != event:
            raise ValueError("`event` and `answer` are no fields: hand them over as arguments")
        with self._guard:
            if event == "page":
                record.setdefault("seq", self._totals.pages)
            elif answer is not None:
                answer = _as_json(answer)
            self._write(record, _line(record, answer))
            self._unknown.update(record.get("unknown") or ())

    def _write(self, record: Mapping[str, Any], line: bytes) -> None:
        if self._handle < 0:
            raise JournalWriteError(f"The journal {self.path} is closed, so the event was not kept. Resume it first.")
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._handle, rest) :]
            os.fdatasync(self._handle)
        except BaseException as error:
            # After a failed flush the kernel may have dropped what it held: nothing past the last good line is trusted.
            self._truncate()
            if isinstance(error, OSError):
                raise _write_error(self.path, error, "append to") from error
            raise
        self._totals.add(record, line)

    def _truncate(self) -> None:
        try:
            os.ftruncate(self._handle, self._totals.size)
            os.fdatasync(self._handle)
        except OSError:
            # The half line stays for `resume` to drop; going on behind it would damage the journal.
            self.close()

    def seal(self) -> Path:
        """Compress the journal, publish it with its manifest, and remove the open form; returns the sealed file.

        A crash at any point leaves either an open journal or a sealed capture; sealing again completes it.
        """
        sealed = sealed_path(self.path)
        with self._guard:
            if self._handle < 0 and manifest_path(sealed).exists():
                return sealed
            if self._handle < 0:
                raise JournalWriteError(f"The journal {self.path} is closed and not sealed. Resume it first.")
            try:
                sha256, size = self._compress(temporary_path(sealed))
                publish_file(temporary_path(sealed), sealed)
                write_private(manifest_path(sealed), orjson.dumps(self._manifest(sha256, size), option=_PRETTY))
            except OSError as error:
                raise _write_error(self.path, error, "seal") from error
            self.path.unlink(missing_ok=True)
            self.close()
        return sealed

    def _compress(self, target: Path) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True)
        with (
            self.path.open("rb", buffering=0) as source,
            os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file,
        ):
            for piece in compressor.read_to_iter(source, size=self._totals.size, read_size=CHUNK):
                digest.update(piece)
                size += len(piece)
                file.write(piece)
        return digest.hexdigest(), size

    def _manifest(self, sha256: str, size: int) -> dict[str, Any]:
        totals = asdict(self._totals)
        own = {key: self.start[key] for key in ("version", "capture", "entity", "study", "first", "last", "origin")}
        return {
            **own,
            "software": _software_version(),
            **{key: totals[key] for key in ("pages", "rows", "requests", "units", "first_at", "last_at", "nul")},
            "unknown": sorted(self._unknown)[:_MAX_UNKNOWN_FIELDS],
            "longest": self._totals.longest,
            "plain_size": self._totals.size,
            "size": size,
            "sha256": sha256,
        }

    def close(self) -> None:
        """Let go of the file without sealing; the journal can be resumed."""
        with self._guard:
            handle, self._handle = self._handle, -1
            if handle >= 0:
                os.close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _line(record: Mapping[str, Any], answer: bytes | None = None) -> bytes:
    head = orjson.dumps(record, default=_to_json_value)
    if answer is None:
        return head + b"\n"
    # Line breaks stand between the tokens of valid JSON; inside a string they are always escaped.
    answer = answer.replace(b"\n", b" ").replace(b"\r", b" ")
    return b"".join((head[:-1], b',"answer":', answer, b"}\n"))


def _to_json_value(value: object) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be kept in a journal")


def _as_json(answer: bytes) -> bytes:
    try:
        orjson.loads(answer)
    except ValueError:
        return orjson.dumps(answer.decode("utf-8", "replace"))
    return answer


def _write_error(path: Path, error: OSError, verb: str) -> JournalWriteError:
    return JournalWriteError(
        f"Could not {verb} the journal {path}: {error.strerror}. What was durable before still is. "
        "Make room (or mend the disk) and start the collection again: it goes on after the last page held."
    )


def _software_version() -> str:
    try:
        return version("research-assets")
    except PackageNotFoundError:
        return "unknown"
