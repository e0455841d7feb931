"""The roll call: videos known from before are looked for again now and then, and what is no longer found is recorded.

`canary.py` asks when a verdict hangs on it; this asks by routine, one request a week and study. Each video is a unit of
the kind `canary` in raw/coverage, `complete` if it was found and `missing` if not, so that attrition and a query that
is no longer answered can be seen. Nothing is removed for it. When a look is due is said in `observing.py`.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from datetime import date
from typing import Any

from research_assets.collect.accounts import named as accounts_of
from research_assets.collect.accounts import narrowed
from research_assets.collect.canary import MOST
from research_assets.collect.coverage import Held, State, Verdict, next_try
from research_assets.collect.days import finished
from research_assets.collect.lookup import lookup
from research_assets.collect.model import Ask, Finished, Halt, Paused, Tools
from research_assets.collect.observing import SEVERAL
from research_assets.collect.publish import publish_aside
from research_assets.collect.send import Courier, Errand, in_short
from research_assets.collect.spec import StudySpec
from research_assets.journal import Journal
from research_assets.quota import QuotaSpent
from research_assets.tiktok.answers import Answer
from research_assets.tiktok.errors import FinalForUnit, RateLimited, Wait
from research_assets.tiktok.requests import Request, video_query

POOL = "research"
SILENT = "None of {} videos known from before was found, twice: the API is not answering this query."
LOST = "Known from before, not found when it was looked for again."


async def call(ask: Ask, tools: Tools, day: date, known: Held | None) -> AsyncGenerator[Finished | Paused, None]:
    """Look for a day's known videos and record what came of it; gives the day as it is held, or a pause.

    Raises errors that are final for all.
    """
    if known is None or known.verdict.state != "complete":
        reason = "The day is not held, so none of its videos is known."
        yield Finished(partition=day, state="not_asked", units={"not_asked": 1}, reason=reason)
        return
    look = _Look(ask.study, tools, day)
    videos = look.known()
    try:
        if len(videos) >= SEVERAL:
            await look.ask(videos)
    except QuotaSpent as spent:
        halt = Halt.of(spent)
        yield Paused(halt.pool, halt.reason, halt.opens_at, (day,))
        return
    except (Wait, FinalForUnit) as error:
        halt = Halt.until_better(POOL, f"Known videos could not be looked for: {in_short(error)}.", tools.clock.now())
        yield Paused(halt.pool, halt.reason, halt.opens_at, (day,))
        return
    yield finished(known.verdict, held=True)


class _Look:
    """One look for the videos of a day."""

    def __init__(self, study: StudySpec, tools: Tools, day: date) -> None:
        self._study, self._tools, self._day = study, tools, day
        settings = tools.settings
        self._courier = Courier(
            tools.client, tools.ledger, tools.clock, rate=settings.rate, concurrency=settings.concurrency
        )
        self._names: tuple[str, ...] = ()

    def known(self) -> list[int]:
        """The videos to look for: of the accounts with most of them, where the query must be asked in parts."""
        rows = lookup(
            self._tools.settings.raw,
            "videos",
            f"study={self._study.name}/day={self._day}",
            "SELECT id, any_value(username) FROM {table} WHERE id IS NOT NULL GROUP BY id ORDER BY hash(id), id",
        )
        names = accounts_of(self._study.query)
        if names:
            # Spelt as the query spells them: the API matches handles in whatever case.
            spelt = {name.casefold(): name for name in names}
            rows = [(video, spelt.get((author or "").casefold())) for video, author in rows]
            rows = [(video, author) for video, author in rows if author]
            most = Counter(author for _, author in rows).most_common(self._tools.settings.username_batch)
            self._names = tuple(name for name, _ in most)
            rows = [(video, author) for video, author in rows if author in self._names]
        return [video for video, _ in rows[:MOST]]

    async def ask(self, videos: Sequence[int]) -> None:
        """Ask once, and once more if nothing was found; the answers and the verdicts become a capture of their own."""
        events: list[tuple[str, dict[str, Any], bytes | None]] = []
        errand = Errand(self._study.name, "videos", f"canary of {self._day}")
        found: set[int] = set()
        for _ in range(2):
            answer = await self._courier.send(
                self._request(videos), errand, lambda facts: events.append(("fail", facts, None)), tries=_twice
            )
            delivered = {row.get("id", row.get("video_id")) for row in answer.rows}
            found = {video for video in videos if video in delivered}
            events.append(("canary", self._facts(answer, len(videos), len(found)), answer.raw))
            if found:
                break
        settings, now = self._tools.settings, self._tools.clock.now()
        with Journal.create(
            settings.captures,
            entity="videos",
            study=self._study.name,
            first=self._day,
            last=self._day,
            now=now,
            origin=settings.origin,
            header={"canary": True},
        ) as journal:
            for event, facts, raw in events:
                journal.append(event, facts, raw)
            requests = sum(facts.get("requests", 1) for _, facts, _ in events)
            await publish_aside(settings.raw, journal, self._verdicts(videos, found, requests, journal.capture))

    def _facts(self, answer: Answer, known: int, found: int) -> dict[str, Any]:
        facts = {"unit": f"canary of {self._day}", "known": known, "found": found, "requests": 1}
        return facts | {"observed_at": self._tools.clock.now(), "log_id": answer.log_id}

    def _request(self, videos: Sequence[int]) -> Request:
        condition = {"operation": "IN", "field_name": "video_id", "field_values": [str(video) for video in videos]}
        query = narrowed(self._study.query, self._names)
        query = {**query, "and": (*query.get("and", ()), condition)}
        return video_query(query, self._day, self._day, fields=("id", "create_time"), max_count=MOST)

    def _verdicts(self, videos: Sequence[int], found: set[int], requests: float, capture: str) -> list[Verdict]:
        now = self._tools.clock.now()
        silent = not found

        def verdict(video: int) -> Verdict:
            state: State = "suspicious" if silent else "complete" if video in found else "missing"
            reason = SILENT.format(len(videos)) if silent else None if video in found else LOST
            return Verdict(
                entity="videos",
                partition=self._day,
                unit_kind="canary",
                unit=str(video),
                state=state,
                first_at=now,
                last_at=now,
                asked=1,
                offered=int(video in found),
                kept=int(video in found),
                requests=requests / len(videos),
                expected=1,
                reason=reason,
                next_try=next_try(now, 1) if silent else None,
                capture=capture,
            )

        return [verdict(video) for video in videos]


def _twice(error: Wait) -> int | None:
    return None if isinstance(error, RateLimited) else 2
