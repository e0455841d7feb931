"""Canary checks: searches for previously collected videos, which show whether the API answers a study's query.

From 9 March 2026 keyword queries returned 0 results without an error while username queries worked (reference §7 #10).
One request with the study's own query, restricted to previously collected videos, distinguishes this from days that
are empty. If searches fail, the same request distinguishes an API that is down from dead days.

`CanaryProbe` runs a check during a collection when a decision depends on it. `recheck_known_videos` is the weekly
recheck, one request per study and week: each video is a unit of the kind `canary` in raw/coverage, `complete` if it
was found and `missing` if not. So attrition and a query that is no longer answered become visible. No data is deleted.

Not here: when a recheck is due (see units/periods.py); what a result means for a day (see conclude.py).
"""

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from research_assets.clock import Clock
from research_assets.collect.own_capture import capture_search
from research_assets.collect.sender import RequestContext, RequestSender, summarize_error
from research_assets.collect.session import RecordEvent, RunState
from research_assets.collect.types import (
    CollectionTask,
    CollectorContext,
    PartitionResult,
    Paused,
    StopCondition,
    result_from_attempt,
)
from research_assets.quota.ledger import QuotaExhausted
from research_assets.settings import Settings
from research_assets.storage.raw_reader import query_raw
from research_assets.study.spec import StudySpec
from research_assets.tiktok.endpoints import BY_ENTITY
from research_assets.tiktok.errors import RateLimited, RetryableError, UnitError
from research_assets.tiktok.ids import video_id_of
from research_assets.tiktok.requests import MAX_COUNT, Request, video_query
from research_assets.units.coverage import Attempt, UnitState, UnitStatus, backoff_until
from research_assets.units.periods import MIN_CANARY_VIDEOS
from research_assets.units.usernames import (
    Usernames,
    batchable_usernames,
    isolated_usernames,
    most_frequent_usernames,
    restrict_query,
)

POOL = BY_ENTITY["videos"].pool
NONE_FOUND = "None of {} previously collected videos was found in two searches: the API is not answering this query."
NOT_FOUND = "Previously collected, but not found in the canary check."

CanaryResult = Literal["found", "none", "error"]
"""Outcome of a canary check: at least one video was found; none was found in two searches; the request failed."""


@dataclass(frozen=True, slots=True)
class CanaryVideos:
    """Previously collected videos of a day, at most as many as fit on one page.

    `names` are the accounts to which the study's query is restricted; empty for the whole query.
    """

    study: StudySpec
    day: date
    videos: tuple[int, ...]
    names: Usernames = ()

    @property
    def request(self) -> Request:
        """The search for these videos."""
        condition = {"operation": "IN", "field_name": "video_id", "field_values": [str(video) for video in self.videos]}
        query = restrict_query(self.study.query, self.names)
        query = {**query, "and": (*query.get("and", ()), condition)}
        return video_query(query, self.day, self.day, fields=("id", "create_time"))


def sample_known_videos(
    settings: Settings, study: StudySpec, day: date, isolated: Mapping[str, Attempt], max_videos: int | None = None
) -> CanaryVideos:
    """Return a pseudo-random sample of a day's collected videos.

    If the query is batched by username, the sample has the videos of the most frequent accounts that one search can
    name; `max_videos` limits these accounts. `isolated` are the accounts that are searched separately.
    """
    rows = query_raw(
        settings.raw,
        "videos",
        f"study={study.name}/day={day}",
        "SELECT id, any_value(username) FROM {table} WHERE id IS NOT NULL GROUP BY id ORDER BY hash(id), id",
    )
    # The API matches handles case-insensitively and returns its own spelling.
    names_by_folded = {name.casefold(): name for name in batchable_usernames(study.query)}
    if not names_by_folded:
        return CanaryVideos(study, day, tuple(video for video, _ in rows[:MAX_COUNT]))
    authors = {
        video: names_by_folded[author.casefold()]
        for video, author in rows
        if author and author.casefold() in names_by_folded
    }
    names = most_frequent_usernames(authors.values(), isolated, settings.username_batch, max_videos)
    return CanaryVideos(study, day, tuple(video for video, name in authors.items() if name in names)[:MAX_COUNT], names)


async def search_known_videos(
    canary: CanaryVideos, sender: RequestSender, clock: Clock, record_event: RecordEvent, *, max_attempts: int
) -> set[int]:
    """Search for previously collected videos, a second time if none is found, and return the ids that were found.

    Each request is recorded as an event. A failing request is sent at most `max_attempts` times; rate limiting is
    waited for. Raise QuotaExhausted, and the ApiError of the last attempt.
    """
    context = RequestContext(canary.study.name, "videos", f"canary of {canary.day}")
    found: set[int] = set()
    # A single search may return nothing by accident (reference §7 #10), so one empty response is no proof.
    for _ in range(2):
        page = await sender.send(
            canary.request,
            context,
            lambda facts: record_event("fail", facts, None),
            max_attempts=lambda error: None if isinstance(error, RateLimited) else max_attempts,
        )
        found = {video for row in page.rows if (video := video_id_of(row)) is not None} & set(canary.videos)
        facts = {"unit": context.unit, "known": len(canary.videos), "found": len(found), "requests": 1}
        record_event("canary", facts | {"observed_at": clock.now(), "log_id": page.log_id}, page.raw)
        if found:
            break
    return found


