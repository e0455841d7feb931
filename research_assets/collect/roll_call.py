"""The roll call: videos known from before are looked for again now and then, and what is no longer found is recorded.

`canary.py` asks when a verdict hangs on it; this asks by routine, one request a week and study. Each video is a unit of
the kind `canary` in raw/coverage, `complete` if it was found and `missing` if not, so that attrition and a query that
is no longer answered can be seen. Nothing is removed for it. When a look is due is said in `observing.py`.
"""

from collections.abc import AsyncGenerator, Collection
from datetime import date, datetime
from typing import Any

from research_assets.collect.accounts import batchable_usernames, isolated_usernames
from research_assets.collect.canary import CanaryVideos, sample_known_videos, search_known_videos
from research_assets.collect.coverage import Attempt, UnitState, UnitStatus, backoff_until
from research_assets.collect.days import result_from_attempt
from research_assets.collect.model import CollectionTask, CollectorContext, PartitionResult, Paused, StopCondition
from research_assets.collect.observing import MIN_CANARY_VIDEOS
from research_assets.collect.publish import publish_in_background
from research_assets.collect.send import RequestSender, summarize_error
from research_assets.journal import Journal
from research_assets.quota import QuotaExhausted
from research_assets.tiktok.endpoints import BY_ENTITY
from research_assets.tiktok.errors import RetryableError, UnitError

POOL = BY_ENTITY["videos"].pool
NONE_FOUND = "None of {} videos known from before was found, twice: the API is not answering this query."
NOT_FOUND = "Known from before, not found when it was looked for again."


async def recheck_known_videos(
    ask: CollectionTask, tools: CollectorContext, day: date, records: Collection[UnitStatus]
) -> AsyncGenerator[PartitionResult | Paused, None]:
    """Look for a day's known videos and record what came of it; gives the day as it is held, or a pause.

    `records` are what is held of the study's videos. Raises errors that are final for all.
    """
    study = ask.study
    known = next((r for r in records if r.attempt.unit_kind == "day" and r.attempt.partition == day), None)
    if known is None or known.attempt.state != "complete":
        reason = "The day is not held, so none of its videos is known."
        yield PartitionResult(partition=day, state="not_asked", units={"not_asked": 1}, reason=reason)
        return
    sought = sample_known_videos(
        tools.settings, study, day, isolated_usernames(batchable_usernames(study.query), records)
    )
    try:
        if sought.videos:
            await _run_recheck(sought, tools)
    except QuotaExhausted as spent:
        halt = StopCondition.from_quota(spent)
        yield Paused(halt.pool, halt.reason, halt.retry_at, (day,))
        return
    except (RetryableError, UnitError) as error:
        halt = StopCondition.cool_down(
            POOL, f"Known videos could not be looked for: {summarize_error(error)}.", tools.clock.now()
        )
        yield Paused(halt.pool, halt.reason, halt.retry_at, (day,))
        return
    yield result_from_attempt(known.attempt, held=True)


async def _run_recheck(sought: CanaryVideos, tools: CollectorContext) -> None:
    """Look for known videos; the answers and the verdicts become a capture of their own."""
    settings, clock = tools.settings, tools.clock
    courier = RequestSender(
        tools.client, tools.ledger, clock, rate=settings.rate_limit, concurrency=settings.concurrency
    )
    events: list[tuple[str, dict[str, Any], bytes | None]] = []
    found = await search_known_videos(sought, courier, clock, lambda *event: events.append(event), tries=2)
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
