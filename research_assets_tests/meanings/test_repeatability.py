"""A day that was collected twice within a day: what both returned, and that the first one stays complete."""

from datetime import timedelta

import pytest

from research_assets.planning.inputs import read_day_status
from research_assets.report.queries import read_report_data
from research_assets.report.repeatability import repeatability_section
from research_assets.storage.raw_reader import RawTables
from research_assets_tests.meanings.moving_world import SAMPLED_DAYS, MovingWorld

NAME = SAMPLED_DAYS.name
FIRST, *OTHERS = SAMPLED_DAYS.days_to(SAMPLED_DAYS.start + timedelta(days=27))


def test_second_collection_is_compared_with_the_first(world: MovingWorld) -> None:
    [row] = world.rows(
        "select day, n_first, n_second, n_both, jaccard, chapman_estimate from marts.repeatability "
        f"where study = '{NAME}'"
    )
    [(n_videos,)] = world.rows(f"select count(*) from marts.videos where study = '{NAME}' and day = '{FIRST}'")
    n = n_videos
    assert row == (FIRST, n, n - 3, n - 3, pytest.approx((n - 3) / n), pytest.approx(n))


def test_second_collection_loses_no_row_and_keeps_the_day_complete(world: MovingWorld) -> None:
    [(state, n_videos, n_not_returned)] = world.rows(
        f"select state, n_videos, n_not_returned from marts.study_days where study = '{NAME}' and day = '{FIRST}'"
    )
    assert (state, n_not_returned) == ("complete", 3)
    assert n_videos > 3
    with RawTables(world.settings.raw) as raw:
        statuses, _ = read_day_status(raw, SAMPLED_DAYS, world.harness.clock.now())
    assert statuses[FIRST].is_repeated
    assert not any(statuses[day].is_repeated for day in OTHERS)
    assert all(status.last_complete_at and not status.open_units for status in statuses.values())


def test_report_states_the_lower_bound(world: MovingWorld) -> None:
    days = read_report_data(world.settings, NAME).repeated_days
    section = repeatability_section(days, 0.05)
    assert section is not None
    assert "1 day was collected twice within a day" in section.sentences[0]
    assert f"both returned {days[0].n_both}" in section.sentences[0]
    assert "It is a lower bound" in section.sentences[1]
    assert repeatability_section([], 0.0) is None
    assert repeatability_section([], 0.05) is not None
