"""One request on its way: a place in flight, a place in the quota, the answer, and what an error means for a retry.

Every attempt takes its own place in the ledger before it is sent, retries included, because failed calls cost quota.
What is asked, and what a final answer means for a unit, is decided by the caller.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from research_assets.clock import Clock
from research_assets.quota.ledger import Ledger, QuotaExhausted
from research_assets.tiktok.client import Client, ResponsePage
from research_assets.tiktok.errors import (
    ApiError,
    CursorRejected,
    DailyQuotaExceeded,
    RateLimited,
    RetryableError,
    SearchIdRejected,
    ServerError,
    TokenRefreshRequired,
    UnitError,
    Unreachable,
)
from research_assets.tiktok.requests import Request

BACKOFF_SECONDS: dict[type[RetryableError], tuple[float, ...]] = {
    RateLimited: (10, 20, 30, 60, 60, 60, 60, 60, 60, 60),
    SearchIdRejected: (5, 10, 15, 20),
    CursorRejected: (5, 10, 15, 20),
    ServerError: (2, 6, 20, 60),
    Unreachable: (5, 15, 60, 120),
}
"""Seconds before each further try, by what went wrong (reference §§5, 6.2, 6.3); after the last the error stands."""

MAX_RETRY_AFTER_SECONDS = 300.0
"""Seconds that a server may make one request wait by its `Retry-After`."""

OUTAGE_FAILURES = 16
"""Calls failing one after the other, whatever they asked, after which it is not what was asked: the API is down."""


class RateController:
    """How much may be in flight, and how fast: slower after a short 429, faster again while all is quiet.

    Halves what is in flight and the rate when the server says `rate_limit_exceeded`, and adds a little for each
    answer, up to the settings. `flight` is a limiter whose size moves, `rounds` the pauses since the last answer: what
    was in flight together is refused together, and makes one.
    """

    def __init__(self, clock: Clock, *, rate: float, concurrency: int) -> None:
        self._clock = clock
        self._most_rate = self.rate = rate
        self._most = concurrency
        self._size = float(concurrency)
        self._next = self._round_ends = clock.now().timestamp()
        self.n_throttled = 0
        self.in_flight = anyio.CapacityLimiter(concurrency)

    async def wait_for_slot(self) -> None:
        """Wait for the next moment at which a request may be sent."""
        now = self._clock.now().timestamp()
        slot = max(now, self._next)
        self._next = slot + 1 / self.rate
        if slot > now:
            await self._clock.sleep(slot - now)

    def on_rate_limited(self, retry_after: float | None) -> None:
        """The server refused for the moment: less in flight, slower, and nobody sends during the pause."""
        now, pauses = self._clock.now().timestamp(), BACKOFF_SECONDS[RateLimited]
        self.n_throttled += now >= self._round_ends
        self._round_ends = now + (retry_after or pauses[min(self.n_throttled, len(pauses)) - 1])
        self._next = max(self._next, self._round_ends)
        self._resize(max(1.0, self._size / 2))
        self.rate = max(0.2, self.rate / 2)

    def on_success(self) -> None:
        """An answer came: a little more may be in flight."""
        self.n_throttled = 0
        self._resize(min(float(self._most), self._size + 1 / self._size))
        self.rate = min(self._most_rate, self.rate * 1.02)

    def _resize(self, size: float) -> None:
        self._size = size
        self.in_flight.total_tokens = int(size)


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Whom a request serves: it names the study, entity and unit in the ledger and the journal."""

    study: str
    entity: str
    unit: str
    is_due: bool = True


