"""Paging through the list of one unit, and its progress, which is rebuilt from the events of the journal.

Collecting and resuming apply the same events, so there is no second record of progress.

Not here: which units a partition has (see units/targets.py); which of them need a request (see run.py and inputs.py).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from research_assets.clock import Clock
from research_assets.collect.rejections import NO_USABLE_ROW, count_reasons, describe_rejections
from research_assets.collect.resolution import Action, resolve
from research_assets.collect.search.page import answer_facts
from research_assets.collect.search.progress import MAX_EMPTY_PAGES
from research_assets.collect.sender import RequestContext, summarize_error
from research_assets.collect.session import Session, read_pages
from research_assets.fields import ENTITIES
from research_assets.study.spec import StudySpec
from research_assets.tiktok.client import ResponsePage
from research_assets.tiktok.endpoints import BY_ENTITY
from research_assets.tiktok.errors import CursorRejected, RateLimited, RetryableError, UnitError
from research_assets.tiktok.ids import parse_id
from research_assets.tiktok.requests import Request
from research_assets.units.coverage import Attempt, UnitState, UnitStatus, backoff_until, join_sentences
from research_assets.units.plausibility import MIN_RELIABLE_HITS
from research_assets.units.targets import Target

TIME_CURSORS = frozenset({"followers", "following"})
"""Lists whose cursor is a time in seconds (reference 3.7), which several relations may share."""

SINGLE_PAGE_ENTITIES = frozenset({"users", "pinned_videos"})
"""Entities that the API returns in one page (reference 3.3, 3.5), even if `has_more` is true."""

OLD_COMMENT_LIMIT = 1000
"""Position in a comment list that no page crosses. If the old limit still applies (reference 3.2), the API rejects a
page that crosses it, including the comments before the limit."""

_NO_OTHER_ROWS = "and the API returned no rows for any other list that was requested with it"

REFUSAL_BACKOFF_OFFSET = 4
"""Failure count at which a refusal starts: its backoff is 16 days at first, then 32."""


@dataclass(slots=True)
class ListProgress:
    """Position and counts of a unit's list, rebuilt from the journal's events of the unit.

    `expected` is the number of rows that the list itself states. `ended_early` is true if an empty page ended the list
    although has_more was true on the page before it. `seen` are the keys of the rows so far, `rejected` the elements
    and values that cannot be used, by reason, and `reply_counts` the replies by comment id.
    """

    pages: int = 0
    requests: int = 0
    asked: int = 0
    offered: int = 0
    expected: int | None = None
    cursor: int | None = None
    has_more: bool = True
    n_pages_without_news: int = 0
    ended_early: bool = False
    gap_reason: str | None = None
    first_at: datetime | None = None
    last_at: datetime | None = None
    seen: set[int | str] = field(default_factory=set)
    rejected: Counter[str] = field(default_factory=Counter)
    reply_counts: dict[str, int] = field(default_factory=dict)

    def apply(self, event: Mapping[str, Any]) -> None:
        """Apply one event of the unit."""
        if event["event"] not in ("page", "fail"):
            return
        self.requests += event.get("requests", 1)
        at = event["observed_at"]
        self.last_at = at if isinstance(at, datetime) else datetime.fromisoformat(at)
        self.first_at = self.first_at or self.last_at
        if event["event"] == "fail":
            return
        self.pages += 1
        self.asked += event["asked"]
        self.offered += event["offered"]
        self.expected = event.get("expected", self.expected)
        advanced = event["offered"] or (event["cursor"] or 0) > (self.cursor or 0)
        self.ended_early = self.pages > 1 and not event["has_more"] and not advanced
        self.cursor, self.has_more = event["cursor"], event["has_more"]
        self.gap_reason = self.gap_reason or event["gap_reason"]
        n_seen = len(self.seen)
        self.seen.update(event["seen"])
        self.n_pages_without_news = 0 if len(self.seen) > n_seen else self.n_pages_without_news + 1
        self.rejected.update(count_reasons(event["rejected"]))
        self.reply_counts.update(event["reply_counts"])

    def attempt(
        self,
        target: Target,
        partition: date,
        now: datetime,
        state: UnitState,
        reason: str | None,
        next_try: datetime | None = None,
    ) -> Attempt:
        """Return the attempt at the unit: the given state with the counts so far."""
        return Attempt(
            entity=target.entity,
            partition=partition,
            unit_kind=target.kind,
            unit=target.unit,
            state=state,
            first_at=self.first_at or now,
            last_at=self.last_at or now,
            asked=self.asked,
            offered=self.offered,
            kept=len(self.seen),
            requests=float(self.requests),
            expected=target.expected if self.expected is None else self.expected,
            inclusion_probability=target.inclusion_probability,
            selection=target.selection,
            selection_rank=target.selection_rank,
            selected_at=target.selected_at,
            reason=reason,
            next_try=next_try,
        )


@dataclass(frozen=True, slots=True)
class ListPager:
    """Pager of one unit's list. `comment_limit` is the number of comments after which it is not read (0: no limit)."""

    progress: ListProgress
    target: Target
    study: StudySpec
    clock: Clock
    partition: date
    page_size: int
    comment_limit: int

    @property
    def size(self) -> int:
        """Rows of the next request; 0 or less once the comment limit is reached."""
        return _page_size(self.target, self.progress.cursor or 0, self.page_size, self.comment_limit)

    def next_request(self) -> Request | None:
        """Return the next request; None at the end of the list and at the comment limit.

        Raise ValueError if the unit has no valid name or id.
        """
        if not self.progress.has_more or self.size <= 0:
            return None
        return self.target.request(self.study, self.size, self.progress.cursor)

    def page_facts(self, page: ResponsePage) -> dict[str, Any]:
        """Return the facts of a page."""
        return _page_facts(page, self.target, self.progress, self.clock.now(), self.partition, self.size)


