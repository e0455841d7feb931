"""Builds: what is reported, what is published, and what a failure or a reader changes about it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from research_assets.settings import DBT_PROJECT_DIR, Settings
from research_assets.warehouse import build
from research_assets_tests.warehouse.conftest import BuiltWarehouse, materialize, query
from research_assets_tests.warehouse.raw_data import ANNA_VIDEO, DAY1, DAY2, at, video, write

MARTS = {
    *("videos", "video_observations", "comments", "users", "user_observations", "follows", "engagements", "hashtags"),
    *("hashtag_pairs", "creators", "study_days", "coverage", "quota_usage", "api_changes", "codebook"),
}

HOLD = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "read")
if sys.argv[2] == "write":
    connection.execute("create table marts.mine as select 1 as one")
for line in sys.stdin:
    print(connection.execute("select count(*) from marts.videos").fetchall()[0][0], flush=True)
"""


@contextmanager
def held_by_somebody(warehouse: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    """Another program that has the warehouse open and counts its videos whenever it is sent a line."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(warehouse), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        try:
            yield program
        finally:
            program.kill()


def count(program: subprocess.Popen[str]) -> int:
    assert program.stdin
    assert program.stdout
    program.stdin.write("\n")
    program.stdin.flush()
    return int(program.stdout.readline())


def metadata_of(built_warehouse: BuiltWarehouse, key: list[str]) -> dict[str, dg.MetadataValue]:
    (event,) = [e for e in built_warehouse.result.get_asset_materialization_events() if e.asset_key == dg.AssetKey(key)]
    return dict(event.step_materialization_data.materialization.metadata)


def test_a_checkout_without_data_builds_empty_marts(settings: Settings) -> None:
    before = sorted(path.relative_to(DBT_PROJECT_DIR) for path in DBT_PROJECT_DIR.rglob("*"))
    called = []

    def before_build() -> None:
        called.append(settings.raw.exists())
        due = {"entity": "videos", "partition": DAY1, "unit_kind": "day", "unit": "2026-02-01", "due_at": at(3)}
        write(settings.raw, "wanted", "garden", DAY1, "w", [due])

    assert materialize(settings, before=before_build).success
    assert called == [True]
    tables = query(settings, "select table_name, estimated_size from duckdb_tables() where schema_name = 'marts'")
    assert {name for name, _ in tables} == MARTS
    assert query(settings, "select study, unit, state from marts.coverage") == [("garden", "2026-02-01", "not_asked")]
    assert {name for name, size in tables if size} == {"coverage", "study_days", "api_changes", "codebook"}
    assert settings.warehouse.stat().st_mode & 0o777 == 0o600
    assert not settings.warehouse_build.exists()
    # dbt keeps what it writes to itself: nothing appears in the checkout.
    assert sorted(path.relative_to(DBT_PROJECT_DIR) for path in DBT_PROJECT_DIR.rglob("*")) == before


def test_each_model_is_materialized_with_rows_schema_and_origin(built_warehouse: BuiltWarehouse) -> None:
    assert built_warehouse.result.success
    metadata = metadata_of(built_warehouse, ["marts", "videos"])
    assert metadata["dagster/row_count"].value == 5
    schema = metadata["dagster/column_schema"].value
    assert isinstance(schema, dg.TableSchema)
    view_count = next(column for column in schema.columns if column.name == "view_count")
    assert view_count.type == "BIGINT"
    assert view_count.description is not None
    assert "(views)" in view_count.description
    # The UI shows no lineage of columns, so the description tells it.
    assert "*From* `staging/stg_tiktok__videos` (view_count)" in view_count.description


def test_columns_are_traced_from_marts_to_the_assets_of_each_study(built_warehouse: BuiltWarehouse) -> None:
    def origin(key: list[str], column: str) -> set[tuple[str, str]]:
        lineage = metadata_of(built_warehouse, key)["dagster/column_lineage"].value
        assert isinstance(lineage, dg.TableColumnLineage)
        return {(dep.asset_key.to_user_string(), dep.column_name) for dep in lineage.deps_by_column[column]}

    assert origin(["marts", "videos"], "view_count") == {("staging/stg_tiktok__videos", "view_count")}
    assert origin(["marts", "hashtags"], "view_count_sum") == {("staging/int_videos__hashtags", "view_count")}
    assert origin(["staging", "stg_tiktok__videos"], "region_code") == {
        ("bikes/videos", "region_code"),
        ("garden/videos", "region_code"),
    }
    for event in built_warehouse.result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        # A seed comes from nowhere but its file.
        seed = materialization.asset_key.path[-1] == "api_changelog"
        assert ("dagster/column_lineage" in materialization.metadata) is not seed


def test_dbt_tests_are_checks_and_pass(built_warehouse: BuiltWarehouse) -> None:
    checks = built_warehouse.result.get_asset_check_evaluations()
    assert {tuple(check.asset_key.path) for check in checks} >= {("marts", mart) for mart in MARTS}
    assert all(check.passed for check in checks)


def test_a_failing_test_leaves_the_published_warehouse_alone(built_warehouse: BuiltWarehouse) -> None:
    published = built_warehouse.settings.warehouse.stat()
    doubled = video(ANNA_VIDEO, "anna", at(20))
    for day in (DAY1, DAY2):
        write(built_warehouse.settings.raw, "videos", "garden", day, "zz", [doubled])
    try:
        result = materialize(built_warehouse.settings, raise_on_error=False)
    finally:
        for day in (DAY1, DAY2):
            (built_warehouse.settings.raw / "videos" / "study=garden" / f"day={day}" / "zz.parquet").unlink()
    assert not result.success
    assert not result.get_asset_materialization_events()
    failed = {(check.asset_key.path[-1], check.passed) for check in result.get_asset_check_evaluations()}
    assert ("video_observations", False) in failed
    failure = result.failure_data_for_node("warehouse")
    assert failure is not None
    assert failure.user_failure_data is not None
    message = failure.user_failure_data.description or ""
    assert "video_observations_grain" in message
    assert str(built_warehouse.settings.warehouse_build) in message
    assert "The published warehouse is as it was" in message
    now = built_warehouse.settings.warehouse.stat()
    assert (now.st_ino, now.st_mtime_ns, now.st_size) == (published.st_ino, published.st_mtime_ns, published.st_size)


@pytest.mark.parametrize("how", ["read", "write"])
def test_somebody_with_the_warehouse_open_blocks_nothing_and_sees_no_half_build(
    built_warehouse: BuiltWarehouse, how: str
) -> None:
    more = built_warehouse.settings.raw / "videos" / "study=garden" / f"day={DAY2}" / "zz.parquet"
    with held_by_somebody(built_warehouse.settings.warehouse, how) as program:
        assert count(program) == 5
        write(built_warehouse.settings.raw, "videos", "garden", DAY2, "zz", [video(ANNA_VIDEO + 1, "eva", at(20))])
        try:
            assert materialize(built_warehouse.settings).success
            # The other program still holds the old file; the new one can be read beside it.
            assert query(built_warehouse.settings, "select count(*) from marts.videos") == [(6,)]
            assert count(program) == 5
            assert query(
                built_warehouse.settings, "select count(*) from duckdb_tables() where table_name = 'mine'"
            ) == [(0,)]
        finally:
            more.unlink()
            assert materialize(built_warehouse.settings).success
    assert query(built_warehouse.settings, "select count(*) from marts.videos") == [(5,)]


def test_an_increment_tells_of_all_models_too(built_warehouse: BuiltWarehouse) -> None:
    first = metadata_of(built_warehouse, ["marts", "videos"])
    result = materialize(built_warehouse.settings)
    assert result.success
    again = BuiltWarehouse(built_warehouse.settings, result)
    for key in (["marts", "videos"], ["staging", "stg_tiktok__videos"], ["marts", "api_changes"]):
        assert metadata_of(again, key).keys() >= {"dagster/column_schema", "dagster/column_lineage"}
    assert metadata_of(again, ["marts", "videos"])["dagster/row_count"] == first["dagster/row_count"]
    assert metadata_of(again, ["marts", "videos"])["dagster/column_schema"] == first["dagster/column_schema"]
    assert "seconds" not in metadata_of(again, ["marts", "api_changes"])


def test_a_selection_builds_all_and_records_all(built_warehouse: BuiltWarehouse) -> None:
    selection = dg.AssetSelection.assets(["marts", "study_days"])
    result = materialize(built_warehouse.settings, selection=selection)
    assert result.success
    recorded = {event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key}
    assert recorded >= MARTS
    assert {check.asset_key.path[-1] for check in result.get_asset_check_evaluations()} == {"study_days"}


def test_two_builds_do_not_mix(built_warehouse: BuiltWarehouse) -> None:
    with build.build_lock(built_warehouse.settings):
        result = materialize(built_warehouse.settings, raise_on_error=False)
    assert not result.success
    failure = result.failure_data_for_node("warehouse")
    assert failure is not None
    assert failure.error is not None
    assert "being built by another" in (failure.error.cause or failure.error).message
    with pytest.raises(duckdb.Error, match="read-only"):
        query(built_warehouse.settings, "create table t as select 1")
