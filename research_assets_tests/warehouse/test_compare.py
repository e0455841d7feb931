"""The comparison of two warehouses finds every kind of difference."""

import shutil
from pathlib import Path

import duckdb

from research_assets_tests.warehouse.compare import differences
from research_assets_tests.warehouse.conftest import BuiltWarehouse


def test_differences_names_the_marts_columns_and_rows_that_differ(
    built_warehouse: BuiltWarehouse, tmp_path: Path
) -> None:
    changed = tmp_path / "changed.duckdb"
    shutil.copyfile(built_warehouse.settings.warehouse, changed)
    assert differences(built_warehouse.settings.warehouse, changed) == []
    with duckdb.connect(str(changed)) as db:
        db.execute("update marts.videos set observed_age_days = observed_age_days + 1e-6 where study = 'bikes'")
        db.execute("delete from marts.hashtags where hashtag = 'balkon'")
    hashtags, videos = differences(built_warehouse.settings.warehouse, changed)
    assert videos.startswith("videos: {'observed_age_days': 2}")
    assert hashtags.startswith("hashtags: {'missing or additional rows': ")
