"""One search window, page by page, on its journal: the only code that pages through the video query.

A page's facts are written into the journal beside it, and the same `Trail` is folded from them while collecting and
while resuming, so that there is no second record of progress. Which windows there are is decided in `plan.py`.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal

from research_assets.clock import Clock, midnight
from research_assets.collect.accounts import restrict_query
from research_assets.collect.coverage import Attempt, attempt_from_event
from research_assets.collect.page import page_facts, upload_time
from research_assets.collect.plan import MAX_WINDOW_PAGES, ONE_DAY, SearchWindow, apportion, requests_for_hits
from research_assets.collect.send import RequestContext, RequestSender, summarize_error
from research_assets.collect.spec import StudySpec
from research_assets.tiktok.errors import (
    RateLimited,
    RetryableError,
    SearchIdRejected,
    ServerError,
    UnitError,
    Unreachable,
)
from research_assets.tiktok.requests import video_query

PUBLICATION_LAG = timedelta(hours=60)
"""How long after its id's moment of upload a video may be published (reference 3.1.3: up to about 2.5 days)."""

FRESH_SEARCH_ID_AGE = timedelta(minutes=10)
"""A younger search id that is refused may not be known everywhere yet, and is tried patiently (reference §7 #5)."""

SPLIT_PAGES = 4 * MAX_WINDOW_PAGES
"""Pages that a window's first one must promise for the window to be asked as several instead, side by side: read in one
row they would take most of a day, and lie in one capture."""

SINGLE_ACCOUNT_ATTEMPTS = 3
"""How often a search with a single account is tried, where the same days were answered for others."""

WindowOutcome = Literal["done", "failed", "refused", "lost", "doubtful", "wide", "dropped", "changed"]
"""How a window ended: `done`; `failed` (the server could not answer), `refused` (the API does not take the request),
`lost` (the search id was refused for good), `doubtful` (pages that cannot belong to this search), `wide` (better asked
as several); `dropped` (going on costs more than asking anew), `changed` (the study asks for something else by now)."""

WritePage = Callable[[dict[str, Any], bytes], Coroutine[Any, Any, None]]
"""Writes a page into the journal: its facts, the answer's bytes. It is durable when this has ended."""

RecordEvent = Callable[[str, dict[str, Any], bytes | None], None]
"""Keeps an event: its kind, its facts, the answer's bytes."""


@dataclass(slots=True)
class SearchProgress:
    """How far a window has come: the fold of its journal's events."""

    window: SearchWindow
    pages: int = 0
    requests: int = 0
    rows: int = 0
    cursor: int | None = None
    search_id: str | None = None
    search_id_issued_at: datetime | None = None
    has_more: bool = True
    highest_id: int | None = None
    lowest_id: int | None = None
    n_empty_pages: int = 0
    has_uppercase_regions: bool = False
    n_outside_window: int = 0
    distrust_reason: str | None = None
    first_at: datetime | None = None
    last_at: datetime | None = None
    kept: Counter[date] = field(default_factory=Counter)
    offered: Counter[date] = field(default_factory=Counter)
    asked: Counter[date] = field(default_factory=Counter)
    outcome: WindowOutcome | None = None
    reason: str | None = None
    recorded_attempts: dict[tuple[str, date], Attempt] = field(default_factory=dict)

    def apply(self, event: Mapping[str, Any]) -> None:
        """Fold one event of the journal; events of other kinds change nothing."""
        kind = event["event"]
        if kind == "end":
            self.outcome, self.reason = event["outcome"], event["reason"]
        elif kind == "unit":
            verdict = attempt_from_event(event)
            self.recorded_attempts[verdict.unit, verdict.partition] = verdict
        if kind not in ("page", "fail", "canary"):
            return
        self.requests += event.get("requests", 1)
        at = event["observed_at"]
        self.last_at = at if isinstance(at, datetime) else datetime.fromisoformat(at)
        self.first_at = self.first_at or self.last_at
        if kind != "page":
            return
        self.pages += 1
        self.rows += event["rows"]
        self.distrust_reason = event["doubt"]
        if self.distrust_reason is None and event["lowest"] is not None:
            self.highest_id = self.highest_id or event["highest"]
            self.lowest_id = event["lowest"]
        self.cursor = event["cursor"]
        if event["search_id"] != self.search_id:
            self.search_id, self.search_id_issued_at = event["search_id"], self.last_at
        self.has_more = event["has_more"]
        self.n_empty_pages = self.n_empty_pages + 1 if not event["rows"] else 0
        self.has_uppercase_regions = self.has_uppercase_regions or event["upper"]
        self.n_outside_window += event["strays"]
        by_day = {date.fromisoformat(day): count for day, count in event["by_day"].items()}
        self.kept.update(by_day)
        weights = by_day or {self.reached_day: 1}
        self.offered.update(apportion(event["offered"], weights))
        self.asked.update(apportion(event["asked"], weights))

    @property
    def reached_day(self) -> date:
        """The day on which the search has arrived, for counts of a page that delivered nothing."""
        if self.lowest_id is None:
            return self.window.last
        return min(max(upload_time(self.lowest_id).date(), self.window.first), self.window.last)

    @property
    def hits_per_day(self) -> float:
        """Raw hits a day, as far as the search has come; 0 before it found any."""
        if self.lowest_id is None:
            return 0.0
        passed = midnight(self.window.last + ONE_DAY) - upload_time(self.lowest_id)
        return self.offered.total() / max(passed / ONE_DAY, 1 / 86400)

    def complete_days(self) -> tuple[date, ...]:
        """Days of which every video was passed: all of them at the end, else those well above the lowest id."""
        if self.outcome == "changed":
            return ()
        if not self.has_more and self.distrust_reason is None and self.pages:
            return self.window.days
        if self.lowest_id is None:
            return ()
        return tuple(day for day in self.window.days if midnight(day) - PUBLICATION_LAG > upload_time(self.lowest_id))

    def day_attempts(self, capture: str) -> list[Attempt]:
        """The counts of each day of the window, as yet `partial`; its requests are shared by raw hits."""
        days = self.window.days
        hits = sum(self.offered.values())
        return [
            Attempt(
                entity="videos",
                partition=day,
                unit_kind="day",
                unit=day.isoformat(),
                state="partial",
                first_at=self.first_at,
                last_at=self.last_at,
                asked=self.asked[day],
                offered=self.offered[day],
                kept=self.kept[day],
                requests=self.requests * (self.offered[day] / hits if hits else 1 / len(days)),
                capture=capture,
            )
            for day in days
        ]


