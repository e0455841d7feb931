"""`export` as a user runs it: the folder it names is there, and what cannot be had is told in one line."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from research_assets.cli import main
from research_assets.export import list_exports
from research_assets.settings import Settings
from research_assets_tests.export.export_warehouse import make_warehouse


@pytest.fixture
def export_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = make_warehouse(tmp_path / "house")
    (tmp_path / "studies").mkdir()
    monkeypatch.setenv("RESEARCH_DATA", str(settings.root))
    monkeypatch.setenv("RESEARCH_STUDIES", str(tmp_path / "studies"))
    return settings


def export(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["export", *arguments], terminal_width=200)


def test_the_folder_that_it_names_holds_what_it_says(export_settings: Settings) -> None:
    assert list_exports(export_settings) == []
    result = export("garden", "--mart", "videos", "--mart", "users", "--format", "stata", "--format", "csv")
    assert result.exit_code == 0, result.output
    (found,) = re.findall(r"Exported to (\S+);", result.stdout)
    assert sorted(str(path.relative_to(found)) for path in Path(found).rglob("*.*")) == [
        *("README.md", "codebook.csv", "csv/users.csv", "csv/videos.csv", "manifest.json"),
        *("stata/users.dta", "stata/videos.dta"),
    ]
    assert ["videos", "2"] in [line.split()[:2] for line in result.stdout.splitlines()]


def test_days_pseudonyms_and_the_place_of_the_key(export_settings: Settings) -> None:
    result = export("--first", "2026-02-02", "--pseudonymous")
    assert result.exit_code == 0, result.output
    assert "Left out: users: rows belong to no single day" in result.stdout
    assert f"The key of the pseudonyms is {export_settings.pseudonym_key}." in result.stdout
    assert {file.format for file in list_exports(export_settings)[0].files} == {"parquet", "csv"}


def test_ids(export_settings: Settings) -> None:
    result = export("--ids-only", "--last", "2026-02-01")
    assert result.exit_code == 0, result.output
    assert (list_exports(export_settings)[0].folder / "ids.csv").read_text().count("\n") == 4


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["gardn"], 1, "Error: Nothing is held of the study gardn; there are: bikes, garden."),
        (["--mart", "vids"], 1, "Error: There is no mart vids; there are: "),
        (["--format", "xlsx"], 2, "'xlsx' is not one of 'parquet', 'csv', 'stata'"),
        (["--first", "2026-02-30"], 2, "Invalid value for '--first'"),
        (["--ids-only", "--pseudonymous"], 2, "--ids-only is a file of its own"),
    ],
)
def test_what_cannot_be_had_is_told(export_settings: Settings, arguments: list[str], code: int, said: str) -> None:
    result = export(*arguments)
    assert result.exit_code == code
    assert said in result.stderr
    assert list_exports(export_settings) == []
