"""Actions that follow an error of the API: one table for searches, lists and batches of ids.

Not here: the types of the errors (see tiktok/errors.py); sending and waiting (see sender.py).
"""

from dataclasses import dataclass
from enum import Enum

from research_assets.tiktok.errors import (
    ApiError,
    CursorRejected,
    DailyQuotaExceeded,
    FatalError,
    RateLimited,
    SearchIdRejected,
    ServerError,
    TokenRefreshRequired,
    UnitError,
    Unreachable,
)


class Action(Enum):
    """The next step after an error."""

    RETRY = "repeat the request after a wait"
    REFRESH_TOKEN = "repeat the request with a new token"
    SPLIT = "request fewer days, accounts or ids"
    CONTINUE_ELSEWHERE = "continue the search or list from another place"
    REFUSE_UNIT = "record the unit with the state that the error names"
    STOP = "send no further request in this run"


@dataclass(frozen=True, slots=True)
class ErrorResolution:
    """The action that follows an error, and the one that follows when its retries are used up.

    `backoff` are the waits between the attempts, in seconds.
    """

    action: Action
    then: Action
    backoff: tuple[float, ...] = ()


RESOLUTIONS: dict[type[ApiError], ErrorResolution] = {
    RateLimited: ErrorResolution(Action.RETRY, Action.STOP, (10, 20, 30, 60, 60, 60, 60, 60, 60, 60)),
    SearchIdRejected: ErrorResolution(Action.RETRY, Action.CONTINUE_ELSEWHERE, (5, 10, 15, 20)),
    CursorRejected: ErrorResolution(Action.RETRY, Action.CONTINUE_ELSEWHERE, (5, 10, 15, 20)),
    ServerError: ErrorResolution(Action.RETRY, Action.SPLIT, (2, 6, 20, 60)),
    Unreachable: ErrorResolution(Action.RETRY, Action.SPLIT, (5, 15, 60, 120)),
    TokenRefreshRequired: ErrorResolution(Action.REFRESH_TOKEN, Action.STOP),
    DailyQuotaExceeded: ErrorResolution(Action.STOP, Action.STOP),
    UnitError: ErrorResolution(Action.REFUSE_UNIT, Action.REFUSE_UNIT),
    FatalError: ErrorResolution(Action.STOP, Action.STOP),
}
"""The resolution of each type of error, the special types first (reference §§5, 6.2, 6.3)."""


def error_class(error: ApiError) -> type[ApiError]:
    """Return the type in `RESOLUTIONS` under which an error counts."""
    return next((kind for kind in RESOLUTIONS if isinstance(error, kind)), ServerError)


def resolve(error: ApiError) -> ErrorResolution:
    """Return what follows an error.

    A request that certainly did not leave this machine, for example without a token, says nothing about its unit, so it
    stops the run.
    """
    resolution = RESOLUTIONS[error_class(error)]
    if resolution.action is Action.RETRY and not error.sent:
        return ErrorResolution(resolution.action, Action.STOP, resolution.backoff)
    return resolution
