"""The files in `docs/deploy` state the same facts: commands, folders, ports, users, settings.

Not here: whether the services run (see end_to_end/test_lab_services.py).
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from research_assets.instance import missing_settings
from research_assets.settings import INSTANCE_DIR, NO_TELEMETRY, PROJECT_DIR, VARIABLES, Settings
from research_assets_tests.docs.deployment_files import (
    BIN,
    DEPLOY,
    SERVICES,
    UNITS,
    Unit,
    compose,
    copy_to,
    read_yaml,
    settings,
)


def test_every_service_has_the_same_command_in_systemd_and_compose() -> None:
    services = compose()["services"]
    assert set(services) == {*SERVICES, "postgres"}
    assert {path.name for path in UNITS.iterdir()} == {f"research-assets-{name}.service" for name in SERVICES}
    for name in SERVICES:
        unit = Unit.read(name)
        assert unit.command == services[name]["command"], name
        assert unit.service["WorkingDirectory"] == services[name]["working_dir"]
        assert unit.service["EnvironmentFile"] == services[name]["env_file"]
        variables = dict(one.split("=") for one in unit.service["Environment"].split())
        # systemd sets HOME by itself.
        assert variables | {"HOME": "/var/lib/research-assets"} == services[name]["environment"]
        assert variables == NO_TELEMETRY


def test_units_differ_in_nothing_but_their_command_and_their_end() -> None:
    own = {"ExecStart", "TimeoutStopSec"}
    common = [{key: value for key, value in Unit.read(name).service.items() if key not in own} for name in SERVICES]
    assert all(one == common[0] for one in common)


def test_compose_and_units_stop_a_service_after_the_same_time() -> None:
    grace = compose()["services"]["code"]["stop_grace_period"]
    assert grace == f"{Unit.read('code').service['TimeoutStopSec']}s"


def test_services_write_to_the_folders_of_the_settings_alone() -> None:
    values = settings()
    writable = {values["RESEARCH_DATA"], values["RESEARCH_SHARED_MARTS"], "/var/lib/research-assets"}
    assert Path(values["DAGSTER_HOME"]).is_relative_to(values["RESEARCH_DATA"])
    for name in SERVICES:
        assert set(Unit.read(name).service["ReadWritePaths"].split()) == writable
        assert Unit.read(name).sections["Unit"]["RequiresMountsFor"] == values["RESEARCH_DATA"]
        mounts = [volume.split(":") for volume in compose()["services"][name]["volumes"]]
        assert all(mount[0] == mount[1] for mount in mounts)
        assert {mount[0] for mount in mounts if mount[2:] != ["ro"]} == writable
        assert {mount[0] for mount in mounts} >= {values["RESEARCH_STUDIES"], "/etc/research-assets"}


def test_settings_of_the_example_are_known_and_valid() -> None:
    values = settings()
    assert set(values) <= {variable.name for variable in VARIABLES.values()}
    read = Settings.from_env(values)
    assert str(read.root) == values["RESEARCH_DATA"]
    assert read.ledger_url == values["RESEARCH_LEDGER"]
    # systemd and compose read the same file as this project: no quotes and no variables.
    assert not re.search(r"[\"'$\\]", (DEPLOY / "env.example").read_text())


def test_instance_has_the_recommended_settings_and_the_storage_in_postgresql(tmp_path: Path) -> None:
    file = copy_to(tmp_path, "dagster.yaml")
    assert missing_settings(tmp_path) == []
    ours = yaml.safe_load(file.read_text())
    address = ours.pop("storage")["postgres"]["postgres_url"]
    assert ours == yaml.safe_load((INSTANCE_DIR / "dagster.yaml").read_text())
    statements = (DEPLOY / "postgres.sql").read_text()
    roles = dict(re.findall(r"CREATE DATABASE (\w+) OWNER (\w+) ENCODING 'UTF8' ", statements))
    for url in (address, settings()["RESEARCH_LEDGER"]):
        found = re.fullmatch(r"postgresql://(\w+)@127\.0\.0\.1/(\w+)", url)
        assert found, url
        assert roles[found[2]] == found[1]


def test_webservers_find_the_code_location_and_the_proxy_finds_the_webservers() -> None:
    [location] = read_yaml("workspace.yaml")["load_from"]
    command = Unit.read("code").command
    assert location["grpc_server"]["socket"] == command[command.index("-s") + 1]
    assert location["grpc_server"]["location_name"] == command[command.index("--location-name") + 1]
    proxied = re.findall(r"proxy_pass http://([\d.]+):(\d+);", (DEPLOY / "nginx.conf").read_text())
    commands = [Unit.read(name).command for name in ("webserver", "readonly")]
    assert proxied == [(words[words.index("-h") + 1], words[words.index("-p") + 1]) for words in commands]
    assert {host for host, _ in proxied} == {"127.0.0.1"}


def test_image_has_no_other_source_than_the_wheel_and_the_registry() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert "--require-hashes" in dockerfile
    assert not re.search(r"https?://|ADD|curl|wget|apt", dockerfile)


@pytest.mark.integration
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in SERVICES:
        unit = UNITS / f"research-assets-{name}.service"
        (programs / Unit.read(name).command[0]).touch(mode=0o755)
        copy = tmp_path / unit.name
        copy.write_text(unit.read_text().replace(BIN, f"{programs}/"))
        copy.chmod(0o644)
    checked = subprocess.run(
        ["systemd-analyze", "verify", *map(str, tmp_path.glob("*.service"))], capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.integration
def test_docker_accepts_the_compose_file(tmp_path: Path) -> None:
    programs = (["docker", "compose"], ["docker-compose"])
    command = next((words for words in programs if shutil.which(words[0]) and not _run([*words, "version"])[0]), None)
    if command is None:
        pytest.skip("docker compose is not installed")
    # The file with the settings has an absolute path, and exists only on a server.
    file, example = tmp_path / "compose.yaml", str(copy_to(tmp_path, "env.example"))
    file.write_text((DEPLOY / "compose.yaml").read_text().replace("/etc/research-assets/env", example))
    names = ("LAB_UID", "LAB_GID", "COLLABORATORS_GID", "DAGSTER_PASSWORD", "LEDGER_PASSWORD")
    code, output = _run(
        [*command, "-f", str(file), "--profile", "readonly", "config", "--quiet"], **dict.fromkeys(names, "1000")
    )
    assert code == 0, output


def _run(command: Sequence[str], **variables: str) -> tuple[int, str]:
    """Run a command and return its exit code and its output."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.integration
@pytest.mark.parametrize(
    "path", ["state", "exports/../state", "/etc/passwd", "exports/../../x", "-x", "exportsx/a", ""]
)
def test_results_that_may_be_fetched_are_those_of_four_folders(path: str) -> None:
    code, output = _run([str(DEPLOY / "research-assets-fetch"), path])
    assert (code, output) == (2, f"{path} is not below exports, reports, audits or rehydrated. Nothing was copied.\n")


def test_lab_guide_names_every_file() -> None:
    guide = (PROJECT_DIR / "docs" / "lab.md").read_text()
    for path in DEPLOY.iterdir():
        assert f"docs/deploy/{path.name}" in guide, path.name
