"""The warehouse as assets: every dbt model an asset, every dbt test a check, built together and published as one file.

Nothing but this module starts dbt, and nothing but dbt writes the warehouse; whoever reads it in Dagster takes the
resource `warehouse`. How dbt runs is in `_dbt.py`, what is said about its tables in `_dbt_events.py`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import orjson
from dagster_dbt import DagsterDbtTranslator, DbtProject

from research_assets.assets import warehouse_metadata
from research_assets.clock import Clock, SystemClock
from research_assets.settings import Settings
from research_assets.storage import raw_writer
from research_assets.warehouse import build, dbt_runner
from research_assets.warehouse.changes import scratch_path
from research_assets.warehouse.dbt_runner import NodeResult, prepare_manifest

__all__ = ["prepare_manifest", "warehouse_definitions"]

GROUP = "warehouse"
POOL = "warehouse"
UNIQUE_ID = "dagster_dbt/unique_id"
"""Under this key dagster-dbt keeps the id of the model or test in the metadata of its spec."""


class WarehouseConfig(dg.Config):
    """What a person may ask of one build in the launchpad.

    `whole` builds everything anew instead of taking in what came since; by itself a build does so where it has to.
    """

    full_refresh: bool = False


class WarehouseTranslator(DagsterDbtTranslator):
    """Puts the models into one group and, in the place of dbt's sources, the assets that fill them."""

    def __init__(self, upstream: Mapping[str, Sequence[dg.AssetKey]]) -> None:
        super().__init__()
        self._upstream = upstream

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        """The spec of a model; a staging model depends on the collected assets of every study."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        sources = _source_tables(manifest)
        node = manifest["nodes"].get(unique_id)
        if node is None:
            return spec
        collected = {
            key
            for parent in node["depends_on"].get("nodes", ())  # a seed has none
            if parent in sources
            for key in upstream_assets(sources[parent], self._upstream)
        }
        source_keys = {dg.AssetKey(["raw", table]) for table in sources.values()}
        models = [dep for dep in spec.deps if dep.asset_key not in source_keys]
        # The columns that were built are told with their origin; in the UI the project's words would hide that.
        metadata = {key: value for key, value in spec.metadata.items() if key != "dagster/column_schema"}
        return spec.replace_attributes(group_name=GROUP, deps=[*models, *sorted(collected)], metadata=metadata)

    def get_asset_check_spec(
        self, asset_spec: dg.AssetSpec, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetCheckSpec | None:
        """The spec of a test, with what it means in words; dbt has no words for its generic tests."""
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        return spec and spec._replace(description=_test_description(manifest["nodes"][unique_id]) or spec.description)


def _test_description(test: Mapping[str, Any]) -> str | None:
    """What holds while a test passes; None for a test that is not one of the project's kinds."""
    kind, values = test["test_metadata"]["name"], test["test_metadata"]["kwargs"]
    match kind:
        case "grain":
            return f"No two rows have the same {', '.join(values['columns'])}, and none of these is null."
        case "accepted_values":
            return f"Each {values['column_name']} is one of: {', '.join(values['values'])}."
        case "foreign_key":
            parent = values["to"].removeprefix("ref('").removesuffix("')")
            return f"Each row's {', '.join(values['columns'])} are those of a row of {parent}."
    return None


def upstream_assets(table: str, upstream: Mapping[str, Sequence[dg.AssetKey]]) -> Sequence[dg.AssetKey]:
    """The assets that write a raw table: for `coverage` all, for what the build itself writes none."""
    if table == "coverage":
        return sorted({key for keys in upstream.values() for key in keys})
    return upstream.get(table, ())


