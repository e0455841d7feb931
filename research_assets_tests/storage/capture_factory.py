"""Captures built from given pages, for the tests of the raw tables."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import orjson

from research_assets.storage.captures import Journal, Manifest
from research_assets.tiktok.endpoints import BY_ENTITY

NOON = datetime(2026, 2, 3, 12, tzinfo=UTC)
DAY = date(2026, 2, 1)
ID = 7503867840092128259
SECOND = 1769950800  # 2026-02-01 13:00 UTC


def make_video(number: int = 0, **fields: Any) -> dict[str, Any]:
    """Return a video record, uploaded at `SECOND`."""
    return {"id": (SECOND << 32) + number, "create_time": SECOND, "username": "beet", **fields}


def make_answer(entity: str, rows: object, key: str | None = None) -> bytes:
    """Return the body of a response with the rows as its records."""
    endpoint = BY_ENTITY[entity]
    data: Any
    if endpoint.flat:
        (data,) = rows if isinstance(rows, list) else (rows,)
    else:
        data = {key or endpoint.payload_keys[0]: rows, "cursor": 100, "has_more": False}
    return orjson.dumps({"data": data, "error": {"code": "ok", "message": "", "log_id": "x"}})


def make_capture(
    root: Path,
    entity: str,
    pages: Iterable[bytes | tuple[bytes, Mapping[str, Any]]],
    *,
    first: date = DAY,
    last: date | None = None,
    units: Iterable[Mapping[str, Any]] = (),
    study: str = "s",
) -> Path:
    """Seal a capture of the given bodies, one per minute; a page may have header fields of its own."""
    journal = Journal.create(
        root / "captures",
        entity=entity,
        study=study,
        first=first,
        last=last or first,
        now=NOON,
        origin="sandbox",
        header={},
    )
    for number, page in enumerate(pages):
        body, header = page if isinstance(page, tuple) else (page, {})
        observed_at = NOON + timedelta(minutes=number)
        journal.append("page", {"observed_at": observed_at, "rows": 1, "context": {}, "unknown": [], **header}, body)
    for unit in units:
        journal.append("unit", unit)
    return journal.seal()


def read_rows(root: Path, table: str = "*") -> list[dict[str, Any]]:
    """Return all rows of a raw table as dicts, in no particular order; times and days as text."""
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        glob = f"{root}/raw/{table}/**/*.parquet"
        source = f"read_parquet('{glob}', hive_partitioning = true, union_by_name = true)"
        described = db.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
        columns = ", ".join(
            f'"{name}"::VARCHAR AS "{name}"' if kind.startswith(("TIMESTAMP", "DATE")) else f'"{name}"'
            for name, kind, *_ in described
        )
        rows = db.execute(f"SELECT {columns} FROM {source}").fetchall()
        return [dict(zip([name for name, *_ in described], row, strict=True)) for row in rows]


def is_written(raw: Path, manifest: Manifest) -> bool:
    """Return whether the Parquet of a capture is complete; it is not after a crash between sealing and writing."""
    return any((raw / "coverage" / f"study={manifest.study}").glob(f"day=*/{manifest.capture}.parquet"))
