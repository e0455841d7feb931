"""One collector per partition: locks that end with the process that holds them.

One file per study and entity, one byte of it per day, locked with `fcntl`. Nothing is stored in the files and nobody
removes them: a dead process leaves no lock, and a file deleted under its holder would be no lock at all.
"""

import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from research_assets.storage.files import private_folder


class PartitionBusy(Exception):
    """Somebody else is collecting this partition right now."""

    def __init__(self, study: str, entity: str, day: date, where: str) -> None:
        super().__init__(
            f"{study}/{entity} {day.isoformat()} is being collected by {where}. Nothing was asked and nothing changed. "
            "Wait until that has ended; what it collects need not be collected again."
        )
        self.study, self.entity, self.day = study, entity, day


@dataclass(slots=True)
class _LockFile:
    """A lock file that this process has open, and the days it holds there."""

    handle: int
    days: set[date] = field(default_factory=set)


_guard = threading.Lock()
_lock_files: dict[tuple[int, Path], _LockFile] = {}
"""By process id, because a forked child inherits this table but not the locks."""


@contextmanager
def lock_partitions(state: Path, study: str, entity: str, days: Sequence[date]) -> Iterator[None]:
    """Hold partitions of a study's entity while the block runs: all of them, or none and Busy at once.

    Holds against other processes on the same file system and against other threads of this one.
    """
    wanted = sorted(set(days))
    path = private_folder(state / "locks") / f"{study}.{entity}"
    with _guard:
        _acquire(path, study, entity, wanted)
    try:
        yield
    finally:
        with _guard:
            _release(path, wanted)


def _acquire(path: Path, study: str, entity: str, days: Sequence[date]) -> None:
    key = (os.getpid(), path)
    # One handle per file: closing any other handle of the same file would drop all of the process's locks on it.
    held = _lock_files.get(key) or _LockFile(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    _lock_files[key] = held
    taken: list[date] = []
    try:
        for day in days:
            if day in held.days:
                raise PartitionBusy(study, entity, day, "another run in this process")
            try:
                fcntl.lockf(held.handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, day.toordinal())
            except (BlockingIOError, PermissionError) as error:
                raise PartitionBusy(study, entity, day, "another process") from error
            held.days.add(day)
            taken.append(day)
    except BaseException:
        _release(path, taken)
        raise


def _release(path: Path, days: Sequence[date]) -> None:
    key = (os.getpid(), path)
    held = _lock_files.get(key)
    if held is None:  # a forked child leaves its parent's block: the locks are the parent's
        return
    for day in days:
        fcntl.lockf(held.handle, fcntl.LOCK_UN, 1, day.toordinal())
        held.days.discard(day)
    if not held.days:
        os.close(held.handle)
        del _lock_files[key]
