"""The packages import what they may, no modules import each other, and the check itself finds what it should."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from research_assets.settings import PROJECT_DIR
from research_assets_tests.import_rules import (
    LAYERS,
    READS_ENVIRONMENT,
    environment_uses,
    import_circles,
    imports,
    violations,
)

PACKAGE_DIR = PROJECT_DIR / "research_assets"


def sources() -> dict[Path, str]:
    return {path.relative_to(PACKAGE_DIR): path.read_text() for path in sorted(PACKAGE_DIR.rglob("*.py"))}


def test_every_source_file_keeps_to_its_layer() -> None:
    found = [violation for path, source in sources().items() for violation in violations(source, path)]
    assert not found, "\n".join(found)


def test_no_modules_import_each_other() -> None:
    assert import_circles(sources()) == []


def test_every_package_is_in_the_table_once() -> None:
    present = {path.parts[0].removesuffix(".py") for path in sources()} - {"__init__", "sandbox"}
    listed = [package for layer in LAYERS for package in layer]
    assert len(listed) == len(set(listed))
    assert present <= set(listed)


def test_each_exception_for_the_environment_is_still_needed() -> None:
    for name in READS_ENVIRONMENT:
        assert list(environment_uses(ast.parse((PACKAGE_DIR / name).read_text()))), f"{name} no longer needs it"


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("tiktok/client.py", "import dagster"),
        ("tiktok/client.py", "import rich"),
        ("tiktok/client.py", "from research_assets.settings import Settings"),
        ("tiktok/client.py", "from ..quota import ledger"),
        ("tiktok/client.py", "from .. import quota"),
        ("fields.py", "import orjson"),
        ("quota/ledger.py", "def f():\n    import pandas as pd"),
        ("storage/captures.py", "from dagster import asset"),
        ("storage/captures.py", "from research_assets.quota.ledger import Ledger"),
        ("storage/raw_writer.py", "import pyarrow.parquet"),
        ("units/coverage.py", "from research_assets.planning.types import Agenda"),
        ("planning/agenda.py", "from research_assets.collect.types import Paused"),
        ("collect/run.py", "from research_assets.planning.agenda import build_agenda"),
        ("collect/run.py", "import research_assets.component"),
        ("collect/run.py", "from research_assets import sandbox"),
        ("report/page.py", "from research_assets.export.build import export"),
        ("sandbox/world/world.py", "from research_assets.tiktok.endpoints import ENDPOINTS"),
        ("sandbox/world/world.py", "from research_assets.study.spec import StudySpec"),
        ("checks/rules.py", "from research_assets.assets.entities import x"),
        ("sensors/collection.py", "from research_assets import assets"),
        ("component.py", "from dagster._core.definitions import x"),
        ("component.py", "import dagster._core.storage as s"),
        ("component.py", "from research_assets.sandbox import world"),
        ("assets/warehouse.py", "from dbt.adapters.duckdb.connections import DuckDBConnectionManager"),
        ("assets/warehouse.py", "import dbt.adapters.duckdb"),
        ("assets/warehouse.py", "from dagster_dbt import _private"),
        ("assets/warehouse.py", "from dagster_dbt import DbtProject\nDbtProject._x()"),
        ("cli/main.py", "from research_assets.assets.warehouse import x"),
        ("cli/main.py", 'LAZY = "research_assets.assets.warehouse:x"'),
        ("sensors/collection.py", "from research_assets.definitions import defs"),
        ("quota/ledger.py", "import os\nx = os.environ['A']"),
        ("quota/ledger.py", "import os\nx = os.getenv('A')"),
        ("quota/ledger.py", "from os import environ"),
        ("attic.py", "x = 1"),
    ],
)
def test_a_violation_is_found(path: str, source: str) -> None:
    assert list(violations(source, Path(path)))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "tiktok/client.py",
            "import asyncio\nimport httpx\nfrom research_assets.fields import ENTITIES\nfrom . import errors",
        ),
        ("tiktok/client.py", "from research_assets.tiktok.errors import RateLimited"),
        (
            "collect/run.py",
            "from research_assets.quota.ledger import Ledger\nfrom research_assets.tiktok import client",
        ),
        ("component.py", "import dagster as dg\nfrom research_assets.assets import entities"),
        ("definitions.py", "import dagster as dg\nfrom research_assets.assets.warehouse import w"),
        ("assets/warehouse.py", "from dagster_dbt import DbtProject\nDbtProject.project_dir"),
        ("cli/main.py", 'LAZY = "research_assets.sandbox.server:command"'),
        ("quota/ledger.py", '"""Settings come from research_assets.assets, in a sentence."""\nimport os\nos.fsync(1)'),
        ("settings.py", "import os\nx = os.environ"),
    ],
)
def test_what_is_allowed_passes(path: str, source: str) -> None:
    assert not list(violations(source, Path(path)))


def test_imports_are_resolved_to_full_names() -> None:
    found = imports(ast.parse("from .a import b\nfrom ..c import d\nimport e.f"), Path("collect/run.py"))
    assert [name for _, name in found] == ["research_assets.collect.a.b", "research_assets.c.d", "e.f"]


def test_a_circle_through_a_function_is_found() -> None:
    assert import_circles(
        {
            Path("units/a.py"): "from research_assets.units.b import x",
            Path("units/b.py"): "from research_assets.units import c",
            Path("units/c.py"): "def f():\n    from research_assets.units.a import y",
            Path("units/d.py"): "from research_assets.units.a import z",
        }
    ) == [["research_assets.units.a", "research_assets.units.b", "research_assets.units.c"]]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("tiktok/client.py", "import dagster"),
        ("tiktok/client.py", "from research_assets.settings import Settings"),
        ("tiktok/client.py", "from dagster._core import x"),
        ("storage/captures.py", "import dagster"),
        ("quota/ledger.py", "import dagster"),
        ("study/loader.py", "import dagster"),
        ("units/coverage.py", "from research_assets.collect import types"),
        ("planning/agenda.py", "from research_assets.collect import types"),
        ("collect/run.py", "import pandas as pd"),
        ("collect/search/run.py", "from research_assets.planning import agenda"),
        ("collect/run.py", "from research_assets.assets import entities"),
        ("warehouse/reader.py", "import dagster"),
        ("sandbox/world/world.py", "from research_assets.tiktok import endpoints"),
        ("checks/rules.py", "from research_assets.assets import entities"),
        ("checks/rules.py", "from dagster._core import x"),
        ("checks/rules.py", "import os\nx = os.environ"),
    ],
)
def test_the_linter_shows_it_in_an_editor(path: str, source: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--stdin-filename", PACKAGE_DIR / path, "-"],
        input=source + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "TID251" in result.stdout, result.stdout + result.stderr
