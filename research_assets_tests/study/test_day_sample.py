"""The sample of days: strata, probabilities, and the same days whatever the period of the study."""

from datetime import UTC, date, datetime, timedelta

from research_assets.planning.messages import describe_day_sample
from research_assets.study.day_sample import DaySample, realised_share
from research_assets.study.spec import StudySpec

DAY = timedelta(days=1)
YEAR = [date(2026, 1, 1) + DAY * n for n in range(365)]
SAMPLE = DaySample(0.2, ("month", "weekday"), 7)
STUDY = StudySpec("garden", YEAR[0], {}, end=YEAR[-1], day_sample=SAMPLE)


def test_each_stratum_has_its_share_of_days() -> None:
    drawn = [day for day in YEAR if SAMPLE.contains(day)]
    assert len(drawn) == 12 * 7
    assert {(day.month, day.weekday()) for day in drawn} == {(m, w) for m in range(1, 13) for w in range(7)}
    stratum = SAMPLE.stratum(date(2026, 2, 2))
    assert (stratum.name, stratum.n_days, stratum.probability) == ("2026-02 Mon", 4, 0.25)
    quarter = DaySample(0.3, ("quarter",)).stratum(date(2026, 5, 1))
    assert (quarter.name, quarter.n_days, len(quarter.drawn)) == ("2026-Q2", 91, 27)
    assert DaySample(0.5, ("weekday",)).stratum(date(2026, 5, 1)).name == "2026 Fri"
    assert DaySample(0.01, ()).stratum(date(2026, 5, 1)).n_days == 365
    assert realised_share(DaySample(1.0), YEAR) == 1


def test_sample_is_the_same_whatever_the_start_and_end() -> None:
    whole = set(STUDY.days_to(YEAR[-1]))
    part = StudySpec("other", YEAR[40], {}, day_sample=SAMPLE)
    assert set(part.days_to(YEAR[99])) == {day for day in YEAR[40:100] if day in whole}
    assert set(part.days_to(YEAR[200])) >= set(part.days_to(YEAR[99]))
    assert set(STUDY.days_not_sampled(YEAR[0], YEAR[-1])) == set(YEAR) - whole
    assert part.days_until(datetime(2026, 4, 10, tzinfo=UTC)) == part.days_to(YEAR[99])


def test_every_day_of_a_stratum_is_drawn_equally_often() -> None:
    days = [date(2026, 2, 1) + DAY * n for n in range(28)]
    counts = [sum(DaySample(0.25, ("month",), seed).contains(day) for seed in range(2000)) for day in days]
    # Expected 500 each, with a standard deviation of 19.4.
    assert sum(counts) == 7 * 2000
    assert 420 < min(counts) <= max(counts) < 580


def test_message_counts_the_days() -> None:
    text = describe_day_sample(STUDY, datetime(2026, 4, 10, tzinfo=UTC))
    assert text.startswith("84 of 365 days are sampled (23%; at random by month and weekday, seed 7)")
    assert text.endswith("84 strata with one sampled day.")
    assert describe_day_sample(StudySpec("all", YEAR[0], {}), datetime(2026, 4, 10, tzinfo=UTC)) == ""
