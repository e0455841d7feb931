"""Rewriting of exported tables: some rows go, some texts change; the rest keeps its order, types and bytes.

A rule says what happens to a row. A file is read twice: once to find the rows that it concerns, and only if there are
any, once to write the others. Not here: rules (see compliance/), manifest and README (see build.py, readme.py), the
first writing of a table (see formats.py).
"""

import csv
import io
import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import duckdb

from research_assets.export import spss, stata
from research_assets.export.columns import MIN_TEXT_ID_DIGITS, TEXT_ID_PREFIX
from research_assets.export.formats import BYTE_ORDER_MARK, PARQUET_OPTIONS
from research_assets.storage.parquet_io import LARGE_MEMORY, open_duckdb
from research_assets.storage.raw_sql import sql_identifier, sql_literal
from research_assets.storage.shared_duckdb import connect_shared
from research_assets.text import FORMULA_START, csv_text

Rule = Callable[[Sequence[Any]], Mapping[str, Any] | None]
"""Change of a row: None if it goes, else the new values of its columns, by name; empty if it stays as it is.

Values are texts, 64-bit ids, or the lists and structures of DuckDB; other formats than Parquet have JSON in their
place."""

MakeRule = Callable[[Sequence[str]], Rule]
"""Return the rule for rows of these columns."""

_BATCH = 10_000
"""Rows that are read at once."""


class RewritingError(Exception):
    """A table cannot be read, or is not as it was exported; nothing was changed."""


