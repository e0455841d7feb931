"""What the studies want, and what the ledger knows, as raw tables: with them a mart can say what nobody asked for yet.

Brought up to date before each build of the marts, from the studies, the clock and the raw tables. Nothing is asked.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from research_assets.clock import midnight
from research_assets.fields import ENTITIES
from research_assets.quota.ledger import Ledger
from research_assets.storage import raw_writer
from research_assets.storage.raw_reader import query_raw
from research_assets.study.spec import StudySpec
from research_assets.units.partition_status import PartitionStatus
from research_assets.units.periods import current_period, period_length, should_observe
from research_assets.units.targets import account_targets, video_targets_by_day

ONE_DAY = timedelta(days=1)
Row = dict[str, Any]
"""A wanted unit, in the columns of `fields.WANTED`."""

CollectedPartitions = Sequence[tuple[str, date, bool, datetime]]
"""Entities and partitions that were ever asked, whether any unit of them is complete, and the last moment."""


@dataclass(frozen=True, slots=True)
class _ExpectedFile:
    """A file of raw/wanted: what a study wants of one partition, from when on it is due.

    Its name says what it is made of, so that one that is there need not be made again. Only then are its rows made;
    those of the comments that are wanted video by video are not among them yet.
    """

    day: date
    name: str
    due_at: datetime
    rows: Iterable[Row]
    video_by_video: bool = False


def write_expected_units(raw: Path, studies: Iterable[StudySpec], now: datetime) -> None:
    """Bring raw/wanted up to date: the units that each study wants, as far as they are known without asking.

    Days of videos up to today; comments by day, and by video once the day's videos are held; accounts by period, from
    the first period in which the study observed any to the running one. A period that is over wants the accounts that
    were known while it ran.
    """
    for study in studies:
        files = (raw / "wanted" / f"study={study.name}").glob("day=*/*.parquet")
        held = {(path.parent.name.removeprefix("day="), path.stem): path for path in files}
        seen = _collected_partitions(raw, study)
        parts = [*_day_files(raw, study, seen, now), *_account_files(raw, study, seen, now, held.keys())]
        new = [part for part in parts if (part.day.isoformat(), part.name) not in held]
        raw_writer.write_files(raw, "wanted", study=study.name, files=_with_video_rows(raw, study, new))
        for key in held.keys() - {(part.day.isoformat(), part.name) for part in parts}:
            held[key].unlink()


def write_request_log(raw: Path, ledger: Ledger) -> None:
    """Bring raw/requests up to what the ledger has on record; days that are over are written once."""
    written = {path.parent.name.removeprefix("day=") for path in (raw / "requests").glob("study=*/day=*/*.parquet")}
    days = sorted(date.fromisoformat(day) for day in written if day != "1970-01-01")
    # The newest day on file may have gone on since.
    rows = ledger.iter_requests(days[-1] if days else None)
    for day, of_day in groupby(rows, key=lambda row: row["day"]):
        by_study: dict[str, list[dict[str, Any]]] = {}
        for row in of_day:
            by_study.setdefault(row.pop("study"), []).append({k: v for k, v in row.items() if k != "day"})
        for study, own in by_study.items():
            raw_writer.write_rows(raw, "requests", study=study, day=day, name="requests", rows=own)


def _day_files(raw: Path, study: StudySpec, seen: CollectedPartitions, now: datetime) -> Iterator[_ExpectedFile]:
    """The part of each day of a study up to today."""
    last = min(study.end or now.date(), now.date())
    held = {day for entity, day, complete, _ in seen if entity == "videos" and complete}
    for number in range((last - study.start).days + 1):
        day = study.start + ONE_DAY * number
        due = midnight(day) + ONE_DAY * (1 + study.settle_days)
        rows = [_row("videos", day, "day", day.isoformat(), due)]
        video_by_video = study.comments.videos != "none" and day in held
        if study.comments.videos != "none" and not video_by_video:
            rows.append(_row("comments", day, "day", day.isoformat(), due))
        made_of: list[object] = [due, len(rows)]
        if video_by_video:
            made_of += [study.comments, _video_files(raw, study, day)]
        yield _ExpectedFile(day, f"day-{_digest(made_of)}", due, rows, video_by_video)


def _account_files(
    raw: Path, study: StudySpec, seen: CollectedPartitions, now: datetime, held: Iterable[tuple[str, str]]
) -> Iterator[_ExpectedFile]:
    """The part of each period in which accounts were observed or still are to be."""
    wanted: dict[date, list[str]] = {}
    names: dict[str, list[str]] = {}
    days_held = {
        day: PartitionStatus(last_complete_at=moment) if complete else PartitionStatus(open_units=1)
        for entity, day, complete, moment in seen
        if entity == "videos"
    }
    for entity in (name for name, entity in ENTITIES.items() if entity.time_axis == "observation"):
        names[entity] = [target.unit for target in account_targets(raw, study, entity)]
        observed = {period: moment for name, period, _, moment in seen if name == entity}
        by_videos = entity == "users" and study.users.who != "panel"
        for period in _periods(study, observed, days_held if by_videos else {}, now) if names[entity] else ():
            wanted.setdefault(period, []).append(entity)
    digests = {entity: _digest(names[entity]) for entity in names}
    known = {date.fromisoformat(day): name for day, name in held if name.startswith("accounts-")}
    for period, entities in sorted(wanted.items()):
        name = f"accounts-{_digest([(entity, digests[entity]) for entity in entities])}"
        if period < current_period(study, now):
            name = known.get(period, name)
        due = midnight(period)
        yield _ExpectedFile(
            period, name, due, _account_rows(period, {entity: names[entity] for entity in entities}, due)
        )


def _account_rows(period: date, names: Mapping[str, Sequence[str]], due: datetime) -> Iterator[Row]:
    """The rows of a period: `names` are the accounts that are wanted, by entity."""
    for entity, units in names.items():
        for unit in units:
            yield _row(entity, period, "account", unit, due)


def _with_video_rows(
    raw: Path, study: StudySpec, parts: Iterable[_ExpectedFile]
) -> Iterator[tuple[date, str, Iterable[Row]]]:
    """The files of some parts; the videos of a month are looked up together."""
    for _, of_month in groupby(parts, key=lambda part: f"{part.day:%Y-%m}"):
        month = list(of_month)
        videos = video_targets_by_day(raw, study, [part.day for part in month if part.video_by_video])
        for part in month:
            of_videos = (
                _row("comments", part.day, "video", target.unit, part.due_at)
                for target in (videos.get(part.day, ()) if part.video_by_video else ())
                if target.expected != 0
            )
            yield part.day, part.name, chain(part.rows, of_videos)


def _video_files(raw: Path, study: StudySpec, day: date) -> list[tuple[str, int]]:
    """The files that hold a day's videos, each with its size; none is ever changed in place."""
    try:
        with os.scandir(raw / "videos" / f"study={study.name}" / f"day={day}") as entries:
            return sorted((entry.name, entry.stat().st_size) for entry in entries)
    except FileNotFoundError:
        return []


