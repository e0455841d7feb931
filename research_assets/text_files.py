"""Text files and tables that other programs wrote: their encoding, their lines, and the cells of CSV and similar files.

Every list of accounts or ids is read here, so that one file means the same everywhere. Not here: what a cell means (see
study/panel.py and collect/id_lists/reader.py); the CSV files that the project writes (see export/).
"""

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

SEPARATORS = ",;\t|"
"""Separators of cells that a table may have."""

_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BINARY = (
    (b"PK\x03\x04", "an Excel or OpenDocument file or another archive"),
    (b"\xd0\xcf\x11\xe0", "an Excel file"),
    (b"\x1f\x8b", "a compressed file"),
    (b"\x28\xb5\x2f\xfd", "a compressed file"),
    (b"PAR1", "a Parquet file"),
    (b"%PDF", "a PDF file"),
    (b"SQLite format 3", "a database"),
)
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_NO_SEPARATOR = "\x1f"
_SAMPLE = 4096


class TextFileError(ValueError):
    """A file that cannot be read as text or as a table; `line` is the line of the error, 0 for the whole file."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, UTF-16 or UTF-32, without its byte order mark.

    Raise TextFileError for other files, and OSError if the file cannot be read.
    """
    return decode_text(path.read_bytes())


def decode_text(data: bytes) -> str:
    """Return the text of a file's bytes, as `read_text` does."""
    for magic, kind in _BINARY:
        if data.startswith(magic):
            raise TextFileError(f"is {kind}. Save the table as CSV in UTF-8, with ids as text")
    encoding = next((name for mark, name in _ENCODINGS if data.startswith(mark)), None) or _utf_16_without_mark(data)
    try:
        return data.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        name = (encoding or "utf-8").upper().removesuffix("-SIG")
        raise TextFileError(f"is not {name} text (line {line}). Save it as UTF-8", line) from error


def _utf_16_without_mark(data: bytes) -> str | None:
    """Return the encoding of a text in UTF-16 whose letters are mostly of the first 256 characters."""
    sample = data[:_SAMPLE]
    for start, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        half = sample[start::2]
        if half and half.count(0) > len(half) * 0.7 and sample[1 - start :: 2].count(0) < len(half) * 0.3:
            return name
    return None


def split_lines(text: str) -> list[str]:
    """Return the lines of a text. Lines end with LF, CR LF or CR and nothing else.

    `str.splitlines` also divides at characters that occur within names and captions, such as U+2028.
    """
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def read_table(text: str, *, is_wanted: Callable[[str], bool] = bool) -> list[tuple[int, list[str]]]:
    """Return each row of a table that is not empty, as the number of its first line and its cells.

    The separator is the one that a first line such as `sep=;` names, else the one that divides the rows evenly: a
    comma, a semicolon, a tab or a vertical bar. If several do, the one counts that divides more cells off for which
    `is_wanted` is true. Raise TextFileError for a cell whose quotes are wrong, because it might
    contain the lines below it.
    """
    skipped = 0
    first, _, rest = text.partition("\n")
    if named := _SEPARATOR_LINE.fullmatch(first.strip("\r ")):
        if named[1] not in SEPARATORS:
            raise TextFileError(f"has a separator that no table can have in line 1: {first.strip()!r}", 1)
        text, skipped = rest, 1
    separator = named[1] if named else _find_separator(text, is_wanted)
    return [(line + skipped, row) for line, row in _rows(text, separator, skipped)]


def _find_separator(text: str, is_wanted: Callable[[str], bool]) -> str:
    best, separator = (0, 0, 0), _NO_SEPARATOR
    for candidate in SEPARATORS:
        rows: list[list[str]] = []
        try:
            for _, row in _rows(text, candidate, 0):
                rows.append(row)
                if len(rows) == 20:
                    break
        except TextFileError:
            if not rows:
                continue
        if rows and len(rows[0]) > 1:
            n_wanted = sum(any(map(is_wanted, row)) for row in rows)
            score = (sum(len(row) == len(rows[0]) for row in rows), n_wanted, len(rows[0]))
            best, separator = max((best, separator), (score, candidate), key=lambda pair: pair[0])
    return separator


def _rows(text: str, separator: str, skipped: int) -> Iterator[tuple[int, list[str]]]:
    # Without `newline=""` the module would not see line breaks within quotes as they are.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        if "field larger" in str(error):
            raise TextFileError(
                f"has a cell of more than {csv.field_size_limit():,} characters", line + skipped
            ) from error
        raise TextFileError(
            f"has wrong quotes in line {line + skipped} ({error}). Close them, and double a quote within quotes",
            line + skipped,
        ) from error
