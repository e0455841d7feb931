"""The times at which ids were verified: one Parquet file per kind in `state/verification/`, `id` and `verified_at`.

Not here: times of collection, which count as well (see held.py).
"""

from collections.abc import Collection, Iterable
from contextlib import closing
from datetime import datetime
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


def record_verified(settings: Settings, kind: str, ids: Iterable[int], at: datetime) -> None:
    """Note that ids were verified (UTC); a later time that is noted already stays."""
    new = "SELECT unnest(?::BIGINT[]) AS id, ?::TIMESTAMPTZ AS verified_at"
    _replace(verified_path(settings, kind), f"{{old}} UNION ALL {new}", [sorted(ids), at])


def drop_verified(settings: Settings, kind: str, ids: Collection[int], *, apply: bool) -> int:
    """Remove ids from the file of a kind; returns how many it contains. With `apply` false, nothing is written."""
    path = verified_path(settings, kind)
    if not path.exists() or not ids:
        return 0
    with closing(connect_shared()) as db:
        sql = f"SELECT count(*) FROM read_parquet({sql_literal(path)}) WHERE id IN (SELECT unnest(?::BIGINT[]))"
        (number,) = db.execute(sql, [sorted(ids)]).fetchone() or (0,)
    if number and apply:
        _replace(path, "{old} WHERE id NOT IN (SELECT unnest(?::BIGINT[]))", [sorted(ids)])
    return int(number)


def _replace(path: Path, rows: str, values: list[object]) -> None:
    private_folder(path.parent)
    old = (
        f"SELECT id, verified_at FROM read_parquet({sql_literal(path)})"
        if path.exists()
        else "SELECT NULL::BIGINT AS id, NULL::TIMESTAMPTZ AS verified_at WHERE false"
    )
    temporary = temporary_path(path)
    with closing(connect_shared()) as db:
        db.execute(
            f"COPY (SELECT id, max(verified_at) AS verified_at FROM ({rows.replace('{old}', old)}) GROUP BY id "
            f"ORDER BY id) TO {sql_literal(temporary)} (FORMAT parquet, COMPRESSION zstd)",
            values,
        )
    publish_file(temporary, path)
