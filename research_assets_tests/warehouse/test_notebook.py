"""The marts in a notebook: types, lazy relations, errors, and reading during a build."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import research_assets as ra
from research_assets.settings import PROJECT_DIR, Settings
from research_assets.warehouse.notebook import Warehouse
from research_assets.warehouse.reader import WarehouseReadError
from research_assets_tests.warehouse.conftest import BuiltWarehouse, materialize, query
from research_assets_tests.warehouse.raw_data import (
    ANNA_VIDEO,
    BEN_VIDEO,
    CARL_VIDEO,
    COMMENT,
    DAY1,
    DAY2,
    REPLY,
    at,
    video,
    write,
    write_raw_data,
)


@pytest.fixture
def marts(built_warehouse: BuiltWarehouse) -> Iterator[Warehouse]:
    with ra.open(built_warehouse.settings.root) as warehouse:
        yield warehouse


def test_every_mart_has_the_pandas_types_of_its_columns(marts: Warehouse, built_warehouse: BuiltWarehouse) -> None:
    expected = {
        "BIGINT": "Int64",
        "INTEGER": "Int64",
        "BOOLEAN": "boolean",
        "VARCHAR": "str",
        "DOUBLE": "float64",
        "DATE": "datetime64[us]",
        "TIMESTAMP WITH TIME ZONE": "datetime64[us, UTC]",
    }
    tables = query(built_warehouse.settings, "select table_name from duckdb_tables() where schema_name = 'marts'")
    assert {name for (name,) in tables} == set(marts.marts)
    for name in marts.marts:
        table = getattr(marts, name)
        kinds = dict(zip(table.columns["column"], table.columns["type"], strict=True))
        frame = table()
        assert {column: str(frame.dtypes[column]) for column in frame} == {
            column: expected.get(kind, "object") for column, kind in kinds.items()
        }
        assert len(frame) == query(built_warehouse.settings, f"select count(*) from marts.{name}")[0][0]


def test_values_match_the_raw_data(marts: Warehouse) -> None:
    videos = marts.videos(study="garden").set_index("video_id")
    assert set(videos.index) == {ANNA_VIDEO, BEN_VIDEO, CARL_VIDEO}
    assert videos.view_count[CARL_VIDEO] == 2**53 + 1
    assert videos.created_at[ANNA_VIDEO] == pd.Timestamp(at(1, 8)) + pd.Timedelta(seconds=30)
    assert videos.hashtags[ANNA_VIDEO] == ["balkon", "garten"]
    assert videos.hashtag_info[ANNA_VIDEO] == [
        {"hashtag_id": 7, "hashtag_name": "Garten", "hashtag_description": "Green"}
    ]
    assert videos.hashtags[CARL_VIDEO] == []
    assert videos.mentions[ANNA_VIDEO] is None
    assert videos.music_id[ANNA_VIDEO] is pd.NA
    # With a missing value in the column, a float type would lose the last digits of the ids.
    parents = marts.comments().set_index("comment_id").parent_comment_id
    assert parents[COMMENT] is pd.NA
    assert parents[REPLY] == COMMENT


def test_mart_is_filtered_by_study_days_and_columns(marts: Warehouse) -> None:
    assert len(marts.videos()) == 5
    assert set(marts.videos(study="garden", last=DAY1).video_id) == {ANNA_VIDEO, BEN_VIDEO}
    assert list(marts.videos(first="2026-02-02", columns=["video_id"]).video_id) == [CARL_VIDEO]
    assert len(marts.videos(study=["garden", "bikes"])) == 5
    assert list(marts.videos(columns="video_id").columns) == ["video_id"]
    coverage = marts.coverage(study="garden", first=at(2, 23), last=date(2026, 2, 2))
    assert set(coverage.partition_day) == {pd.Timestamp(DAY2)}


def test_relations_are_lazy_and_queries_keep_the_types(marts: Warehouse) -> None:
    relation = marts.relation("videos", study="garden").filter("view_count > 500")
    assert relation.aggregate("count(*)").fetchall() == [(2,)]
    assert marts.videos.relation("garden", columns=["day"]).columns == ["day"]
    summed = marts.frame("SELECT day, sum(comment_count) AS n FROM videos WHERE study = 'garden' GROUP BY 1 ORDER BY 1")
    assert summed.dtypes.astype(str).to_dict() == {"day": "datetime64[us]", "n": "Int64"}
    assert summed.n[0] == 2
    assert summed.n[1] is pd.NA
    nested = marts.frame("SELECT {'a': [1, NULL]} AS s, NULL::BIGINT[] AS n, MAP {'k': 2} AS m, 'x'::BLOB AS b")
    assert nested.s[0] == {"a": [1, None]}
    assert nested.n[0] is None
    assert np.isnan(marts.frame("SELECT NULL::DOUBLE AS x").x[0])
    wide = marts.frame("SELECT 9007199254740993::DECIMAL(20, 0) AS x, 1.5::DECIMAL(4, 2) AS y")
    assert (wide.x[0], wide.y[0]) == (9007199254740993, 1.5)


def test_no_column_of_a_query_is_lost_if_its_name_occurs_twice(marts: Warehouse) -> None:
    joined = marts.frame("SELECT 1 AS study, 2 AS study, 'x' AS Study, sum(3) AS study_1 ORDER BY 1")
    assert joined.to_numpy().tolist() == [[1, 2, "x", 3]]
    assert len(set(joined.columns)) == 4
    assert joined.dtypes.astype(str).tolist() == ["Int64", "Int64", "str", "Int64"]


def test_warehouse_is_read_only(marts: Warehouse) -> None:
    with pytest.raises(Exception, match="read-only"):
        marts.sql("DELETE FROM videos")


def test_errors_list_the_available_names(marts: Warehouse, tmp_path: Path) -> None:
    with pytest.raises(WarehouseReadError, match="There is no data of the study gardn; there are: bikes, garden"):
        marts.videos(study="gardn")
    with pytest.raises(AttributeError, match=r"There is no mart 'video'; there are: .*videos"):
        _ = marts.video
    with pytest.raises(WarehouseReadError, match="There is no mart 'video'"):
        marts.relation("video")
    with pytest.raises(WarehouseReadError, match="The mart videos has no column views; it has: study, video_id"):
        marts.videos(columns=["views"])
    with pytest.raises(WarehouseReadError, match="users belong to no single day"):
        marts.users(first=DAY1)
    with pytest.raises(WarehouseReadError, match="'February' is not a calendar day"):
        marts.videos(first="February")
    with pytest.raises(WarehouseReadError, match="last day, 2026-02-01, is before the first, 2026-02-02"):
        marts.videos(first="2026-02-02", last="2026-02-01")
    with pytest.raises(WarehouseReadError, match="query '-- ' contains no statement"):
        marts.frame("-- ")
    with pytest.raises(WarehouseReadError, match=r"none does not exist, .* no warehouse.*research-assets demo"):
        ra.open(tmp_path / "none")
    (tmp_path / "warehouse.duckdb").write_text("no database")
    with pytest.raises(WarehouseReadError, match="is a file"):
        ra.open(tmp_path / "warehouse.duckdb")
    with pytest.raises(WarehouseReadError, match="cannot be opened"):
        ra.open(tmp_path)


def test_simulated_data_is_opened_if_there_is_no_other_data(built_warehouse: BuiltWarehouse, tmp_path: Path) -> None:
    folder = tmp_path / "sandbox"
    (folder / "state").mkdir(parents=True)
    (folder / "state" / "origin").write_text("sandbox")
    (folder / "warehouse.duckdb").hardlink_to(built_warehouse.settings.warehouse)
    with ra.open(tmp_path) as warehouse:
        assert repr(warehouse).startswith(
            f"{folder / 'warehouse.duckdb'} (simulated data)\nStudies: bikes, garden\nMarts:"
        )
        assert "videos: Grain: one video" in repr(warehouse.videos)
        assert {"videos", "sql", "frame"} <= set(dir(warehouse))


def test_open_reader_blocks_no_build_and_opening_again_reads_the_new_build(
    built_warehouse: BuiltWarehouse, settings: Settings
) -> None:
    write_raw_data(settings.raw)
    shutil.copy(built_warehouse.settings.warehouse, settings.warehouse)
    with ra.open(settings.root) as before:
        lazy = before.relation("videos", study="garden")
        new = video(CARL_VIDEO + 1, "carl", at(4))
        write(settings.raw, "videos", "garden", DAY2, "v9", [new])
        assert not before.superseded
        assert materialize(settings).success
        with ra.open(settings.root) as after:
            assert (len(before.videos("garden")), len(after.videos("garden"))) == (3, 4)
            assert len(lazy.fetchall()) == 3
            assert (before.superseded, after.superseded) == (True, False)
            assert "a newer build was published since" in repr(before)


def test_readme_code_draws_a_first_figure(
    built_warehouse: BuiltWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run the code of the README on a data folder that contains only simulated data."""
    section = (PROJECT_DIR / "README.md").read_text().split("### In a notebook\n")[1].split("\n### ")[0]
    lines = "\n".join(line[4:] for line in section.splitlines() if line.startswith("    "))
    (tmp_path / "data" / "sandbox").mkdir(parents=True)
    (tmp_path / "data" / "sandbox" / "warehouse.duckdb").hardlink_to(built_warehouse.settings.warehouse)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(lines.replace("gardening", "garden"), names)
    assert (tmp_path / "volume.png").read_bytes().startswith(b"\x89PNG")
    days, warehouse = names["days"], names["marts"]
    assert isinstance(days, pd.DataFrame)
    assert isinstance(warehouse, Warehouse)
    warehouse.close()
    assert days["n_videos"].sum() == 3


def test_importing_the_package_imports_no_large_library() -> None:
    code = "import sys, research_assets; print(sorted({'pandas', 'duckdb', 'dagster', 'dotenv'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
