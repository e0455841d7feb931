"""Random draws from the videos that match a query on a day, for an estimate of their number.

Each draw is one search with `is_random` (reference 3.1), of at most 100 videos. The pages are kept as a capture, from
which the estimate can be computed again; a run that paused resumes its journal. Not here: the estimator (see
estimates/population.py), the confirmation of the cost (see cli/population.py).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from research_assets.collect.search.page import answer_facts
from research_assets.collect.sender import RequestContext
from research_assets.collect.session import RunState, Session, read_pages
from research_assets.collect.types import CollectorContext, StopCondition
from research_assets.estimates.population import PopulationEstimate, estimate_population, uniformity_p_value
from research_assets.quota.ledger import QuotaExhausted
from research_assets.settings import Settings
from research_assets.storage import raw_writer
from research_assets.storage.captures import (
    DamagedCapture,
    Journal,
    Manifest,
    capture_of,
    list_open_journals,
    list_sealed_files,
    read_events,
)
from research_assets.storage.listing import matching_paths
from research_assets.storage.locks import lock_partitions
from research_assets.storage.raw_digests import find_damaged, remove_raw_file
from research_assets.study.left_out import leave_out_accounts
from research_assets.study.spec import StudySpec
from research_assets.text import safe_logger
from research_assets.tiktok.endpoints import BY_ENTITY
from research_assets.tiktok.errors import ApiError, RateLimited, RetryableError
from research_assets.tiktok.ids import upload_time, video_id_of
from research_assets.tiktok.pages import ResponsePage
from research_assets.tiktok.requests import Request, video_query

_LOGGER = safe_logger(__name__)

POOL = BY_ENTITY["videos"].pool
"""Quota pool of the requests."""

FIELDS = ("id", "create_time", "region_code", "video_duration")
"""Requested fields: no handle and no text."""

_LENGTHS = ((15, "SHORT"), (60, "MID"), (300, "LONG"))
"""Upper bounds of the lengths of the API in seconds (reference 3.1.1)."""

_MAX_ATTEMPTS = 3


@dataclass(slots=True)
class DrawProgress:
    """Draws of a run so far, rebuilt from the events of its journal."""

    n_draws: int = 0

    def apply(self, event: Mapping[str, Any]) -> None:
        """Apply one event."""
        self.n_draws += event["event"] == "page"


@dataclass(frozen=True, slots=True)
class DrawResult:
    """The capture of a run and its estimate; without them the run was stopped and resumes."""

    n_draws: int
    stop: StopCondition | None = None
    population: "Population | None" = None


@dataclass(frozen=True, slots=True)
class Population:
    """The estimate of one run of draws for a UTC day, with the p-values of the tests of uniformity."""

    study: str
    day: date
    capture: str
    started_at: datetime
    ended_at: datetime
    n_requests: int
    estimate: PopulationEstimate
    p_hour: float | None
    p_region: float | None
    p_length: float | None


@dataclass(slots=True)
class _DrawPager:
    """Pager of the draws that are left."""

    study: StudySpec
    day: date
    remaining: int
    now: Callable[[], datetime]

    def next_request(self) -> Request | None:
        """Return the next draw; None if there are enough."""
        if self.remaining <= 0:
            return None
        return video_query(self.study.query, self.day, self.day, fields=FIELDS, is_random=True)

    def page_facts(self, page: ResponsePage) -> dict[str, Any]:
        """Return the facts of a draw."""
        self.remaining -= 1
        return {"unit": f"draws {self.day}", "partition": self.day, "context": {}, **answer_facts(page, self.now())}


def open_draws(settings: Settings, study: StudySpec, day: date, n_draws: int) -> int | None:
    """Return the draws of an unfinished run with the same query and number of draws; None if there is none."""
    path = _open_journal(settings, study, day, n_draws)
    return None if path is None else sum(event["event"] == "page" for event in read_events(path))


async def draw_population(study: StudySpec, day: date, n_draws: int, context: CollectorContext) -> DrawResult:
    """Send the draws of a run, or those that an unfinished one lacks, and return its estimate.

    Raise PartitionBusy if another process draws for this day, and errors of the API that end the run; the draws so far
    are kept.
    """
    settings, clock = context.settings, context.clock
    with ExitStack() as stack:
        stack.enter_context(lock_partitions(settings.state, study.name, "population", [day]))
        run = RunState(study.name, "videos", POOL, replace(context, progress=None), pseudonyms=study.pseudonyms)
        study = leave_out_accounts(study, run.withdrawn)
        path = _open_journal(settings, study, day, n_draws)
        progress = DrawProgress()
        if path is None:
            journal = Journal.create(
                _captures(settings),
                entity="videos",
                study=study.name,
                first=day,
                last=day,
                now=clock.now(),
                origin=settings.origin,
                header={"purpose": "population", "digest": _digest(study, day, n_draws), "fields": FIELDS},
            )
        else:
            journal = Journal.resume(path)
            for event in journal.events():
                progress.apply(event)
        stack.callback(journal.close)
        session = Session(run, journal, progress, f"draws {day}")
        pager = _DrawPager(study, day, n_draws - progress.n_draws, clock.now)
        request_context = RequestContext(study.name, "videos", f"random draws of {day}", is_due=False)
        try:
            await read_pages(session, pager, request_context, max_attempts=_max_attempts)
        except (QuotaExhausted, ApiError) as error:
            stop = run.stop_for(error)
            run.raise_failure()
            if stop is None:
                raise
            return DrawResult(progress.n_draws, stop)
        sealed = journal.seal()
        return DrawResult(progress.n_draws, population=read_population(sealed))


def _max_attempts(error: RetryableError) -> int | None:
    return None if isinstance(error, RateLimited) else _MAX_ATTEMPTS


def _captures(settings: Settings) -> Path:
    return settings.population / "captures"


def _digest(study: StudySpec, day: date, n_draws: int) -> str:
    text = orjson.dumps([study.query, day, n_draws], option=orjson.OPT_SORT_KEYS)
    return blake2b(text, digest_size=16).hexdigest()


def _open_journal(settings: Settings, study: StudySpec, day: date, n_draws: int) -> Path | None:
    digest = _digest(study, day, n_draws)
    for path in list_open_journals(_captures(settings), "videos", study.name):
        try:
            start = next(read_events(path), None)
        except FileNotFoundError:
            # Another process has published it since the folder was listed.
            continue
        if start is not None and start["header"].get("digest") == digest:
            return path
    return None


def read_populations(settings: Settings) -> Iterator[Population]:
    """Yield the estimates of all finished runs of draws, computed from their captures. Raise DamagedCapture."""
    for path in list_sealed_files(_captures(settings)):
        yield read_population(path)


def write_population_table(settings: Settings) -> None:
    """Update raw/population from the captures. A capture that cannot be read keeps its row, and is logged."""
    existing = {path.stem: path for path in matching_paths(settings.raw / "population", "study=[!_]*/day=*/*.parquet")}
    unexpected = dict(existing)
    damaged = find_damaged(existing.values())
    for sealed in list_sealed_files(_captures(settings)):
        try:
            # The rewritten capture of a removal has another digest.
            name = f"{capture_of(sealed)}-{Manifest.load(sealed).sha256[:8]}"
            path = unexpected.pop(name, None)
            if path is not None and path not in damaged:
                continue
            found = read_population(sealed)
        except DamagedCapture as error:
            _LOGGER.warning("%s", error)
            for kept in [one for one in unexpected if one.startswith(capture_of(sealed))]:
                del unexpected[kept]
            continue
        raw_writer.write_rows(
            settings.raw, "population", study=found.study, day=found.day, name=name, rows=[_row(found)]
        )
    for path in unexpected.values():
        remove_raw_file(path)


def _row(found: Population) -> dict[str, Any]:
    estimate = found.estimate
    return {
        "capture": found.capture,
        "started_at": found.started_at,
        "ended_at": found.ended_at,
        "n_requests": found.n_requests,
        "n_draws": estimate.n_draws,
        "n_drawn": estimate.n_drawn,
        "n_distinct": estimate.n_distinct,
        "n_pairs": estimate.n_pairs,
        "n_shared": estimate.n_shared,
        "estimate": estimate.estimate,
        "estimate_low": estimate.low,
        "estimate_high": estimate.high,
        "hour_p_value": found.p_hour,
        "region_p_value": found.p_region,
        "length_p_value": found.p_length,
    }


def read_population(sealed: Path) -> Population:
    """Return the estimate of a capture. Withdrawn videos are in no capture and not counted."""
    draws: list[dict[int, dict[str, Any]]] = []
    times: list[datetime] = []
    n_requests = 0
    start: Mapping[str, Any] = {}
    for event in read_events(sealed):
        if event["event"] == "start":
            start = event
        n_requests += event["event"] in ("page", "fail")
        if event["event"] == "page":
            times.append(datetime.fromisoformat(event["observed_at"]))
            data = (event.get("answer") or {}).get("data") or {}
            rows = data.get("videos")
            records = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
            draws.append({one: row for row in records if (one := video_id_of(row)) is not None})
    return Population(
        study=start["study"],
        day=date.fromisoformat(start["first"]),
        capture=start["capture"],
        started_at=min(times),
        ended_at=max(times),
        n_requests=n_requests,
        estimate=estimate_population(draws),
        p_hour=_p_value(draws, _hour),
        p_region=_p_value(draws, _region),
        p_length=_p_value(draws, _length),
    )


def _p_value(
    draws: list[dict[int, dict[str, Any]]], group: Callable[[int, Mapping[str, Any]], str | int]
) -> float | None:
    return uniformity_p_value([{one: group(one, row) for one, row in draw.items()} for draw in draws])


def _hour(video: int, _: Mapping[str, Any]) -> int:
    """Return the UTC hour of upload, in blocks of four hours."""
    return upload_time(video).astimezone(UTC).hour // 4


def _region(_: int, row: Mapping[str, Any]) -> str:
    region = row.get("region_code")
    return region.upper() if isinstance(region, str) else ""


def _length(_: int, row: Mapping[str, Any]) -> str:
    seconds = row.get("video_duration")
    if not isinstance(seconds, int | float):
        return ""
    return next((name for bound, name in _LENGTHS if seconds < bound), "EXTRA_LONG")
