"""Runs of the collected assets materialize a partition if and only if it is complete."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from research_assets.checks import check_keys
from research_assets.component import study_assets
from research_assets.quota.ledger import Ledger
from research_assets.quota.ledger_database import LedgerUnreachable
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
def make_harness(tmp_path: Path) -> Iterator[Build]:
    """Return a function that builds a harness; its sandbox has 30 videos every day, changed by keywords."""
    with ExitStack() as stack:

        def build(**options: object) -> AssetHarness:
            sandbox = stack.enter_context(run_in_thread(SandboxConfig(**{"fixed_volume": 30, **options})))  # type: ignore[arg-type]
            return AssetHarness(sandbox, tmp_path / "data")

        yield build


def test_run_of_one_day_records_its_counts(make_harness: Build) -> None:
    harness = make_harness()
    result = harness.run("videos", first="2026-02-03")
    assert result.success
    assert harness.materialized("videos") == ["2026-02-03"]
    [event] = result.asset_materializations_for_node("gardening__content")
    metadata = {key: entry.value for key, entry in event.metadata.items()}
    assert metadata["dagster/partition_row_count"] == metadata["rows kept"] == 30
    assert metadata["requests"] == harness.requests_sent("video/query") == 1
    assert (metadata["units"], metadata["incomplete units"]) == (1, 0)
    assert str(metadata["captures"]).endswith("captures/videos/study=gardening")
    assert "data:image/svg+xml;base64," in str(metadata["rows by partition"])
    assert "data:image/svg+xml;base64," in str(metadata["chart"])


def test_complete_units_are_not_requested_again(make_harness: Build) -> None:
    harness = make_harness()
    harness.run("videos", first="2026-02-03")
    harness.instance.wipe_assets([dg.AssetKey(["gardening", "videos"])])
    result = harness.run("videos", first="2026-02-01", last="2026-02-10")
    assert result.success
    assert harness.materialized("videos") == DAYS
    requests = harness.requests_sent("video/query")
    second = harness.run("videos", first="2026-02-01", last="2026-02-10")
    assert second.success
    assert harness.requests_sent("video/query") == requests
    harness.run("videos", first="2026-02-03", recollect=True)
    assert harness.requests_sent("video/query") == requests + 1


def test_dead_day_is_not_materialized_and_stops_no_other_day(make_harness: Build) -> None:
    harness = make_harness(dead_days=frozenset({date(2026, 2, 4)}), fixed_comments=2, fixed_volume=3)
    result = harness.run("videos", "comments", first="2026-02-01", last="2026-02-10")
    other_days = [day for day in DAYS if day != "2026-02-04"]
    assert result.success
    assert harness.materialized("videos") == other_days
    assert harness.materialized("comments") == other_days
    observations = [
        event.asset_observation_data.asset_observation for event in result.all_events if event.is_asset_observation
    ]
    of_dead_day = [observation for observation in observations if observation.partition == "2026-02-04"]
    assert [observation.metadata["state"].value for observation in of_dead_day] == ["quarantined", "not_asked"]
    assert all(observation.metadata["reason"].value for observation in of_dead_day)


VIDEOS = dg.AssetKey(["gardening", "videos"])


def test_paused_run_succeeds_and_reports_remaining_partitions(make_harness: Build) -> None:
    harness = make_harness(
        research_cap=3, fixed_volume=90, search_lifetime=10 * 86_400, start_time=datetime(2026, 3, 2, 9, tzinfo=UTC)
    )
    assert harness.run("videos", first="2026-02-09", last="2026-02-10").success
    harness.instance.wipe_assets([dg.AssetKey(["gardening", "videos"])])
    paused = harness.run("videos", first="2026-02-01", last="2026-02-10")
    assert paused.success
    assert harness.materialized("videos") == ["2026-02-08", "2026-02-09", "2026-02-10"], "one request completes a day"
    [spec] = [asset.specs_by_key[VIDEOS] for asset in study_assets(STUDY) if VIDEOS in asset.keys]
    materializations = harness.instance.fetch_materializations(VIDEOS, limit=3).records
    tags = [record.asset_materialization.tags for record in materializations if record.asset_materialization]
    assert [(tag or {})["dagster/code_version"] for tag in tags] == [spec.code_version] * 3, (
        "an edited query must make them stale"
    )
    run = harness.instance.get_run_by_id(paused.run_id)
    assert run is not None
    assert run.tags["paused"] == "3 of 10 days; resumes 00:00 UTC"
    begun = observations_by_partition(paused)
    observation = begun.pop(None)
    assert begun == {}, "the pause came between two days"
    assert "Paused, not failed" in (observation.description or "")
    assert observation.metadata["pool"].value == "research"
    assert observation.metadata["remaining partitions"].value == "2026-02-01..2026-02-07"
    assert observation.metadata["quota available at"].value == "2026-03-03 00:00 UTC"
    assert (observation.metadata["remaining requests"].value, observation.metadata["estimate basis"].value) == (
        7,
        "observed density",
    )
    assert observation.metadata["estimated completion"].value == "2026-03-05, if no other work uses the quota"
    # The check steps waited for an output that did not come. The run itself checked its rows.
    record = harness.instance.get_latest_asset_check_evaluation_record(
        dg.AssetCheckKey(dg.AssetKey(["gardening", "videos"]), "all_units_settled")
    )
    assert record is not None
    assert record.event is not None
    assert record.event.asset_check_evaluation is not None
    assert not record.event.asset_check_evaluation.passed
    for day in (3, 4, 5):
        harness.sandbox.clock.set(datetime(2026, 3, day, 0, 1, tzinfo=UTC))
        assert harness.run("videos", first="2026-02-01", last="2026-02-10").success
    assert harness.materialized("videos") == DAYS
    assert harness.requests_sent("video/query") == 10


def test_run_with_a_limit_of_requests_pauses_at_it(make_harness: Build) -> None:
    harness = make_harness(fixed_volume=90, start_time=datetime(2026, 3, 2, 9, tzinfo=UTC))
    limited = harness.run("videos", "comments", first="2026-02-01", last="2026-02-10", max_requests=3)
    assert limited.success
    assert sum(harness.requests_sent(endpoint) for endpoint in ("video/query", "video/comment/list")) == 3
    [record] = harness.instance.fetch_observations(VIDEOS, limit=1).records
    observation = record.asset_observation
    assert observation is not None
    assert "the run has used its budget (3 of 1000 requests of the day are used)" in (observation.description or "")
    assert observation.metadata["quota available at"].value == "2026-03-02 09:00 UTC"
    assert harness.run("videos", first="2026-02-01", last="2026-02-10").success
    assert harness.materialized("videos") == DAYS


def test_run_whose_ledger_becomes_unreachable_pauses_and_reports_its_partitions(
    make_harness: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = make_harness(fixed_volume=90, start_time=datetime(2026, 3, 2, 9, tzinfo=UTC))
    reserve, n_reserved = Ledger.reserve, 0

    def fail(*_: object, **__: object) -> None:
        raise LedgerUnreachable("The quota ledger postgresql://db/lab cannot be used: no connection.")

    def reserve_three(*args: Any, **options: Any) -> int:
        nonlocal n_reserved
        n_reserved += 1
        if n_reserved > 3:
            for name in ("exists", "settle", "available", "pool_state", "used_by_run"):
                monkeypatch.setattr(Ledger, name, fail)
            fail()
        return reserve(*args, **options)

    monkeypatch.setattr(Ledger, "reserve", reserve_three)
    paused = harness.run("videos", first="2026-02-01", last="2026-02-10")
    assert paused.success
    assert harness.requests_sent("video/query") == 3
    [record] = harness.instance.fetch_observations(VIDEOS, limit=1).records
    assert record.asset_observation is not None
    assert "the database of the quota ledger does not answer" in (record.asset_observation.description or "")


def test_day_that_is_too_fresh_fails_without_a_request(make_harness: Build) -> None:
    harness = make_harness(start_time=datetime(2026, 2, 10, 9, tzinfo=UTC))
    result = harness.run("videos", first="2026-02-09")
    assert not result.success
    assert "2026-02-09: too fresh" in failure_message(result)
    assert "settle_days" in failure_message(result)
    assert harness.requests_sent("video/query") == 0


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ("2026-01-30", "2026-02-03", "2026-01-30 is before"),
        ("2026-02-09", "2026-02-11", "2026-02-11 is after"),
        ("2026-02-05", "2026-02-03", "selects no partition of gardening/videos"),
    ],
    ids=["before-the-study", "after-the-study", "backwards"],
)
def test_run_of_other_partitions_fails_without_a_request(
    make_harness: Build, first: str, last: str, message: str
) -> None:
    harness = make_harness()
    result = harness.run("videos", first=first, last=last)
    assert message in failure_message(result)
    assert "No request was sent. Materialize assets with other partitions" in failure_message(result)
    assert harness.requests_sent("video/query") == 0


def test_range_that_ends_in_fresh_days_collects_the_other_days(make_harness: Build) -> None:
    harness = make_harness(start_time=datetime(2026, 2, 10, 9, tzinfo=UTC))
    result = harness.run("videos", first="2026-02-05", last="2026-02-09")
    assert result.success
    assert harness.materialized("videos") == ["2026-02-05", "2026-02-06", "2026-02-07"]
    assert observations_by_partition(result)["2026-02-09"].metadata["state"].value == "too_fresh"


def test_observed_assets_collect_the_running_period_only(make_harness: Build) -> None:
    harness = make_harness()
    harness.study = replace(STUDY, users=UserRule("panel"), panel=("sandbox_beet", "sandbox_missing"))
    with pytest.raises(dg.DagsterUnknownPartitionError):
        harness.run("users", first="2026-02-09")
    day = harness.sandbox.clock.now().date()
    running_week = date.fromordinal(day.toordinal() - day.weekday()).isoformat()
    for entity in ("users", "followers", "reposted_videos"):
        assert harness.run(entity, first=running_week).success
        assert harness.materialized(entity) == [running_week]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("client_key", "", "TIKTOK_CLIENT_KEY not set"),
        ("client_secret", "s3cret-typo", "invalid_client"),
        ("api_url", "http://127.0.0.1:9", "no connection"),
        ("root", "/proc/nowhere", "cannot be written to"),
    ],
)
def test_wrong_setting_fails_the_run_with_a_reason(make_harness: Build, name: str, value: str, message: str) -> None:
    harness = make_harness()
    change: dict[str, Any] = {name: Path(value) if name == "root" else value}
    result = harness.run("videos", first="2026-02-03", settings=replace(harness.settings, **change))
    assert not result.success
    assert message in failure_message(result)
    assert "s3cret-typo" not in failure_message(result)
    assert harness.materialized("videos") == []


def test_rows_of_another_origin_fail_the_run(make_harness: Build) -> None:
    harness = make_harness()
    assert harness.run("videos", first="2026-02-03").success
    real = replace(harness.settings, api_url="https://open.tiktokapis.com")
    assert "must not mix" in failure_message(harness.run("videos", first="2026-02-04", settings=real))


def test_study_without_comments_collects_videos(make_harness: Build) -> None:
    harness = make_harness()
    harness.study = NO_COMMENTS
    assert harness.run("videos", first="2026-02-01", last="2026-02-02").success


def test_each_partition_is_materialized_once_with_the_charts_at_the_last(make_harness: Build) -> None:
    harness = make_harness(fixed_comments=2, fixed_volume=3)
    assert harness.run("videos", "comments", first="2026-02-01", last="2026-02-10").success
    for entity in ("videos", "comments"):
        key = dg.AssetKey(["gardening", entity])
        records = harness.instance.fetch_materializations(key, limit=50).records
        assert sorted(str(record.partition_key) for record in records) == DAYS
        newest = records[0].asset_materialization
        assert newest is not None
        assert {"chart", "remaining requests", "rows kept"} <= newest.metadata.keys()
        # The check steps of the run wait for an output that does not come, so the run reports their results.
        declared = [check for check in check_keys(harness.study) if check.asset_key == key]
        assert declared
        for check in declared:
            checked = harness.instance.get_latest_asset_check_evaluation_record(check)
            assert checked is not None, check
            assert checked.event is not None, check
            assert checked.event.dagster_event is not None, check
            assert checked.event.dagster_event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION, check
            # Without its target the UI shows a check of the same second as not evaluated.
            evaluation = checked.event.asset_check_evaluation
            assert evaluation is not None, check
            target = evaluation.target_materialization_data
            assert target is not None, check
            assert target.storage_id == records[0].storage_id, check


def test_pause_in_the_middle_of_a_day_is_reported_at_the_day(make_harness: Build) -> None:
    harness = make_harness(research_cap=5, fixed_volume=250, start_time=datetime(2026, 3, 2, 9, tzinfo=UTC))
    paused = harness.run("videos", first="2026-02-01", last="2026-02-03")
    assert paused.success
    begun = observations_by_partition(paused)
    begun.pop(None)
    [(day, observation)] = begun.items()
    assert day == "2026-02-02"
    assert observation.metadata["state"].value == "partial"
    assert observation.metadata["rows so far"].value == 100
    assert observation.metadata["next try"].value == "2026-03-03 00:00 UTC"
    assert "so far. Resumes from 2026-03-03 00:00 UTC" in str(observation.description)
