"""Building an export: its contents, its README and manifest; a failed export leaves no files."""

import csv
import json
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyreadstat
import pytest

from research_assets.export import FORMATS, Export, ExportError, ExportRequest, export, list_exports, stata
from research_assets.export.archive import ARCHIVE_FILES
from research_assets.settings import Settings
from research_assets.warehouse.reader import WarehouseReadError
from research_assets_tests.export.export_warehouse import COMMENT, NOW, OTHER, REPLY, STUDY, VIDEO

CSV = ("csv",)


def tables(result: Export) -> dict[str, int]:
    return result.rows


def test_export_contains_every_mart_in_every_format(full_export: Export) -> None:
    assert tables(full_export) == {"videos": 3, "comments": 2, "users": 2, "coverage": 5, "quota_usage": 1}
    assert {file.format for file in full_export.files} == {"parquet", "csv", "stata", "spss"}
    assert all((full_export.folder / file.path).stat().st_size == file.bytes for file in full_export.files)
    assert full_export.folder.name == "all-20260302T090000Z"


def test_folder_is_private_and_has_a_readme_and_a_codebook(full_export: Export, export_settings: Settings) -> None:
    assert all(
        path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)
        for path in (export_settings.exports, full_export.folder, *full_export.folder.rglob("*"))
    )
    text = (full_export.folder / "README.md").read_text()
    for sentence in (
        "Exported at 2026-03-02 09:00:00 UTC by research-assets ",
        "| `videos` | 3 | one video of one study. |",
        "Study `garden`, 2026-02-01 to now",
        '"hashtag_name", "field_values": ["garten"]',
        "| garden | comments | complete | 1 | 100 | 2 | 2 |",
        "| garden | users | missing | 1 | 0 | 0 | 0 |",
        "a panel of 1 account",
    ):
        assert sentence in text
    assert "Simulated data" not in text
    with (full_export.folder / "codebook.csv").open() as file:
        columns = list(csv.DictReader(file))
    described = {(row["mart"], row["column"]): row for row in columns}
    assert described["videos", "view_count"]["description"].endswith("beside a variable (views).")
    assert described["videos", "video_id"]["name_in_stata"] == "video_id"
    with duckdb.connect(str(export_settings.warehouse), read_only=True) as connection:
        (number,) = connection.execute("SELECT count(*) FROM duckdb_columns() WHERE schema_name = 'marts'").fetchall()
    assert len(described) == len(columns) == number[0]


def test_codebook_csv_includes_columns_of_the_mart_codebook(own_export_settings: Settings) -> None:
    with duckdb.connect(str(own_export_settings.warehouse)) as connection:
        connection.execute(
            "CREATE TABLE marts.codebook AS SELECT 'videos' AS mart, 'view_count' AS column_name, 'views' AS unit, "
            "'videos.view_count' AS source_field, '2023' AS available_since"
        )
    request = ExportRequest(marts=("videos",), formats=CSV, pseudonymous=True)
    with (export(own_export_settings, request, [], NOW).folder / "codebook.csv").open() as file:
        columns = {row["column"]: row for row in csv.DictReader(file)}
    values = {name: columns["view_count"][name] for name in ("unit", "source_field", "available_since", "treatment")}
    assert list(values.values()) == ["views", "videos.view_count", "2023", "kept"]
    assert columns["day"]["unit"] == ""


@pytest.mark.parametrize("pseudonymous", [False, True])
def test_every_file_of_simulated_data_says_so(own_export_settings: Settings, pseudonymous: bool) -> None:
    (own_export_settings.state / "origin").write_text("sandbox")
    result = export(own_export_settings, ExportRequest(formats=FORMATS, pseudonymous=pseudonymous), [STUDY], NOW)
    assert len(list(result.folder.rglob("*.*"))) == 4 * 5 + 3 + len(ARCHIVE_FILES) - 1  # SHA256SUMS has no suffix
    for path in filter(Path.is_file, result.folder.rglob("*")):
        if path.suffix == ".parquet":
            assert duckdb.execute(f"SELECT bool_and(simulated), count(*) FROM '{path}'").fetchall()[0] in (
                (True, result.rows[path.stem]),
                (None, 0),
            )
        elif path.suffix in (".dta", ".sav"):
            table = pd.read_stata(path) if path.suffix == ".dta" else pyreadstat.read_sav(str(path))[0]
            assert set(table["simulated"]) <= {1}
        elif path.name != "SHA256SUMS":
            assert "simulated" in path.read_text().lower(), path
    assert list_exports(own_export_settings) == [result]
    ids = export(own_export_settings, ExportRequest(ids_only=True), [], NOW)
    lines = (ids.folder / "ids.csv").read_text().splitlines()
    assert lines[0] == "entity,id,video_id,date,simulated"
    assert all(line.endswith(",true") for line in lines[1:])


