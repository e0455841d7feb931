"""Verification of a data folder: every damaged file is built again or named; the daily shares cover every file."""

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from research_assets.cli.main import main
from research_assets.quota.ledger import Ledger
from research_assets.settings import Settings, prepare_root
from research_assets.storage.captures import Journal
from research_assets.storage.raw_writer import write_capture
from research_assets.warehouse import verify_files as module
from research_assets.warehouse.verify_files import SHARE_DAYS, Finding, verify_files
from research_assets_tests.conftest import FakeClock
from research_assets_tests.storage.capture_factory import DAY, NOON, make_answer, make_capture, make_video
from research_assets_tests.storage.test_raw_digests import UNIT, flip


@pytest.fixture
def stored(settings: Settings) -> Settings:
    """A data folder with files of every kind: three captures, an open journal, a ledger, a warehouse."""
    prepare_root(settings)
    for number in range(3):
        page = make_answer("videos", [make_video(number)])
        write_capture(settings.raw, make_capture(settings.root, "videos", [page], units=[UNIT]))
    with Journal.create(
        settings.captures, entity="videos", study="s", first=DAY, last=DAY, now=NOON, origin="sandbox", header={}
    ) as journal:
        journal.append("page", {"rows": 1}, make_answer("videos", [make_video()]))
    ledger = Ledger(settings.ledger, settings.caps, FakeClock())
    ledger.reserve("research", study="s", entity="videos", unit="u", endpoint="e")
    ledger.close()
    with duckdb.connect(str(settings.warehouse)) as db:
        db.execute("CREATE SCHEMA marts")
        db.execute("CREATE TABLE marts.numbers AS SELECT n, hash(n) AS h FROM range(20000) r(n)")
    return settings


def kinds(settings: Settings) -> dict[str, int]:
    return dict(Counter(finding.kind for finding in verify_files(settings).findings))


def test_intact_folder_has_no_findings(stored: Settings) -> None:
    result = verify_files(stored)
    assert result.findings == ()
    # Captures with manifests, raw rows and coverage, the journal, the ledger, the warehouse.
    assert result.files == 3 * 4 + 3
    assert result.size > stored.warehouse.stat().st_size


def test_empty_folder_has_no_findings(settings: Settings) -> None:
    assert verify_files(settings).findings == ()


