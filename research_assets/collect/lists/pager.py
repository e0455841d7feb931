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


async def fetch_list(
    session: Session[ListProgress], pager: ListPager, *, due: bool, previous: UnitStatus | None
) -> Attempt:
    """Read the pages of a unit's list from the position of its progress, and return the attempt.

    `previous` is the unit's status before this run. Raise QuotaExhausted, and errors that the unit did not cause: no
    connection, rate limiting that does not end, errors that are final for all units.
    """
    progress, target, now = session.progress, pager.target, pager.clock.now
    context = RequestContext(pager.study.name, target.entity, target.unit, due)
    state: UnitState = "complete"
    reason: str | None = None
    next_try: datetime | None = None
    try:
        pager.next_request()
    except ValueError as error:
        reason = f"No request was sent: {error}."
        next_try = backoff_until(now(), 1 + _n_same_state("missing", previous))
        return progress.attempt(target, pager.partition, now(), "missing", reason, next_try)
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
    if state == "complete":
        state, reason = _final_state(progress, target, reason, previous)
    reason = join_sentences(reason, describe_rejections(progress.rejected))
    if state != "complete":
        next_try = backoff_until(now(), 1 + _n_same_state(state, previous))
    return progress.attempt(target, pager.partition, now(), state, reason, next_try)


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


def _final_state(
    progress: ListProgress, target: Target, reason: str | None, previous: UnitStatus | None
) -> tuple[UnitState, str | None]:
    """Return the state of a list that was read to its end, with its reason.

    An empty page without an error does not prove that there are no more rows (reference §7 #10, #31). If more rows are
    expected, the list is complete once an attempt on another day has the same end. A cursor that counts hits proves
    that they are not delivered. The cursors of the other lists are times, so a last page without a row is usual there.
    """
    if progress.gap_reason:
        return "suspicious", progress.gap_reason
    if target.entity == "users":
        return ("complete", reason) if progress.seen else ("suspicious", "The response contains no profile.")
    expected = target.expected if progress.expected is None else progress.expected
    n_missing = (expected or 0) - len(progress.seen)
    doubt = _end_doubt(progress, target, expected)
    if doubt and not _ended_alike(progress, previous):
        return "suspicious", doubt
    returned = f"{n_missing} of {expected} were not returned" if n_missing > 0 and not reason else None
    return "complete", join_sentences(
        reason, returned, doubt, "An attempt on another day ended alike" if doubt else None
    )


def _end_doubt(progress: ListProgress, target: Target, expected: int | None) -> str | None:
    """Return why the end of a list is no proof that it has no more rows; None if it is one."""
    indexed, n_missing = _is_indexed(target), (expected or 0) - len(progress.seen)
    if indexed and progress.ended_early and (expected is None or n_missing > 0):
        return "The list ended although has_more was true on the page before."
    if not (progress.seen or (indexed and progress.cursor)) and n_missing >= MIN_RELIABLE_HITS:
        return f"The list is empty, but {expected} rows are expected."
    return None


def _ended_alike(progress: ListProgress, previous: UnitStatus | None) -> bool:
    """Return whether a doubtful list ended with as many rows in an attempt on an earlier day."""
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
        return after, False, None
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
