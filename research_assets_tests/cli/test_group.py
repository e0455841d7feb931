"""The command as a whole: quick help, and errors that a person can act on."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from research_assets.cli.main import COMMANDS, KNOWN_ERRORS, import_reference, main
from research_assets.settings import SettingsError

HEAVY = {"dagster", "dbt", "duckdb", "httpx", "pandas", "rich", "starlette", "uvicorn", "yaml"}


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from research_assets.cli import main; main(['--help'], standalone_mode=False);"
        f"print('heavy:', sorted({HEAVY!r} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "heavy: []" in said
    assert all(name in said for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert import_reference(COMMANDS[name][0]).name == name
    assert len(result.stdout.split("Options:")[0].splitlines()) > 3


@pytest.mark.parametrize("reference", KNOWN_ERRORS)
def test_each_known_error_exists(reference: str) -> None:
    assert issubclass(import_reference(reference), Exception)


@pytest.mark.parametrize("args", [["nope"], ["status", "--nope"], ["ui", "--port", "66000"]])
def test_wrong_usage_is_exit_code_2(args: list[str]) -> None:
    assert CliRunner().invoke(main, args).exit_code == 2


def failing(error: Exception) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


def test_a_known_error_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "get_command", lambda *_: failing(SettingsError("Tried. Failed. Do this.")))
    result = CliRunner().invoke(main, ["status"])
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "Error: Tried. Failed. Do this.\n")


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "get_command", lambda *_: failing(ZeroDivisionError("bug")))
    assert isinstance(CliRunner().invoke(main, ["status"]).exception, ZeroDivisionError)


def test_the_installed_command_says_what_is_wrong_and_no_more() -> None:
    script = Path(sys.executable).with_name("research-assets")
    environment = os.environ | {"RESEARCH_QUOTA": "many"}
    result = subprocess.run([script, "status"], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: RESEARCH_QUOTA='many' cannot be used")
    assert "Traceback" not in result.stderr