@dataclass(frozen=True, slots=True)
class ListOutcome:
    """The attempt at a list, and the attempt in its place if the API returned rows for another list of the run.

    There is a second one if the list is empty and nothing else shows that it is.
    """

    attempt: Attempt
    beside_rows: Attempt | None = None


@dataclass(frozen=True, slots=True)
class EndDoubt:
    """The reason why the end of a list is no proof that it has no more rows.

    `is_weak`: rows of another list show that the API answers, which makes this end likely enough.
    """

    reason: str
    is_weak: bool = False


async def fetch_list(
    session: Session[ListProgress], pager: ListPager, *, due: bool, previous: UnitStatus | None, earlier_end: int | None
) -> ListOutcome:
    """Read the pages of a unit's list from the position of its progress, and return the outcome.

    `previous` is the unit's status before this run, and `earlier_end` the number of rows at the end of the newest
    attempt on an earlier day, in any period. Raise QuotaExhausted, and errors that the unit did not cause: no
    connection, rate limiting that does not end, errors that are final for all units.
    """
    progress, target, now = session.progress, pager.target, pager.clock.now
    context = RequestContext(pager.study.name, target.entity, target.unit, due)

    def attempt(state: UnitState, reason: str | None) -> Attempt:
        next_try = None if state == "complete" else backoff_until(now(), 1 + _n_same_state(state, previous))
        return progress.attempt(target, pager.partition, now(), state, reason, next_try)

    state: UnitState = "complete"
    reason: str | None = None
    try:
        pager.next_request()
    except ValueError as error:
        return ListOutcome(attempt("missing", f"No request was sent: {error}."))
    try:
        await read_pages(session, pager, context, max_attempts=lambda error: _max_attempts(error, target, progress))
        if progress.has_more:
            reason = f"The list has more comments; the comment limit is {pager.comment_limit}."
    except CursorRejected:
        reason = f"The API returns nothing beyond position {progress.cursor} of this list."
        if not _may_end_at_cursor(target, progress):
            state = "quarantined"
    except UnitError as error:
        state, reason = error.state, error.message or error.code
    except RetryableError as error:
        if isinstance(error, RateLimited) or resolve(error).then is Action.STOP:
            raise
        state, reason = "quarantined", summarize_error(error)
    if state == "complete" and (gap := _gap(progress, target)):
        state, reason = "suspicious", gap
    rejected = describe_rejections(progress.rejected)
    if state != "complete":
        return ListOutcome(attempt(state, join_sentences(reason, rejected)))
    if not reason and (n_missing := _n_missing(progress, target)) > 0:
        reason = f"{n_missing} of {_expected(progress, target)} were not returned"
    doubt = _end_doubt(progress, target, earlier_end)
    if doubt and _ended_alike(progress, previous, earlier_end):
        reason, doubt = join_sentences(reason, doubt.reason, "An attempt on another day ended alike"), None
    complete = attempt("complete", join_sentences(reason, rejected))
    if doubt is None:
        return ListOutcome(complete)
    doubtful = attempt("suspicious", join_sentences(doubt.reason, rejected))
    return ListOutcome(doubtful, complete if doubt.is_weak else None)


