"""What a person sees and does in Dagster's UI: the graph from a study to the marts, and a day collected by clicking."""

from pathlib import Path

import dagster as dg
import pytest
from selenium.webdriver import Chrome

from research_assets_tests.browser.conftest import Ui
from research_assets_tests.browser.page import Page

pytestmark = pytest.mark.timeout(900)

STUDY = ("videos", "comments", "users", "followers", "following", "liked_videos", "pinned_videos", "reposted_videos")
MARTS = ("videos", "video_observations", "user_observations", "follows", "engagements", "study_days", "coverage", "creators")


@pytest.fixture
def page(browser: Chrome, ui: Ui, tmp_path: Path) -> Page:
    return Page(browser, ui.url, tmp_path)


def test_the_graph_shows_the_study_and_the_warehouse(page: Page, ui: Ui) -> None:
    page.open("/asset-groups")
    page.wait_for_text(ui.study, "warehouse", "Global asset lineage")
    page.screenshot("groups")


@pytest.mark.parametrize(("group", "assets"), [("gardening", STUDY), ("warehouse", MARTS)])
def test_each_group_shows_its_assets(page: Page, group: str, assets: tuple[str, ...]) -> None:
    # The graph draws what is in view only, so the view must hold all of it.
    page.browser.set_window_size(6000, 5000)
    try:
        page.open(f"/locations/research_assets/asset-groups/{group}/lineage")
        page.wait_for_text(*assets)
        page.screenshot(group)
    finally:
        page.browser.set_window_size(1600, 1000)


def test_a_report_opens_from_its_asset(page: Page, ui: Ui) -> None:
    page.open(f"/assets/{ui.study}/report")
    page.follow("Open it")
    # A browser opens no file from here, so reports are served beside the UI; this one is not written yet.
    page.wait_for_text(
        "There is no such report. Write it: materialize the asset report of the study in Dagster's UI, or run "
        "research-assets report."
    )
    page.screenshot("no-report")


def test_a_day_is_materialized_by_clicking(page: Page, ui: Ui) -> None:
    page.open(f"/assets/{ui.study}/videos?view=partitions")
    page.wait_for_text(f"Missing ({len(ui.days)})", *ui.days)
    page.click("Materialize")
    page.click("Latest", within="//*[@role='dialog']")
    page.screenshot("dialog")
    page.click("Launch 1 run", within="//*[@role='dialog']")
    page.wait_for_text("Materialized (1)", f"Missing ({len(ui.days) - 1})")
    page.screenshot("materialized")
    assert list((ui.data / "raw" / "videos" / f"study={ui.study}" / f"day={ui.days[-1]}").glob("*.parquet"))

    page.open("/runs")
    page.wait_for_text("Success", f"partition: {ui.days[-1]}")
    page.screenshot("runs")


def test_a_range_is_backfilled_by_clicking(page: Page, ui: Ui) -> None:
    wanted = ui.days[2:6]
    dialog = "//*[@role='dialog']"
    page.open(f"/assets/{ui.study}/videos?view=partitions")
    page.click("Materialize")
    page.type_text(f"[{wanted[0]}...{wanted[-1]}]", within=dialog)
    page.wait_for_text(f"{len(wanted)} partitions", "Backfills all partitions in a single run.")
    page.screenshot("backfill-dialog")
    page.click("Launch backfill", within=dialog)

    page.open("/runs?view=backfills")
    page.wait_for_text(f"{len(wanted)} partitions", "Success")
    page.screenshot("backfills")
    page.follow("View")
    page.wait_for_text("Succeeded", f"{wanted[0]}...{wanted[-1]}", "100% completed")
    page.screenshot("backfill")

    with dg.DagsterInstance.from_config(str(ui.data / "dagster")) as instance:
        held = instance.get_materialized_partitions(dg.AssetKey([ui.study, "videos"]))
        [run] = [run for run in instance.get_runs() if "dagster/backfill" in run.tags]
    assert set(wanted) <= held
    assert run.is_success
    for day in wanted:
        assert list((ui.data / "raw" / "videos" / f"study={ui.study}" / f"day={day}").glob("*.parquet"))
    page.open(f"/assets/{ui.study}/videos?view=partitions")
    page.wait_for_text(f"Materialized ({len(held)})", f"Missing ({len(ui.days) - len(held)})", "Failed (0)")
    page.screenshot("partitions")
