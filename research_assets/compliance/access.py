"""Who can read the stored data on this machine, by the permissions of its folders.

Encryption at rest is the operating system's (see docs/threat_model.md). Not here: how folders become private (see
settings.py).
"""

import grp
import stat
from pathlib import Path
from typing import NamedTuple

from research_assets.settings import Settings

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class OpenFolder(NamedTuple):
    """A folder that other users can open, with its permissions, such as `755`, and the name of its contents."""

    path: Path
    permissions: str
    contents: str


def open_folders(settings: Settings) -> list[OpenFolder]:
    """Return the folders with data that other users of this machine can open.

    Nothing inside a private folder can be reached, so its subfolders are not read. Access lists beyond the permissions
    are not read either.
    """
    folders = {settings.root: "the collected data"}
    if not settings.dagster_home.is_relative_to(settings.root):
        folders[settings.dagster_home] = "Dagster's event log"
    return [
        OpenFolder(folder, f"{mode:03o}", contents)
        for folder, contents in folders.items()
        if folder.exists() and (mode := stat.S_IMODE(folder.stat().st_mode)) & _OTHERS
    ]


def describe_readers(folder: Path) -> str:
    """Return who can read a folder besides its owner, by its permissions."""
    try:
        status = folder.stat()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if status.st_mode & stat.S_IROTH:
        return "all users of this machine can read them"
    if not status.st_mode & stat.S_IRGRP:
        return "only the owner of the folder can read them"
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    return f"the group {group} can read them"
