"""One unit's list, page by page, on its partition's journal: comments, replies, profiles, follow lists, likes, pins.

Like a window's trail, a `Visit` is folded from the events of the journal, while collecting and while resuming. Whom to
visit is decided in `targets.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from research_assets.clock import Clock
from research_assets.collect.search.page import MAX_EMPTY_PAGES, answer_facts
from research_assets.collect.sender import RequestContext, RequestSender, summarize_error
from research_assets.fields import ENTITIES
from research_assets.study.spec import StudySpec
from research_assets.tiktok.client import ResponsePage
from research_assets.tiktok.errors import CursorRejected, RateLimited, RetryableError, UnitError
from research_assets.tiktok.ids import parse_id
from research_assets.units.coverage import Attempt, UnitState, UnitStatus, backoff_until
from research_assets.units.targets import Target

TIME_CURSORS = frozenset({"followers", "following"})
"""Lists whose cursor is a moment in seconds (reference 3.7): relations may share one."""

OFFSET_CURSORS = frozenset({"comments", "reposted_videos"})
"""Lists whose cursor is a place in the list (reference 3.2, 3.6)."""

SINGLE_PAGE_ENTITIES = frozenset({"users", "pinned_videos"})
"""What comes in one answer (reference 3.3, 3.5), whatever it says of more."""

OLD_COMMENT_LIMIT = 1000
"""Place in a comment list that a page must not reach across: it is refused if the old ceiling still holds (reference
3.2), and with it the comments before."""

RecordEvent = Callable[[str, dict[str, Any], bytes | None], None]


@dataclass(slots=True)
class ListProgress:
    """How far a unit's list has come: the fold of the journal's events that name the unit."""

    pages: int = 0
    requests: int = 0
    asked: int = 0
    offered: int = 0
    cursor: int | None = None
    has_more: bool = True
    n_pages_without_news: int = 0
    gap_reason: str | None = None
    first_at: datetime | None = None
    last_at: datetime | None = None
    seen: set[int | str] = field(default_factory=set)
    reply_counts: dict[str, int] = field(default_factory=dict)

    def apply(self, event: Mapping[str, Any]) -> None:
        """Fold one event of the unit."""
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
        self.cursor, self.has_more = event["cursor"], event["has_more"]
        self.gap_reason = self.gap_reason or event["gap_reason"]
        held = len(self.seen)
        self.seen.update(event["keys"])
        self.n_pages_without_news = 0 if len(self.seen) > held else self.n_pages_without_news + 1
        self.reply_counts.update(event["reply_counts"])

    def attempt(
        self,
        target: Target,
        partition: date,
        now: datetime,
        state: UnitState,
        reason: str | None,
        resting: datetime | None = None,
    ) -> Attempt:
        """What the visit amounts to."""
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
            expected=target.expected,
            inclusion_probability=target.inclusion_probability,
            reason=reason,
            next_try=resting,
        )


async def fetch_list(
    progress: ListProgress,
    target: Target,
    study: StudySpec,
    sender: RequestSender,
    clock: Clock,
    note: RecordEvent,
    *,
    partition: date,
    page_size: int,
    ceiling: int,
    due: bool,
    previous: UnitStatus | None,
) -> Attempt:
    """Read a unit's pages from where its visit ends, and give the verdict.

    `ceiling` is the number of comments after which a list is not asked further (0: none). Raises QuotaSpent, and what
    is no fault of the unit: no server, a throttle that does not end, errors that are final for all.
    """
    context = RequestContext(study.name, target.entity, target.unit, due)
    state: UnitState = "complete"
    reason: str | None = None
    resting: datetime | None = None

    def failed(facts: dict[str, Any]) -> None:
        note("fail", facts | {"rows": None}, None)
        progress.apply({"event": "fail", **facts})

    try:
        while progress.has_more:
            size = _page_size(target, progress.cursor or 0, page_size, ceiling)
            if size <= 0:
                reason = f"The list goes on; comment_ceiling is {ceiling}."
                break
            try:
                request = target.request(study, size, progress.cursor)
            except ValueError as error:
                state, reason = "missing", f"Nothing was asked: {error}."
                break
            answer = await sender.send(
                request, context, failed, max_attempts=lambda error: _max_attempts(error, target, progress)
            )
            facts = _page_facts(answer, target, progress, clock.now(), partition, size)
            note("page", facts, answer.raw)
            progress.apply({"event": "page", **facts})
    except CursorRejected:
        reason = f"The API gives nothing beyond place {progress.cursor} of this list."
        if not progress.pages or target.entity != "comments":
            state = "quarantined"
    except UnitError as error:
        state, reason = error.state, error.message or error.code
    except RetryableError as error:
        if isinstance(error, RateLimited) or not error.sent:
            raise
        state, reason = "quarantined", summarize_error(error)
    if state == "complete":
        state, reason = _final_state(progress, target, reason)
    if state != "complete":
        resting = backoff_until(clock.now(), 1 + _n_same_state(state, previous))
    return progress.attempt(target, partition, clock.now(), state, reason, resting)


REFUSAL_BACKOFF_OFFSET = 4
"""Failures with which a refusal begins: it rests 16 days at first, then 32."""


def _n_same_state(state: UnitState, before: UnitStatus | None) -> int:
    """How often the unit ended in this state before."""
    if state in ("refused", "missing"):
        return REFUSAL_BACKOFF_OFFSET + (before.n_refused if before else 0)
    return (before.n_quarantined if state == "quarantined" else before.n_suspicious) if before else 0


def _page_size(target: Target, place: int, page_size: int, ceiling: int) -> int:
    """Rows to ask for at a place of a list; none if the setting's ceiling is reached."""
    if target.entity != "comments":
        return page_size
    size = min(page_size, OLD_COMMENT_LIMIT - place) if place < OLD_COMMENT_LIMIT else page_size
    return min(size, ceiling - place) if ceiling else size


