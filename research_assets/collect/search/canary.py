"""Canaries: videos that were found before must be found again, or the API is not answering this study's query.

The API has been known to give keyword queries nothing at all, without an error (reference §7 #10). One request with
the study's own query, narrowed to videos that are held, tells that from days that are truly empty; and where nothing
is answered, it tells an API that is down from days that are dead. Here is how such videos are chosen and asked for, and
the canary that a run listens to; what is looked for by routine and recorded is in `roll_call.py`.
"""

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from research_assets.clock import Clock
from research_assets.collect.publish import publish_in_background
from research_assets.collect.search.pager import RecordEvent
from research_assets.collect.sender import RequestContext, RequestSender, summarize_error
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
from research_assets.storage.captures import Journal
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

# JOINED: """The roll call: videos known from before are looked for again now and then, and what is no longer found is recorded.
#
# `canary.py` asks when a verdict hangs on it; this asks by routine, one request a week and study. Each video is a unit of
# the kind `canary` in raw/coverage, `complete` if it was found and `missing` if not, so that attrition and a query that
# is no longer answered can be seen. Nothing is removed for it. When a look is due is said in `observing.py`.
# """


CanaryResult = Literal["found", "none", "error"]
"""Some of the videos were found; none was, twice; the request was not answered."""


@dataclass(frozen=True, slots=True)
class CanaryVideos:
    """Videos of a day that a study found before, as many as one page takes.

    `names` are the accounts for which the study's query is asked, none for the whole query.
    """

    study: StudySpec
    day: date
    videos: tuple[int, ...]
    names: Usernames = ()

    @property
    def request(self) -> Request:
        """The search that finds them."""
        condition = {"operation": "IN", "field_name": "video_id", "field_values": [str(video) for video in self.videos]}
        query = restrict_query(self.study.query, self.names)
        query = {**query, "and": (*query.get("and", ()), condition)}
        return video_query(query, self.day, self.day, fields=("id", "create_time"))


def sample_known_videos(
    settings: Settings, study: StudySpec, day: date, alone: Mapping[str, Attempt], max_videos: int | None = None
) -> CanaryVideos:
    """Videos of a day, by lot; where the query must be asked in parts, those of the accounts `with_most` of them."""
    rows = query_raw(
        settings.raw,
        "videos",
        f"study={study.name}/day={day}",
        "SELECT id, any_value(username) FROM {table} WHERE id IS NOT NULL GROUP BY id ORDER BY hash(id), id",
    )
    # The API matches handles in whatever case, and answers in its own.
    spelt = {name.casefold(): name for name in batchable_usernames(study.query)}
    if not spelt:
        return CanaryVideos(study, day, tuple(video for video, _ in rows[:MAX_COUNT]))
    authors = {video: spelt[author.casefold()] for video, author in rows if author and author.casefold() in spelt}
    names = most_frequent_usernames(authors.values(), alone, settings.username_batch, max_videos)
    return CanaryVideos(study, day, tuple(video for video, name in authors.items() if name in names)[:MAX_COUNT], names)


async def search_known_videos(
    sought: CanaryVideos, sender: RequestSender, clock: Clock, note: RecordEvent, *, tries: int
) -> set[int]:
    """Ask for known videos, and once more if not one is found; gives those that were found.

    Each request is noted as an event. One that fails is tried `tries` times, a throttle is waited for. Raises
    QuotaSpent, and the ApiError that stands after the last try.
    """
    context = RequestContext(sought.study.name, "videos", f"canary of {sought.day}")
    found: set[int] = set()
    # A search that finds nothing for no reason is rarer than a query that is not answered, but it happens.
    for _ in range(2):
        answer = await sender.send(
            sought.request,
            context,
            lambda facts: note("fail", facts, None),
            max_attempts=lambda error: None if isinstance(error, RateLimited) else tries,
        )
        found = {video for row in answer.rows if (video := video_id_of(row)) is not None} & set(sought.videos)
        facts = {"unit": context.unit, "known": len(sought.videos), "found": len(found), "requests": 1}
        note("canary", facts | {"observed_at": clock.now(), "log_id": answer.log_id}, answer.raw)
        if found:
            break
    return found


