"""Requests for an id list, batch by batch, on a journal: an answered id is never requested again.

As in a study, each request is reserved in the ledger, each page is durable before the next request of its batch, and a
paused list resumes.

Not here: what the states of the ids mean for a list (see audit.py and rehydrate.py).
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
"""State of an id: the API returned its video, did not return it, or did not answer the request for it."""

POOL = BY_ENTITY["videos"].pool
"""Quota pool of the requests."""

_LOCK_DAY = date(2000, 1, 1)
_MAX_PAGES = 5
"""Limit on the pages of a batch; one page takes all its ids."""


@dataclass(frozen=True, slots=True)
class IdListTask:
    """An id list to request: its purpose and name, the fields, and the folder of its captures."""

    purpose: Literal["audit", "rehydrate"]
    name: str
    videos: tuple[ListedVideo, ...]
    captures: Path
    fields: tuple[str, ...] | None = None

    @property
    def digest(self) -> str:
        """Digest of the ids and fields, which identifies the list."""
        text = ",".join(map(str, sorted(one.id for one in self.videos)))
        return hashlib.sha256(f"{self.fields}{text}".encode()).hexdigest()


@dataclass(slots=True)
class IdListProgress:
    """State of each id so far, and the reasons of unanswered ones, rebuilt from the journal's events."""

    states: dict[int, IdState] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    requests: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None

    def apply(self, event: Mapping[str, Any]) -> None:
        """Apply one event."""
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
    """Progress of a list after a run, its remaining ids, and the stop condition that left them open, if any."""

    progress: IdListProgress
    stop: StopCondition | None
    n_remaining: int


def min_requests(task: IdListTask, today: date, window_days: int) -> int:
    """Return the minimum number of requests for a list."""
    return len(batch_ids(task.videos, today, window_days=window_days))


async def fetch_id_list(
    task: IdListTask,
    context: CollectorContext,
    on_complete: Callable[[Journal, IdListProgress], object],
    on_progress: Callable[[int], None],
) -> IdListResult:
    """Request all ids of a list without a state in its journal.

    `on_progress` receives the number of new states after each batch. `on_complete` ends the journal once all ids have a
    state. Raise PartitionBusy if another process uses the same name, IdListError if a journal of another list is open
    under it, and errors that are final for all ids.
    """
    if not task.videos:
        return IdListResult(IdListProgress(), None, 0)
    with ExitStack() as stack:
        stack.enter_context(lock_partitions(context.settings.state, task.name, task.purpose, [_LOCK_DAY]))
        journal, progress = _open_journal(task, context)
        stack.callback(journal.close)
        run = _IdListRun(task, context, journal, progress)
        on_progress(len(progress.states))
        results = run_concurrently(run.jobs, run.work, context.settings.concurrency, lambda: run.stop is None)
        async with aclosing(results):
            async for n_new, next_batches in results:
                run.jobs.extend(next_batches)
                on_progress(n_new)
        n_remaining = len(task.videos) - len(progress.states)
        if not n_remaining:
            on_complete(journal, progress)
        return IdListResult(progress, run.stop, n_remaining)


def _open_journal(task: IdListTask, context: CollectorContext) -> tuple[Journal, IdListProgress]:
    """Return the open journal of the same list, or a new one."""
    progress = IdListProgress()
    for path in list_open_journals(task.captures, "videos", task.name):
        journal = Journal.resume(path)
        if journal.start["header"].get("digest") == task.digest:
            for event in journal.events():
                progress.apply(event)
            return journal, progress
        journal.close()
        raise IdListError(
            f"Another id list with the name {task.name} is not finished. No request was sent. "
            "Finish it with the same command, or choose another name with --name."
        )
    today = context.clock.now().date()
    days = [day for batch in batch_ids(task.videos, today) for day in (batch.first, batch.last)]
    header = {"purpose": task.purpose, "digest": task.digest, "fields": task.fields}
    return Journal.create(
        task.captures,
        entity="videos",
        study=task.name,
        first=min(days, default=today),
        last=max(days, default=today),
        now=context.clock.now(),
        origin=context.settings.origin,
        header=header,
    ), progress


