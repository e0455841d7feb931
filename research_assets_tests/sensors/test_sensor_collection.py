"""The quota window, ticked: it collects by itself, within the quota, through pause, failure, midnight and restart."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from research_assets.clock import ServerClock, SystemClock
from research_assets.quota.ledger import read_pools
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import run_in_thread
from research_assets.sensors import run_history
from research_assets.study.spec import CommentRule, StudySpec, UserRule
from research_assets.units.targets import video_targets
from research_assets_tests.assets.harness import NO_COMMENTS, STUDY
from research_assets_tests.sensors.sensor_harness import SensorHarness

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
DAYS = [f"2026-02-{day:02}" for day in range(1, 11)]
Build = Callable[..., SensorHarness]


@pytest.fixture
def make_harness(tmp_path: Path) -> Iterator[Build]:
    """Builds a house whose sandbox holds exactly 90 videos every day, changed by keywords."""
    with ExitStack() as stack:

        def build(*studies: StudySpec, **knobs: Any) -> SensorHarness:
            config = SandboxConfig(**{"fixed_volume": 90, "start_time": NOW, "search_lifetime": 40 * 86_400, **knobs})
            return SensorHarness(
                stack.enter_context(run_in_thread(config)), tmp_path / "data", studies or (NO_COMMENTS,)
            )

        yield build


def test_a_study_is_collected_and_then_nothing_is_left(make_harness: Build) -> None:
    harness = make_harness()
    results = harness.advance()
    assert all(result.success for result in results)
    assert harness.materialized("gardening", "videos") == DAYS
    assert harness.skipped == "Everything that the studies want is held."
    # Ten days in one window: nothing was known, so the first contact was a wide one.
    assert len(results) == 1
    assert harness.requests_sent() <= 10


def test_a_pause_waits_for_midnight_and_goes_on_where_it_stopped(make_harness: Build) -> None:
    harness = make_harness(research_cap=4)
    harness.advance()
    assert harness.requests_sent() == 4
    assert harness.skipped == "research: 0 of 4 left; 10 units wait; opens 00:00 UTC."
    # Where the UI shows it without a click.
    assert str(harness.cursors["quota_window"]).endswith(f" UTC: {harness.skipped}")
    assert not harness.tick()
    for day in (3, 4):
        harness.at(datetime(2026, 3, day, 0, 1, tzinfo=UTC))
        harness.advance()
    assert harness.materialized("gardening", "videos") == DAYS
    assert harness.requests_sent() <= 11
    assert harness.sandbox.state["pools"]["research"]["refused"] == 0


def test_a_restart_doubles_nothing(make_harness: Build) -> None:
    harness = make_harness()
    [request] = harness.tick()
    harness.cursors.clear()
    [again] = harness.tick()
    assert request.run_key == again.run_key
    harness.launch(request)
    assert not [one for one in harness.tick() if one.run_key == request.run_key]


def test_what_waits_in_the_queue_is_not_asked_for_again(make_harness: Build) -> None:
    harness = make_harness()
    [request] = harness.tick()
    job = harness.definitions().get_repository_def().get_job("__ASSET_JOB")
    harness.instance.create_run_for_job(
        job, asset_selection=frozenset(request.asset_selection or ()), status=dg.DagsterRunStatus.STARTED
    )
    assert not harness.tick()
    assert "10 units are being asked" in str(harness.skipped)


def test_a_crashed_run_counts_as_going_on_until_dagster_has_started_it_again() -> None:
    instance, now = dg.DagsterInstance.ephemeral(), datetime.now(UTC)

    @dg.job
    def nothing() -> None: ...

    def crashed(**tags: str) -> str:
        run = instance.create_run_for_job(nothing, tags={"dagster/will_retry": "true", **tags})
        instance.report_run_failed(run)
        return run.run_id

    waits = crashed()
    crashed(**{"dagster/auto_retry_run_id": waits})
    assert [run.run_id for run in run_history.active_runs(instance, now)] == [waits]
    # Where nobody starts crashed runs again, the sensor does.
    assert not run_history.active_runs(instance, now + timedelta(minutes=3))


def test_a_run_that_fails_is_repeated_after_a_pause_that_grows(
    make_harness: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = make_harness()
    [request] = harness.tick()
    state = harness.settings.state
    (state / "locks").write_text("not a folder")
    assert not harness.launch(request).success
    assert not harness.tick()
    assert "10 units were asked in vain of late" in str(harness.skipped)
    monkeypatch.setattr(run_history, "MIN_BACKOFF", timedelta(0))
    [second] = harness.tick()
    assert second.run_key != request.run_key
    (state / "locks").unlink()
    assert harness.launch(second).success
    assert harness.materialized("gardening", "videos") == DAYS


def test_the_pause_grows_to_four_hours() -> None:
    assert [run_history.backoff(n) for n in (1, 2, 3)] == [
        timedelta(minutes=15),
        timedelta(minutes=30),
        timedelta(hours=1),
    ]
    assert run_history.backoff(50) == timedelta(hours=4)


def test_a_dead_day_is_tried_again_when_its_time_has_come(make_harness: Build) -> None:
    harness = make_harness(dead_days=frozenset({date(2026, 2, 4)}), fixed_volume=3)
    harness.advance()
    assert harness.materialized("gardening", "videos") == [day for day in DAYS if day != "2026-02-04"]
    assert "1 unit that failed or paused rests" in str(harness.skipped)
    spent = harness.requests_sent()
    harness.at(NOW + timedelta(hours=12))
    assert not harness.tick()
    assert harness.requests_sent() == spent
    harness.at(NOW + timedelta(hours=25))
    [request] = harness.tick()
    assert request.tags["dagster/asset_partition_range_start"] == "2026-02-04"
    assert request.tags["research/reason"] == "retry"


def test_days_are_asked_again_at_their_age_and_only_once(make_harness: Build) -> None:
    study = replace(NO_COMMENTS, end=date(2026, 2, 3), reobserve_days=(40,))
    harness = make_harness(study, fixed_volume=3)
    harness.advance()
    harness.at(datetime(2026, 3, 10, 0, 1, tzinfo=UTC))
    # Known videos are looked for, and then not again before the 17th.
    assert [result.dagster_run.tags["research/reason"] for result in harness.advance()] == ["canary"]
    spent = harness.requests_sent()
    harness.at(datetime(2026, 3, 14, 0, 1, tzinfo=UTC))
    results = harness.advance()
    # The first is 40 days old on 14 March, the last two days later.
    assert [result.success for result in results] == [True]
    assert harness.requests_sent() == spent + 1
    harness.at(datetime(2026, 3, 16, 0, 1, tzinfo=UTC))
    harness.advance()
    assert harness.requests_sent() == spent + 2
    assert not harness.tick()


def test_known_videos_are_looked_for_once_a_week_and_the_check_tells_what_came_of_it(make_harness: Build) -> None:
    harness = make_harness(replace(NO_COMMENTS, end=None), fixed_volume=5)
    harness.advance()
    harness.at(NOW + timedelta(days=7, minutes=1))
    results = harness.advance()
    looked = [r for r in results if r.dagster_run.tags["research/reason"] == "canary"]
    assert [result.success for result in looked] == [True]
    [check] = [c for c in looked[0].get_asset_check_evaluations() if c.check_name == "canaries"]
    assert check.passed
    assert {name: check.metadata[name].value for name in ("videos searched", "found")} == {
        "videos searched": 5,
        "found": 5,
    }
    spent = harness.requests_sent()
    assert not harness.tick()
    assert harness.requests_sent() == spent


def test_comments_follow_their_day_and_accounts_their_period(make_harness: Build) -> None:
    study = replace(STUDY, end=date(2026, 2, 3), users=UserRule("panel"), panel=("sandbox_beet", "sandbox_missing"))
    harness = make_harness(study, fixed_volume=3, fixed_comments=2)
    results = harness.advance()
    assert all(result.success for result in results)
    assert harness.materialized("gardening", "comments") == ["2026-02-01", "2026-02-02", "2026-02-03"]
    for entity in ("users", "followers", "following", "liked_videos", "reposted_videos", "pinned_videos"):
        assert harness.materialized("gardening", entity) == ["2026-03-02"], entity
    # The study is over, and everything was observed once since: no further week begins.
    spent = harness.requests_sent()
    harness.at(datetime(2026, 3, 9, 0, 1, tzinfo=UTC))
    assert not harness.tick()
    assert harness.requests_sent() == spent


def test_a_new_period_begins_by_itself_while_a_study_runs(make_harness: Build) -> None:
    study = replace(
        STUDY,
        start=date(2026, 2, 27),
        end=None,
        comments=CommentRule("none"),
        users=UserRule("panel"),
        panel=("sandbox_beet",),
    )
    harness = make_harness(study, fixed_volume=3)
    harness.advance()
    assert harness.materialized("gardening", "users") == ["2026-03-02"]
    harness.at(datetime(2026, 3, 9, 0, 1, tzinfo=UTC))
    harness.advance()
    assert harness.materialized("gardening", "users") == ["2026-03-02", "2026-03-09"]
    assert harness.materialized("gardening", "videos")[-1] == "2026-03-06"


def test_two_studies_share_a_day_by_weight(make_harness: Build) -> None:
    heavy, light = replace(NO_COMMENTS, name="heavy", quota_weight=3.0), replace(NO_COMMENTS, name="light")
    harness = make_harness(heavy, light, research_cap=8)
    harness.advance()
    assert harness.requests_sent() == 8
    clock = ServerClock(SystemClock())
    clock.offset = harness.sandbox.clock.now() - clock.now()
    _, used = read_pools(harness.settings, clock)
    assert used["research"] == {"heavy": 6, "light": 2}


def test_a_failed_read_is_never_nothing_to_do(make_harness: Build) -> None:
    harness = make_harness()
    harness.advance()
    [held, *_] = (harness.settings.raw / "coverage" / "study=gardening").glob("day=*/*.parquet")
    held.write_bytes(b"torn")
    with pytest.raises(duckdb.Error, match=held.name):
        harness.tick()


def test_without_credentials_or_server_it_says_what_is_missing(make_harness: Build, tmp_path: Path) -> None:
    harness = make_harness()

    class Mute(SensorHarness):
        @property
        def settings(self) -> Any:
            return replace(super().settings, client_key="")

    mute = Mute(harness.sandbox, tmp_path / "mute", harness.studies)
    assert not mute.tick()
    assert "TIKTOK_CLIENT_KEY not set" in str(mute.skipped)

    class Deaf(SensorHarness):
        @property
        def settings(self) -> Any:
            return replace(super().settings, api_url="http://127.0.0.1:9")

    deaf = Deaf(harness.sandbox, tmp_path / "deaf", harness.studies)
    assert not deaf.tick()
    assert "does not answer" in str(deaf.skipped)


def test_what_was_collected_outside_dagster_is_shown_without_a_request(make_harness: Build) -> None:
    harness = make_harness()
    harness.advance()
    spent = harness.requests_sent()
    harness.instance = dg.DagsterInstance.ephemeral()
    assert not harness.advance(), "a run would ask nothing"
    assert harness.materialized("gardening", "videos") == DAYS
    assert harness.requests_sent() == spent
    event = harness.instance.get_latest_materialization_event(dg.AssetKey(["gardening", "videos"]))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["rows kept"].value == 90


def test_days_without_comments_are_shown_without_a_run_of_their_own(make_harness: Build) -> None:
    study = replace(STUDY, comments=CommentRule("sample", fraction=0.005))
    harness = make_harness(study, fixed_comments=2, research_cap=11)
    results = harness.advance()
    assert [result.dagster_run.tags[run_history.ASSET_TAG] for result in results] == [
        "gardening/videos",
        "gardening/comments",
    ]
    wanted = {day for day in DAYS if video_targets(harness.settings.raw, study, date.fromisoformat(day))}
    assert 2 < len(wanted) < len(DAYS)
    assert len(harness.materialized("gardening", "comments")) > len(DAYS) - len(wanted)
    assert "wait" in str(harness.skipped)
