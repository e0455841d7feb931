"""Published folders of Parquet marts: views with descriptions, empty marts, paths, and the switch to the next build."""

from datetime import date
from pathlib import Path

import duckdb
import pytest

import research_assets as ra
from research_assets.storage.raw_sql import sql_literal
from research_assets.warehouse.parquet_marts import BUILDS, MARTS, IndexedMart, publish_build, write_index
from research_assets.warehouse.reader import WarehouseReadError

DAYS = IndexedMart(
    "days",
    "Grain: one day.",
    [("study", "varchar", "Study."), ("n", "bigint", "Number (rows)."), ("day", "date", "Day.")],
    ["study", "day"],
)
EMPTY = IndexedMart("empty", "Grain: none.", [("study", "varchar", "Study."), ("names", "varchar[]", "Names.")], [])


def publish(folder: Path, name: str, rows: str) -> Path:
    """Publish a build whose mart `days` has the rows of a SELECT."""
    build = folder / BUILDS / name
    (build / MARTS / "days").mkdir(parents=True)
    (build / MARTS / "empty").mkdir()
    with duckdb.connect() as db:
        target = sql_literal(build / MARTS / "days")
        db.execute(f"copy ({rows}) to {target} (format parquet, partition_by (study, day), overwrite_or_ignore)")
    write_index(build, [DAYS, EMPTY], simulated=True)
    publish_build(folder, build)
    return build


def test_published_marts_have_columns_in_order_types_and_descriptions(tmp_path: Path) -> None:
    folder = tmp_path / "it's [1] * ?"
    publish(folder, "one", "select 1 as n, '2026' as study, date '2026-02-01' as day")
    with ra.open(folder) as marts:
        assert marts.marts == ["days", "empty"]
        assert marts.simulated
        assert marts.studies == ["2026"]
        assert marts.sql("select * from days").fetchall() == [("2026", 1, date(2026, 2, 1))]
        assert list(marts.days.columns.itertuples(index=False, name=None)) == [
            ("study", "VARCHAR", "Study."),
            ("n", "BIGINT", "Number (rows)."),
            ("day", "DATE", "Day."),
        ]
        assert marts.days.__doc__ == "Grain: one day."
        assert marts.empty().empty
        assert list(marts.empty()) == ["study", "names"]


def test_open_reader_keeps_its_build_when_the_next_one_is_published(tmp_path: Path) -> None:
    publish(tmp_path, "one", "select 1 as n, 's' as study, date '2026-02-01' as day")
    with ra.open(tmp_path) as before:
        publish(tmp_path, "two", "select 2 as n, 's' as study, date '2026-02-01' as day")
        assert before.superseded
        assert before.sql("select n from days").fetchall() == [(1,)]
    with ra.open(tmp_path) as after:
        assert after.sql("select n from days").fetchall() == [(2,)]


def test_damaged_index_is_reported_as_an_unreadable_warehouse(tmp_path: Path) -> None:
    build = publish(tmp_path, "one", "select 1 as n, 's' as study, date '2026-02-01' as day")
    (build / "marts.json").write_text("{")
    with pytest.raises(WarehouseReadError, match="cannot be opened"):
        ra.open(tmp_path)
