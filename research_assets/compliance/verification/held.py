"""The stored ids of each kind with the time at which each was last seen: collected, or verified.

Not here: the verified items on disk (see verified.py), the same for accounts (see accounts.py).
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from research_assets.clock import LAST_SECOND
from research_assets.collect.id_lists.reader import ListedVideo
from research_assets.compliance.selection import VIDEO_ENTITIES
from research_assets.compliance.verification.accounts import drop_unknown_accounts, held_accounts
from research_assets.compliance.verification.verified import drop_verified, verified_path
from research_assets.settings import Settings
from research_assets.storage.captures import DamagedCapture, read_events
from research_assets.storage.listing import matching_paths
from research_assets.storage.raw_reader import RawTables
from research_assets.storage.raw_sql import template_literal
from research_assets.storage.withdrawals import read_withdrawn
from research_assets.storage.withheld import records_of
from research_assets.tiktok.ids import parse_id

KINDS = ("video", "comment", "account")
ID_KINDS = ("video", "comment")
"""Kinds whose items have an id in the raw tables."""

TABLES = {"video": VIDEO_ENTITIES, "comment": ("comments",)}
"""Raw tables with the ids of each kind."""


@dataclass(frozen=True, slots=True)
class HeldIds:
    """Ids of a kind: their number, those verified at or before two times, oldest and newest verification (UTC)."""

    n_held: int
    n_due: int
    n_overdue: int
    earliest: datetime | None
    latest: datetime | None


@dataclass(frozen=True, slots=True)
class Part:
    """The ids of a kind that one method verifies.

    With `only` these are the ids that no study but `studies` has, without it all others; None stands for all ids.
    """

    kind: str
    only: bool | None = None
    studies: frozenset[str] = frozenset()

    @property
    def condition(self) -> str:
        """SQL that is true for the ids of the part."""
        if self.only is None:
            return "true"
        names = ", ".join(template_literal(name) for name in sorted(self.studies))
        is_inside = f"list_has_all([{names}], studies)" if names else "false"
        return is_inside if self.only else f"NOT {is_inside}"


def count_held(settings: Settings, kind: str, due_until: datetime, overdue_until: datetime) -> HeldIds:
    """Return the numbers of stored items of a kind that were last verified until two times."""
    if kind == "account":
        return count_accounts(settings, due_until, overdue_until)
    return count_part(settings, Part(kind), due_until, overdue_until)


def count_accounts(settings: Settings, due_until: datetime, overdue_until: datetime) -> HeldIds:
    """Return the numbers of `count_held` for accounts with a stored profile."""
    times = [one.last for one in held_accounts(settings)]
    n_due, n_overdue = (sum(at <= until for at in times) for until in (due_until, overdue_until))
    return HeldIds(len(times), n_due, n_overdue, min(times, default=None), max(times, default=None))


def count_part(
    settings: Settings, part: Part, due_until: datetime, overdue_until: datetime, excluded: Collection[int] = ()
) -> HeldIds:
    """Return the numbers of `count_held` for the ids of a part, without some."""
    counts = "count(*), count(*) FILTER (last <= ?), count(*) FILTER (last <= ?), min(last), max(last)"
    sql = f"SELECT {counts} FROM {_held(settings, part, excluded)}"
    ((n_held, n_due, n_overdue, *ends),) = _query(settings, part.kind, sql, [due_until, overdue_until])
    earliest, latest = (end.astimezone(UTC) if end else None for end in ends)
    return HeldIds(n_held, n_due, n_overdue, earliest, latest)


def count_by_day(settings: Settings, part: Part, start: datetime, excluded: Collection[int]) -> dict[int, int]:
    """Return the number of ids of a part by the days from `start` to their last verification; 0 for earlier ones."""
    days = "greatest(0, ceil((epoch(last) - ?) / 86400))::BIGINT"
    sql = f"SELECT {days}, count(*) FROM {_held(settings, part, excluded)} GROUP BY 1"
    return dict(_query(settings, part.kind, sql, [start.timestamp()]))


def oldest_ids(settings: Settings, part: Part, number: int, excluded: Collection[int] = ()) -> list[int]:
    """Return the ids of a part that were verified longest ago, oldest first."""
    sql = f"SELECT id FROM {_held(settings, part, excluded)} ORDER BY last, id LIMIT ?"
    return [row[0] for row in _query(settings, part.kind, sql, [number])]


def newest_ids(settings: Settings, kind: str, number: int) -> list[int]:
    """Return the ids of a kind that were verified most recently, newest first."""
    sql = f"SELECT id FROM {_held(settings, Part(kind))} ORDER BY last DESC, id DESC LIMIT ?"
    return [row[0] for row in _query(settings, kind, sql, [number])]


def list_videos(settings: Settings, ids: Iterable[int]) -> list[ListedVideo]:
    """Return stored videos with their UTC days of publication; ids that are not stored are absent."""
    sql = f"SELECT id, day FROM {_held(settings, Part('video'))} WHERE id IN (SELECT unnest(?::BIGINT[]))"
    return [ListedVideo(*row) for row in _query(settings, "video", sql, [sorted(ids)])]


def videos_in_windows(
    settings: Settings,
    part: Part,
    windows: Sequence[tuple[date, date]],
    number: int,
    excluded: Collection[int],
    *,
    newest: bool,
) -> list[list[ListedVideo]]:
    """Return up to `number` videos of a part for each window of UTC days, both included.

    They are those that were verified longest ago, or with `newest` most recently.
    """
    if not windows:
        return []
    order = "last DESC, id DESC" if newest else "last, id"
    rows = ", ".join(f"({n}, DATE '{first}', DATE '{last}')" for n, (first, last) in enumerate(windows))
    sql = (
        f"SELECT n, id, day FROM {_held(settings, part, excluded)} JOIN (VALUES {rows}) AS windows(n, low, high) "
        f"ON day BETWEEN low AND high QUALIFY row_number() OVER (PARTITION BY n ORDER BY {order}) <= ? "
        f"ORDER BY n, {order}"
    )
    found: list[list[ListedVideo]] = [[] for _ in windows]
    for n, identifier, day in _query(settings, part.kind, sql, [number]):
        found[n].append(ListedVideo(identifier, day))
    return found


def last_seen(settings: Settings, kind: str, ids: Iterable[int]) -> dict[int, datetime]:
    """Return when each of some ids was last collected or verified (UTC); ids that are not stored are absent.

    The pages of a collection that is not finished are in its open journals and in no raw table yet. They count.
    """
    wanted = sorted(ids)
    if not wanted:
        return {}
    sql = f"SELECT id, last FROM {_held(settings, Part(kind))} WHERE id IN (SELECT unnest(?::BIGINT[]))"
    seen = {row[0]: row[1].astimezone(UTC) for row in _query(settings, kind, sql, [wanted])}
    for identifier, at in _seen_in_open_journals(settings, kind):
        if identifier in seen:
            seen[identifier] = max(seen[identifier], at)
    return seen


def _seen_in_open_journals(settings: Settings, kind: str) -> Iterable[tuple[int, datetime]]:
    for entity in TABLES[kind]:
        for path in matching_paths(settings.captures, f"{entity}/study=*/*/[!.]*.jsonl"):
            try:
                for event in read_events(path):
                    for record in records_of(entity, event.get("answer")) if event["event"] == "page" else ():
                        identifier = parse_id(record["id"] if record.get("id") is not None else record.get("video_id"))
                        if identifier is not None:
                            yield identifier, datetime.fromisoformat(event["observed_at"])
            except (DamagedCapture, FileNotFoundError):
                # It ends before the damage, or was sealed meanwhile: its rows are in the raw tables then.
                continue


def _query(settings: Settings, kind: str, sql: str, values: list[Any]) -> list[tuple[Any, ...]]:
    with RawTables(settings.raw) as raw:
        return raw.join(dict.fromkeys(TABLES[kind], "study=*/day=*"), sql, values)


def _held(settings: Settings, part: Part, excluded: Collection[int] = ()) -> str:
    """Return a subquery over the ids of a part without withdrawn and excluded ones.

    Its columns are `id`, `studies`, `collected`, `last`, the newer of collected and verified, and for videos `day`.
    """
    kind = part.kind
    created = ", create_time" if kind == "video" else ""
    rows = " UNION ALL ".join(f"SELECT id, study, observed_at{created} FROM {{{table}}}" for table in TABLES[kind])
    path = verified_path(settings, kind)
    verified = (
        f"read_parquet({template_literal(path)})"
        if path.exists()
        else "(SELECT NULL::BIGINT AS id, NULL::TIMESTAMPTZ AS verified_at WHERE false)"
    )
    withdrawn = read_withdrawn(settings.state)
    gone = sorted((withdrawn.videos if kind == "video" else withdrawn.comments) | frozenset(excluded))
    outside = f" AND id NOT IN (SELECT unnest([{', '.join(map(str, gone))}]::BIGINT[]))" if gone else ""
    studies = ", list(DISTINCT study) AS studies" if part.only is not None else ""
    usable = f"CASE WHEN create_time BETWEEN 1 AND {LAST_SECOND} THEN create_time END"
    day = f", CAST(make_timestamp(max({usable}) * 1000000) AS DATE) AS day" if created else ""
    return (
        "(SELECT *, greatest(collected, coalesce(verified_at, collected)) AS last FROM "
        f"(SELECT id, max(observed_at)::TIMESTAMPTZ AS collected{studies}{day} FROM ({rows}) "
        f"WHERE id IS NOT NULL{outside} GROUP BY id)"
        f" LEFT JOIN {verified} USING (id) WHERE {part.condition})"
    )


def drop_unknown(settings: Settings, *, apply: bool) -> int:
    """Remove the verified items that are in no raw table any more; returns their number."""
    number = drop_unknown_accounts(settings, apply=apply)
    for kind in ID_KINDS:
        path = verified_path(settings, kind)
        if path.exists():
            held = f"SELECT id FROM {_held(settings, Part(kind))}"
            sql = f"SELECT id FROM read_parquet({template_literal(path)}) WHERE id NOT IN ({held})"
            number += drop_verified(settings, kind, [row[0] for row in _query(settings, kind, sql, [])], apply=apply)
    return number


def unknown_items(settings: Settings, kind: str, items: Iterable[str]) -> set[str]:
    """Return those of some items (ids or handles as text) that are in no raw table."""
    wanted = set(items)
    if kind == "account":
        return wanted - {one.handle for one in held_accounts(settings)}
    sql = f"SELECT id FROM {_held(settings, Part(kind))} WHERE id IN (SELECT unnest(?::BIGINT[]))"
    return wanted - {str(row[0]) for row in _query(settings, kind, sql, [sorted(map(int, wanted))])}


def ids_in_part(settings: Settings, part: Part, ids: Iterable[int]) -> list[int]:
    """Return those of some ids that are in a part."""
    sql = f"SELECT id FROM {_held(settings, part)} WHERE id IN (SELECT unnest(?::BIGINT[])) ORDER BY id"
    return [row[0] for row in _query(settings, part.kind, sql, [sorted(ids)])]
