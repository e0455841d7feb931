"""Bytes to the API and back over one pool of connections: time-outs, sizes, what it means that no answer came.

It knows no endpoint's contents, holds no token and repeats nothing.
"""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import httpx

from research_assets.clock import Clock, ServerClock
from research_assets.tiktok.errors import ServerError, Unreachable
from research_assets.tiktok.requests import Request

CONNECT_SECONDS = 15.0
"""To open a connection. Answers may take minutes (reference §7 #25), but a server that is there opens at once."""

MAX_BODY_BYTES = 64 * 1024 * 1024
"""A page of 100 videos has some hundred kilobytes; what is larger than this is no answer of this API."""

# Only before a connection stands is it certain that the request did not arrive.
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
    """An HTTP answer, whatever it holds. `latency` is in seconds, `retry_after` too, from now, if the server said."""

    status: int
    body: bytes
    content_type: str
    date: str | None
    retry_after: float | None
    location: str | None
    latency: float


class HttpTransport:
    """A pool of connections to one address. `connections` is how many are open at most; `timeout` in seconds."""

    def __init__(
        self,
        *,
        base_url: str,
        clock: Clock,
        timeout: float,
        connections: int,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Raises ValueError if `base_url` is not an address for HTTP."""
        self.base_url = base_url
        self._clock = clock
        self._timeout = timeout
        host = _host(base_url)
        self._http = httpx.AsyncClient(
            base_url=base_url,
            timeout=httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout)),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            headers={"User-Agent": f"research-assets/{version('research-assets')}", "Accept": "application/json, */*"},
            # A token must not follow a redirection to another host.
            follow_redirects=False,
            # An institution's proxy leads to the real API, never to the simulated one on this machine.
            trust_env=not (host in {"localhost", "::1"} or host.startswith("127.")),
            transport=transport,
        )

    async def post(self, request: Request, *, fields: str = "", **what: Any) -> HttpResponse:
        """POST to the request's path, as httpx understands `what` (headers, content, data, files).

        `fields` is the query parameter of that name; the request's body is not looked at. Raises Unreachable if no
        whole answer came, ServerError if it came but is too large or wrongly compressed.
        """
        # The loop's own time: the clock may be set while an answer is under way.
        elapsed = asyncio.get_running_loop().time
        began = elapsed()
        try:
            url = _address(self.base_url, request.endpoint.path, fields)
            async with self._http.stream("POST", url, **what) as response:
                body = await self._body(response, request)
        except (httpx.TransportError, TimeoutError) as error:
            sent = not isinstance(error, _NEVER_SENT_ERRORS)
            failed = "no whole answer came from" if sent else "no connection to"
            reason = ": ".join(part for part in (type(error).__name__, str(error)) if part)
            raise Unreachable(
                request, message=f"{failed} {self.base_url} ({reason})", latency=elapsed() - began, sent=sent
            ) from error
        headers = response.headers
        if isinstance(self._clock, ServerClock):
            self._clock.synchronize(headers.get("date"))
        return HttpResponse(
            status=response.status_code,
            body=body,
            content_type=headers.get("content-type", ""),
            date=headers.get("date"),
            retry_after=_retry_after(headers, self._clock),
            location=headers.get("location"),
            latency=elapsed() - began,
        )

    async def _body(self, response: httpx.Response, request: Request) -> bytes:
        chunks = []
        size = 0
        try:
            # httpx times each chunk, so a body that drips would never end.
            async with asyncio.timeout(self._timeout):
                async for chunk in response.aiter_bytes():
                    size += len(chunk)
                    if size > MAX_BODY_BYTES:
                        raise httpx.DecodingError(f"the answer is larger than {MAX_BODY_BYTES // 2**20} MiB")
                    chunks.append(chunk)
        except httpx.DecodingError as error:
            raise ServerError(
                request,
                status=response.status_code,
                message=f"the answer cannot be read: {error}",
                date=response.headers.get("date"),
                raw=b"".join(chunks),
            ) from error
        return b"".join(chunks)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()


@lru_cache(maxsize=64)
def _address(base_url: str, path: str, fields: str) -> httpx.URL:
    """The address of an endpoint; parsing it anew for each page would take as long as decoding the page."""
    return httpx.URL(base_url.rstrip("/") + path, params={"fields": fields} if fields else None)


def _host(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ValueError(f"base_url={base_url!r}: is no address ({error})") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"base_url={base_url!r}: is no address; it must begin with https:// (or http://) and a host")
    return url.host


def _retry_after(headers: Mapping[str, str], clock: Clock) -> float | None:
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        at = _parse_http_date(text)
        if at is None:
            return None
        # The server's date counts from the server's clock.
        seconds = (at - (_parse_http_date(headers.get("date", "")) or clock.now())).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _parse_http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
