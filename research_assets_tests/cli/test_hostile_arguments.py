"""Names on the command line that are no names: each command says so in one message, without a traceback or a file."""

import os
import resource
from dataclasses import replace
from datetime import date
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from research_assets.cli import main
from research_assets.cli.collect import require_days_of
from research_assets.settings import Settings
from research_assets_tests.collect.harness import study
from research_assets_tests.conftest import UNREACHABLE_URL
from research_assets_tests.report.report_warehouse import garden_rows, publish

NAMES = ("a" * 300, "../../escape", "/etc/passwd", "a\x1b[31mb", "[red]x[/red] [/x]", "*", "", "con", "a b", "\udcff")
COMMANDS = (
    ("replay", "{}"),
    ("report", "{}"),
    ("plan", "{}"),
    ("export", "{}"),
    ("audit", "FILE", "--yes", "--name", "{}"),
    ("rehydrate", "FILE", "--yes", "--name", "{}"),
    ("new-study", "{}", "--hashtag", "x", "--yes"),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a published warehouse, a list of ids and an empty folder of studies."""
    root = tmp_path_factory.mktemp("arguments")
    (root / "studies").mkdir()
    (root / "list.csv").write_text("id\n7602399228894800784\n")
    publish(Settings.from_env({"RESEARCH_DATA": str(root / "data"), "TIKTOK_API_URL": UNREACHABLE_URL}), garden_rows())
    return root


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_name_that_is_none_is_one_message(
    root: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], name: str
) -> None:
    monkeypatch.setenv("RESEARCH_DATA", str(root / "data"))
    monkeypatch.setenv("RESEARCH_STUDIES", str(root / "studies"))
    before = sorted(root.rglob("*"))
    command = [argument.replace("FILE", str(root / "list.csv")).replace("{}", name) for argument in arguments]
    result = CliRunner().invoke(main, command, terminal_width=200)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (1, 2), result.output
    assert "\x1b" not in result.output
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("population", "garden", "2026-02-01", "--precision", "nan"), "nan is no number"),
        (("sandbox", "--port", "0", "--latency", "nan"), "nan is no finite number"),
        (("sandbox", "--port", "0", "--rate", "inf"), "inf is no finite number"),
        (("report", "--port", "3001"), "--port belongs to --serve"),
        (("preregister", "garden", "--output", "/nowhere/at/all.md"), "There is no folder /nowhere/at"),
    ],
)
def test_option_without_a_meaning_is_one_message(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    query = "{and: [{field: region_code, in: [DE]}]}"
    study = f"name: garden, start: 2026-02-01, end: 2026-02-07, query: {query}"
    (tmp_path / "garden").mkdir()
    (tmp_path / "garden" / "defs.yaml").write_text(f"type: research_assets.Study\nattributes: {{{study}}}\n")
    monkeypatch.setenv("RESEARCH_DATA", str(root / "data"))
    monkeypatch.setenv("RESEARCH_STUDIES", str(tmp_path))
    monkeypatch.setenv("TIKTOK_API_URL", UNREACHABLE_URL)
    result = CliRunner().invoke(main, arguments, terminal_width=200)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2, result.output
    assert message in result.output


def test_days_that_no_study_has_are_refused() -> None:
    garden = study("garden", start=date(2026, 2, 1), end=date(2026, 2, 7))
    require_days_of([garden], date(2026, 1, 1), date(2026, 2, 1))
    require_days_of([garden, replace(garden, end=None)], date(2026, 3, 1), date(2026, 3, 1))
    with pytest.raises(click.UsageError, match=r"No study has a day .* Studies: garden \(2026-02-01 to 2026-02-07\)"):
        require_days_of([garden], date(2025, 2, 1), date(2025, 2, 2))


def test_commands_may_open_as_many_files_as_the_system_allows() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
        CliRunner().invoke(main, ["export", "--texts"])
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(4096, limits[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_damaged_warehouse_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.from_env({"RESEARCH_DATA": str(tmp_path), "TIKTOK_API_URL": UNREACHABLE_URL})
    publish(settings, garden_rows())
    os.truncate(settings.warehouse, settings.warehouse.stat().st_size // 2)
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path))
    result = CliRunner().invoke(main, ["export", "--mart", "videos"], terminal_width=200)
    assert isinstance(result.exception, SystemExit), result.exception
    assert "cannot be" in result.output or "could not be read" in result.output
    assert "research-assets build" in result.output
