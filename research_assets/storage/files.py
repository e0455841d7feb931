"""Atomic and durable writes of private files and folders, one writer at a time where two may create the same file.

The file system may be one without hard links, permissions or flushing of folders (exFAT, network shares).
Not here: the contents of the files (see captures.py, raw_writer.py), the locks of partitions (see locks.py).
"""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_FILE = ".lock"
"""Name of the empty file in a folder that `folder_lock` locks."""

_NOT_SUPPORTED = (errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
"""Error numbers of a file system that does not have an operation."""


def fsync_folder(folder: Path) -> None:
    """Flush a folder; without it, a rename in the folder may be lost at a power failure.

    Some network file systems cannot flush a folder: the server decides when it is durable.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise
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
    """Flush the content of a file and set its mode to 0600, unless the file system has no permissions."""
    handle = os.open(path, os.O_RDWR)
    try:
        try:
            os.fchmod(handle, 0o600)
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise
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


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits; that of an empty file if there is none."""
    return hashlib.sha256(path.read_bytes() if path.exists() else b"").hexdigest()


def fdatasync(handle: int) -> None:
    """Flush the content of an open file. macOS has only `fsync`, which flushes its times as well."""
    getattr(os, "fdatasync", os.fsync)(handle)


def lock_file(handle: int, *, wait: bool = True) -> None:
    """Lock a file that is open for writing against other processes and threads, until it is closed.

    A process that dies releases the lock. Raises BlockingIOError at once if the lock is taken and `wait` is False.
    """
    import portalocker  # takes a tenth of a second, and many commands lock nothing

    flags = portalocker.LockFlags.EXCLUSIVE
    try:
        portalocker.lock(handle, flags if wait else flags | portalocker.LockFlags.NON_BLOCKING)
    except portalocker.AlreadyLocked as error:
        raise BlockingIOError(errno.EAGAIN, "locked by another process") from error
    except portalocker.LockException as error:
        cause = error.__cause__ or error.__context__
        raise cause if isinstance(cause, OSError) else OSError(errno.ENOLCK, f"cannot be locked: {error}") from None


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Admit one thread of all processes that creates or replaces a file of a folder; the others wait.

    The lock is on a file in the folder, because network file systems lock no folders. It stays there: deleting it would
    disable the lock of a process that waits. A process that dies releases the lock.
    """
    handle = open_lock(folder)
    try:
        lock_file(handle)
        yield
    finally:
        os.close(handle)


def open_lock(folder: Path) -> int:
    """Open the lock file of a folder, for `lock_file`; creates it if necessary."""
    return os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)


@contextmanager
def claim_abandoned(path: Path) -> Iterator[bool]:
    """Yield whether a file exists that no process has locked; it is locked for the block.

    Its creator holds the lock while it uses it, so what is not locked was left by a process that was killed.
    """
    try:
        # A lock needs write access on some network file systems.
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        # Its owner has removed it since the folder was listed.
        yield False
        return
    with _locked(handle) as is_locked:
        yield is_locked


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Yield whether a lock file was free; it is locked for the block. Creates the file, which stays."""
    with _locked(os.open(path, os.O_RDWR | os.O_CREAT, 0o600)) as is_locked:
        yield is_locked


@contextmanager
def _locked(handle: int) -> Iterator[bool]:
    """Yield whether an open file could be locked at once, and close it, which releases the lock."""
    try:
        lock_file(handle, wait=False)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(handle)
