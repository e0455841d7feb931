"""Dagster's UI as a user sees it: the groups, the graph, and partitions materialized and backfilled by clicking."""

from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from research_assets.checks.rules import ALL_UNITS_SETTLED
from research_assets.checks.runner import run_rules
from research_assets.cli.ui import start_page
from research_assets.sandbox.config import SandboxConfig
from research_assets.storage import raw_writer
from research_assets.text import log_text, markdown_text
from research_assets_tests.browser.conftest import Ui
from research_assets_tests.browser.page import Page
from research_assets_tests.hostile import ALERT, HOSTILE

pytestmark = pytest.mark.timeout(900)

STUDY = ("videos", "comments", "users", "followers", "following", "liked_videos", "pinned_videos", "reposted_videos")


@pytest.fixture
def page(browser: Chrome, ui: Ui, tmp_path: Path) -> Page:
    return Page(browser, ui.url, tmp_path)


def test_one_mart_is_built_with_the_others_and_their_checks(page: Page) -> None:
    # The first test: Dagster asks for a confirmation, because nothing is materialized yet.
    page.open("/assets/marts/videos")
    page.click("Materialize")
    page.read("have not been materialized yet")
    page.click("Confirm")
    page.read("Launched run")
    page.follow("View")
    page.wait_for_text("Success")
    # A build tests all marts, so no other mart is without a verdict.
    page.go("/assets/marts/comments?view=checks")
    page.read("Passed")
    assert "Not evaluated" not in page.text, page.text
    page.go("/assets/marts/comments")
    page.read("Latest materialization", "ago")


def test_lineage_of_groups_is_a_path_from_the_study_to_its_results(page: Page) -> None:
    page.go("/asset-groups")
    page.wait_for_text("studies", "warehouse", "results", "Global asset lineage")


def test_printed_address_shows_the_graph_of_the_study(page: Page, ui: Ui) -> None:
    # The graph draws only visible nodes, so the window must be large enough for all of them.
    page.browser.set_window_size(3000, 2500)
    try:
        page.open(start_page([ui.study]))
        page.wait_for_text(*STUDY)
        # The badges of the nodes.
        page.read("simulated")
    finally:
        page.browser.set_window_size(1600, 1000)


def test_resources_show_their_configuration_and_users_without_secrets(page: Page) -> None:
    page.go("/locations/research_assets/resources/research_api")
    page.read(
        "ResearchApi", "TIKTOK_CLIENT_SECRET", "Env var", "Address of the API", "Maximum number of requests per second"
    )
    assert SandboxConfig().client_secret not in page.text
    page.go("/locations/research_assets/resources/warehouse/uses")
    page.read("report", "export")


def test_materialize_all_returns_a_past_week_and_collects_the_running_one(page: Page, ui: Ui) -> None:
    page.go(f"/assets/{ui.study}/users?view=partitions")
    page.wait_for_text("Missing (2)", "Failed (0)")
    page.click("Materialize")
    page.click("All", within="//*[@role='dialog']")
    page.click("Launch backfill", within="//*[@role='dialog']")
    page.read("Created backfill")
    page.go("/runs?view=backfills")
    page.wait_for_text("2 partitions", "Success")
    page.go(f"/assets/{ui.study}/users?view=partitions")
    page.wait_for_text("Materialized (2)", "Missing (0)", "Failed (0)")


def test_report_opens_from_its_asset(page: Page, ui: Ui) -> None:
    page.go(f"/assets/{ui.study}/report")
    page.follow("Open it")
    # A browser opens no local file from this page, so the reports have their own server. This one is not written yet.
    page.wait_for_text(
        "This report does not exist. To write it, materialize the asset report of the study in Dagster's UI, or run "
        "research-assets report."
    )


def test_user_materializes_a_day_in_the_ui(page: Page, ui: Ui) -> None:
    page.go(f"/assets/{ui.study}/videos?view=partitions")
    page.wait_for_text(f"Missing ({len(ui.days)})", *ui.days)
    page.click("Materialize")
    page.click("Latest", within="//*[@role='dialog']")
    page.click("Launch 1 run", within="//*[@role='dialog']")
    page.wait_for_text("Materialized (1)", f"Missing ({len(ui.days) - 1})")
    assert list((ui.data / "raw" / "videos" / f"study={ui.study}" / f"day={ui.days[-1]}").glob("*.parquet"))

    page.go("/runs")
    page.wait_for_text("Success", f"partition: {ui.days[-1]}")


def test_cell_of_the_coverage_board_shows_its_details_and_leads_to_its_partition(page: Page, ui: Ui) -> None:
    day = ui.days[0]
    row = {
        "entity": "videos", "partition": day, "unit_kind": "day", "unit": day, "state": "quarantined",
        "reason": "HTTP 500 internal_error.", "last_at": f"{day}T10:00:00Z", "kept": 0, "offered": 0,
    }  # fmt: skip
    raw_writer.write_rows(
        ui.data / "raw", "coverage", study=ui.study, day=date.fromisoformat(day), name="board", rows=[row]
    )

    page.go(f"/assets/{ui.study}/coverage_board")
    page.follow("Open it")
    # Nothing was materialized for it: the server renders the current data.
    page.wait_for_text(ui.study, "Days of publication", "Weeks of observation")
    page.read("As of 20", "Simulated data.")
    cell = page.browser.find_element("css selector", f'a[href$="/{ui.study}/videos?view=partitions&partition={day}"]')
    assert cell.text == "!"
    assert page.browser.execute_script(TOOLTIP, cell) == "none"
    ActionChains(page.browser).move_to_element(cell).perform()
    details = "0 of 1 unit settled, 0 rows", "Reason: HTTP 500 internal_error.", "Next try: when quota is available"
    tooltip = page.browser.execute_script(TOOLTIP, cell)
    assert f"videos {day}: quarantined" in tooltip
    assert all(line in tooltip for line in details), tooltip
    # The same with the keyboard: the cell before it is the heading of the row.
    page.browser.execute_script("document.activeElement.blur()")
    heading = page.browser.find_element("link text", "videos")
    ActionChains(page.browser).move_to_element(heading).perform()
    assert page.browser.execute_script(TOOLTIP, cell) == "none"
    page.browser.execute_script("arguments[0].focus()", heading)
    ActionChains(page.browser).send_keys(Keys.TAB).perform()
    assert page.browser.switch_to.active_element == cell
    assert "quarantined" in page.browser.execute_script(TOOLTIP, cell)
    assert page.browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    cell.click()
    # The details of the selected partition, which this data folder has not materialized.
    page.wait_for_text("Latest materialization", day)
    assert page.browser.current_url.startswith(f"{ui.url}/assets/{ui.study}/videos?view=partitions&partition={day}")