def _final_state(progress: ListProgress, target: Target, reason: str | None) -> tuple[UnitState, str | None]:
    if progress.gap_reason:
        return "suspicious", progress.gap_reason
    if target.entity == "users" and not progress.seen:
        return "suspicious", "The API answered without a profile."
    short = (target.expected or 0) - len(progress.seen)
    if target.entity != "users" and short > 0 and not reason:
        return "complete", f"{short} of {target.expected} were not delivered."
    return "complete", reason


def _max_attempts(error: RetryableError, target: Target, progress: ListProgress) -> int | None:
    """A place beyond the first page that is refused is the ceiling of a comment list: asking again wastes quota."""
    if isinstance(error, CursorRejected) and target.entity == "comments" and progress.pages:
        return 1
    return None


def _page_facts(
    answer: ResponsePage, target: Target, progress: ListProgress, now: datetime, partition: date, size: int
) -> dict[str, Any]:
    """What the journal keeps about a page beside its bytes."""
    keys = _keys(answer, target)
    cursor, has_more, gap = _next_cursor(answer, target, progress, fresh=any(key not in progress.seen for key in keys))
    threads = {}
    if target.kind == "video":
        counts = ((parse_id(row.get("id")), row.get("reply_count")) for row in answer.rows)
        threads = {str(comment): count for comment, count in counts if comment and isinstance(count, int) and count > 0}
    return {
        "unit": target.unit,
        "kind": target.kind,
        "partition": partition,
        "context": {**target.context, "position": progress.offered},
        **answer_facts(answer, now),
        "cursor": cursor,
        "has_more": has_more,
        "search_id": None,
        "asked": 1 if target.entity == "users" else size,
        "offered": len(answer.rows),
        "gap_reason": gap,
        "keys": keys,
        "reply_counts": threads,
    }


def _keys(answer: ResponsePage, target: Target) -> list[int | str]:
    """What tells the page's records apart: the key of the entity, less the account that was asked."""
    name = ENTITIES[target.entity].key[-1]
    if name in target.context:
        return [target.unit] if answer.rows else []
    aliases = (name, *ENTITIES[target.entity].field(name).aliases)
    keys = [next((row[alias] for alias in aliases if alias in row), "") for row in answer.rows]
    return [key if isinstance(key, int | str) else repr(key) for key in keys]


def _next_cursor(
    answer: ResponsePage, target: Target, progress: ListProgress, *, fresh: bool
) -> tuple[int | None, bool, str | None]:
    """The next cursor, whether to go on, and the gap that opens there: no endless loop, no early end."""
    before, after = progress.cursor, answer.cursor
    if after is not None and after < 0:
        after = None
    if not answer.has_more or target.entity in SINGLE_PAGE_ENTITIES:
        return after, False, None
    if not fresh and progress.n_pages_without_news + 1 >= MAX_EMPTY_PAGES:
        return after, False, f"{MAX_EMPTY_PAGES} pages in a row brought nothing new and claim to have more."
    if after is not None and after != before:
        return after, True, None
    if target.entity in TIME_CURSORS and before is not None:
        if fresh:
            return before, True, None
        gap = f"More relations share the moment {before} than one page holds; the list goes on one second before it."
        return max(0, before - 1), True, gap
    if target.entity in OFFSET_CURSORS and answer.rows:
        # The cursor is the place of the next record, so what was delivered tells it.
        return (before or 0) + len(answer.rows), True, None
    return after, False, "The list claims to have more but does not say where."
