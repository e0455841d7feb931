"""Ids asked of the API, batch by batch, on a journal: what was answered is never asked again, whatever happens.

The same way as for a study: each request has its place in the ledger, each page is durable before the next is sent, a
pause ends in good order. What the answers mean for a list is in `audit.py` and `rehydrate.py`.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

from research_assets.collect.id_lists.batches import IdBatch, batch_ids, split_batch
from research_assets.collect.id_lists.reader import IdListError, ListedVideo
from research_assets.collect.search.page import answer_facts
from research_assets.collect.sender import RequestContext, RequestSender, summarize_error
from research_assets.collect.types import CollectorContext, StopCondition, run_concurrently
from research_assets.quota.ledger import QuotaExhausted
from research_assets.storage.captures import Journal, list_open_journals
from research_assets.storage.locks import lock_partitions
from research_assets.tiktok.endpoints import BY_ENTITY
from research_assets.tiktok.errors import RateLimited, RetryableError, UnitError
from research_assets.tiktok.ids import video_id_of
from research_assets.tiktok.pages import ResponsePage
from research_assets.tiktok.requests import video_query

IdState = Literal["returned", "absent", "unanswered"]
"""What the API says of an id: its video; nothing; or the request was not answered, which says nothing of the video."""

POOL = BY_ENTITY["videos"].pool
"""What pays for asking ids."""

_LOCK_DAY = date(2000, 1, 1)
_MAX_PAGES = 5
"""Pages after which a batch is no longer followed: one takes all its ids."""


@dataclass(frozen=True, slots=True)
class IdListTask:
    """A list to ask: for what, under which name, with which fields, and where its pages go."""

    purpose: Literal["audit", "rehydrate"]
    name: str
    videos: tuple[ListedVideo, ...]
    captures: Path
    fields: tuple[str, ...] | None = None

    @property
    def digest(self) -> str:
        """What tells this list from another."""
        text = ",".join(map(str, sorted(one.id for one in self.videos)))
        return hashlib.sha256(f"{self.fields}{text}".encode()).hexdigest()


@dataclass(slots=True)
class IdListProgress:
    """What is known of each id, and why some were not answered; the fold of the journal's events."""

    states: dict[int, IdState] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    requests: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None

    def apply(self, event: Mapping[str, Any]) -> None:
        """Fold one event."""
        if event["event"] in ("page", "fail"):
            self.requests += event.get("requests", 1)
            at = event["observed_at"]
            self.last_at = at if isinstance(at, datetime) else datetime.fromisoformat(at)
            self.first_at = self.first_at or self.last_at
        if event["event"] == "states":
            for state in ("returned", "absent", "unanswered"):
                self.states |= dict.fromkeys(event[state], state)
            self.reasons |= dict.fromkeys(event["unanswered"], event["reason"])


@dataclass(frozen=True, slots=True)
class IdListResult:
    """How far a list came: what is known, the journal's capture, and the halt that left something open."""

    known: IdListProgress
    stop: StopCondition | None
    n_remaining: int


def min_requests(question: IdListTask, today: date, window_days: int) -> int:
    """Requests that a list needs at least."""
    return len(batch_ids(question.videos, today, window_days=window_days))


async def fetch_id_list(
    question: IdListTask,
    context: CollectorContext,
    on_complete: Callable[[Journal, IdListProgress], object],
    on_progress: Callable[[int], None],
) -> IdListResult:
    """Ask for all ids of a list that the journal does not hold yet.

    `tell` hears of each batch how many ids it had. `done` ends the journal once all are asked. Raises Busy if another
    process asks under the same name, IdListError if a journal of another list is open under it, and what is final for
    all.
    """
    if not question.videos:
        return IdListResult(IdListProgress(), None, 0)
    with ExitStack() as stack:
        stack.enter_context(lock_partitions(context.settings.state, question.name, question.purpose, [_LOCK_DAY]))
        journal, known = _open_journal(question, context)
        stack.callback(journal.close)
        run = _IdListRun(question, context, journal, known)
        on_progress(len(known.states))
        results = run_concurrently(run.jobs, run.work, context.settings.concurrency, lambda: run.halt is None)
        async with aclosing(results):
            async for reported, again in results:
                run.jobs.extend(again)
                on_progress(reported)
        left = len(question.videos) - len(known.states)
        if not left:
            on_complete(journal, known)
        return IdListResult(known, run.halt, left)


