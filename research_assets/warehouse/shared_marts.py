"""Marts outside of the data folder, for people who may read the marts and nothing else (`RESEARCH_SHARED_MARTS`).

After each build the marts are copied as Parquet files into a folder that an administrator made readable for these
people. They need no access to the data folder, the ledger or the credentials, so they cannot change data or use quota.

Not here: the layout of the folder and its readers (see parquet_marts.py, reader.py).
"""

import os
import shutil
import stat
from contextlib import closing
from pathlib import Path

import duckdb

from research_assets.settings import VARIABLES, Settings
from research_assets.storage.files import fsync_folder, private_folder
from research_assets.storage.listing import all_files, all_paths, matching_paths
from research_assets.storage.raw_sql import sql_identifier, sql_literal
from research_assets.warehouse import parquet_marts
from research_assets.warehouse.parquet_marts import BUILDS, MARTS, PUBLISHED, IndexedMart
from research_assets.warehouse.reader import WarehouseReadError, connect_read_only, published_at, read_marts

WORK = ".copy"
"""Folder of a copy that is being written; the next one removes what a killed process left there."""

_NAME = VARIABLES["shared_marts"].name


class SharedMartsError(RuntimeError):
    """Marts that could not be copied into the shared folder; the warehouse in the data folder is not affected."""


def share_marts(settings: Settings, *, keep_previous: bool = True) -> None:
    """Copy the marts of the published warehouse into the shared folder; do nothing if none is set.

    Readers of the previous copy can use it until the copy after this one. With `keep_previous` false it is deleted, as
    a removal of data requires. Call it inside `build_lock`. Raises SharedMartsError.
    """
    folder = settings.shared_marts
    if folder is None:
        return
    _require_usable(settings, folder)
    try:
        _write(settings, folder, keep_previous=keep_previous)
    except (OSError, duckdb.Error, WarehouseReadError) as error:
        raise SharedMartsError(
            f"The marts were not copied to {folder} ({_NAME}): {error}. The warehouse {settings.warehouse} is "
            "published. Correct the cause, then run: research-assets build"
        ) from error


def _write(settings: Settings, folder: Path, *, keep_previous: bool) -> None:
    work = folder / WORK
    shutil.rmtree(work, ignore_errors=True)
    with closing(connect_read_only(settings.warehouse)) as connection:
        marts = read_marts(connection)
        connection.execute(f"SET memory_limit = {sql_literal(settings.warehouse_memory)}")
        for name in marts:
            target = private_folder(work / MARTS / name) / f"{name}.parquet"
            connection.execute(
                f"COPY {sql_identifier(name)} TO {sql_literal(target)} (FORMAT parquet, COMPRESSION zstd)"
            )
    index = [
        IndexedMart(mart.name, mart.description, [(c.name, c.type, c.description) for c in mart.columns], ())
        for mart in marts.values()
    ]
    parquet_marts.write_index(work, index, simulated=settings.is_simulated)
    _open_for_readers(folder, work)
    _open_for_readers(folder, private_folder(folder / BUILDS))
    copy = parquet_marts.new_build(folder, published_at(settings.warehouse))
    work.rename(copy)
    previous = (folder / PUBLISHED).resolve() if keep_previous and (folder / PUBLISHED).exists() else None
    parquet_marts.publish_build(folder, copy)
    for old in matching_paths(folder / BUILDS, "*"):
        if old not in (copy, previous):
            shutil.rmtree(old)


def remove_shared_marts(settings: Settings) -> int:
    """Delete all copies of the marts in the shared folder, which stays; returns the number of files."""
    folder = settings.shared_marts
    if folder is None or not folder.is_dir():
        return 0
    _require_usable(settings, folder)
    n_files = len(shared_files(settings))
    (folder / PUBLISHED).unlink(missing_ok=True)
    for part in (BUILDS, WORK):
        shutil.rmtree(folder / part, ignore_errors=True)
    fsync_folder(folder)
    return n_files


def shared_files(settings: Settings) -> list[Path]:
    """Return the files of all copies in the shared folder."""
    folder = settings.shared_marts
    return [] if folder is None else sorted(all_files(folder / BUILDS))


def _require_usable(settings: Settings, folder: Path) -> None:
    """Raise SharedMartsError for a folder that readers could change, or whose contents are something else."""
    problem = ""
    root = settings.root.resolve()
    if not folder.is_dir():
        problem = "it does not exist. Create it: install -d -o USER -g GROUP -m 2750 FOLDER"
    elif folder.is_relative_to(root) or root.is_relative_to(folder):
        problem = f"it and the data folder {root} contain each other. Name a folder outside of the data folder"
    elif folder.stat().st_uid != os.geteuid() or folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        # Files are deleted in it, and anyone who may write could have replaced a folder by a link to another one.
        problem = "only the user of the builds may own it and write to it. Run: chown USER FOLDER; chmod g-w,o-w FOLDER"
    elif parquet_marts.is_parquet_marts(folder) and _is_simulated(folder) != settings.is_simulated:
        problem = "simulated and real data must not be in one folder, and it contains marts of the other kind"
    if problem:
        raise SharedMartsError(f"The marts cannot be shared in {folder} ({_NAME}): {problem}. Nothing was changed.")


def _is_simulated(folder: Path) -> bool | None:
    try:
        return parquet_marts.contains_simulated_data(folder)
    except (OSError, ValueError, KeyError):
        return None


def _open_for_readers(folder: Path, contents: Path) -> None:
    """Give all below `contents` the group of a folder and its permissions to read, and flush it."""
    shared = folder.stat()
    for path in (contents, *sorted(all_paths(contents))):
        if path.stat().st_gid != shared.st_gid:
            os.chown(path, -1, shared.st_gid)
        permissions = 0o700 | shared.st_mode & 0o055 if path.is_dir() else 0o600 | shared.st_mode & 0o044
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fchmod(handle, permissions)
            os.fsync(handle)
        finally:
            os.close(handle)
