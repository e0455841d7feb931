"""Atomic and durable writes of private files and folders.

The file system may be one without hard links, permissions or flushing of folders (exFAT, network shares).
Not here: the contents of the files (see captures.py, raw_writer.py), locks (see file_locks.py, locks.py).
"""

import errno
import hashlib
import os
from pathlib import Path

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


def give_access_of_folder(path: Path) -> None:
    """Let the group and others read a new file or folder, and the group write it, as they may its folder.

    For files that people write together, such as study files: the process keeps new files private.
    """
    own, shared = path.stat(), path.parent.stat()
    access = shared.st_mode & (0o2075 if path.is_dir() else 0o064)
    if own.st_gid != shared.st_gid:
        access &= ~0o2070
    try:
        path.chmod(own.st_mode | access)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits; that of an empty file if there is none."""
    return hashlib.sha256(path.read_bytes() if path.exists() else b"").hexdigest()


def fdatasync(handle: int) -> None:
    """Flush the content of an open file. macOS has only `fsync`, which flushes its times as well."""
    getattr(os, "fdatasync", os.fsync)(handle)
