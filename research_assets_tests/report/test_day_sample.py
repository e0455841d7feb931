"""The strata of a sample of days: only days of the study count, and a missing day is no day without videos."""

from dataclasses import replace
from datetime import date, timedelta

from research_assets.estimates.stratified import estimate_total
from research_assets.report.data import SAMPLED_COUNTS, SampledDay
from research_assets.report.day_sample import day_sample_section, strata_of
from research_assets.study.day_sample import DaySample
from research_assets.study.spec import StudySpec

N_DAYS = len(SAMPLED_COUNTS)
"""Column of the number of days in the values of a stratum."""


def sampled(study: StudySpec, last: date, *missing: int) -> list[SampledDay]:
    """Return the drawn days, each with 100 of everything; those at some positions are not complete."""
    counts = (100.0,) * N_DAYS
    return [SampledDay(day, number not in missing, counts) for number, day in enumerate(study.days_to(last))]


def test_missing_days_do_not_lower_a_total_where_a_stratum_has_days_outside_of_the_study() -> None:
    """Ten weeks of the 52 of a stratum of a year."""
    last = date(2026, 4, 20)
    study = StudySpec(
        name="s", query={}, start=date(2026, 2, 10), end=last, day_sample=DaySample(0.3, ("weekday",), seed=1)
    )
    for missing in ((), (0, 3, 4, 7)):
        strata = strata_of(study, sampled(study, last, *missing), last)
        assert sum(one.size for one in strata) == 70
        assert estimate_total(strata).value == 7000
        assert estimate_total(strata, N_DAYS).value == 70


def test_stratum_without_a_complete_day_takes_the_mean_of_the_same_weekday() -> None:
    """A stratum of each weekday in two months, of which only Mondays have videos."""
    last = date(2026, 3, 31)
    study = StudySpec(
        name="s", query={}, start=date(2026, 2, 1), end=last, day_sample=DaySample(0.25, ("month", "weekday"), seed=1)
    )
    days = [replace(one, counts=((100.0 if one.day.weekday() == 0 else 0.0),) * N_DAYS) for one in sampled(study, last)]
    first_tuesday = next(number for number, one in enumerate(days) if one.day.weekday() == 1)
    days[first_tuesday] = replace(days[first_tuesday], is_complete=False)
    mondays = sum((study.start + timedelta(days=n)).weekday() == 0 for n in range(59))
    assert estimate_total(strata_of(study, days, last)).value == 100 * mondays
    section = day_sample_section(study, days, study.settles_at(last))
    assert section is not None
    assert "1 stratum without a complete sampled day is joined to a neighbour" in " ".join(map(str, section.sentences))
