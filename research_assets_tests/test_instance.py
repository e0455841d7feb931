"""The home of the Dagster instance: `DAGSTER_HOME` is honoured, and its settings are never overwritten."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
import yaml

from research_assets.cli.environment import prepare_instance
from research_assets.instance import missing_settings, prepare_home
from research_assets.settings import (
    INSTANCE_DIR,
    PROJECT_DIR,
    VARIABLES,
    Settings,
    SettingsError,
    child_environment,
    prepare_root,
)

OURS = INSTANCE_DIR / "dagster.yaml"

POSTGRES = """
storage:
  postgres:
    postgres_url: postgresql://lab:lab@127.0.0.1/dagster
run_launcher: {module: dagster_docker, class: DockerRunLauncher}
concurrency:
  pools: {default_limit: 5}
telemetry:
  enabled: false
"""


def test_first_start_writes_private_settings(tmp_path: Path, settings: Settings) -> None:
    home = prepare_home(settings)
    assert home == tmp_path / "data" / "dagster"
    assert (home / "dagster.yaml").read_bytes() == OURS.read_bytes()
    assert home.stat().st_mode & 0o777 == 0o700
    assert missing_settings(home) == []
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        # By default a restart of the code location fails every queued run.
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.max_user_code_failure_retries == 1440
        pools = instance.get_concurrency_config().pool_config
        assert (pools.default_pool_limit, str(pools.pool_granularity)) == (1, "PoolGranularity.RUN")


@pytest.mark.parametrize("name", ["dagster.yaml", "dagster.yml"])
def test_settings_of_a_person_are_never_overwritten(
    tmp_path: Path, settings: Settings, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "lab"
    home.mkdir(mode=0o755)
    (home / name).write_text(POSTGRES)
    own = replace(settings, instance_home=home)
    prepare_root(own)
    prepare_instance(own)
    assert (home / name).read_text() == POSTGRES
    assert [path.name for path in home.glob("dagster.y*")] == [name]
    assert home.stat().st_mode & 0o777 == 0o755
    printed = capsys.readouterr().err
    assert f"{home / name} is used as it is" in printed
    assert "concurrency.pools.granularity: run is not set: a run that waits for its pool occupies a process" in printed
    assert "run_retries.enabled: true is not set" in printed
    # Another value than ours is a decision.
    assert "default_limit" not in printed
    assert "telemetry" not in printed


def test_every_setting_of_the_package_can_be_reported(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("")
    reported = {setting.path: setting.value for setting in missing_settings(tmp_path)}
    for path, value in reported.items():
        found = yaml.safe_load(OURS.read_text())
        for key in path.split("."):
            found = found[key]
        assert found == value
    assert {"telemetry.enabled", "concurrency.runs.max_concurrent_runs", "nux.enabled"} <= reported.keys()


def test_dagster_home_of_the_environment_is_honoured(tmp_path: Path) -> None:
    name = VARIABLES["instance_home"].name
    assert name == "DAGSTER_HOME"
    root = {VARIABLES["root"].name: str(tmp_path / "data")}
    assert Settings.from_env(root).dagster_home == tmp_path / "data" / "dagster"
    home = tmp_path / "lab"
    settings = Settings.from_env(root | {name: str(home)})
    assert settings.dagster_home == home
    assert child_environment(settings)[name] == str(home)
    assert Settings.from_env(child_environment(settings)).dagster_home == home


def test_telemetry_is_off_in_started_commands(settings: Settings) -> None:
    assert child_environment(settings)["DAGSTER_DISABLE_TELEMETRY"] == "1"


@pytest.mark.integration
def test_telemetry_is_off_in_the_commands_of_the_makefile() -> None:
    """`dg check defs` and other commands without an instance read no `dagster.yaml`."""
    database = subprocess.run(
        ["make", "--print-data-base", "--dry-run", "help"], cwd=PROJECT_DIR, capture_output=True, text=True, check=True
    ).stdout
    assert re.search(r"^export DAGSTER_DISABLE_TELEMETRY := 1$|^DAGSTER_DISABLE_TELEMETRY := 1$", database, re.M)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("telemetry: [", "expected the node content"),
        ("- a", "the file has no settings below it"),
        ("concurrency:\n  pools:\n    de", "`pools` has no settings below it"),
        ("storage: postgres", "`storage` has no settings below it"),
    ],
)
def test_settings_of_the_instance_that_dagster_cannot_use_are_one_message(
    settings: Settings, text: str, problem: str
) -> None:
    home = prepare_home(settings)
    (home / "dagster.yaml").write_text(text)
    with pytest.raises(SettingsError, match=re.escape(problem)):
        prepare_home(settings)


@pytest.mark.parametrize("text", ["", "retention: {sensor: {purge_after_days: 30}}", "telemetry:", "local: {a: 1}"])
def test_settings_of_the_instance_may_be_few(settings: Settings, text: str) -> None:
    home = prepare_home(settings)
    (home / "dagster.yaml").write_text(text)
    assert prepare_home(settings) == home
