"""Atomic and durable writes of private files and folders, one writer at a time where two may create the same file.

Not here: the contents of the files (see captures.py, raw_writer.py).
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def fsync_folder(folder: Path) -> None:
    """Flush a folder; without it, a rename in the folder may be lost at a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def private_folder(folder: Path) -> Path:
    """Create a folder and its missing parents durably with mode 0700; returns the folder."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(mode=0o700, exist_ok=True)
        fsync_folder(new.parent)
    return missing[0] if missing else folder


def temporary_path(path: Path) -> Path:
    """Return the temporary path of a file, in the same folder; no `*.parquet` or `*.json` glob matches it."""
    return path.with_name(f".{path.name}.tmp")


def fsync_file(path: Path) -> None:
    """Flush the content of a file and set its mode to 0600."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fchmod(handle, 0o600)
        os.fsync(handle)
    finally:
        os.close(handle)


def publish_file(temporary: Path, path: Path) -> None:
    """Rename a complete temporary file to its final name durably: flush, rename, flush the folder."""
    fsync_file(temporary)
    temporary.replace(path)
    fsync_folder(path.parent)


def write_private(path: Path, content: bytes) -> None:
    """Write a small file atomically with mode 0600; replaces an existing file."""
    temporary = temporary_path(path)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    publish_file(temporary, path)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Admit one thread of all processes that creates or replaces a file of a folder; the others wait.

    A process that dies releases the lock.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def claim_abandoned(path: Path) -> Iterator[bool]:
    """Yield whether a file or folder exists that no process has locked; it is locked for the block.

    Its creator holds the lock while it uses it, so what is not locked was left by a process that was killed.
    """
    try:
        # A lock on a file needs write access on some network file systems.
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except FileNotFoundError:
        # Its owner has removed it since the folder was listed.
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(handle)
