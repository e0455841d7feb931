"""Lists of files and folders that are complete, or an error.

`Path.glob` and `Path.rglob` leave out a folder that cannot be listed (permissions, a failing disk, a network share), so
that files in it would seem not to exist: a removal would pass over them, and a stored day would be requested again.
"""

import fnmatch
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

RECOVERY_FOLDER = "lost+found"
"""Folder at the top of a disk, where root's check of the file system puts what it finds. Nobody else may list it."""


def matching_paths(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield the paths below a folder that match a pattern such as `study=*/*.json`, in no particular order.

    The wildcards are those of `Path.glob` without `**`. Yields nothing for a folder that does not exist. Raises
    OSError, which names the folder, if a folder on the way cannot be listed.
    """
    return map(Path, _matching(str(folder), pattern))


def _matching(folder: str, pattern: str) -> Iterator[str]:
    first, _, rest = pattern.partition("/")
    if not re.search(r"[*?[]", first):
        path = f"{folder}/{first}"
        if rest:
            yield from _matching(path, rest)
        elif Path(path).exists():
            yield path
        return
    matches = re.compile(fnmatch.translate(first)).match
    for entry in _entries(folder):
        if matches(entry.name):
            if not rest:
                yield entry.path
            elif entry.is_dir():
                yield from _matching(entry.path, rest)


def _no_link(_: Path) -> bool:
    return False


def all_paths(folder: Path, *, follows: Callable[[Path], bool] = _no_link) -> Iterator[Path]:
    """Yield all files and folders below a folder at any depth, in no particular order.

    A link to a folder is followed if `follows` is true for its path, by default never. Yields nothing for a folder that
    does not exist. Raises OSError, which names the folder, if one cannot be listed.
    """
    for entry in _all_entries(str(folder), follows):
        yield Path(entry.path)


def all_files(folder: Path, name: str = "*", *, follows: Callable[[Path], bool] = _no_link) -> Iterator[Path]:
    """Yield the files below a folder at any depth whose name matches a pattern, as `all_paths` does."""
    matches = re.compile(fnmatch.translate(name)).match
    return (Path(entry.path) for entry in _all_entries(str(folder), follows) if matches(entry.name) and entry.is_file())


def _all_entries(folder: str, follows: Callable[[Path], bool]) -> Iterator["os.DirEntry[str]"]:
    for entry in _entries(folder):
        yield entry
        if entry.is_dir(follow_symlinks=entry.is_symlink() and follows(Path(entry.path))):
            yield from _all_entries(entry.path, follows)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """Return the entries of a folder; none if it is not there (any more) or is no folder."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        if Path(folder).name == RECOVERY_FOLDER:
            return []
        raise
