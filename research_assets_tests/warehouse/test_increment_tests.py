"""What an increment's tests say, and what is done when an increment fails: everything is built anew."""

import errno
import resource
import shutil
from datetime import UTC, date, datetime
from pathlib import Path
from threading import Event
from typing import Any

import duckdb
import orjson
import pytest

from research_assets.settings import Settings
from research_assets.storage import files, raw_writer
from research_assets.warehouse import build, dbt_runner, dbt_tests
from research_assets.warehouse.changes import BuildInput, scratch_path
from research_assets.warehouse.dbt_runner import NodeResult
from research_assets_tests.warehouse.raw_data import (
    at,
    make_attempt,
    new_id,
    new_settings,
    video,
    write,
    write_raw_data,
)
from research_assets_tests.warehouse.test_increment import differences

STUDY, DAY = "story", date(2026, 2, 7)


@pytest.fixture
def published_warehouse(tmp_path: Path) -> Settings:
    """A published warehouse."""
    settings = new_settings(tmp_path / "held")
    write_raw_data(settings.raw)
    assert not [result for result in build_and_publish(settings)[1] if result.failed]
    return settings


def build_and_publish(settings: Settings, said: list[str] | None = None) -> tuple[BuildInput, list[NodeResult]]:
    """Build, and publish what did not fail; what is said about it is added to `said`."""
    with build.build_lock(settings):
        raw_writer.ensure_tables(settings.raw)
        build_input, results = build.build_warehouse(
            settings,
            now=datetime(2026, 6, 1, tzinfo=UTC),
            progress=lambda _, line: said.append(line) if said is not None else None,
        )
        if not any(result.failed for result in results):
            build.publish_warehouse(settings, build_input)
    return build_input, results


def add_day(settings: Settings, capture: str = "one") -> None:
    """One more day with a video."""
    row = video(new_id(at(7), 1), "anna", at(10))
    write(settings.raw, "videos", STUDY, DAY, capture, [row])
    complete = make_attempt("videos", DAY, "day", str(DAY), "complete", at(10), kept=1) | {"capture": capture}
    write(settings.raw, "coverage", STUDY, date(2026, 2, 10), capture, [complete])


def result_by_test(results: list[NodeResult]) -> dict[str, str]:
    return {result.name: result.status for result in results if result.unique_id.startswith("test.")}


def test_an_increment_is_held_to_the_tests_of_a_whole_build(published_warehouse: Settings) -> None:
    add_day(published_warehouse)
    build_input, results = build_and_publish(published_warehouse)
    assert build_input.full_refresh_reason is None
    said = result_by_test(results)
    assert set(said.values()) == {"pass"}
    everything = {
        test["name"]: test
        for test in orjson.loads((published_warehouse.dbt_target / "tests.json").read_bytes())["tests"]
    }
    whole = new_settings(published_warehouse.root.parent / "whole")
    write_raw_data(whole.raw)
    assert everything.keys() == result_by_test(build_and_publish(whole)[1]).keys()
    # A test is left out only if nothing that it looks at was built.
    built = {result.unique_id for result in results}
    assert said.keys() == {name for name, test in everything.items() if built & set(test["models"])}
    assert {"videos_grain", "comments_refer_to_videos", "coverage_state_is_known"} <= said.keys()
    assert "api_changes_grain" not in said


