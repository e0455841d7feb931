"""Canaries: videos that were found before must be found again, or the API is not answering this study's query.

The API has been known to give keyword queries nothing at all, without an error (reference §7 #10). One request with
the study's own query, narrowed to videos that are held, tells that from days that are truly empty; and where nothing
is answered, it tells an API that is down from days that are dead.
"""

import asyncio
from collections.abc import Collection, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal

from research_assets.clock import Clock
from research_assets.collect.accounts import Accounts, Names, narrowed
from research_assets.collect.coverage import Held
from research_assets.collect.lookup import lookup
from research_assets.collect.observing import SEVERAL
from research_assets.collect.send import Courier, Errand
from research_assets.collect.spec import StudySpec
from research_assets.collect.window import Note
from research_assets.tiktok.errors import FinalForUnit, RateLimited, Wait
from research_assets.tiktok.requests import Request, video_query

Song = Literal["heard", "silent", "down"]
"""Some of the videos were found; none was, twice; the request was not answered."""

MOST = 100
"""Videos asked for at once: what one page takes."""


class Canary:
    """Asks once per run, when something hangs on it; everybody who waits hears the same."""

    def __init__(
        self,
        raw: Path,
        study: StudySpec,
        held: Mapping[date, Held],
        accounts: Accounts,
        courier: Courier,
        clock: Clock,
    ) -> None:
        self._raw, self._study, self._held, self._courier, self._clock = raw, study, held, courier, clock
        self._accounts = accounts
        self._turn = asyncio.Lock()
        self._song: Song | None = None
        self._asked = False

    async def listen(self, without: Collection[date], note: Note) -> Song | None:
        """What the canary sings; None if no day outside `without` is held from which one could be taken.

        Its requests are noted as events of the caller's journal. Raises QuotaSpent and what is final for all.
        """
        async with self._turn:
            if not self._asked:
                day = self._best(without)
                if day is None:
                    return None
                self._song = await self._ask(day, note)
                self._asked = self._song is not None
            return self._song

    def _best(self, without: Collection[date]) -> date | None:
        days = (
            day
            for day, record in self._held.items()
            if record.verdict.state == "complete" and record.verdict.kept >= SEVERAL and day not in without
        )
        return max(days, default=None)

    async def _ask(self, day: date, note: Note) -> Song | None:
        authors: dict[int, str] = dict(
            lookup(
                self._raw,
                "videos",
                f"study={self._study.name}/day={day}",
                "SELECT id, any_value(username) FROM {table} WHERE id IS NOT NULL GROUP BY id ORDER BY id DESC",
            )
        )
        names = self._accounts.some(authors.values(), SEVERAL)
        known = [video for video, author in authors.items() if not names or author in names][:MOST]
        if len(known) < SEVERAL:
            return None
        request, errand = self._request(known, day, names), Errand(self._study.name, "videos", f"canary of {day}")
        # A search that finds nothing for no reason is rarer than a query that is not answered, but it happens.
        for _ in range(2):
            try:
                answer = await self._courier.send(
                    request, errand, lambda facts: note("fail", facts, None), tries=_once_unless_throttled
                )
            except (Wait, FinalForUnit):
                return "down"
            found = sum(row.get("id", row.get("video_id")) in known for row in answer.rows)
            facts: dict[str, Any] = {"unit": errand.unit, "known": len(known), "found": found, "requests": 1}
            note("canary", facts | {"observed_at": self._clock.now(), "log_id": answer.log_id}, answer.raw)
            if found:
                return "heard"
        return "silent"

    def _request(self, videos: list[int], day: date, names: Names) -> Request:
        condition = {"operation": "IN", "field_name": "video_id", "field_values": [str(video) for video in videos]}
        query = narrowed(self._study.query, names)
        query = {**query, "and": (*query.get("and", ()), condition)}
        return video_query(query, day, day, fields=("id", "create_time"), max_count=MOST)


def _once_unless_throttled(error: Wait) -> int | None:
    return None if isinstance(error, RateLimited) else 1
