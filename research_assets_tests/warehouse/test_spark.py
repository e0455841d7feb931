"""The marts that Spark builds equal those of DuckDB, row by row; readers open either.

One build on Spark of all models, tests and unit tests for the whole module, from the demo's data, the fixed raw tables
and a study with random rows. The tests that start Spark are skipped without Java or pyspark.
"""

import os
import shutil
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest
import yaml

import research_assets as ra
from research_assets.export import ExportRequest, export
from research_assets.report.queries import read_report_data
from research_assets.settings import DBT_PROJECT_DIR, VARIABLES, Settings
from research_assets.warehouse.reader import WarehouseReadError, connect_read_only
from research_assets.warehouse.spark import SparkBuildError, SparkOptions, build_on_spark, missing_requirements
from research_assets_tests.benchmarks.spark_cluster import thrift_server
from research_assets_tests.conftest import FakeClock
from research_assets_tests.warehouse.compare import differences
from research_assets_tests.warehouse.conftest import materialize
from research_assets_tests.warehouse.random_study import write_random_study
from research_assets_tests.warehouse.raw_data import (
    ANNA_VIDEO,
    BEN_VIDEO,
    DAY1,
    DAY2,
    at,
    new_id,
    new_settings,
    video,
    write,
    write_raw_data,
)

SEED = 7

LIGHT = {
    # For tables of a few hundred rows, planning and compiling take all of the time.
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}
"""Configuration of a session for small data."""

needs_spark = pytest.mark.skipif(
    bool(missing_requirements(os.environ)),
    reason=f"Spark cannot start here. Missing: {'; '.join(missing_requirements(os.environ))}",
)


@dataclass(frozen=True)
class Engines:
    """One data folder whose marts both engines built."""

    settings: Settings
    output: Path

    @property
    def readers_of_spark(self) -> Settings:
        """Return the settings with which readers take the marts of Spark."""
        return Settings.from_env(
            {VARIABLES["root"].name: str(self.settings.root), VARIABLES["marts_folder"].name: str(self.output)}
        )


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory, demo_settings: Settings, demo_summary: str) -> Engines:
    """Build the same raw tables with both engines."""
    assert demo_summary
    root = tmp_path_factory.mktemp("engines") / "data"
    settings = new_settings(root)
    shutil.copytree(demo_settings.raw, settings.raw)
    write_raw_data(settings.raw)
    write_random_study(settings.raw, SEED)
    assert materialize(settings).success
    output = root / "spark's output"
    build = build_on_spark(
        settings, output, now=FakeClock().now(), options=SparkOptions("local[2]", conf=LIGHT), unit_tests=True
    )
    assert build.seconds
    return Engines(settings, output)


@needs_spark
@pytest.mark.timeout(900)
def test_marts_of_spark_equal_those_of_duckdb_row_by_row(engines: Engines) -> None:
    assert differences(engines.settings.warehouse, engines.output) == []
    with connect_read_only(engines.output) as db:
        assert db.sql("select count(distinct study) from videos").fetchall()[0][0] >= 4
        assert db.sql("select count(*) from hashtag_pairs where study = 'random'").fetchall()[0][0] > 0


@needs_spark
def test_notebook_reads_the_same_frames_from_the_output_of_spark(engines: Engines) -> None:
    with ra.open(engines.settings.root) as one, ra.open(engines.output) as other:
        assert other.marts == one.marts
        assert other.studies == one.studies
        assert not other.superseded
        for mart, key in (("videos", "study, video_id"), ("study_days", "study, day")):
            frame, same = (warehouse.frame(f"select * from {mart} order by {key}") for warehouse in (one, other))
            pd.testing.assert_frame_equal(frame, same)
        pd.testing.assert_frame_equal(one.videos.columns, other.videos.columns)
        filtered = other.videos(study="garden", first=date(2026, 2, 1), last="2026-02-01", columns=["username"])
        assert sorted(filtered["username"]) == ["anna", "ben"]


@needs_spark
def test_report_and_export_read_the_marts_of_spark(engines: Engines) -> None:
    now = FakeClock().now()
    spark = engines.readers_of_spark
    # A report contains the age of the counts when the marts were published.
    published = engines.settings.warehouse.stat().st_mtime
    os.utime(engines.output / "published" / "marts.json", (published, published))
    one, other = (read_report_data(settings, "garden") for settings in (engines.settings, spark))
    assert one == other
    exports = [
        export(settings, ExportRequest(studies=("garden",), formats=("csv",), marts=("videos", "study_days")), [], time)
        for settings, time in ((engines.settings, now), (spark, now + timedelta(seconds=1)))
    ]
    for file in ("videos.csv", "study_days.csv"):
        one_file, other_file = (sorted((done.folder / "csv" / file).read_text().splitlines()) for done in exports)
        assert one_file == other_file
        assert len(one_file) > 1


