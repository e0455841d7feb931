"""The library of `shim.c` in a process that has it preloaded: disk errors, kills at disk operations, a moved clock.

Not here: the processes that use it (see zygote.py).
"""

import ctypes
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")

KINDS = ("open", "write", "sync", "truncate", "rename", "unlink", "link", "mkdir", "chmod", "read")
"""Kinds of disk operations, in the order of `shim.c`. `open` opens for writing."""

CHANGES = KINDS[:-1]
"""The kinds that change the disk."""

KILL = 0
"""The action that ends the process by SIGKILL; every other action is an error number."""


def missing_compiler() -> str:
    """Return why the library cannot be built here; empty if it can."""
    return "" if shutil.which("cc") else "no C compiler (`cc`) on PATH (Debian: apt-get install gcc libc6-dev)"


def build(folder: Path) -> Path:
    """Compile the library into a folder and return its path."""
    library = folder / "shim.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run([*command, "-lpthread"], check=True)
    return library


@dataclass(frozen=True, slots=True)
class Fault:
    """The fault at the n-th operation, counted from 0, of some kinds below a folder.

    With `sticky`, all later operations of these kinds fail as well, as on a full disk.
    """

    root: Path
    at: int
    action: int = KILL
    sticky: bool = False
    kinds: tuple[str, ...] = CHANGES


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def arm(fault: Fault) -> None:
    """Let a fault happen in this process, and count its operations from now on."""
    mask = sum(1 << KINDS.index(kind) for kind in fault.kinds)
    root = str(fault.root.resolve()).encode()
    _library().torture_arm(root, ctypes.c_long(fault.at), fault.action, int(fault.sticky), mask)


def disarm() -> None:
    """Let no operation fail any more."""
    _library().torture_disarm()


def fired() -> str | None:
    """Return the kind of the operation at which the fault happened; None if it did not."""
    number = _library().torture_fired()
    return None if number < 0 else KINDS[number]


def counts() -> dict[str, int]:
    """Return the number of operations by kind since `arm`."""
    numbers = (ctypes.c_long * len(KINDS))()
    _library().torture_counts(numbers)
    return dict(zip(KINDS, numbers, strict=True))


def follow_clock(file: Path) -> None:
    """Add the nanoseconds in a file, which may change at any time, to the clock of the machine in this process."""
    if _library().torture_clock(str(file).encode()):
        raise OSError(f"The file {file} cannot be mapped.")
