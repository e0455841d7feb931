"""Shortcuts for the tests, which open a thousand instances of Dagster, and store their events and many requests."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from research_assets.quota import sqlite_ledger


def read_migrations_once() -> None:
    """Run each migration script of Dagster's databases once in this process, not each time that an instance opens.

    The scripts define functions and nothing else, except `env.py`, which migrates.
    """
    from alembic import util

    load: Callable[..., ModuleType] = util.load_python_file
    load_once = cache(load)

    def load_or_share(folder: str | Path, name: str) -> ModuleType:
        return (load if name == "env.py" else load_once)(folder, name)

    util.load_python_file = load_or_share  # type: ignore[assignment]


_connect = sqlite3.connect


def flush_nothing(patch: pytest.MonkeyPatch) -> None:
    """Let this process not wait for the disk: no test cuts the power, and a killed process loses nothing."""
    patch.setattr(os, "fsync", lambda _: None)
    patch.setattr(os, "fdatasync", lambda _: None)
    # SQLite flushes by itself. Dagster opens a connection and commits for each event; the ledger sets the mode of each
    # transaction.
    for module in (sqlite3, sqlite3.dbapi2):
        patch.setattr(module, "connect", _connect_without_flushing)
    patch.setattr(sqlite_ledger, "_SYNCHRONOUS", {True: "OFF", False: "OFF"})


def _connect_without_flushing(*arguments: Any, **options: Any) -> sqlite3.Connection:
    connection: sqlite3.Connection = _connect(*arguments, **options)
    with suppress(sqlite3.Error):
        connection.execute("PRAGMA synchronous = OFF")
    return connection
