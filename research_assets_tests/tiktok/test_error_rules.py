"""Every row of the tables in reference §6 maps to its error type."""

import pytest

from research_assets.tiktok.endpoints import ENDPOINTS, TOKEN
from research_assets.tiktok.error_rules import classify_error
from research_assets.tiktok.errors import (
    AccessDenied,
    ApiError,
    BadCredentials,
    CursorRejected,
    DailyQuotaExceeded,
    EndpointNotFound,
    FatalError,
    InvalidRequest,
    PlaylistNotFound,
    RateLimited,
    RetryableError,
    ScopeMissing,
    ScopeNotAuthorized,
    SearchIdRejected,
    ServerError,
    TokenRefreshRequired,
    TokenRejected,
    UnitError,
    Unreachable,
    UserNotFound,
)

TOKEN_MISSING = "The access token is invalid or not found in the request."
SCOPE = "The user did not authorize the scope required for completing this request."
QUOTA = "The API daily quota limit exceeded. Please try again later"
NOT_FOUND = "`username: X` is invalid: cannot find the user"
CLOSED = "The comments of this video are not allowed to be disclosed"

USER = ("user_info", "liked_videos", "pinned_videos", "reposted_videos", "followers", "following")
DATA = (*USER, "video_query", "comment_list", "playlist_info")

CASES: list[tuple[type[ApiError], tuple[str, ...], int, str, str]] = [
    # reference §6.1
    (TokenRejected, DATA, 401, "access_token_invalid", TOKEN_MISSING),
    (TokenRejected, DATA, 401, "invalid_token", ""),
    (TokenRejected, DATA, 401, "", ""),
    (ScopeNotAuthorized, DATA, 401, "scope_not_authorized", SCOPE),
    (ScopeMissing, DATA, 400, "scope_permission_missed", ""),
    (ScopeMissing, DATA, 401, "scope_permission_missed", ""),
    (InvalidRequest, DATA, 400, "invalid_params", "Unknown field"),
    (RateLimited, DATA, 429, "rate_limit_exceeded", "Too many"),
    (RateLimited, DATA, 429, "", ""),
    (RateLimited, DATA, 429, "internal_error", "Please try again later"),
    (DailyQuotaExceeded, DATA, 429, "daily_quota_limit_exceeded", QUOTA),
    (DailyQuotaExceeded, DATA, 200, "daily_quota_limit_exceeded", ""),
    (DailyQuotaExceeded, DATA, 429, "", QUOTA),
    (ServerError, DATA, 500, "internal_error", ""),
    (InvalidRequest, ("validation_create",), 400, "invalid_file_upload", ""),
    (ServerError, DATA, 400, "timeout", ""),
    (InvalidRequest, DATA, 400, "invalid_param", ""),
    (InvalidRequest, DATA, 400, "invalid_request", ""),
    # reference §6.2
    (SearchIdRejected, ("video_query",), 400, "invalid_params", "Search Id 7504596358308462638 is invalid or expired"),
    (SearchIdRejected, ("video_query",), 400, "invalid_params", "search id 7 has EXPIRED"),
    (CursorRejected, ("video_query", "comment_list"), 400, "invalid_params", "Invalid count or cursor"),
    (CursorRejected, ("video_query", "comment_list"), 500, "internal_error", "invalid count or cursor"),
    (UserNotFound, USER, 400, "invalid_params", NOT_FOUND),
    (UserNotFound, USER, 404, "", NOT_FOUND),
    (AccessDenied, USER, 400, "invalid_params", "API cannot return this user's information"),
    (AccessDenied, USER, 400, "invalid_params", "API cannot return this user\u2019s information"),
    (AccessDenied, ("liked_videos",), 403, "", "The liked videos information cannot be returned"),
    (AccessDenied, ("liked_videos", "following"), 400, "invalid_params", "The following list is private"),
    (AccessDenied, ("comment_list",), 400, "invalid_params", CLOSED),
    (AccessDenied, ("comment_list",), 403, "", CLOSED),
    (ServerError, DATA, 500, "", "Something is wrong. Please try again later."),
    (ServerError, DATA, 500, "invalid_params", "Something went wrong. Please try again later."),
    (ServerError, DATA, 500, "", "Server Internal Error"),
    (ServerError, DATA, 500, "", ""),
    # A message about one account in a search does not apply to the whole window.
    (InvalidRequest, ("video_query",), 400, "invalid_params", NOT_FOUND),
    (PlaylistNotFound, ("playlist_info",), 400, "invalid_params", "`playlist_id: 7` is invalid: cannot find it"),
    (PlaylistNotFound, ("playlist_info",), 400, "invalid_params", "The playlist does not exist"),
    (InvalidRequest, ("playlist_info",), 400, "invalid_params", "Invalid count"),
    # A username may contain the text of a message.
    (UserNotFound, USER, 400, "invalid_params", "`username: is private` is invalid: cannot find the user"),
    # statuses without a usable body
    (AccessDenied, ("user_info", "liked_videos", "comment_list", "playlist_info"), 403, "", ""),
    (AccessDenied, ("liked_videos",), 403, "invalid_params", "Not for you"),
    (ScopeNotAuthorized, ("video_query", "validation_create"), 403, "", ""),
    (EndpointNotFound, DATA, 404, "", ""),
    (EndpointNotFound, DATA, 405, "", ""),
    (EndpointNotFound, DATA, 301, "", ""),
    (EndpointNotFound, ("token",), 308, "", ""),
    (ServerError, DATA, 502, "", ""),
    (ServerError, DATA, 503, "", ""),
    (ServerError, DATA, 504, "", ""),
    (ServerError, DATA, 408, "", ""),
    (InvalidRequest, DATA, 418, "", ""),
    # HTTP 200 with an error in the body: the code decides, and an unknown code can be retried
    (InvalidRequest, DATA, 200, "invalid_params", ""),
    (RateLimited, DATA, 200, "rate_limit_exceeded", ""),
    (ServerError, DATA, 200, "never_seen", ""),
    (RateLimited, DATA, 200, "RATE_LIMIT_EXCEEDED", ""),
    # reference §2
    (BadCredentials, ("token",), 401, "invalid_client", "Client key or secret is incorrect."),
    (BadCredentials, ("token",), 200, "invalid_client", ""),
    (BadCredentials, ("token",), 500, "invalid_request", "Client secret is missed in request."),
    (BadCredentials, ("token",), 400, "invalid_grant", ""),
    (BadCredentials, ("token",), 400, "unsupported_grant_type", ""),
    (BadCredentials, ("token",), 400, "unsupported_response_type", ""),
    (ScopeNotAuthorized, ("token",), 400, "invalid_scope", ""),
    (ScopeNotAuthorized, ("token",), 400, "unauthorized_client", ""),
    (ScopeNotAuthorized, ("token",), 400, "access_denied", ""),
    (ServerError, ("token",), 500, "server_error", ""),
    (ServerError, ("token",), 503, "temporarily_unavailable", ""),
    (ServerError, ("token",), 400, "", ""),
    (BadCredentials, ("token",), 401, "", ""),
    (RateLimited, ("token",), 429, "", ""),
]