def _digest(made_of: Sequence[object]) -> str:
    return hashlib.blake2b(repr(made_of).encode(), digest_size=8).hexdigest()


def _collected_partitions(raw: Path, study: StudySpec) -> CollectedPartitions:
    sql = (
        "SELECT entity, partition, bool_or(state = 'complete'), max(last_at) FROM {table} "
        "WHERE unit_kind <> 'canary' GROUP BY 1, 2"
    )
    return [(*row,) for row in query_raw(raw, "coverage", f"study={study.name}/*", sql)]


def _periods(
    study: StudySpec, observed: Mapping[date, datetime], days: Mapping[date, PartitionStatus], now: datetime
) -> list[date]:
    """The periods that were observed, and those in which the study was still to be; see `observes`."""
    running, step = current_period(study, now), period_length(study)
    period = min(observed, default=running)
    periods: list[date] = []
    while period <= running:
        seen_at = max((moment for earlier, moment in observed.items() if earlier < period), default=None)
        if period in observed or should_observe(study, days, seen_at, min(now, midnight(period + step))):
            periods.append(period)
        period += step
    return periods


def _row(entity: str, partition: date, kind: str, unit: str, due_at: datetime) -> Row:
    return {"entity": entity, "partition": partition, "unit_kind": kind, "unit": unit, "due_at": due_at}
