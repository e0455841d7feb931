"""Exported files, read with pandas and DuckDB and checked by the rules of R, Excel and Stata."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import duckdb
import pandas as pd
import pyreadstat
import pytest
from pandas.io.stata import StataReader

from research_assets.export import Export, spss, stata
from research_assets.export.request import ExportColumn, MartSelection
from research_assets.export.stata import NAME, stata_names
from research_assets.settings import Settings
from research_assets.units.coverage import Selection, UnitKind, UnitState
from research_assets.warehouse.reader import Mart
from research_assets_tests.export.export_warehouse import COMMENT, LONG, OTHER, REPLY, THIRD, VIDEO, VIDEOS, VIEWS, at

R_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?L?\s*|0[xX][0-9a-fA-F]+|NA|NaN|[-+]?Inf")
"""Text that R's `type.convert` converts to a number."""

FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def as_text(export: Export, mart: str) -> list[dict[str, str | None]]:
    """Return the cells of a CSV file as text; DuckDB detects no types."""
    with duckdb.connect() as connection:
        relation = connection.sql(
            f"FROM read_csv('{export.folder / 'csv' / mart}.csv', all_varchar = true, header = true, "
            "allow_quoted_nulls = false, delim = ',', quote = '\"', escape = '\"', new_line = '\\n')"
        )
        return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def undo_escaping(cell: str | None) -> str | None:
    """Return the original text of a CSV cell, by the rules in the README."""
    if cell is None:
        return None
    if re.fullmatch(r"id_\d{16,}", cell):
        return cell.removeprefix("id_")
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(FORMULA) else cell


def test_parquet_equals_the_warehouse(full_export: Export, export_settings: Settings) -> None:
    with duckdb.connect(str(export_settings.warehouse), read_only=True) as connection:
        for mart in ("videos", "comments", "users", "coverage", "quota_usage"):
            file = f"'{full_export.folder}/parquet/{mart}.parquet'"
            assert connection.sql(f"FROM {file}").types == connection.sql(f"FROM marts.{mart}").types
            assert connection.sql(f"FROM {file} EXCEPT ALL FROM marts.{mart}").fetchall() == []
            assert connection.sql(f"FROM marts.{mart} EXCEPT ALL FROM {file}").fetchall() == []


def test_csv_keeps_every_character_and_separates_missing_from_empty(full_export: Export) -> None:
    rows = {row["video_id"]: row for row in as_text(full_export, "videos")}
    assert set(rows) == {f"id_{video}" for video in (VIDEO, OTHER, THIRD)}
    for video in VIDEOS:
        row = rows[f"id_{video[1]}"]
        assert undo_escaping(row["description"]) == video[6]
        assert undo_escaping(row["username"]) == video[3]
        assert (row["region_code"], row["day"]) == (video[4], video[2].isoformat())
    one, two, three = (rows[f"id_{video}"] for video in (VIDEO, OTHER, THIRD))
    assert (two["description"], three["description"]) == ("", None)
    assert two["voice_to_text"] == "''-1"
    assert undo_escaping(two["voice_to_text"]) == "'-1"
    assert three["voice_to_text"] == "null"
    assert one["created_at"] == "2026-02-01T10:00:00.250000Z"
    assert pd.Timestamp(str(one["created_at"])) == at(1)
    assert json.loads(str(one["hashtags"])) == ["garten", 'say "hi"']
    assert json.loads(str(one["hashtag_info"])) == [
        {"hashtag_id": str(2**60 + 1), "hashtag_name": "garten", "hashtag_description": ""}
    ]
    assert (one["view_count"], three["view_count"], two["view_count"]) == (str(VIEWS), "12", None)
    assert (one["is_stem_verified"], two["is_stem_verified"], three["is_stem_verified"]) == ("true", None, "false")


def test_csv_has_no_formula_and_no_numeric_id(full_export: Export) -> None:
    for mart in ("videos", "comments", "users", "coverage", "quota_usage"):
        for row in as_text(full_export, mart):
            for column, cell in row.items():
                if cell is None:
                    continue
                if column.endswith("_id") or column in ("unit", "username"):
                    assert not R_NUMBER.fullmatch(cell), (mart, column, cell)
                # A negative number is a number, not a formula.
                assert not cell.startswith(FORMULA) or R_NUMBER.fullmatch(cell), (mart, column, cell)