class RequestSender:
    """Sends requests through the ledger and retries those whose error says that waiting may help.

    `failures` counts the calls that the server failed to answer since the last one that it did, be it with a refusal.
    """

    def __init__(self, client: Client, ledger: Ledger, clock: Clock, *, rate: float, concurrency: int) -> None:
        self._client = client
        self._ledger = ledger
        self._clock = clock
        self._pace = RateController(clock, rate=rate, concurrency=concurrency)
        self.consecutive_failures = 0

    @property
    def api_is_down(self) -> bool:
        """Whether so many calls failed one after the other that no further try is worth its request."""
        return self.consecutive_failures >= OUTAGE_FAILURES

    async def send(
        self,
        request: Request,
        context: RequestContext,
        on_failure: Callable[[dict[str, Any]], None],
        *,
        max_attempts: Callable[[RetryableError], int | None] = lambda _: None,
        wait_for: "asyncio.Future[None] | None" = None,
    ) -> ResponsePage:
        """Send until an answer comes.

        `failed` is told of each attempt that cost a request and brought no answer, as fields of a journal event.
        `tries` may bound the attempts for an error (None leaves the table `PAUSES` to decide). Nothing is sent before
        `after` has ended well; what it raises is raised. Raises QuotaSpent when
        the ledger or the API has no request left, and the last ApiError when waiting did not help or cannot help.
        """
        failures: dict[type[ApiError], int] = {}
        endpoint = request.endpoint.name

        def again(error: BaseException) -> bool:
            if isinstance(error, TokenRefreshRequired):
                return failures[TokenRefreshRequired] < 2
            if not isinstance(error, RetryableError) or self.api_is_down:
                return False
            if isinstance(error, RateLimited) and self._pace.n_throttled > len(BACKOFF_SECONDS[RateLimited]):
                return False
            most = max_attempts(error)
            return failures[_error_class(error)] < (len(_backoff(error)) + 1 if most is None else most)

        def pause(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            if not isinstance(error, RetryableError) or isinstance(error, RateLimited):
                return 0.0
            pauses = _backoff(error)
            return _retry_after_seconds(error) or pauses[min(failures[_error_class(error)], len(pauses)) - 1]

        async for attempt in AsyncRetrying(
            retry=retry_if_exception(again), wait=pause, sleep=self._clock.sleep, reraise=True
        ):
            with attempt:
                try:
                    return await self._send_once(request, context, wait_for)
                except ApiError as error:
                    self._count_failure(error)
                    failures[_error_class(error)] = failures.get(_error_class(error), 0) + 1
                    if error.endpoint == endpoint:
                        on_failure(_failure_event(request, context, error, self._clock))
                    raise
        raise AssertionError("tenacity ends with an answer or an exception")

    def _count_failure(self, error: ApiError) -> None:
        if isinstance(error, ServerError | Unreachable):
            self.consecutive_failures += 1
        elif isinstance(error, UnitError):
            self.consecutive_failures = 0
        elif isinstance(error, RateLimited):
            self._pace.on_rate_limited(_retry_after_seconds(error))

    async def _send_once(
        self, request: Request, context: RequestContext, after: "asyncio.Future[None] | None"
    ) -> ResponsePage:
        endpoint, ledger = request.endpoint, self._ledger
        async with self._pace.in_flight:
            # Before the place in the quota is taken: a token costs none, and its answer tells the server's time.
            await self._client.token()
            await self._pace.wait_for_slot()
            place = ledger.reserve(
                endpoint.pool,
                study=context.study,
                entity=context.entity,
                unit=context.unit,
                endpoint=endpoint.name,
                due=context.is_due,
            )
            try:
                if after is not None:
                    await asyncio.shield(after)
            except BaseException:
                ledger.settle(place, status=None, code=None, rows=0, latency=None, log_id=None, sent=False)
                raise
            try:
                answer = await self._client.send(request)
            except ApiError as error:
                opens_at = (
                    ledger.mark_exhausted(endpoint.pool, place) if isinstance(error, DailyQuotaExceeded) else None
                )
                ledger.settle(
                    place,
                    status=error.status,
                    code=error.code,
                    rows=0,
                    latency=error.latency,
                    log_id=error.log_id,
                    # An error of the token's endpoint says that the data request was never sent.
                    sent=error.sent and error.endpoint == endpoint.name,
                )
                if opens_at:
                    state = ledger.pool_state(endpoint.pool)
                    raise QuotaExhausted(state.pool, state.cap, state.used, opens_at, "api_refused") from error
                raise
            ledger.settle(
                place,
                status=answer.status,
                code="ok",
                rows=len(answer.rows),
                latency=answer.latency,
                log_id=answer.log_id,
            )
            self._pace.on_success()
            self.consecutive_failures = 0
            return answer


def summarize_error(error: ApiError) -> str:
    """What came back, for the reason of a state, such as `HTTP 500 internal_error: Server Internal Error`."""
    status = f"HTTP {error.status}" if error.status is not None else "No answer"
    return ": ".join(part for part in (f"{status} {error.code}".strip(), error.message) if part)


def _retry_after_seconds(error: RetryableError) -> float | None:
    """The server's own wish for a pause, within reason."""
    return min(error.retry_after, MAX_RETRY_AFTER_SECONDS) if error.retry_after and error.retry_after > 0 else None


def _error_class(error: ApiError) -> type[ApiError]:
    return next((kind for kind in (*BACKOFF_SECONDS, TokenRefreshRequired) if isinstance(error, kind)), type(error))


def _backoff(error: RetryableError) -> tuple[float, ...]:
    return next(
        (pauses for kind, pauses in BACKOFF_SECONDS.items() if isinstance(error, kind)), BACKOFF_SECONDS[ServerError]
    )


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