def test_readme_declares_simulated_data(own_export_settings: Settings) -> None:
    (own_export_settings.state / "origin").write_text("sandbox")
    text = (export(own_export_settings, ExportRequest(formats=CSV), [], NOW).folder / "README.md").read_text()
    assert "**Simulated data**" in text
    assert "> Simulated data: TikTok Research API" in text


def test_export_is_limited_to_studies_marts_and_days(own_export_settings: Settings) -> None:
    one = export(own_export_settings, ExportRequest(studies=("bikes",), formats=CSV), [STUDY], NOW)
    assert tables(one) == {"videos": 1, "comments": 0, "users": 0, "coverage": 0, "quota_usage": 0}
    assert one.folder.name == "bikes-20260302T090000Z"
    # The README quotes the exported studies, not all defined studies.
    assert "no study file any more" in (one.folder / "README.md").read_text()
    days = export(
        own_export_settings, ExportRequest(first=date(2026, 2, 2), last=date(2026, 2, 2), formats=CSV), [], NOW
    )
    assert tables(days) == {"videos": 2, "comments": 0, "coverage": 1, "quota_usage": 0}
    assert "Skipped: `users`. Reason: rows belong to no single day" in (days.folder / "README.md").read_text()
    named = export(
        own_export_settings, ExportRequest(marts=("users", "videos"), last=date(2026, 2, 1), formats=CSV), [], NOW
    )
    assert tables(named) == {"users": 2, "videos": 1}
    assert "| `users` | 2 |  (all days) |" in (named.folder / "README.md").read_text()


def test_export_of_ids_contains_only_ids(own_export_settings: Settings) -> None:
    result = export(own_export_settings, ExportRequest(studies=("garden",), ids_only=True), [STUDY], NOW)
    assert (result.folder / "ids.csv").read_text().splitlines() == [
        "entity,id,video_id,date",
        f"videos,{VIDEO},{VIDEO},2026-02-01",
        f"videos,{OTHER},{OTHER},2026-02-02",
        f"comments,{COMMENT},{VIDEO},2026-02-01",
        f"comments,{REPLY},{VIDEO},2026-02-01",
    ]
    assert sorted(path.name for path in result.folder.iterdir()) == sorted(
        ["README.md", "ids.csv", "manifest.json", *ARCHIVE_FILES]
    )
    text = (result.folder / "README.md").read_text()
    assert "`ids.csv`: 4 ids." in text
    assert "research-assets rehydrate ids.csv" in text


def test_list_exports_returns_every_export(own_export_settings: Settings) -> None:
    assert list_exports(own_export_settings) == []
    first = export(
        own_export_settings, ExportRequest(studies=("garden",), first=date(2026, 2, 1), pseudonymous=True), [STUDY], NOW
    )
    second = export(own_export_settings, ExportRequest(ids_only=True), [STUDY], NOW + timedelta(seconds=1))
    third = export(own_export_settings, ExportRequest(ids_only=True), [STUDY], NOW + timedelta(seconds=1))
    assert third.folder.name == f"{second.folder.name}-2"
    assert list_exports(own_export_settings) == [first, second, third]
    assert json.loads((first.folder / "manifest.json").read_text())["software"].startswith("research-assets ")


