"""The periods of observed accounts that are partitions: those with data and the running one, up to the last one due."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from research_assets.study.spec import StudySpec
from research_assets.units.partition_status import PartitionStatus
from research_assets.units.periods import ObservedPeriods, observed_periods, should_observe

STUDY = StudySpec(name="garden", start=date(2026, 2, 2), query={}, end=date(2026, 2, 3))
"""Settles on 6 February 2026 at 00:00 UTC."""

COMPLETE = {date(2026, 2, day): PartitionStatus(last_complete_at=datetime(2026, 2, 9, tzinfo=UTC)) for day in (2, 3)}


def at(day: int, month: int = 2) -> datetime:
    return datetime(2026, month, day, 12, tzinfo=UTC)


def test_partitions_begin_with_the_first_observed_period_and_leave_out_missed_ones() -> None:
    study = replace(STUDY, end=None)
    assert observed_periods(study, [], {}, None, at(11)) == ObservedPeriods(date(2026, 2, 9))
    observed = [date(2026, 2, 2), date(2026, 2, 16)]
    assert observed_periods(study, observed, {}, at(17), at(11, 3)) == ObservedPeriods(
        date(2026, 2, 2), None, (date(2026, 2, 9), date(2026, 2, 23), date(2026, 3, 2))
    )


def test_partitions_end_with_the_period_of_observe_until() -> None:
    study = replace(STUDY, observe_until=date(2026, 2, 18))
    assert observed_periods(study, [date(2026, 2, 2)], {}, at(3), at(11)).last == date(2026, 2, 16)
    late = observed_periods(study, [date(2026, 2, 2)], {}, at(3), at(11, 5))
    assert late.last == date(2026, 2, 16)
    assert late.never_observed == (date(2026, 2, 9), date(2026, 2, 16))
    assert should_observe(study, {}, at(17), at(22))
    assert not should_observe(study, {}, None, at(23))


def test_partitions_of_a_finished_study_end_with_its_last_observation() -> None:
    done = observed_periods(STUDY, [date(2026, 2, 9)], COMPLETE, at(10), at(11, 5))
    assert done == ObservedPeriods(date(2026, 2, 9), date(2026, 2, 9))
    in_may = observed_periods(STUDY, [date(2026, 2, 9), date(2026, 5, 11)], COMPLETE, at(11, 5), at(11, 5))
    assert in_may == ObservedPeriods(date(2026, 2, 9), date(2026, 5, 11), tuple(weeks(date(2026, 2, 16), 12)))
    panel = observed_periods(STUDY, [date(2026, 2, 9)], {}, at(10), at(11, 5))
    assert panel == ObservedPeriods(date(2026, 2, 9), date(2026, 2, 9))


def weeks(first: date, number: int) -> list[date]:
    return [first + timedelta(weeks=week) for week in range(number)]


@pytest.mark.parametrize("status", [None, PartitionStatus(open_units=1), PartitionStatus(waiting_units=1)])
def test_partitions_have_no_end_while_days_are_incomplete(status: PartitionStatus | None) -> None:
    """A day that waits for its next try can still bring accounts, so a later period can be due."""
    days = {day: one for day, one in (COMPLETE | {date(2026, 2, 3): status}).items() if one is not None}
    assert observed_periods(STUDY, [date(2026, 2, 9)], days, at(10), at(11, 5)).last is None


def test_partitions_have_no_end_while_a_period_is_due() -> None:
    assert observed_periods(STUDY, [], COMPLETE, None, at(11, 5)) == ObservedPeriods(date(2026, 5, 11))
    # The last day was completed after the last observation of the accounts.
    assert observed_periods(STUDY, [date(2026, 2, 2)], COMPLETE, at(8), at(11, 5)).last is None
    # The study has not ended.
    study = replace(STUDY, end=date(2026, 2, 18))
    days = {date(2026, 2, day): COMPLETE[date(2026, 2, 2)] for day in range(2, 9)}
    assert observed_periods(study, [date(2026, 2, 9)], days, at(10), at(11)).last is None
