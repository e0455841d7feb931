"""Rules that map endpoint, status, code and message of a failed response to an error type (reference §6).

The first matching rule applies. Rules for codes precede rules for messages, and these precede rules for statuses,
because one status covers different cases. Only this module matches messages; case is ignored. Not here: the error types
and their advice (see errors.py).
"""

import re
from collections.abc import Container
from dataclasses import dataclass

from research_assets.tiktok.endpoints import TOKEN, USER_ENDPOINTS, Endpoint
from research_assets.tiktok.errors import (
    AccessDenied,
    ApiError,
    BadCredentials,
    CursorRejected,
    DailyQuotaExceeded,
    EndpointNotFound,
    InvalidRequest,
    PlaylistNotFound,
    RateLimited,
    ScopeMissing,
    ScopeNotAuthorized,
    SearchIdRejected,
    ServerError,
    TokenRejected,
    UserNotFound,
)

_TOKEN = {TOKEN.name}
_SINGLE_ITEM_ENDPOINTS = USER_ENDPOINTS | {"comment_list", "playlist_info"}


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """A rule; all given conditions must hold. `message_pattern` is a regular expression searched in the message."""

    error: type[ApiError]
    codes: Container[str] | None = None
    message_pattern: str | None = None
    statuses: Container[int] | None = None
    endpoints: Container[str] | None = None

    def matches(self, endpoint: str, status: int, code: str, message: str) -> bool:
        """Return whether the rule applies to such a response."""
        return (
            (self.codes is None or code in self.codes)
            and (self.statuses is None or status in self.statuses)
            and (self.endpoints is None or endpoint in self.endpoints)
            and (self.message_pattern is None or re.search(self.message_pattern, message, re.IGNORECASE) is not None)
        )


ERROR_RULES: tuple[ErrorRule, ...] = (
    # The token endpoint uses the error codes of OAuth 2 with any status; its `invalid_request` is a missing key or
    # secret.
    ErrorRule(BadCredentials, codes={"invalid_client"}),
    ErrorRule(
        BadCredentials,
        codes={
            *("invalid_request", "invalid_params", "invalid_grant"),
            *("unsupported_grant_type", "unsupported_response_type"),
        },
        endpoints=_TOKEN,
    ),
    ErrorRule(ScopeNotAuthorized, codes={"unauthorized_client", "invalid_scope", "access_denied"}, endpoints=_TOKEN),
    ErrorRule(DailyQuotaExceeded, codes={"daily_quota_limit_exceeded"}),
    ErrorRule(RateLimited, codes={"rate_limit_exceeded"}),
    ErrorRule(TokenRejected, codes={"access_token_invalid", "invalid_token"}),
    ErrorRule(ScopeNotAuthorized, codes={"scope_not_authorized"}),
    ErrorRule(ScopeMissing, codes={"scope_permission_missed"}),
    ErrorRule(DailyQuotaExceeded, message_pattern=r"daily quota", statuses={429}),
    ErrorRule(SearchIdRejected, message_pattern=r"search id .*(invalid|expired)"),
    ErrorRule(CursorRejected, message_pattern=r"invalid count or cursor"),
    # A video query may contain several usernames, so there the same message does not apply to the whole window.
    ErrorRule(UserNotFound, message_pattern=r"cannot find the user", endpoints=USER_ENDPOINTS),
    # The message for an unknown playlist is not documented; the id is the only item of such a request.
    ErrorRule(PlaylistNotFound, message_pattern=r"cannot find|not found|not exist", endpoints={"playlist_info"}),
    ErrorRule(
        AccessDenied,
        message_pattern=r"cannot return this user.s information|information cannot be returned"
        r"|not allowed to be disclosed|\b(is|are|set to) private\b",
        endpoints=_SINGLE_ITEM_ENDPOINTS,
    ),
    ErrorRule(RateLimited, statuses={429}),
    ErrorRule(ServerError, codes={"internal_error", "timeout", "server_error", "temporarily_unavailable"}),
    ErrorRule(ServerError, message_pattern=r"try again later|server internal error"),
    # The API returns 403 for likes that are not public, so there the error concerns the account. For endpoints that
    # take no single item, a 403 concerns the rights of the project.
    ErrorRule(AccessDenied, statuses={403}, endpoints=_SINGLE_ITEM_ENDPOINTS),
    ErrorRule(InvalidRequest, codes={"invalid_params", "invalid_param", "invalid_request", "invalid_file_upload"}),
    # The rules below apply to responses without a usable body.
    ErrorRule(BadCredentials, statuses={401}, endpoints=_TOKEN),
    ErrorRule(TokenRejected, statuses={401}),
    ErrorRule(ScopeNotAuthorized, statuses={403}),
    # A missing account is a 400 with a message, so a 404 means that the server has no such path: retries cannot help.
    ErrorRule(EndpointNotFound, statuses={*range(300, 400), 404, 405, 410}),
    ErrorRule(ServerError, statuses={408, 425}),
    # Token calls fail now and then with statuses that do not state the cause; only the rules above are final for them.
    ErrorRule(ServerError, endpoints=_TOKEN),
    ErrorRule(InvalidRequest, statuses=range(400, 500)),
    # 5xx, and a 200 with an unknown code: assumed to be temporary.
    ErrorRule(ServerError),
)
"""Rules in order of precedence; the last one matches every response."""


def classify_error(endpoint: Endpoint, status: int, code: str, message: str) -> type[ApiError]:
    """Return the error type for a response without a result."""
    return next(rule.error for rule in ERROR_RULES if rule.matches(endpoint.name, status, code.lower(), message))
