"""Search of files that a user put into the data folder, in formats that the removal does not rewrite.

Compressed files and archives are searched inside, also in each other; Excel's and other office files are archives.
DuckDB, Parquet, Stata and SPSS files are read as tables, whose columns may have any names. A file in any other binary
format cannot be shown to be without an item. Not here: text and SQLite files, which are rewritten (see other_files.py).
"""

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, cast

import duckdb
import zstandard

from research_assets.compliance.exported_rows import item_rule
from research_assets.compliance.other_files import PDF, UTF16, mentions_item, visible_text
from research_assets.export import spss, stata
from research_assets.storage.raw_sql import sql_identifier, sql_literal
from research_assets.storage.shared_duckdb import connect_shared
from research_assets.storage.withheld import Cleaner

Verdict = Literal["clean", "contains", "unknown"]
"""Result of a search; `unknown` if the format of the file, or of a part of it, cannot be searched."""

_SYSTEM_FILES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""Files that operating systems write into folders that are shown; they list names of files."""

_MAX_BYTES = 1 << 30
"""Bytes of a file, or of a part of one after decompression, that are searched."""

_MAX_DEPTH = 4
"""Archives within each other that are searched."""

_BATCH = 10_000

_DEFINITIONS = tuple(
    f"(SELECT {columns} FROM {function}() WHERE database_name = 'searched' AND NOT internal) AS definitions"
    for function, columns in {
        "duckdb_schemas": "schema_name, comment, tags",
        "duckdb_views": "sql, comment, tags",
        "duckdb_tables": "sql, comment, tags",
        "duckdb_columns": "comment",
        "duckdb_types": "type_name, labels, comment, tags",
        "duckdb_functions": "function_name, parameters, macro_definition, comment, tags",
    }.items()
)
"""Names, defaults, macros and comments of a DuckDB file, which people write beside the rows of its tables."""

_WITHOUT_ITEMS = re.compile("BOOLEAN|DATE|TIME.*|INTERVAL|U?(TINYINT|SMALLINT|INTEGER)|FLOAT|DOUBLE")
"""Types of DuckDB whose values are no id and no text. Reading them takes most of the time."""

_CONTROL = re.compile(rb"[\x00-\x06\x0e-\x19]")
"""Bytes that are in no text, but in compressed data of more than a few bytes."""


def search_file(path: Path, cleaner: Cleaner) -> Verdict:
    """Return whether a binary file contains a withdrawn item. Raises OSError if it cannot be read."""
    if path.name in _SYSTEM_FILES:
        return "clean"
    with path.open("rb") as file:
        head = file.read(16)
    if head[:4] == b"PAR1":
        return _search_parquet(path, cleaner)
    if head[:4] in (b"$FL2", b"$FL3"):
        return _search_spss(path, cleaner)
    if head[8:12] == b"DUCK":
        return _search_duckdb(path, cleaner)
    if path.stat().st_size > _MAX_BYTES:
        return "unknown"
    return _search(path.read_bytes(), cleaner, 0)


def _search_rows(names: Sequence[str], rows: Iterable[Sequence[Any]], cleaner: Cleaner) -> Verdict:
    rule = item_rule(cleaner, names)
    if any(mentions_item(cleaner, "", name) for name in names):
        return "contains"
    for row in rows:
        if rule(row) != {} or any(mentions_item(cleaner, *one) for one in zip(names, row, strict=True)):
            return "contains"
    return "clean"


def _search_relation(db: duckdb.DuckDBPyConnection, source: str, cleaner: Cleaner) -> Verdict:
    """Search a table of DuckDB, given as SQL. Raises duckdb.Error."""
    columns = [(row[0], row[1]) for row in db.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()]
    names = [name for name, kind in columns if not _WITHOUT_ITEMS.fullmatch(kind)]
    if any(mentions_item(cleaner, "", name) for name, _ in columns):
        return "contains"
    if not names:
        return "clean"
    result = db.execute(f"SELECT {', '.join(map(sql_identifier, names))} FROM {source}")
    while rows := result.fetchmany(_BATCH):
        if _search_rows(names, rows, cleaner) == "contains":
            return "contains"
    return "clean"


def _search_parquet(path: Path, cleaner: Cleaner) -> Verdict:
    with closing(connect_shared()) as db:
        try:
            metadata = f"(SELECT key, value FROM parquet_kv_metadata({sql_literal(path)})) AS metadata"
            if _search_relation(db, metadata, cleaner) == "contains":
                return "contains"
            return _search_relation(db, f"read_parquet({sql_literal(path)}, hive_partitioning = false)", cleaner)
        except duckdb.Error:
            return "unknown"


def _search_spss(path: Path, cleaner: Cleaner) -> Verdict:
    try:
        frame = spss.read_table(path).frame
    except ValueError:
        return "unknown"
    rows = zip(*(frame[name] for name in frame.columns), strict=True)
    return _search_rows(list(frame.columns), rows, cleaner)


def _search_duckdb(path: Path, cleaner: Cleaner) -> Verdict:
    with closing(connect_shared()) as db:
        try:
            db.execute(f"ATTACH {sql_literal(path)} AS searched (READ_ONLY)")
        except duckdb.Error:
            return "unknown"
        try:
            for definitions in _DEFINITIONS:
                if _search_relation(db, definitions, cleaner) == "contains":
                    return "contains"
            for schema, table in db.execute(
                "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'searched'"
            ).fetchall():
                source = f"searched.{sql_identifier(schema)}.{sql_identifier(table)}"
                if mentions_item(cleaner, "", table) or _search_relation(db, source, cleaner) == "contains":
                    return "contains"
        except duckdb.Error:
            return "unknown"
        finally:
            db.execute("DETACH searched")
    return "clean"


def _search(content: bytes, cleaner: Cleaner, depth: int) -> Verdict:
    if not content:
        return "clean"
    if depth > _MAX_DEPTH or len(content) > _MAX_BYTES:
        return "unknown"
    for magic, members in _ARCHIVES.items():
        if content.startswith(magic):
            return _search_members(members, content, cleaner, depth)
    if content[257:262] == b"ustar":
        return _search_members(_tar_members, content, cleaner, depth)
    if content.startswith(b"<stata_dta>"):
        return _search_stata(content, cleaner)
    text = visible_text(content)
    if cleaner.message(text) != text:
        return "contains"
    is_binary = "\0" in text if content.startswith(UTF16) else _CONTROL.search(content)
    return "unknown" if content.startswith(PDF) or is_binary else "clean"


def _search_members(
    members: Callable[[bytes], Iterator[bytes]], content: bytes, cleaner: Cleaner, depth: int
) -> Verdict:
    verdicts = set[Verdict]()
    try:
        for member in members(content):
            verdicts.add(_search(member, cleaner, depth + 1))
            if "contains" in verdicts:
                return "contains"
    except (OSError, EOFError, ValueError, RuntimeError, NotImplementedError, *_DECOMPRESSION_ERRORS):
        # Damaged, encrypted, or of a kind that the standard library does not read.
        return "unknown"
    return "unknown" if "unknown" in verdicts else "clean"


def _zip_members(content: bytes) -> Iterator[bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        yield "\n".join(archive.namelist()).encode()
        for name in archive.namelist():
            with archive.open(name) as member:
                yield _read(member)


def _tar_members(content: bytes) -> Iterator[bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            yield member.name.encode()
            if (file := archive.extractfile(member)) is not None:
                yield _read(file)


def _gzip_member(content: bytes) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        yield _read(file)


def _bzip2_member(content: bytes) -> Iterator[bytes]:
    with bz2.BZ2File(io.BytesIO(content)) as file:
        yield _read(file)


def _xz_member(content: bytes) -> Iterator[bytes]:
    with lzma.LZMAFile(io.BytesIO(content)) as file:
        yield _read(file)


def _zstandard_member(content: bytes) -> Iterator[bytes]:
    yield _read(zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True))


def _read(file: Any) -> bytes:
    """Return the content of a file; one byte more than is searched if it is too large."""
    return cast("bytes", file.read(_MAX_BYTES + 1))


_DECOMPRESSION_ERRORS = (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zstandard.ZstdError)
_ARCHIVES: dict[bytes, Callable[[bytes], Iterator[bytes]]] = {
    b"PK\x03\x04": _zip_members,
    b"\x1f\x8b": _gzip_member,
    b"BZh": _bzip2_member,
    b"\xfd7zXZ\x00": _xz_member,
    b"\x28\xb5\x2f\xfd": _zstandard_member,
}
"""The members of a compressed file, by its first bytes."""


def _search_stata(content: bytes, cleaner: Cleaner) -> Verdict:
    try:
        columns = stata.read_columns(content)
    except ValueError:
        return "unknown"
    return _search_rows(list(columns), zip(*columns.values(), strict=True), cleaner)