def _open_journal(question: IdListTask, context: CollectorContext) -> tuple[Journal, IdListProgress]:
    """The open journal of the same list, or a new one."""
    known = IdListProgress()
    for path in list_open_journals(question.captures, "videos", question.name):
        journal = Journal.resume(path)
        if journal.start["header"].get("digest") == question.digest:
            for event in journal.events():
                known.apply(event)
            return journal, known
        journal.close()
        raise IdListError(
            f"Another list is being asked under the name {question.name}: it is not finished yet. Nothing was asked. "
            "Finish that one with the same command, or choose another name with --name."
        )
    today = context.clock.now().date()
    days = [day for batch in batch_ids(question.videos, today) for day in (batch.first, batch.last)]
    header = {"purpose": question.purpose, "digest": question.digest, "fields": question.fields}
    return Journal.create(
        question.captures,
        entity="videos",
        study=question.name,
        first=min(days, default=today),
        last=max(days, default=today),
        now=context.clock.now(),
        origin=context.settings.origin,
        header=header,
    ), known


class _IdListRun:
    """One run over what is left of a list."""

    def __init__(
        self, question: IdListTask, context: CollectorContext, journal: Journal, known: IdListProgress
    ) -> None:
        settings = context.settings
        self._question, self._context, self._journal, self._known = question, context, journal, known
        self._listed = {one.id: one for one in question.videos}
        self._today = context.clock.now().date()
        self._sender = RequestSender(
            context.client, context.ledger, context.clock, rate=settings.rate_limit, concurrency=settings.concurrency
        )
        left = [one for one in question.videos if one.id not in known.states]
        self.jobs: deque[IdBatch] = deque(batch_ids(left, self._today, window_days=settings.window_days))
        self.halt: StopCondition | None = None

    async def work(self, batch: IdBatch) -> tuple[int, Sequence[IdBatch]]:
        """Ask one batch; gives how many of its ids are known now, and what is asked instead."""
        try:
            found = await self._fetch_batch(batch)
            if not found and len(batch.ids) > 1:
                # An empty answer is a claim to be checked (reference §7 #10).
                found = await self._fetch_batch(batch)
        except QuotaExhausted as spent:
            self.halt = StopCondition.from_quota(spent)
            return 0, ()
        except RateLimited as error:
            self.halt = StopCondition.cool_down(POOL, summarize_error(error), self._context.clock.now())
            return 0, ()
        except (RetryableError, UnitError) as error:
            if self._sender.api_is_down:
                self.halt = StopCondition.cool_down(
                    POOL, f"The API answers nothing just now: {summarize_error(error)}.", self._context.clock.now()
                )
                return 0, ()
            if narrower := list(split_batch(batch, self._listed, self._today)):
                return 0, narrower
            return self._record_states(unanswered=batch.ids, reason=summarize_error(error)), ()
        return self._record_states(returned=found, absent=[one for one in batch.ids if one not in found]), ()

    async def _fetch_batch(self, batch: IdBatch) -> set[int]:
        """The ids of a batch that the API returns."""
        condition = {"operation": "IN", "field_name": "video_id", "field_values": [str(one) for one in batch.ids]}
        context = RequestContext(self._question.name, "videos", f"{self._question.purpose}: {batch}", is_due=False)
        found: set[int] = set()
        answer: ResponsePage | None = None
        for _ in range(_MAX_PAGES):
            request = video_query(
                {"and": (condition,)},
                batch.first,
                batch.last,
                fields=self._question.fields,
                cursor=answer.cursor if answer else None,
                search_id=answer.search_id if answer else None,
            )
            answer = await self._sender.send(
                request, context, self._failed, max_attempts=lambda error: _max_attempts(error, batch)
            )
            facts = answer_facts(answer, self._context.clock.now())
            self._note("page", {"unit": str(batch), "partition": None, "context": {}, **facts}, answer.raw)
            found |= {one for row in answer.rows if (one := video_id_of(row)) is not None} & set(batch.ids)
            if not answer.has_more or len(found) == len(batch.ids):
                break
        return found

    def _record_states(
        self,
        *,
        returned: Iterable[int] = (),
        absent: Iterable[int] = (),
        unanswered: Iterable[int] = (),
        reason: str | None = None,
    ) -> int:
        before = len(self._known.states)
        facts = {"returned": sorted(returned), "absent": sorted(absent), "unanswered": sorted(unanswered)}
        self._note("states", facts | {"reason": reason})
        return len(self._known.states) - before

    def _failed(self, facts: dict[str, Any]) -> None:
        self._note("fail", facts)

    def _note(self, event: str, facts: dict[str, Any], answer: bytes | None = None) -> None:
        self._journal.append(event, facts, answer)
        self._known.apply({"event": event, **facts})


def _max_attempts(error: RetryableError, batch: IdBatch) -> int | None:
    """What can be halved is not tried again; a throttle is waited for."""
    if isinstance(error, RateLimited):
        return None
    return 1 if batch.first < batch.last else 3
