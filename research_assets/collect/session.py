"""A run and its sessions: what all searches or lists of a run share, and one journal with its progress.

`Session.record` is the one place that appends an event and applies it to the progress, so that resuming a journal
leads to the same progress. `RunState.stop_for` is the one place where an error ends a run. `read_pages` is the loop
that all pagers share.

Not here: what an error means for a unit (see resolution.py, search/conclude.py, lists/pager.py).
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar

from research_assets.collect.resolution import Action, resolve
from research_assets.collect.sender import UNREACHABLE_PAUSE, RequestContext, RequestSender, summarize_error
from research_assets.collect.types import CollectorContext, RequestBudget, RunProgress, StopCondition
from research_assets.quota.ledger import QuotaExhausted
from research_assets.storage.captures import Journal
from research_assets.storage.lock_errors import LocksLost
from research_assets.storage.locks import lock_check
from research_assets.storage.pseudonym_keys import record_key
from research_assets.storage.withdrawals import read_withdrawn
from research_assets.storage.withheld import withhold
from research_assets.tiktok.client import ResponsePage
from research_assets.tiktok.errors import ApiError, RateLimited, RetryableError
from research_assets.tiktok.pseudonyms import Pseudonyms
from research_assets.tiktok.requests import Request
from research_assets.units.coverage import join_sentences

_THROTTLED = "The API keeps rejecting requests, even at the lowest request rate:"


class Progress(Protocol):
    """The fold of a journal: the state that follows from its events."""

    def apply(self, event: Mapping[str, Any]) -> None:
        """Apply one event; kinds that do not concern the progress change nothing."""


class Pager(Protocol):
    """The reader of one search, list or batch of ids: its next request, and the facts of an answered one.

    The facts become the `page` event; the progress that the pager reads is the fold of these events.
    """

    def next_request(self) -> Request | None:
        """Return the next request; None if there is nothing more to read."""

    def page_facts(self, page: ResponsePage) -> dict[str, Any]:
        """Return the facts of a page that answers `next_request`."""


RecordEvent = Callable[[str, dict[str, Any], bytes | None], None]
"""Record an event: its kind, its facts, and the bytes of the response if there is one."""

P = TypeVar("P", bound=Progress)


class RunState:
    """State that the searches or lists of one run share: the sender, the totals, and the reason to stop.

    `stop` ends the run; `backfill_stop` ends only its backfill, because the rest of the quota is reserved. `failure` is
    the error that ended it, which no later request can avoid.
    """

    def __init__(
        self,
        study: str,
        entity: str,
        pool: str,
        context: CollectorContext,
        *,
        budget: RequestBudget | None = None,
        pseudonyms: Pseudonyms | None = None,
    ) -> None:
        """`budget` limits the requests of the run; None for what the pool has left.

        With `pseudonyms` no handle gets past the sender. Raise PseudonymKeyError if the study has data with another key
        or with handles; the key of the first run is recorded.
        """
        settings = context.settings
        self.study, self.entity, self.pool, self.context = study, entity, pool, context
        record_key(settings, study, pseudonyms.fingerprint if pseudonyms else None, context.clock.now())
        self.withdrawn = read_withdrawn(settings.state)
        if pseudonyms is not None:
            pseudonyms = pseudonyms.watching(self.withdrawn.has_account)
            self.withdrawn = replace(self.withdrawn, pseudonyms=pseudonyms.withdrawn)
        self.sender = RequestSender(
            context.client,
            context.ledger,
            context.clock,
            rate=settings.rate_limit,
            concurrency=settings.concurrency,
            budget=budget,
            pseudonyms=pseudonyms,
            check_locks=lock_check(settings.state),
            captures=settings.captures,
        )
        self.stop: StopCondition | None = None
        self.backfill_stop: StopCondition | None = None
        self.failure: ApiError | None = None
        self.locks_lost: LocksLost | None = None
        self._pages = self._rows = self._requests = 0

    @property
    def is_stopped(self) -> bool:
        """Return whether no further request may be sent, or none of backfill."""
        return self.stop is not None or self.backfill_stop is not None

    @property
    def may_continue(self) -> bool:
        """Return whether further requests may be sent, at least for work that is due."""
        return self.stop is None

    def count(self, partition: str, rows: int | None) -> None:
        """Count one request of a partition or window and report the totals; `rows` is None if it failed."""
        self._requests += 1
        self._pages += rows is not None
        self._rows += rows or 0
        if self.context.progress:
            self.context.progress(
                RunProgress(self.study, self.entity, partition, self._pages, self._rows, self._requests)
            )

    def stop_for(self, error: Exception) -> StopCondition | None:
        """Return the stop condition that an error sets; None if the error concerns only its unit.

        A used quota stops the run until it is available again; rate limiting that slower requests did not end and an
        API that is down stop it for a while. An error that no later request can avoid, such as wrong credentials or a
        missing connection, ends it: what is in flight is still stored, then `raise_failure` raises the error. Raise
        every error that is not of the API.
        """
        now = self.context.clock.now()
        if isinstance(error, QuotaExhausted):
            if self.failure is not None:
                return self.stop
            stop = StopCondition.from_quota(error)
            if error.reason == "reserved":
                self.backfill_stop = stop
            else:
                self.stop = stop
            return stop
        if not isinstance(error, ApiError):
            raise error
        if isinstance(error, RateLimited):
            self.stop = StopCondition.cool_down(
                self.pool, str(join_sentences(f"{_THROTTLED} {summarize_error(error)}")), now
            )
            return self.stop
        if resolve(error).then is Action.STOP:
            self.failure, self.sender.has_ended = self.failure or error, True
            self.stop = StopCondition(self.pool, summarize_error(self.failure), now)
            return self.stop
        if isinstance(error, RetryableError) and self.sender.api_is_down:
            return self.stop_for_outage(summarize_error(error))
        return None

    def stop_for_lost_locks(self, error: LocksLost) -> None:
        """Pause the run because another process may work on its partitions: it sends and publishes nothing more.

        What is in flight is still stored.
        """
        self.locks_lost = self.locks_lost or error
        if self.stop is None:
            self.stop = StopCondition(self.pool, str(error), self.context.clock.now() + UNREACHABLE_PAUSE)

    def raise_failure(self) -> None:
        """Raise the error that ended the run, if there is one."""
        if self.failure is not None:
            raise self.failure

    def raise_lost_locks(self) -> None:
        """Raise LocksLost if the run lost its locks, before it writes something more."""
        if self.locks_lost is not None:
            raise self.locks_lost

    def stop_for_outage(self, reason: str) -> StopCondition:
        """Stop the run because the API answers no request; `reason` is its last error."""
        n_failures = self.sender.consecutive_failures
        text = join_sentences(f"The API answered {n_failures} calls in a row with errors: {reason}")
        self.stop = StopCondition.cool_down(self.pool, str(text), self.context.clock.now())
        return self.stop


class Session(Generic[P]):
    """One journal, the progress that is rebuilt from it, and the sender of the run."""

    def __init__(self, run: RunState, journal: Journal, progress: P, label: str) -> None:
        """`label` names the partition or window in the totals of the run."""
        self.run, self.journal, self.progress, self._label = run, journal, progress, label
        self._page_write: asyncio.Future[None] | None = None

    def record(self, event: str, facts: dict[str, Any], answer: bytes | None = None) -> None:
        """Append an event to the journal durably and apply it to the progress."""
        facts, answer = withhold_facts(self.run, self.journal.start["entity"], event, facts, answer)
        self.journal.append(event, facts, answer)
        self.progress.apply({"event": event, **facts})
        self._count(event, facts)

    def record_failure(self, facts: dict[str, Any]) -> None:
        """Record a failed request; `facts` come from the sender."""
        self.record("fail", facts)

    async def record_page(self, facts: dict[str, Any], answer: bytes) -> None:
        """Apply a page, and append it to the journal while the next request is reserved.

        The next request of this session is sent once the page is durable; `finish_writing` waits for the last one.
        """
        facts, kept = withhold_facts(self.run, self.journal.start["entity"], "page", facts, answer)

        async def write() -> None:
            await asyncio.to_thread(self.journal.append, "page", facts, kept)
            self._count("page", facts)

        self._page_write = asyncio.ensure_future(write())
        self.progress.apply({"event": "page", **facts})

    async def send(
        self,
        request: Request,
        context: RequestContext,
        *,
        max_attempts: Callable[[RetryableError], int | None] = lambda _: None,
    ) -> ResponsePage:
        """Send a request after the page before it is durable; each failed attempt is recorded."""
        return await self.run.sender.send(
            request, context, self.record_failure, max_attempts=max_attempts, wait_for=self._page_write
        )

    async def finish_writing(self) -> None:
        """Wait until the last page is written, even if this task is cancelled, because its journal is closed next.

        Raise the error of the write, else the cancellation.
        """
        writing, self._page_write = self._page_write, None
        if writing is None:
            return
        cancelled: asyncio.CancelledError | None = None
        while not writing.done():
            try:
                await asyncio.wait([writing])
            except asyncio.CancelledError as error:
                cancelled = error
        writing.result()
        if cancelled is not None:
            raise cancelled

    def _count(self, event: str, facts: Mapping[str, Any]) -> None:
        """Report a request once its event is durable."""
        if event in ("page", "fail", "canary"):
            self.run.count(self._label, None if event == "fail" else facts.get("rows", 0))


def withhold_facts(
    run: RunState, entity: str, event: str, facts: dict[str, Any], answer: bytes | None
) -> tuple[dict[str, Any], bytes | None]:
    """Return an event without withdrawn items, before it is stored or applied to anything."""
    if not run.withdrawn:
        return facts, answer
    kept, answer = withhold(entity, {"event": event, **facts}, answer, run.withdrawn)
    return {name: value for name, value in kept.items() if name != "event"}, answer


async def read_pages(
    session: Session[Any],
    pager: Pager,
    context: RequestContext,
    *,
    max_attempts: Callable[[RetryableError], int | None],
) -> None:
    """Request the pages of a pager until it has none left; each is durable before the next request is sent.

    Raise what `RequestSender.send` raises.
    """
    try:
        while (request := pager.next_request()) is not None:
            page = await session.send(request, context, max_attempts=max_attempts)
            await session.record_page(pager.page_facts(page), page.raw)
    finally:
        await session.finish_writing()