TOOLTIP = "return getComputedStyle(arguments[0], '::after').content"
"""Script that returns the text of the tooltip of a cell as it is shown; `none` without a tooltip."""


def test_user_backfills_a_range_in_the_ui(page: Page, ui: Ui) -> None:
    days = ui.days[2:6]
    dialog = "//*[@role='dialog']"
    page.go(f"/assets/{ui.study}/videos?view=partitions")
    page.click("Materialize")
    page.type_text(f"[{days[0]}...{days[-1]}]", within=dialog)
    page.wait_for_text(f"{len(days)} partitions", "Backfills all partitions in a single run.")
    page.click("Launch backfill", within=dialog)
    page.read("Created backfill")

    page.go("/runs?view=backfills")
    page.wait_for_text(f"{len(days)} partitions", "Success")
    page.follow("View")
    page.wait_for_text("Succeeded", f"{days[0]}...{days[-1]}", "100% completed")

    with dg.DagsterInstance.from_config(str(ui.data / "dagster")) as instance:
        materialized = instance.get_materialized_partitions(dg.AssetKey([ui.study, "videos"]))
        [run] = [run for run in instance.get_runs() if run.tags.get("dagster/asset_partition_range_start") == days[0]]
    assert set(days) <= materialized
    assert run.is_success
    for day in days:
        assert list((ui.data / "raw" / "videos" / f"study={ui.study}" / f"day={day}").glob("*.parquet"))
    page.go(f"/assets/{ui.study}/videos?view=partitions")
    page.wait_for_text(
        f"Materialized ({len(materialized)})", f"Missing ({len(ui.days) - len(materialized)})", "Failed (0)"
    )


def test_hostile_texts_are_inert_in_the_ui(page: Page, ui: Ui) -> None:
    """Report a check of hostile units and an observation as a run of the collector does, and open their pages."""
    key, day = dg.AssetKey([ui.study, "users"]), date.fromisoformat(ui.days[0])
    # The sample shows the first rows, so these are the texts with scripts, links and pictures.
    texts = sorted(HOSTILE, key=lambda text: (text != ALERT, "evil" not in text, "<" not in text))
    rows = [
        {
            "entity": "users", "partition": ui.days[0], "unit_kind": "account", "unit": f"{index:02} {text}",
            "state": "quarantined", "reason": text, "last_at": f"{ui.days[0]}T10:00:00Z",
        }
        for index, text in enumerate(one.replace("\x00", "") for one in texts)
    ]  # fmt: skip
    raw_writer.write_rows(ui.data / "raw", "coverage", study=ui.study, day=day, name="hostile", rows=rows)
    [(rule, result)] = run_rules(ui.data / "raw", ui.study, "users", [ALL_UNITS_SETTLED])
    assert not result.passed
    with dg.DagsterInstance.from_config(str(ui.data / "dagster")) as instance:
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=key, check_name=rule.name, passed=False, metadata=result.metadata,
                severity=dg.AssetCheckSeverity.WARN, description=result.description,
            )
        )  # fmt: skip
        reason = " ".join(text[:200] for text in texts)
        observation = dg.AssetObservation(
            key, description=markdown_text(reason, 4000), metadata={"reason": log_text(reason), "state": "quarantined"}
        )
        instance.report_runless_asset_event(observation)

    page.open(f"/assets/{ui.study}/users?view=checks&checkDetail={rule.name}")
    page.read("Failing rows", ALERT)
    _assert_inert(page)
    page.click("[Show Markdown]", element="a")
    page.read("evil.example", ALERT)
    _assert_inert(page)
    page.open(f"/assets/{ui.study}/users?view=events")
    page.read("quarantined", ALERT, "evil.example")
    _assert_inert(page)


def _assert_inert(page: Page) -> None:
    """Assert that no dialog is open and no element of the page leads or belongs to a stranger's text."""
    with pytest.raises(NoAlertPresentException):
        page.browser.switch_to.alert.accept()
    assert page.browser.execute_script(STRANGE_ELEMENTS) == []
    fetched = page.browser.execute_script("return performance.getEntriesByType('resource').map(one => one.name)")
    assert [address for address in fetched if "evil.example" in address] == []


STRANGE_ELEMENTS = """
return [...document.querySelectorAll('*')].filter(one =>
  [...one.attributes].some(({name, value}) => ['href', 'src'].includes(name) && /evil|^javascript:/.test(value)
    || /^on/.test(name) && /alert/.test(value))
  || one.tagName === 'SCRIPT' && /hostile/.test(one.textContent)
).map(one => one.outerHTML.slice(0, 200))
"""
