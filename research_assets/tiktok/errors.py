"""Errors of the API as exception types; the type tells the caller how to continue.

- `RetryableError`: the same request may succeed later.
- `TokenRefreshRequired`: repeat the request once; the client fetches a new token.
- `DailyQuotaExceeded`: send no request of the pool before the next 00:00 UTC.
- `UnitError`: the API returns no result for this account, video or window.
- `FatalError`: no request succeeds until the user has fixed the cause.

Not here: the rules that choose the type for a response (see error_rules.py).
"""

from typing import ClassVar, Literal

from research_assets.tiktok.requests import Request

RAW_BYTES = 64 * 1024
"""Maximum number of bytes of the response body in an error."""

MESSAGE_CHARACTERS = 500
"""Maximum length of a message of the API that is kept."""

LABEL_CHARACTERS = 100
"""Maximum length of a code and of a log id that is kept; those of the API have at most 40 characters."""


class ApiError(Exception):
    """A request without a result.

    `request`, `endpoint` and `unit` (as text) describe the attempt. `status` (None without a response), `code`,
    `message`, `log_id`, `date` (the `Date` header), `latency` (seconds) and `raw` (the first 64 KiB of the body, not
    always JSON; None for a pseudonymous study) describe the response. `code`, `message` and `log_id` are cut after a
    maximum length. `sent` is false if the request certainly did not reach the API and therefore cost no quota.
    `requests` is the number of requests sent; callers that retry update it.
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
        super().__init__(request, status, code[:LABEL_CHARACTERS])
        self.request = request
        self.endpoint = request.endpoint.name
        self.unit = request.unit
        self.status = status
        self.code = code[:LABEL_CHARACTERS]
        self.message = message[:MESSAGE_CHARACTERS]
        self.log_id = log_id[:LABEL_CHARACTERS] if log_id is not None else None
        self.date = date
        self.latency = latency
        self.raw = raw[:RAW_BYTES] if raw is not None else None
        self.retry_after = retry_after
        self.sent = sent
        self.requests = 1

    def __str__(self) -> str:
        """Return the attempt, the response and the advice on one line."""
        attempted = f"{self.endpoint} {self.unit}".strip()
        status = f"HTTP {self.status}" if self.status is not None else "no response"
        message = " ".join(self.message.split())
        outcome = ": ".join(part for part in (f"{status} {self.code}".strip(), message) if part)
        log_id = f" (log id {self.log_id})" if self.log_id else ""
        return f"{attempted}: {outcome.rstrip('.')}{log_id}. {self.advice}".strip()

    def __repr__(self) -> str:
        """Return the class and its attributes, without the body."""
        return (
            f"{type(self).__name__}(endpoint={self.endpoint!r}, unit={self.unit!r}, status={self.status}, "
            f"code={self.code!r}, log_id={self.log_id!r})"
        )


class RetryableError(ApiError):
    """The same request may succeed later; `retry_after` is the delay that the server requested, in seconds, or None."""

    advice = "Wait, then repeat the request."


class TokenRefreshRequired(ApiError):
    """The client dropped its token; repeat the request once, which fetches a new token."""

    advice = "The token was dropped: repeat the request once, which fetches a new token."


class DailyQuotaExceeded(ApiError):
    """`daily_quota_limit_exceeded`: the quota of the day is used up, even if the ledger shows free requests.

    Other projects of the same organization may share the quota.
    """

    advice = "Retry after the next 00:00 UTC; the data collected so far is kept."


class UnitError(ApiError):
    """The API returns no result for this unit; `state` is its state in coverage. Other units are not affected."""

    state: ClassVar[Literal["missing", "refused", "quarantined"]]


class FatalError(ApiError):
    """No request of this kind succeeds until the user has fixed the cause."""


class RateLimited(RetryableError):
    """Too many requests per second (reference §5)."""

    advice = "Wait some seconds, then send fewer requests per second; the daily quota is not used up."


class ServerError(RetryableError):
    """The server failed: 5xx, an HTML page of a gateway, or a response that cannot be decoded (reference §§1.1, 7)."""

    advice = "Wait, then repeat the request. If it keeps failing, retry later or request fewer rows or days."


class SearchIdRejected(RetryableError):
    """The API rejects a search id, often because not all servers know a new id yet (reference §6.2)."""

    advice = "Repeat the request a few times after 5 to 10 s; then start a new search without the id."


class CursorRejected(RetryableError):
    """The API rejects a cursor, for the same reason as a search id or because the list ends there."""

    advice = "Repeat the request a few times after 5 to 10 s; then treat the list as ended or restart it."


class Unreachable(RetryableError):
    """No response: connection refused or lost, or a time-out. `sent` is whether the request may have cost quota."""

    advice = "Check the network and the address in TIKTOK_API_URL, then repeat."


class TokenRejected(TokenRefreshRequired):
    """The API rejects the token: it has expired or was revoked."""


class UserNotFound(UnitError):
    """The account does not exist: deleted, renamed, banned, or never registered (reference §6.2)."""

    state = "missing"
    advice = "The account is recorded as missing. Other units are not affected."


class PlaylistNotFound(UnitError):
    """The API has no playlist with this id: deleted, or without a public video (reference §3.9)."""

    state = "missing"
    advice = "The playlist is recorded as missing. Other units are not affected."


class AccessDenied(UnitError):
    """The API may not return the unit: private account, closed comments, private likes, or no reason given."""

    state = "refused"
    advice = (
        "The unit is recorded as refused and retried later, when this may have changed. Other units are not affected."
    )


class InvalidRequest(UnitError):
    """The API rejects the request; repeating it cannot succeed."""

    state = "quarantined"
    advice = "Repeating the request cannot help: compare the query, fields and ids with the documentation of the API."


class BadCredentials(FatalError):
    """The client key or the client secret is wrong or missing."""

    advice = (
        "The client key or the client secret is wrong. Copy both from the page of the app on developers.tiktok.com "
        "into TIKTOK_CLIENT_KEY and TIKTOK_CLIENT_SECRET, without blanks or quotes, and check that the app is approved."
    )


class ScopeNotAuthorized(FatalError):
    """The project may not use this endpoint: it was never approved, or the approval was withdrawn (reference §6.1)."""

    advice = (
        "The project is not approved for this endpoint. Check its approval on developers.tiktok.com, or remove the "
        "entity from the study."
    )


class ScopeMissing(FatalError):
    """The token lacks a scope that some of the fields require."""

    advice = "Request fewer fields, or apply for the scope research.data.basic on developers.tiktok.com."


class EndpointNotFound(FatalError):
    """The server has no such endpoint: 404, or a redirect, which the client never follows with a token."""

    advice = (
        "Check TIKTOK_API_URL: https, the right host, no path. If it is correct, the API has removed this endpoint."
    )
