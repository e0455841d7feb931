"""How videos were selected for the collection of comments: sampling weights exist only for random samples."""

from math import sqrt

from research_assets.report.formatting import format_number
from research_assets.report.queries import read_report_data
from research_assets.report.sections import threads_section
from research_assets_tests.meanings.moving_world import SAMPLE, TOP, MovingWorld


def test_replies_have_the_inclusion_probability_of_their_video(world: MovingWorld) -> None:
    units = world.rows(
        "select unit_kind, selection, inclusion_probability, count(*) from marts.coverage "
        f"where study = '{SAMPLE.name}' and entity = 'comments' and state = 'complete' group by all order by all"
    )
    assert [row[:3] for row in units] == [("comment", "sample", 0.5), ("video", "sample", 0.5)]
    weights = world.rows(
        f"select distinct sampling_weight, selection from marts.comments where study = '{SAMPLE.name}'"
    )
    assert weights == [(2.0, "sample")]


def test_comments_of_a_top_selection_have_a_rank_and_no_weight(world: MovingWorld) -> None:
    rows = world.rows(
        "select selection, selection_rank between 1 and 3, selected_at is not null, inclusion_probability, "
        f"sampling_weight from marts.comments where study = '{TOP.name}' group by all"
    )
    assert rows == [("top", True, True, None, None)]
    # The first ranking of a day decides, so two videos of a day never share a rank at one time.
    clashes = world.rows(
        "select day, selected_at, selection_rank from marts.comments where study = 'top' "
        "group by all having count(distinct video_id) > 1"
    )
    assert clashes == []


def test_weighted_comments_estimate_those_of_all_videos(world: MovingWorld) -> None:
    [(drawn, of)] = world.rows(
        "select count(*) filter (c.unit is not null), count(*) from marts.videos as v left join marts.coverage as c "
        "on c.study = v.study and c.entity = 'comments' and c.unit_kind = 'video' and c.unit = v.video_id::varchar "
        f"where v.study = '{SAMPLE.name}'"
    )
    assert 0.4 < drawn / of < 0.6


def test_sampled_comments_are_shown_weighted_with_their_standard_error(world: MovingWorld) -> None:
    counts = world.harness.sql(
        "select count(distinct c.id) from (select distinct unit from {coverage} where entity = 'comments' "
        f"and unit_kind = 'video' and state = 'complete' and study = '{SAMPLE.name}') as u "
        f"left join {{comments}} as c on c.asked_video_id = u.unit::bigint and c.study = '{SAMPLE.name}' "
        "group by u.unit"
    )
    estimate = sum(2 * count for (count,) in counts)
    error = sqrt(sum(2 * count * count for (count,) in counts))
    mean = estimate / (2 * len(counts))
    mean_error = sqrt(sum(2 * (count - mean) ** 2 for (count,) in counts)) / (2 * len(counts))
    data = read_report_data(world.settings, SAMPLE.name)
    section = threads_section(data)
    text = str(section.sentences)
    assert f"{len(counts)} of {data.overall.videos} videos were sampled and have a complete list" in text
    assert f"they stand for {estimate} on all videos (standard error {round(error)})" in text
    n_of = f"{len(counts)} of {data.overall.videos}"
    total, per_video, _ = section.tables[0].rows
    assert total == ["comments and replies", n_of, format_number(estimate), format_number(round(error))]
    assert per_video == ["comments and replies per video", n_of, format_number(mean), format_number(mean_error)]
    # The bars are estimates for all videos.
    bars = data.threads[0]
    assert bars.weighted_zeros + sum(one.number for one in bars.bins) == 2 * len(counts)
    assert n_of in section.figures[0].caption
