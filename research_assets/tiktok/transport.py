"""HTTP transport over one pool of connections: the one place at which responses enter.

It limits the time and the size of an exchange, removes credentials from the response, and raises the error if no
response arrives. It repeats no request. Not here: the renewal of tokens (see auth.py), the forms of a credential (see
redaction.py), the contents of a response (see envelope.py).
"""

import asyncio
import logging
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http.cookiejar import CookieJar
from importlib.metadata import version
from typing import Any

import httpx

from research_assets.clock import CONFIRMATIONS, Clock, ServerClock, parse_http_date
from research_assets.tiktok import jsonline
from research_assets.tiktok.connection import connection_options
from research_assets.tiktok.endpoints import TOKEN
from research_assets.tiktok.errors import ApiError, ServerError, Unreachable
from research_assets.tiktok.pseudonyms import Pseudonyms
from research_assets.tiktok.redaction import Redactor
from research_assets.tiktok.requests import Request

_LOGGER = logging.getLogger(__name__)

CONNECT_SECONDS = 15.0
"""Time to open a connection. Responses may take minutes (reference §7 #25), but a reachable server accepts at once."""

CONFIRMATION_SECONDS = 10.0
"""Time to wait for an answer that is only read for its time."""

MAX_BODY_BYTES = 8 * 1024 * 1024
"""Maximum size of a response in bytes, compressed and decompressed. A page of 100 videos has some hundred kilobytes."""

MAX_TOKEN_BODY_BYTES = 64 * 1024
"""Maximum size of a response of the token endpoint in bytes."""

MAX_HEADER_CHARACTERS = 200
"""Maximum length of a header that is kept; the rest is dropped."""

# Only errors before a connection is open prove that the request did not reach the API.
_NEVER_SENT_ERRORS = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)

