"""A sample of days: weights of both stages, and estimates that agree with the truth of all days."""

from dataclasses import replace
from datetime import timedelta

from research_assets.estimates.stratified import estimate_total
from research_assets.report.day_sample import day_sample_section, strata_of
from research_assets.report.methods import methods_section
from research_assets.report.queries import read_report_data
from research_assets.study.spec import CommentRule
from research_assets_tests.meanings.moving_world import SAMPLED_DAYS, MovingWorld

NAME = SAMPLED_DAYS.name
LAST = SAMPLED_DAYS.start + timedelta(days=27)


def test_only_drawn_days_are_expected_and_collected(world: MovingWorld) -> None:
    drawn = SAMPLED_DAYS.days_to(LAST)
    rows = world.rows(
        f"select day, state, stratum, stratum_days, stratum_sampled, inclusion_probability from marts.study_days "
        f"where study = '{NAME}' order by day"
    )
    assert rows == [(day, "complete", "2026-02", 28, 7, 0.25) for day in drawn]
    days = world.rows(f"select distinct day from marts.videos where study = '{NAME}' order by day")
    assert [day for (day,) in days] == [*drawn]


def test_videos_have_the_weight_of_the_day_and_comments_that_of_both_stages(world: MovingWorld) -> None:
    videos = f"from marts.videos where study = '{NAME}'"
    assert world.rows(f"select distinct inclusion_probability, sampling_weight {videos}") == [(0.25, 4.0)]
    comments = world.rows(
        f"select distinct inclusion_probability, sampling_weight from marts.comments where study = '{NAME}'"
    )
    assert comments == [(0.125, 8.0)]
    assert world.rows("select distinct sampling_weight from marts.videos where study = 'top'") == [(1.0,)]


def test_methods_of_a_sample_of_days_alone_give_no_weight_of_1(world: MovingWorld) -> None:
    data = replace(read_report_data(world.settings, NAME), sampled=[])
    study = replace(SAMPLED_DAYS, comments=CommentRule("all"))
    section = methods_section(data, study, "sandbox", world.harness.clock.now())
    text = dict(one for one in section.sentences if isinstance(one, tuple))["Sampling"]
    assert text.endswith(
        "On the sampled days: No further sampling was applied; the videos and comments of a day have the weight of the "
        "day."
    )


def test_charts_of_threads_have_the_weight_of_the_video_on_its_day(world: MovingWorld) -> None:
    data = read_report_data(world.settings, NAME)
    _, replies = data.threads
    assert replies.is_weighted
    # Their estimates are those for the videos of the collected days, of which half are sampled.
    assert replies.weighted_zeros + sum(one.number for one in replies.bins) == 2 * data.overall.comments > 0


def test_videos_know_what_is_collected_of_their_comments(world: MovingWorld) -> None:
    wrong = world.rows(
        "select count(*) from marts.videos as v left join (select study, video_id, count(*) as n from marts.comments "
        "group by all) as c using (study, video_id) left join marts.coverage as u on u.study = v.study and "
        "u.entity = 'comments' and u.unit_kind = 'video' and u.unit = v.video_id::varchar "
        "where v.n_comments_held <> coalesce(c.n, 0) or v.comments_state is distinct from u.state "
        "or v.comments_observed_at is distinct from u.completed_at"
    )
    assert wrong == [(0,)]
    states = world.rows(
        "select distinct comments_state is null, comments_probability from marts.videos "
        f"where study = '{NAME}' order by all"
    )
    assert (False, 0.125) in states
    assert (True, None) in states


def test_counts_that_no_video_has_are_not_estimated(world: MovingWorld) -> None:
    days = read_report_data(world.settings, NAME).sampled_days
    # As in a study that requests no shares, and has a day without videos, of which every count is 0.
    without = [replace(one, counts=(*one.counts[:-1], None)) for one in days[:-1]]
    empty = replace(days[-1], counts=(0.0,) * len(days[-1].counts))
    section = day_sample_section(SAMPLED_DAYS, [*without, empty], world.harness.clock.now())
    assert section is not None
    [table] = section.tables
    labels = [row[0] for row in table.rows]
    assert "likes, total" in labels
    assert not [label for label in labels if "shares" in label]
    assert "No estimate, because the videos of at least one day have no such count: shares." in table.note


def test_estimated_total_agrees_with_the_truth_of_all_days(world: MovingWorld) -> None:
    query = {group: list(conditions) for group, conditions in SAMPLED_DAYS.query.items()}
    by_day = world.harness.app.ground_truth.videos(query, SAMPLED_DAYS.start, LAST)
    truth = sum(len(hits.deliverable) for hits in by_day.values())
    days = read_report_data(world.settings, NAME).sampled_days
    estimated = estimate_total(strata_of(SAMPLED_DAYS, days, LAST))
    assert estimated.value == 4 * world.rows(f"select count(*) from marts.videos where study = '{NAME}'")[0][0]
    interval = estimated.interval()
    assert interval is not None
    assert interval[0] < truth < interval[1]
    section = day_sample_section(SAMPLED_DAYS, days, world.harness.clock.now())
    assert section is not None
    assert "7 of 28 days are sampled (25%; at random by month, seed 7)" in section.sentences[0]
    assert section.tables[0].rows[0][0] == "videos, total"
    assert section.tables[0].rows[0][1] == f"{round(estimated.value):,}"
