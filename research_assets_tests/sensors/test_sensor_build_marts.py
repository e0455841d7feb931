"""The marts follow the data: one build per batch, none while something collects or a blocking check fails."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import run_in_thread
from research_assets.sensors import build_marts
from research_assets.sensors.build_marts import BuildState, build_blocker, data_until_tag
from research_assets.storage.raw_writer import write_rows
from research_assets_tests.assets.harness import NO_COMMENTS
from research_assets_tests.sensors.sensor_harness import SensorHarness

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
QUIET = timedelta(minutes=2)
FRESH = BuildState(data_until=NOW - timedelta(hours=1), built=None, requested_until=None, collecting=0, building=False)


def test_new_data_that_has_come_to_rest_is_built() -> None:
    assert build_blocker(FRESH, NOW, QUIET) is None
    assert build_blocker(replace(FRESH, built=NOW - timedelta(hours=2)), NOW, QUIET) is None


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (replace(FRESH, data_until=None), "Nothing was collected yet"),
        (replace(FRESH, built=NOW), "hold all that was collected"),
        (replace(FRESH, building=True), "under way"),
        (replace(FRESH, collecting=2), "2 runs of the collection go on"),
        (replace(FRESH, data_until=NOW - QUIET / 2), "a moment ago"),
        (replace(FRESH, failing_checks=["gardening/videos: ids"]), "gardening/videos: ids"),
        (replace(FRESH, requested_until=data_until_tag(NOW - timedelta(hours=1))), "did not publish"),
    ],
)
def test_what_stands_in_the_way_is_said(seen: BuildState, said: str) -> None:
    assert said in str(build_blocker(seen, NOW, QUIET))


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SensorHarness]:
    # Files carry the machine's time; the quiet before a build is shown above.
    monkeypatch.setattr(build_marts, "QUIET_INTERVALS", 0)
    with ExitStack() as stack:
        config = SandboxConfig(fixed_volume=3, start_time=NOW, search_lifetime=40 * 86_400)
        yield SensorHarness(stack.enter_context(run_in_thread(config)), tmp_path / "data", (NO_COMMENTS,))


def build(harness: SensorHarness) -> bool | None:
    """A tick of the sensor, and the build if it asks for one: whether it succeeded."""
    requests = harness.tick("build_marts_on_new_data")
    return harness.launch(requests[0], "build_marts_on_new_data").success if requests else None


def test_one_build_for_a_batch_and_none_without_new_data(harness: SensorHarness) -> None:
    assert build(harness) is None
    assert "Nothing was collected yet" in str(harness.skipped)
    harness.advance()
    assert build(harness)
    assert build(harness) is None
    assert "hold all that was collected" in str(harness.skipped)
    assert harness.builds == 1


def test_a_failed_build_is_repeated_only_for_new_data(harness: SensorHarness) -> None:
    harness.studies = (replace(NO_COMMENTS, reobserve_days=(40,)),)
    harness.advance()
    harness.build_fails.add("marts")
    assert build(harness) is False
    assert build(harness) is None
    assert "did not publish" in str(harness.skipped)
    harness.build_fails.clear()
    harness.at(NOW + timedelta(days=30))
    harness.advance()
    assert build(harness)
    assert harness.builds == 2


def test_no_build_on_wrong_data_though_no_run_has_checked_them(harness: SensorHarness) -> None:
    harness.advance()
    # As a run leaves it that paused after it published: rows, and no check.
    rows = [{"id": None, "capture": "c", "observed_at": NOW}]
    write_rows(harness.settings.raw, "videos", study="gardening", day=date(2026, 2, 3), name="c", rows=rows)
    assert build(harness) is False
    assert harness.builds == 0
    assert build(harness) is None
    assert "gardening/videos: ids_are_whole" in str(harness.skipped)
    next(harness.settings.raw.glob("videos/study=gardening/day=2026-02-03/c.parquet")).unlink()
    [held] = (harness.settings.raw / "coverage" / "study=gardening").glob("day=*/*.parquet")
    held.touch()
    assert build(harness) is None, "until somebody makes the check again"


def test_a_running_collection_is_waited_for(harness: SensorHarness) -> None:
    [request] = harness.tick()
    harness.launch(request)
    repository = harness.definitions().get_repository_def()
    harness.instance.create_run_for_job(
        repository.get_job(str(request.job_name)),
        asset_selection=frozenset(request.asset_selection or ()),
        status=dg.DagsterRunStatus.STARTED,
    )
    assert build(harness) is None
    assert "1 run of the collection go" in str(harness.skipped)
