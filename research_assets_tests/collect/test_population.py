"""Random draws on the sandbox: an estimate that agrees with the truth, resumed and computed again from its capture."""

from typing import Any

import pytest

from research_assets.collect.population import draw_population, open_draws, read_populations
from research_assets.compliance.forget import remove_items
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.storage.captures import list_sealed_files, read_events
from research_assets.study.spec import StudySpec
from research_assets_tests.collect.harness import START, CollectorHarness, study

STUDY = study()


@pytest.fixture
def harness(settings: Settings) -> CollectorHarness:
    return CollectorHarness(settings, SandboxConfig(fixed_volume=1000, profile="clean", undeliverable=0.1))


def truth(harness: CollectorHarness, spec: StudySpec) -> int:
    query = {group: list(conditions) for group, conditions in spec.query.items()}
    return len(harness.app.ground_truth.videos(query, START, START)[START].deliverable)


async def test_estimate_agrees_with_the_truth_and_is_replayed(harness: CollectorHarness) -> None:
    context = harness.tools()
    async with context.client:
        result = await draw_population(STUDY, START, 12, context)
    assert result.stop is None
    population = result.population
    assert population is not None
    found = population.estimate
    assert harness.requests_sent == population.n_requests == found.n_draws == 12
    assert found.high is not None
    assert found.low < truth(harness, STUDY) == 900 < found.high
    assert (population.study, population.day) == (STUDY.name, START)
    assert all(p is None or p > 0.001 for p in (population.p_hour, population.p_region, population.p_length))
    # The capture alone has the estimate; it has no name and no text.
    assert [*read_populations(harness.settings)] == [population]
    assert not (harness.settings.captures / "videos").exists()
    assert harness.ledger.pool_state("research").used == 12


async def test_draws_that_the_quota_interrupted_are_resumed(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig(fixed_volume=1000, profile="clean", research_cap=5))
    context = harness.tools()
    async with context.client:
        result = await draw_population(STUDY, START, 8, context)
        assert result.population is None
        assert result.stop is not None
        assert result.n_draws == 5
        assert open_draws(harness.settings, STUDY, START, 8) == 5
        assert open_draws(harness.settings, STUDY, START, 9) is None
        assert [*read_populations(harness.settings)] == []
        harness.clock.moment = result.stop.retry_at
        result = await draw_population(STUDY, START, 8, context)
    assert result.population is not None
    assert result.population.estimate.n_draws == 8
    assert open_draws(harness.settings, STUDY, START, 8) is None


async def test_withdrawn_videos_leave_the_draws(harness: CollectorHarness) -> None:
    context = harness.tools()
    async with context.client:
        result = await draw_population(STUDY, START, 3, context)
    [sealed] = list_sealed_files(harness.settings.population / "captures")
    drawn = [row["id"] for event in read_events(sealed) if event["event"] == "page" for row in _rows(event)]
    assert result.population is not None
    assert result.population.estimate.n_distinct == len(set(drawn))
    [receipt] = remove_items(harness.settings, harness.clock.now, videos=[drawn[0]])
    assert not receipt.problems
    [population] = read_populations(harness.settings)
    assert population.estimate.n_distinct == len(set(drawn)) - 1
    assert str(drawn[0]) not in "".join(str(event) for event in read_events(sealed))


def _rows(event: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in event["answer"]["data"]["videos"] if row]
