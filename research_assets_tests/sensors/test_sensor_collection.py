"""Ticks of the sensor quota_window: it collects within the quota, through pauses, failures, midnight and restarts."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from research_assets.clock import SystemClock
from research_assets.collect.types import RequestBudget
from research_assets.partitions import partitions_def
from research_assets.quota.ledger import Ledger, read_pools
from research_assets.quota.server_time import server_clock
from research_assets.resources import ASSET_TAG, CollectorResource, budget_run_id
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import run_in_thread
from research_assets.sensors import run_history
from research_assets.sensors.collection import cursor_text
from research_assets.sensors.study_files import InvalidStudyFiles, describe_changed_files
from research_assets.storage.raw_digests import DamagedRawFile
from research_assets.study.loader import StudyError, StudyIssue
from research_assets.study.provenance import contents_of
from research_assets.study.spec import CommentRule, StudySpec, UserRule
from research_assets.units.targets import video_targets
from research_assets_tests.assets.harness import NO_COMMENTS, STUDY
from research_assets_tests.conftest import FakeClock
from research_assets_tests.sensors.sensor_harness import SensorHarness

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
DAYS = [f"2026-02-{day:02}" for day in range(1, 11)]
Build = Callable[..., SensorHarness]


@pytest.fixture
def make_harness(tmp_path: Path) -> Iterator[Build]:
    """Return a function that builds a harness; its sandbox has 90 videos every day, changed by keywords."""
    with ExitStack() as stack:

        def build(*studies: StudySpec, **options: Any) -> SensorHarness:
            config = SandboxConfig(**{"fixed_volume": 90, "start_time": NOW, "search_lifetime": 40 * 86_400, **options})
            return SensorHarness(
                stack.enter_context(run_in_thread(config)), tmp_path / "data", studies or (NO_COMMENTS,)
            )

        yield build


def test_cancelled_run_makes_a_sensor_wait_and_no_person() -> None:
    @dg.job
    def empty_job() -> None:
        pass

    tags = {ASSET_TAG: "garden/videos", run_history.STATE_TAG: "digest"}
    key = ("garden", "videos")
    with dg.DagsterInstance.ephemeral() as instance:
        for status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED):
            run_tags = tags | {run_history.TICK_TAG: status.value}
            instance.create_run_for_job(empty_job, tags=run_tags, status=status)
        assert run_history.runs_without_progress(instance, key, "digest")[0] == 2
        assert run_history.runs_without_progress(instance, key, "digest", count_cancelled=False)[0] == 1


def test_changed_study_files_are_named_until_the_code_location_is_loaded_again() -> None:
    loaded = [replace(STUDY, name=name) for name in ("a", "b", "c")]
    assert describe_changed_files(loaded, lambda: loaded) == ""
    # A removal leaves an account out; the file is the same.
    left_out = replace(loaded[0], left_out=1, declared=contents_of(loaded[0]))
    declared = [left_out, replace(loaded[1], quota_weight=3), replace(STUDY, name="d"), replace(STUDY, name="e")]
    assert describe_changed_files(loaded, lambda: declared) == (
        "Study files are not loaded: d, e (added), b (changed), c (removed). Reload the code location under Deployment."
    )

    def invalid() -> list[StudySpec]:
        raise StudyError([StudyIssue(Path("a/defs.yaml"), 3, "name", "is missing")])

    with pytest.raises(InvalidStudyFiles, match=r"No run was started.*\n.*a/defs.yaml:3: name: is missing"):
        describe_changed_files(loaded, invalid)


def test_wait_after_a_failure_ends_although_the_clock_was_ahead() -> None:
    minutes = timedelta(minutes=15)
    assert run_history.backoff_ends_at(1, NOW - timedelta(minutes=5), NOW) == NOW + timedelta(minutes=10)
    assert run_history.backoff_ends_at(1, NOW - minutes, NOW) is None
    assert run_history.backoff_ends_at(1, NOW + timedelta(days=365), NOW) is None


def test_sensor_collects_a_study_until_nothing_remains(make_harness: Build) -> None:
    harness = make_harness()
    results = harness.advance()
    assert all(result.success for result in results)
    assert harness.materialized("gardening", "videos") == DAYS
    assert harness.skipped == "All available data was collected."
    # Ten days in one window: without earlier counts the first window is wide.
    assert len(results) == 1
    assert harness.requests_sent() <= 10


def test_cursor_has_no_place_within_a_line_at_which_a_browser_breaks_it() -> None:
    [head, header, row] = cursor_text("12:00 UTC", "Nothing.", "later  from\na/videos  2026-11-29 18:37 UTC").rsplit(
        " ", 2
    )
    assert head.startswith("12:00 UTC: Nothing.")
    assert header.split() == ["later", "from"]
    assert not re.search("-(?!\N{WORD JOINER})", row)
    assert row.replace("\N{WORD JOINER}", "").split() == ["a/videos", "2026-11-29", "18:37", "UTC"]


def test_paused_collection_resumes_after_midnight(make_harness: Build) -> None:
    harness = make_harness(research_cap=4)
    harness.advance()
    assert harness.requests_sent() == 4
    assert harness.skipped == (
        "research: 0 of 4 requests remaining; 7 units wait for about 7 requests; available at 00:00 UTC."
    )
    # The UI shows the cursor without a click, as one line that it breaks at ordinary spaces only.
    head, *table = str(harness.cursors["quota_window"]).split(" \N{NO-BREAK SPACE}", 1)
    assert head.endswith(f" UTC: {harness.skipped}")
    lines = [line.replace("\N{NO-BREAK SPACE}", " ").split() for line in table[0].split(" ")]
    assert lines[1:] == [
        ["later", "from", "units", "requests", "reason"],
        ["gardening/videos", "00:00", "UTC", "7", "7", "the", "quota", "is", "used", "up"],
    ]
    assert not harness.tick()
    for day in (3, 4):
        harness.at(datetime(2026, 3, day, 0, 1, tzinfo=UTC))
        harness.advance()
    assert harness.materialized("gardening", "videos") == DAYS
    assert harness.requests_sent() <= 11
    assert harness.sandbox.state["pools"]["research"]["refused"] == 0


def test_restart_repeats_no_run(make_harness: Build) -> None:
    harness = make_harness()
    [request] = harness.tick()
    harness.cursors.clear()
    [repeated] = harness.tick()
    assert request.run_key == repeated.run_key
    harness.launch(request)
    assert not [other for other in harness.tick() if other.run_key == request.run_key]


def test_units_of_an_active_run_are_not_requested_again(make_harness: Build) -> None:
    harness = make_harness()
    [request] = harness.tick()
    job = harness.definitions().get_repository_def().get_job("__ASSET_JOB")
    harness.instance.create_run_for_job(
        job, asset_selection=frozenset(request.asset_selection or ()), status=dg.DagsterRunStatus.STARTED
    )
    assert not harness.tick()
    assert "10 units are being collected" in str(harness.skipped)


def test_crashed_run_is_active_until_dagster_has_retried_it() -> None:
    instance, now = dg.DagsterInstance.ephemeral(), datetime.now(UTC)

    @dg.job
    def empty_job() -> None: ...

    def crashed(**tags: str) -> str:
        run = instance.create_run_for_job(empty_job, tags={"dagster/will_retry": "true", **tags})
        instance.report_run_failed(run)
        return run.run_id

    waiting = crashed()
    crashed(**{"dagster/auto_retry_run_id": waiting})
    assert [run.run_id for run in run_history.active_runs(instance, now)] == [waiting]
    # If Dagster does not retry the crashed run in time, the sensor plans the work again.
    assert not run_history.active_runs(instance, now + timedelta(minutes=3))
    assert not run_history.active_runs(instance, now - timedelta(days=3)), "it crashed while the clock was ahead"


def test_failed_run_is_repeated_after_a_backoff(make_harness: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = make_harness()
    [request] = harness.tick()
    state = harness.settings.state
    (state / "locks").write_text("not a folder")
    failed = harness.launch(request)
    assert not failed.success
    assert not harness.tick()
    assert "10 units made no progress in recent runs" in str(harness.skipped)
    monkeypatch.setattr(run_history, "MIN_BACKOFF", timedelta(0))
    [second] = harness.tick()
    assert second.run_key != request.run_key
    assert not harness.launch(second).success
    # As a person does in the UI. Dagster starts no run whose key it knows.
    harness.instance.delete_run(failed.run_id)
    [third] = harness.tick()
    (state / "locks").unlink()
    assert harness.launch(third).success
    assert harness.materialized("gardening", "videos") == DAYS


def test_run_that_ended_under_a_clock_that_was_ahead_delays_nothing(make_harness: Build) -> None:
    harness = make_harness()
    [request] = harness.tick()
    (harness.settings.state / "locks").write_text("not a folder")
    assert not harness.launch(request).success
    (harness.settings.state / "locks").unlink()
    assert not harness.tick(), "the backoff of 15 minutes"
    harness.clock = FakeClock(SystemClock().now() - timedelta(days=400))
    [second] = harness.tick()
    assert harness.launch(second).success


def test_backoff_grows_to_four_hours() -> None:
    assert [run_history.backoff(n) for n in (1, 2, 3)] == [
        timedelta(minutes=15),
        timedelta(minutes=30),
        timedelta(hours=1),
    ]
    assert run_history.backoff(50) == timedelta(hours=4)


def test_dead_day_is_retried_at_its_next_try(make_harness: Build) -> None:
    harness = make_harness(dead_days=frozenset({date(2026, 2, 4)}), fixed_volume=3)
    harness.advance()
    assert harness.materialized("gardening", "videos") == [day for day in DAYS if day != "2026-02-04"]
    assert "1 unit waits for its next try" in str(harness.skipped)
    requests_before = harness.requests_sent()
    harness.at(NOW + timedelta(hours=12))
    assert not harness.tick()
    assert harness.requests_sent() == requests_before
    harness.at(NOW + timedelta(hours=25))
    [request] = harness.tick()
    assert request.tags["dagster/asset_partition_range_start"] == "2026-02-04"
    assert request.tags["research/reason"] == "retry"


def test_days_are_reobserved_at_their_age_only_once(make_harness: Build) -> None:
    study = replace(NO_COMMENTS, end=date(2026, 2, 3), reobserve_days=(40,))
    harness = make_harness(study, fixed_volume=3)
    harness.advance()
    harness.at(datetime(2026, 3, 10, 0, 1, tzinfo=UTC))
    # The canary check runs, and then not again before 17 March.
    assert [result.dagster_run.tags["research/reason"] for result in harness.advance()] == ["canary"]
    requests_before = harness.requests_sent()
    harness.at(datetime(2026, 3, 14, 0, 1, tzinfo=UTC))
    results = harness.advance()
    # The first is 40 days old on 14 March, the last two days later.
    assert [result.success for result in results] == [True]
    assert harness.requests_sent() == requests_before + 1
    harness.at(datetime(2026, 3, 16, 0, 1, tzinfo=UTC))
    harness.advance()
    assert harness.requests_sent() == requests_before + 2
    assert not harness.tick()


def test_comments_with_unconfirmed_counts_are_green_only_after_the_reobservation(make_harness: Build) -> None:
    study = replace(NO_COMMENTS, comments=CommentRule("all"), end=date(2026, 2, 1), reobserve_days=(12,))
    early = datetime(2026, 2, 4, 1, tzinfo=UTC)
    harness = make_harness(study, fixed_volume=6, fixed_comments=20, count_lag_days=10.0, start_time=early)
    # A run that leaves counts unconfirmed is no failure, and the sensor does not repeat it.
    assert all(result.success for result in harness.advance())
    assert harness.materialized(study.name, "videos") == ["2026-02-01"]
    assert harness.materialized(study.name, "comments") == []

    key, definition = dg.AssetKey([study.name, "comments"]), partitions_def(study, "comments")
    day = {"dagster/partition": "2026-02-01"}
    shown = []
    for max_requests in (-1, 0):
        config = {"ops": {"gardening__content": {"config": {"max_requests": max_requests}}}}
        request = dg.RunRequest(asset_selection=[key], tags=day, run_config=config, job_name="__ASSET_JOB")
        assert harness.launch(request).success is (max_requests == 0)
        statuses = harness.instance.get_status_by_partition(key, ["2026-02-01"], definition) or {}
        shown += [status.value if status else None for status in statuses.values()]
    assert shown == ["FAILED", None], "the last run did not fail"

    assert "without a confirmed comment count (next: 2026-02-14 00:00 UTC)" in str(harness.skipped)
    harness.at(datetime(2026, 2, 14, 0, 1, tzinfo=UTC))
    results = harness.advance()
    assert all(result.success for result in results)
    assert "recounted" in {result.dagster_run.tags["research/reason"] for result in results}
    assert harness.materialized(study.name, "comments") == ["2026-02-01"]


def test_canary_check_runs_once_a_week_and_reports_its_counts(make_harness: Build) -> None:
    harness = make_harness(replace(NO_COMMENTS, end=None), fixed_volume=5)
    harness.advance()
    harness.at(NOW + timedelta(days=7, minutes=1))
    results = harness.advance()
    canary_runs = [result for result in results if result.dagster_run.tags["research/reason"] == "canary"]
    assert [result.success for result in canary_runs] == [True]
    evaluations = canary_runs[0].get_asset_check_evaluations()
    [check] = [evaluation for evaluation in evaluations if evaluation.check_name == "canaries_found"]
    assert check.passed
    assert {name: check.metadata[name].value for name in ("videos searched", "videos found")} == {
        "videos searched": 5,
        "videos found": 5,
    }
    requests_before = harness.requests_sent()
    assert not harness.tick()
    assert harness.requests_sent() == requests_before


def test_sensor_collects_comments_by_day_and_accounts_by_period(make_harness: Build) -> None:
    study = replace(STUDY, end=date(2026, 2, 3), users=UserRule("panel"), panel=("sandbox_beet", "sandbox_missing"))
    harness = make_harness(study, fixed_volume=3, fixed_comments=2)
    results = harness.advance()
    assert all(result.success for result in results)
    assert harness.materialized("gardening", "comments") == ["2026-02-01", "2026-02-02", "2026-02-03"]
    for entity in ("users", "followers", "following", "liked_videos", "reposted_videos"):
        assert harness.materialized("gardening", entity) == ["2026-03-02"], entity
    # No account has pinned a video, which a single day does not prove.
    assert harness.materialized("gardening", "pinned_videos") == []
    harness.at(datetime(2026, 3, 4, 0, 1, tzinfo=UTC))
    harness.advance()
    assert harness.materialized("gardening", "pinned_videos") == ["2026-03-02"]
    # The study is over and every account was observed once since then, so no further week begins.
    requests_before = harness.requests_sent()
    harness.at(datetime(2026, 3, 9, 0, 1, tzinfo=UTC))
    assert not harness.tick()
    assert harness.requests_sent() == requests_before


def test_new_period_begins_while_a_study_runs(make_harness: Build) -> None:
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


def test_two_studies_share_a_quota_day_by_weight(make_harness: Build) -> None:
    heavy, light = replace(NO_COMMENTS, name="heavy", quota_weight=3.0), replace(NO_COMMENTS, name="light")
    harness = make_harness(heavy, light, research_cap=8)
    harness.advance()
    assert harness.requests_sent() == 8
    clock = server_clock(harness.settings, SystemClock())
    _, used = read_pools(harness.settings, clock)
    assert used["research"] == {"heavy": 6, "light": 2}


def test_run_ends_at_its_budget_and_the_next_one_starts_at_once(make_harness: Build) -> None:
    harness = make_harness()
    [request] = harness.tick()
    assert request.run_config == {"ops": {"gardening__content": {"config": {"max_requests": 1000}}}}
    limited = {"ops": {"gardening__content": {"config": {"max_requests": 3}}}}
    assert harness.launch(request._replace(run_config=limited)).success
    assert harness.requests_sent() == 3
    [event] = harness.instance.fetch_observations(dg.AssetKey(["gardening", "videos"]), limit=1).records
    assert event.asset_observation is not None
    assert "the run has used its budget (3 of 1000 requests" in str(event.asset_observation.description)
    harness.at(NOW + timedelta(minutes=1))
    [request] = harness.tick()
    assert request.run_config["ops"]["gardening__content"]["config"] == {"max_requests": 997}
    assert harness.launch(request).success
    assert harness.materialized("gardening", "videos") == DAYS
    assert harness.requests_sent() <= 11


def test_two_runs_never_send_more_than_their_budgets(make_harness: Build) -> None:
    harness = make_harness(NO_COMMENTS, replace(NO_COMMENTS, name="second"), research_cap=12)
    first, second = harness.tick()
    assert harness.launch(first).success
    assert harness.requests_sent() == 6, "the other half of the quota is the budget of the second run"
    assert harness.launch(second).success
    assert harness.requests_sent() == 12
    assert not harness.tick()


def test_budget_of_an_active_run_is_not_free(make_harness: Build) -> None:
    second = replace(NO_COMMENTS, name="second")
    harness = make_harness(NO_COMMENTS, second, research_cap=100)
    [first, _] = harness.tick()
    job = harness.definitions().get_repository_def().get_job("__ASSET_JOB")
    run = harness.instance.create_run_for_job(
        job,
        asset_selection=frozenset(first.asset_selection or ()),
        run_config=first.run_config,
        status=dg.DagsterRunStatus.STARTED,
    )
    clock = server_clock(harness.settings, SystemClock())
    ledger = Ledger(harness.settings.ledger, harness.settings.caps, clock)
    for _ in range(20):
        ledger.reserve("research", study="gardening", entity="videos", unit="u", endpoint="video_query", run=run.run_id)
    # The active run has used 20 of 50 requests, so 50 of the 80 remaining ones are free, all for the second study.
    [request] = harness.tick()
    assert request.run_config == {"ops": {"second__content": {"config": {"max_requests": 50}}}}
    ledger.close()


def test_retry_of_a_crashed_run_continues_its_budget(make_harness: Build) -> None:
    harness = make_harness()
    ledger = Ledger(harness.settings.ledger, harness.settings.caps, SystemClock())

    @dg.job
    def empty_job() -> None: ...

    def again(parent: dg.DagsterRun, **tags: str) -> dg.DagsterRun:
        return harness.instance.create_run_for_job(
            empty_job, parent_run_id=parent.run_id, root_run_id=parent.run_id, tags=tags
        )

    crashed = harness.instance.create_run_for_job(empty_job)
    for entity in ("videos", "videos", "comments", "users"):
        ledger.reserve("research", study="gardening", entity=entity, unit="u", endpoint="e", run=crashed.run_id)
    ledger.close()
    retried, by_a_person = again(crashed, **{"dagster/retry_number": "1"}), again(crashed)
    collector = CollectorResource(harness.settings)

    def budget(run: dg.DagsterRun) -> RequestBudget | None:
        run_id = budget_run_id(harness.instance, run)
        return collector.request_budget(10, run_id, "gardening", ("videos", "comments"))

    assert budget(retried) == RequestBudget(7, crashed.run_id)
    assert budget(by_a_person) == RequestBudget(10, by_a_person.run_id)


def test_failed_read_fails_the_tick(make_harness: Build) -> None:
    harness = make_harness()
    harness.advance()
    [coverage, *_] = (harness.settings.raw / "coverage" / "study=gardening").glob("day=*/*.parquet")
    coverage.write_bytes(b"torn")
    harness.tick()  # builds the file again from its capture
    coverage.write_bytes(b"torn")
    for capture in harness.settings.captures.rglob("*.jsonl.zst"):
        capture.write_bytes(b"torn")
    with pytest.raises(DamagedRawFile, match=coverage.name):
        harness.tick()


def test_tick_names_missing_credentials_or_unreachable_server(make_harness: Build, tmp_path: Path) -> None:
    harness = make_harness()

    class WithoutCredentials(SensorHarness):
        @property
        def settings(self) -> Any:
            return replace(super().settings, client_key="")

    without_credentials = WithoutCredentials(harness.sandbox, tmp_path / "without_credentials", harness.studies)
    assert not without_credentials.tick()
    assert "TIKTOK_CLIENT_KEY not set" in str(without_credentials.skipped)

    class WithoutServer(SensorHarness):
        @property
        def settings(self) -> Any:
            return replace(super().settings, api_url="http://127.0.0.1:9")

    without_server = WithoutServer(harness.sandbox, tmp_path / "without_server", harness.studies)
    assert not without_server.tick()
    assert "does not respond" in str(without_server.skipped)


def test_data_collected_outside_dagster_is_materialized_without_a_request(make_harness: Build) -> None:
    harness = make_harness()
    harness.advance()
    requests_before = harness.requests_sent()
    harness.instance = dg.DagsterInstance.ephemeral()
    assert not harness.advance(), "a run would send no request"
    assert harness.materialized("gardening", "videos") == DAYS
    assert harness.requests_sent() == requests_before
    event = harness.instance.get_latest_materialization_event(dg.AssetKey(["gardening", "videos"]))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["rows kept"].value == 90


def test_complete_days_of_a_failed_run_are_shown_as_materialized_again(make_harness: Build) -> None:
    harness = make_harness(fixed_volume=3)
    harness.advance()
    key, definition = dg.AssetKey(["gardening", "videos"]), partitions_def(NO_COMMENTS, "videos")

    def shown() -> set[str]:
        statuses = harness.instance.get_status_by_partition(key, DAYS, definition) or {}
        return {status.value for status in statuses.values() if status}

    assert shown() == {"MATERIALIZED"}
    tags = {"dagster/asset_partition_range_start": DAYS[0], "dagster/asset_partition_range_end": DAYS[4]}
    config = {"ops": {"gardening__content": {"config": {"max_requests": -1}}}}
    assert not harness.launch(
        dg.RunRequest(asset_selection=[key], tags=tags, run_config=config, job_name="__ASSET_JOB")
    ).success
    assert shown() == {"MATERIALIZED", "FAILED"}
    requests_before = harness.requests_sent()
    assert not harness.tick()
    assert shown() == {"MATERIALIZED"}
    assert harness.requests_sent() == requests_before


def test_days_without_comments_are_materialized_without_a_run(make_harness: Build) -> None:
    study = replace(STUDY, comments=CommentRule("sample", fraction=0.005))
    harness = make_harness(study, fixed_comments=2, research_cap=11)
    results = harness.advance()
    assert [result.dagster_run.tags[ASSET_TAG] for result in results] == [
        "gardening/videos",
        "gardening/comments",
    ]
    days_with_targets = {day for day in DAYS if video_targets(harness.settings.raw, study, date.fromisoformat(day))}
    assert 2 < len(days_with_targets) < len(DAYS)
    assert len(harness.materialized("gardening", "comments")) > len(DAYS) - len(days_with_targets)
    assert "wait" in str(harness.skipped)
