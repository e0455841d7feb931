"""The times at which items were verified: one Parquet file per kind in `state/verification/`, `id` and `verified_at`.

The id of an account is the keyed hash of its handle (see storage/withdrawals.py).
Not here: times of collection, which count as well (see held.py).
"""

from collections.abc import Collection, Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from research_assets.settings import Settings
from research_assets.storage.files import private_folder, publish_file, temporary_path
from research_assets.storage.raw_sql import sql_literal
from research_assets.storage.shared_duckdb import connect_shared


def folder(settings: Settings) -> Path:
    """Return the folder of all files of verification."""
    return settings.state / "verification"


def verified_path(settings: Settings, kind: str) -> Path:
    """Return the file of the verified ids of a kind."""
    return folder(settings) / f"{kind}.verified.parquet"


def id_type(kind: str) -> str:
    """Return the SQL type of the ids of a kind."""
    return "VARCHAR" if kind == "account" else "BIGINT"


def record_verified(settings: Settings, kind: str, ids: Iterable[int | str], at: datetime) -> None:
    """Note that ids were verified (UTC); a later time that is noted already stays."""
    new = f"SELECT unnest(?::{id_type(kind)}[]) AS id, ?::TIMESTAMPTZ AS verified_at"
    _replace(settings, kind, f"{{old}} UNION ALL {new}", [list(ids), at])


def drop_verified(settings: Settings, kind: str, ids: Collection[int | str], *, apply: bool) -> int:
    """Remove ids from the file of a kind; returns how many it contains. With `apply` false, nothing is written."""
    path = verified_path(settings, kind)
    if not path.exists() or not ids:
        return 0
    with closing(connect_shared()) as db:
        chosen = f"(SELECT unnest(?::{id_type(kind)}[]))"
        sql = f"SELECT count(*) FROM read_parquet({sql_literal(path)}) WHERE id IN {chosen}"
        (number,) = db.execute(sql, [list(ids)]).fetchone() or (0,)
    if number and apply:
        _replace(settings, kind, f"{{old}} WHERE id NOT IN {chosen}", [list(ids)])
    return int(number)


def read_verified(settings: Settings, kind: str) -> dict[int | str, datetime]:
    """Return the times of all verified ids of a kind (UTC)."""
    path = verified_path(settings, kind)
    if not path.exists():
        return {}
    with closing(connect_shared()) as db:
        rows = db.execute(f"SELECT id, verified_at FROM read_parquet({sql_literal(path)})").fetchall()
    return {identifier: at.astimezone(UTC) for identifier, at in rows}


def _replace(settings: Settings, kind: str, rows: str, values: list[object]) -> None:
    path = verified_path(settings, kind)
    private_folder(path.parent)
    old = (
        f"SELECT id, verified_at FROM read_parquet({sql_literal(path)})"
        if path.exists()
        else f"SELECT NULL::{id_type(kind)} AS id, NULL::TIMESTAMPTZ AS verified_at WHERE false"
    )
    temporary = temporary_path(path)
    with closing(connect_shared()) as db:
        db.execute(
            f"COPY (SELECT id, max(verified_at) AS verified_at FROM ({rows.replace('{old}', old)}) GROUP BY id "
            f"ORDER BY id) TO {sql_literal(temporary)} (FORMAT parquet, COMPRESSION zstd)",
            values,
        )
    publish_file(temporary, path)