@needs_spark
@pytest.mark.timeout(900)
def test_increment_of_spark_equals_the_marts_of_duckdb(engines: Engines) -> None:
    settings = engines.settings
    # A new day, and a day whose videos were observed again without hashtags, so that its last rows of a mart go.
    write(settings.raw, "videos", "garden", date(2026, 2, 3), "v9", [video(new_id(at(3, 8), 9), "dora", at(6))])
    again = [video(ANNA_VIDEO, "anna", at(20), hashtag_names=[]), video(BEN_VIDEO, "ben", at(20), hashtag_names=[])]
    write(settings.raw, "videos", "garden", DAY1, "v10", again)
    assert materialize(settings).success
    build = build_on_spark(
        settings, engines.output, now=FakeClock().now(), options=SparkOptions("local[2]", conf=LIGHT)
    )
    assert build.is_increment
    assert differences(settings.warehouse, engines.output) == []
    with connect_read_only(engines.output) as db:
        query = "select day from videos where study = 'garden' group by day order by day"
        assert [day for (day,) in db.sql(query).fetchall()] == [DAY1, DAY2, date(2026, 2, 3)]
        assert db.sql("select count(*) from hashtags where study = 'garden'").fetchall() == [(0,)]


def server_settings() -> dict[str, str]:
    """Return the settings of Spark that a connection sets, and with which a Thrift server must be started."""
    profiles = yaml.safe_load((DBT_PROJECT_DIR / "profiles.yml").read_text(encoding="utf-8"))
    settings: dict[str, str] = profiles["research"]["outputs"]["spark"]["server_side_parameters"]
    return dict(settings)


@needs_spark
@pytest.mark.long
@pytest.mark.timeout(1200)
def test_marts_of_a_thrift_server_equal_those_of_duckdb(engines: Engines, tmp_path: Path) -> None:
    output = tmp_path / "thrift-output"
    with thrift_server(LIGHT | server_settings()) as address:
        options = SparkOptions(thrift=address)
        assert not build_on_spark(engines.settings, output, now=FakeClock().now(), options=options).is_increment
    assert differences(engines.settings.warehouse, output) == []


@needs_spark
@pytest.mark.long
@pytest.mark.timeout(600)
def test_thrift_server_with_other_settings_is_refused(engines: Engines, tmp_path: Path) -> None:
    needed = server_settings()
    del needed["spark.sql.hive.manageFilesourcePartitions"]
    with (
        thrift_server(LIGHT | needed) as address,
        pytest.raises(
            SparkBuildError, match=r"Start it with --conf spark\.sql\.hive\.manageFilesourcePartitions=false"
        ),
    ):
        build_on_spark(
            engines.settings, tmp_path / "output", now=FakeClock().now(), options=SparkOptions(thrift=address)
        )


@needs_spark
@pytest.mark.timeout(300)
def test_failed_build_keeps_the_published_marts(engines: Engines) -> None:
    before = (engines.output / "published").resolve()
    options = SparkOptions("no such cluster", conf=LIGHT)
    with pytest.raises(SparkBuildError, match="Nothing was published"):
        build_on_spark(engines.settings, engines.output, now=FakeClock().now(), options=options)
    assert (engines.output / "published").resolve() == before
    assert ra.open(engines.output).marts


def test_build_without_java_names_what_is_missing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(SparkBuildError, match=r"Java 17 or later.*Nothing was changed"):
        build_on_spark(settings, tmp_path / "output", now=FakeClock().now())
    assert not (tmp_path / "output").exists()


def test_output_folder_with_letters_of_patterns_is_refused(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(SparkBuildError, match=r"Spark reads .* as a pattern"):
        build_on_spark(settings, tmp_path / "output [1]", now=FakeClock().now())


def test_unset_folder_of_marts_is_named(tmp_path: Path, settings: Settings) -> None:
    missing = Settings.from_env({"RESEARCH_DATA": str(settings.root), "RESEARCH_MARTS": str(tmp_path / "none")})
    with pytest.raises(WarehouseReadError, match="contains no published marts"):
        read_report_data(missing, "garden")