def test_csv_begins_with_a_byte_order_mark_and_ends_with_a_line_feed(full_export: Export) -> None:
    for path in (full_export.folder / "csv").iterdir():
        content = path.read_bytes()
        assert content.startswith(b"\xef\xbb\xbf")
        assert content.count(b"\xef\xbb\xbf") == 1
        assert content.endswith(b"\n")
        assert b"\0" not in content


def test_pandas_reads_csv_with_the_options_of_the_readme(full_export: Export) -> None:
    options: dict[str, Any] = {"keep_default_na": False, "na_values": [""]}
    videos = pd.read_csv(full_export.folder / "csv" / "videos.csv", **options)
    assert list(videos["video_id"].str.removeprefix("id_").astype("int64")) == [VIDEO, OTHER, THIRD]
    assert list(videos["region_code"][:2]) == ["NA", "DE"]
    assert videos["view_count"][2] == 12
    comments = pd.read_csv(full_export.folder / "csv" / "comments.csv", **options)
    assert comments["parent_comment_id"][1] == f"id_{COMMENT}"
    # Without options the ids are intact too.
    assert list(pd.read_csv(full_export.folder / "csv" / "comments.csv")["comment_id"]) == [
        f"id_{COMMENT}",
        f"id_{REPLY}",
    ]


def test_stata_file_has_ids_as_text_and_values_in_stata_types(full_export: Export) -> None:
    path = full_export.folder / "stata" / "videos.dta"
    videos = pd.read_stata(path).set_index("video_id")
    assert list(videos.index) == [str(VIDEO), str(OTHER), str(THIRD)]
    assert videos["music_id"].to_list() == ["7500000000000000001", "", "5"]
    # Beyond 2^53 a double would round it.
    assert videos["view_count"].to_list() == [str(VIEWS), "", "12"]
    assert videos["description"][str(VIDEO)] == VIDEOS[0][6]
    assert videos["voice_to_text"][str(VIDEO)] == LONG
    assert videos["voice_to_text"][str(THIRD)] == "null"
    assert videos["created_at"].iloc[0] == pd.Timestamp(at(1)).tz_localize(None)
    assert pd.isna(videos["created_at"].iloc[1])
    assert videos["day"].iloc[0] == pd.Timestamp("2026-02-01")
    assert videos["is_stem_verified"].fillna(-1).to_list() == [1, -1, 0]
    assert videos["observed_age_days"].fillna(9).to_list() == [0.5, 9, -1.5]
    assert json.loads(videos["hashtags"].iloc[0]) == ["garten", 'say "hi"']
    with StataReader(path) as reader:
        labels = reader.variable_labels()
        assert labels["view_count"].startswith("Views, however they were counted")
        assert max(map(len, labels.values())) <= 80
        kinds = dict(zip(reader.variable_labels(), reader._dtyplist, strict=True))  # type: ignore[attr-defined]
        formats = dict(zip(reader.variable_labels(), reader._fmtlist, strict=True))  # type: ignore[attr-defined]
    assert path.read_bytes().startswith(b"<stata_dta><header><release>118</release>")
    assert (formats["created_at"], formats["day"]) == ("%tc", "%td")
    assert kinds["created_at"] == "float64"
    users = pd.read_stata(full_export.folder / "stata" / "users.dta")
    assert users["like_count"].fillna(-1).to_list() == [5, -1]


def test_pyreadstat_reads_spss_files_with_labels_and_measurement_levels(full_export: Export) -> None:
    path = str(full_export.folder / "spss" / "videos.sav")
    assert pyreadstat.read_sav(path)[0]["region_code"].to_list()[:2] == ["NA", "DE"]
    assert pd.isna(pyreadstat.read_sav(path)[0]["region_code"][2])
    meta: Any
    videos, meta = pyreadstat.read_sav(path, user_missing=True)
    assert videos["video_id"].to_list() == [str(VIDEO), str(OTHER), str(THIRD)]
    # Beyond 2^53 a double would round it.
    assert videos["view_count"].to_list() == [str(VIEWS), "", "12"]
    assert videos["description"][0] == VIDEOS[0][6]
    assert videos["voice_to_text"].to_list() == [LONG, "'-1", "null"]
    assert (videos["day"][0], videos["created_at"][0]) == (at(1).date(), pd.Timestamp(at(1)).tz_localize(None))
    assert pd.isna(videos["created_at"][1])
    assert videos["is_stem_verified"].fillna(-1).to_list() == [1, -1, 0]
    assert videos["observed_age_days"].fillna(9).to_list() == [0.5, 9, -1.5]
    assert json.loads(videos["hashtags"][0]) == ["garten", 'say "hi"']
    assert meta.column_names_to_labels["view_count"].startswith("Views, however they were counted")
    assert meta.variable_value_labels["is_stem_verified"] == {0.0: "no", 1.0: "yes"}
    levels = [meta.variable_measure[name] for name in ("video_id", "is_stem_verified", "observed_age_days", "day")]
    assert levels == ["nominal", "nominal", "scale", "scale"]
    assert meta.missing_ranges["region_code"] == [{"lo": "", "hi": ""}]
    coverage, meta = pyreadstat.read_sav(str(full_export.folder / "spss" / "coverage.sav"))
    assert meta.variable_value_labels["state"]["complete"] == "all rows that the API returns were collected"
    assert coverage["state"].to_list()[0] == "complete"


