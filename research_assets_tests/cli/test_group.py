"""The group of commands: help without large imports, and errors as messages."""

import errno
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from sqlite3 import connect

import click
import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine

from research_assets.cli.main import COMMANDS, KNOWN_ERRORS, import_reference, main
from research_assets.settings import SettingsError

LARGE_PACKAGES = {"dagster", "dbt", "duckdb", "httpx", "pandas", "rich", "starlette", "uvicorn", "yaml"}


def test_help_imports_no_large_package() -> None:
    code = (
        "import sys; from research_assets.cli import main; main(['--help'], standalone_mode=False);"
        f"print('imported:', sorted({LARGE_PACKAGES!r} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "imported: []" in output
    assert all(name in output for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert import_reference(COMMANDS[name][0]).name == name
    assert len(result.stdout.split("Options:")[0].splitlines()) > 3


@pytest.mark.parametrize("reference", KNOWN_ERRORS)
def test_each_known_error_exists(reference: str) -> None:
    assert issubclass(import_reference(reference), Exception)


@pytest.mark.parametrize("args", [["nope"], ["status", "--nope"], ["ui", "--port", "66000"]])
def test_wrong_usage_has_exit_code_2(args: list[str]) -> None:
    assert CliRunner().invoke(main, args).exit_code == 2


def failing(error: Exception) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


def test_known_error_prints_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "get_command", lambda *_: failing(SettingsError("Tried. Failed. Do this.")))
    result = CliRunner().invoke(main, ["status"])
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "Error: Tried. Failed. Do this.\n")


def test_disk_error_prints_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "/data/raw")
    monkeypatch.setattr(main, "get_command", lambda *_: failing(error))
    result = CliRunner().invoke(main, ["replay"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: The disk could not be used: No space left on device: /data/raw. ")
    assert "Make room on the disk" in result.stderr
    read_only = OSError(errno.EROFS, "Read-only file system", "/data/reports")
    monkeypatch.setattr(main, "get_command", lambda *_: failing(read_only))
    stderr = CliRunner().invoke(main, ["report"]).stderr
    assert ("Make the file system writable" in stderr, "room" in stderr) == (True, False)
    missing = FileNotFoundError(errno.ENOENT, "No such file", "/data/raw")
    monkeypatch.setattr(main, "get_command", lambda *_: failing(missing))
    assert CliRunner().invoke(main, ["replay"]).exception is missing


def test_error_of_dagsters_storage_prints_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def command() -> None:
        create_engine("sqlite://", creator=lambda: connect("file:/nowhere/runs.db?mode=ro", uri=True)).connect()

    monkeypatch.setattr(main, "get_command", lambda *_: command)
    result = CliRunner().invoke(main, ["collect"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: The storage of Dagster could not be used: unable to open database file. ")


def test_unknown_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "get_command", lambda *_: failing(ZeroDivisionError("bug")))
    assert isinstance(CliRunner().invoke(main, ["status"]).exception, ZeroDivisionError)


@pytest.mark.parametrize(("flags", "levels"), [([], set()), (["-v"], {"INFO"}), (["-vv"], {"INFO", "DEBUG"})])
def test_verbose_logs_to_stderr(flags: list[str], levels: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("research_assets.collect.run")

    @click.command()
    def command() -> None:
        logger.info("collected a day")
        logger.debug("sent a request")

    monkeypatch.setattr(main, "get_command", lambda *_: command)
    result = CliRunner().invoke(main, [*flags, "status"])
    lines = [line.split() for line in result.stderr.splitlines()]
    assert {line[1] for line in lines} == levels
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line[0]) for line in lines)
    assert result.stdout == ""


def test_installed_command_prints_only_the_error() -> None:
    script = Path(sys.executable).with_name("research-assets")
    environment = os.environ | {"RESEARCH_QUOTA": "many"}
    result = subprocess.run([script, "status"], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: RESEARCH_QUOTA='many' cannot be used")
    assert "Traceback" not in result.stderr
