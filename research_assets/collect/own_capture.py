"""Searches for collected videos whose answers become a capture of their own: canary checks, missing accounts.

Not here: which videos are searched for (see search/canary.py, lists/missing_accounts.py).
"""

from collections.abc import Awaitable, Callable, Iterable
from datetime import date
from typing import Any, TypeVar

from research_assets.collect.publish import publish_in_background
from research_assets.collect.session import RecordEvent, RunState, withhold_facts
from research_assets.quota.ledger import QuotaExhausted
from research_assets.storage.captures import Journal
from research_assets.tiktok.errors import ApiError
from research_assets.units.coverage import Attempt

T = TypeVar("T")


async def capture_search(
    run: RunState,
    days: tuple[date, date],
    header: dict[str, Any],
    search: Callable[[RecordEvent], Awaitable[T]],
    attempts: Callable[[T, float, str], Iterable[Attempt]],
) -> None:
    """Run a search of videos and publish its answers with its attempts.

    `days` are the first and the last UTC day of the searched videos. `search` gets a function that records events, and
    `attempts` the result of the search, the number of its requests and the name of the capture. A search that ends with
    an error has no attempts, but the answers that were received are kept; then the error is raised.
    """
    settings, now = run.context.settings, run.context.clock.now
    events: list[tuple[str, dict[str, Any], bytes | None]] = []
    failure: QuotaExhausted | ApiError | None = None
    result: T | None = None
    try:
        result = await search(lambda *event: events.append(event))
    except (QuotaExhausted, ApiError) as error:
        failure = error
    if failure is None or any(event == "page" for event, _, _ in events):
        first, last = days
        with Journal.create(
            settings.captures,
            entity="videos",
            study=run.study,
            first=first,
            last=last,
            now=now(),
            origin=settings.origin,
            header=header,
        ) as journal:
            for event, facts, raw in events:
                kept, answer = withhold_facts(run, "videos", event, facts, raw)
                journal.append(event, kept, answer)
            requests = sum(facts.get("requests", 1) for _, facts, _ in events)
            found = () if failure is not None else attempts(result, requests, journal.capture)  # type: ignore[arg-type]
            await publish_in_background(settings.raw, journal, found)
    if failure is not None:
        raise failure
