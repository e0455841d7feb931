"""Locks that admit one collecting run per partition and end with the process that holds them.

There is one lock file per study and entity. Each day is one byte of it, locked with `fcntl`, because a file of its own
for each day would need one open file per day of a run. The files are empty and are never deleted: the lock of a dead
process is released by the system, and deleting a file would disable its locks.

Not here: locks of whole files and folders (see files.py).
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from research_assets.storage.files import private_folder


class PartitionBusy(Exception):
    """Another run is collecting this partition."""

    def __init__(self, study: str, entity: str, day: date, holder: str) -> None:
        super().__init__(
            f"{study}/{entity} {day.isoformat()} is locked by {holder}. No request was sent and nothing was changed. "
            "Wait for that run to finish; its data is shared."
        )
        self.study, self.entity, self.day = study, entity, day


@dataclass(slots=True)
class _LockFile:
    """A lock file that this process has open, and the days that it has locked."""

    handle: int
    days: set[date] = field(default_factory=set)


_table_lock = threading.Lock()
_lock_files: dict[tuple[int, Path], _LockFile] = {}
"""Open lock files by process id and path; a forked child inherits this table, but not the locks."""


@contextmanager
def lock_partitions(state: Path, study: str, entity: str, days: Sequence[date]) -> Iterator[None]:
    """Lock partitions of an entity of a study during the block. Raises PartitionBusy at once if one is locked.

    Locks all partitions or none. The locks exclude other processes on the same file system and other threads.
    """
    distinct_days = sorted(set(days))
    path = private_folder(state / "locks") / f"{study}.{entity}"
    with _table_lock:
        _acquire(path, study, entity, distinct_days)
    try:
        yield
    finally:
        with _table_lock:
            _release(path, distinct_days)


def _acquire(path: Path, study: str, entity: str, days: Sequence[date]) -> None:
    key = (os.getpid(), path)
    # One handle per file: closing any other handle of the file would release all locks of the process on it.
    lock_file = _lock_files.get(key) or _LockFile(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    _lock_files[key] = lock_file
    acquired: list[date] = []
    try:
        for day in days:
            if day in lock_file.days:
                raise PartitionBusy(study, entity, day, "another run in this process")
            try:
                _lock_byte(lock_file.handle, day.toordinal())
            except (BlockingIOError, PermissionError) as error:
                raise PartitionBusy(study, entity, day, "another process") from error
            lock_file.days.add(day)
            acquired.append(day)
        # After its own lock, so that a removal that begins now sees it.
        if _is_removing(path.parent):
            raise PartitionBusy(study, entity, days[0], "a removal of withdrawn data")
    except BaseException:
        _release(path, acquired)
        raise


REMOVAL_LOCK = ".removal"
"""Name of the file that a removal of withdrawn data locks, so that no run begins meanwhile."""


class RunInProgress(Exception):
    """A run collects data, so nothing can be removed."""

    def __init__(self, holder: str) -> None:
        super().__init__(
            f"Data cannot be removed while {holder} is in progress. Nothing was changed. Wait for it to end, or stop "
            "it, and run the command again."
        )


@contextmanager
def lock_all_partitions(state: Path) -> Iterator[None]:
    """Exclude every collecting run on this data folder during the block. Raises RunInProgress at once if one runs."""
    folder = private_folder(state / "locks")
    with ExitStack() as stack:
        with _table_lock:
            own = [key for key, file in _lock_files.items() if key[0] == os.getpid() and file.days]
        if any(path.parent == folder for _, path in own):
            raise RunInProgress("a run of this process")
        for path in [folder / REMOVAL_LOCK, *sorted(folder.iterdir())]:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            stack.callback(os.close, handle)
            try:
                _lock_whole(handle)
            except (BlockingIOError, PermissionError) as error:
                what = "another removal" if path.name == REMOVAL_LOCK else f"a run of {path.name}"
                raise RunInProgress(what) from error
        yield


def _is_removing(folder: Path) -> bool:
    """Return whether another process removes withdrawn data."""
    try:
        handle = os.open(folder / REMOVAL_LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        # A shared lock: runs that begin at the same time must not take each other for a removal.
        _lock_whole(handle, shared=True)
    except (BlockingIOError, PermissionError):
        return True
    finally:
        os.close(handle)
    return False


def _lock_whole(handle: int, *, shared: bool = False) -> None:
    import fcntl

    fcntl.lockf(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def _lock_byte(handle: int, position: int) -> None:
    import fcntl  # POSIX has it, Windows has not; commands that collect nothing run without it

    fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, position)


def _unlock_byte(handle: int, position: int) -> None:
    import fcntl

    fcntl.lockf(handle, fcntl.LOCK_UN, 1, position)


def _release(path: Path, days: Sequence[date]) -> None:
    key = (os.getpid(), path)
    lock_file = _lock_files.get(key)
    if lock_file is None:  # a forked child leaves the block of its parent; the locks belong to the parent
        return
    for day in days:
        _unlock_byte(lock_file.handle, day.toordinal())
        lock_file.days.discard(day)
    if not lock_file.days:
        os.close(lock_file.handle)
        del _lock_files[key]
