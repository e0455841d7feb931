"""Sending of one request: concurrency, rate, quota reservation, retries with backoff.

Every attempt reserves its own request in the ledger before it is sent, retries included, because failed calls cost
quota.

Not here: which requests to send, and what a final response or error means for a unit (see search/, lists/, id_lists/).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import anyio
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from research_assets.clock import Clock
from research_assets.collect.resolution import RESOLUTIONS, Action, error_class, resolve
from research_assets.collect.types import RequestBudget
from research_assets.quota.ledger import Ledger, QuotaExhausted
from research_assets.quota.ledger_database import LedgerError, LedgerUnreachable
from research_assets.storage.captures import require_space
from research_assets.text import safe_logger
from research_assets.tiktok.client import Client, ResponsePage
from research_assets.tiktok.compliance import TaskReply
from research_assets.tiktok.errors import (
    ApiError,
    CursorRejected,
    DailyQuotaExceeded,
    RateLimited,
    RetryableError,
    SearchIdRejected,
    ServerError,
    UnitError,
    Unreachable,
)
from research_assets.tiktok.pseudonyms import Pseudonyms, require_handles
from research_assets.tiktok.requests import Request

_LOGGER = safe_logger(__name__)

A = TypeVar("A", ResponsePage, TaskReply[int], TaskReply[str], TaskReply[bytes])

MAX_RETRY_AFTER_SECONDS = 300.0
"""Longest wait that a `Retry-After` header may impose (seconds)."""

UNREACHABLE_PAUSE = timedelta(minutes=5)
"""Pause of a run whose ledger is in a database that does not answer."""

OUTAGE_FAILURES = 16
"""Consecutive failed calls, across all units, after which the API counts as down."""

OUTAGE_CHECK_FAILURES = 5
"""Failed calls at the beginning of a run after which a check of the API is worth a request."""


class RateController:
    """Concurrency and request rate, which fall after `rate_limit_exceeded` and rise again with each success.

    After `rate_limit_exceeded` both are halved. Each success raises them a little, up to the settings. `in_flight` is
    a limiter with a variable size. `n_throttled` counts the pauses since the last success: requests that were in
    flight together are rejected together and count as one.
    """

    def __init__(self, clock: Clock, *, rate: float, concurrency: int) -> None:
        self._clock = clock
        self._max_rate = self.rate = rate
        self._max_concurrency = concurrency
        self._concurrency = float(concurrency)
        self._next_slot = self._pause_ends = clock.monotonic()
        self.n_throttled = 0
        self.in_flight = anyio.CapacityLimiter(concurrency)

    async def wait_for_slot(self) -> None:
        """Wait for the next time at which a request may be sent."""
        now = self._clock.monotonic()
        slot = max(now, self._next_slot)
        self._next_slot = slot + 1 / self.rate
        if slot > now:
            await self._clock.sleep(slot - now)

    def on_rate_limited(self, retry_after: float | None) -> None:
        """Halve concurrency and rate, and hold back all requests until the pause ends."""
        now, pauses = self._clock.monotonic(), RESOLUTIONS[RateLimited].backoff
        self.n_throttled += now >= self._pause_ends
        self._pause_ends = now + (retry_after or pauses[min(self.n_throttled, len(pauses)) - 1])
        self._next_slot = max(self._next_slot, self._pause_ends)
        self._resize(max(1.0, self._concurrency / 2))
        self.rate = max(0.2, self.rate / 2)

    def on_success(self) -> None:
        """Raise concurrency and rate a little, up to the settings."""
        self.n_throttled = 0
        self._resize(min(float(self._max_concurrency), self._concurrency + 1 / self._concurrency))
        self.rate = min(self._max_rate, self.rate * 1.02)

    def _resize(self, concurrency: float) -> None:
        self._concurrency = concurrency
        self.in_flight.total_tokens = int(concurrency)


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Study, entity and unit of a request, for the ledger and the journal.

    `is_due`: the request may use the part of the quota that is reserved for due units.
    """

    study: str
    entity: str
    unit: str
    is_due: bool = True


