"""The warehouse as assets: an asset per dbt model and a check per dbt test, built together and published as one file.

Only this module starts dbt, and only dbt writes the warehouse. Assets that read it use the resource `warehouse`.

Not here: the specs of the models and tests (see dbt_specs.py), how dbt runs (see the package `warehouse`), and the
metadata of the tables (see warehouse_metadata.py).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import orjson

from research_assets.assets import warehouse_metadata
from research_assets.assets.check_reports import report_check_result
from research_assets.assets.dbt_specs import GROUP, UNIQUE_ID, dbt_specs, is_mart, source_tables
from research_assets.clock import Clock, SystemClock
from research_assets.settings import Settings
from research_assets.storage import raw_writer
from research_assets.text import log_text
from research_assets.warehouse import build, codebook, dbt_runner, shared_marts
from research_assets.warehouse.changes import scratch_path
from research_assets.warehouse.dbt_runner import NodeResult, prepare_manifest

__all__ = ["prepare_manifest", "warehouse_definitions"]

POOL = "tiktok_warehouse"
"""Concurrency pool of builds. All projects of an instance share the names of pools."""


class WarehouseConfig(dg.Config):
    """Options of one build in the launchpad.

    `full_refresh` builds all marts from scratch instead of an increment. A build also does so if an increment is not
    possible or fails.
    """

    full_refresh: bool = False


def warehouse_definitions(
    upstream: Mapping[str, Sequence[dg.AssetKey]],
    settings: Settings,
    *,
    pre_build: Callable[[], None] | None = None,
    clock: Clock | None = None,
) -> dg.Definitions:
    """Return all dbt models as assets and all dbt tests as checks.

    `upstream` contains the assets of all studies that write each raw table, by table; it may be empty. Each build
    starts with a call of `pre_build`, which writes the raw tables that no asset writes (`fields.WRITTEN_BY_BUILDS`).
    Parsing the dbt project takes seconds; it happens only if no stored manifest matches the project.
    """
    manifest = orjson.loads(prepare_manifest(settings).read_bytes())
    build_clock = clock or SystemClock()

    specs, check_specs = dbt_specs(manifest, upstream, settings.warehouse_prefix)
    specs.append(_codebook_spec(specs, settings.warehouse_prefix))

    @dg.multi_asset(
        name="warehouse",
        specs=specs,
        check_specs=check_specs,
        # Optional outputs: an increment does not run the tests of models that did not change. A build still builds all
        # models and reports all of them with their checks, whatever is selected.
        can_subset=True,
        pool=POOL,
        # A test of two models is a check of one model that refers to the other.
        allow_arbitrary_check_specs=True,
    )
    def warehouse(
        context: dg.AssetExecutionContext, config: WarehouseConfig
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        """Build all models in a file beside the warehouse, test them, and publish by one rename.

        The warehouse is one file, so a build always builds all models, for any selection: as an increment or a full
        refresh. Models are reported as materialized after they are published. If a model or test fails, the published
        warehouse does not change.
        """
        with build.build_lock(settings):
            raw_writer.ensure_tables(settings.raw)
            if pre_build is not None:
                pre_build()
            build_input, results = build.build_warehouse(
                settings, full_refresh=config.full_refresh, now=build_clock.now(), progress=context.log.log
            )
            failed, not_shared = [result for result in results if result.failed], ""
            samples = warehouse_metadata.failing_rows(settings, results)
            if not failed:
                keys = _asset_keys(context.assets_def, manifest, upstream)
                metadata = warehouse_metadata.model_metadata(
                    settings, manifest, results, keys, full_refresh=build_input.full_refresh_reason is not None
                )
                build.publish_warehouse(settings, build_input)
                context.log.info("Published %s", settings.warehouse)
                not_shared = _share_marts(settings)
        if not failed:
            yield from _materializations(context, metadata)
        yield from _check_results(context, check_specs, results, samples)
        if failed:
            raise _failure(settings, failed)
        if not_shared:
            raise dg.Failure(not_shared, allow_retries=False)

    return dg.Definitions(assets=[warehouse])


def _share_marts(settings: Settings) -> str:
    """Copy the marts for people who may read only them; returns why they could not be copied, if so."""
    try:
        shared_marts.share_marts(settings)
    except shared_marts.SharedMartsError as error:
        return str(error)
    return ""


def _codebook_spec(models: Sequence[dg.AssetSpec], prefix: Sequence[str]) -> dg.AssetSpec:
    """Return the spec of the codebook, which is counted from all marts after dbt has built them."""
    return dg.AssetSpec(
        [*prefix, "marts", warehouse_metadata.CODEBOOK],
        deps=[spec.key for spec in models if is_mart(spec.key)],
        description=codebook.DESCRIPTION,
        metadata={UNIQUE_ID: warehouse_metadata.CODEBOOK},
        skippable=True,
        group_name=f"{GROUP}/marts",
        kinds={"duckdb"},
    )


def _asset_keys(
    assets: dg.AssetsDefinition, manifest: Mapping[str, Any], upstream: Mapping[str, Sequence[dg.AssetKey]]
) -> dict[str, Sequence[dg.AssetKey]]:
    """Return the assets that have the columns of each model and source; no asset has the columns of `coverage`."""
    models = {unique_id: (key,) for unique_id, key in _by_unique_id(assets).items()}
    return models | {source: upstream.get(table, ()) for source, table in source_tables(manifest).items()}


def _by_unique_id(assets: dg.AssetsDefinition) -> dict[str, dg.AssetKey]:
    return {spec.metadata[UNIQUE_ID]: spec.key for spec in assets.specs}


def _materializations(
    context: dg.AssetExecutionContext, metadata: Mapping[str, dict[str, Any]]
) -> Iterator[dg.MaterializeResult[None]]:
    """Yield one event for each model, parents first; log an event for models that were built but not selected."""
    keys = _by_unique_id(context.assets_def)
    for unique_id, described in metadata.items():
        key = keys[unique_id]
        if key in context.selected_asset_keys:
            yield dg.MaterializeResult(asset_key=key, metadata=described)
        else:
            context.log_event(dg.AssetMaterialization(asset_key=key, metadata=described))


def _check_results(
    context: dg.AssetExecutionContext,
    check_specs: Iterable[dg.AssetCheckSpec],
    results: Iterable[NodeResult],
    samples: Mapping[str, dg.MarkdownMetadataValue],
) -> Iterator[dg.AssetCheckResult]:
    """Yield the results of the selected tests, and report those of the others, which ran as well.

    Without a result the UI shows the checks of all models that a build materialized as outdated.
    """
    ran = {result.unique_id: result for result in results if result.status != "skipped"}
    for spec in check_specs:
        test = ran.get((spec.metadata or {})[UNIQUE_ID])
        if test is None:
            continue
        found = _test_result(spec, test, samples.get(test.unique_id))
        if spec.key in context.selected_asset_check_keys:
            yield found
        else:
            report_check_result(context.instance, spec.key, found, blocking=spec.blocking)


def _test_result(
    spec: dg.AssetCheckSpec, test: NodeResult, sample: dg.MarkdownMetadataValue | None
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=test.status == "pass",
        asset_key=spec.asset_key,
        check_name=spec.name,
        severity=dg.AssetCheckSeverity.WARN if test.status == "warn" else dg.AssetCheckSeverity.ERROR,
        metadata={"failing rows": test.failures or 0, "duration (seconds)": round(test.seconds, 3)}
        | ({"sample": sample} if sample else {}),
    )


def _failure(settings: Settings, failed: Sequence[NodeResult]) -> dg.Failure:
    published = "did not change" if settings.warehouse.exists() else "does not exist yet"
    reasons = "\n".join(f"- {result.name}: {log_text(result.message.strip())}" for result in failed)
    return dg.Failure(
        f"The warehouse was built but not published, because {len(failed)} of its models or tests failed:\n{reasons}\n"
        f"The published warehouse {published}. To see the failing rows, open {settings.warehouse_build}, attach "
        f"{scratch_path(settings)} and run the SQL of the failed test from {dbt_runner.compiled_path(settings)}. "
        f"dbt's log is {dbt_runner.log_path(settings)}.",
        # A retry with the same data would fail again.
        allow_retries=False,
    )
