"""Canaries: videos that were found before must be found again, or the API is not answering this study's query.

The API has been known to give keyword queries nothing at all, without an error (reference §7 #10). One request with
the study's own query, narrowed to videos that are held, tells that from days that are truly empty; and where nothing
is answered, it tells an API that is down from days that are dead. Here is how such videos are chosen and asked for, and
the canary that a run listens to; what is looked for by routine and recorded is in `roll_call.py`.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

from research_assets.clock import Clock
from research_assets.collect.accounts import Usernames, batchable_usernames, most_frequent_usernames, restrict_query
from research_assets.collect.coverage import Attempt, UnitStatus
from research_assets.collect.lookup import query_raw
from research_assets.collect.observing import MIN_CANARY_VIDEOS
from research_assets.collect.page import video_id_of
from research_assets.collect.send import RequestContext, RequestSender
from research_assets.collect.spec import StudySpec
from research_assets.collect.window import RecordEvent
from research_assets.settings import Settings
from research_assets.tiktok.errors import RateLimited, RetryableError, UnitError
from research_assets.tiktok.requests import MAX_COUNT, Request, video_query

CanaryResult = Literal["heard", "silent", "down"]
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
    sought: CanaryVideos, courier: RequestSender, clock: Clock, note: RecordEvent, *, tries: int
) -> set[int]:
    """Ask for known videos, and once more if not one is found; gives those that were found.

    Each request is noted as an event. One that fails is tried `tries` times, a throttle is waited for. Raises
    QuotaSpent, and the ApiError that stands after the last try.
    """
    errand = RequestContext(sought.study.name, "videos", f"canary of {sought.day}")
    found: set[int] = set()
    # A search that finds nothing for no reason is rarer than a query that is not answered, but it happens.
    for _ in range(2):
        answer = await courier.send(
            sought.request,
            errand,
            lambda facts: note("fail", facts, None),
            max_attempts=lambda error: None if isinstance(error, RateLimited) else tries,
        )
        found = {video for row in answer.rows if (video := video_id_of(row)) is not None} & set(sought.videos)
        facts = {"unit": errand.unit, "known": len(sought.videos), "found": len(found), "requests": 1}
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
        held: Mapping[date, UnitStatus],
        alone: Mapping[str, Attempt],
        courier: RequestSender,
        clock: Clock,
    ) -> None:
        """`alone` are the accounts that are asked by themselves, as far as the run has learned of them."""
        self._settings, self._study, self._held, self._courier, self._clock = settings, study, held, courier, clock
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
            for day, record in self._held.items()
            if record.attempt.state == "complete" and record.attempt.kept >= MIN_CANARY_VIDEOS and day not in without
        )
        return max(days, default=None)

    async def _search(self, day: date, note: RecordEvent) -> CanaryResult | None:
        sought = sample_known_videos(self._settings, self._study, day, self._alone, max_videos=MIN_CANARY_VIDEOS)
        if len(sought.videos) < MIN_CANARY_VIDEOS:
            return None
        try:
            found = await search_known_videos(sought, self._courier, self._clock, note, tries=1)
        except (RetryableError, UnitError):
            return "down"
        return "heard" if found else "silent"
