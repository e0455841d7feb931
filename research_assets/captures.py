"""Captures: what was received, as it was received. Finding and reading them; `journal.py` writes them.

A capture is everything that one collection received, as it was received, with the requests that brought it and the
verdicts drawn from it. While it is open it is a `.jsonl` file of events, one JSON object per line, and it is the only
checkpoint there is; sealed it is `.jsonl.zst` with a manifest, whose appearance is the publication. What the events
mean is the collector's affair, what becomes of the rows that of `tables.py`.

Layout: `captures/<entity>/study=<study>/<day, or first..last>/<capture id>.jsonl`, later `.jsonl.zst` and `.json`.
A line: `{"event": ..., ..., "answer": <the body as it came>}`; `answer`, where there is one, is the last member.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Self

import orjson
import zstandard

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
