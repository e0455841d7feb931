"""Exports of the marts as dbt builds them: every column is classified, every mart goes through every format."""

import duckdb
import pandas as pd
import pytest

from research_assets.export import FORMATS, Export, ExportError, ExportRequest, export
from research_assets.export.treatment import TREATMENTS, mart_treatments
from research_assets.warehouse.reader import connect_read_only, read_marts
from research_assets_tests.export.export_warehouse import NOW
from research_assets_tests.report.html_parser import ParsedReport
from research_assets_tests.warehouse.conftest import BuiltWarehouse, query
from research_assets_tests.warehouse.raw_data import ANNA_VIDEO, COMMENT

PEOPLE = ("anna", "ben", "carl", "dora")


def test_every_column_of_every_mart_is_kept_replaced_or_left_out(built_warehouse: BuiltWarehouse) -> None:
    """A new column fails here until `research_assets/export/treatment.py` says what becomes of it."""
    with connect_read_only(built_warehouse.settings.warehouse) as connection:
        known = read_marts(connection)
    unclassified = []
    for mart in known.values():
        try:
            mart_treatments(mart)
        except ExportError as error:
            unclassified.append(str(error))
    assert not unclassified, "\n".join(unclassified)
    gone = {
        f"{name}.{column}"
        for name, treated in TREATMENTS.items()
        for columns in treated.values()
        for column in columns.split()
        if name not in known or column not in known[name].names
    }
    assert not gone, "columns that no mart has any more"


@pytest.fixture(scope="module")
def whole(built_warehouse: BuiltWarehouse) -> Export:
    return export(built_warehouse.settings, ExportRequest(formats=FORMATS), [], NOW)


@pytest.fixture(scope="module")
def veiled(built_warehouse: BuiltWarehouse) -> Export:
    return export(built_warehouse.settings, ExportRequest(formats=("parquet", "csv"), pseudonymous=True), [], NOW)


def test_every_mart_is_read_back_with_all_its_rows(whole: Export, built_warehouse: BuiltWarehouse) -> None:
    names = [
        name
        for (name,) in query(
            built_warehouse.settings, "select table_name from duckdb_tables() where schema_name = 'marts'"
        )
    ]
    assert sorted(whole.rows) == sorted(names)
    for name in names:
        (count,) = query(built_warehouse.settings, f"select count(*) from marts.{name}")[0]
        assert len(pd.read_stata(whole.folder / "stata" / f"{name}.dta")) == count
        assert len(pd.read_csv(whole.folder / "csv" / f"{name}.csv")) == count
        with duckdb.connect() as connection:
            parquet = connection.sql(f"FROM '{whole.folder}/parquet/{name}.parquet'")
            assert parquet.aggregate("count(*)").fetchall() == [(count,)]


def test_ids_are_unharmed_in_each_format(whole: Export) -> None:
    comments = pd.read_stata(whole.folder / "stata" / "comments.dta")
    assert str(COMMENT) in set(comments["comment_id"])
    assert set(comments["video_id"]) == {str(ANNA_VIDEO)}
    assert set(pd.read_csv(whole.folder / "csv" / "comments.csv")["video_id"]) == {f"id_{ANNA_VIDEO}"}
    with duckdb.connect() as connection:
        rows = connection.sql(f"SELECT DISTINCT video_id FROM '{whole.folder}/parquet/comments.parquet'").fetchall()
    assert rows == [(ANNA_VIDEO,)]


def test_a_pseudonymous_export_of_all_marts_names_nobody(veiled: Export, whole: Export) -> None:
    assert veiled.rows == whole.rows
    for path in (veiled.folder / "csv").iterdir():
        cells = pd.read_csv(path, dtype=str, keep_default_na=False)
        found = {str(cell) for column in cells for cell in cells[column]}
        assert not found & {*PEOPLE, *(f"@{name}" for name in PEOPLE), f"id_{ANNA_VIDEO}", str(ANNA_VIDEO)}, path


def test_the_page_of_the_codebook_goes_with_its_mart(
    whole: Export, veiled: Export, built_warehouse: BuiltWarehouse
) -> None:
    page = ParsedReport((whole.folder / "codebook.html").read_text())
    page.is_self_contained()
    book = pd.read_csv(whole.folder / "csv" / "codebook.csv")
    assert set(page.cells) == {
        f"{mart}.{column}" for mart, column in zip(book["mart"], book["column_name"], strict=True)
    }
    assert "`codebook.html` shows the table `codebook`" in (whole.folder / "README.md").read_text()
    assert not any(name in (veiled.folder / "codebook.html").read_text() for name in (*PEOPLE, str(ANNA_VIDEO)))
    narrow = export(built_warehouse.settings, ExportRequest(marts=("videos",), formats=("csv",)), [], NOW)
    assert not (narrow.folder / "codebook.html").exists()
    assert "codebook.html" not in (narrow.folder / "README.md").read_text()


def test_the_codebook_of_an_export_describes_every_column(whole: Export) -> None:
    book = pd.read_csv(whole.folder / "codebook.csv", keep_default_na=False)
    assert set(book["mart"]) == set(whole.rows)
    assert not (book["description"] == "").any()