def warehouse_definitions(
    upstream: Mapping[str, Sequence[dg.AssetKey]],
    settings: Settings,
    *,
    pre_build: Callable[[], None] | None = None,
    clock: Clock | None = None,
) -> dg.Definitions:
    """All dbt models as assets and all dbt tests as checks.

    `upstream` gives, by raw table, the assets of all studies that fill it; it may be empty. `before` is called at the
    start of each build, to write the raw tables that no study's asset writes (`wanted`, `requests`).
    Parses the dbt project if no manifest fits it, which takes seconds; afterwards loading reads the manifest only.
    """
    manifest = orjson.loads(prepare_manifest(settings).read_bytes())
    present = clock or SystemClock()

    specs, check_specs = dbt_specs(manifest, WarehouseTranslator(upstream))

    @dg.multi_asset(
        name="warehouse",
        specs=specs,
        check_specs=check_specs,
        can_subset=True,
        pool=POOL,
        # A test of two models is a check of one and names the other.
        allow_arbitrary_check_specs=True,
    )
    def warehouse(
        context: dg.AssetExecutionContext, config: WarehouseConfig
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        """Build all models in a file beside the warehouse, test them, and publish by one rename.

        The warehouse is one file, so all of it is built whatever was selected: from what came since the published one,
        or anew. Only what was published is reported as materialized; when a model or test fails, the published
        warehouse stays as it was.
        """
        with build.build_lock(settings):
            raw_writer.ensure_tables(settings.raw)
            if pre_build is not None:
                pre_build()
            build_input, results = build.build_warehouse(
                settings, full_refresh=config.full_refresh, now=present.now(), progress=context.log.log
            )
            failed = [result for result in results if result.failed]
            if not failed:
                keys = _asset_keys(context.assets_def, manifest, upstream)
                metadata = warehouse_metadata.model_metadata(settings, manifest, results, keys)
                build.publish_warehouse(settings, build_input)
                context.log.info("Published %s", settings.warehouse)
        if not failed:
            yield from _materializations(context, metadata)
        yield from _check_results(context, results)
        if failed:
            raise _failure(settings, failed)

    return dg.Definitions(assets=[warehouse])


def dbt_specs(
    manifest: Mapping[str, Any], translator: DagsterDbtTranslator
) -> tuple[list[dg.AssetSpec], list[dg.AssetCheckSpec]]:
    """An asset for each model and seed, and a check for each of its tests: what `@dbt_assets` makes of a whole project.

    The decorator asks dbt's selection engine even for everything, and importing that takes a tenth of the time of
    loading the code location.
    """
    specs: list[dg.AssetSpec] = []
    checks: dict[str, dg.AssetCheckSpec] = {}
    for unique_id, node in manifest["nodes"].items():
        if node["resource_type"] not in ("model", "seed", "snapshot") or node["config"]["materialized"] == "ephemeral":
            continue
        spec = translator.get_asset_spec(manifest, unique_id, None)
        specs.append(spec)
        for test in manifest["child_map"].get(unique_id, ()):
            check = test.startswith("test.") and translator.get_asset_check_spec(spec, manifest, test, None)
            if check:
                checks[check.get_python_identifier()] = check
    return specs, list(checks.values())


def _source_tables(manifest: Mapping[str, Any]) -> dict[str, str]:
    return {unique_id: source["name"] for unique_id, source in manifest["sources"].items()}


def _asset_keys(
    assets: dg.AssetsDefinition, manifest: Mapping[str, Any], upstream: Mapping[str, Sequence[dg.AssetKey]]
) -> dict[str, Sequence[dg.AssetKey]]:
    """The assets whose columns are those of each model and source; nobody shows columns of `coverage`."""
    models = {unique_id: (key,) for unique_id, key in _by_unique_id(assets).items()}
    return models | {source: upstream.get(table, ()) for source, table in _source_tables(manifest).items()}


def _by_unique_id(assets: dg.AssetsDefinition) -> dict[str, dg.AssetKey]:
    return {spec.metadata[UNIQUE_ID]: spec.key for spec in assets.specs}


def _materializations(
    context: dg.AssetExecutionContext, metadata: Mapping[str, dict[str, Any]]
) -> Iterator[dg.MaterializeResult[None]]:
    """One event for each model, parents first; those that were built without being selected are recorded as well."""
    keys = _by_unique_id(context.assets_def)
    for unique_id, described in metadata.items():
        key = keys[unique_id]
        if key in context.selected_asset_keys:
            yield dg.MaterializeResult(asset_key=key, metadata=described)
        else:
            context.log_event(dg.AssetMaterialization(asset_key=key, metadata=described))


def _check_results(context: dg.AssetExecutionContext, results: Iterable[NodeResult]) -> Iterator[dg.AssetCheckResult]:
    """The verdicts of the tests that ran, as far as they were selected."""
    checks = {(spec.metadata or {})[UNIQUE_ID]: spec.key for spec in context.assets_def.check_specs}
    for result in results:
        key = checks.get(result.unique_id)
        if key is None or key not in context.selected_asset_check_keys or result.status == "skipped":
            continue
        yield dg.AssetCheckResult(
            passed=result.status == "pass",
            asset_key=key.asset_key,
            check_name=key.name,
            severity=dg.AssetCheckSeverity.WARN if result.status == "warn" else dg.AssetCheckSeverity.ERROR,
            metadata={"failing rows": result.failures or 0, "seconds": round(result.seconds, 3)},
        )


def _failure(settings: Settings, failed: Sequence[NodeResult]) -> dg.Failure:
    held = "The published warehouse is as it was." if settings.warehouse.exists() else "No warehouse is published yet."
    reasons = "\n".join(f"- {result.name}: {result.message.strip()}" for result in failed)
    return dg.Failure(
        f"The warehouse was built but not published, because {len(failed)} of its models or tests failed:\n{reasons}\n"
        f"{held} To see what is wrong, open {settings.warehouse_build}, attach {scratch_path(settings)} and run the "
        f"SQL of the failed test from {settings.dbt_target / 'compiled'}; dbt's own account is in "
        f"{dbt_runner.log_path(settings)}.",
        # Another attempt on the same data would fail again.
        allow_retries=False,
    )
