"""Two studies are collected without a user over five days of quota, with daemon and webserver as `make ui` starts them.

One day of the API always fails, a run's process is killed, and the tokens expire. The test only sets the sandbox's
clock. At the end all available data is collected within the quota. The UI shows the correct state then and before.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from selenium.webdriver import Chrome

from research_assets.cli.ui import start_page
from research_assets.clock import SystemClock
from research_assets.quota.ledger import Ledger
from research_assets.units.targets import video_targets_by_day
from research_assets_tests.browser.page import Page
from research_assets_tests.browser.processes import chromium
from research_assets_tests.end_to_end import ui_assertions
from research_assets_tests.end_to_end.scenario import (
    DEAD_DAY,
    EVENING,
    KILLED_AT,
    NIGHTS,
    QUOTA,
    TOKENS_END_AT,
    ScenarioResult,
    run_scenario,
)

pytestmark = pytest.mark.timeout(1500)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("screenshots")


@pytest.fixture(scope="module")
def scenario(browser: Chrome, screenshots: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScenarioResult]:
    with run_scenario(
        tmp_path_factory.mktemp("sixty"),
        lambda deployment: ui_assertions.assert_ui_shows_pause(Page(browser, deployment.url, screenshots), deployment),
    ) as scenario:
        yield scenario


@pytest.fixture
def page(browser: Chrome, scenario: ScenarioResult, screenshots: Path) -> Page:
    return Page(browser, scenario.deployment.url, screenshots)


def test_marts_contain_every_available_video(scenario: ScenarioResult) -> None:
    for study in scenario.studies:
        assert study.end is not None
        query = {group: [*conditions] for group, conditions in study.query.items()}
        ground_truth = scenario.deployment.sandbox.ground_truth.videos(query, study.start, study.end)
        deliverable = {video for day, hits in ground_truth.items() if day != DEAD_DAY for video in hits.deliverable}
        collected = scenario.deployment.rows(f"SELECT video_id FROM marts.videos WHERE study = '{study.name}'")
        assert len(collected) == len(deliverable) == 59 * 45
        assert {video for (video,) in collected} == deliverable


def test_marts_contain_the_comments_of_the_sampled_videos(scenario: ScenarioResult) -> None:
    garden, _ = scenario.studies
    ground_truth = scenario.deployment.sandbox.ground_truth
    sampled = [
        int(one.unit)
        for day in video_targets_by_day(scenario.deployment.settings.raw, garden, scenario.days(garden)).values()
        for one in day
    ]
    attempts = scenario.deployment.rows(
        "SELECT unit, last_at FROM marts.coverage WHERE study = 'garden' AND entity = 'comments' "
        "AND unit_kind = 'video'"
    )
    until = {int(video): last_at.timestamp() for video, last_at in attempts}
    # The upper bits of an id are its time. Comments written after the attempt are not part of it.
    top = {one for video in sampled for one in ground_truth.comments(video) if one >> 32 <= until[video]}
    replies = {reply for one in top for reply in ground_truth.replies(one)}
    collected = scenario.deployment.rows("SELECT comment_id FROM marts.comments WHERE study = 'garden'")
    assert len(sampled) > 10
    assert {comment for (comment,) in collected} == top | replies


def test_only_the_dead_day_is_incomplete_and_has_a_next_try(scenario: ScenarioResult) -> None:
    for study in scenario.studies:
        states = dict(
            scenario.deployment.rows(
                f"SELECT partition_day, state FROM marts.coverage WHERE study = '{study.name}' "
                "AND entity = 'videos' AND unit_kind = 'day'"
            )
        )
        assert states == {day: "quarantined" if day == DEAD_DAY else "complete" for day in scenario.days(study)}
        complete = {day.isoformat() for day in scenario.days(study) if day != DEAD_DAY}
        assert scenario.deployment.materialized(study.name, "videos") == complete
    assert scenario.deployment.materialized("garden", "comments") == materialized_days(scenario, "garden")
    dead = scenario.deployment.rows(
        f"SELECT study, reason, next_try_at > TIMESTAMPTZ '{NIGHTS[-1]}' FROM marts.coverage "
        f"WHERE state = 'quarantined' AND partition_day = '{DEAD_DAY}'"
    )
    assert [(study, later) for study, _, later in sorted(dead)] == [("garden", True), ("kitchen", True)]
    assert all("500" in reason for _, reason, _ in dead)
    # No other unit is open, except the comments of the dead day, whose videos are not collected.
    rest = scenario.deployment.rows(
        "SELECT entity, state FROM marts.coverage WHERE state NOT IN ('complete', 'quarantined') AND entity <> 'users'"
    )
    assert rest == [("comments", "not_asked")]


def test_sensor_starts_a_new_week_of_observations(scenario: ScenarioResult) -> None:
    # The week before ends with the first night, when most of the quota goes to units that have waited longer.
    assert {"2026-04-06"} <= scenario.deployment.materialized("kitchen", "users") <= {"2026-03-30", "2026-04-06"}


def materialized_days(scenario: ScenarioResult, study: str) -> set[str]:
    """Return the days of a study that can become complete."""
    [spec] = [one for one in scenario.studies if one.name == study]
    return {day.isoformat() for day in scenario.days(spec) if day != DEAD_DAY}


def test_requests_stay_within_the_quota_and_few_are_refused(scenario: ScenarioResult) -> None:
    days = scenario.deployment.sandbox.app.quota.pools["research"].days
    assert set(days) == {EVENING.date(), *(night.date() for night in NIGHTS)}
    assert all(day.used <= QUOTA and day.refused <= 1 for day in days.values())
    # A reservation that the kill caught before its request was sent counts in the ledger, but not in the sandbox.
    with closing(
        Ledger(scenario.deployment.settings.ledger, scenario.deployment.settings.caps, SystemClock())
    ) as ledger:
        reservations = [one for one in ledger.iter_requests() if one["day"] == EVENING.date()]
    unsettled = sum(one["code"] is None for one in reservations)
    assert len(reservations) == QUOTA
    assert QUOTA - unsettled <= days[EVENING.date()].used <= QUOTA
    assert unsettled <= scenario.deployment.settings.concurrency
    assert "0 of 40 requests remaining" in scenario.sensor_messages[0]
    assert "available at 00:00 UTC" in scenario.sensor_messages[0]
    assert not any(" remaining; " in message for message in scenario.sensor_messages[-2:]), scenario.sensor_messages


def test_pages_are_requested_again_only_after_injected_faults(scenario: ScenarioResult) -> None:
    assert scenario.injected_faults == [KILLED_AT, TOKENS_END_AT]
    outcomes = scenario.deployment.sandbox.app.request_log.outcomes
    assert 1 <= outcomes["access_token_invalid"] <= 16
    assert scenario.deployment.rows("SELECT sum(n_over_quota) FROM marts.quota_usage") == [(0,)]


def test_days_are_reobserved_at_their_age(scenario: ScenarioResult) -> None:
    reobserved = scenario.deployment.rows(
        "SELECT DISTINCT day FROM marts.video_observations WHERE study = 'garden' "
        "AND observed_at >= day + INTERVAL 60 DAYS ORDER BY day"
    )
    assert reobserved == [(date(2026, 2, 5),), (date(2026, 2, 6),)]


def test_only_the_killed_run_fails_and_is_retried(scenario: ScenarioResult) -> None:
    runs = scenario.deployment.runs()
    [killed] = [run for run in runs if run.status == dg.DagsterRunStatus.FAILURE]
    assert all(run.is_success for run in runs if run is not killed)
    assert killed.run_id in {run.parent_run_id for run in runs}
    alerts = scenario.deployment.settings.alerts.read_text()
    assert len(alerts.splitlines()) == 1, alerts
    assert "SIGKILL" in alerts
    assert "Dagster retries the run" in alerts


def test_marts_are_built_once_per_batch(scenario: ScenarioResult) -> None:
    builds = Counter(run.tags.get("dagster/sensor_name") for run in scenario.deployment.runs())[
        "build_marts_on_new_data"
    ]
    assert 2 <= builds <= len(scenario.sensor_messages)


def test_graph_shows_the_assets_of_a_study(page: Page) -> None:
    # The graph draws only visible nodes, so the window must be large enough for all of them.
    page.browser.set_window_size(2400, 3000)
    try:
        page.open(start_page(["garden"]))
        page.wait_for_text("videos", "comments")
        page.wait_for_no_text("Loading...")
    finally:
        page.browser.set_window_size(1600, 1000)


def test_lineage_of_two_studies_is_one_path(page: Page) -> None:
    page.go(start_page(["garden", "kitchen"]))
    # The groups of all studies are one node each, and no study is up- and downstream of another.
    page.wait_for_text("studies", "warehouse", "results")


@pytest.mark.parametrize("asset", ["garden/videos", "garden/comments", "kitchen/videos"])
def test_partition_bar_lacks_only_the_dead_day(page: Page, asset: str) -> None:
    page.go(f"/assets/{asset}?view=partitions")
    page.wait_for_text("Materialized (59)", "Missing (1)", "Failed (0)", "Materializing (0)")


def test_dead_day_shows_its_reason_and_next_try(page: Page, scenario: ScenarioResult) -> None:
    [(reason, next_try)] = scenario.deployment.rows(
        f"SELECT reason, next_try_at FROM marts.coverage WHERE study = 'garden' AND partition_day = '{DEAD_DAY}' "
        "AND entity = 'videos'"
    )
    page.go(f"/assets/garden/videos?view=events&partition={DEAD_DAY}")
    page.read("quarantined", reason, f"{next_try:%Y-%m-%d %H:%M} UTC")


def test_checks_report_only_the_dead_day(page: Page, scenario: ScenarioResult) -> None:
    page.go("/assets/garden/videos?view=checks&checkDetail=all_units_settled")
    page.read("Failing rows: 1 of 60", DEAD_DAY.isoformat(), "quarantined")
    page.go("/assets/marts/coverage?view=checks&checkDetail=garden_has_no_failures")
    page.read(f"Problems: 1 quarantined. Oldest: videos {DEAD_DAY}")
    assert scenario.failing() == {
        f"{study}{check}"
        for study in ("garden", "kitchen")
        for check in ("/videos: all_units_settled", "_has_no_failures", "_is_complete")
    }


def test_automation_page_shows_the_sensor_message(page: Page, scenario: ScenarioResult) -> None:
    page.go("/automation")
    page.wait_for_text("quota_window", "build_marts_on_new_data", "alert_on_run_failure")
    page.go("/locations/research_assets/sensors/quota_window")
    # The newest message, not that of the end of the scenario: a time within 24 hours is shown without its date.
    page.read(next(tick.message for tick in scenario.deployment.ticks("quota_window", limit=5) if tick.message))
    page.go("/runs")
    page.wait_for_text("build_marts_on_new_data", "quota_window", "Success")


def test_no_tick_fails(scenario: ScenarioResult) -> None:
    for sensor in ("quota_window", "build_marts_on_new_data", "alert_on_run_failure"):
        assert {tick.status for tick in scenario.deployment.ticks(sensor)} <= {"SUCCESS", "SKIPPED"}, sensor