@pytest.mark.parametrize(("expected", "endpoints", "status", "code", "message"), CASES)
def test_response_has_the_error_type_of_the_reference(
    expected: type[ApiError], endpoints: tuple[str, ...], status: int, code: str, message: str
) -> None:
    for name in endpoints:
        endpoint = TOKEN if name == "token" else ENDPOINTS[name]
        assert classify_error(endpoint, status, code, message) is expected, name


@pytest.mark.parametrize(
    ("category", "kinds"),
    [
        (RetryableError, {RateLimited, ServerError, SearchIdRejected, CursorRejected, Unreachable}),
        (TokenRefreshRequired, {TokenRejected}),
        (DailyQuotaExceeded, set()),
        (UnitError, {UserNotFound, PlaylistNotFound, AccessDenied, InvalidRequest}),
        (FatalError, {BadCredentials, ScopeNotAuthorized, ScopeMissing, EndpointNotFound}),
    ],
)
def test_every_error_belongs_to_one_category(category: type[ApiError], kinds: set[type[ApiError]]) -> None:
    assert set(category.__subclasses__()) == kinds


def test_unit_errors_have_their_state_in_coverage() -> None:
    assert (UserNotFound.state, AccessDenied.state, InvalidRequest.state) == ("missing", "refused", "quarantined")


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_has_an_error_type(status: int) -> None:
    assert all(issubclass(classify_error(e, status, "", ""), ApiError) for e in (*ENDPOINTS.values(), TOKEN))
