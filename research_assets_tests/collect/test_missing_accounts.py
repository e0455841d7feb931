"""Panel accounts without a profile: their videos show whether they were renamed; at most one search in four weeks."""

from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx

from research_assets.clock import week_of
from research_assets.collect.lists.missing_accounts import INTERVAL
from research_assets.collect.types import RequestBudget
from research_assets.compliance.forget import remove_items
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.study.spec import StudySpec, UserRule
from research_assets.units.targets import account_targets
from research_assets_tests.collect.harness import (
    CollectorHarness,
    TamperingTransport,
    change_data,
    days,
    error_response,
    study,
)
from research_assets_tests.collect.test_pseudonymous import KEY, PANEL, PSEUDONYM, STUDY, pseudonymous, settings_of
from research_assets_tests.compliance.data_folder import find

GARDEN = {"and": ({"operation": "EQ", "field_name": "hashtag_name", "field_values": ["gardening"]},)}


def spec_of(names: list[str]) -> StudySpec:
    return study(query=GARDEN, panel=tuple(names), users=UserRule("panel"))


async def collected(settings: Settings) -> tuple[CollectorHarness, list[str]]:
    """Return a harness that collected two days of videos, and the three accounts with the most of them."""
    harness = CollectorHarness(settings, SandboxConfig(profile="clean"))
    await harness.collect("videos", days(2), study(query=GARDEN))
    counts = Counter(name for (name,) in harness.sql("SELECT username FROM {videos}"))
    harness.clock.advance(weeks=1)
    return harness, [name for name, _ in counts.most_common(3)]


def this_week(harness: CollectorHarness) -> date:
    return week_of(harness.clock.now().date())


def followed(harness: CollectorHarness) -> dict[str, tuple[Any, ...]]:
    rows = harness.sql(
        "SELECT unit, state, reason, requests, next_try - last_at FROM {coverage} WHERE unit_kind = 'rename' "
        "AND entity = 'videos'"
    )
    return {unit: tuple(values) for unit, *values in rows}


def n_searches(harness: CollectorHarness) -> int:
    return len(harness.sql("SELECT 1 FROM {coverage} WHERE unit_kind = 'rename'"))


async def test_missing_accounts_are_renamed_or_gone(settings: Settings) -> None:
    harness, (renamed, gone, present) = await collected(settings)
    harness.app.world.renamed[renamed] = "new_name"
    harness.app.world.removed.add(gone)
    spec = spec_of([renamed, gone, present, "sandbox_missing"])
    finished, pause = await harness.collect("users", [this_week(harness)], spec)
    assert pause is None
    assert finished[this_week(harness)].units["missing"] == 3
    found = followed(harness)
    # No video of the last one is known, and the profile of the third was returned.
    assert set(found) == {renamed, gone}
    assert found[renamed][0] == "complete"
    assert "has the handle new_name now" in found[renamed][1]
    assert "add new_name to the panel of the study file" in found[renamed][1]
    assert "add the line `follow_renames: true` below `panel:`" in found[renamed][1]
    assert found[gone][0] == "missing"
    assert "deleted, banned or made private" in found[gone][1]
    # Both accounts were searched for with one request.
    assert sum(one[2] for one in found.values()) == 1
    assert {one[3] for one in found.values()} == {INTERVAL}
    handles = harness.sql(
        "SELECT count(DISTINCT id) FROM {videos} AS old JOIN {videos} AS new USING (id) "
        f"WHERE old.username = '{renamed}' AND new.username = 'new_name'"
    )
    assert handles[0][0] > 0


def observed(harness: CollectorHarness, entity: str) -> list[tuple[Any, ...]]:
    return harness.sql(
        f"SELECT partition, unit, state FROM {{coverage}} WHERE entity = '{entity}' AND unit_kind = 'account' "
        "AND state NOT IN ('not_asked') ORDER BY partition, last_at"
    )


