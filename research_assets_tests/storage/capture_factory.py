"""Captures made by hand, for the tests of tables: pages in, sealed file out."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import orjson

from research_assets.storage.captures import Journal
from research_assets.tiktok.endpoints import BY_ENTITY

NOON = datetime(2026, 2, 3, 12, tzinfo=UTC)
DAY = date(2026, 2, 1)
ID = 7503867840092128259
SECOND = 1769950800  # 2026-02-01 13:00 UTC


def make_video(number: int = 0, **own: Any) -> dict[str, Any]:
    """A video's record, uploaded at `SECOND`."""
    return {"id": (SECOND << 32) + number, "create_time": SECOND, "username": "beet", **own}


def make_answer(entity: str, rows: object, key: str | None = None) -> bytes:
    """An answer's body with rows as its records."""
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
    """A sealed capture of the given answers, a minute apart; a page may bring header fields of its own."""
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
        body, own = page if isinstance(page, tuple) else (page, {})
        moment = NOON + timedelta(minutes=number)
        journal.append("page", {"observed_at": moment, "rows": 1, "context": {}, "unknown": [], **own}, body)
    for unit in units:
        journal.append("unit", unit)
    return journal.seal()


def read_rows(root: Path, table: str = "*") -> list[dict[str, Any]]:
    """Everything below a raw table as dicts, in no particular order; moments and days as text."""
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        glob = f"{root}/raw/{table}/**/*.parquet"
        reading = f"read_parquet('{glob}', hive_partitioning = true, union_by_name = true)"
        described = db.execute(f"DESCRIBE SELECT * FROM {reading}").fetchall()
        columns = ", ".join(
            f'"{name}"::VARCHAR AS "{name}"' if kind.startswith(("TIMESTAMP", "DATE")) else f'"{name}"'
            for name, kind, *_ in described
        )
        found = db.execute(f"SELECT {columns} FROM {reading}").fetchall()
        return [dict(zip([name for name, *_ in described], row, strict=True)) for row in found]
