"""Exports of the marts that dbt builds: every column has a treatment, and every mart is exported in every format."""

import re

import duckdb
import pandas as pd
import pyreadstat
import pytest

from research_assets.export import FORMATS, Export, ExportRequest, export
from research_assets.export.coarse import SKIPPED_MARTS
from research_assets.export.treatment import TREATMENTS, Treatment, mart_treatments
from research_assets.warehouse.reader import Mart, MartColumn, connect_read_only, read_marts
from research_assets_tests.export.export_warehouse import NOW
from research_assets_tests.export.test_archive import check_archive
from research_assets_tests.report.html_parser import ParsedReport
from research_assets_tests.warehouse.conftest import BuiltWarehouse, query
from research_assets_tests.warehouse.raw_data import ANNA_VIDEO, COMMENT

PEOPLE = ("anna", "ben", "carl", "dora")


def test_treatments_are_of_columns_that_exist(built_warehouse: BuiltWarehouse) -> None:
    with connect_read_only(built_warehouse.settings.warehouse) as connection:
        marts = read_marts(connection)
    unknown = {
        f"{name}.{column}"
        for name, treated in TREATMENTS.items()
        for columns in treated.values()
        for column in columns.split()
        if name not in marts or column not in marts[name].names
    }
    assert not unknown, "treatments of columns that no mart has"


def test_column_without_a_treatment_is_dropped() -> None:
    columns = (MartColumn("study", "VARCHAR", ""), MartColumn("phone_number", "VARCHAR", ""))
    assert mart_treatments(Mart("users", "", columns)) == {"study": Treatment.KEEP, "phone_number": Treatment.DROP}


@pytest.fixture(scope="module")
def full_export(built_warehouse: BuiltWarehouse) -> Export:
    return export(built_warehouse.settings, ExportRequest(formats=FORMATS), [], NOW)


@pytest.fixture(scope="module")
def pseudonymous_export(built_warehouse: BuiltWarehouse) -> Export:
    return export(built_warehouse.settings, ExportRequest(formats=("parquet", "csv"), pseudonymous=True), [], NOW)


def test_every_exported_mart_has_all_rows(full_export: Export, built_warehouse: BuiltWarehouse) -> None:
    names = [
        name
        for (name,) in query(
            built_warehouse.settings, "select table_name from duckdb_tables() where schema_name = 'marts'"
        )
    ]
    assert sorted(full_export.rows) == sorted(names)
    for name in names:
        (count,) = query(built_warehouse.settings, f"select count(*) from marts.{name}")[0]
        assert len(pd.read_stata(full_export.folder / "stata" / f"{name}.dta")) == count
        assert len(pd.read_csv(full_export.folder / "csv" / f"{name}.csv")) == count
        assert len(pyreadstat.read_sav(str(full_export.folder / "spss" / f"{name}.sav"))[0]) == count
        with duckdb.connect() as connection:
            parquet = connection.sql(f"FROM '{full_export.folder}/parquet/{name}.parquet'")
            assert parquet.aggregate("count(*)").fetchall() == [(count,)]


def test_descriptions_of_all_marts_agree_with_their_files(full_export: Export, pseudonymous_export: Export) -> None:
    for one in (full_export, pseudonymous_export):
        check_archive(one.folder, {file.path: file.rows for file in one.files})


def test_ids_are_exact_in_each_format(full_export: Export) -> None:
    comments = pd.read_stata(full_export.folder / "stata" / "comments.dta")
    assert str(COMMENT) in set(comments["comment_id"])
    assert set(comments["video_id"]) == {str(ANNA_VIDEO)}
    assert set(pd.read_csv(full_export.folder / "csv" / "comments.csv")["video_id"]) == {f"id_{ANNA_VIDEO}"}
    with duckdb.connect() as connection:
        rows = connection.sql(
            f"SELECT DISTINCT video_id FROM '{full_export.folder}/parquet/comments.parquet'"
        ).fetchall()
    assert rows == [(ANNA_VIDEO,)]


def test_coarse_release_contains_no_name_no_id_and_no_time(built_warehouse: BuiltWarehouse) -> None:
    release = export(built_warehouse.settings, ExportRequest(formats=("csv",), coarse=True, texts=True), [], NOW)
    assert set(release.skipped) == set(SKIPPED_MARTS)
    assert set(release.rows) > {"videos", "comments", "users", "coverage", "engagements"}
    for path in (release.folder / "csv").iterdir():
        cells = pd.read_csv(path, dtype=str, keep_default_na=False)
        assert "uploaded_at" not in cells
        found = {str(cell) for column in cells for cell in cells[column]}
        assert not found & {*PEOPLE, f"id_{ANNA_VIDEO}", str(ANNA_VIDEO)}, path
        # Known changes of the API are the project's own.
        times = [cell for cell in found if re.search(r"\d{4}-\d\d-\d\d[T ]\d", cell)]
        assert not times or path.stem == "api_changes", (path, times[:3])
    check_archive(release.folder, {file.path: file.rows for file in release.files})
    changes = pd.read_csv(release.folder / "csv" / "api_changes.csv")
    assert changes["title"].notna().all()
    assert "| `videos` | study, day," in (release.folder / "DISCLOSURE.md").read_text()


def test_pseudonymous_files_contain_no_names_or_ids(pseudonymous_export: Export, full_export: Export) -> None:
    assert pseudonymous_export.rows == full_export.rows
    for path in (pseudonymous_export.folder / "csv").iterdir():
        cells = pd.read_csv(path, dtype=str, keep_default_na=False)
        found = {str(cell) for column in cells for cell in cells[column]}
        assert not found & {*PEOPLE, *(f"@{name}" for name in PEOPLE), f"id_{ANNA_VIDEO}", str(ANNA_VIDEO)}, path


def test_export_contains_the_codebook_page_with_the_codebook_mart(
    full_export: Export, pseudonymous_export: Export, built_warehouse: BuiltWarehouse
) -> None:
    page = ParsedReport((full_export.folder / "codebook.html").read_text())
    page.is_self_contained()
    book = pd.read_csv(full_export.folder / "csv" / "codebook.csv")
    assert set(page.cells) == {
        f"{mart}.{column}" for mart, column in zip(book["mart"], book["column_name"], strict=True)
    }
    assert "`codebook.html` shows the table `codebook`" in (full_export.folder / "README.md").read_text()
    assert not any(
        name in (pseudonymous_export.folder / "codebook.html").read_text() for name in (*PEOPLE, str(ANNA_VIDEO))
    )
    narrow = export(built_warehouse.settings, ExportRequest(marts=("videos",), formats=("csv",)), [], NOW)
    assert not (narrow.folder / "codebook.html").exists()
    assert "codebook.html" not in (narrow.folder / "README.md").read_text()


def test_codebook_of_an_export_describes_every_column(full_export: Export) -> None:
    book = pd.read_csv(full_export.folder / "codebook.csv", keep_default_na=False)
    assert set(book["mart"]) == set(full_export.rows)
    assert not (book["description"] == "").any()
