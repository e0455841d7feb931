"""Materialized if and only if complete: what runs of the collected assets tell Dagster."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from research_assets.component import study_assets
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import run_in_thread
from research_assets.study.spec import UserRule
from research_assets_tests.assets.harness import (
    NO_COMMENTS,
    STUDY,
    AssetHarness,
    failure_message,
    observations_by_partition,
)

Build = Callable[..., AssetHarness]

DAYS = [f"2026-02-{day:02}" for day in range(1, 11)]


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Build]:
    """Builds a bench whose sandbox holds exactly 30 videos every day, changed by keywords."""
    with ExitStack() as stack:

        def build(**knobs: object) -> AssetHarness:
            sandbox = stack.enter_context(run_in_thread(SandboxConfig(**{"fixed_volume": 30, **knobs})))  # type: ignore[arg-type]
            return AssetHarness(sandbox, tmp_path / "data")

        yield build


def test_one_day(harness: Build) -> None:
    world = harness()
    result = world.run("videos", first="2026-02-03")
    assert result.success
    assert world.materialized("videos") == ["2026-02-03"]
    [event] = result.asset_materializations_for_node("gardening__content")
    metadata = {key: entry.value for key, entry in event.metadata.items()}
    assert metadata["dagster/partition_row_count"] == metadata["rows kept"] == 30
    assert metadata["requests"] == world.requests_sent("video/query") == 1
    assert (metadata["units"], metadata["incomplete units"]) == (1, 0)
    assert str(metadata["captures"]).endswith("captures/videos/study=gardening")
    assert "data:image/svg+xml;base64," in str(metadata["rows by partition"])
    assert "data:image/svg+xml;base64," in str(metadata["chart"])


def test_what_is_held_is_not_asked_again(harness: Build) -> None:
    world = harness()
    world.run("videos", first="2026-02-03")
    world.instance.wipe_assets([dg.AssetKey(["gardening", "videos"])])
    result = world.run("videos", first="2026-02-01", last="2026-02-10")
    assert result.success
    assert world.materialized("videos") == DAYS
    spent = world.requests_sent("video/query")
    again = world.run("videos", first="2026-02-01", last="2026-02-10")
    assert again.success
    assert world.requests_sent("video/query") == spent
    world.run("videos", first="2026-02-03", recollect=True)
    assert world.requests_sent("video/query") == spent + 1


def test_a_dead_day_is_not_materialized_and_stops_nothing(harness: Build) -> None:
    world = harness(dead_days=frozenset({date(2026, 2, 4)}), fixed_comments=2, fixed_volume=3)
    result = world.run("videos", "comments", first="2026-02-01", last="2026-02-10")
    alive = [day for day in DAYS if day != "2026-02-04"]
    assert result.success
    assert world.materialized("videos") == alive
    assert world.materialized("comments") == alive
    reported = [
        event.asset_observation_data.asset_observation for event in result.all_events if event.is_asset_observation
    ]
    of_the_day = [one for one in reported if one.partition == "2026-02-04"]
    assert [one.metadata["state"].value for one in of_the_day] == ["quarantined", "not_asked"]
    assert all(one.metadata["reason"].value for one in of_the_day)


VIDEOS = dg.AssetKey(["gardening", "videos"])


def test_a_pause_is_no_failure(harness: Build) -> None:
    world = harness(
        research_cap=3, fixed_volume=90, search_lifetime=10 * 86_400, start_time=datetime(2026, 3, 2, 9, tzinfo=UTC)
    )
    assert world.run("videos", first="2026-02-09", last="2026-02-10").success
    world.instance.wipe_assets([dg.AssetKey(["gardening", "videos"])])
    paused = world.run("videos", first="2026-02-01", last="2026-02-10")
    assert paused.success
    assert world.materialized("videos") == ["2026-02-09", "2026-02-10"]
    [spec] = [asset.specs_by_key[VIDEOS] for asset in study_assets(STUDY) if VIDEOS in asset.keys]
    shown = world.instance.fetch_materializations(VIDEOS, limit=2).records
    tags = [record.asset_materialization.tags for record in shown if record.asset_materialization]
    assert [(tag or {})["dagster/code_version"] for tag in tags] == [spec.code_version] * 2, (
        "an edited query makes them stale"
    )
    reported = observations_by_partition(paused)[None]
    assert "Paused, not failed" in (reported.description or "")
    assert reported.metadata["pool"].value == "research"
    assert reported.metadata["remaining partitions"].value == "2026-02-01..2026-02-08"
    assert reported.metadata["quota available at"].value == "2026-03-03 00:00 UTC"
    assert (reported.metadata["remaining requests"].value, reported.metadata["estimate basis"].value) == (
        8,
        "observed density",
    )
    assert reported.metadata["estimated completion"].value == "2026-03-05, if nothing else is asked"
    # The steps of the checks waited for an output that did not come, but what came was looked at.
    record = world.instance.get_latest_asset_check_evaluation_record(
        dg.AssetCheckKey(dg.AssetKey(["gardening", "videos"]), "all_units_settled")
    )
    assert record is not None
    assert record.event is not None
    assert record.event.asset_check_evaluation is not None
    assert not record.event.asset_check_evaluation.passed
    for day in (3, 4, 5):
        world.sandbox.clock.set(datetime(2026, 3, day, 0, 1, tzinfo=UTC))
        assert world.run("videos", first="2026-02-01", last="2026-02-10").success
    assert world.materialized("videos") == DAYS
    assert world.requests_sent("video/query") == 10


def test_a_day_that_is_too_fresh_is_refused(harness: Build) -> None:
    world = harness(start_time=datetime(2026, 2, 10, 9, tzinfo=UTC))
    result = world.run("videos", first="2026-02-09")
    assert not result.success
    assert "2026-02-09: too fresh" in failure_message(result)
    assert "settle_days" in failure_message(result)
    assert world.requests_sent("video/query") == 0


def test_a_range_that_ends_in_fresh_days_collects_the_others(harness: Build) -> None:
    world = harness(start_time=datetime(2026, 2, 10, 9, tzinfo=UTC))
    result = world.run("videos", first="2026-02-05", last="2026-02-09")
    assert result.success
    assert world.materialized("videos") == ["2026-02-05", "2026-02-06", "2026-02-07"]
    assert observations_by_partition(result)["2026-02-09"].metadata["state"].value == "too_fresh"


def test_observed_assets_take_the_running_period_only(harness: Build) -> None:
    world = harness()
    world.study = replace(STUDY, users=UserRule("panel"), panel=("sandbox_beet", "sandbox_missing"))
    past = world.run("users", first="2026-02-09")
    assert not past.success
    assert "the API knows users only as they are now" in failure_message(past)
    assert world.requests_sent("user/info") == 0
    day = world.sandbox.clock.now().date()
    running_week = date.fromordinal(day.toordinal() - day.weekday()).isoformat()
    for entity in ("users", "followers", "pinned_videos"):
        assert world.run(entity, first=running_week).success
        assert world.materialized(entity) == [running_week]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("client_key", "", "TIKTOK_CLIENT_KEY not set"),
        ("client_secret", "s3cret-typo", "invalid_client"),
        ("api_url", "http://127.0.0.1:9", "no connection"),
        ("root", "/proc/nowhere", "cannot be written to"),
    ],
)
def test_what_a_person_has_to_mend(harness: Build, name: str, value: str, said: str) -> None:
    world = harness()
    change: dict[str, Any] = {name: Path(value) if name == "root" else value}
    result = world.run("videos", first="2026-02-03", settings=replace(world.settings, **change))
    assert not result.success
    assert said in failure_message(result)
    assert "s3cret-typo" not in failure_message(result)
    assert world.materialized("videos") == []


def test_rows_of_another_origin_are_refused(harness: Build) -> None:
    world = harness()
    assert world.run("videos", first="2026-02-03").success
    real = replace(world.settings, api_url="https://open.tiktokapis.com")
    assert "must not mix" in failure_message(world.run("videos", first="2026-02-04", settings=real))


def test_without_comments_the_videos_stand_alone(harness: Build) -> None:
    world = harness()
    world.study = NO_COMMENTS
    assert world.run("videos", first="2026-02-01", last="2026-02-02").success