def test_shares_of_consecutive_days_cover_each_file_once(stored: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def note(path: Path) -> Iterator[Finding]:
        read.append(path)
        return iter(())

    monkeypatch.setattr(module, "_raw_file", lambda _, path: note(path))
    monkeypatch.setattr(module, "_manifest", note)
    for number in range(SHARE_DAYS):
        result = verify_files(stored, date(2026, 2, 1) + timedelta(days=number))
        assert result.files >= 2, "the journal and the ledger are read every day"
    expected = [*stored.raw.glob("*/*/*/*.parquet"), *stored.captures.glob("*/*/*/*.json")]
    assert sorted(read) == sorted(expected)


@pytest.mark.parametrize(
    ("pattern", "kind", "text"),
    [
        ("raw/videos/*/*/*.parquet", "rebuilt", "was built again from its capture"),
        ("raw/coverage/*/*/*.parquet", "rebuilt", "was built again from its capture"),
        ("captures/*/*/*/*.json", "rebuilt", "was built again from its capture"),
        ("captures/*/*/*/*.zst", "damaged", "with 1 rows and 1 attempts of 2026-02-01 to 2026-02-01 .* have its rows?"),
        ("captures/*/*/*/*.jsonl", "damaged", "resumes before this line"),
        ("state/quota.sqlite", "damaged", "is damaged .* Restore it from a backup"),
        ("warehouse.duckdb", "damaged", "next build writes all of it again"),
    ],
)
def test_damaged_file_is_built_again_or_named(stored: Settings, pattern: str, kind: str, text: str) -> None:
    path = sorted(stored.root.glob(pattern))[0]
    verify_files(stored)  # A file that this process has read before is read again.
    content = flip(path)
    if path == stored.ledger:
        path.write_bytes(content.replace(b"videos", b"vidfos"))
    elif path == stored.warehouse:
        path.write_bytes(content[:12288] + b"\x55" * 64 + content[12352:])
    (finding,) = verify_files(stored).findings
    assert finding.kind == kind
    assert str(path) in finding.message
    assert re.search(text, finding.message)
    if kind == "rebuilt":
        assert path.read_bytes() == content
        assert kinds(stored) == {}
    else:
        assert kinds(stored) == {"damaged": 1}


def test_ledger_of_a_newer_version_is_not_called_damaged(stored: Settings) -> None:
    with closing(sqlite3.connect(stored.ledger)) as ledger:
        ledger.execute("PRAGMA user_version = 99")
    assert kinds(stored) == {"not read": 1}


def test_lost_raw_file_is_built_again(stored: Settings) -> None:
    path = sorted(stored.raw.glob("videos/*/*/*.parquet"))[0]
    content = path.read_bytes()
    path.unlink()
    assert kinds(stored) == {"rebuilt": 1}
    assert path.read_bytes() == content
    assert kinds(stored) == {}


def test_lost_capture_and_lost_manifest_are_found(stored: Settings) -> None:
    first, second, _ = sorted(stored.captures.glob("*/*/*/*.zst"))
    first.unlink()
    second.with_name(second.name.replace(".jsonl.zst", ".json")).unlink()
    findings = verify_files(stored).findings
    assert sorted(finding.kind for finding in findings) == ["damaged", "rebuilt"]
    assert f"{first} with 1 rows" in "".join(finding.message for finding in findings)


def test_damaged_capture_that_was_not_loaded_names_what_is_collected_again(stored: Settings) -> None:
    sealed = make_capture(stored.root, "videos", [make_answer("videos", [make_video(7)])], units=[UNIT])
    flip(sealed)
    (finding,) = verify_files(stored).findings
    assert "move it and its manifest away: then 2026-02-01 to 2026-02-01 are collected again" in finding.message


def test_damaged_capture_with_a_damaged_raw_file_claims_no_whole_rows(stored: Settings) -> None:
    capture = sorted(stored.captures.glob("*/*/*/*.zst"))[0]
    raw = next(stored.raw.glob(f"videos/*/*/{capture.name.removesuffix('.jsonl.zst')}.parquet"))
    flip(capture)
    flip(raw)
    of_capture, of_raw = verify_files(stored).findings
    assert (of_capture.kind, of_raw.kind) == ("damaged", "damaged")
    assert "Its rows are damaged in the raw tables too (1 file)" in of_capture.message
    assert str(raw) in of_raw.message


def test_file_that_was_set_aside_is_reported_until_it_is_removed(stored: Settings) -> None:
    kept = stored.captures / "videos/study=s/2026-02-01/x.jsonl.line3.damaged"
    kept.write_bytes(b"")
    assert kinds(stored) == {"set aside": 1}
    kept.unlink()
    assert kinds(stored) == {}


def test_command_exits_with_1_only_for_files_that_need_a_person(
    stored: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("research_assets.cli.environment.data_settings", lambda: stored)
    flip(sorted(stored.raw.glob("videos/*/*/*.parquet"))[0])
    result = CliRunner().invoke(main, ["verify-files"])
    assert result.exit_code == 0
    assert "0 damaged, 1 rebuilt, 0 set aside." in result.output
    sealed = sorted(stored.captures.glob("*/*/*/*.zst"))[0]
    flip(sealed)
    result = CliRunner().invoke(main, ["verify-files"])
    assert result.exit_code == 1
    assert f"damaged: The capture {sealed}" in result.output
    shares = [CliRunner().invoke(main, ["verify-files", "--share"]).exit_code]
    assert shares in ([0], [1])