def test_tables_of_the_same_marts_are_the_same_bytes(own_export_settings: Settings) -> None:
    warehouse, built_at = own_export_settings.warehouse, datetime(2026, 2, 9, 8, 7, 6, tzinfo=UTC)
    os.utime(warehouse, (built_at.timestamp(), built_at.timestamp()))
    request = ExportRequest(marts=("videos",), formats=("parquet", "csv", "stata", "spss"))
    first, second = (export(own_export_settings, request, [STUDY], NOW + timedelta(days=day)) for day in (0, 400))
    assert [file.sha256 for file in first.files] == [file.sha256 for file in second.files]
    assert (first.folder / "spss" / "videos.sav").read_bytes()[92:109] == b"09 Feb 2608:07:06"


def test_list_exports_fails_for_an_unreadable_manifest(own_export_settings: Settings) -> None:
    result = export(own_export_settings, ExportRequest(ids_only=True), [], NOW)
    for broken in ("", "{}", '{"request": {"studies": []}}'):
        (result.folder / "manifest.json").write_text(broken)
        with pytest.raises(ExportError, match="cannot be read as the manifest"):
            list_exports(own_export_settings)


@pytest.mark.parametrize(
    ("studies", "title"),
    [((), "all"), (("a",), "a"), (("a", "b", "c"), "a-b-c"), (("a", "b", "c", "d"), "4-studies")],
)
def test_folder_name_contains_the_studies(studies: tuple[str, ...], title: str) -> None:
    assert ExportRequest(studies=studies).folder_name == title


@pytest.mark.parametrize(
    ("export_request", "message"),
    [
        (
            ExportRequest(marts=("vids",)),
            "There is no mart vids; there are: comments, coverage, quota_usage, users, videos",
        ),
        (ExportRequest(formats=("xlsx",)), "There is no format xlsx; there are: parquet, csv, stata, spss"),
        (ExportRequest(first=date(2026, 2, 2), last=date(2026, 2, 1)), "The last day, 2026-02-01, is before the first"),
        (ExportRequest(ids_only=True, pseudonymous=True), "either pseudonymous or of ids only"),
        (ExportRequest(ids_only=True, marts=("videos",)), "Name no marts"),
    ],
)
def test_invalid_export_requestfails_with_a_message(
    own_export_settings: Settings, export_request: ExportRequest, message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        export(own_export_settings, export_request, [], NOW)
    assert list_exports(own_export_settings) == []


def test_export_fails_for_an_unknown_study_and_without_a_warehouse(
    own_export_settings: Settings, settings: Settings
) -> None:
    with pytest.raises(WarehouseReadError, match="There is no data of the study gardn; there are: bikes, garden"):
        export(own_export_settings, ExportRequest(studies=("gardn",)), [], NOW)
    with pytest.raises(WarehouseReadError, match="no warehouse"):
        export(settings, ExportRequest(), [], NOW)
    assert not settings.exports.exists()


@pytest.mark.parametrize(("file_format", "program"), [("stata", "Stata"), ("spss", "SPSS")])
def test_too_many_rows_for_memory_fail_and_leave_no_files(
    file_format: str, program: str, own_export_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stata, "MAX_ROWS", 2)
    with pytest.raises(ExportError, match=rf"The mart coverage has 5 rows, too many for {program}.*export csv"):
        export(own_export_settings, ExportRequest(formats=("csv", file_format)), [], NOW)
    assert list(own_export_settings.exports.iterdir()) == []


def test_full_disk_fails_and_leaves_no_files(own_export_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> int:
        raise duckdb.IOException("No space left on device")

    monkeypatch.setattr("research_assets.export.build.write_ids", full)
    with pytest.raises(ExportError, match="No space left on device"):
        export(own_export_settings, ExportRequest(ids_only=True), [], NOW)
    assert list(own_export_settings.exports.iterdir()) == []


def test_temporary_folder_of_a_killed_export_is_removed_after_a_day(own_export_settings: Settings) -> None:
    export(own_export_settings, ExportRequest(ids_only=True), [], NOW)
    for name, age in ((".old.tmp", 25), (".new.tmp", 1)):
        folder: Path = own_export_settings.exports / name
        (folder / "csv").mkdir(parents=True)
        modified = (NOW - timedelta(hours=age)).timestamp()
        os.utime(folder, (modified, modified))
    export(own_export_settings, ExportRequest(ids_only=True), [], NOW)
    assert sorted(path.name for path in own_export_settings.exports.glob(".*")) == [".new.tmp"]
