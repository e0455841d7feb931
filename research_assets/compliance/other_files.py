"""Removal of withdrawn items from files that are neither captures, raw tables nor exports: texts and SQLite files.

From a file of a user (`is_foreign`), a record of an item goes as a whole, because its other values may be of the item
as well: a row of SQLite, an object of JSON. In files of Dagster and of the project, only the item itself is replaced.
Not here: which files belong to what (see removal.py), exports (see exports.py).
"""

import csv
import io
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

from research_assets.storage.files import write_private
from research_assets.storage.raw_sql import sql_identifier
from research_assets.storage.withheld import ID_DIGITS, REMOVED, Cleaner

_TEXT_KEYS = frozenset(
    {"message", "user_message", "text", "md_str", "data", "description", "reason", "error", "stack", "value", "cause"}
)
"""Members of JSON in logs that hold sentences, in which any word may be a handle. Other strings may be names of a
format, so a handle of letters alone is not looked for in them."""

_LOGS = (".log", ".err", ".out")
"""Ends of the names of logs, those of Dagster's steps as well."""

_WORD = re.compile(r"[\w.]+")

_TABLES = (".csv", ".tsv", ".tab", ".txt")
_JSON = (".json", ".jsonl", ".ndjson", ".geojson", ".ipynb")

_SQLITE_HEADER = b"SQLite format 3\0"

PDF = b"%PDF-"
"""Begin of a file whose texts are compressed, or in pieces."""

UTF16 = (b"\xff\xfe", b"\xfe\xff")
"""Byte order marks."""

_OF_ACCOUNTS = re.compile(r"user|author|account|handle|creator|owner|profile|^name$", re.IGNORECASE)
"""Names of columns and members that contain accounts."""

_GONE = object()
"""In place of an object of JSON that goes as a whole."""


class NotRewritten(Exception):
    """A SQLite file contains an item where it cannot be removed; the message continues "The file X"."""


def is_sqlite(path: Path) -> bool:
    """Return whether a file is a SQLite database."""
    with path.open("rb") as file:
        return file.read(len(_SQLITE_HEADER)) == _SQLITE_HEADER


def visible_text(content: bytes) -> str:
    """Return the text in a file or a value of any encoding; one of two or four bytes a letter may have no BOM."""
    if content.startswith(UTF16):
        return content.decode("utf-16", "ignore")
    try:
        return content.replace(b"\0", b"").decode()
    except UnicodeDecodeError:
        return content.replace(b"\0", b"").decode("latin-1")


def is_item_of(cleaner: Cleaner, name: str, value: object) -> bool:
    """Return whether a value is a withdrawn item. `name` is that of the column or member, which decides about words.

    A handle of letters alone may be a word, so it is an account only where the name says so.
    """
    if _is_id(cleaner, value):
        return True
    if not isinstance(value, str) or not cleaner.withdrawn.has_account(value):
        return False
    return not value.strip().lstrip("@").isalpha() or _OF_ACCOUNTS.search(name) is not None


def _is_id(cleaner: Cleaner, value: object) -> bool:
    """Return whether a value is a withdrawn id. A number of fewer digits than an id has, also in a text, is none."""
    return cleaner.is_id(value) and len(str(value)) >= ID_DIGITS


def mentions_item(cleaner: Cleaner, name: str, value: object) -> bool:
    """Return whether a value of a table, or a part of it, is a withdrawn item or mentions one (see `is_item_of`)."""
    if isinstance(value, str):
        return is_item_of(cleaner, name, value) or cleaner.message(value, words=False) != value
    if isinstance(value, bytes | bytearray | memoryview):
        return mentions_item(cleaner, name, visible_text(bytes(value)))
    if isinstance(value, dict):
        return any(
            mentions_item(cleaner, "", key) or mentions_item(cleaner, str(key), one) for key, one in value.items()
        )
    if isinstance(value, list | tuple):
        return any(mentions_item(cleaner, name, one) for one in value)
    if isinstance(value, Decimal):
        return value.is_finite() and value == int(value) and _is_id(cleaner, int(value))
    return _is_id(cleaner, value)


def name_contains(path: Path, cleaner: Cleaner) -> bool:
    """Return whether the name of a file or of a folder of a relative path contains a withdrawn item.

    A handle may be joined to other words, such as `plot_anna.k.png`. One of letters alone may be a word.
    """
    if cleaner.text(str(path)) != str(path):
        return True
    for word in _WORD.findall(str(path)):
        starts = [0, *(at + 1 for at, one in enumerate(word) if one in "._")]
        ends = [*(at for at, one in enumerate(word) if one in "._"), len(word)]
        names = (word[start:end] for start in starts for end in ends if start < end)
        if any(not name.isalpha() and cleaner.withdrawn.has_account(name) for name in names):
            return True
    return False


def clean_text_file(path: Path, cleaner: Cleaner, *, apply: bool, is_foreign: bool = False) -> bool | None:
    """Rewrite a text file without withdrawn items; returns whether it contained any, None if it is no text.

    Lines of a table (.csv, .tsv, .tab, .txt) that contain an item are removed, and those of a log are replaced. With
    `apply` false, nothing is written.
    """
    content = path.read_bytes()
    if content.startswith(PDF) or (b"\0" in content and path.suffix not in _LOGS):
        return None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    if path.suffix in _TABLES:
        cleaned = "".join(_clean_table(text, cleaner))
    elif path.suffix in _JSON:
        cleaned = clean_json_text(text, cleaner, is_foreign=is_foreign)
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


