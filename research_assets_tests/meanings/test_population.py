"""The mart of the estimated numbers of videos, beside the truth and the collected videos."""

from research_assets.collect.population import read_populations, write_population_table
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
