"""A search for texts in everything that was written below a folder, compressed and columnar files included."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import duckdb
import zstandard

from research_assets.storage.raw_sql import sql_identifier, sql_literal


def find_texts(root: Path, texts: Sequence[str]) -> dict[str, list[str]]:
    """Return the files that contain each of some texts, also as a part of a value, by text; only texts that occur."""
    found: dict[str, list[str]] = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        for content in contents(path):
            for text in texts:
                if text.encode() in content and str(path) not in found.get(text, ()):
                    found.setdefault(text, []).append(str(path))
    return found


def contents(path: Path) -> Iterator[bytes]:
    """Yield the content of a file, and what is in it once it is decompressed or read as a table."""
    raw = path.read_bytes()
    yield raw
    match path.suffix:
        case ".zst":
            yield zstandard.ZstdDecompressor().stream_reader(raw).read()
        case ".parquet":
            with duckdb.connect() as db:
                yield _rows(db, f"read_parquet({sql_literal(path)}, hive_partitioning = false)")
        case ".duckdb":
            with duckdb.connect() as db:
                db.execute(f"ATTACH {sql_literal(path)} AS file (READ_ONLY)")
                tables = db.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall()
                for schema, table in tables:
                    yield _rows(db, f"file.{sql_identifier(schema)}.{sql_identifier(table)}")
        case ".sqlite" | ".db":
            with closing(sqlite3.connect(path)) as lite:
                yield "\n".join(lite.iterdump()).encode()


def _rows(db: duckdb.DuckDBPyConnection, source: str) -> bytes:
    return "\n".join(map(repr, db.execute(f"SELECT * FROM {source}").fetchall())).encode()