def clean_json_text(text: str, cleaner: Cleaner, *, is_foreign: bool = False) -> str:
    """Return a JSON text, or lines of JSON, without withdrawn items; other lines keep their text."""
    try:
        value = json.loads(text)
    except ValueError:
        lines = text.splitlines(keepends=True)
        return "".join(_clean_json_line(line, cleaner, is_foreign=is_foreign) for line in lines)
    cleaned = _clean_json(value, "", cleaner, is_foreign=is_foreign)
    if cleaned is _GONE:
        return "null"
    return text if cleaned == value else json.dumps(cleaned, ensure_ascii=False)


def _clean_json_line(line: str, cleaner: Cleaner, *, is_foreign: bool) -> str:
    try:
        value = json.loads(line)
    except ValueError:
        return cleaner.message(line)
    cleaned = _clean_json(value, "", cleaner, is_foreign=is_foreign)
    if cleaned is _GONE:
        return ""
    return line if cleaned == value else json.dumps(cleaned, ensure_ascii=False) + "\n" * line.endswith("\n")


def _clean_json(value: Any, key: str, cleaner: Cleaner, *, is_foreign: bool) -> Any:
    if isinstance(value, str):
        is_prose = key in _TEXT_KEYS or (is_foreign and " " in value)
        return cleaner.message(value, words=is_prose)
    if isinstance(value, dict):
        if is_foreign and any(is_item_of(cleaner, name, one) for name, one in value.items()):
            return _GONE
        members = {
            cleaner.message(name, words=False): _clean_json(one, name, cleaner, is_foreign=is_foreign)
            for name, one in value.items()
            if not (is_foreign and is_item_of(cleaner, "", name))
        }
        return {name: None if one is _GONE else one for name, one in members.items()}
    if isinstance(value, list):
        entries = [_clean_json(one, key, cleaner, is_foreign=is_foreign) for one in value]
        return [one for one in entries if one is not _GONE]
    return 0 if _is_id(cleaner, value) else value


def bytes_contain(path: Path, cleaner: Cleaner) -> bool:
    """Return whether the text in a file of any format contains a withdrawn item."""
    text = path.read_bytes().decode("utf-8", "ignore")
    return cleaner.message(text) != text


def clean_sqlite(path: Path, cleaner: Cleaner, *, apply: bool, is_foreign: bool = False) -> int:
    """Remove withdrawn items from every text of a SQLite file, and from its unused pages; returns the changed rows.

    Raises sqlite3.Error if the file cannot be read, or is locked for a minute, and NotRewritten if a name, a
    definition, a binary value or a table without row ids contains an item; all others are removed before.
    """
    n_changed, problems = 0, list[str]()
    with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as db:
        if apply:
            db.execute("PRAGMA secure_delete = ON")
            db.execute("BEGIN IMMEDIATE")
        for kind, name, sql in db.execute("SELECT type, name, sql FROM sqlite_schema").fetchall():
            if mentions_item(cleaner, "", [name, sql]):
                problems.append(f"the definition of the {kind} {name}")
            if kind != "table" or name.startswith("sqlite_"):
                continue
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({sql_identifier(name)})")]
            selected = ", ".join(map(sql_identifier, columns))
            if "WITHOUT ROWID" in (sql or "").upper():
                rows = db.execute(f"SELECT {selected} FROM {sql_identifier(name)}")
                if any(mentions_item(cleaner, "", dict(zip(columns, row, strict=True))) for row in rows):
                    problems.append(f"the table {name} (WITHOUT ROWID)")
                continue
            updates, drops = [], []
            for number, *values in db.execute(f"SELECT rowid, {selected} FROM {sql_identifier(name)}"):
                if is_foreign and any(is_item_of(cleaner, *one) for one in zip(columns, values, strict=True)):
                    drops.append((number,))
                    continue
                changed = {
                    column: cleaned
                    for column, value in zip(columns, values, strict=True)
                    if isinstance(value, str)
                    and (cleaned := _clean_cell(value, cleaner, is_foreign=is_foreign)) != value
                }
                if changed:
                    updates.append((number, changed))
                if any(mentions_item(cleaner, "", value) for value in values if isinstance(value, bytes)):
                    problems.append(f"a binary value of the table {name}")
            n_changed += len(updates) + len(drops)
            if not apply:
                continue
            for number, changed in updates:
                sets = ", ".join(f"{sql_identifier(column)} = ?" for column in changed)
                # Two texts may have become the same one in a column that is unique.
                db.execute(
                    f"UPDATE OR REPLACE {sql_identifier(name)} SET {sets} WHERE rowid = ?", (*changed.values(), number)
                )
            db.executemany(f"DELETE FROM {sql_identifier(name)} WHERE rowid = ?", drops)
        if apply:
            db.execute("COMMIT")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            # Rows that were deleted earlier are still in unused pages.
            if n_changed or bytes_contain(path, cleaner):
                db.execute("VACUUM")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if problems:
        raise NotRewritten(f"contains an item in {' and '.join(dict.fromkeys(problems))}, where it cannot be removed")
    return n_changed


def _clean_cell(value: str, cleaner: Cleaner, *, is_foreign: bool) -> str:
    if value[:1] in "{[":
        return clean_json_text(value, cleaner, is_foreign=is_foreign)
    return cleaner.message(value, words=False)
