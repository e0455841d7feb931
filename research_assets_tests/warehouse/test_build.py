"""Builds: reported metadata, publishing, failures, and other programs that have the warehouse open."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from research_assets.assets.warehouse import warehouse_definitions
from research_assets.settings import DBT_PROJECT_DIR, Settings
from research_assets.warehouse import build
from research_assets_tests.warehouse.conftest import BuiltWarehouse, materialize, query
from research_assets_tests.warehouse.raw_data import ANNA_VIDEO, DAY1, DAY2, UPSTREAM, at, video, write

MARTS = {
    *("videos", "video_observations", "comments", "users", "user_observations", "follows", "engagements", "hashtags"),
    *("hashtag_pairs", "creators", "study_days", "coverage", "rejected_rows", "quota_usage", "api_changes", "codebook"),
    *("verification", "withdrawals", "observation_rounds", "population", "repeatability"),
    *("sounds", "playlists", "mentions", "video_renames", "renames"),
}

READER_SCRIPT = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "read")
if sys.argv[2] == "write":
    connection.execute("create table marts.mine as select 1 as one")
for line in sys.stdin:
    print(connection.execute("select count(*) from marts.videos").fetchall()[0][0], flush=True)
"""


@contextmanager
def open_in_another_process(warehouse: Path, mode: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program that has the warehouse open and counts its videos for each line of input."""
    with subprocess.Popen(
        [sys.executable, "-c", READER_SCRIPT, str(warehouse), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        try:
            yield program
        finally:
            program.kill()


def count_videos(program: subprocess.Popen[str]) -> int:
    """Return the number of videos that the program reads."""
    assert program.stdin
    assert program.stdout
    program.stdin.write("\n")
    program.stdin.flush()
    return int(program.stdout.readline())


def metadata_of(built_warehouse: BuiltWarehouse, key: list[str]) -> dict[str, dg.MetadataValue]:
    """Return the metadata of an asset's materialization."""
    (event,) = [e for e in built_warehouse.result.get_asset_materialization_events() if e.asset_key == dg.AssetKey(key)]
    return dict(event.step_materialization_data.materialization.metadata)


def test_build_without_data_publishes_empty_marts(settings: Settings) -> None:
    before = sorted(path.relative_to(DBT_PROJECT_DIR) for path in DBT_PROJECT_DIR.rglob("*"))
    calls = []

    def pre_build() -> None:
        calls.append(settings.raw.exists())
        due = {"entity": "videos", "partition": DAY1, "unit_kind": "day", "unit": "2026-02-01", "due_at": at(3)}
        write(settings.raw, "expected_units", "garden", DAY1, "w", [due])

    assert materialize(settings, pre_build=pre_build).success
    assert calls == [True]
    tables = query(settings, "select table_name, estimated_size from duckdb_tables() where schema_name = 'marts'")
    assert {name for name, _ in tables} == MARTS
    assert query(settings, "select study, unit, state from marts.coverage") == [("garden", "2026-02-01", "not_asked")]
    assert {name for name, size in tables if size} == {"coverage", "study_days", "api_changes", "codebook"}
    assert settings.warehouse.stat().st_mode & 0o777 == 0o600
    assert not settings.warehouse_build.exists()
    # dbt writes its files to the data folder only, not to the project folder.
    assert sorted(path.relative_to(DBT_PROJECT_DIR) for path in DBT_PROJECT_DIR.rglob("*")) == before


def test_materializations_have_row_count_schema_and_origin(built_warehouse: BuiltWarehouse) -> None:
    assert built_warehouse.result.success
    metadata = metadata_of(built_warehouse, ["marts", "videos"])
    assert metadata["dagster/row_count"].value == 5
    schema = metadata["dagster/column_schema"].value
    assert isinstance(schema, dg.TableSchema)
    view_count = next(column for column in schema.columns if column.name == "view_count")
    assert view_count.type == "BIGINT"
    assert view_count.description is not None
    assert "(views)" in view_count.description
    # The UI shows no column lineage, so the description contains it.
    assert "*From* `staging/stg_tiktok__videos` (view_count)" in view_count.description


def test_column_lineage_leads_from_marts_to_the_assets_of_each_study(built_warehouse: BuiltWarehouse) -> None:
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
        # A seed has no upstream columns, and the codebook counts all of them.
        without = materialization.asset_key.path[-1] in ("api_changelog", "codebook")
        assert ("dagster/column_lineage" in materialization.metadata) is not without


def test_dbt_tests_are_reported_as_passed_checks(built_warehouse: BuiltWarehouse) -> None:
    checks = built_warehouse.result.get_asset_check_evaluations()
    assert {tuple(check.asset_key.path) for check in checks} >= {("marts", mart) for mart in MARTS - {"codebook"}}
    assert all(check.passed for check in checks)


def test_failing_dbt_test_keeps_the_published_warehouse(built_warehouse: BuiltWarehouse) -> None:
    published = built_warehouse.settings.warehouse.stat()
    duplicate = video(ANNA_VIDEO, "anna", at(20))
    for day in (DAY1, DAY2):
        write(built_warehouse.settings.raw, "videos", "garden", day, "zz", [duplicate])
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
    assert "The published warehouse did not change" in message
    now = built_warehouse.settings.warehouse.stat()
    assert (now.st_ino, now.st_mtime_ns, now.st_size) == (published.st_ino, published.st_mtime_ns, published.st_size)


@pytest.mark.parametrize("mode", ["read", "write"])
def test_open_warehouse_blocks_no_build_and_reads_no_partial_build(built_warehouse: BuiltWarehouse, mode: str) -> None:
    new_file = built_warehouse.settings.raw / "videos" / "study=garden" / f"day={DAY2}" / "zz.parquet"
    with open_in_another_process(built_warehouse.settings.warehouse, mode) as program:
        assert count_videos(program) == 5
        write(built_warehouse.settings.raw, "videos", "garden", DAY2, "zz", [video(ANNA_VIDEO + 1, "eva", at(20))])
        try:
            assert materialize(built_warehouse.settings).success
            # The other program still reads the old file, and the new file can be read at the same time.
            assert query(built_warehouse.settings, "select count(*) from marts.videos") == [(6,)]
            assert count_videos(program) == 5
            assert query(
                built_warehouse.settings, "select count(*) from duckdb_tables() where table_name = 'mine'"
            ) == [(0,)]
        finally:
            new_file.unlink()
            assert materialize(built_warehouse.settings).success
    assert query(built_warehouse.settings, "select count(*) from marts.videos") == [(5,)]


def test_increment_reports_metadata_of_all_models(built_warehouse: BuiltWarehouse) -> None:
    first = metadata_of(built_warehouse, ["marts", "videos"])
    result = materialize(built_warehouse.settings)
    assert result.success
    second = BuiltWarehouse(built_warehouse.settings, result)
    for key in (["marts", "videos"], ["staging", "stg_tiktok__videos"], ["marts", "api_changes"]):
        assert metadata_of(second, key).keys() >= {"dagster/column_schema", "dagster/column_lineage"}
    assert metadata_of(second, ["marts", "videos"])["dagster/row_count"] == first["dagster/row_count"]
    assert metadata_of(second, ["marts", "videos"])["dagster/column_schema"] == first["dagster/column_schema"]


def test_build_of_one_mart_reports_all_models_and_all_checks(built_warehouse: BuiltWarehouse) -> None:
    settings = built_warehouse.settings
    selection = dg.AssetSelection.assets(["marts", "study_days"])
    [asset] = warehouse_definitions(UPSTREAM, settings).assets or ()
    assert isinstance(asset, dg.AssetsDefinition)
    with dg.DagsterInstance.ephemeral() as instance:
        full = {"ops": {"warehouse": {"config": {"full_refresh": True}}}}
        assert materialize(settings, instance=instance, run_config=full).success
        # An increment runs no test of models that did not change; their checks keep their results.
        result = materialize(settings, instance=instance, selection=selection)
        assert result.success
        materialized = instance.get_latest_materialization_events(list(asset.keys))
        assert {event.run_id for event in materialized.values() if event} == {result.run_id}
        for key in asset.check_keys:
            record = instance.get_latest_asset_check_evaluation_record(key)
            event = materialized[key.asset_key]
            assert record is not None, key
            assert record.event is not None
            assert event is not None
            # Otherwise the UI shows the check as outdated.
            evaluation = record.event.asset_check_evaluation
            target = evaluation.target_materialization_data if evaluation else None
            assert record.event.run_id == result.run_id or (target and target.run_id == event.run_id), key


def test_second_build_does_not_start_during_a_build(built_warehouse: BuiltWarehouse) -> None:
    with build.build_lock(built_warehouse.settings):
        result = materialize(built_warehouse.settings, raise_on_error=False)
    assert not result.success
    failure = result.failure_data_for_node("warehouse")
    assert failure is not None
    assert failure.error is not None
    assert "being built by another" in (failure.error.cause or failure.error).message
    with pytest.raises(duckdb.Error, match="read-only"):
        query(built_warehouse.settings, "create table t as select 1")
