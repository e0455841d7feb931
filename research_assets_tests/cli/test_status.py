"""`status` prints collected units and remaining quota, and writes no file."""

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from research_assets.cli import main
from research_assets.clock import SystemClock
from research_assets.quota.ledger import Ledger
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import run_in_thread
from research_assets.settings import Settings
from research_assets.storage.raw_writer import write_capture, write_rows
from research_assets.storage.sent_by import SentBy
from research_assets_tests.storage.capture_factory import make_answer, make_capture, make_video
from research_assets_tests.study.study_files import MINIMAL_STUDY, write


def status() -> Result:
    return CliRunner().invoke(main, ["status"])


def unit(partition: date, state: str, kept: int, hour: int = 9, capture: str = "c1") -> dict[str, object]:
    return {
        "entity": "videos",
        "partition": partition,
        "unit_kind": "day",
        "unit": partition.isoformat(),
        "state": state,
        "offered": kept,
        "kept": kept,
        "last_at": datetime(2026, 3, 2, hour, tzinfo=UTC),
        "capture": capture,
    }


@pytest.fixture
def data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    monkeypatch.setenv("TIKTOK_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path / "data"))
    return Settings.from_env()


def test_status_of_an_empty_folder_creates_no_file(data_folder: Settings) -> None:
    result = status()
    assert result.exit_code == 0, result.output
    assert "No data collected yet" in result.stdout
    assert "1,000" in result.stdout
    assert not data_folder.root.exists()


def test_studies_without_data_are_named(data_folder: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write(tmp_path / "studies" / "one", MINIMAL_STUDY)
    write(tmp_path / "studies" / "two", MINIMAL_STUDY.replace("gardening", "birds"))
    monkeypatch.setenv("RESEARCH_STUDIES", str(tmp_path / "studies"))
    rows = [unit(date(2026, 2, 1), "complete", 90)]
    write_rows(data_folder.raw, "coverage", study="gardening", day=date(2026, 3, 2), name="c1", rows=rows)
    assert "No data yet: birds. What starts next: research-assets collect --dry-run" in status().stdout


def test_videos_with_unconfirmed_counts_are_shown_with_the_next_reobservation(data_folder: Settings) -> None:
    def zero(video: str, next_try: datetime | None) -> dict[str, object]:
        changes = {"entity": "comments", "unit_kind": "video", "unit": video, "expected": 0, "next_try": next_try}
        return unit(date(2026, 2, 1), "too_fresh", 0) | changes

    due_at = datetime(2026, 2, 14, tzinfo=UTC)
    for study, next_try in (("gardening", due_at), ("kitchen", None)):
        rows = [zero("1", next_try), zero("2", next_try)]
        write_rows(data_folder.raw, "coverage", study=study, day=date(2026, 2, 4), name="c1", rows=rows)
    lines = status().stdout.splitlines()
    begin = "2 videos with an unconfirmed comment count of 0"
    assert f"gardening: {begin}; next re-observation: 2026-02-14 00:00 UTC." in lines
    assert f"kitchen: {begin}; no re-observation is planned." in lines


def test_day_that_left_the_study_has_no_next_step(
    data_folder: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(tmp_path / "studies" / "one", MINIMAL_STUDY + "end: 2026-02-04\n")
    monkeypatch.setenv("RESEARCH_STUDIES", str(tmp_path / "studies"))
    gone = unit(date(2026, 1, 31), "too_fresh", 0)
    zero = gone | {"entity": "comments", "unit_kind": "video", "unit": "1", "expected": 0}
    rows = [zero, gone | {"state": "suspicious", "reason": "Nothing was found."}]
    write_rows(data_folder.raw, "coverage", study="gardening", day=date(2026, 2, 4), name="c1", rows=rows)
    output = status().stdout
    assert ("unconfirmed" in output, "Nothing was found" in output) == (False, False)


def test_units_are_counted_by_their_current_state(data_folder: Settings) -> None:
    day, other = date(2026, 2, 1), date(2026, 2, 2)
    first = [unit(day, "partial", 40), unit(other, "complete", 90)]
    later = [unit(day, "complete", 100, hour=10, capture="c2")]
    for name, rows in (("c1", first), ("c2", later)):
        write_rows(data_folder.raw, "coverage", study="gardening", day=date(2026, 3, 2), name=name, rows=rows)
    lines = [line.split() for line in status().stdout.splitlines()]
    assert ["study", "entity", "complete", "rows"] in lines
    assert ["gardening", "videos", "2", "190"] in lines


def test_damaged_ledger_is_one_message_and_hides_no_coverage(data_folder: Settings) -> None:
    rows = [unit(date(2026, 2, 1), "complete", 9)]
    write_rows(data_folder.raw, "coverage", study="gardening", day=date(2026, 3, 2), name="c1", rows=rows)
    data_folder.ledger.parent.mkdir(parents=True)
    data_folder.ledger.write_text("this is not a database")
    result = status()
    assert result.exit_code == 1
    assert "The remaining quota is unknown" in result.stdout
    assert ["gardening", "videos", "1", "9"] in [line.split() for line in result.stdout.splitlines()]
    assert str(data_folder.ledger) in result.stderr
    assert "Traceback" not in result.output


def test_coverage_groups_neighbouring_days_by_state(
    data_folder: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(tmp_path / "studies" / "one", MINIMAL_STUDY + "comments: none\nend: 2026-02-04\n")
    monkeypatch.setenv("RESEARCH_STUDIES", str(tmp_path / "studies"))
    quarantined = unit(date(2026, 2, 2), "quarantined", 0) | {
        "reason": "HTTP 500 internal_error. It fails each time.",
        "next_try": datetime(2026, 3, 4, 9, tzinfo=UTC),
    }
    rows = [unit(date(2026, 2, 1), "complete", 9), quarantined, unit(date(2026, 2, 3), "partial", 4)]
    write_rows(data_folder.raw, "coverage", study="gardening", day=date(2026, 3, 2), name="c1", rows=rows)
    output = status().stdout
    assert output.partition("\nCoverage of gardening as of ")[2].splitlines()[1:6] == [
        "  videos: 4 days",
        "  # 2026-02-01  1 complete",
        "  ! 2026-02-02  1 quarantined",
        "  % 2026-02-03  1 partial",
        "  . 2026-02-04  1 not requested",
    ]
    assert "! quarantined" in output
    lines = [line.split() for line in output.splitlines()]
    assert ["gardening", "videos", "2026-02-02", "quarantined", "1", "2026-03-04"] in [line[:6] for line in lines]
    assert "HTTP 500" in output
    assert any(line[:4] == ["gardening", "videos", "2026-02-03", "partial"] for line in lines)


@pytest.mark.parametrize("columns", [80, 40])
def test_coverage_fits_the_terminal_and_needs_no_colour(
    data_folder: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, columns: int
) -> None:
    name = "a_study_with_a_long_name"
    text = MINIMAL_STUDY.replace("gardening", name, 1) + "end: 2026-03-01\nusers: none\n"
    write(tmp_path / "studies" / "one", text.replace("2026-02-01", "2022-01-01"))
    monkeypatch.setenv("RESEARCH_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("COLUMNS", str(columns))
    first = date(2022, 1, 1)
    every_third = ("complete", "complete", "quarantined")
    rows = [unit(first + timedelta(days=n), every_third[n % 3] if n < 30 else "complete", 1) for n in range(1000)]
    write_rows(data_folder.raw, "coverage", study=name, day=date(2026, 3, 2), name="c1", rows=rows)
    output = status().stdout
    block = output.partition("\nCoverage of ")[2].partition("\nOpen units")[0].splitlines()
    assert max(map(len, block)) <= columns, block
    assert output.isascii()
    assert name in output
    # Many runs are drawn as a bar, whose symbols stand for several days.
    [bar] = [line.split() for line in block if line.startswith("    2022-01-01 ")][:1]
    assert set(bar[1]) == {"!", "#", "."}
    assert "  ! 2022-01-03  1 quarantined" in block
    # The long rest: neighbouring days are one run, also across years.
    assert any(line.startswith("  . 2024-09-27..2026-03-01") for line in block), block
    assert "# complete" in " ".join(block)


def test_invalid_study_file_hides_no_other_study(
    data_folder: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(tmp_path / "studies" / "one", MINIMAL_STUDY + "comments: none\nend: 2026-02-02\n")
    write(tmp_path / "studies" / "two", MINIMAL_STUDY.replace("gardening", "cooking") + "sttart: 2026-02-04\n")
    monkeypatch.setenv("RESEARCH_STUDIES", str(tmp_path / "studies"))
    rows = [unit(date(2026, 2, 1), "complete", 9)]
    write_rows(data_folder.raw, "coverage", study="gardening", day=date(2026, 3, 2), name="c1", rows=rows)
    result = status()
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["#", "2026-02-01", "1", "complete"] in lines
    assert [".", "2026-02-02", "1", "not", "requested"] in lines
    assert "1 error in the study files" in result.stdout
    assert "sttart" in result.stdout


def test_recent_failures_are_shown(data_folder: Settings) -> None:
    data_folder.root.mkdir()
    now = SystemClock().now()
    lines = [
        {"at": now - timedelta(days=8), "run": "r0", "assets": ["old/videos"], "message": ["long ago"]},
        {"at": now, "run": "r1", "assets": ["gardening/videos"], "partitions": "2026-02-01", "message": ["HTTP 401"]},
        {"at": now, "sensor": "quota_window", "message": ["IO Error: torn.parquet"]},
    ]
    data_folder.alerts.write_bytes(b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines))
    output = status().stdout
    assert "HTTP 401" in output
    assert "gardening/videos 2026-02-01" in output
    assert "torn.parquet" in output
    assert "long ago" not in output


def test_used_quota_is_shown(data_folder: Settings) -> None:
    ledger = Ledger(data_folder.ledger, data_folder.caps, SystemClock())
    ledger.reserve("research", study="gardening", entity="videos", unit="2026-02-01", endpoint="video_query")
    ledger.close()
    assert ["research", "1", "1,000", "999", "0", "now"] in [line.split() for line in status().stdout.splitlines()]


def test_requests_of_today_are_shown_by_person_if_there_are_several(data_folder: Settings) -> None:
    def reserve(sender: SentBy, pool: str) -> None:
        ledger = Ledger(data_folder.ledger, data_folder.caps, SystemClock(), sent_by=sender)
        ledger.reserve(pool, study="gardening", entity="videos", unit="2026-02-01", endpoint="video_query")
        ledger.close()

    def lines() -> list[list[str]]:
        return [line.split() for line in status().stdout.splitlines()]

    for pool in ("research", "research", "follow"):
        reserve(SentBy("ada", "lab"), pool)
    assert "Sent today by" not in status().stdout
    reserve(SentBy("[b]o\x1b", "lab"), "research")
    table = lines()
    begin = table.index(["Sent", "today", "by"])
    assert table[begin + 1 : begin + 4] == [["user", "research", "follow"], ["[b]o␛", "1", "0"], ["ada", "2", "1"]]
    reserve(SentBy("ada", "field"), "research")
    table = lines()
    assert ["user", "host", "research", "follow"] in table
    assert ["ada", "field", "1", "0"] in table


def test_status_uses_the_day_of_a_simulated_api_and_creates_no_file(
    data_folder: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(tmp_path / "studies" / "one", MINIMAL_STUDY + "comments: none\nend: 2026-02-04\n")
    config = SandboxConfig(start_time=datetime(2026, 2, 4, 9, tzinfo=UTC))
    with run_in_thread(config) as sandbox:
        values = {
            "TIKTOK_API_URL": sandbox.url,
            "TIKTOK_CLIENT_KEY": config.client_key,
            "TIKTOK_CLIENT_SECRET": config.client_secret,
            "RESEARCH_STUDIES": str(tmp_path / "studies"),
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        assert "Quota of 2026-02-04 UTC" in status().stdout
        assert not data_folder.root.exists()
        rows = [unit(date(2026, 2, 1), "complete", 9)]
        write_rows(data_folder.raw, "coverage", study="gardening", day=date(2026, 2, 4), name="c1", rows=rows)
        # Only the first day is two days old; the others are too fresh.
        output = status().stdout
        assert "Coverage of gardening as of 2026-02-04 09:" in output
        assert "  : 2026-02-02..02-04  3 too fresh" in output.splitlines()
        assert sandbox.state["requests"] == {}
    assert f"Quota of {SystemClock().now():%Y-%m-%d} UTC" in status().stdout, "the machine's clock without a server"


def test_study_that_never_found_a_video_is_named_with_what_to_do(data_folder: Settings) -> None:
    empty = [unit(date(2026, 2, 1 + n), "suspicious", 0) | {"offered": 0} for n in range(3)]
    found = [unit(date(2026, 2, 1), "complete", 5) | {"offered": 5}]
    for study, rows in (("typo", empty), ("gardening", found)):
        write_rows(data_folder.raw, "coverage", study=study, day=date(2026, 3, 2), name="c1", rows=rows)
    text = " ".join(status().stdout.split())
    assert "typo: No video was ever found for this query. Searched: 3 days. Check hashtags" in text
    assert "`research-assets plan typo --probe`" in text
    assert "gardening: No video" not in text


def test_captures_that_are_not_in_the_raw_tables_are_shown_with_what_to_do(data_folder: Settings) -> None:
    page = make_answer("videos", [make_video(1), make_video(2)])
    unit_event = {"unit": "2026-02-01", "state": "complete"}
    names = ("waiting", "from_future", "recent", "damaged", "loaded", "loaded_and_damaged")
    captures = {
        name: make_capture(data_folder.root, "videos", [(page, {"rows": 2})], units=[unit_event], study=name)
        for name in names
    }
    assert "The raw tables are empty. Build them from the captures" in status().stdout, "after a restored backup"
    for name in ("loaded", "loaded_and_damaged"):
        write_capture(data_folder.raw, captures[name])
    for name in ("damaged", "loaded_and_damaged"):
        captures[name].write_bytes(captures[name].read_bytes()[:-5])
    an_hour_ago = (datetime.now(UTC) - timedelta(hours=1)).timestamp()
    os.utime(captures["waiting"], (an_hour_ago, an_hour_ago))
    os.utime(captures["from_future"], (an_hour_ago + 365 * 86_400, an_hour_ago + 365 * 86_400))
    result = status()
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert "Captures with problems: 4, 3 captures without rows in the raw tables and the marts" in text
    for name in ("waiting", "from_future"):
        assert f"{captures[name].name} (not loaded): 2 rows not in the raw tables." in text
    for name in ("damaged", "loaded_and_damaged"):
        assert f"study={name}/2026-02-01/{captures[name].name} (damaged file): its content has changed" in text
    assert captures["recent"].name not in text
    assert captures["loaded"].name not in text
    assert "not loaded: Materialize a partition of the entity, or run `research-assets replay`" in text
    assert "damaged file: Restore the file from a backup" in text
