"""A person's DuckDB shell that writes to the warehouse, before, during and after a publication, stops no reader.

The shell is a process of its own. What it commits is in a log beside the warehouse until DuckDB writes it to the file.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

import research_assets as ra
from research_assets.checks.study_health import completeness_result
from research_assets.export import ExportRequest, export
from research_assets.report.write import write_report
from research_assets.resources import warehouse_resource
from research_assets.settings import Settings, prepare_root
from research_assets.storage import files
from research_assets.warehouse import build, changes
from research_assets.warehouse.changes import BuildInput
from research_assets.warehouse.reader import READER_NAMES, WarehouseReadError, connect_read_only
from research_assets_tests.report.report_warehouse import STUDY, garden_rows
from research_assets_tests.report.report_warehouse import publish as write_warehouse
from research_assets_tests.warehouse.conftest import BuiltWarehouse, materialize
from research_assets_tests.warehouse.duckdb_shell import DuckDBShell, duckdb_shell
from research_assets_tests.warehouse.raw_data import copy_published

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
FOREIGN = "INSERT INTO marts.videos (study, video_id) VALUES ('foreign', 1)"


@pytest.fixture
def published(settings: Settings) -> Settings:
    """A data folder with a published warehouse of a mart `videos` of one row."""
    prepare_root(settings)
    files.private_folder(settings.dbt_target)
    with duckdb.connect(str(changes.scratch_path(settings))):
        pass
    publish(settings, write_new)
    return settings


def write_new(settings: Settings, number: int) -> None:
    """Build as a full refresh does: a new database."""
    with duckdb.connect(str(settings.warehouse_build)) as db:
        db.execute("CREATE SCHEMA marts")
        db.execute(f"CREATE TABLE marts.videos AS SELECT 'garden' AS study, {number} AS video_id")


def write_increment(settings: Settings, number: int) -> None:
    """Build as an increment does: a copy of the published file, which DuckDB takes for the same database."""
    shutil.copyfile(settings.warehouse, settings.warehouse_build)
    with duckdb.connect(str(settings.warehouse_build)) as db:
        db.execute("CREATE OR REPLACE TABLE marts.videos AS SELECT 'garden' AS study, ?::INTEGER AS video_id", [number])


def publish(settings: Settings, write: Callable[[Settings, int], None], number: int = 1) -> None:
    """Write a build whose only video has this number, and publish it."""
    with build.build_lock(settings):
        write(settings, number)
        build.publish_warehouse(settings, BuildInput({}, "test"))


def act(shell: DuckDBShell, settings: Settings, steps: str) -> None:
    for step in steps.split():
        match step:
            case "open":
                shell.open(settings.warehouse)
            case "commit":
                shell.execute(FOREIGN)
            case "checkpoint":
                shell.execute("CHECKPOINT")
            case "close":
                shell.close()
            case "die":
                shell.die()


def read_videos(settings: Settings) -> list[list[Any]]:
    """Return the ids of the videos through each way of reading."""
    with ra.open(settings.root) as marts, warehouse_resource(settings).get_connection() as connection:
        return [
            marts.videos()["video_id"].tolist(),
            [row[0] for row in connection.execute("SELECT video_id FROM marts.videos").fetchall()],
        ]


def assert_folder_is_clean(settings: Settings) -> None:
    assert list(settings.root.glob(READER_NAMES)) == []


ORDERS = [
    # Before the publication, during it (after the old log was removed), after it.
    ("open", "", ""),
    ("open", "", "commit"),
    ("open", "", "commit die"),
    ("open", "", "commit close"),
    ("open", "", "commit checkpoint"),
    ("open", "commit", ""),
    ("open", "commit", "commit"),
    ("open", "commit die", ""),
    ("open", "commit close", ""),
    ("open commit", "", ""),
    ("open commit", "", "commit"),
    ("open commit", "", "checkpoint"),
    ("open commit", "", "close"),
    ("open commit", "commit", "die"),
    ("open commit die", "", ""),
    ("", "open commit", ""),
    ("", "open", "commit"),
    ("", "", "open"),
    ("", "", "open commit"),
    ("", "", "open commit die"),
]


@pytest.mark.parametrize(
    "write",
    [pytest.param(write_new, id="full refresh"), pytest.param(write_increment, id="increment", marks=pytest.mark.long)],
)
@pytest.mark.parametrize(("before", "during", "after"), ORDERS)
def test_readers_see_the_published_rows_whatever_a_shell_does(
    published: Settings,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Settings, int], None],
    before: str,
    during: str,
    after: str,
) -> None:
    with duckdb_shell() as shell:
        act(shell, published, before)
        assert read_videos(published) == [[1], [1]]
        with monkeypatch.context() as patch:
            real = files.publish_file

            def publish_while_shell_acts(temporary: Path, path: Path) -> None:
                if path == published.warehouse:
                    act(shell, published, during)
                real(temporary, path)

            patch.setattr(files, "publish_file", publish_while_shell_acts)
            publish(published, write, 2)
        assert read_videos(published) == [[2], [2]]
        act(shell, published, after)
        assert read_videos(published) == [[2], [2]]
        # An earlier file may be open in the shell, but not the published one: then other programs can read it as well.
        if "open" not in after:
            with duckdb.connect(str(published.warehouse), read_only=True) as db:
                assert db.execute("SELECT video_id FROM marts.videos").fetchall() == [(2,)]
        publish(published, write, 3)
        assert read_videos(published) == [[3], [3]]
    assert read_videos(published) == [[3], [3]]
    assert_folder_is_clean(published)


def test_log_of_a_shell_that_writes_to_the_published_file_is_kept(published: Settings) -> None:
    log = changes.write_ahead_log(published.warehouse)
    with duckdb_shell() as shell:
        act(shell, published, "open commit")
        before = log.read_bytes()
        assert read_videos(published) == [[1], [1]]
        assert log.read_bytes() == before
        act(shell, published, "die")
    assert read_videos(published) == [[1], [1]]
    assert log.read_bytes() == before, "the person can still open the file with what was committed"
    with duckdb.connect(str(published.warehouse), read_only=True) as db:
        assert db.execute("SELECT video_id FROM marts.videos WHERE study = 'foreign'").fetchall() == [(1,)]


def test_report_export_and_checks_read_while_a_shell_holds_the_old_file(settings: Settings, tmp_path: Path) -> None:
    prepare_root(settings)
    write_warehouse(settings, garden_rows())
    shutil.copyfile(settings.warehouse, tmp_path / "next")
    with duckdb.connect(str(tmp_path / "next")) as db:
        db.execute("CREATE TABLE marts.new AS SELECT 1 AS number")
    with duckdb_shell() as shell:
        act(shell, settings, "open")
        (tmp_path / "next").rename(settings.warehouse)
        act(shell, settings, "commit")
        assert changes.write_ahead_log(settings.warehouse).exists()
        write_report(settings, STUDY, NOW)
        assert not changes.write_ahead_log(settings.warehouse).exists()
        # The published file is open for writing now, and committed rows wait in its log.
        with duckdb_shell() as other:
            act(other, settings, "open commit")
            report = write_report(settings, STUDY, NOW)
            exported = export(settings, ExportRequest(formats=("csv",)), [STUDY], NOW)
            assert completeness_result(warehouse_resource(settings), STUDY.name).metadata["incomplete units"].value
            assert ra.open(settings.root).studies == ["bikes", "garden"]
            assert "foreign" not in report.path.read_text()
            assert exported.rows["videos"] == 7
            # DuckDB empties the log before the shell ends: nothing of ours was in its way.
            act(other, settings, "commit checkpoint close")


def test_build_publishes_while_a_shell_holds_the_old_file(built_warehouse: BuiltWarehouse, tmp_path: Path) -> None:
    settings = copy_published(built_warehouse.settings, tmp_path / "data")
    with duckdb_shell() as shell:
        shell.open(settings.warehouse)
        shell.execute("DELETE FROM marts.videos")
        assert materialize(settings).success
        shell.execute("DELETE FROM marts.comments")
        with ra.open(settings.root) as marts, ra.open(built_warehouse.settings.root) as original:
            for mart in ("videos", "comments"):
                assert len(getattr(marts, mart)()) == len(getattr(original, mart)()) > 0
    assert materialize(settings).success


def test_increment_does_not_copy_a_file_that_a_shell_has_changed(
    built_warehouse: BuiltWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = copy_published(built_warehouse.settings, tmp_path / "data")
    copyfile = shutil.copyfile

    def copy_while_shell_writes(source: Path, target: Path) -> None:
        with duckdb_shell() as shell:
            shell.open(settings.warehouse)
            shell.execute("DELETE FROM marts.videos")
            shell.close()
        copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", copy_while_shell_writes)
    assert materialize(settings).success
    monkeypatch.undo()
    with ra.open(settings.root) as marts, ra.open(built_warehouse.settings.root) as original:
        assert len(marts.videos()) == len(original.videos()) > 0


def test_reader_of_a_read_only_folder_opens_the_published_name(
    published: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "link", refuse)
    assert read_videos(published) == [[1], [1]]


def test_reader_opens_again_if_a_build_removed_its_name(published: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    link, times = os.link, [0]

    def link_and_lose(source: Path, target: Path) -> None:
        link(source, target)
        times[0] += 1
        if times[0] == 1:
            with build.build_lock(published):
                assert not target.exists()

    monkeypatch.setattr(os, "link", link_and_lose)
    with closing(connect_read_only(published.warehouse)) as connection:
        assert connection.execute("SELECT video_id FROM videos").fetchall() == [(1,)]
    assert times == [2]


def test_file_that_changes_during_each_copy_is_reported(published: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    copyfile = shutil.copyfile

    def copy_while_shell_writes(source: Path, target: Path) -> None:
        copyfile(source, target)
        act(shell, published, "commit checkpoint")

    monkeypatch.setattr(shutil, "copyfile", copy_while_shell_writes)
    with duckdb_shell() as shell:
        act(shell, published, "open")
        with pytest.raises(WarehouseReadError, match="another program is writing to it"):
            connect_read_only(published.warehouse)
    assert_folder_is_clean(published)
