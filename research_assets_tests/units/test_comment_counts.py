"""Comment counts: when a count of zero is confirmed, and when a newer count reopens a list."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from research_assets.study.spec import CommentRule, StudySpec
from research_assets.units.comment_counts import (
    is_reopened,
    retry_due_at,
    waits_for_confirmation,
    zero_count_outcome,
)
from research_assets.units.coverage import Attempt, UnitState, UnitStatus
from research_assets.units.targets import Target

DAY = date(2026, 2, 1)
STUDY = StudySpec("garden", DAY, {}, reobserve_days=(5, 12, 30))
CONFIRMED_FROM = datetime(2026, 2, 14, tzinfo=UTC)
"""The day ends on 2026-02-02 at 00:00; it settles 2 days later, and a count is up to 10 days old."""


def target(count: int | None, *, is_confirmed: bool = True, kind: str = "video") -> Target:
    return Target("comments", kind, "1", expected=count, is_confirmed=is_confirmed)  # type: ignore[arg-type]


def status(settled: int | None, collected: int, state: UnitState = "complete", **newest: object) -> UnitStatus:
    """Return the status of a list that was settled at a count with some comments collected."""
    attempt = Attempt("comments", DAY, "video", "1", state, None, None, expected=settled)
    values = {"newest_state": state, "newest_next_try": None, **newest}
    return UnitStatus(attempt, "garden", 0, 0, 0, 0, collected, settled, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(("seconds", "is_confirmed"), [(-1, False), (0, True), (1, True)])
def test_zero_is_confirmed_once_the_oldest_possible_count_is_of_a_settled_day(seconds: int, is_confirmed: bool) -> None:
    assert STUDY.confirms_counts(DAY, CONFIRMED_FROM + timedelta(seconds=seconds)) == is_confirmed


def test_age_of_a_count_depends_on_the_lag_and_on_settle_days() -> None:
    assert not replace(STUDY, settle_days=3).confirms_counts(DAY, CONFIRMED_FROM)
    assert replace(STUDY, count_lag_days=3).confirms_counts(DAY, CONFIRMED_FROM - timedelta(days=7))
    assert replace(STUDY, count_lag_days=0).confirms_counts(DAY, STUDY.settles_at(DAY))


def test_confirmation_is_due_at_the_first_age_that_suffices() -> None:
    assert STUDY.counts_confirmed_at(DAY) == CONFIRMED_FROM
    assert replace(STUDY, reobserve_days=(11, 30)).counts_confirmed_at(DAY) == datetime(2026, 3, 4, tzinfo=UTC)
    none = replace(STUDY, reobserve_days=(11,))
    assert none.counts_confirmed_at(DAY) is None
    assert none.leaves_counts_unconfirmed
    assert not STUDY.leaves_counts_unconfirmed
    assert not replace(none, comments=CommentRule("none")).leaves_counts_unconfirmed
    assert not replace(none, count_lag_days=0).leaves_counts_unconfirmed


def test_unconfirmed_zero_is_too_fresh_until_the_reobservation() -> None:
    unconfirmed = target(0, is_confirmed=False)
    state, reason, next_try = zero_count_outcome(unconfirmed, STUDY, DAY)
    assert (state, next_try) == ("too_fresh", CONFIRMED_FROM)
    assert "up to 10 days old" in reason
    assert "2026-02-14 00:00 UTC" in reason
    state, reason, next_try = zero_count_outcome(unconfirmed, replace(STUDY, reobserve_days=()), DAY)
    assert (state, next_try) == ("too_fresh", None)
    assert "none is planned" in reason
    assert zero_count_outcome(target(0), STUDY, DAY) == ("complete", "The video has no comments.", None)


@pytest.mark.parametrize(
    ("newest", "waits"),
    [(target(0, is_confirmed=False), True), (target(0), False), (target(3), False), (target(None), False)],
)
def test_unit_that_is_too_fresh_waits_only_while_its_zero_is_unconfirmed(newest: Target, waits: bool) -> None:
    assert waits_for_confirmation(newest, status(None, 0, "too_fresh")) == waits


@pytest.mark.parametrize(
    ("settled", "collected", "count", "reopened"),
    [
        (0, 0, 0, False),
        (0, 0, 1, True),  # never requested, and one comment is more than none
        (10, 8, 10, False),  # the same count is not requested twice, whatever is missing
        (10, 1, 10, False),
        (10, 8, 9, False),  # counts fall as well (reference §7 #13)
        (10, 8, 14, False),  # 0.75 * 14 = 10.5, below 8 + 3
        (10, 8, 15, True),
        (2, 40, 50, False),  # the count lagged, the list did not
        (2, 40, 58, False),  # 43.5, below 40 + 4
        (2, 40, 59, True),
        (100, 30, 107, False),  # the list itself returned 31 % of its count: 32.8, below 30 + 3
        (100, 30, 120, True),
        (10_000, 7_400, 10_500, False),  # 105 requests for 5 % more are too many
        (10_000, 7_400, 11_500, True),
        (500, 0, 510, False),  # nothing of this list is returned
        (None, 3, 7, False),
        (None, 3, 8, True),
    ],
)
def test_list_is_reopened_by_a_count_above_what_the_api_withholds(
    settled: int | None, collected: int, count: int, reopened: bool
) -> None:
    assert is_reopened(target(count), status(settled, collected)) == reopened


def test_list_that_reached_its_limit_is_not_reopened() -> None:
    assert is_reopened(target(500), status(200, 100))
    assert not is_reopened(target(500), status(200, 100), limit=100)


@pytest.mark.parametrize("state", ["refused", "missing", "partial", "quarantined"])
def test_only_complete_lists_are_reopened(state: UnitState) -> None:
    assert not is_reopened(target(500), status(5, 3, state))


def test_accounts_are_not_reopened_by_a_count() -> None:
    assert not is_reopened(target(500, kind="account"), status(5, 3))


def test_unknown_count_reopens_nothing() -> None:
    assert not is_reopened(target(None), status(5, 3))


def test_reopened_list_waits_after_a_failure_and_not_after_a_pause() -> None:
    later = datetime(2026, 3, 1, tzinfo=UTC)
    assert retry_due_at(status(5, 3, newest_state="quarantined", newest_next_try=later)) == later
    assert retry_due_at(status(5, 3, newest_state="partial", newest_next_try=later)) is None
    assert retry_due_at(status(5, 3)) is None
