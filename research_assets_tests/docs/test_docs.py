"""Every command of the documentation is run: on what the demo collected, with the sandbox as the API."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb
import httpx
import pytest

from research_assets.cli.main import COMMANDS
from research_assets.settings import DEMO_STUDIES_DIR, PROJECT_DIR, VARIABLES, Settings, child_environment
from research_assets.tiktok.conditions import CONDITIONS
from research_assets_tests.cli.test_demo import demo, demo_settings, sandbox
from research_assets_tests.docs import marts_page
from research_assets_tests.docs.commands import PAGES, blocks, commands, links

pytestmark = pytest.mark.timeout(900)
__all__ = ["demo_settings", "sandbox"]

BIN = Path(sys.executable).parent

TESTED_ELSEWHERE = {
    "make demo": "research_assets_tests/cli/test_demo.py",
    "make test": ".ci/run",
    "make ui": "research_assets_tests/cli/test_ui.py",
    "make check-studies": ".ci/run",
    "make check": ".ci/run",
    "make bench": "research_assets_tests/benchmarks/test_runner.py",
    "research-assets new-study": "research_assets_tests/cli/test_new_study.py",
}
"""Commands that a test of their own, or CI itself, runs: where."""

SERVER_COMMANDS = ("research-assets sandbox", "dagster-webserver", "dagster-daemon")
"""Commands that go on until they are stopped."""


@dataclass(frozen=True)
class Shell:
    """A folder to work in, with the environment of somebody who has the demo's data."""

    folder: Path
    settings: Settings
    environment: dict[str, str]

    def run(self, *words: str) -> str:
        """Run a command to its end; gives what it printed."""
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def shell(demo_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    demo(demo_settings)
    folder = tmp_path_factory.mktemp("desk")
    (folder / "studies").mkdir()
    shutil.copy(PROJECT_DIR / "workspace.yaml", folder)
    environment = child_environment(demo_settings) | {
        VARIABLES["studies"].name: os.pathsep.join([str(folder / "studies"), str(DEMO_STUDIES_DIR)]),
        "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
    }
    desk = Shell(folder, demo_settings, environment)
    desk.run("research-assets", "export", "gardening", "--ids-only")
    (ids,) = demo_settings.exports.glob("*/ids.csv")
    shutil.copy(ids, folder / "ids.csv")
    lines = ids.read_text().splitlines()[1:200]
    videos = [line.split(",")[1] for line in lines if line.startswith("videos")]
    (folder / "donation.csv").write_text("id,source\n" + "".join(f"{video},watched\n" for video in videos))
    return desk


def test_every_command_is_run(shell: Shell) -> None:
    seen = set()
    for page in PAGES:
        for words in commands(page):
            text = " ".join(words)
            if text in TESTED_ELSEWHERE:
                assert (PROJECT_DIR / TESTED_ELSEWHERE[text]).exists()
            elif words[0] == "export" or text in seen:
                continue
            elif text.startswith(SERVER_COMMANDS):
                serve(shell, words)
            else:
                shell.run(*words)
            seen.add(text)
    names = {text.split()[1] for text in seen if text.startswith("research-assets ")}
    assert names >= COMMANDS.keys() - {"demo", "ui"}, "commands that no page tells of"


def serve(shell: Shell, words: list[str]) -> None:
    """Start what serves on a free port of its own, wait until it does, and stop it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    for flag in ("-p", "--port"):
        if flag in words:
            words = [*words[: words.index(flag) + 1], port, *words[words.index(flag) + 2 :]]
    process = subprocess.Popen(
        words,
        cwd=PROJECT_DIR if words[0].startswith("dagster") else shell.folder,
        env=shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        if words[0] == "dagster-daemon":
            assert any("Instance is configured with the following daemons" in line for line in process.stdout or ())
        else:
            path = "/server_info" if words[0] == "dagster-webserver" else "/"
            wait(lambda: answers(f"http://127.0.0.1:{port}{path}"), process)
    finally:
        process.terminate()
        process.wait(60)


def wait(done: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    for _ in range(1200):
        if done():
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
            raise AssertionError((process.stdout and process.stdout.read()) or "it ended")
    raise AssertionError("it did not answer within two minutes")


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_every_snippet_and_every_query_is_run(shell: Shell) -> None:
    for page in PAGES:
        for code in blocks(page, "python"):
            shell.run(sys.executable, "-c", code)
        for query in blocks(page, "sql"):
            with duckdb.connect(str(shell.settings.warehouse), read_only=True) as warehouse:
                warehouse.execute(query).fetchall()


def test_the_page_of_the_marts_is_what_dbt_says() -> None:
    assert marts_page.PAGE.read_text() == marts_page.page(marts_page.manifest()), "make docs writes it anew"


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        for target in links(page):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"


def test_every_variable_and_condition_that_is_named_exists_and_none_is_left_out() -> None:
    variables = {variable.name for variable in VARIABLES.values()}
    text = "".join(page.read_text() for page in PAGES)
    assert set(re.findall(r"\b(?:RESEARCH|TIKTOK)_[A-Z_]+\b", text)) <= variables
    studies = (PROJECT_DIR / "docs" / "studies.md").read_text()
    assert set(CONDITIONS) <= set(re.findall(r"`(\w+)`", studies))
