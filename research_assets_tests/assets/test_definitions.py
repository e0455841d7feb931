"""The code location as a whole: its definitions, and one path from a search to a check of the warehouse."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from graphlib import TopologicalSorter

import dagster as dg
import duckdb
import pytest
import yaml

from research_assets.checks import FILES_CHECK, check_keys, coverage_mart, study_checks
from research_assets.definitions import build_definitions
from research_assets.fields import ENTITIES
from research_assets.report import REQUIRED_MARTS
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import RunningSandbox, run_in_thread
from research_assets.settings import PROJECT_DIR, VARIABLES, Settings, export_credentials, prepare_root
from research_assets.study.loader import find_studies
from research_assets_tests.assets.test_asset_graph import DEMO
from research_assets_tests.study.study_files import MINIMAL_STUDY, write

COLLECTED = ENTITIES.keys() - {"playlists"}
"""Entities that the demo study collects."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with run_in_thread(SandboxConfig(videos_per_day=300)) as running:
        yield running


@pytest.fixture(scope="module")
def module_settings(sandbox: RunningSandbox, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a data folder for this module, with the demo study and a second study in another folder."""
    folder = tmp_path_factory.mktemp("location")
    write(
        folder / "studies" / "two",
        MINIMAL_STUDY.replace("gardening", "balcony")
        + "comments: none\nowners: ['team:garden']\ntitle: Balconies <b>in Berlin</b>",
    )
    values = {
        "root": str(folder / "data"),
        "studies": f"{DEMO.parent.parent}:{folder / 'studies'}",
        "api_url": sandbox.url,
        "client_key": sandbox.app.config.client_key,
        "client_secret": sandbox.app.config.client_secret,
    }
    return Settings.from_env({VARIABLES[name].name: value for name, value in values.items()})


@pytest.fixture(autouse=True)
def credentials(module_settings: Settings) -> None:
    """Put the credentials into the environment again: each test begins with an empty one."""
    export_credentials(module_settings)


@pytest.fixture(scope="module")
def code_location(module_settings: Settings) -> dg.Definitions:
    return build_definitions(module_settings)


def test_daily_schedule_runs_every_check_of_the_studies(
    code_location: dg.Definitions, module_settings: Settings
) -> None:
    studies = [study.spec for study in find_studies(module_settings)]
    assert len(studies) == 2
    keys = {key for study in studies for check in study_checks(study) for key in check.check_keys}
    assert {key for study in studies for key in check_keys(study)} == keys
    repository = code_location.get_repository_def()
    schedule = repository.get_schedule_def("run_checks_daily")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    job = repository.get_job(schedule.job_name)
    assert job.asset_layer.selected_asset_keys == set()
    assert set(job.asset_layer.asset_graph.asset_check_keys) >= keys
    result = job.execute_in_process(instance=dg.DagsterInstance.ephemeral())
    assert result.success
    assert {evaluation.asset_check_key for evaluation in result.get_asset_check_evaluations()} == keys


def test_schedule_verifies_a_share_of_the_files_each_day(
    code_location: dg.Definitions, module_settings: Settings
) -> None:
    repository = code_location.get_repository_def()
    schedule = repository.get_schedule_def("verify_files")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    job = repository.get_job(schedule.job_name)

    def evaluate() -> dg.AssetCheckEvaluation:
        result = job.execute_in_process(instance=dg.DagsterInstance.ephemeral())
        [evaluation] = result.get_asset_check_evaluations()
        assert evaluation.asset_check_key == dg.AssetCheckKey(coverage_mart(), FILES_CHECK)
        return evaluation

    assert evaluate().passed
    prepare_root(module_settings)
    journal = module_settings.captures / "videos/study=gardening/2026-02-01/20260203T120000Z-0.jsonl"
    journal.parent.mkdir(parents=True)
    journal.write_bytes(b'{"event":"start"}\n{"event":"page"}\n')
    evaluation = evaluate()
    assert not evaluation.passed
    assert evaluation.severity == dg.AssetCheckSeverity.ERROR
    assert str(journal) in str(evaluation.description)
    assert evaluation.metadata["damaged"].value == 1
    shutil.rmtree(module_settings.captures)


def test_two_studies_and_the_warehouse_are_in_one_graph(code_location: dg.Definitions) -> None:
    keys = {key.to_user_string() for key in code_location.resolve_all_asset_keys()}
    assert {f"gardening/{entity}" for entity in COLLECTED} <= keys
    balcony = {key for key in keys if key.startswith("balcony/")}
    assert balcony == {f"balcony/{name}" for name in ("videos", "users", "report", "coverage_board", "export")}
    parents = {
        spec.key.to_user_string(): {dep.asset_key.to_user_string() for dep in spec.deps}
        for spec in code_location.resolve_all_asset_specs()
    }
    assert parents["staging/stg_tiktok__videos"] == {"gardening/videos", "balcony/videos"}
    assert {"gardening/comments", "balcony/users"} <= parents["staging/stg_research__coverage"]
    assert {f"marts/{mart}" for mart in REQUIRED_MARTS} <= parents["balcony/report"]
    # The board needs no marts.
    assert parents["balcony/coverage_board"] == {"balcony/videos", "balcony/users"}


def test_no_group_is_both_up_and_downstream_of_another(code_location: dg.Definitions) -> None:
    specs = {spec.key: spec for spec in code_location.resolve_all_asset_specs()}
    group_of = {key: str(spec.group_name) for key, spec in specs.items()}
    assert set(group_of.values()) == {
        *(f"{kind}/{study}" for kind in ("studies", "results") for study in ("gardening", "balcony")),
        *(f"warehouse/{layer}" for layer in ("staging", "intermediate", "marts")),
        "compliance",
    }
    parents: dict[str, set[str]] = {group: set() for group in group_of.values()}
    for key, spec in specs.items():
        parents[group_of[key]] |= {group_of[dep.asset_key] for dep in spec.deps} - {group_of[key]}
    # Raises CycleError with the groups.
    order = list(TopologicalSorter(parents).static_order())
    assert order.index("studies/gardening") < order.index("warehouse/marts") < order.index("results/gardening")


def test_report_comes_after_all_data_of_its_study(code_location: dg.Definitions) -> None:
    parents = {spec.key: {dep.asset_key for dep in spec.deps} for spec in code_location.resolve_all_asset_specs()}
    report = dg.AssetKey(["gardening", "report"])
    upstream: set[dg.AssetKey] = set()
    queue = [report]
    while queue:
        new = parents.get(queue.pop(), set()) - upstream
        upstream |= new
        queue.extend(new)
    assert {dg.AssetKey(["gardening", entity]) for entity in COLLECTED} <= upstream


def test_build_sensor_selects_marts_and_reports_only(code_location: dg.Definitions) -> None:
    repository = code_location.get_repository_def()
    selections = {
        name: repository.get_sensor_def(name).asset_selection for name in ("quota_window", "build_marts_on_new_data")
    }
    resolved = {
        name: selection.resolve(repository.asset_graph)
        for name, selection in selections.items()
        if selection is not None
    }
    results = {
        dg.AssetKey([study, name])
        for study in ("gardening", "balcony")
        for name in ("report", "coverage_board", "export")
    }
    assert results <= resolved["build_marts_on_new_data"]
    assert {key.path[0] for key in resolved["build_marts_on_new_data"] - results} == {"staging", "marts"}
    # The list of sensors shows the selection.
    assert str(selections["quota_window"]) == 'group:"studies/balcony" or group:"studies/gardening"'
    assert {key.path[0] for key in resolved["quota_window"]} == {"gardening", "balcony"}


def test_backfill_of_a_collected_asset_is_one_run(code_location: dg.Definitions) -> None:
    assets = [asset for asset in code_location.assets or () if isinstance(asset, dg.AssetsDefinition)]
    collected = [asset for asset in assets if asset.partitions_def]
    assert collected
    assert {asset.backfill_policy for asset in collected} == {dg.BackfillPolicy.single_run()}


def test_search_leads_to_marts_and_study_checks(code_location: dg.Definitions, module_settings: Settings) -> None:
    job = code_location.resolve_implicit_global_asset_job_def()
    instance = dg.DagsterInstance.ephemeral()
    videos = dg.AssetKey(["gardening", "videos"])
    assert job.execute_in_process(instance=instance, asset_selection=[videos], partition_key="2026-02-03").success
    marts = [key for key in code_location.resolve_all_asset_keys() if key.path[0] in {"staging", "marts"}]
    result = job.execute_in_process(instance=instance, asset_selection=marts)
    assert result.success
    assert module_settings.warehouse.exists()
    evaluations = {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}
    assert {"gardening_is_complete", "balcony_is_complete"} <= set(evaluations)
    # Only one day of one of the two studies was collected.
    assert "not asked" in (evaluations["balcony_is_complete"].description or "")
    with duckdb.connect(str(module_settings.warehouse), read_only=True) as connection:
        [(videos_in_mart,)] = connection.execute("select count(*) from marts.videos").fetchall()
        complete = connection.execute(
            "select unit from marts.coverage where study = 'gardening' and entity = 'videos' and state = 'complete'"
        ).fetchall()
    assert complete == [("2026-02-03",)]
    assert videos_in_mart > 0


def test_graph_loads_without_credentials_and_a_run_names_the_missing_ones(module_settings: Settings) -> None:
    location = build_definitions(replace(module_settings, client_key="", client_secret=""))
    job = location.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        asset_selection=[dg.AssetKey(["gardening", "videos"])], partition_key="2026-02-03", raise_on_error=False
    )
    [failed] = [event for event in result.all_events if event.is_step_failure]
    assert "TIKTOK_CLIENT_KEY and TIKTOK_CLIENT_SECRET not set" in str(failed.step_failure_data.user_failure_data)


def test_code_location_has_one_name() -> None:
    workspace = yaml.safe_load((PROJECT_DIR / "workspace.yaml").read_text())
    project = tomllib.loads((PROJECT_DIR / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    [entry] = workspace["load_from"]
    assert entry["python_module"] == {
        "module_name": project["code_location_target_module"],
        "location_name": project["code_location_name"],
    }


def test_loading_warns_of_nothing(module_settings: Settings) -> None:
    """A process of its own has Python's filters of warnings, like that of a command."""
    load = "from research_assets.definitions import definitions as d; d().get_repository_def()"
    variables = {
        VARIABLES["root"].name: str(module_settings.root),
        VARIABLES["studies"].name: str(DEMO.parent.parent),
        VARIABLES["api_url"].name: module_settings.api_url,
    }
    process = subprocess.run(
        [sys.executable, "-c", load], env=os.environ | variables, capture_output=True, text=True, check=False
    )
    assert (process.returncode, process.stderr) == (0, "")


def test_descriptions_lead_with_a_plain_sentence(code_location: dg.Definitions) -> None:
    repository = code_location.get_repository_def()
    described: dict[str, str | None] = {
        spec.key.to_user_string(): spec.description for spec in code_location.resolve_all_asset_specs()
    }
    described |= {sensor.name: sensor.description for sensor in repository.sensor_defs}
    described |= {schedule.name: schedule.description for schedule in repository.schedule_defs}
    for name, description in described.items():
        first = (description or "").splitlines()[0]
        assert 10 < len(first) <= 90, (name, first)
        assert first.endswith("."), (name, first)
        assert not {"*", "`"} & set(first), (name, first)


def test_simulated_data_says_so_at_each_asset_and_owners_are_shown(
    code_location: dg.Definitions, module_settings: Settings
) -> None:
    for spec in code_location.resolve_all_asset_specs():
        if spec.key.path[0] in {"gardening", "balcony"}:
            assert "simulated" in spec.kinds, spec.key
            assert "Data: simulated" in (spec.description or ""), spec.key
            assert list(spec.owners or ()) == (["team:garden"] if spec.key.path[0] == "balcony" else [])
    real = build_definitions(replace(module_settings, api_url="https://open.tiktokapis.com"))
    assert not [spec.key for spec in real.resolve_all_asset_specs() if "simulated" in spec.kinds]


def test_title_is_in_the_descriptions_as_text(code_location: dg.Definitions) -> None:
    specs = {spec.key.to_user_string(): spec.description or "" for spec in code_location.resolve_all_asset_specs()}
    assert "Study: Balconies &lt;b&gt;in Berlin&lt;/b&gt;" in specs["balcony/videos"]
    assert "Study:" not in specs["gardening/videos"]


def test_graph_without_studies_says_what_to_do(settings: Settings) -> None:
    location = build_definitions(replace(settings, studies=()))
    specs = {spec.key.to_user_string(): spec for spec in location.resolve_all_asset_specs()}
    assert "research-assets new-study" in (specs["no_study_yet"].description or "")
    assert specs["no_study_yet"].group_name == "studies"
    # Without a study no sensor could do anything but alert.
    assert {sensor.name for sensor in location.get_repository_def().sensor_defs} == {
        "alert_on_run_failure",
        "alert_on_sensor_failure",
        "fail_orphaned_runs",
    }


def test_data_is_verified_also_when_its_study_file_is_gone(settings: Settings) -> None:
    settings.raw.mkdir(parents=True)
    location = build_definitions(replace(settings, studies=()))
    assert "verify_due_items" in {sensor.name for sensor in location.get_repository_def().sensor_defs}
    assert "write_certificate" in {schedule.name for schedule in location.get_repository_def().schedule_defs}
