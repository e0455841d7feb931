"""Assertions on the UI of the first evening: the quota is used up, most data is missing, and no action is needed."""

from research_assets_tests.browser.page import Page
from research_assets_tests.end_to_end.deployment import Deployment


def assert_ui_shows_pause(page: Page, deployment: Deployment) -> None:
    """Check the pages of the sensor, the runs, a study's videos and its checks."""
    page.open("/locations/research_assets/sensors/quota_window")
    page.read("0 of 40 requests remaining", "available at 00:00 UTC")

    page.go("/runs")
    page.wait_for_text("Re-execution", "Failure", "Success")

    page.go("/assets/garden/videos?view=events")
    # At midnight, or at once if the last run of these videos ended with its own budget and another one had the rest.
    page.read("Paused, not failed", "The sensor quota_window resumes them from 2026-04-0", "no action is needed")

    n_materialized = len(deployment.materialized("kitchen", "videos"))
    assert 0 < n_materialized < 59, f"{n_materialized} days are materialized.\n{deployment.event_log()}"
    page.go("/assets/kitchen/videos?view=partitions")
    page.wait_for_text(f"Materialized ({n_materialized})", f"Missing ({60 - n_materialized})", "Failed (0)")

    page.go("/assets/marts/coverage?view=checks&checkDetail=kitchen_is_complete")
    page.read("units are not complete")
    page.leave()
