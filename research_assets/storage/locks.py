"""Locks that admit one collecting run per partition and end with the process that holds them.

A lock has a name: the study, the entity and the day. There are two implementations. Without a database there is one
lock file per study and entity; each day is one byte of it, locked with `fcntl`, because a file of its own for each day
would need one open file per day of a run. The files are empty and are never deleted: the lock of a dead process is
released by the system, and deleting a file would disable its locks. In a data folder whose locks are in a database
(RESEARCH_LEDGER), the locks are there and hold on all its machines (see lock_database.py).

Not here: locks of whole files and folders (see file_locks.py).
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from research_assets.settings import unknown_database
from research_assets.storage.file_locks import find_database, locked
from research_assets.storage.files import private_folder
from research_assets.storage.lock_errors import OWN_RUN, LockError, LockTaken

if TYPE_CHECKING:
    from research_assets.storage.lock_database import LockDatabase


class PartitionBusy(Exception):
    """Another run is collecting this partition."""

    def __init__(self, study: str, entity: str, day: date | None, holder: str) -> None:
        partition = f"{study}/{entity} {day}" if day else f"{study}/{entity}"
        super().__init__(
            f"{partition} is locked by {holder}. No request was sent and nothing was changed. "
            "Wait for that run to finish; its data is shared."
        )
        self.study, self.entity, self.day = study, entity, day


_CHECK_SECONDS = 20.0
"""Interval (seconds) at which the locks of a run are checked, whatever it does."""


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
    Raises LockError if the locks cannot be used.
    """
    distinct_days = sorted(set(days))
    path = private_folder(state / "locks") / f"{study}.{entity}"
    if (shared := find_database(path)) is not None:
        with _lock_in_database(*shared, study, entity, distinct_days):
            yield
        return
    require_file_locks(state)
    with _table_lock:
        _acquire(path, study, entity, distinct_days)
    try:
        yield
    finally:
        with _table_lock:
            _release(path, distinct_days)


@contextmanager
def lock_open_journals(state: Path, study: str, entity: str) -> Iterator[None]:
    """Admit one run at a time that looks through the open journals of an entity of a study; the others wait.

    The run opens journals of all days, and closes those that it does not resume. Raises LockError if the lock cannot be
    used.
    """
    path = private_folder(state / "locks") / f"{study}.{entity}.journals"
    with locked(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), path):
        yield


@contextmanager
def _lock_in_database(
    database: "LockDatabase", name: str, study: str, entity: str, days: Sequence[date]
) -> Iterator[None]:
    by_name = {f"{name}/{day}": day for day in days}
    removal = f"{name.rpartition('/')[0]}/{REMOVAL_LOCK}"
    try:
        database.try_lock([*by_name, removal], shared=[removal])
    except LockTaken as error:
        holder = f"a removal of withdrawn data ({error.holder})" if error.name == removal else error.holder
        day = by_name.get(error.name) or next(iter(days), None)
        raise PartitionBusy(study, entity, day, holder) from error
    try:
        yield
    finally:
        database.unlock([*by_name, removal])


def lock_check(state: Path) -> Callable[[], None] | None:
    """Return the function that raises LocksLost if this process lost its locks; None if they cannot be lost.

    Locks of files end with the process, so only those in a database can be lost.
    """
    shared = find_database(state / "locks")
    return None if shared is None else shared[0].check


@contextmanager
def lock_run(state: Path, run: str) -> Iterator[str]:
    """Show other machines during the block that a run is in progress; yield the identity of the data folder.

    The locks are checked regularly, so that a run that sends no request does not seem dead after a restart of the
    server. Without a database nothing is shown, and the identity is empty.
    """
    if (shared := find_database(_run_name(state, run))) is None:
        yield ""
        return
    database, name = shared
    has_ended = threading.Event()

    def check() -> None:
        while not has_ended.wait(_CHECK_SECONDS):
            # The run itself reports this error when it uses its locks.
            with suppress(LockError):
                database.check()

    database.lock(name, is_recorded=True)
    try:
        threading.Thread(target=check, name="locks", daemon=True).start()
        yield name.partition("/")[0]
    finally:
        has_ended.set()
        database.unlock([name])


def is_running(state: Path, folder: str, run: str) -> bool:
    """Return whether a run of a data folder is in progress, on any machine; True if that is unknown.

    `folder` is the identity that `lock_run` returned. Raises LockError if the database cannot be used.
    """
    if not folder or (shared := find_database(_run_name(state, run))) is None:
        return True
    database, name = shared
    return name.partition("/")[0] != folder or database.is_locked(name)


def _run_name(state: Path, run: str) -> Path:
    return state / "runs" / run


def require_file_locks(state: Path) -> None:
    """Raise LockError if the locks of a data folder are in a database that this process does not know."""
    if problem := unknown_database(state):
        raise LockError(problem)


def _acquire(path: Path, study: str, entity: str, days: Sequence[date]) -> None:
    key = (os.getpid(), path)
    # One handle per file: closing any other handle of the file would release all locks of the process on it.
    lock_file = _lock_files.get(key) or _LockFile(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    _lock_files[key] = lock_file
    acquired: list[date] = []
    try:
        for day in days:
            if day in lock_file.days:
                raise PartitionBusy(study, entity, day, OWN_RUN)
            try:
                _lock_byte(lock_file.handle, day.toordinal())
            except (BlockingIOError, PermissionError) as error:
                raise PartitionBusy(study, entity, day, "another process") from error
            lock_file.days.add(day)
            acquired.append(day)
        # After its own lock, so that a removal that begins now sees it.
        if _is_removing(path.parent):
            raise PartitionBusy(study, entity, next(iter(days), None), "a removal of withdrawn data")
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
    """Exclude every collecting run on this data folder during the block. Raises RunInProgress at once if one runs.

    Raises LockError if the locks cannot be used.
    """
    folder = private_folder(state / "locks")
    if (shared := find_database(folder)) is not None:
        with _exclude_in_database(*shared):
            yield
        return
    require_file_locks(state)
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


@contextmanager
def _exclude_in_database(database: "LockDatabase", name: str) -> Iterator[None]:
    removal = f"{name}/{REMOVAL_LOCK}"
    try:
        database.try_lock([removal])
    except LockTaken as error:
        holders = database.holders(f"{name}/")
        if removal in holders:
            raise RunInProgress(f"another removal ({holders[removal]})") from error
        if error.holder == OWN_RUN:
            raise RunInProgress("a run of this process") from error
        runs = [f"a run of {key.removeprefix(f'{name}/')} ({holder})" for key, holder in holders.items()]
        raise RunInProgress(runs[0] if runs else "a run") from error
    try:
        yield
    finally:
        database.unlock([removal])


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
