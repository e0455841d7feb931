"""The one table that decides what a refusal means, from endpoint, status, code and message (reference §6).

The first row that fits wins: codes come before messages, and messages before statuses, because the same status covers
very different cases. Messages are matched here and nowhere else, without regard to case.
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
    """A row: every condition that is given must hold. `says` is a pattern in the message, `at` names endpoints."""

    error: type[ApiError]
    codes: Container[str] | None = None
    message_pattern: str | None = None
    statuses: Container[int] | None = None
    endpoints: Container[str] | None = None

    def matches(self, endpoint: str, status: int, code: str, message: str) -> bool:
        """Whether the row speaks about such an answer."""
        return (
            (self.codes is None or code in self.codes)
            and (self.statuses is None or status in self.statuses)
            and (self.endpoints is None or endpoint in self.endpoints)
            and (self.message_pattern is None or re.search(self.message_pattern, message, re.IGNORECASE) is not None)
        )


ERROR_RULES: tuple[ErrorRule, ...] = (
    # The token's endpoint answers as OAuth 2 does, with any status; `invalid_request` there is a missing key or secret.
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
    # A name in a video query is one of many: there the same words do not speak about the whole window.
    ErrorRule(UserNotFound, message_pattern=r"cannot find the user", endpoints=USER_ENDPOINTS),
    ErrorRule(
        AccessDenied,
        message_pattern=r"cannot return this user.s information|information cannot be returned|not allowed to be disclosed"
        r"|\b(is|are|set to) private\b",
        endpoints=_SINGLE_ITEM_ENDPOINTS,
    ),
    ErrorRule(RateLimited, statuses={429}),
    ErrorRule(ServerError, codes={"internal_error", "timeout", "server_error", "temporarily_unavailable"}),
    ErrorRule(ServerError, message_pattern=r"try again later|server internal error"),
    # 403 came for likes that are not public, so it is about the one account; where nobody's is asked, it is about us.
    ErrorRule(AccessDenied, statuses={403}, endpoints=_SINGLE_ITEM_ENDPOINTS),
    ErrorRule(InvalidRequest, codes={"invalid_params", "invalid_param", "invalid_request", "invalid_file_upload"}),
    # From here on there is no useful body.
    ErrorRule(BadCredentials, statuses={401}, endpoints=_TOKEN),
    ErrorRule(TokenRejected, statuses={401}),
    ErrorRule(ScopeNotAuthorized, statuses={403}),
    # Missing accounts come as 400 with a message, so a 404 says that the path is not served: asking on cannot help.
    ErrorRule(EndpointNotFound, statuses={*range(300, 400), 404, 405, 410}),
    ErrorRule(ServerError, statuses={408, 425}),
    # Token fetches fail now and then for no reason that the status would tell; only what stands above is final.
    ErrorRule(ServerError, endpoints=_TOKEN),
    ErrorRule(InvalidRequest, statuses=range(400, 500)),
    # 5xx, and a 200 with a code that nobody has seen: most probably passing.
    ErrorRule(ServerError),
)
"""What a refusal means."""


def classify_error(endpoint: Endpoint, status: int, code: str, message: str) -> type[ApiError]:
    """The type of error for an answer that holds no result."""
    return next(rule.error for rule in ERROR_RULES if rule.matches(endpoint.name, status, code.lower(), message))
