"""What the UI must say on the first evening: the quota is spent, most is missing, and nobody has to do anything."""

from research_assets_tests.browser.page import Page
from research_assets_tests.end_to_end.deployment import Deployment


def assert_ui_shows_pause(page: Page, deployment: Deployment) -> None:
    """Look at the sensor, the runs, a study's videos and its checks."""
    page.open("/locations/research_assets/sensors/quota_window")
    page.read("0 of 40 left", "opens 00:00 UTC")
    page.screenshot("paused-quota-window")

    page.open("/runs")
    page.wait_for_text("Re-execution", "Failure", "Success")
    page.screenshot("paused-runs")

    page.open("/assets/garden/videos?view=events")
    page.read("Paused, not failed", "takes them up from 2026-04-05 00:00 UTC", "nothing needs to be done")
    page.screenshot("paused-events")

    held = len(deployment.materialized("kitchen", "videos"))
    assert 0 < held < 59
    page.open("/assets/kitchen/videos?view=partitions")
    page.wait_for_text(f"Materialized ({held})", f"Missing ({60 - held})", "Failed (0)")
    page.screenshot("paused-partitions")

    page.open("/assets/marts/coverage?view=checks&checkDetail=kitchen_is_complete")
    page.read("units are not complete")
    page.screenshot("paused-checks")
