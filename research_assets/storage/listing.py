"""Lists of files and folders that are complete, or an error.

`Path.glob` and `Path.rglob` leave out a folder that cannot be listed (permissions, a failing disk, a network share), so
that files in it would seem not to exist: a removal would pass over them, and a stored day would be requested again.
"""

import fnmatch
import os
import re
from collections.abc import Iterator
from pathlib import Path


def matching_paths(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield the paths below a folder that match a pattern such as `study=*/*.json`, in no particular order.

    The wildcards are those of `Path.glob` without `**`. Yields nothing for a folder that does not exist. Raises
    OSError, which names the folder, if a folder on the way cannot be listed.
    """
    first, _, rest = pattern.partition("/")
    if not re.search(r"[*?[]", first):
        path = folder / first
        if rest:
            yield from matching_paths(path, rest)
        elif path.exists():
            yield path
        return
    matches = re.compile(fnmatch.translate(first)).match
    for entry in _entries(folder):
        if matches(entry.name):
            path = folder / entry.name
            if not rest:
                yield path
            elif entry.is_dir():
                yield from matching_paths(path, rest)


def all_paths(folder: Path) -> Iterator[Path]:
    """Yield all files and folders below a folder at any depth, in no particular order; follows no links to folders.

    Yields nothing for a folder that does not exist. Raises OSError, which names the folder, if one cannot be listed.
    """
    for entry in _entries(folder):
        path = folder / entry.name
        yield path
        if entry.is_dir(follow_symlinks=False):
            yield from all_paths(path)


def all_files(folder: Path, name: str = "*") -> Iterator[Path]:
    """Yield the files below a folder at any depth whose name matches a pattern, as `all_paths` does."""
    matches = re.compile(fnmatch.translate(name)).match
    return (path for path in all_paths(folder) if matches(path.name) and path.is_file())


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder; none if it is not there (any more) or is no folder."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        # At the top of a disk, where root's check of the file system puts what it finds.
        if folder.name == "lost+found":
            return []
        raise
