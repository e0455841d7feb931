"""Pages of another search: they complete no day, and an ordinary page in lower case is none of them."""

from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets_tests.collect.harness import QUERY, CollectorHarness, days, study

GARDEN = study(query=QUERY)


async def test_quiet_nights_in_lower_case_are_believed(settings: Settings) -> None:
    # The last pages of single days held few hits, some uploaded days before, and were taken for another search's.
    harness = CollectorHarness(settings, SandboxConfig(profile="typical", p_fresh_search_id=0.1))
    for day in days(12):
        finished, _ = await harness.collect("videos", [day], GARDEN)
        assert finished[day].state == "complete", finished[day]


async def test_foreign_pages_complete_no_day_that_lacks_rows(settings: Settings) -> None:
    # Some of them are empty and end the search: then what is missing shows only in what was to be expected.
    harness = CollectorHarness(
        settings, SandboxConfig(profile="typical", p_fresh_search_id=0.1, p_foreign_page=1.0, seed=9)
    )
    query = {group: list(conditions) for group, conditions in QUERY.items()}
    for day in days(12):
        finished, _ = await harness.collect("videos", [day], GARDEN)
        held = {row[0] for row in harness.sql(f"SELECT id FROM {{videos}} WHERE day = DATE '{day}'")}
        missing = set(harness.app.truth.videos(query, day, day)[day].deliverable) - held
        assert not missing or finished[day].state != "complete"
