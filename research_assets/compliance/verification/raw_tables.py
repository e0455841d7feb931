"""The raw tables of verification, which each build of the marts updates.

`verified_videos` and `verified_comments` have the times of verification in the studies and days of the items, and
`withdrawals` the number of withdrawn items per removal, without any id. Not here: the times themselves (see
verified.py), the log of withdrawals (see storage/withdrawals.py).
"""

from collections import Counter
from datetime import date, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from research_assets.compliance.verification.verified import verified_path
from research_assets.fields import ALL_STUDIES, VERIFIED_TABLES
from research_assets.settings import Settings
from research_assets.storage import raw_writer
from research_assets.storage.listing import matching_paths
from research_assets.storage.raw_reader import RawTables, intact_files
from research_assets.storage.raw_sql import template_literal
from research_assets.storage.withdrawals import read_withdrawals

_KINDS = {"videos": "video", "comments": "comment"}


def write_verification_tables(settings: Settings) -> None:
    """Update the raw tables of verification. A day whose times did not change keeps its file."""
    for target, table in VERIFIED_TABLES.items():
        _write_verified(settings, target, table, _KINDS[table])
    _write_withdrawals(settings)


def _write_verified(settings: Settings, target: str, table: str, kind: str) -> None:
    raw = settings.raw
    existing = {
        (path.parents[1].name.removeprefix("study="), path.parent.name.removeprefix("day="), path.stem): path
        for path in intact_files(raw, target, ["study=*/day=*"])
        if path.parents[1].name != f"study={raw_writer.PLACEHOLDER_STUDY}"
    }
    expected = {(study, str(day), f"verified-{digest}") for study, day, digest in _digests(settings, table, kind)}
    new = sorted(expected - existing.keys())
    for study, of_study in groupby(new, key=lambda one: one[0]):
        names = {date.fromisoformat(day): name for _, day, name in of_study}
        rows = _rows(settings, table, kind, study, list(names))
        raw_writer.write_files(
            raw,
            target,
            study=study,
            files=(
                (day, names[day], ({"id": one, "verified_at": at} for _, one, at in of_day))
                for day, of_day in groupby(rows, key=lambda row: row[0])
            ),
        )
    for key in existing.keys() - expected:
        existing[key].unlink(missing_ok=True)


def _digests(settings: Settings, table: str, kind: str) -> list[tuple[str, date, str]]:
    """Return each study and day with verified ids, and a digest of their ids and times."""
    sql = f"""
        SELECT study, day, printf('%016x', bit_xor(hash(id, epoch_us(verified_at)))) FROM ({_joined(settings, kind)})
        GROUP BY study, day"""
    return _query(settings, table, kind, sql, [])


def _rows(settings: Settings, table: str, kind: str, study: str, days: list[date]) -> list[tuple[date, int, datetime]]:
    """Return the verified ids of days of a study with their times, by day."""
    sql = f"""
        SELECT day, id, verified_at FROM ({_joined(settings, kind)})
        WHERE study = ? AND day IN (SELECT unnest(?::DATE[])) ORDER BY day, id"""
    return _query(settings, table, kind, sql, [study, days])


def _joined(settings: Settings, kind: str) -> str:
    verified = template_literal(verified_path(settings, kind))
    return f"""
        SELECT DISTINCT study, day, id, verified_at FROM {{table}} AS collected
        INNER JOIN read_parquet({verified}) AS verified USING (id)"""


def _query(settings: Settings, table: str, kind: str, sql: str, values: list[Any]) -> list[tuple[Any, ...]]:
    if not verified_path(settings, kind).exists():
        return []
    with RawTables(settings.raw) as raw:
        return raw.query(table, "study=*/day=*", sql, values, ())


def _write_withdrawals(settings: Settings) -> None:
    """Write the withdrawals of each UTC day as one file, if their number changed."""
    raw = settings.raw
    counts = Counter(
        (one.at.date(), one.at, one.receipt, one.kind, one.found_by) for one in read_withdrawals(settings.state)
    )
    for day, of_day in groupby(sorted(counts), key=lambda one: one[0]):
        groups = list(of_day)
        name = f"withdrawals-{sum(counts[one] for one in groups)}"
        folder: Path = raw / "withdrawals" / f"study={ALL_STUDIES}" / f"day={day}"
        old = set(matching_paths(folder, "*.parquet"))
        if {path.stem for path in old} == {name} and intact_files(raw, "withdrawals", [f"study=*/day={day}"]):
            continue
        rows = [
            {"receipt": receipt, "kind": kind, "found_by": found_by, "withdrawn_at": at, "n_items": counts[one]}
            for one in groups
            for _, at, receipt, kind, found_by in [one]
        ]
        path = raw_writer.write_rows(raw, "withdrawals", study=ALL_STUDIES, day=day, name=name, rows=rows)
        for other in old - {path}:
            other.unlink(missing_ok=True)
