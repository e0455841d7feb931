"""Paging through one search window: the only code that reads pages of the video query.

Not here: the position of the search (see progress.py); the choice of windows (see units/windows.py).
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
"""Age up to which a rejected search id is retried, because a new one may need some seconds to become valid
(reference §7 #5)."""

SPLIT_PAGES = 4 * MAX_WINDOW_PAGES
"""Estimated pages, after the first page of a window, from which the window is split into concurrent ones. As one
search they would take most of a day and end in one capture."""

SINGLE_ACCOUNT_ATTEMPTS = 3
"""Attempts for a search with a single account whose days were answered for other accounts."""

WritePage = Callable[[dict[str, Any], bytes], Coroutine[Any, Any, None]]
"""Write a page's facts and the bytes of its response to the journal; the page is durable when the coroutine ends."""

RecordEvent = Callable[[str, dict[str, Any], bytes | None], None]
"""Record an event: its kind, its facts, and the bytes of the response if there is one."""


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
    """Read the pages of a window from the position of `progress`, and return the outcome with its reason.

    `record_event` stores an event in the journal and applies it to the progress. `write_page` writes a page to the
    journal while the next request is reserved; the page is durable before that request is sent. With `may_split` the
    outcome is `wide` if the first page shows that the window has `SPLIT_PAGES` pages or more. Raise QuotaExhausted,
    and errors that the window did not cause: no connection, rate limiting that does not end, errors that are final for
    all units.
    """
    context = RequestContext(study.name, "videos", str(progress.window), due)
    page_write: asyncio.Future[None] | None = None
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
            page = await sender.send(
                request,
                context,
                lambda facts: record_event("fail", facts, None),
                max_attempts=lambda error: _max_attempts(error, progress, clock),
                wait_for=page_write,
            )
            facts = page_facts(page, progress, clock.now(), page_size)
            page_write = asyncio.ensure_future(write_page(facts, page.raw))
            progress.apply({"event": "page", **facts})
    except UnitError as error:
        return ("lost" if progress.pages else "refused"), summarize_error(error)
    except RetryableError as error:
        if isinstance(error, RateLimited) or not error.sent:
            raise
        return ("lost" if isinstance(error, SearchIdRejected) else "failed"), summarize_error(error)
    finally:
        if page_write is not None:
            await _await_write(page_write)
    if progress.distrust_reason is not None:
        return "doubtful", progress.distrust_reason
    return "done", None


async def _await_write(page_write: "asyncio.Future[None]") -> None:
    """Wait until a page is written, even if this task is cancelled, because its journal is closed next.

    Raise the error of the write, else the cancellation.
    """
    cancelled: asyncio.CancelledError | None = None
    while not page_write.done():
        try:
            await asyncio.wait([page_write])
        except asyncio.CancelledError as error:
            cancelled = error
    page_write.result()
    if cancelled is not None:
        raise cancelled


def _max_attempts(error: RetryableError, progress: SearchProgress, clock: Clock) -> int | None:
    """Return the attempts for a request: one if the window can be split, fewer if wider windows failed before."""
    window = progress.window
    if not progress.pages and (isinstance(error, ServerError) or (isinstance(error, Unreachable) and error.sent)):
        if window.days_answer:
            return 1 if len(window.usernames) > 1 else SINGLE_ACCOUNT_ATTEMPTS
        # A failing username batch is not retried: searches for other accounts on the same days show the cause.
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