class RequestSender:
    """Sender of requests through the ledger, which retries those whose error is retryable.

    `consecutive_failures` counts the failed calls since the last success or refusal of a unit. Once `has_ended` is set,
    no further request is sent.
    """

    def __init__(
        self,
        client: Client,
        ledger: Ledger,
        clock: Clock,
        *,
        rate: float,
        concurrency: int,
        budget: RequestBudget | None = None,
        pseudonyms: Pseudonyms | None = None,
        check_locks: Callable[[], None] | None = None,
        captures: Path | None = None,
    ) -> None:
        """`budget` limits the requests of the run; None for what the pool has left.

        Responses are stored in `captures`, if they are; no request is sent while its disk is full. With `pseudonyms`,
        requests name accounts by pseudonyms, and so do pages and errors. `check_locks` is called before each request,
        which is not sent if it raises an error; None if the locks of the run cannot be lost.
        """
        self._check_locks, self._captures = check_locks, captures
        self._client, self._pseudonyms = client, pseudonyms
        self._ledger = ledger
        self._clock = clock
        self._budget = budget
        self._rate_controller = RateController(clock, rate=rate, concurrency=concurrency)
        self._refused_until: dict[str, datetime] = {}
        self._has_succeeded = self.has_ended = False
        self.consecutive_failures = 0

    @property
    def api_is_down(self) -> bool:
        """Return whether `OUTAGE_FAILURES` calls in a row have failed."""
        return self.consecutive_failures >= OUTAGE_FAILURES

    @property
    def api_may_be_down(self) -> bool:
        """Return whether a check should tell an outage from units that fail: earlier if no call has succeeded yet."""
        return self.api_is_down or (not self._has_succeeded and self.consecutive_failures >= OUTAGE_CHECK_FAILURES)

    async def send(
        self,
        request: Request,
        context: RequestContext,
        on_failure: Callable[[dict[str, Any]], None],
        *,
        max_attempts: Callable[[RetryableError], int | None] = lambda _: None,
        wait_for: "asyncio.Future[None] | None" = None,
    ) -> ResponsePage:
        """Send a request, with retries, and return its response page.

        `on_failure` receives each failed attempt as the facts of a journal event. `max_attempts` limits the attempts
        for an error; None applies the backoff of `RESOLUTIONS`. The request is sent after `wait_for` has finished; an
        error of `wait_for` is raised. Raise QuotaExhausted if the run, the ledger or the API has no request left, and
        the last ApiError if the retries are used up or the error is not retryable.
        """
        # Both raise UnknownPseudonym, before a request is reserved.
        if self._pseudonyms is None:
            require_handles(request)
        else:
            self._pseudonyms.with_handles(request)
        return await self.send_call(
            request,
            context,
            lambda: self._client.send(request, self._pseudonyms),
            on_failure,
            max_attempts=max_attempts,
            wait_for=wait_for,
        )

    async def send_call(
        self,
        request: Request,
        context: RequestContext,
        call: Callable[[], Awaitable[A]],
        on_failure: Callable[[dict[str, Any]], None] = lambda _: None,
        *,
        max_attempts: Callable[[RetryableError], int | None] = lambda _: None,
        wait_for: "asyncio.Future[None] | None" = None,
    ) -> A:
        """Send a request as `send` does, by a `call` of the client, and return what it returns."""
        failures: dict[type[ApiError], int] = {}
        endpoint = request.endpoint.name

        def should_retry(error: BaseException) -> bool:
            if not isinstance(error, ApiError):
                return False
            resolution = resolve(error)
            if resolution.action is Action.REFRESH_TOKEN:
                return failures[error_class(error)] < 2
            if resolution.action is not Action.RETRY or not isinstance(error, RetryableError) or self.api_is_down:
                return False
            if isinstance(error, RateLimited) and self._rate_controller.n_throttled > len(resolution.backoff):
                return False
            limit = max_attempts(error)
            return failures[error_class(error)] < (len(resolution.backoff) + 1 if limit is None else limit)

        def wait_seconds(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            if not isinstance(error, RetryableError) or isinstance(error, RateLimited):
                return 0.0
            pauses = resolve(error).backoff
            return _retry_after_seconds(error) or pauses[min(failures[error_class(error)], len(pauses)) - 1]

        async for attempt in AsyncRetrying(
            retry=retry_if_exception(should_retry), wait=wait_seconds, sleep=self._clock.sleep, reraise=True
        ):
            with attempt:
                try:
                    with self._reachable(request.endpoint.pool):
                        return await self._send_once(request, context, call, wait_for)
                except ApiError as error:
                    _LOGGER.info("%s of %s failed: %s", endpoint, context.unit, summarize_error(error))
                    self._count_failure(error)
                    failures[error_class(error)] = failures.get(error_class(error), 0) + 1
                    if error.endpoint == endpoint:
                        on_failure(_failure_event(request, context, error, self._clock))
                    raise
        raise AssertionError("tenacity ends with a result or an exception")

    @contextmanager
    def _reachable(self, pool: str) -> Iterator[None]:
        """Raise QuotaExhausted, which pauses the run, if the database of the ledger does not answer."""
        try:
            yield
        except LedgerUnreachable as error:
            _LOGGER.warning("%s The run pauses for %s.", error, UNREACHABLE_PAUSE)
            retry_at = self._clock.now() + UNREACHABLE_PAUSE
            raise QuotaExhausted(pool, self._ledger.caps[pool], 0, retry_at, "unreachable") from error

    def available(self, pool: str, *, due: bool) -> int:
        """Return the requests that may still be sent: what the budget of the run and the pool have left."""
        try:
            remaining = self._ledger.available(pool, due=due)
        except LedgerUnreachable:
            return 0
        return remaining if self._budget is None else min(remaining, self._budget.remaining)

    def _reserve(self, pool: str, endpoint: str, context: RequestContext) -> int:
        """Take a request from the budget of the run and reserve it. Raise QuotaExhausted if either has none left."""
        budget = self._budget
        if budget is not None and budget.remaining <= 0:
            state = self._ledger.pool_state(pool)
            # Another run may use what the pool has left at once.
            retry_at = state.available_at or self._clock.now()
            raise QuotaExhausted(pool, state.cap, state.used, retry_at, "cap" if state.used >= state.cap else "budget")
        reservation = self._ledger.reserve(
            pool,
            study=context.study,
            entity=context.entity,
            unit=context.unit,
            endpoint=endpoint,
            due=context.is_due,
            run=budget.run if budget else None,
        )
        if budget is not None:
            budget.remaining -= 1
        return reservation

    def _release(self, reservation: int) -> None:
        """Give a reserved request that was not sent back to the ledger and to the budget of the run."""
        self._settle(reservation, status=None, code=None, rows=0, latency=None, log_id=None, sent=False)
        self._return_to_budget()

    def _settle(
        self,
        reservation: int,
        *,
        status: int | None,
        code: str | None,
        rows: int,
        latency: float | None,
        log_id: str | None,
        sent: bool = True,
    ) -> None:
        """Complete a reservation in the ledger, or log that it stays as it is: the response must not be lost."""
        try:
            self._ledger.settle(
                reservation, status=status, code=code, rows=rows, latency=latency, log_id=log_id, sent=sent
            )
        except LedgerError as error:
            _LOGGER.warning("The request %s stays reserved without its response. %s", reservation, error)

    def _return_to_budget(self) -> None:
        if self._budget is not None:
            self._budget.remaining += 1

    def _require_open(self, pool: str) -> None:
        """Raise QuotaExhausted if the API refused a request of this pool, or the run ended, since the reservation."""
        if self.has_ended:
            state = self._ledger.pool_state(pool)
            raise QuotaExhausted(pool, state.cap, state.used, self._clock.now(), "ended")
        retry_at = self._refused_until.get(pool)
        if retry_at is not None and self._clock.now() < retry_at:
            raise self._refusal(pool, retry_at)

    def _refusal(self, pool: str, retry_at: datetime) -> QuotaExhausted:
        state = self._ledger.pool_state(pool)
        return QuotaExhausted(state.pool, state.cap, state.used, retry_at, "api_refused")

    def _count_failure(self, error: ApiError) -> None:
        body = error.request.body
        # A request that names neither search id nor cursor cannot be the cause of their rejection.
        is_first = not (body.get("search_id") or body.get("cursor"))
        if isinstance(error, ServerError | Unreachable) or (
            isinstance(error, SearchIdRejected | CursorRejected) and is_first
        ):
            self.consecutive_failures += 1
        elif isinstance(error, UnitError):
            self.consecutive_failures = 0
        elif isinstance(error, RateLimited):
            self._rate_controller.on_rate_limited(_retry_after_seconds(error))

    async def _send_once(
        self,
        request: Request,
        context: RequestContext,
        call: Callable[[], Awaitable[A]],
        wait_for: "asyncio.Future[None] | None",
    ) -> A:
        endpoint = request.endpoint
        async with self._rate_controller.in_flight:
            # Before the reservation: a token request costs no quota, and its response begins to set the server time.
            await self._client.token()
            await self._rate_controller.wait_for_slot()
            if self._captures is not None:
                # Once is enough: a disk that fills up later ends the run, and the next run begins here.
                require_space(self._captures)
                self._captures = None
            reservation = self._reserve(endpoint.pool, endpoint.name, context)
            try:
                if wait_for is not None:
                    await asyncio.shield(wait_for)
                self._require_open(endpoint.pool)
                if self._check_locks is not None:
                    await asyncio.to_thread(self._check_locks)
            except BaseException:
                self._release(reservation)
                raise
            try:
                page = await call()
            except ApiError as error:
                retry_at = (
                    self._ledger.mark_exhausted(endpoint.pool, reservation)
                    if isinstance(error, DailyQuotaExceeded)
                    else None
                )
                # An error of the token endpoint means that the data request was not sent.
                was_sent = error.sent and error.endpoint == endpoint.name
                self._settle(
                    reservation,
                    status=error.status,
                    code=error.code,
                    rows=0,
                    latency=error.latency,
                    log_id=error.log_id,
                    sent=was_sent,
                )
                if not was_sent:
                    self._return_to_budget()
                if retry_at:
                    self._refused_until[endpoint.pool] = retry_at
                    raise self._refusal(endpoint.pool, retry_at) from error
                raise
            self._settle(
                reservation,
                status=page.status,
                code="ok",
                rows=len(page.rows),
                latency=page.latency,
                log_id=page.log_id,
            )
            self._rate_controller.on_success()
            self._has_succeeded = True
            self.consecutive_failures = 0
            return page


def summarize_error(error: ApiError) -> str:
    """Return status, code and message of an error, such as `HTTP 500 internal_error: Server Internal Error`."""
    status = f"HTTP {error.status}" if error.status is not None else "No response"
    return ": ".join(part for part in (f"{status} {error.code}".strip(), error.message) if part)


def _retry_after_seconds(error: RetryableError) -> float | None:
    """Return the `Retry-After` of a response, at most `MAX_RETRY_AFTER_SECONDS`; None if it has none."""
    return min(error.retry_after, MAX_RETRY_AFTER_SECONDS) if error.retry_after and error.retry_after > 0 else None


def _failure_event(request: Request, context: RequestContext, error: ApiError, clock: Clock) -> dict[str, Any]:
    return {
        "unit": context.unit,
        "requests": int(error.sent),
        "request": request.to_dict,
        "observed_at": clock.now(),
        "status": error.status,
        "code": error.code,
        "message": error.message,
        "log_id": error.log_id,
    }
