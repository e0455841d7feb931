"""The periods of observed accounts that are partitions: those with data and the running one, up to the last one due."""

from dataclasses import replace
from datetime import UTC, date, datetime

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
    # Every day is complete and has reached its last age, so an observation in the running period is the last one.
    running = observed_periods(STUDY, [], COMPLETE, None, at(11, 5))
    assert running == ObservedPeriods(date(2026, 5, 11), date(2026, 5, 11))


def test_partitions_have_no_end_while_days_are_incomplete() -> None:
    some = {date(2026, 2, 2): COMPLETE[date(2026, 2, 2)]}
    assert observed_periods(STUDY, [date(2026, 2, 9)], some, at(10), at(11, 5)).last is None
    open_day = COMPLETE | {date(2026, 2, 3): PartitionStatus(open_units=1)}
    assert observed_periods(STUDY, [date(2026, 2, 9)], open_day, at(10), at(11, 5)).last is None


def test_partitions_of_a_running_study_end_one_period_after_its_last_day_settled() -> None:
    study = replace(STUDY, end=date(2026, 2, 18))
    days = {date(2026, 2, day): COMPLETE[date(2026, 2, 2)] for day in range(2, 9)}
    assert observed_periods(study, [date(2026, 2, 9)], days, None, at(11)).last == date(2026, 2, 23)
