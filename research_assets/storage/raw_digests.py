"""The digests of the files of the raw tables: recorded when a file is published, compared when a file is read.

Each study of a raw table has an append-only log `raw/<table>/study=<study>/digests.jsonl`, one line with checksum per
publication: the path in the study's folder, the size in bytes and the SHA-256. A line is durable before its file is
published, so every file that readers see has one. A file that is published again has several; each of them is a
version that was written. Not here: what happens to a file that does not match (see raw_repair.py).
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from research_assets.storage.checked_lines import add_checksum, append_durably, is_intact
from research_assets.storage.files import private_folder, publish_file

DIGEST_LOG = "digests.jsonl"
"""Name of the log in the folder of a study."""


class DamagedRawFile(Exception):
    """A file of the raw tables does not have the content that was published, and cannot be built again.

    The message names the file, the cause and what to do.
    """


def publish_raw_files(files: Sequence[tuple[Path, Path]]) -> None:
    """Record the digests of complete temporary files, then rename each to its final path.

    All files belong to one study of one raw table, whose folders are created.
    """
    if not files:
        return
    for _, path in files:
        private_folder(path.parent)
    study = files[0][1].parents[1]
    append_durably(study / DIGEST_LOG, b"".join(_digest_line(temporary, path) for temporary, path in files))
    for temporary, path in files:
        publish_file(temporary, path)


def replace_raw_file(temporary: Path, path: Path) -> None:
    """Publish a complete temporary file in place of a raw file, whose earlier versions do not count as intact any more.

    After a kill between the record and the rename, the old file is damaged, so it is built again when it is read.
    """
    log = path.parents[1] / DIGEST_LOG
    append_durably(log, _removal_line(path) + _digest_line(temporary, path))
    publish_file(temporary, path)


def _digest_line(temporary: Path, path: Path) -> bytes:
    size, sha256 = _digest(temporary)
    return add_checksum(orjson.dumps({"file": str(path.relative_to(path.parents[1])), "size": size, "sha256": sha256}))


def _removal_line(path: Path) -> bytes:
    return add_checksum(orjson.dumps({"file": str(path.relative_to(path.parents[1])), "removed": True}))


def remove_raw_file(path: Path) -> None:
    """Remove a raw file for good: after that it is not missing."""
    path.unlink(missing_ok=True)
    append_durably(path.parents[1] / DIGEST_LOG, _removal_line(path))


def _digest(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(slots=True)
class _Log:
    """A log as it was last read: the digests of each file, and how far it was read in bytes."""

    size: int = 0
    digests: dict[str, set[tuple[int, str]]] = field(default_factory=dict)


_logs: dict[Path, _Log] = {}
_verified: dict[Path, tuple[int, ...]] = {}
"""Files whose content matched in this process, with a stamp that changes when a file is written."""


def forget_verified() -> None:
    """Make this process read all files and logs again."""
    _verified.clear()
    _logs.clear()


def find_damaged(paths: Iterable[Path]) -> list[Path]:
    """Return the raw files whose content was never published: it changed, or its line in the log did.

    A process reads a file once, and again after it was written or after `forget_verified`. Raises FileNotFoundError for
    a file that was removed.
    """
    damaged = []
    for path in paths:
        status = path.stat()
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if _verified.get(path) != stamp:
            # The log is read after the file, so it has the line of any version that was read.
            digest = _digest(path)
            if digest in recorded_digests(path) or digest in recorded_digests(path, again=True):
                _verified[path] = stamp
            else:
                damaged.append(path)
    return damaged


def recorded_digests(path: Path, *, again: bool = False) -> set[tuple[int, str]]:
    """Return the size and SHA-256 of each published version of a raw file; `again` reads the whole log again."""
    study = path.parents[1]
    return _read_log(study / DIGEST_LOG, again=again).digests.get(str(path.relative_to(study)), set())


def recorded_files(study: Path) -> list[Path]:
    """Return the paths of the files that were published in the folder of a study of a raw table, and not removed."""
    return [study / name for name in _read_log(study / DIGEST_LOG, again=True).digests]


def _read_log(path: Path, *, again: bool) -> _Log:
    """Return the content of a log, without `again` reading only the lines that were added since the last call.

    After `replay` replaced a log, its files match only with `again`.
    """
    log = _logs[path] = _Log() if again else _logs.get(path, _Log())
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return _logs.pop(path)
    with file:
        file.seek(log.size)
        for line in file:
            if not line.endswith(b"\n"):
                break
            log.size += len(line)
            # A damaged line loses its file, which is then built again.
            if is_intact(line):
                entry = orjson.loads(line)
                if entry.get("removed"):
                    log.digests.pop(entry["file"], None)
                else:
                    log.digests.setdefault(entry["file"], set()).add((entry["size"], entry["sha256"]))
    return log
