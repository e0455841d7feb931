"""The files in `docs/deploy` as data: the units of systemd, the services of compose, and the settings."""

import configparser
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from research_assets.env_file import read_env_file
from research_assets.settings import PROJECT_DIR
from research_assets_tests.postgres import PostgresServer

DEPLOY = PROJECT_DIR / "docs" / "deploy"
UNITS = DEPLOY / "systemd"
SERVICES = ("code", "webserver", "readonly", "daemon")
"""Services of this project, which both systemd and compose run."""

BIN = "/opt/research-assets/bin/"
"""Folder of the programs on a machine without containers."""


@dataclass(frozen=True)
class Unit:
    """A unit of systemd: the values of each section by key, in order."""

    sections: dict[str, dict[str, str]]

    @classmethod
    def read(cls, name: str) -> "Unit":
        """Read the unit of a service."""
        parser = configparser.RawConfigParser(interpolation=None, delimiters=("=",))
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        parser.read_string((UNITS / f"research-assets-{name}.service").read_text())
        return cls({section: dict(parser[section]) for section in parser.sections()})

    @property
    def service(self) -> dict[str, str]:
        """Return the section `Service`."""
        return self.sections["Service"]

    @property
    def command(self) -> list[str]:
        """Return the words of the command; the first one is the name of the program."""
        words = shlex.split(self.service["ExecStart"])
        assert words[0].startswith(BIN)
        return [words[0].removeprefix(BIN), *words[1:]]


def compose() -> dict[str, Any]:
    """Return the file of compose."""
    content: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return content


def settings() -> dict[str, str]:
    """Return the variables of `env.example`, also the empty ones."""
    return read_env_file(DEPLOY / "env.example", {}, is_ours=lambda _: True, is_literal=lambda _: True)


def read_yaml(name: str) -> Any:
    """Return the content of a YAML file."""
    return yaml.safe_load((DEPLOY / name).read_text())


def copy_to(folder: Path, name: str) -> Path:
    """Copy a file of `docs/deploy` and return the copy."""
    copy = folder / name
    copy.write_bytes((DEPLOY / name).read_bytes())
    return copy


def create_databases(server: PostgresServer) -> None:
    """Create the databases and roles of a lab."""
    shutil.copy(DEPLOY / "postgres.sql", server.folder)
    with pytest.MonkeyPatch().context() as variables:
        variables.setenv("DAGSTER_PASSWORD", "with 'quotes'")
        variables.setenv("LEDGER_PASSWORD", "another")
        server.run("psql", "-h", "127.0.0.1", "-p", str(server.port), "-U", "lab", "-f", "postgres.sql", "lab")
