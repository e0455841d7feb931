"""Names on the command line that are no names: each command says so in one message, without a traceback or a file."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from research_assets.cli import main
from research_assets.settings import Settings
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