def _n_same_state(state: UnitState, previous: UnitStatus | None) -> int:
    """Return how many earlier attempts ended in this state, plus the offset of a refusal."""
    if state in ("refused", "missing"):
        return REFUSAL_BACKOFF_OFFSET + (previous.n_refused if previous else 0)
    return (previous.n_quarantined if state == "quarantined" else previous.n_suspicious) if previous else 0


def _page_size(target: Target, position: int, page_size: int, comment_limit: int) -> int:
    """Return the rows to request at a position of a list; 0 or less once the comment limit is reached."""
    if target.entity != "comments":
        return page_size
    size = min(page_size, OLD_COMMENT_LIMIT - position) if position < OLD_COMMENT_LIMIT else page_size
    return min(size, comment_limit - position) if comment_limit else size


def _gap(progress: ListProgress, target: Target) -> str | None:
    """Return why rows of a list are missing that the API announced; None if none are."""
    has_no_profile = target.entity == "users" and not progress.seen
    return progress.gap_reason or ("The response contains no profile." if has_no_profile else None)


def _end_doubt(progress: ListProgress, target: Target, earlier_end: int | None) -> EndDoubt | None:
    """Return why the end of a list is no proof that it has no more rows; None if it is one.

    An empty page without an error does not prove it (reference §7 #10, #31). If rows are expected, the list is complete
    once an attempt on another day has the same end. A cursor that counts hits proves that they are not delivered. The
    cursors of the other lists are times, so a last page without a row is usual there; it was requested twice.
    """
    expected, n_missing, indexed = _expected(progress, target), _n_missing(progress, target), _is_indexed(target)
    if indexed and progress.ended_early and (expected is None or n_missing > 0):
        return EndDoubt("The list ended although has_more was true on the page before.")
    if progress.seen or progress.offered or (indexed and progress.cursor):
        return None
    if expected is None and earlier_end:
        return EndDoubt(f"The list is empty, but an earlier attempt returned {earlier_end} rows.")
    if n_missing >= MIN_RELIABLE_HITS:
        return EndDoubt(f"The list is empty, but {expected} rows are expected.")
    if expected is None and target.kind == "account":
        return EndDoubt(f"The list is empty and its length is unknown, {_NO_OTHER_ROWS}.", is_weak=True)
    if n_missing > 0:
        rows = "row is" if expected == 1 else "rows are"
        return EndDoubt(f"The list is empty, but {expected} {rows} expected, {_NO_OTHER_ROWS}.", is_weak=True)
    return None


def _expected(progress: ListProgress, target: Target) -> int | None:
    """Return the number of rows of a list that it states itself, or else the number that another entity states."""
    return target.expected if progress.expected is None else progress.expected


def _n_missing(progress: ListProgress, target: Target) -> int:
    return (_expected(progress, target) or 0) - len(progress.seen)


def _ended_alike(progress: ListProgress, previous: UnitStatus | None, earlier_end: int | None) -> bool:
    """Return whether a doubtful list ended with at most as many rows in an attempt on an earlier day."""
    if earlier_end is not None and earlier_end <= len(progress.seen):
        return True
    last_at = previous.attempt.last_at if previous is not None and previous.n_suspicious else None
    if previous is None or last_at is None or progress.last_at is None:
        return False
    return previous.max_kept <= len(progress.seen) and last_at.date() < progress.last_at.date()


def _is_indexed(target: Target) -> bool:
    return BY_ENTITY[target.entity].indexed


def _may_end_at_cursor(target: Target, progress: ListProgress) -> bool:
    """Return whether a rejected cursor can be the end of a list: at the old limit on comments or after all of them."""
    cursor, expected = progress.cursor or 0, target.expected
    is_end = cursor >= OLD_COMMENT_LIMIT or (expected is not None and cursor >= expected)
    return target.entity == "comments" and progress.pages > 0 and is_end


def _max_attempts(error: RetryableError, target: Target, progress: ListProgress) -> int | None:
    """Return 1 for a rejected cursor at the end of a list of comments: it is no fault."""
    if isinstance(error, CursorRejected) and _may_end_at_cursor(target, progress):
        return 1
    return None


