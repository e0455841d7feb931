"""The person and the machine that send the requests of a process, and hold its locks.

Not here: where both are stored (see quota/tables.py, lock_database.py).
"""

import os
import pwd
import socket
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True, order=True)
class SentBy:
    """The name of a user of the operating system, and of the host."""

    user: str
    host: str


@cache
def this_process() -> SentBy:
    """Return the user and the host of this process; a user without a name is `uid N`.

    The names are those of the operating system. A variable such as LOGNAME may be that of another person after `su`.
    """
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # In a container, for example.
        user = f"uid {os.getuid()}"
    return SentBy(user, socket.gethostname())
