"""The checks of a whole study: incomplete units in the warehouse, and present problems in the files."""

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from research_assets.checks.study_health import completeness_result, failures_result, format_age
from research_assets.collect.publish import recover_unpublished
from research_assets.resources import warehouse_resource
from research_assets.settings import Settings, prepare_root
from research_assets.storage.captures import Journal
from research_assets.storage.raw_writer import write_rows
from research_assets_tests.storage.capture_factory import DAY, make_answer, make_capture

NOW = datetime(2026, 2, 20, 12, tzinfo=UTC)
UNIT = {"entity": "videos", "partition": DAY, "unit_kind": "day", "unit": str(DAY), "state": "complete"}


@pytest.fixture
def published(settings: Settings) -> Settings:
    """Settings with a warehouse whose mart `coverage` has one unit in each of several states."""
    prepare_root(settings)
    with duckdb.connect(str(settings.warehouse)) as connection:
        connection.execute("create schema marts")
        connection.execute(
            "create table marts.coverage as select study, 'videos' as entity, date '2026-02-03' as partition_day,"
            " 'day' as unit_kind, state as unit, state, 'because' as reason, null::timestamptz as next_try_at"
            " from (values ('gardening'), ('other')) as s(study), (values ('complete'), ('quarantined'), ('refused'),"
            " ('missing'), ('too_fresh'), ('not_asked'), ('partial'), ('suspicious')) as v(state)"
        )
    return settings


def test_completeness_check_counts_incomplete_units_by_state(published: Settings) -> None:
    result = completeness_result(warehouse_resource(published), "gardening")
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert result.metadata["incomplete units"].value == 4
    assert "1 not asked, 1 partial, 1 quarantined, 1 suspicious" in (result.description or "")
    assert "because" in str(result.metadata["example rows"].value)


def test_completeness_check_passes_for_a_complete_study(published: Settings) -> None:
    assert completeness_result(warehouse_resource(published), "without_units").passed


def test_completeness_check_passes_before_the_first_build(settings: Settings) -> None:
    assert completeness_result(warehouse_resource(settings), "gardening").passed


def test_readers_cannot_write_the_warehouse(published: Settings) -> None:
    with warehouse_resource(published).get_connection() as connection, pytest.raises(duckdb.InvalidInputException):
        connection.execute("delete from marts.coverage")


def write_capture(settings: Settings, study: str = "gardening") -> Path:
    """Write a sealed capture of one video, a day old and not in the raw tables."""
    page = make_answer("videos", [{"id": 1 << 32, "create_time": 1769900400}])
    return set_modified(make_capture(settings.root, "videos", [page], units=[UNIT], study=study), timedelta(days=1))


def write_journal(settings: Settings, idle: timedelta) -> Path:
    """Write an open journal with one page, last modified `idle` ago."""
    open_journal = Journal.create(
        settings.captures, entity="videos", study="gardening", first=DAY, last=DAY, now=NOW, origin="sandbox", header={}
    )
    open_journal.append("page", {"observed_at": NOW, "rows": 1}, make_answer("videos", []))
    open_journal.close()
    return set_modified(open_journal.path, idle)


def set_modified(path: Path, ago: timedelta) -> Path:
    os.utime(path, times=((NOW - ago).timestamp(),) * 2)
    return path


def report_problems(settings: Settings) -> tuple[dict[str, int], str]:
    """Return the number of problems by kind, and the whole text of the check result."""
    result = failures_result(settings, "gardening", NOW)
    counts = {
        key: int(str(entry.value)) for key, entry in result.metadata.items() if key not in ("example rows", "problems")
    }
    present = {kind: count for kind, count in counts.items() if count}
    assert result.passed is not bool(present)
    assert result.metadata["problems"].value == sum(present.values())
    if not present:
        return {}, ""
    assert result.severity == dg.AssetCheckSeverity.WARN
    return present, f"{result.description}\n{result.metadata['example rows'].value}"