async def test_renamed_account_is_observed_under_its_new_handles(settings: Settings) -> None:
    harness, (name, other, withdrawn) = await collected(settings)
    spec = replace(spec_of([name, other, withdrawn]), follow_renames=True)
    first = this_week(harness)
    await harness.collect("followers", [first], spec)
    harness.app.world.renamed[name] = "new_name"
    await harness.collect("users", [first], spec)
    assert "follows renames" in followed(harness)[name][1]
    # The followers were observed under the old handle in this period; the profile was not.
    await harness.collect("followers", [first], spec)
    await harness.collect("users", [first], spec)
    assert [unit for _, unit, _ in observed(harness, "followers")].count("new_name") == 0
    assert (first, "new_name", "complete") in observed(harness, "users")
    harness.clock.advance(weeks=1)
    second = this_week(harness)
    for entity in ("users", "followers"):
        before = harness.requests_sent
        await harness.collect(entity, [second], spec)
        assert {unit for day, unit, _ in observed(harness, entity) if day == second} == {"new_name", other, withdrawn}
        assert harness.requests_sent > before
        before = harness.requests_sent
        await harness.collect(entity, [second], spec)
        assert harness.requests_sent == before
    # Renamed again, with both handles in the panel.
    harness.clock.advance(weeks=1)
    harness.app.world.renamed[name] = "newest_name"
    both = replace(spec, panel=(*spec.panel, "new_name"))
    for _ in range(2):
        await harness.collect("users", [this_week(harness)], both)
    third = [row[1:] for row in observed(harness, "users") if row[0] == this_week(harness)]
    assert sorted(third) == sorted(
        [("new_name", "missing"), ("newest_name", "complete"), (other, "complete"), (withdrawn, "complete")]
    )
    assert [one.unit for one in account_targets(settings.raw, spec, "users")] == ["newest_name", other, withdrawn]
    # Without the key the handle of the study file is requested.
    assert account_targets(settings.raw, replace(spec, follow_renames=False), "users")[0].unit == name
    remove_items(settings, harness.clock.now, handles=["newest_name"])
    assert "newest_name" not in [one.unit for one in account_targets(settings.raw, spec, "users")]


async def test_missing_accounts_are_not_searched_for_each_week(settings: Settings) -> None:
    harness, (renamed, *_) = await collected(settings)
    harness.app.world.renamed[renamed] = "new_name"
    spec = spec_of([renamed])
    numbers = []
    for _ in range(6):
        await harness.collect("users", [this_week(harness)], spec)
        numbers.append(n_searches(harness))
        harness.clock.advance(weeks=1)
    assert numbers == [1, 1, 1, 1, 2, 2]


async def test_empty_search_proves_nothing(settings: Settings) -> None:
    harness, (gone, *_) = await collected(settings)
    harness.app.world.removed.add(gone)

    def empty(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        return change_data(response, videos=[], has_more=False) if "video/query" in request.url.path else None

    spec = spec_of([gone])
    transport = TamperingTransport(harness, empty)
    await harness.collect("users", [this_week(harness)], spec, transport=transport)
    (state, reason, requests, wait) = followed(harness)[gone]
    assert (state, requests, wait) == ("suspicious", 2, timedelta(days=1))
    assert "nothing is known" in reason


async def test_complete_panel_costs_no_search(settings: Settings) -> None:
    harness, names = await collected(settings)
    await harness.collect("users", [this_week(harness)], spec_of(names))
    assert followed(harness) == {}


async def test_used_budget_leaves_the_search_for_the_next_run(settings: Settings) -> None:
    harness, (renamed, *_) = await collected(settings)
    harness.app.world.renamed[renamed] = "new_name"
    spec = spec_of([renamed])
    await harness.collect("users", [this_week(harness)], spec, budget=RequestBudget(1))
    assert followed(harness) == {}
    await harness.collect("users", [this_week(harness)], spec)
    assert set(followed(harness)) == {renamed}


async def test_pseudonymous_study_stores_no_handle_of_a_renamed_account(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "data", pseudonym_key=KEY)
    spec = pseudonymous(tmp_path / "studies", settings, STUDY)["garden"]
    harness = CollectorHarness(settings, SandboxConfig(profile="clean"))
    await harness.collect("videos", days(2), spec)
    present = {name for (name,) in harness.sql("SELECT username FROM {videos}")}
    name = next(one for one in PANEL if PSEUDONYM(one) in present)
    harness.clock.advance(weeks=1)
    harness.app.world.renamed[name] = "brand_new.name"
    await harness.collect("users", [this_week(harness)], spec)
    state, reason, *_ = followed(harness)[PSEUDONYM(name)]
    assert state == "complete"
    assert f"has the handle {PSEUDONYM('brand_new.name')} now" in reason
    assert find(settings.root, ("brand_new.name",)) == []


async def test_page_before_an_error_is_kept(settings: Settings) -> None:
    harness, (renamed, *_) = await collected(settings)
    harness.app.world.renamed[renamed] = "new_name"
    n_searched = 0

    def fail_after_a_page(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        nonlocal n_searched
        if b"video_id" not in request.content or "video/query" not in str(request.url):
            return None
        n_searched += 1
        if n_searched > 1:
            return error_response(response, 500, "internal_error", "busy")
        data = response.json()["data"]
        own = [one for one in data["videos"] if one["username"] == "new_name"][:1]
        return change_data(response, videos=own, has_more=True, cursor=1, search_id="1")

    transport = TamperingTransport(harness, fail_after_a_page)
    await harness.collect("users", [this_week(harness)], spec_of([renamed]), transport=transport)
    assert n_searched > 1
    # The search proves nothing about the account, but its video was paid for.
    assert not followed(harness)
    assert harness.sql("SELECT count(*) FROM {videos} WHERE username = 'new_name'") == [(1,)]
