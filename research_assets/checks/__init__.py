"""What must hold for the data of a study, looked at after each run: in the raw tables, and in the published warehouse.

A check reads and judges, it mends nothing and asks nothing. Without data there is nothing wrong. What dbt can say
about its own models (keys, relations, values) is tested there. The rules are in `rules.py`; here they become Dagster's.
"""

from collections.abc import Iterator

import dagster as dg
from dagster_duckdb import DuckDBResource

from research_assets.checks import study_health
from research_assets.checks.rules import rules
from research_assets.checks.runner import run_rules
from research_assets.planning.inputs import study_entities
from research_assets.quota.server_time import server_clock_or_local
from research_assets.resources import CollectorResource
from research_assets.study.spec import StudySpec

__all__ = ["COVERAGE_MART", "blocking_check_keys", "check_keys", "study_checks"]

COVERAGE_MART = dg.AssetKey(["marts", "coverage"])
"""The mart with one row per unit of work."""


def study_checks(study: StudySpec) -> list[dg.AssetChecksDefinition]:
    """The checks of one study."""
    return [
        *(_entity_checks(study, entity) for entity in study_entities(study)),
        _completeness_check(study),
        _failures_check(study),
    ]


def blocking_check_keys(study: StudySpec) -> list[dg.AssetCheckKey]:
    """The checks of a study that hold the marts back while they fail."""
    return [
        dg.AssetCheckKey(dg.AssetKey([study.name, entity]), rule.name)
        for entity in study_entities(study)
        for rule in rules(study, entity)
        if rule.blocking
    ]


def check_keys(study: StudySpec) -> list[dg.AssetCheckKey]:
    """All checks of a study, without making them: loading everything should not cost twice."""
    return [
        *(
            dg.AssetCheckKey(dg.AssetKey([study.name, entity]), rule.name)
            for entity in study_entities(study)
            for rule in rules(study, entity)
        ),
        *(
            dg.AssetCheckKey(COVERAGE_MART, name)
            for name in (_completeness_check_name(study), _failures_check_name(study))
        ),
    ]


def _entity_checks(study: StudySpec, entity: str) -> dg.AssetChecksDefinition:
    """All rules of an entity in one step: each step of a run has a price of its own."""
    asset = dg.AssetKey([study.name, entity])
    held = {rule.name: rule for rule in rules(study, entity)}

    @dg.multi_asset_check(
        name=f"{study.name}__{entity}_checks",
        specs=[
            dg.AssetCheckSpec(rule.name, asset=asset, description=rule.description, blocking=rule.blocking)
            for rule in held.values()
        ],
        can_subset=True,
    )
    def check(
        context: dg.AssetCheckExecutionContext, collector: dg.ResourceParam[CollectorResource]
    ) -> Iterator[dg.AssetCheckResult]:
        wanted = [held[key.name] for key in sorted(context.selected_asset_check_keys)]
        for rule, result in run_rules(collector.settings.raw, study.name, entity, wanted):
            yield result._replace(asset_key=asset, check_name=rule.name)

    return check


def _completeness_check_name(study: StudySpec) -> str:
    return f"{study.name}_is_complete"


def _failures_check_name(study: StudySpec) -> str:
    return f"{study.name}_has_no_failures"


def _completeness_check(study: StudySpec) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=COVERAGE_MART,
        name=_completeness_check_name(study),
        description=f"All that {study.name} wants is held, refused, not there, or not due yet.",
    )
    def check(warehouse: DuckDBResource) -> dg.AssetCheckResult:
        return study_health.completeness_result(warehouse, study.name)

    return check


def _failures_check(study: StudySpec) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=COVERAGE_MART,
        name=_failures_check_name(study),
        description=(
            f"No unit of {study.name} is quarantined or suspicious, no journal was left unfinished, and every capture "
            "is whole and in the tables. Lists what is broken now, and for how long."
        ),
    )
    def check(collector: dg.ResourceParam[CollectorResource]) -> dg.AssetCheckResult:
        return study_health.failures_result(
            collector.settings, study.name, server_clock_or_local(collector.settings, collector.clock).now()
        )

    return check
