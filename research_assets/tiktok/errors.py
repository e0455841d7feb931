"""What can go wrong, as exception types that carry their meaning: the six intermediate classes say what to do next.

`Wait`: the same request may work later. `NewToken`: ask again at once, with a fresh token. `QuotaSpent`: not before the
next 00:00 UTC. `FinalForUnit`: this account, video or window will not be answered. `FinalForAll`: a person must act.
Which answer means which is decided by the one table in `meaning.py`, never here or by a caller.
"""

from collections.abc import Iterable
from typing import ClassVar, Literal

from research_assets.tiktok.requests import Request

RAW_BYTES = 64 * 1024
"""Bytes of the answer's body that an error keeps at most."""

_MESSAGE_CHARACTERS = 500


class ApiError(Exception):
    """A request that brought no result.

    `request`, and its `endpoint` and `unit` in words, say what was attempted. `status` (None if no answer came),
    `code`, `message`, `log_id`, `date` (the answer's `Date` header), `latency` (seconds) and `raw` (the body's first
    64 KiB as received, which need not be JSON) say what came back. `sent` is false when the request certainly did not
    reach the API, so that it cannot have cost quota. `requests` is for the caller to count what its retries cost.
    """

    advice: ClassVar[str] = ""

    def __init__(
        self,
        request: Request,
        *,
        status: int | None = None,
        code: str = "",
        message: str = "",
        log_id: str | None = None,
        date: str | None = None,
        latency: float = 0.0,
        raw: bytes | None = None,
        retry_after: float | None = None,
        sent: bool = True,
    ) -> None:
        super().__init__(request, status, code)
        self.request = request
        self.endpoint = request.endpoint.name
        self.unit = request.unit
        self.status = status
        self.code = code
        self.message = message
        self.log_id = log_id
        self.date = date
        self.latency = latency
        self.raw = raw[:RAW_BYTES] if raw is not None else None
        self.retry_after = retry_after
        self.sent = sent
        self.requests = 1

    def __str__(self) -> str:
        """What was attempted, what came back, what to do next, on one line."""
        attempted = f"{self.endpoint} {self.unit}".strip()
        status = f"HTTP {self.status}" if self.status is not None else "no answer"
        message = " ".join(self.message.split())[:_MESSAGE_CHARACTERS]
        came = ": ".join(part for part in (f"{status} {self.code}".strip(), message) if part)
        log_id = f" (log id {self.log_id})" if self.log_id else ""
        return f"{attempted}: {came.rstrip('.')}{log_id}. {self.advice}".strip()

    def __repr__(self) -> str:
        """The class and its facts, without the body."""
        return (
            f"{type(self).__name__}(endpoint={self.endpoint!r}, unit={self.unit!r}, status={self.status}, "
            f"code={self.code!r}, log_id={self.log_id!r})"
        )

    def redact(self, secrets: Iterable[str]) -> None:
        """Blot out secrets that the server sent back, in the message and in the body."""
        for secret in secrets:
            self.message = self.message.replace(secret, "***")
            self.unit = self.unit.replace(secret, "***")
            if self.raw is not None:
                self.raw = self.raw.replace(secret.encode(), b"***")


class RetryableError(ApiError):
    """The same request may work after a pause; `retry_after` is the server's own wish in seconds, if it told one."""

    advice = "Wait, then repeat the same request."


class TokenRefreshRequired(ApiError):
    """The token was dropped; repeat the request once, which fetches a new one."""

    advice = "The token was dropped: repeat the request once, it fetches a new one."


class QuotaSpent(ApiError):
    """The day's requests are used up, whatever was counted here: others of the same organisation share the quota."""

    advice = "Ask again after the next 00:00 UTC; what was fetched so far is kept."


class UnitError(ApiError):
    """This unit will not be answered; `state` is what coverage says of it. The others go on."""

    state: ClassVar[Literal["missing", "refused", "quarantined"]]


class FatalError(ApiError):
    """No request of this kind can succeed until a person has done something."""


class RateLimited(RetryableError):
    """Too many requests at once (reference §5)."""

    advice = "Wait some seconds, then go on more slowly; the day's quota is not used up."


class ServerError(RetryableError):
    """The server failed: 5xx, a gateway's HTML page, or an answer that cannot be decoded (reference §§1.1, 7)."""

    advice = "Wait, then repeat the same request; if it keeps failing, leave it for later or ask for less at once."


class SearchIdRejected(RetryableError):
    """A search id is refused, often because it is so fresh that not every server knows it (reference §6.2)."""

    advice = "Repeat the same request after 5 to 10 s, some times; then go on with a new search, without the id."


class CursorRejected(RetryableError):
    """A place in a list is refused, for the same reason as a search id or because the list ends there."""

    advice = "Repeat the same request after 5 to 10 s, some times; then take the list as ending here or start it anew."


class Unreachable(RetryableError):
    """No answer came: connection refused or lost, or a time-out. `sent` says whether it may have cost quota."""

    advice = "Check the network and the address in TIKTOK_API_URL, then repeat."


class TokenRejected(TokenRefreshRequired):
    """The API does not take the token: expired, or withdrawn."""


class DailyQuotaExceeded(QuotaSpent):
    """`daily_quota_limit_exceeded`."""


class UserNotFound(UnitError):
    """No such account: deleted, renamed, banned, or never there (reference §6.2)."""

    state = "missing"
    advice = "The account is recorded as missing; the others go on."


class AccessDenied(UnitError):
    """The API may not show it: private, closed comments, likes not public, or without a reason given."""

    state = "refused"
    advice = "It is recorded as refused and not asked again until that may have changed; the others go on."


class InvalidRequest(UnitError):
    """The API does not accept the request, and repeating it cannot help."""

    state = "quarantined"
    advice = "Repeating it cannot help: compare the query, fields and ids with the API's documentation."


class BadCredentials(FatalError):
    """Client key and secret are wrong or absent."""

    advice = (
        "The client key or the client secret is wrong. Copy both again from the app's page on developers.tiktok.com "
        "into TIKTOK_CLIENT_KEY and TIKTOK_CLIENT_SECRET, without blanks or quotes, and check that the app is approved."
    )


class ScopeNotAuthorized(FatalError):
    """The project may not use this endpoint: not approved for it, or the right was taken away (reference §6.1)."""

    advice = (
        "The project is not approved for this endpoint. Check its approval on developers.tiktok.com, or leave it out."
    )


class ScopeMissing(FatalError):
    """The token lacks a scope that some of the fields need."""

    advice = "Ask for fewer fields, or apply for the scope research.data.basic on developers.tiktok.com."


class EndpointNotFound(FatalError):
    """There is a server, but not this endpoint: 404, or a redirection, which is never followed with a token."""

    advice = (
        "Check TIKTOK_API_URL: https, the right host, no path. If it is right, the API has withdrawn this endpoint."
    )