class _IdListRun:
    """One run over the remaining ids of a list. `stop` is the stop condition that ended it early, else None."""

    def __init__(self, task: IdListTask, context: CollectorContext, journal: Journal, progress: IdListProgress) -> None:
        settings = context.settings
        self._task, self._context, self._journal, self._progress = task, context, journal, progress
        self._listed = {one.id: one for one in task.videos}
        self._today = context.clock.now().date()
        self._sender = RequestSender(
            context.client, context.ledger, context.clock, rate=settings.rate_limit, concurrency=settings.concurrency
        )
        remaining = [one for one in task.videos if one.id not in progress.states]
        self.jobs: deque[IdBatch] = deque(batch_ids(remaining, self._today, window_days=settings.window_days))
        self.stop: StopCondition | None = None

    async def work(self, batch: IdBatch) -> tuple[int, Sequence[IdBatch]]:
        """Request one batch; return the number of ids with a new state, and the batches that replace it."""
        try:
            found = await self._fetch_batch(batch)
            if not found and len(batch.ids) > 1:
                # An empty response may be wrong (reference §7 #10), so a second request checks it.
                found = await self._fetch_batch(batch)
        except QuotaExhausted as error:
            self.stop = StopCondition.from_quota(error)
            return 0, ()
        except RateLimited as error:
            self.stop = StopCondition.cool_down(POOL, summarize_error(error), self._context.clock.now())
            return 0, ()
        except (RetryableError, UnitError) as error:
            if self._sender.api_is_down:
                n_failures = self._sender.consecutive_failures
                reason = f"The API answered {n_failures} calls in a row with errors: {summarize_error(error)}."
                self.stop = StopCondition.cool_down(POOL, reason, self._context.clock.now())
                return 0, ()
            if narrower := list(split_batch(batch, self._listed, self._today)):
                return 0, narrower
            return self._record_states(unanswered=batch.ids, reason=summarize_error(error)), ()
        return self._record_states(returned=found, absent=[one for one in batch.ids if one not in found]), ()

    async def _fetch_batch(self, batch: IdBatch) -> set[int]:
        """Return the ids of a batch that the API returns."""
        condition = {"operation": "IN", "field_name": "video_id", "field_values": [str(one) for one in batch.ids]}
        context = RequestContext(self._task.name, "videos", f"{self._task.purpose}: {batch}", is_due=False)
        found: set[int] = set()
        page: ResponsePage | None = None
        for _ in range(_MAX_PAGES):
            request = video_query(
                {"and": (condition,)},
                batch.first,
                batch.last,
                fields=self._task.fields,
                cursor=page.cursor if page else None,
                search_id=page.search_id if page else None,
            )
            page = await self._sender.send(
                request, context, self._record_failure, max_attempts=lambda error: _max_attempts(error, batch)
            )
            facts = answer_facts(page, self._context.clock.now())
            self._record_event("page", {"unit": str(batch), "partition": None, "context": {}, **facts}, page.raw)
            found |= {one for row in page.rows if (one := video_id_of(row)) is not None} & set(batch.ids)
            if not page.has_more or len(found) == len(batch.ids):
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
        n_before = len(self._progress.states)
        facts = {"returned": sorted(returned), "absent": sorted(absent), "unanswered": sorted(unanswered)}
        self._record_event("states", facts | {"reason": reason})
        return len(self._progress.states) - n_before

    def _record_failure(self, facts: dict[str, Any]) -> None:
        self._record_event("fail", facts)

    def _record_event(self, event: str, facts: dict[str, Any], answer: bytes | None = None) -> None:
        self._journal.append(event, facts, answer)
        self._progress.apply({"event": event, **facts})


def _max_attempts(error: RetryableError, batch: IdBatch) -> int | None:
    """Return 1 for a batch that can be split, else 3; None for rate limiting, which is waited for."""
    if isinstance(error, RateLimited):
        return None
    return 1 if batch.first < batch.last else 3