def _page_facts(
    page: ResponsePage, target: Target, progress: ListProgress, now: datetime, partition: date, size: int
) -> dict[str, Any]:
    """Return the facts of a page, from which `ListProgress` is rebuilt without the bytes of the response."""
    keys = _keys(page, target)
    cursor, has_more, gap_reason = _next_cursor(
        page, target, progress, size, has_news=any(key not in progress.seen for key in keys)
    )
    if target.entity == "playlists" and not page.rows and not page.offered:
        gap_reason = "The response contains no playlist."
    reply_counts = {}
    if target.kind == "video":
        counts = ((parse_id(row.get("id")), row.get("reply_count")) for row in page.rows)
        reply_counts = {
            str(comment): count for comment, count in counts if comment and isinstance(count, int) and count > 0
        }
    return {
        "unit": target.unit,
        "kind": target.kind,
        "partition": partition,
        "context": {**target.context, "position": progress.offered},
        **answer_facts(page, now),
        "cursor": cursor,
        "has_more": has_more,
        "search_id": None,
        "asked": 1 if target.entity == "users" else size,
        "offered": _offered(page, target),
        "gap_reason": gap_reason or (NO_USABLE_ROW if page.offered and not page.rows else None),
        "seen": keys,
        "reply_counts": reply_counts,
        **_stated_total(page, target),
    }


def _offered(page: ResponsePage, target: Target) -> int:
    """Return the number of elements on a page: the videos of a playlist, whose page is one record."""
    return len(_playlist_videos(page)) if target.entity == "playlists" else page.offered


def _stated_total(page: ResponsePage, target: Target) -> dict[str, int]:
    """Return the number of videos of a playlist that the page states, if it does, as the fact `expected`."""
    totals = [row.get("playlist_item_total") for row in page.rows] if target.entity == "playlists" else []
    known = [total for total in totals if type(total) is int and 0 <= total < 2**63]
    return {"expected": known[0]} if known else {}


def _playlist_videos(page: ResponsePage) -> list[Any]:
    found = [row.get("playlist_video_ids") for row in page.rows]
    return [video for videos in found if isinstance(videos, list) for video in videos]


def _keys(page: ResponsePage, target: Target) -> list[int | str]:
    """Return the key of each row within its list: the key of the entity without the requested unit."""
    if target.entity == "playlists":
        return [video for one in _playlist_videos(page) if (video := parse_id(one)) is not None]
    name = ENTITIES[target.entity].key[-1]
    if name in target.context:
        return [target.unit] if page.rows else []
    names = (name, *ENTITIES[target.entity].field(name).aliases)
    keys = [next(row[name] for name in names if row.get(name) is not None) for row in page.rows]
    # An id given as text is the same id.
    return [parse_id(key) or key for key in keys] if name == "id" else keys


def _next_cursor(
    page: ResponsePage, target: Target, progress: ListProgress, size: int, *, has_news: bool
) -> tuple[int | None, bool, str | None]:
    """Return the next cursor, whether the list has more pages, and the reason of a gap that opens here.

    `size` are the requested rows. `has_news`: the page has a row that no earlier page had. Cursors that are missing,
    repeated or too far ahead must neither loop for ever nor end the list early nor skip rows.
    """
    before, after = progress.cursor, page.cursor
    indexed, offered = _is_indexed(target), _offered(page, target)
    # A cursor of 0 is the beginning of the list, or a time at which no relation existed.
    if after is not None and after < (0 if indexed else 1):
        after = None
    if not page.has_more or target.entity in SINGLE_PAGE_ENTITIES:
        is_first_empty = not indexed and not offered and progress.pages and not progress.n_pages_without_news
        is_short = target.expected is None or len(progress.seen) < target.expected
        # The page before has more rows according to the API, so a single empty page does not end the list.
        return (before, True, None) if is_first_empty and is_short else (after, False, None)
    if not has_news and progress.n_pages_without_news + 1 >= MAX_EMPTY_PAGES:
        return after, False, f"{MAX_EMPTY_PAGES} pages in a row had no new rows although has_more was true."
    if indexed and after is not None:
        # A page covers the requested positions at most.
        after = min(after, (before or 0) + max(size, offered))
    if after is not None and after != before:
        return after, True, None
    if target.entity in TIME_CURSORS and before is not None:
        if has_news:
            return before, True, None
        reason = f"More relations share the time {before} than fit on one page; the list resumes one second before it."
        return max(0, before - 1), True, reason
    if indexed and offered:
        # The cursor is the position of the next row, so the rows of this page give it.
        return (before or 0) + offered, True, None
    if indexed:
        return after, False, "A page had no rows although has_more was true."
    return after, False, "The response has has_more true but no cursor."
