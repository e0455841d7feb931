"""Rewriting of captures without some of their content: sealed ones with their manifest, and open journals.

A file from which nothing is removed is not touched, and the lines that stay keep every byte. A new file is written
beside the old one and renamed. A sealed capture has no manifest meanwhile: after a kill, reading it writes the manifest
of the file that is there. Not here: what is removed (see withheld.py and compliance/).
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import zstandard

from research_assets.storage.captures import (
    CHUNK,
    ZSTD_LEVEL,
    CaptureTotals,
    DamagedCapture,
    Manifest,
    complete_lines,
    locked_journal,
    manifest_path,
    publish_manifest,
    sealed_lines,
)
from research_assets.storage.checked_lines import add_checksum, is_intact
from research_assets.storage.files import fsync_folder, publish_file, temporary_path

CleanEvent = Callable[[Mapping[str, Any], bytes | None], tuple[Mapping[str, Any], bytes | None] | None]
"""A function of an event and its answer that returns both without some content, the same objects if nothing was
removed, and None if all of the event goes."""

_ANSWER = b',"answer":'


def changes_capture(path: Path, clean: CleanEvent) -> bool:
    """Return whether cleaning a capture or a journal would change it. Raises DamagedCapture if it cannot be read."""
    lines = _journal_lines(path) if path.suffix == ".jsonl" else _sealed_lines(path)
    return any(_clean_line(event, line, clean) is not line for event, line in lines)


def rewrite_sealed(sealed: Path, clean: CleanEvent) -> None:
    """Replace a sealed capture and its manifest. Raises DamagedCapture if it cannot be read; it is unchanged then."""
    start: dict[str, Any] | None = None
    totals, unknown, digest, size = CaptureTotals(), set[str](), hashlib.sha256(), 0
    draft = temporary_path(sealed)
    # The content size, which readers compare, is known only after a first pass.
    plain_size = sum(len(line) for line in _cleaned(_sealed_lines(sealed), clean))
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).compressobj(plain_size)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:

        def write(chunk: bytes) -> None:
            nonlocal size
            digest.update(chunk)
            size += file.write(chunk)

        for line in _cleaned(_sealed_lines(sealed), clean):
            event = orjson.loads(line)
            start = start or event
            totals.add(event, line)
            unknown.update(event.get("unknown") or ())
            write(compressor.compress(line))
        write(compressor.flush())
    assert start is not None
    manifest_path(sealed).unlink(missing_ok=True)
    publish_file(draft, sealed)
    publish_manifest(sealed, start, totals, unknown, digest.hexdigest(), size)


def rewrite_journal(journal: Path, clean: CleanEvent) -> None:
    """Replace an open journal; one that is damaged ends before the damage, from which a run would resume anyway.

    Raises JournalBusy if a process has it open.
    """
    with locked_journal(journal):
        draft = temporary_path(journal)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            try:
                for line in _cleaned(_journal_lines(journal), clean):
                    file.write(line)
            except DamagedCapture:
                pass
        publish_file(draft, journal)


def remove_sealed(sealed: Path) -> None:
    """Remove a sealed capture and its manifest."""
    manifest_path(sealed).unlink(missing_ok=True)
    sealed.unlink(missing_ok=True)
    fsync_folder(sealed.parent)


def _sealed_lines(sealed: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    Manifest.load(sealed).verify()
    with sealed.open("rb", buffering=CHUNK) as file:
        yield from sealed_lines(sealed, file)


def _journal_lines(journal: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    with journal.open("rb", buffering=CHUNK) as file:
        yield from complete_lines(journal, file, torn_end=True)


def _cleaned(lines: Iterable[tuple[dict[str, Any], bytes]], clean: CleanEvent) -> Iterator[bytes]:
    for event, line in lines:
        if (cleaned := _clean_line(event, line, clean)) is not None:
            yield cleaned


def _clean_line(event: dict[str, Any], line: bytes, clean: CleanEvent) -> bytes | None:
    """Return a line without what `clean` removes: the same object if nothing, None if all of it."""
    answer: bytes | None = None
    if "answer" in event:
        # The members before the answer contain no answer, and in strings quotes are escaped.
        del event["answer"]
        answer = line[line.index(_ANSWER) + len(_ANSWER) : line.rindex(b',"crc32":"')]
    cleaned = clean(event, answer)
    if cleaned is None:
        return None
    facts, new_answer = cleaned
    if facts is event and new_answer is answer:
        return line
    head = orjson.dumps(facts)
    if new_answer is None:
        return add_checksum(head)
    line = add_checksum(b"".join((head[:-1], _ANSWER, new_answer, b"}")))
    assert is_intact(line)
    return line
