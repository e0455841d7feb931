"""The expected units of the studies, and the raw tables that a build of the marts needs: these units, the request log.

With the expected units a mart can show which units have no attempt yet. They come from the studies, the time and the
raw tables; the log comes from the quota ledger. No request is sent. Not here: the targets of a partition (see
units/targets.py); the build itself (see assets/); all units of a partition by state (see coverage_board.py).
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from research_assets.clock import midnight
from research_assets.fields import ENTITIES
from research_assets.quota.ledger import Ledger
from research_assets.storage import raw_writer
from research_assets.storage.listing import matching_paths
from research_assets.storage.raw_digests import find_damaged
from research_assets.storage.raw_reader import RawTables, intact_files, query_raw
from research_assets.storage.raw_repair import repair_files
from research_assets.study.day_sample import DayStratum
from research_assets.study.spec import StudySpec
from research_assets.units.partition_status import PartitionStatus
from research_assets.units.periods import current_period, period_length, should_observe
from research_assets.units.targets import observed_kind, observed_targets, video_targets_by_day

Row = dict[str, Any]
"""An expected unit, in the columns of `fields.EXPECTED_UNITS`."""


@dataclass(frozen=True, slots=True)
class _ExpectedFile:
    """A file of raw/expected_units: the units that a study expects of one partition, and when they are due (UTC).

    Its name contains a digest of its inputs, so an existing file of that name is not written again. `rows` are read
    only for a new file. `by_video` is true if the rows of comments, one per video, are still to be added.
    """

    day: date
    name: str
    due_at: datetime
    rows: Iterable[Row]
    by_video: bool = False


@dataclass(frozen=True, slots=True)
class UnattemptedUnits:
    """Expected units of a partition without an attempt: their number, and when the first of them is due (UTC).

    `is_too_fresh` is true for units that are not due yet.
    """

    entity: str
    partition: date
    is_too_fresh: bool
    units: int
    due_at: datetime


_ACCOUNTS = "accounts-"
"""Begin of the names of files with the accounts and playlists of a period."""


@dataclass(frozen=True, slots=True)
class _Collected:
    """Data that a study has collected: the status of its days of videos, and the last attempt per entity and period."""

    days: dict[date, PartitionStatus] = field(default_factory=dict)
    last_attempts: dict[str, dict[date, datetime]] = field(default_factory=dict)


def write_expected_units(raw: Path, studies: Iterable[StudySpec], now: datetime) -> None:
    """Update raw/expected_units: the units that each study expects, as far as they are known without a request.

    These are the days of videos up to today; comments by day, and by video once the videos of the day are collected;
    accounts by period, from the first period that the study observed to the current one. A past period keeps the
    accounts that were known while it ran.
    """
    for study in studies:
        new, outdated = _changed_files(raw, study, now)
        raw_writer.write_files(raw, "expected_units", study=study.name, files=_with_video_rows(raw, study, new))
        for path in outdated:
            path.unlink()


def read_unattempted_units(raw: Path, study: StudySpec, now: datetime) -> list[UnattemptedUnits]:
    """Return the number of expected units without an attempt, as the mart `coverage` would have them if built now.

    Nothing is written: what changed since the last build is computed in memory.
    """
    new, outdated = _changed_files(raw, study, now)
    rows = [row for _, _, rows in _with_video_rows(raw, study, new) for row in rows]
    # A file contains either the units of a day or the accounts and playlists of a period.
    is_read = [(file.day, file.name) for file in new] + [(_day_of_file(path), path.stem) for path in outdated]
    columns = {name: [row[name] for row in rows] for name in ("entity", "partition", "unit_kind", "unit", "due_at")}
    with RawTables(raw) as tables:
        found = tables.join(
            dict.fromkeys(("expected_units", "coverage"), f"study={study.name}/day=*"),
            """
            SELECT entity, "partition", due_at > $1::TIMESTAMPTZ AS is_too_fresh, count(*), min(due_at)
            FROM (
                SELECT entity, "partition", unit_kind, unit, due_at FROM {expected_units} AS stored
                ANTI JOIN (SELECT unnest($2::DATE[]) AS "partition", unnest($3::BOOLEAN[]) AS of_accounts) AS changed
                ON stored."partition" = changed."partition"
                    AND (stored.unit_kind IN ('account', 'playlist')) = changed.of_accounts
                UNION ALL
                SELECT unnest($4::VARCHAR[]), unnest($5::DATE[]), unnest($6::VARCHAR[]), unnest($7::VARCHAR[]),
                    unnest($8::TIMESTAMPTZ[])
            )
            ANTI JOIN {coverage} USING (entity, "partition", unit_kind, unit)
            GROUP BY ALL ORDER BY ALL
            """,
            [now, [day for day, _ in is_read], [name.startswith(_ACCOUNTS) for _, name in is_read], *columns.values()],
        )
    return [UnattemptedUnits(*row) for row in found]


def _changed_files(raw: Path, study: StudySpec, now: datetime) -> tuple[list[_ExpectedFile], list[Path]]:
    """Return the expected files of a study that do not exist, and the existing files that are not expected."""
    # A damaged file is set aside, so it is written again.
    paths = intact_files(raw, "expected_units", [f"study={study.name}/day=*"])
    existing = {(path.parent.name.removeprefix("day="), path.stem): path for path in paths}
    collected = _read_collected(raw, study)
    expected = {
        (file.day.isoformat(), file.name): file
        for file in (
            *_day_files(raw, study, collected, now),
            *_account_files(raw, study, collected, now, existing.keys()),
        )
    }
    return (
        [file for key, file in expected.items() if key not in existing],
        [path for key, path in existing.items() if key not in expected],
    )


def write_request_log(raw: Path, ledger: Ledger) -> None:
    """Update raw/requests from the ledger; past days are written once, unless a file of theirs is damaged."""
    paths = [path for path in matching_paths(raw / "requests", "study=*/day=*/*.parquet") if path.stem != "empty"]
    days = sorted(map(_day_of_file, paths))
    damaged = find_damaged(paths)
    repair_files(raw, damaged)
    # The newest day in the files may have more requests by now.
    rows = ledger.iter_requests(min([days[-1], *map(_day_of_file, damaged)]) if days else None)
    for day, of_day in groupby(rows, key=lambda row: row["day"]):
        by_study: dict[str, list[dict[str, Any]]] = {}
        for row in of_day:
            by_study.setdefault(row.pop("study"), []).append({k: v for k, v in row.items() if k != "day"})
        for study, of_study in by_study.items():
            raw_writer.write_rows(raw, "requests", study=study, day=day, name="requests", rows=of_study)


def _day_of_file(path: Path) -> date:
    return date.fromisoformat(path.parent.name.removeprefix("day="))


def _read_collected(raw: Path, study: StudySpec) -> _Collected:
    rows = query_raw(
        raw,
        "coverage",
        f"study={study.name}/*",
        "SELECT entity, partition, bool_or(state = 'complete'), max(last_at) FROM {table} "
        "WHERE unit_kind NOT IN ('canary', 'rename') GROUP BY 1, 2",
    )
    collected = _Collected()
    for entity, partition, is_complete, last_at in rows:
        collected.last_attempts.setdefault(entity, {})[partition] = last_at
        if entity == "videos":
            collected.days[partition] = (
                PartitionStatus(last_complete_at=last_at) if is_complete else PartitionStatus(open_units=1)
            )
    return collected


# Days: videos and their comments.


def _day_files(raw: Path, study: StudySpec, collected: _Collected, now: datetime) -> Iterator[_ExpectedFile]:
    """Yield the file of each day of a study up to today."""
    for day in study.days_until(now):
        due_at = study.settles_at(day)
        stratum = study.day_sample.stratum(day) if study.day_sample else None
        rows = [_row("videos", day, "day", day.isoformat(), due_at, stratum)]
        status = collected.days.get(day)
        by_video = study.comments.videos != "none" and status is not None and not status.open_units
        if study.comments.videos != "none" and not by_video:
            rows.append(_row("comments", day, "day", day.isoformat(), due_at))
        inputs: list[object] = [due_at, len(rows), stratum]
        if by_video:
            inputs += [study.comments, _video_files(raw, study, day)]
        yield _ExpectedFile(day, f"day-{_digest(inputs)}", due_at, rows, by_video)


def _with_video_rows(
    raw: Path, study: StudySpec, files: Iterable[_ExpectedFile]
) -> Iterator[tuple[date, str, Iterable[Row]]]:
    """Yield the day, name and all rows of each file. The videos of a month are read in one query."""
    for _, of_month in groupby(files, key=lambda file: f"{file.day:%Y-%m}"):
        month = list(of_month)
        videos = video_targets_by_day(raw, study, [file.day for file in month if file.by_video])
        for file in month:
            targets = videos.get(file.day, ()) if file.by_video else ()
            video_rows = (
                _row("comments", file.day, "video", target.unit, file.due_at)
                | {"inclusion_probability": target.inclusion_probability}
                for target in targets
            )
            yield file.day, file.name, chain(file.rows, video_rows)


def _video_files(raw: Path, study: StudySpec, day: date) -> list[tuple[str, int]]:
    """Return the name and size of each file with videos of a day. No such file is changed after it was written."""
    try:
        with os.scandir(raw / "videos" / f"study={study.name}" / f"day={day}") as entries:
            return sorted((entry.name, entry.stat().st_size) for entry in entries)
    except FileNotFoundError:
        return []


# Periods: accounts.


def _account_files(
    raw: Path, study: StudySpec, collected: _Collected, now: datetime, existing: Iterable[tuple[str, str]]
) -> Iterator[_ExpectedFile]:
    """Yield the file of each period in which accounts were observed or are due."""
    entities_by_period: dict[date, list[str]] = {}
    names: dict[str, list[str]] = {}
    for entity in (name for name, entity in ENTITIES.items() if entity.time_axis == "observation"):
        names[entity] = [target.unit for target in observed_targets(raw, study, entity, current_period(study, now))]
        if not names[entity]:
            continue
        days = collected.days if study.depends_on_videos(entity) else {}
        for period in _periods(study, collected.last_attempts.get(entity, {}), days, now):
            entities_by_period.setdefault(period, []).append(entity)
    digests = {entity: _digest(names[entity]) for entity in names}
    existing_names = {date.fromisoformat(day): name for day, name in existing if name.startswith(_ACCOUNTS)}
    for period, entities in sorted(entities_by_period.items()):
        name = f"{_ACCOUNTS}{_digest([(entity, digests[entity]) for entity in entities])}"
        if period < current_period(study, now):
            name = existing_names.get(period, name)
        due_at = midnight(period)
        yield _ExpectedFile(
            period, name, due_at, _account_rows(period, {entity: names[entity] for entity in entities}, due_at)
        )


def _account_rows(period: date, names: Mapping[str, Sequence[str]], due_at: datetime) -> Iterator[Row]:
    """Yield the rows of a period; `names` are the expected accounts or playlists by entity."""
    for entity, units in names.items():
        for unit in units:
            yield _row(entity, period, observed_kind(entity), unit, due_at)


def _periods(
    study: StudySpec, last_attempts: Mapping[date, datetime], days: Mapping[date, PartitionStatus], now: datetime
) -> list[date]:
    """Return the periods that were observed, and those in which accounts were due; see `should_observe`."""
    current, step = current_period(study, now), period_length(study)
    period = min(last_attempts, default=current)
    periods: list[date] = []
    last_observed_at: datetime | None = None
    later = sorted(last_attempts.items(), reverse=True)
    while period <= current:
        while later and later[-1][0] < period:
            _, observed_at = later.pop()
            last_observed_at = max(last_observed_at or observed_at, observed_at)
        period_end = min(now, midnight(period + step))
        if period in last_attempts or should_observe(study, days, last_observed_at, period_end, period):
            periods.append(period)
        period += step
    return periods


def _row(
    entity: str, partition: date, kind: str, unit: str, due_at: datetime, stratum: DayStratum | None = None
) -> Row:
    return {
        "entity": entity,
        "partition": partition,
        "unit_kind": kind,
        "unit": unit,
        "due_at": due_at,
        "stratum": stratum and stratum.name,
        "stratum_days": stratum and stratum.n_days,
        "stratum_sampled": stratum and len(stratum.drawn),
        "inclusion_probability": stratum and stratum.probability,
    }


def _digest(inputs: Sequence[object]) -> str:
    return hashlib.blake2b(repr(inputs).encode(), digest_size=8).hexdigest()
