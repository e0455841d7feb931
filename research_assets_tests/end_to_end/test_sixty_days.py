"""Two studies live through five days of quota by themselves, in daemon and webserver as `make ui` starts them.

A day of the API is dead, a run's process is killed, the tokens end. Only the sandbox's clock is moved. At the end all
is held that can be had, within the quota, and the UI tells the truth, on the way as well.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from selenium.webdriver import Chrome

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
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def scenario(browser: Chrome, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScenarioResult]:
    with run_scenario(
        tmp_path_factory.mktemp("sixty"),
        lambda deployment: ui_assertions.assert_ui_shows_pause(Page(browser, deployment.url, pictures), deployment),
    ) as scenario:
        yield scenario


@pytest.fixture
def page(browser: Chrome, scenario: ScenarioResult, pictures: Path) -> Page:
    return Page(browser, scenario.deployment.url, pictures)


def test_every_video_that_can_be_had_is_held(scenario: ScenarioResult) -> None:
    for study in scenario.studies:
        assert study.end is not None
        query = {group: [*conditions] for group, conditions in study.query.items()}
        truth = scenario.deployment.sandbox.truth.videos(query, study.start, study.end)
        deliverable = {video for day, hits in truth.items() if day != DEAD_DAY for video in hits.deliverable}
        held = scenario.deployment.rows(f"SELECT video_id FROM marts.videos WHERE study = '{study.name}'")
        assert len(held) == len(deliverable) == 59 * 45
        assert {video for (video,) in held} == deliverable


def test_the_comments_of_the_drawn_videos_are_held(scenario: ScenarioResult) -> None:
    garden, _ = scenario.studies
    truth = scenario.deployment.sandbox.truth
    drawn = [
        int(one.unit)
        for day in video_targets_by_day(scenario.deployment.settings.raw, garden, scenario.days(garden)).values()
        for one in day
    ]
    looked = scenario.deployment.rows(
        "SELECT unit, last_at FROM marts.coverage WHERE study = 'garden' AND entity = 'comments' "
        "AND unit_kind = 'video'"
    )
    until = {int(video): moment.timestamp() for video, moment in looked}
    # An id begins with its moment: what was written after the look is for another one.
    top = {one for video in drawn for one in truth.comments(video) if one >> 32 <= until[video]}
    replies = {reply for one in top for reply in truth.replies(one)}
    held = scenario.deployment.rows("SELECT comment_id FROM marts.comments WHERE study = 'garden'")
    assert len(drawn) > 10
    assert {comment for (comment,) in held} == top | replies


def test_every_day_is_complete_but_the_dead_one_which_has_its_next_try(scenario: ScenarioResult) -> None:
    for study in scenario.studies:
        states = dict(
            scenario.deployment.rows(
                f"SELECT partition_day, state FROM marts.coverage WHERE study = '{study.name}' "
                "AND entity = 'videos' AND unit_kind = 'day'"
            )
        )
        assert states == {day: "quarantined" if day == DEAD_DAY else "complete" for day in scenario.days(study)}
        shown = {day.isoformat() for day in scenario.days(study) if day != DEAD_DAY}
        assert scenario.deployment.materialized(study.name, "videos") == shown
    assert scenario.deployment.materialized("garden", "comments") == materialized_days(scenario, "garden")
    dead = scenario.deployment.rows(
        f"SELECT study, reason, next_try_at > TIMESTAMPTZ '{NIGHTS[-1]}' FROM marts.coverage "
        f"WHERE state = 'quarantined' AND partition_day = '{DEAD_DAY}'"
    )
    assert [(study, later) for study, _, later in sorted(dead)] == [("garden", True), ("kitchen", True)]
    assert all("500" in reason for _, reason, _ in dead)
    # Nothing else of any day is open, but for the comments of videos that nobody could get.
    rest = scenario.deployment.rows(
        "SELECT entity, state FROM marts.coverage WHERE state NOT IN ('complete', 'quarantined') AND entity <> 'users'"
    )
    assert rest == [("comments", "not_asked")]


def test_a_new_week_of_observations_began_by_itself(scenario: ScenarioResult) -> None:
    # The week before ends with the first night, when most of the quota goes to what has waited longer.
    assert {"2026-04-06"} <= scenario.deployment.materialized("kitchen", "users") <= {"2026-03-30", "2026-04-06"}


def materialized_days(scenario: ScenarioResult, study: str) -> set[str]:
    """The days of a study that can be complete."""
    [spec] = [one for one in scenario.studies if one.name == study]
    return {day.isoformat() for day in scenario.days(spec) if day != DEAD_DAY}


def test_the_quota_was_kept_and_hardly_anything_refused(scenario: ScenarioResult) -> None:
    days = scenario.deployment.sandbox.app.quota.pools["research"].days
    assert set(days) == {EVENING.date(), *(night.date() for night in NIGHTS)}
    assert all(day.spent <= QUOTA and day.refused <= 1 for day in days.values())
    # A place that the kill caught between the ledger and the wire is lost: that one costs, but was never sent.
    with closing(
        Ledger(scenario.deployment.settings.ledger, scenario.deployment.settings.caps, SystemClock())
    ) as ledger:
        places = [place for place in ledger.iter_requests() if place["day"] == EVENING.date()]
    cut_off = sum(place["code"] is None for place in places)
    assert len(places) == QUOTA
    assert QUOTA - cut_off <= days[EVENING.date()].spent <= QUOTA
    assert cut_off <= scenario.deployment.settings.concurrency
    assert "0 of 40 left" in scenario.sensor_messages[0]
    assert "opens 00:00 UTC" in scenario.sensor_messages[0]
    assert not any(" left; " in said for said in scenario.sensor_messages[-2:]), scenario.sensor_messages


def test_each_page_was_asked_once_but_for_the_kill_and_the_token(scenario: ScenarioResult) -> None:
    assert scenario.injected_faults == [KILLED_AT, TOKENS_END_AT]
    outcomes = scenario.deployment.sandbox.app.books.outcomes
    assert 1 <= outcomes["access_token_invalid"] <= 16
    assert scenario.deployment.rows("SELECT sum(n_over_quota) FROM marts.quota_usage") == [(0,)]


def test_days_were_asked_again_at_their_age(scenario: ScenarioResult) -> None:
    again = scenario.deployment.rows(
        "SELECT day FROM marts.videos WHERE study = 'garden' GROUP BY day HAVING min(n_observations) > 1 ORDER BY day"
    )
    assert again == [(date(2026, 2, 5),), (date(2026, 2, 6),)]


def test_red_was_the_killed_run_alone_and_it_was_taken_up(scenario: ScenarioResult) -> None:
    runs = scenario.deployment.runs()
    [killed] = [run for run in runs if run.status == dg.DagsterRunStatus.FAILURE]
    assert all(run.is_success for run in runs if run is not killed)
    assert killed.run_id in {run.parent_run_id for run in runs}
    alerts = scenario.deployment.settings.alerts.read_text()
    assert len(alerts.splitlines()) == 1, alerts
    assert "SIGKILL" in alerts
    assert "started once more by itself" in alerts


def test_the_marts_were_built_once_for_each_batch(scenario: ScenarioResult) -> None:
    builds = Counter(run.tags.get("dagster/sensor_name") for run in scenario.deployment.runs())[
        "build_marts_on_new_data"
    ]
    assert 2 <= builds <= len(scenario.sensor_messages)


def test_the_graph_shows_each_study_as_held(page: Page) -> None:
    # The graph draws what is in view only, so the view must hold all of it.
    page.browser.set_window_size(2400, 3000)
    try:
        page.open("/locations/research_assets/asset-groups/garden/lineage")
        page.wait_for_text("videos", "comments")
        page.wait_for_no_text("Loading...")
        page.screenshot("graph")
    finally:
        page.browser.set_window_size(1600, 1000)


@pytest.mark.parametrize("asset", ["garden/videos", "garden/comments", "kitchen/videos"])
def test_the_partition_bar_lacks_the_dead_day_alone(page: Page, asset: str) -> None:
    page.open(f"/assets/{asset}?view=partitions")
    page.wait_for_text("Materialized (59)", "Missing (1)", "Failed (0)", "Materializing (0)")
    page.screenshot(f"partitions-{asset.replace('/', '-')}")


def test_the_dead_day_says_why_and_when_it_is_tried_again(page: Page, scenario: ScenarioResult) -> None:
    [(reason, next_try)] = scenario.deployment.rows(
        f"SELECT reason, next_try_at FROM marts.coverage WHERE study = 'garden' AND partition_day = '{DEAD_DAY}' "
        "AND entity = 'videos'"
    )
    page.open(f"/assets/garden/videos?view=events&partition={DEAD_DAY}")
    page.read("quarantined", reason, f"{next_try:%Y-%m-%d %H:%M} UTC")
    page.screenshot("dead-day")


def test_the_checks_name_the_dead_day_and_nothing_else(page: Page, scenario: ScenarioResult) -> None:
    page.open("/assets/garden/videos?view=checks&checkDetail=all_units_settled")
    page.read("1 of 60 break the rule", DEAD_DAY.isoformat(), "quarantined")
    page.screenshot("checks")
    page.open("/assets/marts/coverage?view=checks&checkDetail=garden_has_no_failures")
    page.read(f"Broken now: 1 quarantined, such as videos {DEAD_DAY}")
    page.screenshot("broken")
    assert scenario.failing() == {
        f"{study}{check}"
        for study in ("garden", "kitchen")
        for check in ("/videos: all_units_settled", "_has_no_failures", "_is_complete")
    }


def test_the_automation_page_says_what_waits_until_when(page: Page, scenario: ScenarioResult) -> None:
    page.open("/automation")
    page.wait_for_text("quota_window", "build_marts_on_new_data", "alert_on_run_failure")
    page.screenshot("automation")
    page.open("/locations/research_assets/sensors/quota_window")
    # Not what was said when the story ended: a moment within a day is told without its date.
    page.read(next(tick.message for tick in scenario.deployment.ticks("quota_window", limit=5) if tick.message))
    page.screenshot("quota-window")
    page.open("/runs")
    page.wait_for_text("build_marts_on_new_data", "quota_window", "Success")
    page.screenshot("runs")


def test_no_tick_failed(scenario: ScenarioResult) -> None:
    for sensor in ("quota_window", "build_marts_on_new_data", "alert_on_run_failure"):
        assert {tick.status for tick in scenario.deployment.ticks(sensor)} <= {"SUCCESS", "SKIPPED"}, sensor
