"""The rooms import what they may, and the check itself sees what it should."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from research_assets.settings import PROJECT_DIR
from research_assets_tests.import_rules import READS_ENVIRONMENT, environment_uses, imports, violations

PACKAGE_DIR = PROJECT_DIR / "research_assets"


def test_every_source_file_keeps_to_its_layer() -> None:
    paths = sorted(PACKAGE_DIR.rglob("*.py"))
    assert paths
    found = [v for path in paths for v in violations(path.read_text(), path.relative_to(PACKAGE_DIR))]
    assert not found, "\n".join(found)


def test_each_exception_for_the_environment_is_still_needed() -> None:
    for name in READS_ENVIRONMENT:
        assert list(environment_uses(ast.parse((PACKAGE_DIR / name).read_text()))), f"{name} no longer needs it"


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("tiktok/client.py", "import dagster"),
        ("tiktok/client.py", "import rich"),
        ("tiktok/client.py", "from research_assets.settings import Settings"),
        ("tiktok/client.py", "from ..quota import Ledger"),
        ("tiktok/client.py", "from .. import quota"),
        ("fields.py", "import orjson"),
        ("quota.py", "def f():\n    import pandas as pd"),
        ("captures.py", "from dagster import asset"),
        ("tables.py", "import pyarrow.parquet"),
        ("collect/run.py", "import research_assets.component"),
        ("collect/run.py", "from research_assets import sandbox"),
        ("sandbox/world/world.py", "from research_assets.tiktok.endpoints import ENDPOINTS"),
        ("sandbox/world/world.py", "from research_assets.study.spec import StudySpec"),
        ("checks.py", "from research_assets.assets.entities import x"),
        ("sensors.py", "from research_assets import assets"),
        ("study.py", "from dagster._core.definitions import x"),
        ("study.py", "import dagster._core.storage as s"),
        ("study.py", "from research_assets.sandbox import world"),
        ("cli/main.py", "from research_assets.assets.warehouse import x"),
        ("cli/main.py", 'LAZY = "research_assets.assets.warehouse:x"'),
        ("sensors.py", "from research_assets.definitions import defs"),
        ("quota.py", "import os\nx = os.environ['A']"),
        ("quota.py", "import os\nx = os.getenv('A')"),
        ("quota.py", "from os import environ"),
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
        ("tiktok/client.py", "from research_assets.tiktok.errors import Wait"),
        (
            "collect/run.py",
            "from research_assets.quota.ledger import Ledger\nfrom research_assets.tiktok import client",
        ),
        ("study.py", "import dagster as dg\nfrom research_assets.assets import videos"),
        ("definitions.py", "import dagster as dg\nfrom research_assets.assets.warehouse import w"),
        ("cli/main.py", 'LAZY = "research_assets.sandbox.server:command"'),
        ("quota.py", '"""Settings come from research_assets.assets, in a sentence."""\nimport os\nos.fsync(1)'),
        ("settings.py", "import os\nx = os.environ"),
    ],
)
def test_what_is_allowed_passes(path: str, source: str) -> None:
    assert not list(violations(source, Path(path)))


def test_imports_are_resolved_to_full_names() -> None:
    found = imports(ast.parse("from .a import b\nfrom ..c import d\nimport e.f"), Path("collect/run.py"))
    assert [name for _, name in found] == ["research_assets.collect.a.b", "research_assets.c.d", "e.f"]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("tiktok/client.py", "import dagster"),
        ("tiktok/client.py", "from research_assets.settings import Settings"),
        ("tiktok/client.py", "from dagster._core import x"),
        ("collect/run.py", "import pandas as pd"),
        ("collect/run.py", "from research_assets.assets import videos"),
        ("sandbox/world/world.py", "from research_assets.tiktok import endpoints"),
        ("checks.py", "from research_assets.assets import videos"),
        ("checks.py", "from dagster._core import x"),
        ("checks.py", "import os\nx = os.environ"),
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
