"""The client token: fetched on demand, renewed before it expires, shared by concurrent callers.

Key, secret and token are kept in memory and appear in no repr, log or error. The token call is the only call that the
library repeats, because it costs no quota. Not here: data requests (see client.py).
"""

import asyncio
from dataclasses import dataclass, field

from research_assets.clock import Clock
from research_assets.text import safe_logger
from research_assets.tiktok.endpoints import TOKEN
from research_assets.tiktok.envelope import decode_envelope, error_from_response
from research_assets.tiktok.errors import ApiError, BadCredentials, EndpointNotFound, RetryableError, Unreachable
from research_assets.tiktok.requests import Request
from research_assets.tiktok.transport import HttpTransport

_LOGGER = safe_logger(__name__)

RENEW_BEFORE_SECONDS = 300.0
"""Seconds before its expiry at which a token is replaced, so that no token expires during a request."""

DEFAULT_LIFETIME_SECONDS = 7200
"""Lifetime of a token if the response does not state it (reference §2)."""

BACKOFF_SECONDS = (0.5, 1.0, 2.0, 4.0)
"""Seconds before each retry of the token call: it fails now and then (reference §7 #27)."""

_MAX_RETRY_AFTER_SECONDS = 60.0
_REQUEST = Request(TOKEN, {}, ())


@dataclass(frozen=True, slots=True)
class Token:
    """A token with the times of its renewal and its expiry, in seconds of the monotonic clock."""

    value: str = field(repr=False)
    renew_at: float
    expires_at: float


class TokenProvider:
    """The current token of a client; fetches a new one when necessary."""

    def __init__(self, transport: HttpTransport, clock: Clock, *, key: str, secret: str) -> None:
        self._transport = transport
        self._clock = clock
        self._key = key
        self._secret = secret
        self._token: Token | None = None
        self._fetching: asyncio.Task[Token] | None = None

    async def get(self) -> Token:
        """Return a token that is valid for at least 5 minutes (half its lifetime if that is below 10 minutes).

        Concurrent callers share one fetch and its outcome. Raises BadCredentials or another FatalError at once. Raises
        RetryableError if all attempts failed and the current token has expired. Raises EndpointNotFound if the last
        attempt received a web page instead of a response of the API.
        """
        current = self._token
        if current is not None and self._clock.monotonic() < current.renew_at:
            return current
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch())
        try:
            # Without the shield, cancelling one caller would cancel the fetch that the others wait for.
            return await asyncio.shield(self._fetching)
        except RetryableError:
            if current is not None and current is self._token and self._clock.monotonic() < current.expires_at:
                return current
            raise

    def invalidate(self, token: Token) -> None:
        """Drop a token that the API rejected, unless it was already replaced."""
        if self._token is token:
            self._token = None

    async def aclose(self) -> None:
        """Cancel a running fetch."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    async def _fetch(self) -> Token:
        for pause in (*BACKOFF_SECONDS, None):
            try:
                self._token = await self._request_token()
                lifetime = self._token.expires_at - self._clock.monotonic()
                _LOGGER.info("Fetched an access token that expires in %.0f s", lifetime)
                await self._transport.confirm_time()
                return self._token
            except RetryableError as error:
                # If no connection can be opened, the address is probably wrong, so the error is raised without a retry.
                if pause is None or (isinstance(error, Unreachable) and not error.sent):
                    # The data request was not sent, so it cannot have cost quota.
                    error.sent = False
                    if not_the_api := _not_the_api_message(error):
                        raise not_the_api from error
                    raise
                _LOGGER.warning("Fetching an access token failed, trying again: %s", error)
                await self._clock.sleep(max(pause, min(error.retry_after or 0.0, _MAX_RETRY_AFTER_SECONDS)))
        raise AssertionError("the last attempt returns or raises")

    async def _request_token(self) -> Token:
        if not (self._key and self._secret):
            raise BadCredentials(
                _REQUEST, message="no client key or no client secret is set; no request was sent", sent=False
            )
        began = self._clock.monotonic()
        try:
            response = await self._transport.post(
                _REQUEST,
                data={"client_key": self._key, "client_secret": self._secret, "grant_type": "client_credentials"},
            )
            envelope = decode_envelope(_REQUEST, response)
            value = response.access_token
            # The API also reports failures with HTTP 200, so the keys of the body decide, not the status.
            if not envelope.ok or not (value and value.isascii() and value.isprintable()):
                message = envelope.message or "the response contains no usable token"
                raise error_from_response(
                    _REQUEST, response, code=envelope.code, message=message, log_id=envelope.log_id
                )
        except ApiError as error:
            if error.raw is not None and b"access_token" in error.raw:
                error.raw = None
            raise
        lifetime = _lifetime_seconds(envelope.fields.get("expires_in"))
        return Token(value, began + lifetime - min(RENEW_BEFORE_SECONDS, lifetime / 2), began + lifetime)


def _not_the_api_message(error: RetryableError) -> EndpointNotFound | None:
    """Return the error for a successful response that is a web page, such as a login portal; None otherwise."""
    if error.status is None or not 200 <= error.status < 300 or not (error.raw or b"").lstrip().startswith(b"<"):
        return None
    return EndpointNotFound(
        error.request,
        status=error.status,
        message=f"the server at this address is not the Research API: {error.message}",
        log_id=error.log_id,
        date=error.date,
        latency=error.latency,
        raw=error.raw,
        sent=False,
    )


def _lifetime_seconds(value: object) -> int:
    try:
        seconds = int(value) if isinstance(value, int | str) else 0
    except ValueError:
        seconds = 0
    return seconds if 0 < seconds < 10**9 else DEFAULT_LIFETIME_SECONDS
