"""Rules for comment counts, which the API returns late and too low (reference §7 #8, #13, #14). Pure functions.

A count is up to `count_lag_days` old when the API returns it, so a count of zero of a young video shows nothing. It
is also higher than the number of comments that the API returns, because removed comments are still counted.

Not here: when a day's counts are confirmed (see study/spec.py); how the counts are read (see targets.py).
"""

from datetime import date, datetime

from research_assets.study.spec import StudySpec
from research_assets.units.coverage import SETTLED, UnitState, UnitStatus, format_utc
from research_assets.units.targets import Target

MAX_RETURNED_SHARE = 0.75
"""Share of counted comments that the API returns at most. Over a quarter of the raw hits is undeliverable (reference §7
#8); that comments behave like videos is an assumption."""

MIN_NEW_COMMENTS = 3
"""New comments that a list needs at least before it is requested again (assumption)."""

MIN_NEW_SHARE = 0.1
"""New comments that a list needs at least, as a share of the collected ones, because a list is read from its start: 100
comments cost one request (assumption)."""


def waits_for_confirmation(target: Target, status: UnitStatus) -> bool:
    """Return whether a video with a count of zero waits for the re-observation of its day. It needs no request."""
    return status.attempt.state == "too_fresh" and target.expected == 0 and not target.is_confirmed


def is_reopened(target: Target, status: UnitStatus, limit: int = 0) -> bool:
    """Return whether a settled list is to be requested again, because its count shows comments that are not collected.

    A list that was requested at a count is not requested again for the same count. A video that was settled without a
    request, with a count of zero, is reopened by any comment. `limit` is the number of comments after which a list is
    not read further (0: no limit).
    """
    attempt, count, settled = status.attempt, target.expected, status.settled_count
    if target.kind not in ("video", "comment") or attempt.state != "complete" or count is None:
        return False
    if count <= (settled or 0):
        return False
    if settled == 0 and not status.max_kept:
        return True
    readable = min(count, limit) if limit else count
    return readable * _returned_share(settled, status.max_kept) >= minimum_for_reopening(status.max_kept)


def minimum_for_reopening(collected: int) -> float:
    """Return the comments that a list must be expected to return before it is requested again."""
    return collected + max(MIN_NEW_COMMENTS, MIN_NEW_SHARE * collected)


def _returned_share(settled: int | None, collected: int) -> float:
    """Return the share of counted comments that a list is expected to return.

    It is the share at the last request, at most `MAX_RETURNED_SHARE`: a count that was too low then makes the observed
    share too high. One comment is added to both numbers, so that a list of which nothing was returned keeps a share.
    """
    if settled is None:
        return MAX_RETURNED_SHARE
    return min(MAX_RETURNED_SHARE, (collected + 1) / (settled + 1))


def has_new_replies(target: Target, status: UnitStatus | None) -> bool:
    """Return whether the replies of a comment are still to be requested."""
    return status is None or status.attempt.state not in SETTLED or is_reopened(target, status)


def retry_due_at(status: UnitStatus) -> datetime | None:
    """Return from when a reopened list can be requested again, if its last request failed; None if it can be now."""
    return status.newest_next_try if status.newest_state in ("quarantined", "suspicious", "not_asked") else None


def zero_count_outcome(target: Target, study: StudySpec, day: date) -> tuple[UnitState, str, datetime | None]:
    """Return state, reason and next try of a video with a count of zero, for an attempt without a request."""
    if target.is_confirmed:
        return "complete", "The video has no comments.", None
    age, due_at = study.count_confirmation_age, study.counts_confirmed_at(day)
    reason = (
        f"The comment count is 0, but it may be up to {study.count_lag_days} days old. It is confirmed by an "
        f"observation at an age of {age} days or more"
    )
    if due_at is None:
        return "too_fresh", f"{reason}; reobserve_days has no such age, so none is planned.", None
    return "too_fresh", f"{reason}; the next one is due on {format_utc(due_at)}.", due_at