class CanaryProbe:
    """The canary check of one run: sent at most once, with one result for all windows that wait for it."""

    def __init__(
        self,
        settings: Settings,
        study: StudySpec,
        status: Mapping[date, UnitStatus],
        isolated: Mapping[str, Attempt],
        run: RunState,
    ) -> None:
        """`isolated` are the accounts that are searched separately; the run adds to it while the check is pending."""
        self._settings, self._study, self._status = settings, study, status
        self._sender, self._clock = run.sender, run.context.clock
        self._isolated = isolated
        self._lock = asyncio.Lock()
        self._result: CanaryResult | None = None

    async def check(self, excluded: Collection[date], record_event: RecordEvent) -> CanaryResult | None:
        """Return the result of the check; None if no day outside `excluded` has enough collected videos.

        Its requests are recorded as events of the caller's journal. Raise QuotaExhausted, and errors that are final
        for all units.
        """
        async with self._lock:
            if self._result is None:
                day = self._best_day(excluded)
                if day is None:
                    return None
                self._result = await self._search(day, record_event)
            return self._result

    def _best_day(self, excluded: Collection[date]) -> date | None:
        days = (
            day
            for day, record in self._status.items()
            if record.attempt.state == "complete" and record.attempt.kept >= MIN_CANARY_VIDEOS and day not in excluded
        )
        return max(days, default=None)

    async def _search(self, day: date, record_event: RecordEvent) -> CanaryResult | None:
        canary = sample_known_videos(self._settings, self._study, day, self._isolated, max_videos=MIN_CANARY_VIDEOS)
        if len(canary.videos) < MIN_CANARY_VIDEOS:
            return None
        try:
            found = await search_known_videos(canary, self._sender, self._clock, record_event, max_attempts=1)
        except (RetryableError, UnitError):
            return "error"
        return "found" if found else "none"


async def recheck_known_videos(
    task: CollectionTask, context: CollectorContext, day: date, records: Collection[UnitStatus]
) -> AsyncGenerator[PartitionResult | Paused, None]:
    """Search for a day's collected videos and record which were found; yield the day unchanged, or a pause.

    `records` are the unit status of the study's videos. Raise errors that are final for all units.
    """
    study = task.study
    status = next((r for r in records if r.attempt.unit_kind == "day" and r.attempt.partition == day), None)
    if status is None or status.attempt.state != "complete":
        reason = "The day is not complete, so there is no canary check for it."
        yield PartitionResult(partition=day, state="not_asked", units={"not_asked": 1}, reason=reason)
        return
    canary = sample_known_videos(
        context.settings, study, day, isolated_usernames(batchable_usernames(study.query), records)
    )
    run = RunState(study.name, "videos", POOL, context, budget=task.budget, pseudonyms=study.pseudonyms)
    try:
        if canary.videos:
            await _run_recheck(canary, run)
    except (QuotaExhausted, RetryableError, UnitError) as error:
        stop = run.stop_for(error)
        run.raise_failure()
        if stop is None:
            reason = f"The canary check failed: {summarize_error(error)}."  # type: ignore[arg-type]
            stop = StopCondition.cool_down(POOL, reason, context.clock.now())
        yield Paused(stop.pool, stop.reason, stop.retry_at, (day,))
        return
    yield result_from_attempt(status.attempt, was_complete=True)


async def _run_recheck(canary: CanaryVideos, run: RunState) -> None:
    """Search for the videos; the responses and the attempts become a capture of their own."""
    clock = run.context.clock
    await capture_search(
        run,
        (canary.day, canary.day),
        {"canary_check": True},
        lambda record: search_known_videos(canary, run.sender, clock, record, max_attempts=2),
        lambda found, requests, capture: _canary_attempts(canary, found, requests, clock.now(), capture),
    )


def _canary_attempts(
    canary: CanaryVideos, found: Collection[int], requests: float, now: datetime, capture: str
) -> list[Attempt]:
    number = len(canary.videos)
    # Fewer videos may all have been withdrawn, so they say nothing about the query.
    none_found = not found and number >= MIN_CANARY_VIDEOS

    def attempt(video: int) -> Attempt:
        state: UnitState = "suspicious" if none_found else "complete" if video in found else "missing"
        reason = NONE_FOUND.format(number) if none_found else None if video in found else NOT_FOUND
        return Attempt(
            entity="videos",
            partition=canary.day,
            unit_kind="canary",
            unit=str(video),
            state=state,
            first_at=now,
            last_at=now,
            asked=1,
            offered=int(video in found),
            kept=int(video in found),
            requests=requests / number,
            expected=1,
            reason=reason,
            next_try=backoff_until(now, 1) if none_found else None,
            capture=capture,
        )

    return [attempt(video) for video in canary.videos]
