"""What the studies want, and what the ledger knows, as raw tables: with them a mart can say what nobody asked for yet.

Written anew before each build of the marts, from the studies, the clock and the raw tables. Nothing is asked.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

from research_assets import tables
from research_assets.clock import midnight
from research_assets.collect.agenda_model import Standing
from research_assets.collect.lookup import lookup
from research_assets.collect.observing import observes, period_length, running_period
from research_assets.collect.spec import StudySpec
from research_assets.collect.targets import Target, account_targets, videos_by_day
from research_assets.fields import ENTITIES
from research_assets.quota import Ledger

DAY = timedelta(days=1)


def write_wanted(raw: Path, studies: Iterable[StudySpec], now: datetime) -> None:
    """Replace raw/wanted: the units that each study wants, as far as they are known without asking."""
    for study in studies:
        path = tables.write_rows(
            raw, "wanted", study=study.name, day=now.date(), name="wanted", rows=wanted_units(raw, study, now)
        )
        for older in path.parent.parent.glob("day=*/*.parquet"):
            if older != path:
                older.unlink()


def write_requests(raw: Path, ledger: Ledger) -> None:
    """Bring raw/requests up to what the ledger has on record; days that are over are written once."""
    written = {path.parent.name.removeprefix("day=") for path in (raw / "requests").glob("study=*/day=*/*.parquet")}
    days = sorted(date.fromisoformat(day) for day in written if day != "1970-01-01")
    # The newest day on file may have gone on since.
    rows = ledger.rows(days[-1] if days else None)
    for day, of_day in groupby(rows, key=lambda row: row["day"]):
        by_study: dict[str, list[dict[str, Any]]] = {}
        for row in of_day:
            by_study.setdefault(row.pop("study"), []).append({k: v for k, v in row.items() if k != "day"})
        for study, own in by_study.items():
            tables.write_rows(raw, "requests", study=study, day=day, name="requests", rows=own)


def wanted_units(raw: Path, study: StudySpec, now: datetime) -> Iterator[dict[str, Any]]:
    """The wanted units of a study, in the columns of `fields.WANTED`.

    Days of videos up to today; comments by day, and by video once the day's videos are held; accounts by period, from
    the first period in which the study observed any to the running one.
    """
    last = min(study.end or now.date(), now.date())
    seen = _seen(raw, study)
    days_held = {
        day: Standing(looked_at=moment) if complete else Standing(open=1)
        for entity, day, complete, moment in seen
        if entity == "videos"
    }
    held = {day for day, standing in days_held.items() if not standing.open}
    days = [study.start + DAY * number for number in range((last - study.start).days + 1)]
    month, videos = "", dict[date, list[Target]]()
    for day in days:
        due = midnight(day) + DAY * (1 + study.settle_days)
        yield _row("videos", day, "day", day.isoformat(), due)
        if study.comments.videos == "none":
            continue
        if day not in held:
            yield _row("comments", day, "day", day.isoformat(), due)
            continue
        if month != f"{day:%Y-%m}":
            month = f"{day:%Y-%m}"
            videos = videos_by_day(raw, study, [other for other in days if f"{other:%Y-%m}" == month])
        for target in videos.get(day, []):
            if target.expected != 0:
                yield _row("comments", day, "video", target.unit, due)
    for entity in (name for name, entity in ENTITIES.items() if entity.clock == "observation"):
        names = [target.unit for target in account_targets(raw, study, entity)]
        observed = {period: moment for name, period, _, moment in seen if name == entity}
        by_videos = entity == "users" and study.users.who != "panel"
        for period in _periods(study, observed, days_held if by_videos else {}, now):
            for name in names:
                yield _row(entity, period, "account", name, midnight(period))


def _seen(raw: Path, study: StudySpec) -> list[tuple[str, date, bool, datetime]]:
    """Entities and partitions that were ever asked, whether any unit of them is complete, and the last moment."""
    sql = (
        "SELECT entity, partition, bool_or(state = 'complete'), max(last_at) FROM {table} "
        "WHERE unit_kind <> 'canary' GROUP BY 1, 2"
    )
    return [(*row,) for row in lookup(raw, "coverage", f"study={study.name}/*", sql)]


def _periods(
    study: StudySpec, observed: Mapping[date, datetime], days: Mapping[date, Standing], now: datetime
) -> list[date]:
    """The periods that were observed, and those in which the study was still to be; see `observes`."""
    running, step = running_period(study, now), period_length(study)
    period = min(observed, default=running)
    periods: list[date] = []
    while period <= running:
        seen_at = max((moment for earlier, moment in observed.items() if earlier < period), default=None)
        if period in observed or observes(study, days, seen_at, min(now, midnight(period + step))):
            periods.append(period)
        period += step
    return periods


def _row(entity: str, partition: date, kind: str, unit: str, due_at: datetime) -> dict[str, Any]:
    return {"entity": entity, "partition": partition, "unit_kind": kind, "unit": unit, "due_at": due_at}