@dataclass(slots=True)
class Changes:
    """Rows of a table that a rule concerns, by their position: those that go, and new values of others.

    `rows` is the number of rows of the table before.
    """

    rows: int = 0
    removed: "array[int]" = field(default_factory=lambda: array("q"))
    changed: dict[int, Mapping[str, Any]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Return whether the file must be written again."""
        return bool(self.removed or self.changed)

    def add(self, result: Mapping[str, Any] | None) -> None:
        """Add the result of the rule for the next row."""
        if result is None:
            self.removed.append(self.rows)
        elif result:
            self.changed[self.rows] = result
        self.rows += 1


def find_changes(path: Path, make_rule: MakeRule) -> Changes:
    """Return the changes of a Parquet, CSV, Stata or SPSS file. Raises RewritingError if it cannot be read."""
    try:
        return _FORMATS[path.suffix][0](path, make_rule)
    except _ERRORS as error:
        raise RewritingError(_message(path, error)) from error


def write_changes(path: Path, changes: Changes, folder: Path) -> Path:
    """Write the table without the changes to a draft in a temporary folder, and return the path of the draft.

    Raises RewritingError if it cannot be written, and OSError if the disk fails.
    """
    draft = folder / path.name
    try:
        _FORMATS[path.suffix][1](path, changes, draft)
    except _ERRORS as error:
        raise RewritingError(_message(path, error)) from error
    return draft


def is_table(path: Path) -> bool:
    """Return whether a file has a format of exported tables, by its name."""
    return path.suffix in _FORMATS


def _message(path: Path, error: Exception) -> str:
    return f"The table {path} cannot be rewritten: {(str(error) or type(error).__name__).splitlines()[0]}"


def _find_in_parquet(path: Path, make_rule: MakeRule) -> Changes:
    changes = Changes()
    with closing(connect_shared()) as db:
        kinds = _parquet_columns(db, path)
        # Numbers and times are no item, and reading them takes most of the time.
        names = [name for name, kind in kinds.items() if "VARCHAR" in kind or kind in ("BIGINT", "JSON")]
        rule = make_rule(names)
        result = db.execute(f"SELECT {', '.join(map(sql_identifier, names)) or 'NULL'} FROM {_parquet(path)}")
        while rows := result.fetchmany(_BATCH):
            for row in rows:
                changes.add(rule(row))
    return changes


def _write_parquet(path: Path, changes: Changes, draft: Path) -> None:
    import numpy as np
    import pandas as pd

    with open_duckdb(draft.parent, memory=LARGE_MEMORY) as db:
        kinds = _parquet_columns(db, path)
        names = sorted({name for values in changes.changed.values() for name in values})
        new = {name: f"new_{number}" for number, name in enumerate(names)}
        columns = "".join(f", {new[name]} {kinds[name]}, is_{new[name]} BOOLEAN" for name in names)
        db.execute(f"CREATE TEMP TABLE changed (row_number BIGINT{columns})")
        for number, values in changes.changed.items():
            cells = [cell for name in names for cell in (values.get(name), name in values)]
            db.execute(f"INSERT INTO changed VALUES (?{', ?, ?' * len(names)})", [number, *cells])
        db.register("removed", pd.DataFrame({"row_number": np.asarray(changes.removed, dtype="int64")}))
        selected = ", ".join(
            f"CASE WHEN is_{new[name]} THEN {new[name]} ELSE {sql_identifier(name)} END AS {sql_identifier(name)}"
            if name in new
            else sql_identifier(name)
            for name in kinds
        )
        db.execute(
            f"COPY (SELECT {selected} FROM {_parquet(path)} LEFT JOIN changed ON row_number = file_row_number "
            "WHERE file_row_number NOT IN (SELECT row_number FROM removed) ORDER BY file_row_number) "
            f"TO {sql_literal(draft)} ({PARQUET_OPTIONS})"
        )


def _parquet(path: Path) -> str:
    return f"read_parquet({sql_literal(path)}, hive_partitioning = false, file_row_number = true)"


def _parquet_columns(db: duckdb.DuckDBPyConnection, path: Path) -> dict[str, str]:
    """Return the types of the columns, by name."""
    described = db.execute(f"DESCRIBE SELECT * EXCLUDE (file_row_number) FROM {_parquet(path)}").fetchall()
    return {name: kind for name, kind, *_ in described}


_CELL = re.compile(r'(?:^|,)("(?:[^"]|"")*"|[^",\r\n]*)')
"""A cell of a CSV file as it is written."""

_LONG_ID = re.compile(rf"{TEXT_ID_PREFIX}(\d{{{MIN_TEXT_ID_DIGITS},}})")
_ANY_ID = re.compile(rf"{TEXT_ID_PREFIX}(\d+)")
_ESCAPES = (TEXT_ID_PREFIX[0], "'")
_MAX_CELL = 1 << 30
"""Characters of a cell."""


def _find_in_csv(path: Path, make_rule: MakeRule) -> Changes:
    changes = Changes()
    # The default limit of the reader is below the longest texts.
    csv.field_size_limit(_MAX_CELL)
    with path.open("rb") as file:
        names = _csv_header(file)
        rule, patterns = make_rule(names), [_id_pattern(name) for name in names]
        for cells in csv.reader((record.decode() for record in _records(file)), strict=True):
            if len(cells) != len(names):
                raise ValueError(f"a row has {len(cells)} cells instead of {len(names)}")
            changes.add(
                rule(
                    [
                        _decode_cell(cell, pattern) if cell[:1] in _ESCAPES else cell
                        for cell, pattern in zip(cells, patterns, strict=True)
                    ]
                )
            )
    return changes


def _write_csv(path: Path, changes: Changes, draft: Path) -> None:
    removed = set(changes.removed)
    with path.open("rb") as file, draft.open("wb") as target:
        names = _csv_header(file)
        end = file.tell()
        file.seek(0)
        target.write(file.read(end))
        for number, record in enumerate(_records(file)):
            if number in removed:
                continue
            values = changes.changed.get(number)
            target.write(record if values is None else _changed_record(record, names, values))


def _csv_header(file: BinaryIO) -> list[str]:
    """Return the names of the columns; the position of the file is behind them."""
    (header,) = csv.reader(io.StringIO(file.readline().decode().removeprefix(BYTE_ORDER_MARK)))
    return header


def _records(file: BinaryIO) -> Iterator[bytes]:
    """Yield the rows of a CSV file as they are written, from the position of the file."""
    record, is_open = b"", False
    # Not `for line in file`, because the caller needs the position of the file.
    for line in iter(file.readline, b""):
        record += line
        is_open ^= line.count(b'"') % 2 == 1
        if not is_open:
            yield record
            record = b""
    if record:
        raise ValueError("the last row is not complete")


def _id_pattern(name: str) -> re.Pattern[str]:
    return _ANY_ID if name == "id" or name.endswith("_id") else _LONG_ID


def _decode_cell(cell: str, id_pattern: re.Pattern[str]) -> str:
    """Return the value of a cell that may be escaped, by the rules of `csv_sql` (see columns.py)."""
    if found := id_pattern.fullmatch(cell):
        return found[1]
    return cell[1:] if cell[:1] == "'" and re.match(FORMULA_START, cell) else cell


def _changed_record(record: bytes, names: Sequence[str], values: Mapping[str, Any]) -> bytes:
    text = record.decode()
    parts, at = [], 0
    for name, found in zip(names, _CELL.finditer(text), strict=True):
        if name in values:
            parts += [text[at : found.start(1)], _encode_cell(values[name])]
            at = found.end(1)
    return "".join([*parts, text[at:]]).encode()


def _encode_cell(value: str | None) -> str:
    if value is None:
        return ""
    cell = f"{TEXT_ID_PREFIX}{value}" if re.fullmatch(rf"\d{{{MIN_TEXT_ID_DIGITS},}}", value) else csv_text(value)
    if not cell or any(character in cell for character in ',"\r\n'):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def _find_in_stata(path: Path, make_rule: MakeRule) -> Changes:
    return _find_in_frame(stata.read_table(path).frame, make_rule)


def _find_in_frame(table: Any, make_rule: MakeRule) -> Changes:
    changes = Changes()
    names = [name for name in table.columns if table[name].dtype == object]
    rule = make_rule(names)
    for row in zip(*(table[name] for name in names), strict=True) if names else ((),) * len(table):
        changes.add(rule(row))
    return changes


def _write_stata(path: Path, changes: Changes, draft: Path) -> None:
    table = stata.read_table(path)
    table.frame = _changed_frame(table.frame, changes)
    stata.write_table(table, draft)


def _find_in_spss(path: Path, make_rule: MakeRule) -> Changes:
    return _find_in_frame(spss.read_table(path).frame, make_rule)


def _write_spss(path: Path, changes: Changes, draft: Path) -> None:
    table = spss.read_table(path)
    table.frame = _changed_frame(table.frame, changes)
    spss.write_table(table, draft)


def _changed_frame(frame: Any, changes: Changes) -> Any:
    for number, values in changes.changed.items():
        for name, value in values.items():
            frame.iat[number, frame.columns.get_loc(name)] = value or ""
    return frame.drop(index=list(changes.removed)).reset_index(drop=True)


_ERRORS = (duckdb.Error, csv.Error, ValueError, KeyError, IndexError, EOFError)
_FORMATS: dict[str, tuple[Callable[[Path, MakeRule], Changes], Callable[[Path, Changes, Path], None]]] = {
    ".parquet": (_find_in_parquet, _write_parquet),
    ".csv": (_find_in_csv, _write_csv),
    ".dta": (_find_in_stata, _write_stata),
    ".sav": (_find_in_spss, _write_spss),
}
"""How to find and to write changes, by the end of the file's name."""
