"""Counts that lag: which of them are impossible, and which only look so."""

from statistics import median

from research_assets.report.formatting import format_number, format_share
from research_assets.report.queries import read_report_data
from research_assets.report.sections import data_age_section, engagement_section
from research_assets_tests.meanings.moving_world import SAMPLE, MovingWorld


def test_counts_that_lag_explains_are_not_implausible(world: MovingWorld) -> None:
    [(falls, liked, implausible)] = world.rows(
        "select count(*) filter (view_count_change < 0 or share_count_change < 0), "
        "count(*) filter (like_count > view_count), count(*) filter (is_implausible) from marts.video_observations"
    )
    # The world has no impossible count. Both kinds were marked before.
    assert falls + liked > 10
    assert falls > 0
    assert implausible == 0


def test_young_observations_are_marked_and_zeros_have_a_share_and_a_mean(world: MovingWorld) -> None:
    data = read_report_data(world.settings, SAMPLE.name)
    newest = world.harness.sql(
        "select max(epoch(observed_at)) - any_value(create_time), max_by(share_count, observed_at) from {videos} "
        f"where study = '{SAMPLE.name}' group by id"
    )
    young, shares = sum(age < 10 * 86400 for age, _ in newest), [count for _, count in newest]
    assert 0 < young == data.n_young
    assert median(shares) == 0
    above, mean = format_share(sum(map(bool, shares)), len(shares)), format_number(sum(shares) / len(shares))
    text = str(engagement_section(data).sentences)
    assert f"0 shares ({above} above zero, mean {mean})" in text
    assert f"{young} of {len(newest)} videos ({format_share(young, len(newest))}) were younger than 10 days" in text


def test_time_since_the_observation_is_not_called_the_age_of_counts(world: MovingWorld) -> None:
    data = read_report_data(world.settings, SAMPLE.name)
    text = str(data_age_section(data))
    assert "median time since that observation was" in text
    assert "age of the counts" not in text