def test_empty_folder_has_no_problems(settings: Settings) -> None:
    assert report_problems(settings) == ({}, "")


def test_folder_without_damage_has_no_problems(settings: Settings) -> None:
    write_capture(settings)
    write_capture(settings, study="other")
    recover_unpublished(settings.captures, settings.raw, "videos", "gardening")
    write_journal(settings, timedelta(hours=20))
    assert report_problems(settings) == ({}, "")


def test_quarantined_and_suspicious_units_are_problems(settings: Settings) -> None:
    base = {"entity": "videos", "unit_kind": "day", "last_at": NOW - timedelta(days=3)}
    days = [date(2026, 2, number) for number in (3, 4, 5)]
    rows = [
        {**base, "partition": days[0], "unit": str(days[0]), "state": "quarantined", "reason": "only 500s"},
        {**base, "partition": days[1], "unit": str(days[1]), "state": "suspicious", "next_try": NOW},
        {**base, "partition": days[2], "unit": str(days[2]), "state": "quarantined"},
    ]
    write_rows(settings.raw, "coverage", study="gardening", day=NOW.date(), name="a", rows=rows)
    later = [
        rows[0] | {"last_at": NOW - timedelta(hours=1)},
        rows[2] | {"last_at": NOW - timedelta(hours=1), "state": "complete"},
    ]
    write_rows(settings.raw, "coverage", study="gardening", day=NOW.date(), name="b", rows=later)
    counts, text = report_problems(settings)
    assert counts == {"quarantined": 1, "suspicious": 1}
    assert "| quarantined | videos 2026-02-03 | 3 days | only 500s |" in text
    assert "Next try: 2026-02-20 12:00 UTC." in text


def test_journal_that_no_run_resumed_is_stalled(settings: Settings) -> None:
    path = write_journal(settings, timedelta(days=3))
    counts, text = report_problems(settings)
    assert counts == {"stalled journal": 1}
    assert f"{path.name[:8]}" in text
    assert "3 days | 1 page; no run resumed it" in text
    assert "resumes after its last page" in text


def test_journal_with_a_damaged_line_is_a_damaged_file(settings: Settings) -> None:
    path = write_journal(settings, timedelta(hours=1))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"{torn\n", *lines[1:]]))
    content = path.read_bytes()
    counts, text = report_problems(settings)
    assert counts == {"damaged journal": 1}
    assert "resumes before the damaged line" in text
    assert path.read_bytes() == content
    Journal.resume(path).close()
    counts, text = report_problems(settings)
    assert counts == {"set aside": 1}
    assert f"{path.name[:8]}" in text


def test_capture_without_raw_rows_is_not_loaded(settings: Settings) -> None:
    write_capture(settings)
    counts, text = report_problems(settings)
    assert counts == {"not loaded": 1}
    assert "`research-assets replay`; no request" in text
    assert "1 row not in the raw tables" in text


@pytest.mark.parametrize("damage", ["cut", "one bit", "no file"])
def test_capture_that_does_not_match_its_manifest_is_a_damaged_file(settings: Settings, damage: str) -> None:
    path = write_capture(settings)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "one bit":
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        path.unlink()
    counts, _ = report_problems(settings)
    assert counts == {"damaged file": 1}


def test_damaged_or_lost_manifest_of_an_intact_capture_is_no_problem(settings: Settings) -> None:
    path = write_capture(settings)
    manifest = path.with_name(path.name.replace(".jsonl.zst", ".json"))
    content = manifest.read_bytes()
    for damage in (lambda: manifest.write_text("{}"), manifest.unlink):
        damage()
        assert report_problems(settings)[0] == {"not loaded": 1}
        assert manifest.read_bytes() == content


def test_age_has_hours_or_days() -> None:
    assert [format_age(since, NOW) for since in (None, NOW + timedelta(hours=3), NOW - timedelta(hours=30))] == [
        "unknown",
        "0 hours",
        "30 hours",
    ]
    assert format_age(NOW - timedelta(days=12), NOW) == "12 days"