# Besides its own errors, httpx raises those of the sockets, and ValueError for some invalid headers.
_EXCHANGE_ERRORS = (httpx.HTTPError, httpx.StreamError, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An HTTP response, in which `***` replaces the credentials of the client.

    `latency` is in seconds; `retry_after` is in seconds from now, or None. `access_token` is the new token in a
    response of the token endpoint, or None. `pseudonyms` replace the handles when the response is decoded.
    """

    status: int
    body: bytes
    content_type: str
    date: str | None
    retry_after: float | None
    location: str | None
    latency: float
    access_token: str | None = field(default=None, repr=False)
    pseudonyms: Pseudonyms | None = None


class HttpTransport:
    """A pool of at most `connections` connections to one address.

    `timeout` is the maximum duration of an exchange in seconds, from the wait for a connection to the last byte.
    """

    def __init__(
        self,
        *,
        base_url: str,
        clock: Clock,
        redactor: Redactor,
        timeout: float,
        connections: int,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Open no connection yet.

        Raises ValueError if `base_url` is not an HTTP URL, and ConnectionSettingsError if a proxy or a certificate file
        of the environment cannot be used.
        """
        _require_url(base_url)
        self.base_url = base_url
        self._clock = clock
        self._redactor = redactor
        self._timeout = timeout
        self._reports_sending = transport is None
        self._has_warned = False
        self._http = httpx.AsyncClient(
            base_url=base_url,
            timeout=httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout)),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            headers={
                "User-Agent": f"research-assets/{version('research-assets')}",
                "Accept": "application/json, */*",
                "Accept-Encoding": "gzip",
            },
            cookies=_NoCookies(),
            # Following a redirect would send the token to another host.
            follow_redirects=False,
            event_hooks={"response": [_set_location_aside]},
            transport=transport,
            # A transport of the caller reaches the API by itself.
            **(connection_options(base_url) if transport is None else {"trust_env": False}),
        )

    async def post(self, request: Request, *, fields: str = "", **options: Any) -> HttpResponse:
        """POST to the path of the request; `options` are arguments of httpx (headers, content, data, files).

        `fields` is the query parameter of that name; the body of the request is ignored. Raises Unreachable if no
        complete response arrived in time, ServerError if the response is too large or wrongly compressed.
        """
        monotonic = self._clock.monotonic
        began = monotonic()
        sent = not self._reports_sending

        async def trace(event: str, _: Mapping[str, Any]) -> None:
            nonlocal sent
            sent = sent or event == "http11.send_request_headers.started"

        failure: ApiError
        try:
            url = _endpoint_url(self.base_url, request.endpoint.path, fields)
            async with (
                asyncio.timeout(self._timeout),
                self._http.stream("POST", url, extensions={"trace": trace}, **options) as response,
            ):
                answered = monotonic()
                body = await _read_body(response, MAX_TOKEN_BODY_BYTES if request.endpoint is TOKEN else MAX_BODY_BYTES)
        except httpx.DecodingError as error:
            failure = ServerError(
                request,
                status=response.status_code,
                message=self._redactor.redact_text(f"the response cannot be read: {error}"),
                latency=monotonic() - began,
            )
        except _EXCHANGE_ERRORS as error:
            sent = sent and not isinstance(error, _NEVER_SENT_ERRORS)
            failed = "no complete response from" if sent else "no connection to"
            text = f"not complete after {self._timeout:g} s" if isinstance(error, TimeoutError) else str(error)
            reason = ": ".join(part for part in (type(error).__name__, text) if part)
            message = self._redactor.redact_text(f"{failed} {self.base_url} ({reason})")
            failure = Unreachable(request, message=message, latency=monotonic() - began, sent=sent)
        else:
            return self._received(request, response, body, began, answered)
        # Raised here, because the error of httpx may contain what the server sent, and tracebacks show it as the cause.
        raise failure

    def _received(
        self, request: Request, response: httpx.Response, body: bytes, began: float, answered: float
    ) -> HttpResponse:
        """Return a complete response without credentials.

        `began` and `answered` are the monotonic times of the request and of the arrival of the response's headers.
        """
        access_token = _access_token(body) if request.endpoint is TOKEN else None
        if access_token:
            self._redactor.add_token(access_token)
        clean = self._redactor.redact(body)
        if clean != body and access_token is None and not self._has_warned:
            self._has_warned = True
            _LOGGER.warning(
                "%s returned credentials of this client; *** replaces them in all data", request.endpoint.name
            )
        texts = {**response.headers, "location": response.extensions.get("location")}
        headers = {
            name: self._redactor.redact_text(text)[:MAX_HEADER_CHARACTERS]
            for name in ("content-type", "date", "retry-after", "location")
            if (text := texts.get(name))
        }
        if isinstance(self._clock, ServerClock):
            self._clock.observe(headers.get("date"), began, answered)
        return HttpResponse(
            status=response.status_code,
            body=clean,
            content_type=headers.get("content-type", ""),
            date=headers.get("date"),
            retry_after=_retry_after(headers, self._clock),
            location=headers.get("location"),
            latency=self._clock.monotonic() - began,
            access_token=access_token,
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
            except _EXCHANGE_ERRORS:
                return
            clock.observe(response.headers.get("date"), began, clock.monotonic())

    def check_time(self) -> None:
        """Raise ClocksDiffer if the clocks of this machine and of the API differ by more than the limit."""
        if isinstance(self._clock, ServerClock):
            self._clock.check()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()


class _NoCookies(CookieJar):
    """A cookie jar that stays empty: the API uses no cookies, and a server could fill the memory with them."""

    def extract_cookies(self, response: object, request: object) -> None:
        """Ignore the cookies of a response."""


async def _set_location_aside(response: httpx.Response) -> None:
    """Move the header `Location` to the extensions of a response.

    Otherwise httpx would build the request that it does not follow, and raise errors for invalid addresses.
    """
    response.extensions["location"] = response.headers.pop("location", None)


async def _read_body(response: httpx.Response, limit: int) -> bytes:
    """Return the decompressed body. Raises httpx.DecodingError as soon as it exceeds the limit, also compressed.

    The decoders of httpx have no limit: they turn one chunk of 64 KB into 64 MB.
    """
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise httpx.DecodingError(f"it is encoded as {encoding[:100]}, but only gzip was offered")
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding.endswith("gzip") else None
    chunks = []
    received = size = 0
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async for chunk in response.stream:
        received += len(chunk)
        if inflate is not None:
            try:
                chunk = inflate.decompress(chunk, limit - size + 1) if not inflate.eof else b""
            except zlib.error as error:
                raise httpx.DecodingError(str(error)) from error
        size += len(chunk)
        if max(received, size) > limit:
            raise httpx.DecodingError(f"it is larger than {limit // 2**10:,} KiB")
        chunks.append(chunk)
    if inflate is not None and received and not inflate.eof:
        raise httpx.DecodingError("its compressed data are incomplete")
    return b"".join(chunks)


def _access_token(body: bytes) -> str | None:
    """Return the token in the body of a token response, or None."""
    try:
        value = jsonline.parse_json_line(body).value
    except (ValueError, RecursionError):
        return None
    token = value.get("access_token") if isinstance(value, dict) else None
    return token if isinstance(token, str) else None


@lru_cache(maxsize=64)
def _endpoint_url(base_url: str, path: str, fields: str) -> httpx.URL:
    """Return the URL of an endpoint. It is cached, because parsing it takes the same time as decoding a page."""
    return httpx.URL(base_url.rstrip("/") + path, params={"fields": fields} if fields else None)


def _require_url(base_url: str) -> None:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ValueError(f"base_url={base_url!r}: is not a URL ({error})") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"base_url={base_url!r}: is not a URL; it must begin with https:// (or http://) and a host")


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