async def fetch_window(
    trail: SearchProgress,
    study: StudySpec,
    courier: RequestSender,
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
    errand = RequestContext(study.name, "videos", str(trail.window), due)
    kept: asyncio.Future[None] | None = None
    try:
        while trail.has_more and trail.distrust_reason is None:
            if may_split and trail.pages == 1 and len(trail.window.days) > 1:
                pages = requests_for_hits(trail.hits_per_day * len(trail.window.days), page_size)
                if pages >= SPLIT_PAGES:
                    return "wide", f"About {pages} pages."
            request = video_query(
                restrict_query(study.query, trail.window.usernames),
                trail.window.first,
                trail.window.last,
                fields=study.fields.get("videos"),
                max_count=page_size,
                cursor=trail.cursor,
                search_id=trail.search_id,
            )
            answer = await courier.send(
                request,
                errand,
                lambda facts: record_event("fail", facts, None),
                max_attempts=lambda e: _max_attempts(e, trail, clock),
                wait_for=kept,
            )
            facts = page_facts(answer, trail, clock.now(), page_size)
            kept = asyncio.ensure_future(write_page(facts, answer.raw))
            trail.apply({"event": "page", **facts})
    except UnitError as error:
        return ("lost" if trail.pages else "refused"), summarize_error(error)
    except RetryableError as error:
        if isinstance(error, RateLimited) or not error.sent:
            raise
        return ("lost" if isinstance(error, SearchIdRejected) else "failed"), summarize_error(error)
    finally:
        if kept is not None:
            await _await_write(kept)
    if trail.distrust_reason is not None:
        return "doubtful", trail.distrust_reason
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


def _max_attempts(error: RetryableError, trail: SearchProgress, clock: Clock) -> int | None:
    """How often a call is tried: what can be halved is rather halved, a dead day has failed in wider windows."""
    window = trail.window
    if not trail.pages and (isinstance(error, ServerError) or (isinstance(error, Unreachable) and error.sent)):
        if window.days_answer:
            return 1 if len(window.usernames) > 1 else SINGLE_ACCOUNT_ATTEMPTS
        # Parts of a query are tried by asking others for the same days.
        return (
            1 if len(window.days) > 1 or window.usernames or window.bisect_exhausted else max(1, 3 - window.n_failures)
        )
    if (
        isinstance(error, SearchIdRejected)
        and trail.search_id_issued_at is not None
        and clock.now() - trail.search_id_issued_at > FRESH_SEARCH_ID_AGE
    ):
        return 2
    return None
