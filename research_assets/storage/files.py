"""Files that are whole or not there: private folders, durable renames.

What captures and tables share about the disk. It knows nothing of what is inside a file.
"""

import os
from pathlib import Path


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a rename is only safe from power loss once its folder is flushed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def private_folder(folder: Path) -> Path:
    """Create a folder and its missing parents, readable by the owner alone and durable; returns it."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(mode=0o700, exist_ok=True)
        fsync_folder(new.parent)
    return missing[0] if missing else folder


def temporary_path(path: Path) -> Path:
    """The temporary name of a file under construction: beside it, and matched by no `*.parquet` or `*.json` glob."""
    return path.with_name(f".{path.name}.tmp")


def fsync_file(path: Path) -> None:
    """Make a file's content durable and the file private."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fchmod(handle, 0o600)
        os.fsync(handle)
    finally:
        os.close(handle)


def publish_file(temporary: Path, path: Path) -> None:
    """Give a finished temporary file its name, durably: flushed, renamed, the folder flushed."""
    fsync_file(temporary)
    temporary.replace(path)
    fsync_folder(path.parent)


def write_private(path: Path, content: bytes) -> None:
    """Write a small file whole or not at all; an older one of that name is replaced."""
    temporary = temporary_path(path)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    publish_file(temporary, path)
