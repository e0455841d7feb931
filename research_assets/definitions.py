"""The code location: the studies of all folders, the warehouse, reports, exports, sensors and resources.

Not here: the definitions of one study (see component.py).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import dagster as dg

from research_assets.assets.certificate import certificate_asset, certificate_schedule
from research_assets.assets.coverage_board import coverage_board_asset
from research_assets.assets.export import export_asset
from research_assets.assets.report import report_asset
from research_assets.assets.warehouse import warehouse_definitions
from research_assets.checks import FILES_CHECK, blocking_check_keys, check_keys, coverage_mart, files_check
from research_assets.component import Study, component_docs, observed_periods_of
from research_assets.fields import ENTITIES
from research_assets.planning.inputs import study_entities
from research_assets.resources import CollectorResource, build_resources, write_bookkeeping_tables
from research_assets.sensors import CheckKeys, build_automation
from research_assets.sensors.collection_plan import collected_keys
from research_assets.sensors.run_process import noting_in_process_executor
from research_assets.settings import (
    DEFS_DIR,
    IN_CHECKOUT,
    PROJECT_DIR,
    Settings,
    data_settings,
    keep_new_files_private,
)
from research_assets.study.loader import find_studies, studies_reader

# Dagster warns about a parameter that it passes itself whenever it copies a sensor.
warnings.filterwarnings("ignore", r"Parameter `owners` of initializer `SensorDefinition", dg.BetaWarning)


def _load_defs_folder() -> dg.Definitions:
    """Return the definitions in `defs/`, as `dg.load_from_defs_folder` does, without the docs of installed components.

    Building those docs takes a tenth of the time of loading the code location, and no component in them is this
    project's.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.ComponentTree.for_project(PROJECT_DIR).build_defs(DEFS_DIR)


NO_STUDY = dg.AssetSpec(
    "no_study_yet",
    group_name="studies",
    description="There is no study yet. Write one with: research-assets new-study.\n\n"
    "1. Run `research-assets new-study` in a terminal. It prompts for the details and writes a study file.\n"
    "2. Reload the code location under Deployment.\n"
    "3. The study appears here as the group `studies/<study>`. To see an example without credentials, run "
    "`research-assets demo`.",
)
"""Asset of the graph while there is no study, so that an empty graph says what to do."""


@dataclass(frozen=True, slots=True)
class CodeLocation:
    """The definitions of the code location, and the assets and checks that a build of the marts concerns.

    `warehouse` are the marts and the models before them. The `reports` and coverage boards are written after them. The
    `blocking_checks` prevent a build while they fail.
    """

    definitions: dg.Definitions
    collected: Sequence[dg.AssetKey]
    warehouse: Sequence[dg.AssetKey]
    reports: Sequence[dg.AssetKey]
    blocking_checks: Sequence[dg.AssetCheckKey]


def build_definitions(settings: Settings, *, collector: CollectorResource | None = None) -> dg.Definitions:
    """Return all definitions of the code location, as `build_code_location` does."""
    return build_code_location(settings, collector=collector).definitions


def build_code_location(settings: Settings, *, collector: CollectorResource | None = None) -> CodeLocation:
    """Return the code location; `collector` replaces the resource of the collected assets.

    Raises StudyError with file and line for each issue in a study file.
    """
    studies = find_studies(settings)
    in_defs = [study for study in studies if study.file.is_relative_to(DEFS_DIR)] if IN_CHECKOUT else []
    outside = [study.spec for study in studies if study not in in_defs]
    periods = {study.spec.name: observed_periods_of(study.spec, settings) for study in studies}
    upstream = {
        entity: [dg.AssetKey([study.spec.name, entity]) for study in studies if entity in study_entities(study.spec)]
        for entity in ENTITIES
    }
    prefix = settings.warehouse_prefix
    pre_build = partial(write_bookkeeping_tables, settings, [study.spec for study in studies])
    marts = warehouse_definitions(upstream, settings, pre_build=pre_build)
    # Without the specs, because they include the collected assets.
    models = [asset for asset in marts.assets or () if isinstance(asset, dg.AssetsDefinition)]
    warehouse = [key for asset in models for key in asset.keys]
    tests = [key for asset in models for key in asset.check_keys]
    checks = [key for study in studies for key in check_keys(study.spec, prefix)]
    reports = [report_asset(study.spec, settings, warehouse) for study in studies]
    boards = [coverage_board_asset(study.spec, settings) for study in studies]
    blocking_checks = [key for study in studies for key in blocking_check_keys(study.spec)]
    definitions = dg.Definitions.merge(
        *([_load_defs_folder()] if IN_CHECKOUT else []),
        *(dg.build_defs_for_component(Study.of(spec, settings, periods[spec.name])) for spec in outside),
        *([] if studies else [dg.Definitions(assets=[NO_STUDY])]),
        marts,
        dg.Definitions(assets=[*reports, *boards], asset_checks=[files_check(prefix)]),
        dg.Definitions(assets=[export_asset(study.spec, settings, warehouse) for study in studies]),
        dg.Definitions(assets=[certificate_asset(settings)], schedules=[certificate_schedule(settings)])
        if studies or settings.raw.exists()
        else dg.Definitions(),
        build_automation(
            [study.spec for study in studies],
            collector or CollectorResource(settings),
            warehouse,
            CheckKeys(
                blocking=blocking_checks,
                after_build=[*tests, *(key for key in checks if key.asset_key == coverage_mart(prefix))],
                daily=checks,
                files=dg.AssetCheckKey(coverage_mart(prefix), FILES_CHECK),
            ),
            [asset.key for asset in (*reports, *boards)],
            {(name, entity): known for name, by_entity in periods.items() for entity, known in by_entity.items()},
            dg.AssetSelection.groups(
                *sorted({str(spec.group_name) for asset in models for spec in asset.specs}),
                *(f"results/{study.spec.name}" for study in studies),
            ),
            studies_reader(settings),
        ),
        # With a process per step, most of the time would go into imports.
        dg.Definitions(
            resources=build_resources(settings, collector),
            executor=noting_in_process_executor(settings.state),
            metadata=component_docs(),
        ),
    )
    return CodeLocation(
        definitions,
        collected_keys(study.spec for study in studies),
        warehouse,
        [asset.key for asset in (*reports, *boards)],
        blocking_checks,
    )


@dg.definitions
def definitions() -> dg.Definitions:
    """Return the code location with the settings of the environment: that of `make ui`, whatever command loads it."""
    # Dagster loads it in each of its processes that write data, whatever started them.
    keep_new_files_private()
    return build_definitions(data_settings())
