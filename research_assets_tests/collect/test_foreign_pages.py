"""Pages of another search: they complete no day, and an ordinary page with lower-case regions is not one of them."""

from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets_tests.collect.harness import QUERY, CollectorHarness, days, study

GARDEN = study(query=QUERY)


async def test_sparse_pages_with_lower_case_regions_are_trusted(settings: Settings) -> None:
    # The last pages of single days have few hits, some uploaded days before; they once counted as another search's.
    harness = CollectorHarness(settings, SandboxConfig(profile="typical", p_fresh_search_id=0.1))
    for day in days(12):
        finished, _ = await harness.collect("videos", [day], GARDEN)
        assert finished[day].state == "complete", finished[day]


async def test_foreign_pages_complete_no_day_that_lacks_rows(settings: Settings) -> None:
    # Some of them are empty and end the search: then only the expected hits show that rows are missing.
    harness = CollectorHarness(
        settings, SandboxConfig(profile="typical", p_fresh_search_id=0.1, p_foreign_page=1.0, seed=9)
    )
    query = {group: list(conditions) for group, conditions in QUERY.items()}
    for day in days(12):
        finished, _ = await harness.collect("videos", [day], GARDEN)
        stored = {row[0] for row in harness.sql(f"SELECT id FROM {{videos}} WHERE day = DATE '{day}'")}
        missing = set(harness.app.ground_truth.videos(query, day, day)[day].deliverable) - stored
        assert not missing or finished[day].state != "complete"


async def test_gap_beside_pages_with_few_delivered_videos_is_trusted(settings: Settings) -> None:
    # Two thirds of the hits of these pages were withdrawn, so long gaps between two pages are usual.
    harness = CollectorHarness(
        settings,
        SandboxConfig(fixed_volume=6, volume_by_day={days(2)[1]: 30}, undeliverable=0.34, withdrawn_per_year=0.9),
    )
    finished, _ = await harness.collect("videos", days(2), page_size=20)
    assert [finished[day].state for day in days(2)] == ["complete", "complete"]
    assert harness.requests_sent == 2
