"""Tests of the documentation, on the demo's data and with the sandbox as the API.

Every command, snippet and query of the users' pages runs. Every link, path, variable, command, option and `make` target
that a page names exists.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import get_args

import duckdb
import httpx
import pytest
from click.testing import CliRunner

from research_assets.checks import PROVENANCE_CHECK
from research_assets.checks.rules import rules
from research_assets.cli.main import COMMANDS, main
from research_assets.fields import ENTITIES
from research_assets.report.codebook import MART_ORDER
from research_assets.settings import DEMO_STUDIES_DIR, ENV_FILE, PROJECT_DIR, VARIABLES, Settings, child_environment
from research_assets.study.spec import StudySpec
from research_assets.tiktok.conditions import CONDITIONS
from research_assets.units.coverage import UnitState
from research_assets_tests.docs import marts_page
from research_assets_tests.docs.commands import LINKED_PAGES, PAGES, anchors, blocks, commands, links

pytestmark = pytest.mark.timeout(900)

BIN = Path(sys.executable).parent

TESTED_ELSEWHERE = {
    "make demo": "research_assets_tests/cli/test_demo.py",
    "make test": ".ci/run",
    "make ui": "research_assets_tests/cli/test_ui.py",
    "make check-studies": ".ci/run",
    "make check": ".ci/run",
    "make bench": "research_assets_tests/benchmarks/test_runner.py",
    "pip install research_assets-*.whl": ".ci/wheel",
    "research-assets demo": "research_assets_tests/cli/test_demo.py",
    "research-assets spark-build": "research_assets_tests/warehouse/test_spark.py",
    "make test-spark": ".ci/run",
    "make bench-spark": "research_assets_tests/benchmarks/spark_bench.py",
    "research-assets forget --username anna.example --yes": "research_assets_tests/cli/test_forget.py",
    "research-assets new-study": "research_assets_tests/cli/test_new_study.py",
    # They would build the marts of the demo again.
    "research-assets collect": "research_assets_tests/cli/test_collect.py",
    "research-assets build": "research_assets_tests/cli/test_collect.py",
}
"""Commands that another test or the continuous integration runs, with the file that runs them."""

SERVER_COMMANDS = ("research-assets sandbox", "dagster-webserver", "dagster-daemon")
"""Commands that run until they are stopped."""


@dataclass(frozen=True)
class Shell:
    """A working folder and the environment of a user who has the demo's data."""

    folder: Path
    settings: Settings
    environment: dict[str, str]

    def run(self, *words: str) -> str:
        """Run a command to its end and return what it printed. Fails unless its exit code is 0.

        The project's own commands run in this process, where its modules are imported already.
        """
        if words[0] == "research-assets":
            with chdir(self.folder):
                result = CliRunner().invoke(main, words[1:], env=self.environment, catch_exceptions=False)
            assert result.exit_code == 0, f"{' '.join(words)}\n{result.output}"
            return result.output
        finished = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
        )
        assert finished.returncode == 0, f"{' '.join(words)}\n{finished.stdout}\n{finished.stderr}"
        return finished.stdout


