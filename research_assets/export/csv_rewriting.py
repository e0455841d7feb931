"""Rewriting of CSV files: rows that stay keep every byte, and values are escaped as in the export.

Not here: other tables (see rewriting.py), how a CSV file is first written (see formats.py and columns.py).
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from research_assets.export.changes import Changes, MakeRule
from research_assets.export.columns import MIN_TEXT_ID_DIGITS, TEXT_ID_PREFIX
from research_assets.export.formats import BYTE_ORDER_MARK
from research_assets.text import FORMULA_START, csv_text

_CELL = re.compile(r'(?:^|,)("(?:[^"]|"")*"|[^",\r\n]*)')
"""A cell of a CSV file as it is written."""

_LONG_ID = re.compile(rf"{TEXT_ID_PREFIX}(\d{{{MIN_TEXT_ID_DIGITS},}})")
_ANY_ID = re.compile(rf"{TEXT_ID_PREFIX}(\d+)")
_ESCAPES = (TEXT_ID_PREFIX[0], "'")
_MAX_CELL = 1 << 30
"""Characters of a cell."""


def find_in_csv(path: Path, make_rule: MakeRule) -> Changes:
    """Return the changes of a CSV file. Raises ValueError or csv.Error if it cannot be read."""
    changes = Changes()
    rows = read_csv(path)
    rule = make_rule(next(rows))
    for row in rows:
        changes.add(rule(row))
    return changes


def read_csv(path: Path) -> Iterator[list[str]]:
    """Yield the names of the columns and the values of each row, which may be escaped in the file."""
    # The default limit of the reader is below the longest texts.
    csv.field_size_limit(_MAX_CELL)
    with path.open("rb") as file:
        names = _csv_header(file)
        yield names
        patterns = [_id_pattern(name) for name in names]
        for cells in csv.reader((record.decode() for record in _records(file)), strict=True):
            if len(cells) != len(names):
                raise ValueError(f"a row has {len(cells)} cells instead of {len(names)}")
            yield [
                _decode_cell(cell, pattern) if cell[:1] in _ESCAPES else cell
                for cell, pattern in zip(cells, patterns, strict=True)
            ]


def write_csv_changes(path: Path, changes: Changes, draft: Path) -> None:
    """Write a CSV file without the changes; other rows keep every byte."""
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
