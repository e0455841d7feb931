"""One search window, page by page, on its journal: the only code that pages through the video query.

A page's facts are written into the journal beside it, and the same `Trail` is folded from them while collecting and
while resuming, so that there is no second record of progress. Which windows there are is decided in `plan.py`.
"""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from research_assets.clock import Clock
from research_assets.collect.search.page import page_facts
from research_assets.collect.search.progress import SearchProgress, WindowOutcome
from research_assets.collect.sender import RequestContext, RequestSender, summarize_error
from research_assets.study.spec import StudySpec
from research_assets.tiktok.errors import (
    RateLimited,
    RetryableError,
    SearchIdRejected,
    ServerError,
    UnitError,
    Unreachable,
)
from research_assets.tiktok.requests import video_query
from research_assets.units.usernames import restrict_query
from research_assets.units.windows import MAX_WINDOW_PAGES, requests_for_hits

FRESH_SEARCH_ID_AGE = timedelta(minutes=10)
"""A younger search id that is refused may not be known everywhere yet, and is tried patiently (reference §7 #5)."""

SPLIT_PAGES = 4 * MAX_WINDOW_PAGES
"""Pages that a window's first one must promise for the window to be asked as several instead, side by side: read in one
row they would take most of a day, and lie in one capture."""

SINGLE_ACCOUNT_ATTEMPTS = 3
"""How often a search with a single account is tried, where the same days were answered for others."""

WritePage = Callable[[dict[str, Any], bytes], Coroutine[Any, Any, None]]
"""Writes a page into the journal: its facts, the answer's bytes. It is durable when this has ended."""

RecordEvent = Callable[[str, dict[str, Any], bytes | None], None]
"""Keeps an event: its kind, its facts, the answer's bytes."""


async def fetch_window(
    progress: SearchProgress,
    study: StudySpec,
    sender: RequestSender,
    clock: Clock,
    *,
    page_size: int,
    due: bool,
    may_split: bool,
    record_event: RecordEvent,
    write_page: WritePage,
) -> tuple[WindowOutcome, str | None]:
    """Read a window's pages from where its trail ends.

    `note` keeps an event in the journal and in the trail. `keep` writes a page into the journal: that goes on while the
    next request takes its place in the quota, and has ended before it is sent. `may_split`: end after the first page if
    that shows the window to be `WIDE`. Gives `done`, or what
    stopped it with the reason. Raises QuotaSpent, and what is no fault of the window: no server, a throttle that does
    not end, errors that are final for all.
    """
    context = RequestContext(study.name, "videos", str(progress.window), due)
    kept: asyncio.Future[None] | None = None
    try:
        while progress.has_more and progress.distrust_reason is None:
            if may_split and progress.pages == 1 and len(progress.window.days) > 1:
                pages = requests_for_hits(progress.hits_per_day * len(progress.window.days), page_size)
                if pages >= SPLIT_PAGES:
                    return "wide", f"About {pages} pages."
            request = video_query(
                restrict_query(study.query, progress.window.usernames),
                progress.window.first,
                progress.window.last,
                fields=study.fields.get("videos"),
                max_count=page_size,
                cursor=progress.cursor,
                search_id=progress.search_id,
            )
            answer = await sender.send(
                request,
                context,
                lambda facts: record_event("fail", facts, None),
                max_attempts=lambda e: _max_attempts(e, progress, clock),
                wait_for=kept,
            )
            facts = page_facts(answer, progress, clock.now(), page_size)
            kept = asyncio.ensure_future(write_page(facts, answer.raw))
            progress.apply({"event": "page", **facts})
    except UnitError as error:
        return ("lost" if progress.pages else "refused"), summarize_error(error)
    except RetryableError as error:
        if isinstance(error, RateLimited) or not error.sent:
            raise
        return ("lost" if isinstance(error, SearchIdRejected) else "failed"), summarize_error(error)
    finally:
        if kept is not None:
            await _await_write(kept)
    if progress.distrust_reason is not None:
        return "doubtful", progress.distrust_reason
    return "done", None


async def _await_write(kept: "asyncio.Future[None]") -> None:
    """Wait for a page's writing, however often this is cancelled: its journal is closed next. Raises what it raised."""
    cancelled: asyncio.CancelledError | None = None
    while not kept.done():
        try:
            await asyncio.wait([kept])
        except asyncio.CancelledError as error:
            cancelled = error
    kept.result()
    if cancelled is not None:
        raise cancelled


def _max_attempts(error: RetryableError, progress: SearchProgress, clock: Clock) -> int | None:
    """How often a call is tried: what can be halved is rather halved, a dead day has failed in wider windows."""
    window = progress.window
    if not progress.pages and (isinstance(error, ServerError) or (isinstance(error, Unreachable) and error.sent)):
        if window.days_answer:
            return 1 if len(window.usernames) > 1 else SINGLE_ACCOUNT_ATTEMPTS
        # Parts of a query are tried by asking others for the same days.
        return (
            1 if len(window.days) > 1 or window.usernames or window.bisect_exhausted else max(1, 3 - window.n_failures)
        )
    if (
        isinstance(error, SearchIdRejected)
        and progress.search_id_issued_at is not None
        and clock.now() - progress.search_id_issued_at > FRESH_SEARCH_ID_AGE
    ):
        return 2
    return None