@pytest.fixture(scope="module")
def shell(demo_summary: str, demo_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    assert demo_summary
    folder = tmp_path_factory.mktemp("shell")
    (folder / "studies").mkdir()
    shutil.copy(PROJECT_DIR / "workspace.yaml", folder)
    environment = child_environment(demo_settings) | {
        VARIABLES["studies"].name: os.pathsep.join([str(folder / "studies"), str(DEMO_STUDIES_DIR)]),
        "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
    }
    shell = Shell(folder, demo_settings, environment)
    shell.run("research-assets", "export", "gardening", "--ids-only")
    (ids,) = demo_settings.exports.glob("*/ids.csv")
    shutil.copy(ids, folder / "ids.csv")
    lines = ids.read_text().splitlines()[1:200]
    videos = [line.split(",")[1] for line in lines if line.startswith("videos")]
    (folder / "coded.csv").write_text("video_id,draw_probability,code\n1,0.5,yes\n2,0.5,no\n3,0.5,\n")
    (folder / "donation.csv").write_text(
        "id,source,donor,views\n" + "".join(f"{video},watched,d{str(video)[-1]},1\n" for video in videos)
    )
    return shell


def test_every_command_runs(shell: Shell) -> None:
    seen = set()
    for page in PAGES:
        for words in commands(page):
            text = " ".join(words)
            if text in TESTED_ELSEWHERE:
                assert (PROJECT_DIR / TESTED_ELSEWHERE[text]).exists(), text
            elif words[0] == "export" or text in seen:
                continue
            elif text.startswith(SERVER_COMMANDS):
                start_and_stop(shell, words)
            else:
                shell.run(*words)
            seen.add(text)
    documented = {text.split()[1] for text in seen if text.startswith("research-assets ")}
    assert documented >= COMMANDS.keys() - {"ui"}, "commands without documentation"


def start_and_stop(shell: Shell, command: list[str]) -> None:
    """Start a server on a free port, wait until it responds, and stop it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    for option in ("-p", "--port"):
        if option in command:
            command = [*command[: command.index(option) + 1], port, *command[command.index(option) + 2 :]]
    process = subprocess.Popen(
        command,
        cwd=PROJECT_DIR if command[0].startswith("dagster") else shell.folder,
        env=shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        if command[0] == "dagster-daemon":
            assert any("Instance is configured with the following daemons" in line for line in process.stdout or ())
        else:
            path = "/server_info" if command[0] == "dagster-webserver" else "/"
            wait_until(lambda: responds(f"http://127.0.0.1:{port}{path}"), process)
    finally:
        process.terminate()
        process.wait(60)


def wait_until(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    for _ in range(1200):
        if condition():
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
            raise AssertionError((process.stdout and process.stdout.read()) or "the server ended")
    raise AssertionError("the server did not respond within two minutes")


def responds(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_every_snippet_and_query_runs(shell: Shell) -> None:
    for page in PAGES:
        for code in blocks(page, "python"):
            shell.run(sys.executable, "-c", code)
        for query in blocks(page, "sql"):
            with duckdb.connect(str(shell.settings.warehouse), read_only=True) as warehouse:
                warehouse.execute(query).fetchall()


def test_marts_page_equals_dbt_descriptions() -> None:
    assert marts_page.PAGE.read_text() == marts_page.page(marts_page.manifest()), "run make docs"


def test_every_link_and_anchor_exists() -> None:
    for page in LINKED_PAGES:
        for target, anchor in links(page):
            assert target.exists(), f"{page.name} links to {target}"
            assert not anchor or anchor in anchors(target), f"{page.name} links to {target.name}#{anchor}"


def test_every_named_path_exists() -> None:
    written_by_users = "research_assets/defs/gardening/defs.yaml"
    named = re.compile(r"`((?:research_assets|research_assets_tests|dbt_project)/[\w./]+)`")
    for page in LINKED_PAGES:
        for path in set(named.findall(page.read_text())) - {written_by_users}:
            assert (PROJECT_DIR / path).exists(), f"{page.name} names {path}"


def test_every_named_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT_DIR / "Makefile").read_text(), re.MULTILINE))
    for page in LINKED_PAGES:
        assert set(re.findall(r"(?:^ *|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)) <= targets, page.name


def names_in_table(page: Path, heading: str) -> set[str]:
    """Return the names in backticks of the first column of the table below a heading."""
    table = re.search(rf"^\| {heading} \|.*\n((?:\|.*\n)+)", page.read_text(), re.MULTILINE)
    assert table, f"{page.name} has no table with the first column {heading!r}"
    return {name for row in table[1].splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


def test_tables_name_every_mart_check_and_sensor() -> None:
    docs = PROJECT_DIR / "docs"
    condition = {"field_name": "region_code", "operation": "EQ", "field_values": ["DE"]}
    study = StudySpec("study", date(2026, 2, 1), {"and": (condition,)})
    assert names_in_table(PROJECT_DIR / "README.md", "mart") == set(MART_ORDER)
    of_entities = {r.name for entity in ENTITIES for r in rules(study, entity)}
    assert names_in_table(docs / "coverage.md", "check") == of_entities | {PROVENANCE_CHECK}
    assert names_in_table(docs / "coverage.md", "state") == set(get_args(UnitState))
    package = PROJECT_DIR / "research_assets"
    files = [*(package / "sensors").glob("*.py"), package / "assets" / "certificate.py"]
    declared = "".join(file.read_text() for file in files)
    assert names_in_table(docs / "running.md", "name") == set(re.findall(r' name="(\w+)"', declared)) - {
        "in_process",
        "current",
    }


def test_glossary_is_alphabetical() -> None:
    headings = re.findall(r"^### (.+)$", (PROJECT_DIR / "docs" / "glossary.md").read_text(), re.MULTILINE)
    assert headings == sorted(headings, key=str.lower)


def test_every_named_variable_and_condition_exists_and_every_condition_is_documented() -> None:
    variables = {ENV_FILE, *(variable.name for variable in VARIABLES.values())}
    text = "".join(page.read_text() for page in PAGES)
    assert set(re.findall(r"\b(?:RESEARCH|TIKTOK)_[A-Z_]+\b", text)) <= variables
    studies = (PROJECT_DIR / "docs" / "studies.md").read_text()
    assert set(CONDITIONS) <= set(re.findall(r"`(\w+)`", studies))
