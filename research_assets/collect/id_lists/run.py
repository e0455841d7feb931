"""Requests for an id list, batch by batch, on a journal: an answered id is never requested again.

As in a study, each request is reserved in the ledger, each page is durable before the next request of its batch, and a
paused list resumes.

Not here: what the states of the ids mean for a list (see audit.py and rehydrate.py).
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

from research_assets.collect.id_lists.batches import IdBatch, batch_ids, split_batch
from research_assets.collect.id_lists.pager import BatchPager
from research_assets.collect.id_lists.reader import IdListError, ListedVideo
from research_assets.collect.sender import RequestContext, summarize_error
from research_assets.collect.session import RunState, Session, read_pages
from research_assets.collect.types import CollectorContext, StopCondition, run_concurrently
from research_assets.quota.ledger import QuotaExhausted
from research_assets.storage.captures import Journal, list_open_journals
from research_assets.storage.locks import lock_partitions
from research_assets.tiktok.endpoints import BY_ENTITY
from research_assets.tiktok.errors import ApiError
from research_assets.tiktok.pseudonyms import Pseudonyms

IdState = Literal["returned", "absent", "unanswered"]
"""State of an id: the API returned its video, did not return it, or did not answer the request for it."""

POOL = BY_ENTITY["videos"].pool
"""Quota pool of the requests."""

_LOCK_DAY = date(2000, 1, 1)


@dataclass(frozen=True, slots=True)
class IdListTask:
    """An id list to request: its purpose and name, the fields, and the folder of its captures.

    With `pseudonyms` the responses are stored without handles.
    """

    purpose: Literal["audit", "rehydrate"]
    name: str
    videos: tuple[ListedVideo, ...]
    captures: Path
    fields: tuple[str, ...] | None = None
    pseudonyms: Pseudonyms | None = None

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
        # An audit requests no field with a handle. Its name may be that of a study.
        name = task.name if task.purpose == "rehydrate" else f"audit of {task.name}"
        run = RunState(name, "videos", POOL, replace(context, progress=None), pseudonyms=task.pseudonyms)
        journal, progress = _open_journal(task, context)
        stack.callback(journal.close)
        list_run = _IdListRun(task, run, journal, progress)
        on_progress(len(progress.states))
        results = run_concurrently(
            list_run.jobs, list_run.work, context.settings.concurrency, lambda: not (run.stop or run.backfill_stop)
        )
        async with aclosing(results):
            async for n_new, next_batches in results:
                list_run.jobs.extend(next_batches)
                on_progress(n_new)
        run.raise_failure()
        n_remaining = len(task.videos) - len(progress.states)
        if not n_remaining:
            on_complete(journal, progress)
        return IdListResult(progress, run.stop or run.backfill_stop, n_remaining)


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
    """One run over the remaining ids of a list."""

    def __init__(self, task: IdListTask, run: RunState, journal: Journal, progress: IdListProgress) -> None:
        context = run.context
        self._task, self._clock, self._journal, self._progress = task, context.clock, journal, progress
        self._listed = {one.id: one for one in task.videos}
        self._today = context.clock.now().date()
        self.run = run
        remaining = [one for one in task.videos if one.id not in progress.states]
        windows = batch_ids(remaining, self._today, window_days=context.settings.window_days)
        self.jobs: deque[IdBatch] = deque(windows)

    async def work(self, batch: IdBatch) -> tuple[int, Sequence[IdBatch]]:
        """Request one batch; return the number of ids with a new state, and the batches that replace it."""
        session = Session(self.run, self._journal, self._progress, str(batch))
        pager = BatchPager(batch, self._task.fields, self._clock)
        context = RequestContext(self._task.name, "videos", f"{self._task.purpose}: {batch}", is_due=False)
        try:
            await pager.find(lambda one: read_pages(session, one, context, max_attempts=one.max_attempts))
        except QuotaExhausted as error:
            self.run.stop_for(error)
            return 0, ()
        except ApiError as error:
            if self.run.stop_for(error) is not None:
                return 0, ()
            if narrower := list(split_batch(batch, self._listed, self._today)):
                return 0, narrower
            return self._record_states(session, unanswered=batch.ids, reason=summarize_error(error)), ()
        others = [one for one in batch.ids if one not in pager.found]
        if pager.doubt:
            return self._record_states(session, returned=pager.found, unanswered=others, reason=pager.doubt), ()
        return self._record_states(session, returned=pager.found, absent=others), ()

    def _record_states(
        self,
        session: Session[IdListProgress],
        *,
        returned: Iterable[int] = (),
        absent: Iterable[int] = (),
        unanswered: Iterable[int] = (),
        reason: str | None = None,
    ) -> int:
        n_before = len(self._progress.states)
        facts = {"returned": sorted(returned), "absent": sorted(absent), "unanswered": sorted(unanswered)}
        session.record("states", facts | {"reason": reason})
        return len(self._progress.states) - n_before
