"""The asset checks of a study: on the raw tables after each run, and on the published warehouse.

A check reads and reports. It sends no request and changes nothing, except that damaged raw tables are built again from
their captures. Without data every check passes. The rules are data (see rules.py), `runner.py` runs them, and here they
become Dagster's checks. Not here: tests of the dbt models such as keys, relations and accepted values (see
dbt_project/).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import get_args

import dagster as dg
from dagster_duckdb import DuckDBResource

from research_assets.checks import study_health
from research_assets.checks.rules import rules
from research_assets.checks.runner import run_rules
from research_assets.compliance.retention import WARNING_TIME, deletion_notice
from research_assets.planning.inputs import study_entities
from research_assets.quota.server_time import server_clock_or_local
from research_assets.report.provenance import COVERS
from research_assets.resources import CollectorResource
from research_assets.study.spec import StudySpec
from research_assets.text import markdown_text
from research_assets.warehouse.verify_files import SHARE_DAYS, FindingKind, verify_files

__all__ = ["FILES_CHECK", "blocking_check_keys", "check_keys", "coverage_mart", "files_check", "study_checks"]

FILES_CHECK = "files_are_intact"
"""Name of the check of all stored files, of which each run reads a share."""


PROVENANCE_CHECK = "study_is_unchanged"
"""Name of the check of a study's videos that compares the study file with that of the first collection."""


def coverage_mart(prefix: Sequence[str] = ()) -> dg.AssetKey:
    """Return the key of the mart with one row per unit. `prefix` is that of the warehouse's keys."""
    return dg.AssetKey([*prefix, "marts", "coverage"])


def study_checks(study: StudySpec, prefix: Sequence[str] = ()) -> list[dg.AssetChecksDefinition]:
    """Return the checks of one study. `prefix` is that of the warehouse's keys."""
    coverage = coverage_mart(prefix)
    return [
        *(_entity_checks(study, entity) for entity in study_entities(study)),
        _completeness_check(study, coverage),
        _failures_check(study, coverage),
        _provenance_check(study),
        *([_retention_check(study, coverage)] if study.delete_after is not None else []),
    ]


def check_keys(study: StudySpec, prefix: Sequence[str] = ()) -> list[dg.AssetCheckKey]:
    """Return the keys of all checks of a study, without the cost of building the checks a second time."""
    return [
        *(
            dg.AssetCheckKey(dg.AssetKey([study.name, entity]), rule.name)
            for entity in study_entities(study)
            for rule in rules(study, entity)
        ),
        dg.AssetCheckKey(dg.AssetKey([study.name, "videos"]), PROVENANCE_CHECK),
        *(
            dg.AssetCheckKey(coverage_mart(prefix), name)
            for name in (
                _completeness_check_name(study),
                _failures_check_name(study),
                *([_retention_check_name(study)] if study.delete_after is not None else []),
            )
        ),
    ]


def blocking_check_keys(study: StudySpec) -> list[dg.AssetCheckKey]:
    """Return the keys of the checks that prevent a build of the marts while they fail."""
    return [
        dg.AssetCheckKey(dg.AssetKey([study.name, entity]), rule.name)
        for entity in study_entities(study)
        for rule in rules(study, entity)
        if rule.blocking
    ]


MAX_LISTED_FINDINGS = 10
"""Number of findings in the description of `FILES_CHECK`; its metadata has all of them."""


def files_check(prefix: Sequence[str] = ()) -> dg.AssetChecksDefinition:
    """Return the check of all stored files. `prefix` is that of the warehouse's keys."""

    @dg.asset_check(
        asset=coverage_mart(prefix),
        name=FILES_CHECK,
        description=(
            "Every stored file of the share of today has the content that was written.\n\n"
            f"Reads captures, raw tables, ledger and warehouse. The shares of {SHARE_DAYS} days cover all files. "
            "Builds damaged raw tables again from their captures. To check all files at once, run "
            "`research-assets verify-files`."
        ),
    )
    def check(research_api: dg.ResourceParam[CollectorResource]) -> dg.AssetCheckResult:
        return _files_result(research_api)

    return check


