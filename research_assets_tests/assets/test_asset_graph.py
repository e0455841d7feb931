"""The asset graph of a study: keys, groups, partitions, dependencies, and the assets that an edit makes stale."""

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from research_assets import sandbox
from research_assets.checks import study_checks
from research_assets.clock import SystemClock
from research_assets.component import study_assets
from research_assets.fields import ENTITIES
from research_assets.partitions import partitions_def
from research_assets.resources import build_resources
from research_assets.settings import Settings
from research_assets.study.day_sample import DaySample
from research_assets.study.loader import read_study_file
from research_assets.study.spec import CommentRule, StudySpec, UserRule
from research_assets.units.periods import ObservedPeriods, current_period
from research_assets_tests.assets.harness import STUDY

DEMO = Path(sandbox.__path__[0]) / "studies" / "demo" / "defs.yaml"


def specs(study: StudySpec) -> dict[str, dg.AssetSpec]:
    return {spec.key.path[-1]: spec for asset in study_assets(study) for spec in asset.specs}


def keys(partitions: dg.PartitionsDefinition[str] | None, now: str) -> list[str]:
    assert isinstance(partitions, dg.TimeWindowPartitionsDefinition)
    return list(partitions.get_partition_keys(current_time=datetime.fromisoformat(now).replace(tzinfo=UTC)))


def test_study_has_all_nine_entities() -> None:
    [declared] = read_study_file(DEMO)
    assets = specs(replace(declared.spec, playlists=True))
    assert set(assets) == set(ENTITIES)
    for entity, spec in assets.items():
        assert spec.key == dg.AssetKey(["gardening", entity])
        assert spec.group_name == "studies/gardening"
        assert spec.skippable
        assert spec.tags["time_axis"] == ENTITIES[entity].time_axis
        assert spec.tags["quota_pool"] == ("follow" if entity in {"followers", "following"} else "research")
        first, *more = (spec.description or "").split("\n\n")
        assert first.endswith(".")
        assert len(first) <= 90
        assert not {"*", "`"} & set(first), "lists of assets show the first line without rendering Markdown"
        headings = ["**Grain:**", "**Partition:**", "**Cost:**", "**Re-run:**", "Terms:"]
        assert [part.partition(" ")[0] for part in more] == headings
        assert more[0] == f"**Grain:** {ENTITIES[entity].grain}."
        schema = spec.metadata["dagster/column_schema"]
        assert {"observed_at", "capture"} <= {column.name for column in schema.columns}
    parents = {entity: [dep.asset_key.path[-1] for dep in spec.deps] for entity, spec in assets.items()}
    assert {entity: names for entity, names in parents.items() if names} == {
        "comments": ["videos"],
        "users": ["videos"],
        "playlists": ["videos"],
    }


def test_only_videos_of_an_open_ended_study_can_become_stale() -> None:
    policies = {entity: spec.freshness_policy for entity, spec in specs(replace(STUDY, end=None)).items()}
    assert {entity for entity, policy in policies.items() if policy} == {"videos"}
    assert not any(spec.freshness_policy for spec in specs(STUDY).values())


def test_study_has_no_asset_for_entities_that_it_does_not_collect() -> None:
    study = replace(STUDY, comments=CommentRule("none"), users=UserRule("none"))
    assert set(specs(study)) == {"videos"}
    assert set(specs(replace(study, users=UserRule("panel"), panel=("a",)))) == set(ENTITIES) - {
        "comments",
        "playlists",
    }


def test_profiles_of_the_panel_do_not_depend_on_videos() -> None:
    assert not list(specs(replace(STUDY, users=UserRule("panel"), panel=("a",)))["users"].deps)


def test_definitions_of_a_study_are_loadable(settings: Settings) -> None:
    [declared] = read_study_file(DEMO)
    mart = dg.AssetSpec(["marts", "coverage"])
    defs = dg.Definitions(
        assets=[*study_assets(declared.spec), mart],
        asset_checks=study_checks(declared.spec),
        resources=dict(build_resources(settings)),
    )
    dg.Definitions.validate_loadable(defs)


def test_partitions_cover_the_study_up_to_now() -> None:
    closed, open_ended = specs(STUDY), specs(replace(STUDY, end=None, users=UserRule(), panel=("a",)))
    assert keys(closed["videos"].partitions_def, "2026-03-02") == [f"2026-02-{day:02}" for day in range(1, 11)]
    assert keys(closed["videos"].partitions_def, "2026-02-03T10:00") == ["2026-02-01", "2026-02-02"]
    sampled = replace(STUDY, end=date(2026, 2, 28), day_sample=DaySample(0.25, ("month",), 7))
    drawn = [str(day) for day in sampled.days_to(date(2026, 2, 28))]
    assert len(drawn) == 7
    assert keys(specs(sampled)["videos"].partitions_def, "2026-04-01") == drawn
    open_sample = partitions_def(replace(sampled, end=None), "videos")
    assert keys(open_sample, "2026-03-01") == drawn
    assert closed["comments"].partitions_def == closed["videos"].partitions_def
    assert keys(open_ended["videos"].partitions_def, "2026-02-13T00:30")[-1] == "2026-02-12"


def test_partitions_of_accounts_are_the_periods_that_hold_data_or_can_hold_some() -> None:
    study = replace(STUDY, end=None, users=UserRule())
    now = SystemClock().now()
    running = current_period(study, now)
    assert keys(specs(study)["users"].partitions_def, f"{now:%Y-%m-%dT%H:%M}") == [str(running)]

    def partitions(periods: ObservedPeriods, now: str, **changes: Any) -> list[str]:
        return keys(partitions_def(replace(study, **changes), "users", periods), now)

    weeks = ObservedPeriods(date(2026, 1, 26), None, (date(2026, 2, 2),))
    assert partitions(weeks, "2026-02-15T23:59") == ["2026-01-26", "2026-02-09"]
    ended = replace(weeks, last=date(2026, 2, 16))
    assert partitions(ended, "2026-06-01") == ["2026-01-26", "2026-02-09", "2026-02-16"]
    days = ObservedPeriods(date(2026, 2, 1), date(2026, 2, 4), (date(2026, 2, 3),))
    assert partitions(days, "2026-02-02T00:01", observe="daily") == ["2026-02-01", "2026-02-02"]
    assert partitions(days, "2026-06-01", observe="daily") == ["2026-02-01", "2026-02-02", "2026-02-04"]


def test_code_version_changes_with_the_requested_data_only() -> None:
    def versions(study: StudySpec) -> dict[str, str | None]:
        return {entity: spec.code_version for entity, spec in specs(study).items()}

    study = replace(STUDY, users=UserRule(), panel=("a",))
    before = versions(study)
    assert versions(replace(study, end=date(2027, 1, 1), quota_weight=3.0, settle_days=4)) == before
    other_query = {"and": ({"operation": "EQ", "field_name": "hashtag_name", "field_values": ["balcony"]},)}
    changed = {
        "query": versions(replace(study, query=other_query)),
        "panel": versions(replace(study, panel=("a", "b"))),
        "rule": versions(replace(study, comments=CommentRule("top", n=3))),
        "fields": versions(replace(study, fields={"users": ("display_name",)})),
    }
    stale = {edit: {entity for entity in before if after[entity] != before[entity]} for edit, after in changed.items()}
    panel = {"followers", "following", "liked_videos", "reposted_videos", "pinned_videos"}
    assert stale == {
        "query": {"videos", "comments", "users"},
        "panel": panel,
        "rule": {"comments"},
        "fields": {"users"},
    }