def test_models_that_dbt_did_not_tell_of_do_not_go_untested(
    published_warehouse: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = dbt_runner.DbtSession.call

    def silent(dbt: dbt_runner.DbtSession, arguments: list[str], *rest: Any) -> list[NodeResult]:
        return really(dbt, arguments, *rest[:3])

    monkeypatch.setattr(dbt_runner.DbtSession, "call", silent)
    add_day(published_warehouse)
    build_input, results = build_and_publish(published_warehouse)
    assert build_input.full_refresh_reason is None
    assert result_by_test(results)["videos_grain"] == "pass"


def test_tests_that_outlast_dbt_are_waited_for(published_warehouse: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, dbt, test = Event(), dbt_runner.DbtSession.call, dbt_tests.IncrementTestRunner._run

    def call(*arguments: Any) -> list[NodeResult]:
        results = dbt(*arguments)
        ended.set()
        return results

    def late(*arguments: Any) -> NodeResult:
        assert ended.wait(60)
        return test(*arguments)

    build_and_publish(published_warehouse)  # which compiles the tests, by another call of dbt
    monkeypatch.setattr(dbt_runner.DbtSession, "call", call)
    monkeypatch.setattr(dbt_tests.IncrementTestRunner, "_run", late)
    add_day(published_warehouse)
    build_input, results = build_and_publish(published_warehouse)
    assert build_input.full_refresh_reason is None
    assert set(result_by_test(results).values()) == {"pass"}


def test_a_test_that_only_warns_lets_the_increment_be_published(published_warehouse: Settings) -> None:
    lonely = {"id": new_id(at(6), 3), "video_id": 404, "asked_video_id": 404, "observed_at": at(10), "text": "x"}
    write(published_warehouse.raw, "comments", STUDY, DAY, "two", [lonely])
    said: list[str] = []
    build_input, results = build_and_publish(published_warehouse, said)
    assert build_input.full_refresh_reason is None
    [lonely_comment] = [result for result in results if result.name == "comments_refer_to_videos"]
    assert (lonely_comment.status, lonely_comment.failures) == ("warn", 1)
    assert "comments_refer_to_videos: 1 rows object" in said


def test_data_that_break_a_rule_are_not_published_by_an_increment_either(published_warehouse: Settings) -> None:
    published = published_warehouse.warehouse.read_bytes()
    odd = make_attempt("videos", DAY, "day", str(DAY), "mislaid", at(10)) | {"capture": "odd"}
    write(published_warehouse.raw, "coverage", STUDY, date(2026, 2, 10), "odd", [odd])
    build_input, results = build_and_publish(published_warehouse)
    # What an increment cannot take in is looked at together with all the rest.
    assert "coverage_state_is_known: 1 rows object" in str(build_input.full_refresh_reason)
    assert result_by_test(results)["coverage_state_is_known"] == "fail"
    assert published_warehouse.warehouse.read_bytes() == published


def test_an_increment_that_cannot_run_is_built_anew(published_warehouse: Settings) -> None:
    add_day(published_warehouse)
    with duckdb.connect(str(scratch_path(published_warehouse))) as db:
        db.execute("DROP VIEW staging.stg_tiktok__videos")
    said: list[str] = []
    build_input, results = build_and_publish(published_warehouse, said)
    assert "cannot be taken in (" in str(build_input.full_refresh_reason)
    assert not [result for result in results if result.failed]
    assert any("from everything" in line for line in said)
    fresh = new_settings(published_warehouse.root.parent / "fresh")
    write_raw_data(fresh.raw)
    add_day(fresh)
    build_and_publish(fresh)
    assert differences(published_warehouse, fresh) == {}


def test_a_warehouse_that_cannot_be_copied_is_built_anew(
    published_warehouse: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error", str(published_warehouse.warehouse))

    monkeypatch.setattr(shutil, "copyfile", damaged)
    add_day(published_warehouse)
    build_input, results = build_and_publish(published_warehouse)
    assert "Input/output error" in str(build_input.full_refresh_reason)
    assert not [result for result in results if result.failed]
    with duckdb.connect(str(published_warehouse.warehouse), read_only=True) as db:
        assert db.execute("SELECT count(*) FROM marts.videos WHERE study = 'story'").fetchall() == [(1,)]


def test_what_is_published_was_made_durable_first(
    published_warehouse: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # DuckDB is told not to, and the views count as those of the published file.
    flushed: list[Path] = []
    really = files.fsync_file

    def flush(path: Path) -> None:
        flushed.append(path)
        really(path)

    monkeypatch.setattr(files, "fsync_file", flush)
    add_day(published_warehouse)
    build_and_publish(published_warehouse)
    at_the_end = flushed[-4:]
    assert at_the_end[:2] == [published_warehouse.warehouse_build, scratch_path(published_warehouse)]
    assert at_the_end[-1] == published_warehouse.warehouse_build


@pytest.mark.parametrize("whole", [False, True])
def test_on_a_full_disk_nothing_is_published(published_warehouse: Settings, whole: bool) -> None:
    # DuckDB says nothing when it cannot put its log into the file that it closes.
    published = published_warehouse.warehouse.read_bytes()
    add_day(published_warehouse)
    if whole:
        # What an increment would need is not there.
        (published_warehouse.dbt_target / "build_record.json").unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(0.95 * len(published)), limits[1]))
    try:
        for _ in range(2):
            with pytest.raises(build.PublishError, match=r"File too large.*Make room on the disk"):
                build_and_publish(published_warehouse)
            assert published_warehouse.warehouse.read_bytes() == published
            assert not published_warehouse.warehouse_build.exists()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    build_and_publish(published_warehouse)
    with duckdb.connect(str(published_warehouse.warehouse), read_only=True) as db:
        assert db.execute("SELECT count(*) FROM marts.videos WHERE study = 'story'").fetchall() == [(1,)]


def test_a_log_that_could_not_be_put_into_the_file_is_as_soon_as_there_is_room(published_warehouse: Settings) -> None:
    add_day(published_warehouse)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with build.build_lock(published_warehouse):
        resource.setrlimit(resource.RLIMIT_FSIZE, (published_warehouse.warehouse.stat().st_size, limits[1]))
        try:
            build_input, _ = build.build_warehouse(
                published_warehouse, now=datetime(2026, 6, 1, tzinfo=UTC), progress=lambda *_: None
            )
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert published_warehouse.warehouse_build.with_name(published_warehouse.warehouse_build.name + ".wal").exists()
        build.publish_warehouse(published_warehouse, build_input)
    with duckdb.connect(str(published_warehouse.warehouse), read_only=True) as db:
        assert db.execute("SELECT count(*) FROM marts.videos WHERE study = 'story'").fetchall() == [(1,)]


def test_tests_that_were_lost_are_compiled_again(published_warehouse: Settings) -> None:
    kept = published_warehouse.dbt_target / "tests.json"
    for damage in (b"", b"{", b'{"project": "another", "tests": []}', b'{"tests": [1]}'):
        kept.write_bytes(damage)
        assert dbt_tests._cached_tests(kept, dbt_runner.project_digest()) is None
    add_day(published_warehouse)
    assert build_and_publish(published_warehouse)[0].full_refresh_reason is None
    assert dbt_tests._cached_tests(kept, dbt_runner.project_digest())
