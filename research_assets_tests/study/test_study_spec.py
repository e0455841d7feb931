"""The times of a study: when its days settle, are due for re-observation, and end."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from research_assets.study.spec import StudySpec
from research_assets.units.periods import is_backfill

DAY = date(2026, 2, 1)
STUDY = StudySpec("garden", DAY, {}, end=date(2026, 2, 28), settle_days=2, reobserve_days=(10, 30))
SETTLES_AT = datetime(2026, 2, 4, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_day_settles_at_the_midnight_after_its_settle_days() -> None:
    assert STUDY.settles_at(DAY) == SETTLES_AT
    assert STUDY.is_too_fresh(DAY, SETTLES_AT - SECOND)
    assert not STUDY.is_too_fresh(DAY, SETTLES_AT)


@pytest.mark.parametrize("hours", [0, 23, 24, 71, 72, 96, 24 * 40])
def test_last_settled_day_is_the_newest_day_that_is_not_too_fresh(hours: int) -> None:
    now = datetime(2026, 2, 1, tzinfo=UTC) + timedelta(hours=hours)
    settled = [day for day in STUDY.days_until(now) if not STUDY.is_too_fresh(day, now)]
    last = STUDY.last_settled_day(now)
    assert last == settled[-1] if settled else last < STUDY.start


def test_days_until_now_end_with_the_study_or_today() -> None:
    now = datetime(2026, 2, 3, 12, tzinfo=UTC)
    assert STUDY.days_until(now) == (DAY, date(2026, 2, 2), date(2026, 2, 3))
    assert len(STUDY.days_until(now + timedelta(days=90))) == 28
    assert len(replace(STUDY, end=None).days_until(now + timedelta(days=90))) == 93
    assert STUDY.days_until(now - timedelta(days=90)) == ()


def test_reobservation_is_due_from_the_latest_age_that_the_day_has_reached() -> None:
    first, second = STUDY.observation_due_at(DAY, 10), STUDY.observation_due_at(DAY, 30)
    assert (first, second) == (datetime(2026, 2, 12, tzinfo=UTC), datetime(2026, 3, 4, tzinfo=UTC))
    assert STUDY.reobservation_due_at(DAY, first - SECOND) is None
    assert STUDY.reobservation_due_at(DAY, first) == STUDY.reobservation_due_at(DAY, second - SECOND) == first
    assert STUDY.reobservation_due_at(DAY, second) == second


def test_last_observation_of_a_study_is_due_when_its_last_day_reaches_its_last_age() -> None:
    assert STUDY.last_observation_due_at() == STUDY.observation_due_at(date(2026, 2, 28), 30)
    assert replace(STUDY, reobserve_days=()).last_observation_due_at() == STUDY.settles_at(date(2026, 2, 28))
    assert replace(STUDY, end=None).last_observation_due_at() is None


def test_content_is_backfill_from_one_day_after_it_settled_and_accounts_never_are() -> None:
    limit = SETTLES_AT + timedelta(days=1)
    assert not is_backfill(STUDY, "videos", DAY, limit)
    assert is_backfill(STUDY, "videos", DAY, limit + SECOND)
    assert is_backfill(STUDY, "comments", DAY, limit + SECOND)
    assert not is_backfill(STUDY, "users", DAY, limit + SECOND)
