"""The mart of the estimated numbers of videos, beside the truth and the collected videos."""

from datetime import UTC, datetime

from research_assets.collect.population import read_populations, write_population_table
from research_assets.report.data import EstimatedDay
from research_assets.report.formatting import format_share
from research_assets.report.population import population_section
from research_assets.report.queries import read_report_data
from research_assets_tests.meanings.moving_world import DRAWN_DAY, SAMPLE, MovingWorld


def test_mart_has_the_estimate_of_the_capture_beside_the_collected_videos(world: MovingWorld) -> None:
    [population] = read_populations(world.settings)
    [row] = world.rows(
        "select study, day, n_draws, n_distinct, n_shared, estimate, estimate_low, estimate_high, day_state, "
        "n_videos_held from marts.population"
    )
    found = population.estimate
    [(held,)] = world.rows(f"select count(*) from marts.videos where study = 'sampled' and day = '{DRAWN_DAY}'")
    estimate = (found.n_draws, found.n_distinct, found.n_shared, found.estimate, found.low, found.high)
    assert row == (SAMPLE.name, DRAWN_DAY, *estimate, "complete", held)
    query = {group: list(conditions) for group, conditions in SAMPLE.query.items()}
    truth = len(world.harness.app.ground_truth.videos(query, DRAWN_DAY, DRAWN_DAY)[DRAWN_DAY].deliverable)
    assert found.high is not None
    assert found.low <= truth <= found.high


def test_table_is_written_once(world: MovingWorld) -> None:
    [path] = (world.settings.raw / "population").glob("study=sampled/day=*/*.parquet")
    before = path.stat().st_mtime_ns
    write_population_table(world.settings)
    assert path.stat().st_mtime_ns == before


def test_report_has_the_estimate_beside_the_collected_videos(world: MovingWorld) -> None:
    [day] = read_report_data(world.settings, SAMPLE.name).estimated_days
    assert read_report_data(world.settings, "top").estimated_days == []
    section = population_section([day])
    assert section is not None
    assert day.estimate is not None
    assert day.n_videos_held is not None
    [row] = section.tables[0].rows
    assert row[0] == str(DRAWN_DAY)
    assert row[5] == f"{round(day.estimate):,}"
    # Videos that were withdrawn since their observation cannot be drawn.
    [(returned,)] = world.rows(
        "select count(*) from marts.videos as v join marts.study_days as d using (study, day) join marts.coverage as c "
        "on c.study = v.study and c.partition_day = v.day and c.unit_kind = 'day' and c.entity = 'videos' "
        f"where v.study = 'sampled' and v.day = '{DRAWN_DAY}' and v.last_seen_at >= c.last_complete_started_at"
    )
    assert 0 < returned < day.n_videos_held
    assert row[9:] == [f"{day.n_videos_held:,}", f"{returned:,}", format_share(returned, day.estimate)]
    assert population_section([]) is None


def test_report_says_that_a_number_is_unknown_and_that_draws_are_unequal() -> None:
    ended = datetime(2026, 3, 1, 12, tzinfo=UTC)
    day = EstimatedDay(DRAWN_DAY, ended, 2, 200, 0, None, 5_400.0, None, 0.002, None, None)
    section = population_section([day])
    assert section is not None
    [row] = section.tables[0].rows
    assert row[4:] == ["0", "unknown", "5,400", "unknown", "0.002", "", "", ""]
    assert "so the true number is probably higher" in section.sentences[-1]
