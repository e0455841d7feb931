"""The command `export`: it writes the folder that it prints, and reports invalid arguments in one message."""

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
    settings = make_warehouse(tmp_path / "data")
    (tmp_path / "studies").mkdir()
    monkeypatch.setenv("RESEARCH_DATA", str(settings.root))
    monkeypatch.setenv("RESEARCH_STUDIES", str(tmp_path / "studies"))
    return settings


def export(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["export", *arguments], terminal_width=200)


def test_export_writes_the_named_files(export_settings: Settings) -> None:
    assert list_exports(export_settings) == []
    result = export("garden", "--mart", "videos", "--mart", "users", "--format", "stata", "--format", "csv")
    assert result.exit_code == 0, result.output
    (found,) = re.findall(r"Exported to (\S+);", result.stdout)
    assert sorted(str(path.relative_to(found)) for path in Path(found).rglob("*.*")) == [
        *("CITATION.cff", "DATA_STATEMENT.md", "README.md", "codebook.csv", "csv/users.csv", "csv/videos.csv"),
        *("datapackage.json", "ddi.xml", "manifest.json", "ro-crate-metadata.json"),
        *("stata/users.dta", "stata/videos.dta"),
    ]
    assert ["videos", "2"] in [line.split()[:2] for line in result.stdout.splitlines()]


def test_export_applies_days_and_pseudonyms_and_prints_the_key_path(export_settings: Settings) -> None:
    result = export("--first", "2026-02-02", "--pseudonymous")
    assert result.exit_code == 0, result.output
    assert "Skipped: users\n  Reason: rows belong to no single day" in result.stdout
    assert f"Pseudonym key: {export_settings.export_key}." in result.stdout
    assert {file.format for file in list_exports(export_settings)[0].files} == {"parquet", "csv"}


def test_ids_only_export_writes_ids_of_the_days(export_settings: Settings) -> None:
    result = export("--ids-only", "--last", "2026-02-01")
    assert result.exit_code == 0, result.output
    assert (list_exports(export_settings)[0].folder / "ids.csv").read_text().count("\n") == 4


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["gardn"], 1, "Error: There is no data of the study gardn; there are: bikes, garden."),
        (["--mart", "vids"], 1, "Error: There is no mart vids; there are: "),
        (["--format", "xlsx"], 2, "'xlsx' is not one of 'parquet', 'csv', 'stata', 'spss'"),
        (["--first", "2026-02-30"], 2, "Invalid value for '--first'"),
        (["--ids-only", "--pseudonymous"], 2, "--ids-only cannot be combined"),
    ],
)
def test_invalid_arguments_are_reported_and_write_nothing(
    export_settings: Settings, arguments: list[str], code: int, message: str
) -> None:
    result = export(*arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert list_exports(export_settings) == []
