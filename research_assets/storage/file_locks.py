"""Locks of files and folders: one writer at a time where two may create or replace the same file.

A lock is one of the system on the file (`flock`), or, in a data folder whose locks are in a database (RESEARCH_LEDGER),
a lock there with the path of the file as its name. The system's lock excludes processes of other machines only if the
file system passes it on, as NFS version 4 and SMB do; some file systems lock for each machine on its own, or not at
all. Nothing shows which. A process that dies releases its locks.

Not here: the locks of partitions (see locks.py), the database (see lock_database.py).
"""

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from research_assets.settings import FOLDER_ID, shared_folder
from research_assets.storage.lock_errors import LockTaken

if TYPE_CHECKING:
    from research_assets.storage.lock_database import LockDatabase

LOCK_FILE = ".lock"
"""Name of the empty file in a folder that `folder_lock` locks."""


@dataclass(frozen=True, slots=True)
class FileLock:
    """The lock of an open file. Close the file, then call `release`: either of them ends the lock."""

    database: "LockDatabase | None" = None
    name: str = ""

    @property
    def is_shared(self) -> bool:
        """Return whether processes on other machines are excluded by a database, not by the file system."""
        return self.database is not None

    def check(self) -> None:
        """Raise LocksLost if the lock is in a database and this process has lost it."""
        if self.database is not None:
            self.database.check()

    def release(self) -> None:
        """Release a lock in a database; that of the system ends when the file is closed."""
        if self.database is not None:
            self.database.unlock([self.name])


def lock_file(handle: int, path: Path, *, wait: bool = True, is_brief: bool = True) -> FileLock:
    """Lock a file that is open for writing against other processes and threads. `path` is the name of the lock.

    A lock that is kept for longer is not brief; nor is any for which no process waits. A database records its holder.
    Raises LockTaken at once if the lock is taken and `wait` is False, and LockError if the database cannot be used.
    """
    if (shared := find_database(path)) is not None:
        database, name = shared
        if wait:
            database.lock(name, is_recorded=not is_brief)
        else:
            database.try_lock([name])
        return FileLock(database, name)
    import portalocker  # takes a tenth of a second, and many commands lock nothing

    flags = portalocker.LockFlags.EXCLUSIVE
    try:
        portalocker.lock(handle, flags if wait else flags | portalocker.LockFlags.NON_BLOCKING)
    except portalocker.AlreadyLocked as error:
        raise LockTaken(str(path)) from error
    except portalocker.LockException as error:
        cause = error.__cause__ or error.__context__
        raise cause if isinstance(cause, OSError) else OSError(errno.ENOLCK, f"cannot be locked: {error}") from None
    return FileLock()


def find_database(path: Path) -> "tuple[LockDatabase, str] | None":
    """Return the database with the lock of a path and the name of the lock there; None if the file itself is locked."""
    if (shared := shared_folder(path)) is None:
        return None
    from research_assets.storage.lock_database import lock_database  # loads SQLAlchemy

    root, url = shared
    database = lock_database(url)
    return database, f"{database.folder_id(root / 'state' / FOLDER_ID)}/{path.relative_to(root).as_posix()}"


@contextmanager
def locked(handle: int, path: Path, *, wait: bool = True) -> Iterator[None]:
    """Lock an open file for the block, and close it at the end; see `lock_file`."""
    lock = FileLock()
    try:
        lock = lock_file(handle, path, wait=wait)
        yield
    finally:
        os.close(handle)
        lock.release()


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Admit one thread of all processes that creates or replaces a file of a folder; the others wait.

    The lock is on a file in the folder, because network file systems lock no folders. It stays there: deleting it would
    disable the lock of a process that waits.
    """
    with locked(open_lock(folder), folder / LOCK_FILE):
        yield


def open_lock(folder: Path) -> int:
    """Open the lock file of a folder, for `lock_file`; creates it if necessary."""
    return os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Lock a lock file for the block; creates the file, which stays. Raises LockTaken at once if it is taken."""
    with locked(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), path, wait=False):
        yield


@contextmanager
def claim_abandoned(path: Path, name: Path | None = None) -> Iterator[bool]:
    """Yield whether a file exists that no process has locked; it is locked for the block.

    Its creator holds the lock while it uses it, so what is not locked was left by a process that was killed. `name` is
    the path by which the creator locked it, if that is another one.
    """
    with ExitStack() as stack:
        try:
            # A lock needs write access on some network file systems.
            stack.enter_context(locked(os.open(path, os.O_RDWR), name or path, wait=False))
        except (FileNotFoundError, LockTaken):
            # Without the file, its owner has removed it since the folder was listed.
            yield False
            return
        yield True
