"""The report states no cause that the API does not give, and shows what shows that the query works."""

from dataclasses import replace
from datetime import datetime

from research_assets.estimates.yields import estimate_yield
from research_assets.report.data import ReportData
from research_assets.report.formatting import format_share
from research_assets.report.methods import methods_section
from research_assets.report.queries import read_report_data
from research_assets.report.rounds import rounds_section
from research_assets.report.sections import coverage_section, creators_section, volume_section
from research_assets.study.spec import StudySpec
from research_assets_tests.meanings.moving_world import SAMPLE, SAMPLED_DAYS, MovingWorld


def methods_text(data: ReportData, study: StudySpec, now: datetime) -> dict[str, str]:
    sentences = methods_section(data, study, "sandbox", now).sentences
    return dict(one for one in sentences if isinstance(one, tuple))


def test_report_shows_the_canary_checks(world: MovingWorld) -> None:
    section = coverage_section(read_report_data(world.settings, SAMPLE.name))
    canaries = [int(unit) for (unit,) in world.rows("select unit from marts.coverage where unit_kind = 'canary'")]
    found, n = sum(video in world.findable for video in canaries), len(canaries)
    assert 0 < found < n
    assert f"on 1 day: {found} of {n} videos ({format_share(found, n)}) were found" in str(section.sentences)
    [table] = [table for table in section.tables if table.caption == "Canary checks"]
    assert [row[1:] for row in table.rows] == [[str(n), str(found), str(n - found)]]


def test_report_states_no_cause_of_missing_videos(world: MovingWorld) -> None:
    data = read_report_data(world.settings, SAMPLE.name)
    texts = str(coverage_section(data).sentences) + str(
        methods_section(data, SAMPLE, "sandbox", world.harness.clock.now()).sentences
    )
    assert "which gives no reason" in texts
    for cause in ("deleted", "made private", "moderated"):
        assert cause not in texts


def test_sentences_fit_a_study_of_one_day_and_nothing_that_is_missing(world: MovingWorld) -> None:
    data = read_report_data(world.settings, SAMPLE.name)
    now = world.harness.clock.now()
    whole = replace(data, first_yield=estimate_yield([(10, 10)]))
    assert "no reason for the rest" in str(rounds_section(data).sentences[0])
    assert "no reason for the rest" not in str(rounds_section(whole).sentences[0])
    one_day = methods_text(data, replace(SAMPLE, end=SAMPLE.start), now)
    assert "all public videos published on 1 February 2026 (UTC) that" in one_day["Target population"]
    single = replace(data, days=[replace(data.days[0], videos=1)], overall=replace(data.overall, videos=1, creators=1))
    assert "have 1 video on average" in str(volume_section(single).sentences)
    assert "1 video each on average" in str(creators_section(single).sentences)
    assert "no collected video has a handle" in str(creators_section(replace(data, creators=[])).sentences)


def test_methods_of_a_sample_that_has_just_begun_do_not_deny_it(world: MovingWorld) -> None:
    data = read_report_data(world.settings, SAMPLED_DAYS.name)
    open_days = [replace(one, state="not_asked") for one in data.days]
    data = replace(data, sampled=[], days=open_days)
    text = methods_text(data, SAMPLED_DAYS, world.harness.clock.now())
    assert text["Sampling"].endswith("No comment list had been selected when this report was written.")
    assert f"Of the population on the sampled days, the videos of {len(open_days)} of" in text["Missing data"]