def _files_result(collector: CollectorResource) -> dg.AssetCheckResult:
    """Verify the share of today."""
    result = verify_files(collector.settings, collector.clock.now().date())
    counts = Counter(finding.kind for finding in result.findings)
    metadata = {
        "files read": result.files,
        "size (MiB)": round(result.size / 2**20, 1),
        **{kind: counts[kind] for kind in get_args(FindingKind)},
    }
    if not result.findings:
        return dg.AssetCheckResult(passed=True, metadata=metadata)
    rows = [(finding.kind, finding.message) for finding in result.findings]
    return dg.AssetCheckResult(
        passed=False,
        severity=dg.AssetCheckSeverity.ERROR if counts["damaged"] or counts["not read"] else dg.AssetCheckSeverity.WARN,
        description="\n".join(f"{kind}: {markdown_text(message)}" for kind, message in rows[:MAX_LISTED_FINDINGS]),
        metadata=metadata | {"findings": dg.MetadataValue.json([list(row) for row in rows])},
    )


def _entity_checks(study: StudySpec, entity: str) -> dg.AssetChecksDefinition:
    """Return all rules of an entity as one step, because each step of a run has a fixed cost."""
    asset = dg.AssetKey([study.name, entity])
    rule_of = {rule.name: rule for rule in rules(study, entity)}

    @dg.multi_asset_check(
        name=f"{study.name}__{entity}_checks",
        specs=[
            dg.AssetCheckSpec(rule.name, asset=asset, description=rule.description, blocking=rule.blocking)
            for rule in rule_of.values()
        ],
        can_subset=True,
    )
    def check(
        context: dg.AssetCheckExecutionContext, research_api: dg.ResourceParam[CollectorResource]
    ) -> Iterator[dg.AssetCheckResult]:
        selected = [rule_of[key.name] for key in sorted(context.selected_asset_check_keys)]
        for rule, result in run_rules(research_api.settings.raw, study.name, entity, selected):
            yield result._replace(asset_key=asset, check_name=rule.name)

    return check


def _completeness_check_name(study: StudySpec) -> str:
    return f"{study.name}_is_complete"


def _failures_check_name(study: StudySpec) -> str:
    return f"{study.name}_has_no_failures"


def _retention_check_name(study: StudySpec) -> str:
    return f"{study.name}_is_within_retention"


def _completeness_check(study: StudySpec, coverage: dg.AssetKey) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=coverage,
        name=_completeness_check_name(study),
        description=(
            f"Every expected unit of {study.name} is complete, refused, missing or too fresh. Terms: docs/glossary.md"
        ),
    )
    def check(warehouse: DuckDBResource) -> dg.AssetCheckResult:
        return study_health.completeness_result(warehouse, study.name)

    return check


def _failures_check(study: StudySpec, coverage: dg.AssetKey) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=coverage,
        name=_failures_check_name(study),
        description=(
            f"No unit of {study.name} is quarantined or suspicious, no journal is stalled, and every capture is intact "
            "and loaded into the raw tables. Lists the present problems, oldest first. Terms: docs/glossary.md"
        ),
    )
    def check(research_api: dg.ResourceParam[CollectorResource]) -> dg.AssetCheckResult:
        return study_health.failures_result(
            research_api.settings,
            study.name,
            server_clock_or_local(research_api.settings, research_api.clock).now(),
        )

    return check


def _provenance_check(study: StudySpec) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=dg.AssetKey([study.name, "videos"]),
        name=PROVENANCE_CHECK,
        description=(
            "The study file defines the same data as when the first data were stored. Lists later changes, and how "
            f"many days were collected until then. {COVERS}"
        ),
    )
    def check(research_api: dg.ResourceParam[CollectorResource]) -> dg.AssetCheckResult:
        return study_health.provenance_result(research_api.settings, study)

    return check


def _retention_check(study: StudySpec, coverage: dg.AssetKey) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=coverage,
        name=_retention_check_name(study),
        description=(
            f"The data of {study.name} need not be deleted within {WARNING_TIME.days} days. The last day of retention "
            f"is {study.delete_after} (UTC)."
        ),
    )
    def check(research_api: dg.ResourceParam[CollectorResource]) -> dg.AssetCheckResult:
        now = server_clock_or_local(research_api.settings, research_api.clock).now()
        notice = deletion_notice(study, now.date())
        if notice is None:
            return dg.AssetCheckResult(passed=True)
        severity = dg.AssetCheckSeverity.ERROR if notice.is_overdue else dg.AssetCheckSeverity.WARN
        return dg.AssetCheckResult(passed=False, severity=severity, description=markdown_text(notice.text))

    return check
