"""The one table that decides what a refusal means, from endpoint, status, code and message (reference §6).

The first row that fits wins: codes come before messages, and messages before statuses, because the same status covers
very different cases. Messages are matched here and nowhere else, without regard to case.
"""

import re
from collections.abc import Container
from dataclasses import dataclass

from research_assets.tiktok.endpoints import ABOUT_A_USER, TOKEN, Endpoint
from research_assets.tiktok.errors import (
    ApiError,
    BadCredentials,
    CursorRejected,
    DailyQuotaExceeded,
    InvalidRequest,
    RateLimited,
    Refused,
    ScopeMissing,
    ScopeNotAuthorized,
    SearchIdRejected,
    ServerError,
    TokenRejected,
    UserNotFound,
    WrongAddress,
)

_TOKEN = {TOKEN.name}
_ASKED_ONE_BY_ONE = ABOUT_A_USER | {"comment_list", "playlist_info"}


@dataclass(frozen=True, slots=True)
class Rule:
    """A row: every condition that is given must hold. `says` is a pattern in the message, `at` names endpoints."""

    meaning: type[ApiError]
    codes: Container[str] | None = None
    says: str | None = None
    statuses: Container[int] | None = None
    at: Container[str] | None = None

    def fits(self, endpoint: str, status: int, code: str, message: str) -> bool:
        """Whether the row speaks about such an answer."""
        return (
            (self.codes is None or code in self.codes)
            and (self.statuses is None or status in self.statuses)
            and (self.at is None or endpoint in self.at)
            and (self.says is None or re.search(self.says, message, re.IGNORECASE) is not None)
        )


TABLE: tuple[Rule, ...] = (
    # The token's endpoint answers as OAuth 2 does, with any status; `invalid_request` there is a missing key or secret.
    Rule(BadCredentials, codes={"invalid_client"}),
    Rule(
        BadCredentials,
        codes={
            *("invalid_request", "invalid_params", "invalid_grant"),
            *("unsupported_grant_type", "unsupported_response_type"),
        },
        at=_TOKEN,
    ),
    Rule(ScopeNotAuthorized, codes={"unauthorized_client", "invalid_scope", "access_denied"}, at=_TOKEN),
    Rule(DailyQuotaExceeded, codes={"daily_quota_limit_exceeded"}),
    Rule(RateLimited, codes={"rate_limit_exceeded"}),
    Rule(TokenRejected, codes={"access_token_invalid", "invalid_token"}),
    Rule(ScopeNotAuthorized, codes={"scope_not_authorized"}),
    Rule(ScopeMissing, codes={"scope_permission_missed"}),
    Rule(DailyQuotaExceeded, says=r"daily quota", statuses={429}),
    Rule(SearchIdRejected, says=r"search id .*(invalid|expired)"),
    Rule(CursorRejected, says=r"invalid count or cursor"),
    # A name in a video query is one of many: there the same words do not speak about the whole window.
    Rule(UserNotFound, says=r"cannot find the user", at=ABOUT_A_USER),
    Rule(
        Refused,
        says=r"cannot return this user.s information|information cannot be returned|not allowed to be disclosed"
        r"|\b(is|are|set to) private\b",
        at=_ASKED_ONE_BY_ONE,
    ),
    Rule(RateLimited, statuses={429}),
    Rule(ServerError, codes={"internal_error", "timeout", "server_error", "temporarily_unavailable"}),
    Rule(ServerError, says=r"try again later|server internal error"),
    # 403 came for likes that are not public, so it is about the one account; where nobody's is asked, it is about us.
    Rule(Refused, statuses={403}, at=_ASKED_ONE_BY_ONE),
    Rule(InvalidRequest, codes={"invalid_params", "invalid_param", "invalid_request", "invalid_file_upload"}),
    # From here on there is no useful body.
    Rule(BadCredentials, statuses={401}, at=_TOKEN),
    Rule(TokenRejected, statuses={401}),
    Rule(ScopeNotAuthorized, statuses={403}),
    # Missing accounts come as 400 with a message, so a 404 says that the path is not served: asking on cannot help.
    Rule(WrongAddress, statuses={*range(300, 400), 404, 405, 410}),
    Rule(ServerError, statuses={408, 425}),
    # Token fetches fail now and then for no reason that the status would tell; only what stands above is final.
    Rule(ServerError, at=_TOKEN),
    Rule(InvalidRequest, statuses=range(400, 500)),
    # 5xx, and a 200 with a code that nobody has seen: most probably passing.
    Rule(ServerError),
)
"""What a refusal means."""


def meaning(endpoint: Endpoint, status: int, code: str, message: str) -> type[ApiError]:
    """The type of error for an answer that holds no result."""
    return next(rule.meaning for rule in TABLE if rule.fits(endpoint.name, status, code.lower(), message))
