"""Removal of withdrawn items from files that are neither captures, raw tables nor exports: texts and SQLite files.

Not here: which files belong to what (see removal.py), exports (see exports.py).
"""

import csv
import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from research_assets.storage.files import write_private
from research_assets.storage.raw_sql import sql_identifier
from research_assets.storage.withheld import REMOVED, Cleaner

_TEXT_KEYS = frozenset(
    {"message", "user_message", "text", "md_str", "data", "description", "reason", "error", "stack", "value", "cause"}
)
"""Members of JSON in logs that hold sentences, in which any word may be a handle. Other strings may be names of a
format, so a handle of letters alone is not looked for in them."""

_LOGS = (".log", ".err", ".out")
"""Ends of the names of logs, those of Dagster's steps as well."""

_SQLITE_HEADER = b"SQLite format 3\0"


def is_sqlite(path: Path) -> bool:
    """Return whether a file is a SQLite database."""
    with path.open("rb") as file:
        return file.read(len(_SQLITE_HEADER)) == _SQLITE_HEADER


def clean_text_file(path: Path, cleaner: Cleaner, *, apply: bool) -> bool | None:
    """Rewrite a text file without withdrawn items; returns whether it contained any, None if it is no text.

    Lines of a table (.csv, .tsv, .txt) that contain an item are removed, and those of a log are replaced. With `apply`
    false, nothing is written.
    """
    content = path.read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    if path.suffix in (".csv", ".tsv", ".txt"):
        cleaned = "".join(_clean_table(text, cleaner))
    elif path.suffix in (".json", ".jsonl"):
        cleaned = clean_json_text(text, cleaner)
    elif path.suffix in _LOGS:
        cleaned = "".join(_clean_log(text, cleaner))
    else:
        cleaned = cleaner.message(text)
    if cleaned == text:
        return False
    if apply:
        write_private(path, cleaned.encode())
    return True


def _clean_log(text: str, cleaner: Cleaner) -> Iterator[str]:
    # The rest of the line may quote the item.
    for line in text.splitlines(keepends=True):
        yield line if cleaner.message(line) == line else REMOVED + "\n" * line.endswith("\n")


def _clean_table(text: str, cleaner: Cleaner) -> Iterator[str]:
    # A quoted cell may contain line breaks, so the reader says where a row ends.
    start, numbered = 0, list(io.StringIO(text, newline=""))
    reader = csv.reader(numbered)
    try:
        for _ in reader:
            row = "".join(numbered[start : reader.line_num])
            start = reader.line_num
            if cleaner.message(row) == row:
                yield row
    except csv.Error:
        yield from (line for line in numbered[start:] if cleaner.message(line) == line)


def clean_json_text(text: str, cleaner: Cleaner) -> str:
    """Return a JSON text, or lines of JSON, without withdrawn items; other lines keep their text."""
    try:
        value = json.loads(text)
    except ValueError:
        return "".join(_clean_json_line(line, cleaner) for line in text.splitlines(keepends=True))
    cleaned = _clean_json(value, "", cleaner)
    return text if cleaned == value else json.dumps(cleaned, ensure_ascii=False)


def _clean_json_line(line: str, cleaner: Cleaner) -> str:
    try:
        value = json.loads(line)
    except ValueError:
        return cleaner.message(line)
    cleaned = _clean_json(value, "", cleaner)
    return line if cleaned == value else json.dumps(cleaned, ensure_ascii=False) + "\n" * line.endswith("\n")


def _clean_json(value: Any, key: str, cleaner: Cleaner) -> Any:
    if isinstance(value, str):
        return cleaner.message(value, words=key in _TEXT_KEYS)
    if isinstance(value, dict):
        return {cleaner.message(name, words=False): _clean_json(one, name, cleaner) for name, one in value.items()}
    if isinstance(value, list):
        return [_clean_json(one, key, cleaner) for one in value]
    return 0 if cleaner.is_id(value) else value


def bytes_contain(path: Path, cleaner: Cleaner) -> bool:
    """Return whether the text in a file of any format contains a withdrawn item."""
    text = path.read_bytes().decode("utf-8", "ignore")
    return cleaner.message(text) != text


def clean_sqlite(path: Path, cleaner: Cleaner, *, apply: bool) -> int:
    """Remove withdrawn items from every text of a SQLite file, and from its unused pages; returns the changed rows.

    Raises sqlite3.Error if the file cannot be read, or is locked for a minute.
    """
    n_changed = 0
    with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as db:
        if apply:
            db.execute("PRAGMA secure_delete = ON")
            db.execute("BEGIN IMMEDIATE")
        tables = [
            name
            for name, sql in db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'").fetchall()
            if not name.startswith("sqlite_") and "WITHOUT ROWID" not in (sql or "").upper()
        ]
        for table in tables:
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({sql_identifier(table)})")]
            names = ", ".join(map(sql_identifier, columns))
            updates = []
            for number, *values in db.execute(f"SELECT rowid, {names} FROM {sql_identifier(table)}"):
                changed = {
                    column: cleaned
                    for column, value in zip(columns, values, strict=True)
                    if isinstance(value, str) and (cleaned := _clean_cell(value, cleaner)) != value
                }
                if changed:
                    updates.append((number, changed))
            n_changed += len(updates)
            for number, changed in updates if apply else ():
                sets = ", ".join(f"{sql_identifier(column)} = ?" for column in changed)
                db.execute(f"UPDATE {sql_identifier(table)} SET {sets} WHERE rowid = ?", (*changed.values(), number))
        if apply:
            db.execute("COMMIT")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            # Rows that were deleted earlier are still in unused pages.
            if n_changed or bytes_contain(path, cleaner):
                db.execute("VACUUM")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return n_changed


def _clean_cell(value: str, cleaner: Cleaner) -> str:
    if value[:1] in "{[":
        return clean_json_text(value, cleaner)
    return cleaner.message(value, words=False)
