"""HTTP transport over one pool of connections: time-outs, size limits, and the error if no response arrives.

It repeats no request. Not here: tokens (see auth.py), the contents of a response (see envelope.py).
"""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import httpx

from research_assets.clock import CONFIRMATIONS, Clock, ServerClock, parse_http_date
from research_assets.tiktok.errors import ServerError, Unreachable
from research_assets.tiktok.requests import Request

CONNECT_SECONDS = 15.0
"""Time to open a connection. Responses may take minutes (reference §7 #25), but a reachable server accepts at once."""

CONFIRMATION_SECONDS = 10.0
"""Time to wait for an answer that is only read for its time."""

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Maximum size of a response in bytes. A page of 100 videos has some hundred kilobytes."""

# Only errors before a connection is open prove that the request did not reach the API.
_NEVER_SENT_ERRORS = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An HTTP response. `latency` is in seconds; `retry_after` is in seconds from now, or None."""

    status: int
    body: bytes
    content_type: str
    date: str | None
    retry_after: float | None
    location: str | None
    latency: float


class HttpTransport:
    """A pool of at most `connections` connections to one address; `timeout` is in seconds."""

    def __init__(
        self,
        *,
        base_url: str,
        clock: Clock,
        timeout: float,
        connections: int,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Open no connection yet. Raises ValueError if `base_url` is not an HTTP URL."""
        self.base_url = base_url
        self._clock = clock
        self._timeout = timeout
        host = _host(base_url)
        self._http = httpx.AsyncClient(
            base_url=base_url,
            timeout=httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout)),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            headers={"User-Agent": f"research-assets/{version('research-assets')}", "Accept": "application/json, */*"},
            # Following a redirect would send the token to another host.
            follow_redirects=False,
            # The proxy of an institution cannot reach the sandbox on this machine.
            trust_env=not (host in {"localhost", "::1"} or host.startswith("127.")),
            transport=transport,
        )

    async def post(self, request: Request, *, fields: str = "", **options: Any) -> HttpResponse:
        """POST to the path of the request; `options` are arguments of httpx (headers, content, data, files).

        `fields` is the query parameter of that name; the body of the request is ignored. Raises Unreachable if no
        complete response arrived, ServerError if the response is too large or wrongly compressed.
        """
        monotonic = self._clock.monotonic
        began = monotonic()
        try:
            url = _endpoint_url(self.base_url, request.endpoint.path, fields)
            async with self._http.stream("POST", url, **options) as response:
                answered = monotonic()
                body = await self._body(response, request)
        except (httpx.TransportError, TimeoutError) as error:
            sent = not isinstance(error, _NEVER_SENT_ERRORS)
            failed = "no complete response from" if sent else "no connection to"
            reason = ": ".join(part for part in (type(error).__name__, str(error)) if part)
            raise Unreachable(
                request, message=f"{failed} {self.base_url} ({reason})", latency=monotonic() - began, sent=sent
            ) from error
        headers = response.headers
        if isinstance(self._clock, ServerClock):
            self._clock.observe(headers.get("date"), began, answered)
        return HttpResponse(
            status=response.status_code,
            body=body,
            content_type=headers.get("content-type", ""),
            date=headers.get("date"),
            retry_after=_retry_after(headers, self._clock),
            location=headers.get("location"),
            latency=monotonic() - began,
        )

    async def confirm_time(self) -> None:
        """Request further `Date` headers, without token and quota, until the time is known, at most `CONFIRMATIONS`.

        Otherwise the first data requests could be counted on the wrong day.
        """
        clock = self._clock
        if not isinstance(clock, ServerClock):
            return
        for _ in range(CONFIRMATIONS):
            if not clock.needs_answers:
                return
            began = clock.monotonic()
            try:
                async with asyncio.timeout(CONFIRMATION_SECONDS):
                    response = await self._http.head("/")
            except (httpx.HTTPError, TimeoutError):
                return
            clock.observe(response.headers.get("date"), began, clock.monotonic())

    def check_time(self) -> None:
        """Raise ClocksDiffer if the clocks of this machine and of the API differ by more than the limit."""
        if isinstance(self._clock, ServerClock):
            self._clock.check()

    async def _body(self, response: httpx.Response, request: Request) -> bytes:
        chunks = []
        size = 0
        try:
            # The time-out of httpx applies to each chunk, so a body with slow chunks would never end.
            async with asyncio.timeout(self._timeout):
                async for chunk in response.aiter_bytes():
                    size += len(chunk)
                    if size > MAX_BODY_BYTES:
                        raise httpx.DecodingError(f"the response is larger than {MAX_BODY_BYTES // 2**20} MiB")
                    chunks.append(chunk)
        except httpx.DecodingError as error:
            raise ServerError(
                request,
                status=response.status_code,
                message=f"the response cannot be read: {error}",
                date=response.headers.get("date"),
                raw=b"".join(chunks),
            ) from error
        return b"".join(chunks)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()


@lru_cache(maxsize=64)
def _endpoint_url(base_url: str, path: str, fields: str) -> httpx.URL:
    """Return the URL of an endpoint. It is cached, because parsing it takes the same time as decoding a page."""
    return httpx.URL(base_url.rstrip("/") + path, params={"fields": fields} if fields else None)


def _host(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ValueError(f"base_url={base_url!r}: is not a URL ({error})") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"base_url={base_url!r}: is not a URL; it must begin with https:// (or http://) and a host")
    return url.host


def _retry_after(headers: Mapping[str, str], clock: Clock) -> float | None:
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        at = parse_http_date(text)
        if at is None:
            return None
        # Not from the `Date` header of the same answer: a single header may be wrong.
        seconds = (at - clock.now()).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None