def test_every_kind_and_state_has_a_label_in_spss() -> None:
    kinds = {"unit_kind": UnitKind, "state": UnitState, "selection": Selection}
    assert {name: set(spss.VALUE_LABELS[name]) for name in kinds} == {
        name: set(get_args(values)) for name, values in kinds.items()
    }


def test_texts_beyond_the_limit_of_spss_are_marked() -> None:
    words = "ü @anna " * 8000
    cut = spss.fitting(words)
    assert len(cut.encode()) <= spss.MAX_TEXT
    assert cut.endswith(("ü @anna [cut]", "@anna ü [cut]"))
    assert spss.fitting("x" * spss.MAX_TEXT) == "x" * spss.MAX_TEXT
    # One word without a blank could be an id: no part of it remains.
    assert spss.fitting("x" * 40_000) == spss.CUT
    assert spss.fitting_list(json.dumps([words])) == spss.TOO_LONG
    assert list(spss.spss_names(["by", "BY_", "x" * 70, "day"]).values()) == ["by_", "BY__2", "x" * 64, "day"]


@pytest.mark.parametrize("mart", ["videos", "comments", "users", "coverage", "quota_usage"])
def test_stata_and_spss_files_have_every_row_of_its_mart(full_export: Export, mart: str) -> None:
    (rows,) = {file.rows for file in full_export.files if file.mart == mart}
    assert len(pd.read_stata(full_export.folder / "stata" / f"{mart}.dta")) == rows
    assert len(pyreadstat.read_sav(str(full_export.folder / "spss" / f"{mart}.sav"))[0]) == rows


@pytest.mark.filterwarnings("error")
def test_extreme_times_and_numbers_are_written_to_stata_and_spss(tmp_path: Path) -> None:
    """Nanoseconds would end in the year 2262, and a double is exact up to 2^53; pandas warns or fails beyond."""
    values = {"moment": "TIMESTAMPTZ", "day": "DATE", "low": "BIGINT", "high": "BIGINT"}
    columns = [ExportColumn(name, str(duckdb.sqltype(kind)), name, "") for name, kind in values.items()]
    selection = MartSelection(Mart("extreme", "", ()), "")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            "CREATE TABLE extreme AS SELECT TIMESTAMPTZ '9999-12-31 23:59:59+00' AS moment, DATE '9999-12-31' AS day, "
            f"({-(2**63)})::BIGINT AS low, {2**53}::BIGINT AS high"
        )
        assert stata.write_stata(connection, selection, columns, tmp_path / "extreme.dta", at(1)) == 1
        assert spss.write_spss(connection, selection, columns, tmp_path / "extreme.sav", at(1)) == 1
    for frame in (
        pd.read_stata(tmp_path / "extreme.dta"),
        pyreadstat.read_sav(str(tmp_path / "extreme.sav"), disable_datetime_conversion=True)[0],
    ):
        assert frame[["low", "high"]].iloc[0].to_list() == [str(-(2**63)), str(2**53)]
    # Seconds since 14 October 1582.
    assert frame["moment"].iloc[0] == 253_402_300_799 + 12_219_379_200


def test_stata_names_are_short_and_unique() -> None:
    long = "a_name_that_is_longer_than_stata_takes"
    names = stata_names([long + "_one", long + "_two", "in", "views"])
    assert len(set(names.values())) == 4
    assert all(len(name) <= NAME for name in names.values())
    assert (names["in"], names["views"]) == ("in_", "views")