class CanaryProbe:
    """Asks once per run, when something hangs on it; everybody who waits hears the same."""

    def __init__(
        self,
        settings: Settings,
        study: StudySpec,
        status: Mapping[date, UnitStatus],
        alone: Mapping[str, Attempt],
        sender: RequestSender,
        clock: Clock,
    ) -> None:
        """`alone` are the accounts that are asked by themselves, as far as the run has learned of them."""
        self._settings, self._study, self._status, self._sender, self._clock = settings, study, status, sender, clock
        self._alone = alone
        self._turn = asyncio.Lock()
        self._song: CanaryResult | None = None
        self._asked = False

    async def check(self, without: Collection[date], note: RecordEvent) -> CanaryResult | None:
        """What the canary sings; None if no day outside `without` is held from which one could be taken.

        Its requests are noted as events of the caller's journal. Raises QuotaSpent and what is final for all.
        """
        async with self._turn:
            if not self._asked:
                day = self._best_day(without)
                if day is None:
                    return None
                self._song = await self._search(day, note)
                self._asked = self._song is not None
            return self._song

    def _best_day(self, without: Collection[date]) -> date | None:
        days = (
            day
            for day, record in self._status.items()
            if record.attempt.state == "complete" and record.attempt.kept >= MIN_CANARY_VIDEOS and day not in without
        )
        return max(days, default=None)

    async def _search(self, day: date, note: RecordEvent) -> CanaryResult | None:
        sought = sample_known_videos(self._settings, self._study, day, self._alone, max_videos=MIN_CANARY_VIDEOS)
        if len(sought.videos) < MIN_CANARY_VIDEOS:
            return None
        try:
            found = await search_known_videos(sought, self._sender, self._clock, note, tries=1)
        except (RetryableError, UnitError):
            return "error"
        return "found" if found else "none"


POOL = BY_ENTITY["videos"].pool
NONE_FOUND = "None of {} videos known from before was found, twice: the API is not answering this query."
NOT_FOUND = "Known from before, not found when it was looked for again."


async def recheck_known_videos(
    task: CollectionTask, context: CollectorContext, day: date, records: Collection[UnitStatus]
) -> AsyncGenerator[PartitionResult | Paused, None]:
    """Look for a day's known videos and record what came of it; gives the day as it is held, or a pause.

    `records` are what is held of the study's videos. Raises errors that are final for all.
    """
    study = task.study
    known = next((r for r in records if r.attempt.unit_kind == "day" and r.attempt.partition == day), None)
    if known is None or known.attempt.state != "complete":
        reason = "The day is not held, so none of its videos is known."
        yield PartitionResult(partition=day, state="not_asked", units={"not_asked": 1}, reason=reason)
        return
    sought = sample_known_videos(
        context.settings, study, day, isolated_usernames(batchable_usernames(study.query), records)
    )
    try:
        if sought.videos:
            await _run_recheck(sought, context)
    except QuotaExhausted as spent:
        stop = StopCondition.from_quota(spent)
        yield Paused(stop.pool, stop.reason, stop.retry_at, (day,))
        return
    except (RetryableError, UnitError) as error:
        stop = StopCondition.cool_down(
            POOL, f"Known videos could not be looked for: {summarize_error(error)}.", context.clock.now()
        )
        yield Paused(stop.pool, stop.reason, stop.retry_at, (day,))
        return
    yield result_from_attempt(known.attempt, was_complete=True)


async def _run_recheck(sought: CanaryVideos, context: CollectorContext) -> None:
    """Look for known videos; the answers and the verdicts become a capture of their own."""
    settings, clock = context.settings, context.clock
    sender = RequestSender(
        context.client, context.ledger, clock, rate=settings.rate_limit, concurrency=settings.concurrency
    )
    events: list[tuple[str, dict[str, Any], bytes | None]] = []
    found = await search_known_videos(sought, sender, clock, lambda *event: events.append(event), tries=2)
    with Journal.create(
        settings.captures,
        entity="videos",
        study=sought.study.name,
        first=sought.day,
        last=sought.day,
        now=clock.now(),
        origin=settings.origin,
        header={"canary": True},
    ) as journal:
        for event, facts, raw in events:
            journal.append(event, facts, raw)
        requests = sum(facts.get("requests", 1) for _, facts, _ in events)
        await publish_in_background(
            settings.raw, journal, _canary_attempts(sought, found, requests, clock.now(), journal.capture)
        )


def _canary_attempts(
    sought: CanaryVideos, found: Collection[int], requests: float, now: datetime, capture: str
) -> list[Attempt]:
    number = len(sought.videos)
    # One or two may both have been withdrawn.
    silent = not found and number >= MIN_CANARY_VIDEOS

    def verdict(video: int) -> Attempt:
        state: UnitState = "suspicious" if silent else "complete" if video in found else "missing"
        reason = NONE_FOUND.format(number) if silent else None if video in found else NOT_FOUND
        return Attempt(
            entity="videos",
            partition=sought.day,
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
            next_try=backoff_until(now, 1) if silent else None,
            capture=capture,
        )

    return [verdict(video) for video in sought.videos]
