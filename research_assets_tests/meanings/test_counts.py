"""Counts that lag: which of them are impossible, and which only look so."""

from research_assets_tests.meanings.moving_world import MovingWorld


def test_counts_that_lag_explains_are_not_implausible(world: MovingWorld) -> None:
    [(falls, liked, implausible)] = world.rows(
        "select count(*) filter (view_count_change < 0 or share_count_change < 0), "
        "count(*) filter (like_count > view_count), count(*) filter (is_implausible) from marts.video_observations"
    )
    # The world has no impossible count. Both kinds were marked before.
    assert falls + liked > 10
    assert falls > 0
    assert implausible == 0
