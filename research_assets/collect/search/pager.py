"""Paging through one search window: the only code that reads pages of the video query.

A search that cannot go on is continued at the place where it stopped, with fresh searches (see progress.Relocation).

Not here: the position of the search (see progress.py); the choice of windows (see units/windows.py); what the outcome
means for the days (see conclude.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from research_assets.clock import Clock
from research_assets.collect.resolution import Action, resolve
from research_assets.collect.search.page import page_facts
from research_assets.collect.search.progress import (
    MAX_RELOCATION_REQUESTS,
    OVERLAP_HITS,
    PUBLICATION_LAG,
    SearchProgress,
    WindowOutcome,
)
from research_assets.collect.sender import RequestContext, summarize_error
from research_assets.collect.session import Session, read_pages
from research_assets.study.spec import StudySpec
from research_assets.tiktok.client import ResponsePage
from research_assets.tiktok.errors import (
    ApiError,
    RateLimited,
    RetryableError,
    SearchIdRejected,
    ServerError,
    UnitError,
    Unreachable,
)
from research_assets.tiktok.requests import Request, video_query
from research_assets.units.query_parts import restrict_to_part
from research_assets.units.usernames import restrict_query
from research_assets.units.windows import ONE_DAY, SPLIT_PAGES, requests_for_hits

FRESH_SEARCH_ID_AGE = timedelta(minutes=10)
"""Age up to which a rejected search id is retried, because a new one may need some seconds to become valid
(reference §7 #5)."""

MAX_SPLIT_WASTE = 0.05
"""Largest share of the rest of a window that a split may request a second time."""

JUMP_ATTEMPTS = 2
"""Attempts for the first page of a fresh search that begins at a cursor: it has no search id that is too new."""

SINGLE_ACCOUNT_ATTEMPTS = 3
"""Attempts for a search with a single account whose days were answered for other accounts."""


@dataclass(slots=True)
class SearchPager:
    """Pager of one window. `expected_hits` are the raw hits for which the window was planned; None if unknown.

    `available` returns the requests that the run may still send. `on_page` receives the facts of each page.
    """

    session: Session[SearchProgress]
    study: StudySpec
    clock: Clock
    page_size: int
    expected_hits: float | None
    available: Callable[[], int]
    on_page: Callable[[dict[str, Any]], None]

    def next_request(self) -> Request | None:
        """Return the next request; None at the end, after a doubtful page, and if the window should be split."""
        progress = self.session.progress
        relocation = progress.relocation
        if relocation is not None:
            if relocation.requests >= MAX_RELOCATION_REQUESTS:
                return None
            return self._request(relocation.cursor or None, None)
        if not progress.has_more or progress.doubt is not None or self.should_split():
            return None
        return self._request(progress.cursor, progress.search_id)

    def page_facts(self, page: ResponsePage) -> dict[str, Any]:
        """Return the facts of a page."""
        facts = page_facts(page, self.session.progress, self.clock.now(), self.page_size)
        self.on_page(facts)
        return facts

    def should_split(self) -> bool:
        """Return whether the rest of the window is cheaper or sooner collected in narrower windows.

        It is if the newest pages are far denser than planned: one search would take hours, or no day of it would be
        complete before the requests are used up.
        """
        progress = self.session.progress
        window = progress.window
        if len(window.days) < 2 or not progress.pages or not progress.has_more:
            return False
        rest = [day for day in window.days if day <= progress.reached_day]
        if len(rest) < 2:
            return False
        pages = requests_for_hits(progress.hits_per_day * len(rest), self.page_size)
        if self.expected_hits is not None and pages * self.page_size < 2 * self.expected_hits:
            return False
        if progress.wasted_requests(self.page_size) > max(1.0, MAX_SPLIT_WASTE * pages):
            return False
        available = self.available()
        # If it goes on, a search completes the days that it passes, except the newest of `PUBLICATION_LAG`: a loss if
        # these are worth more than the page that narrower windows repeat.
        loses_days = PUBLICATION_LAG / ONE_DAY * progress.hits_per_day > self.page_size
        day_fits = progress.hits_per_day <= available * self.page_size
        return pages >= SPLIT_PAGES or (pages > available and loses_days and day_fits)

    def _request(self, cursor: int | None, search_id: str | None) -> Request:
        window = self.session.progress.window
        return video_query(
            restrict_to_part(restrict_query(self.study.query, window.usernames), window.part),
            window.first,
            window.search_last or window.last,
            fields=self.study.fields.get("videos"),
            max_count=self.page_size,
            cursor=cursor,
            search_id=search_id,
        )


async def fetch_window(pager: SearchPager, *, due: bool) -> tuple[WindowOutcome, str | None]:
    """Read the pages of a window from the position of its progress, and return the outcome with its reason.

    Raise QuotaExhausted, and errors that the window did not cause: no connection, rate limiting that does not end,
    errors that are final for all units.
    """
    session, progress = pager.session, pager.session.progress
    context = RequestContext(pager.study.name, "videos", str(progress.window), due)
    while True:
        try:
            await read_pages(
                session, pager, context, max_attempts=lambda error: _max_attempts(error, progress, pager.clock)
            )
        except ApiError as error:
            if isinstance(error, RateLimited) or resolve(error).then is Action.STOP:
                raise
            outcome, reason = _outcome_of_error(error, progress), summarize_error(error)
            if progress.relocation is not None:
                if outcome == "lost":
                    session.record("jump_refused", {"reason": reason})
                return outcome, f"The search could not be continued at position {progress.cursor}: {reason}"
            if session.run.sender.api_is_down or not progress.can_relocate:
                return outcome, reason
        else:
            if progress.done:
                return "done", None
            if progress.doubt is None and progress.relocation is None:
                return "wide", f"About {progress.hits_per_day:.0f} hits a day, more than planned."
            reason = progress.doubt or "The place at which the search stopped was not found again"
            if progress.relocation is not None or not progress.can_relocate:
                return "doubtful", reason
        cursor = max(0, (progress.cursor or 0) - min(OVERLAP_HITS, pager.page_size // 2))
        session.record("relocate", {"cursor": cursor, "reason": reason})


def _outcome_of_error(error: ApiError, progress: SearchProgress) -> WindowOutcome:
    """Return the outcome of a window whose search ended with an error that only concerns this window."""
    if isinstance(error, UnitError):
        return "lost" if progress.pages or progress.cursor else "refused"
    return "lost" if resolve(error).then is Action.CONTINUE_ELSEWHERE else "failed"


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
    if resolve(error).then is Action.CONTINUE_ELSEWHERE and progress.relocation is not None:
        return JUMP_ATTEMPTS
    if resolve(error).then is Action.CONTINUE_ELSEWHERE and progress.can_relocate:
        issued_at = progress.search_id_issued_at
        is_fresh = issued_at is not None and clock.now() - issued_at <= FRESH_SEARCH_ID_AGE
        return None if is_fresh and isinstance(error, SearchIdRejected) else 1
    return None
