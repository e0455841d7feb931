"""The ids in the raw tables with the time at which each was last seen: collected, or verified.

Not here: the verified ids on disk (see verified.py).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from research_assets.compliance.verification.verified import drop_verified, verified_path
from research_assets.settings import Settings
from research_assets.storage.raw_reader import RawTables
from research_assets.storage.raw_sql import sql_literal
from research_assets.storage.withdrawals import read_withdrawn

KINDS = ("video", "comment")
TABLES = {"video": ("videos", "liked_videos", "reposted_videos", "pinned_videos"), "comment": ("comments",)}
"""Raw tables with the ids of each kind."""


@dataclass(frozen=True, slots=True)
class HeldIds:
    """Ids of a kind: their number, those verified at or before two times, and the oldest verification (UTC)."""

    n_held: int
    n_due: int
    n_overdue: int
    earliest: datetime | None


def count_held(settings: Settings, kind: str, due_until: datetime, overdue_until: datetime) -> HeldIds:
    """Return the numbers of stored ids of a kind that were last verified until two times."""
    counts = "count(*), count(*) FILTER (last <= ?), count(*) FILTER (last <= ?), min(last)"
    sql = f"SELECT {counts} FROM {_held(settings, kind)}"
    ((n_held, n_due, n_overdue, earliest),) = _query(settings, kind, sql, [due_until, overdue_until])
    return HeldIds(n_held, n_due, n_overdue, earliest.astimezone(UTC) if earliest else None)


def oldest_ids(settings: Settings, kind: str, number: int) -> list[int]:
    """Return the ids of a kind that were verified longest ago, oldest first."""
    return [
        row[0]
        for row in _query(settings, kind, f"SELECT id FROM {_held(settings, kind)} ORDER BY last, id LIMIT ?", [number])
    ]


def newest_ids(settings: Settings, kind: str, number: int) -> list[int]:
    """Return the ids of a kind that were verified most recently, newest first."""
    sql = f"SELECT id FROM {_held(settings, kind)} ORDER BY last DESC, id DESC LIMIT ?"
    return [row[0] for row in _query(settings, kind, sql, [number])]


def last_seen(settings: Settings, kind: str, ids: Iterable[int]) -> dict[int, datetime]:
    """Return when each of some ids was last collected (UTC); ids that are not stored are absent."""
    sql = f"SELECT id, collected FROM {_held(settings, kind)} WHERE id IN (SELECT unnest(?::BIGINT[]))"
    return {row[0]: row[1].astimezone(UTC) for row in _query(settings, kind, sql, [sorted(ids)])}


def _query(settings: Settings, kind: str, sql: str, values: list[Any]) -> list[tuple[Any, ...]]:
    with RawTables(settings.raw) as raw:
        return raw.join(dict.fromkeys(TABLES[kind], "study=*/day=*"), sql, values)


def _held(settings: Settings, kind: str) -> str:
    """Return a subquery with `id`, `collected` and `last`, the newer of collected and verified; none withdrawn."""
    rows = " UNION ALL ".join(f"SELECT id, observed_at FROM {{{table}}}" for table in TABLES[kind])
    path = verified_path(settings, kind)
    verified = (
        f"read_parquet({_literal(path)})"
        if path.exists()
        else "(SELECT NULL::BIGINT AS id, NULL::TIMESTAMPTZ AS verified_at WHERE false)"
    )
    withdrawn = read_withdrawn(settings.state)
    gone = ", ".join(f"({one})" for one in sorted(withdrawn.videos if kind == "video" else withdrawn.comments))
    outside = f" AND id NOT IN (SELECT * FROM (VALUES {gone}))" if gone else ""
    return (
        "(SELECT id, collected, greatest(collected, coalesce(verified_at, collected)) AS last FROM "
        f"(SELECT id, max(observed_at)::TIMESTAMPTZ AS collected FROM ({rows}) WHERE id IS NOT NULL{outside} "
        "GROUP BY id)"
        f" LEFT JOIN {verified} USING (id))"
    )


def _literal(value: object) -> str:
    """Return a text for SQL that is formatted afterwards."""
    return sql_literal(value).replace("{", "{{").replace("}", "}}")


def drop_unknown(settings: Settings, *, apply: bool) -> int:
    """Remove the verified ids that are in no raw table any more; returns their number."""
    number = 0
    for kind in KINDS:
        path = verified_path(settings, kind)
        if path.exists():
            held = f"SELECT id FROM {_held(settings, kind)}"
            sql = f"SELECT id FROM read_parquet({_literal(path)}) WHERE id NOT IN ({held})"
            number += drop_verified(settings, kind, [row[0] for row in _query(settings, kind, sql, [])], apply=apply)
    return number
