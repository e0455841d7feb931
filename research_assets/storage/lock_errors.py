"""Errors of the locks of files and partitions, whether they are in files or in a database."""

import errno

OWN_RUN = "another run in this process"
"""Holder of a lock that this process has."""


class LockError(Exception):
    """The locks cannot be used, so nothing was changed."""


class LocksLost(LockError):
    """This process lost its locks while it worked, and could not take them again."""


class LockTaken(BlockingIOError):
    """Another process, or another run of this process, has a lock; `holder` names it if it is known."""

    def __init__(self, name: str, holder: str = "another process") -> None:
        super().__init__(errno.EAGAIN, f"locked by {holder}")
        self.name, self.holder = name, holder
