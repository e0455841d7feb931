"""The client token: fetched when one is needed, renewed before it ends, shared by everyone who asks meanwhile.

Key, secret and token live here in memory and show in no repr, log or error. Only this call is repeated by the library
itself, because it costs no quota.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from research_assets.clock import Clock
from research_assets.tiktok.endpoints import TOKEN
from research_assets.tiktok.envelope import decode_envelope, error_from_response
from research_assets.tiktok.errors import ApiError, BadCredentials, EndpointNotFound, RetryableError, Unreachable
from research_assets.tiktok.requests import Request
from research_assets.tiktok.transport import HttpTransport

RENEW_BEFORE = timedelta(minutes=5)
"""How long before its end a token is replaced, so that none ends under way."""

DEFAULT_LIFETIME_SECONDS = 7200
"""A token's life where the answer does not tell it (reference §2)."""

BACKOFF_SECONDS = (0.5, 1.0, 2.0, 4.0)
"""Seconds before each further try: token fetches fail now and then (reference §7 #27)."""

_MAX_RETRY_AFTER_SECONDS = 60.0
_REQUEST = Request(TOKEN, {}, ())


@dataclass(frozen=True, slots=True)
class Token:
    """A token with its moments, UTC."""

    value: str = field(repr=False)
    renew_at: datetime
    expires_at: datetime


class TokenProvider:
    """Holds one token and fetches the next."""

    def __init__(self, wire: HttpTransport, clock: Clock, *, key: str, secret: str) -> None:
        self._wire = wire
        self._clock = clock
        self._key = key
        self._secret = secret
        self._status: Token | None = None
        self._fetching: asyncio.Task[Token] | None = None

    @property
    def secrets(self) -> Iterator[str]:
        """What must not be seen. Nothing that is too short to be told from ordinary text."""
        return (
            text for text in (self._secret, self._key, self._status.value if self._status else "") if len(text) >= 4
        )

    async def get(self) -> Token:
        """A token that lasts at least 5 minutes (of a token that lives less than ten, half its life).

        Concurrent callers share one fetch and its outcome. Raises BadCredentials and its kin at once, a Wait when
        trying some times did not help and no token is held that still lasts, and WrongAddress if each of these tries
        was answered by something that is not the API.
        """
        held = self._status
        if held is not None and self._clock.now() < held.renew_at:
            return held
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch())
        try:
            # One caller that is cancelled must not take the token from the others.
            return await asyncio.shield(self._fetching)
        except RetryableError:
            if held is not None and held is self._status and self._clock.now() < held.expires_at:
                return held
            raise

    def invalidate(self, token: Token) -> None:
        """Forget a token that the API refused, unless another has taken its place already."""
        if self._status is token:
            self._status = None

    async def aclose(self) -> None:
        """Give up a fetch that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    async def _fetch(self) -> Token:
        for pause in (*BACKOFF_SECONDS, None):
            try:
                self._status = await self._ask()
                return self._status
            except RetryableError as error:
                # Where no connection can be opened, the address is the likelier fault: the caller is told at once.
                if pause is None or (isinstance(error, Unreachable) and not error.sent):
                    # Nothing was asked with it: whoever wanted the token has spent no quota.
                    error.sent = False
                    if stranger := _not_the_api_message(error):
                        raise stranger from error
                    raise
                await self._clock.sleep(max(pause, min(error.retry_after or 0.0, _MAX_RETRY_AFTER_SECONDS)))
        raise AssertionError("the last try returns or raises")

    async def _ask(self) -> Token:
        if not (self._key and self._secret):
            raise BadCredentials(
                _REQUEST, message="no client key or no client secret is set; nothing was sent", sent=False
            )
        began = self._clock.now()
        try:
            reply = await self._wire.post(
                _REQUEST,
                data={"client_key": self._key, "client_secret": self._secret, "grant_type": "client_credentials"},
            )
            envelope = decode_envelope(_REQUEST, reply)
            value = envelope.fields.get("access_token")
            # A failure may come with HTTP 200, so the keys decide and not the status.
            if not envelope.ok or not (isinstance(value, str) and value.isascii() and value.isprintable() and value):
                message = envelope.message or "the answer holds no usable token"
                raise error_from_response(_REQUEST, reply, code=envelope.code, message=message, log_id=envelope.log_id)
        except ApiError as error:
            error.redact(self.secrets)
            if error.raw is not None and b"access_token" in error.raw:
                error.raw = None
            raise
        life = timedelta(seconds=_seconds(envelope.fields.get("expires_in")))
        return Token(value, began + life - min(RENEW_BEFORE, life / 2), began + life)


def _not_the_api_message(error: RetryableError) -> EndpointNotFound | None:
    """What to say if something else answers at the address: a page, with a success, as of a portal to log in at."""
    if error.status is None or not 200 <= error.status < 300 or not (error.raw or b"").lstrip().startswith(b"<"):
        return None
    return EndpointNotFound(
        error.request,
        status=error.status,
        message=f"what answers there is not the Research API: {error.message}",
        log_id=error.log_id,
        date=error.date,
        latency=error.latency,
        raw=error.raw,
        sent=False,
    )


def _seconds(value: object) -> int:
    try:
        seconds = int(value) if isinstance(value, int | str) else 0
    except ValueError:
        seconds = 0
    return seconds if 0 < seconds < 10**9 else DEFAULT_LIFETIME_SECONDS
