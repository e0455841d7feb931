"""The removal of withdrawn items: no file keeps them, and nothing else changes."""

import asyncio
import copy
import errno
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import httpx
import pytest
import zstandard
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from research_assets.clock import week_of
from research_assets.collect.types import RequestBudget
from research_assets.compliance.audit_log import export_command, record_command
from research_assets.compliance.forget import preview_removal, remove_items
from research_assets.compliance.plan import plan_path
from research_assets.compliance.verification.verified import record_verified, verified_path
from research_assets.quota.ledger import Ledger
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import VARIABLES, Settings
from research_assets.storage import files
from research_assets.storage.captures import read_events
from research_assets.storage.locks import PartitionBusy, RunInProgress, lock_partitions
from research_assets.storage.raw_writer import ensure_tables
from research_assets.storage.replay import replay
from research_assets.storage.withdrawals import load_or_create_key, log_path, read_withdrawn
from research_assets.storage.withheld import records_of
from research_assets.warehouse.build import BuildInProgress, build_lock
from research_assets.warehouse.changes import scratch_path
from research_assets.warehouse.parquet_marts import is_parquet_marts
from research_assets.warehouse.shared_marts import share_marts
from research_assets.warehouse.verify_files import verify_files
from research_assets_tests.collect.harness import CollectorHarness, TamperingTransport, days, error_response
from research_assets_tests.compliance import interrupted_removal
from research_assets_tests.compliance.data_folder import (
    LISTS,
    STUDIES,
    Folder,
    build_marts,
    collect_data,
    digests,
    find,
    mark,
    marts,
    records,
    write_results,
)
from research_assets_tests.storage.test_listing import forbid_listing


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Two studies with captures, raw tables and a ledger."""
    root = tmp_path_factory.mktemp("withdrawn") / "data"
    settings = Settings.from_env(
        {
            VARIABLES["root"].name: str(root),
            VARIABLES["api_url"].name: "http://127.0.0.1:9",
            VARIABLES["client_key"].name: "sandbox-key",
            VARIABLES["client_secret"].name: "sandbox-secret",
        }
    )
    harness = asyncio.run(collect_data(settings))
    ensure_tables(settings.raw)
    harness.ledger.close()
    return Folder(harness, harness.settings)


@pytest.fixture(scope="module")
def finished(collected: Folder, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The same with marts, exports, alerts, a Dagster home and files of verification that have an item."""
    folder = collected.copy(tmp_path_factory.mktemp("finished") / "data")
    settings, video = folder.settings, most_commented(folder)
    asyncio.run(collect_an_error(folder, f"busy near @{author_of(folder, video)} and {video}"))
    for entity, kind in (("videos", "video"), ("comments", "comment")):
        record_verified(settings, kind, {int(one["id"]) for one in records(settings, entity)}, interrupted_removal.AT)
    build_marts(folder.harness, settings)
    write_results(folder.harness, settings, (author_of(folder, video), str(video)))
    # With the same key, two removals log the same hash.
    load_or_create_key(settings.state)
    return folder


async def collect_an_error(folder: Folder, message: str) -> None:
    """Collect a day whose search always fails with a message."""
    harness = copy.copy(folder.harness)
    harness.settings = folder.settings
    harness.ledger = Ledger(folder.settings.ledger, folder.settings.caps, harness.server_clock)
    transport = TamperingTransport(
        harness, lambda _, response: error_response(response, 500, "internal_error", message)
    )
    await harness.collect("videos", days(3)[2:], STUDIES[0], transport=transport)
    harness.ledger.close()


@pytest.fixture
def folder(collected: Folder, tmp_path: Path) -> Folder:
    return collected.copy(tmp_path / "data")


def most_commented(folder: Folder) -> int:
    """Return a video with collected comments."""
    counts = Counter(int(record["video_id"]) for record in records(folder.settings, "comments"))
    return counts.most_common(1)[0][0]


def author_of(folder: Folder, video: int) -> str:
    return next(str(one["username"]) for one in records(folder.settings, "videos") if one["id"] == video)


def texts_of(folder: Folder, video: int) -> tuple[str, ...]:
    """Return the id of a video, and the ids and some texts of its comments."""
    comments = [one for one in records(folder.settings, "comments") if one["video_id"] == video]
    assert comments
    ids = (video, *(one["id"] for one in comments))
    return (*map(str, ids), *map(mark, ids))


def texts_before(before: dict[str, list[str]], handle: str) -> tuple[str, ...]:
    """Return the ids of the videos of an account in the mart `videos`, whose rows begin with study and id."""
    return tuple(row.split(", ")[1] for row in before["videos"] if f"'{handle}'" in row)


def test_withdrawn_video_leaves_captures_and_raw_tables_with_its_comments(folder: Folder) -> None:
    video = most_commented(folder)
    texts = texts_of(folder, video)
    before = digests(folder.settings)
    assert len(find(folder.settings.root, texts)) > 8
    (receipt,) = remove_items(folder.settings, folder.harness.clock.now, videos=[video])
    assert receipt.is_complete, receipt.problems
    assert find(folder.settings.root, texts) == []
    after = digests(folder.settings)
    assert not verify_files(folder.settings).findings
    changed = {name for name, content in before.items() if after.get(name) != content}
    assert changed
    for name in changed:
        assert name.endswith((".jsonl.zst", ".json", ".parquet", "digests.jsonl", "quota.sqlite")), name
    rebuilt = digests(folder.settings)
    replay(folder.settings.captures, folder.settings.raw)
    replayed = digests(folder.settings)
    for name in rebuilt:
        if name.endswith(".parquet"):
            assert replayed[name] == rebuilt[name], name
    # Without an item, the same command changes nothing more.
    assert not remove_items(folder.settings, folder.harness.clock.now)


def playlists_of(folder: Folder) -> list[set[int]]:
    """Return the ids of the videos of each page of a playlist."""
    files = folder.settings.raw / "playlists" / "*" / "*" / "*.parquet"
    return [set(ids) for (ids,) in folder.harness.sql(f"SELECT playlist_video_ids FROM read_parquet('{files}')")]


def test_withdrawn_videos_leave_their_playlist(folder: Folder) -> None:
    before = playlists_of(folder)
    videos = max(before, key=len)
    (receipt,) = remove_items(folder.settings, folder.harness.clock.now, videos=videos)
    assert receipt.is_complete, receipt.problems
    assert find(folder.settings.root, tuple(map(str, videos))) == []
    assert playlists_of(folder) == [other for other in before if other != videos]


def test_preview_changes_nothing(folder: Folder) -> None:
    video = most_commented(folder)
    before = digests(folder.settings)
    preview = preview_removal(folder.settings, folder.harness.clock.now(), videos=[video], handles=["sandbox_beet"])
    assert preview.counts["captures"]["rewritten"] >= 4
    assert not preview.problems
    after = digests(folder.settings)
    assert {name for name in after if after[name] != before.get(name)} <= {"state/dbt/build.lock"}


def test_withdrawn_account_leaves_every_file(folder: Folder) -> None:
    for handle in ("sandbox_beet", author_of(folder, most_commented(folder))):
        videos = {str(one["id"]) for one in records(folder.settings, "videos") if one["username"] == handle}
        texts = (handle, *videos)
        assert find(folder.settings.root, texts)
        (receipt,) = remove_items(folder.settings, folder.harness.clock.now, handles=[handle.upper()])
        assert receipt.is_complete, receipt.problems
        assert find(folder.settings.root, texts) == []
        assert not verify_files(folder.settings).findings


def rows_of(folder: Folder, handle: str) -> dict[str, int]:
    """Return the rows of the raw tables that are about an account, by table and column."""
    return {
        f"{table}.{column}": folder.harness.sql(
            f"SELECT count(*) FROM read_parquet('{folder.settings.raw / table}/*/*/*.parquet', union_by_name = true) "
            f"WHERE {column} = '{handle}'"
        )[0][0]
        for table, column in (
            *((table, "asked_username") for table in LISTS),
            ("following", "username"),
            ("liked_videos", "username"),
            ("videos", "username"),
            ("coverage", "unit"),
            ("requests", "unit"),
        )
        if list((folder.settings.raw / table).glob("*/*/*.parquet"))
    }


def test_profile_of_a_lost_account_leaves_every_file_and_its_videos_stay(folder: Folder) -> None:
    settings, harness = folder.settings, folder.harness
    following = settings.raw / "following"
    ((followed,),) = harness.sql(
        f"SELECT min(username) FROM read_parquet('{following}/*/*/*.parquet') WHERE asked_username = 'sandbox_likes'"
    )
    for handle, gone in (
        ("sandbox_beet", {"users.asked_username", "following.asked_username", "pinned_videos.asked_username"}),
        (followed, {"following.username"}),
    ):
        before = rows_of(folder, handle)
        assert all(before[name] for name in gone), before
        videos = {one["id"] for one in records(settings, "videos") if one["username"] == handle}
        (receipt,) = remove_items(settings, harness.clock.now, handles=[handle.upper()], found_by="lookup")
        assert receipt.is_complete, receipt.problems
        assert receipt.items == {"account": 1}
        after = rows_of(folder, handle)
        lists = {name for name in before if name.endswith(("asked_username", "unit")) or name == "following.username"}
        assert not any(after[name] for name in lists)
        # Videos stay, also those that are on the lists of other accounts.
        assert after["videos.username"] == before["videos.username"]
        assert {one["id"] for one in records(settings, "videos") if one["username"] == handle} == videos
        for path in settings.captures.rglob("*.zst"):
            events = list(read_events(path))
            if path.is_relative_to(settings.captures / "videos") or path.is_relative_to(settings.captures / "comments"):
                continue
            assert not [event for event in events if event.get("unit") == handle]
            if path.is_relative_to(settings.captures / "following"):
                assert not [one for event in events for one in event.get("seen", ()) if one == handle]
    assert not verify_files(settings).findings
    assert not read_withdrawn(settings.state)
    rebuilt = digests(settings)
    replay(settings.captures, settings.raw)
    assert {name: one for name, one in digests(settings).items() if name.endswith(".parquet")} == {
        name: one for name, one in rebuilt.items() if name.endswith(".parquet")
    }


@pytest.mark.timeout(1200)
def test_item_leaves_marts_exports_logs_and_dagster_home(finished: Folder, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o750)
    copied = finished.copy(tmp_path / "data")
    folder = replace(copied, settings=replace(copied.settings, shared_marts=shared))
    settings, harness = folder.settings, folder.harness
    for _ in range(2):
        share_marts(settings)
    video = most_commented(folder)
    handle = author_of(folder, video)
    before_marts = marts(settings)
    texts = (handle, *texts_of(folder, video))
    before = find(settings.root, texts)
    places = ("warehouse.duckdb", "exports/", "dagster/", "alerts.jsonl", "ui.log", "captures/", "raw/", "state/quota")
    assert all(any(place in one for one in before) for place in places), before
    assert find(shared, texts)
    (receipt,) = remove_items(settings, harness.clock.now, handles=[handle])
    assert receipt.is_complete, receipt.problems
    assert find(settings.root, texts) == []
    assert find(shared, texts) == []
    assert is_parquet_marts(shared)
    assert receipt.exports == ()
    assert len(receipt.rewritten_exports) == 3
    assert len(list(settings.exports.iterdir())) == 4
    assert "nothing about a person" in settings.alerts.read_text()
    assert settings.ui_log.read_text().endswith("other\n")
    after_marts = marts(settings)
    other = folder.copy(tmp_path / "other")
    (other.settings.root / "warehouse.duckdb").unlink()
    build_marts(harness, other.settings, plan=False)
    assert after_marts == marts(other.settings)
    ids = texts_before(before_marts, handle)
    for name in ("videos", "comments", "users", "follows", "engagements", "video_observations", "user_observations"):
        kept = [row for row in before_marts[name] if not any(text in row for text in (*ids, *texts))]
        assert after_marts[name] == kept or name == "users", name
    assert len(before_marts["videos"]) > len(after_marts["videos"])


def plant(settings: Settings, home: Path, video: int, handle: str) -> None:
    """Leave an item in places of killed processes, open databases, unused pages and files of a user."""
    text = f"{handle} {video} {mark(video)}"
    sealed = next(
        path
        for path in sorted(settings.captures.glob("videos/*/*/*.jsonl.zst"))
        if find_in(path.read_bytes(), (str(video),))
    )
    raw = next(
        path
        for path in sorted(settings.raw.glob("videos/study=garden/day=*/*.parquet"))
        if find(path.parent, (str(video),))
    )
    # Drafts and copies of processes that were killed.
    for path, copies in ((sealed, 2), (raw, 2), (verified_path(settings, "video"), 1)):
        for name in (f".{path.name}.tmp", f"{path.name}.damaged")[:copies]:
            shutil.copyfile(path, path.with_name(name))
    for folder in (settings.raw / ".tmp" / "writer.x", settings.exports / ".all-20260101T000000Z.tmp"):
        folder.mkdir(parents=True)
        (folder / "rows.jsonl").write_text(f'{{"username": "{handle}", "id": {video}}}\n')
        shutil.copyfile(raw, folder / "videos.parquet")
    (settings.root / ".alerts.jsonl.tmp").write_text(f'{{"message": "{text}"}}\n')
    (settings.state / "verification" / "videos-1.ids.txt").write_text(f"1\n{video}\n")
    (settings.state / "verification" / "videos-1.result.txt").write_text(f"{video}\n")
    settings.reports.mkdir(mode=0o700, exist_ok=True)
    for name in ("garden.html", ".garden.html.tmp"):
        (settings.reports / name).write_text(f"<p>{text}</p>")
    (settings.dbt_target / "dbt.log").write_text(f"on-run-start {text}\n")
    # Databases: pages that are not used any more, and logs of programs that were killed.
    shutil.copyfile(settings.warehouse, settings.warehouse_build)
    shutil.copyfile(settings.warehouse, settings.root / ".reader-1-aa.duckdb")
    program = (
        "import duckdb, os, sys; db = duckdb.connect(sys.argv[1]); db.execute('CREATE TABLE old AS SELECT ? AS t', "
        "[sys.argv[2]]); db.execute('CHECKPOINT'); db.execute('DROP TABLE old'); db.execute('CHECKPOINT')\n"
        "db.execute('CREATE TABLE new AS SELECT ? AS t', [sys.argv[2]]); os._exit(0)"
    )
    for path in (settings.warehouse, scratch_path(settings)):
        subprocess.run([sys.executable, "-c", program, str(path), text], check=True)
        assert text.encode() in path.with_name(path.name + ".wal").read_bytes()
    for number, path in enumerate([settings.ledger, *sorted(home.rglob("*.db"))]):
        with closing(sqlite3.connect(path)) as db:
            # Without a row that has it, only the free pages have it.
            db.execute("PRAGMA secure_delete = OFF")
            db.execute("CREATE TABLE planted (t)")
            db.executemany("INSERT INTO planted VALUES (?)", [(f"{text} {row}",) for row in range(200)])
            db.commit()
            db.execute("DROP TABLE planted")
            db.commit()
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert number or text.encode() in path.read_bytes()
    # Files of a user.
    export = next(path for path in settings.exports.iterdir() if "pseudonymous" in path.name)
    (export / "notes.md").write_text(f"about @{handle}\n")
    (settings.root / "notes.csv").write_text(f"id,n\n1,2\n{video},3\n")


@pytest.mark.timeout(1200)
def test_planted_item_is_nowhere_after_the_removal(finished: Folder, tmp_path: Path) -> None:
    folder = finished.copy(tmp_path / "data")
    home = Path(shutil.move(folder.settings.dagster_home, tmp_path / "home"))
    settings = replace(folder.settings, instance_home=home)
    video = most_commented(folder)
    handle = author_of(folder, video)
    texts = (handle, *texts_of(folder, video))
    plant(settings, home, video, handle)
    planted = find(tmp_path, texts)
    for place in (
        *("home/history/runs.db", "home/history/runs/index.db", "compute_logs", ".jsonl.zst.tmp", ".parquet.tmp"),
        *(".damaged", "raw/.tmp", ".ids.txt", ".result.txt", "garden.html", ".duckdb.wal", ".reader-", "scratch"),
        *(
            ".warehouse.build",
            "quota.sqlite",
            "exports/all-2",
            "exports/all-ids",
            "exports/.all",
            "notes.csv",
            "dbt.log",
        ),
    ):
        assert any(place in one for one in planted), (place, planted)
    assert any("compute_logs" in one and str(video) in one for one in planted)
    receipts = remove_items(settings, folder.harness.clock.now, videos=[video], handles=[handle])
    for receipt in receipts:
        assert receipt.is_complete, receipt.problems
    assert find(tmp_path, texts) == []
    (receipt,) = receipts
    assert all(text not in receipt.path.read_text() for text in texts)
    # The log has the id of the video, and of the account a keyed hash.
    log = log_path(settings.state).read_text()
    assert str(video) in log
    assert handle not in log
    assert not verify_files(settings).findings


def remove_in_process(folder: Folder, step: int, video: int, handle: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", interrupted_removal.__name__, str(folder.settings.root), str(step), str(video), handle],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.timeout(7200)
def test_removal_killed_at_any_disk_operation_ends_whole_when_it_runs_again(
    finished: Folder, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The warehouse is not in the folder: it is built by dbt, and replaced by one rename."""
    video = most_commented(finished)
    handle = author_of(finished, video)
    texts = (handle, *texts_of(finished, video))
    folder = finished.copy(tmp_path / "base")
    folder.settings.warehouse.unlink()
    before = comparable(folder.settings)
    whole = folder.copy(tmp_path / "whole")
    ended = remove_in_process(whole, interrupted_removal.NEVER, video, handle)
    assert ended.returncode == 0, ended.stderr
    n_operations = int(ended.stdout.split()[1])
    expected = comparable(whole.settings)
    assert find(whole.settings.root, texts) == []
    changed = {name.split("/")[0] for name in before if before[name] != expected.get(name)}
    assert {"captures", "raw", "exports", "dagster", "state", "alerts.jsonl"} <= changed, changed
    is_long, option = request.config.option.long, request.config.option
    chosen = sorted(Random(option.seed if is_long else 0).sample(range(n_operations), 50 if is_long else 3))
    for step in chosen:
        copy = folder.copy(tmp_path / "killed")
        killed = remove_in_process(copy, step, video, handle)
        assert killed.returncode == -signal.SIGKILL, (step, killed.stderr)
        receipts = remove_items(copy.settings, lambda: interrupted_removal.AT, videos=[video], handles=[handle])
        assert receipts or step > n_operations - 10, step
        assert all(receipt.is_complete for receipt in receipts), (step, receipts)
        assert find(copy.settings.root, texts) == [], step
        assert not verify_files(copy.settings).findings, step
        result = comparable(copy.settings)
        differing = {name for name in result.keys() | expected if result.get(name) != expected.get(name)}
        assert not differing, (step, n_operations, differing)
        assert not plan_path(copy.settings.state).exists(), step
        shutil.rmtree(copy.settings.root)


def comparable(settings: Settings) -> dict[str, bytes]:
    """Return the content of all files without what two removals may differ in: times, names of receipts, free pages."""
    found = {}
    for name, content in digests(settings).items():
        if name in ("state/withdrawals.jsonl", "state/audit_log.jsonl") or name.startswith("state/receipts/"):
            continue
        if name.endswith("digests.jsonl"):
            # A file that is published again after a kill has another line.
            continue
        if content.startswith(b"SQLite format 3"):
            with closing(sqlite3.connect(settings.root / name)) as db:
                content = "\n".join(db.iterdump()).encode()
        elif name.endswith(("-shm", "-wal", "build.lock", "/.lock")):
            continue
        found[name] = content
    return found


def test_damaged_capture_is_named_and_all_other_files_are_cleaned(folder: Folder) -> None:
    video = most_commented(folder)
    texts = texts_of(folder, video)
    path = next(
        path
        for path in sorted(folder.settings.captures.glob("comments/*/*/*.zst"))
        if str(video).encode() in zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read()
    )
    content = bytearray(path.read_bytes())
    backup = bytes(content)
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    (receipt,) = remove_items(folder.settings, folder.harness.clock.now, videos=[video])
    assert not receipt.is_complete
    assert any(str(path) in problem for problem in receipt.problems)
    path.unlink()
    # The plan has the ids until a removal has cleaned every file.
    assert {one.partition(": ")[0] for one in find(folder.settings.root, texts)} == {"state/removal.json"}
    # The backup that the message asks for brings the items back, and the same command removes them.
    path.write_bytes(backup)
    (receipt,) = remove_items(folder.settings, folder.harness.clock.now, videos=[video])
    assert receipt.is_complete
    assert find(folder.settings.root, texts) == []
    assert not verify_files(folder.settings).findings


def test_folder_that_cannot_be_listed_stops_the_removal_and_the_next_one_ends_it(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = most_commented(folder)
    texts = texts_of(folder, video)
    capture = folder.settings.captures / find(folder.settings.captures, texts)[0].partition(": ")[0]
    with monkeypatch.context() as patch:
        forbid_listing(patch, capture.parent)
        with pytest.raises(PermissionError, match=re.escape(str(capture.parent))):
            remove_items(folder.settings, folder.harness.clock.now, videos=[video])
        with pytest.raises(PermissionError, match=re.escape(str(capture.parent))):
            verify_files(folder.settings)
    assert find(folder.settings.root, texts)
    (receipt,) = remove_items(folder.settings, folder.harness.clock.now, videos=[video])
    assert receipt.is_complete
    assert find(folder.settings.root, texts) == []


def test_full_disk_stops_the_removal_and_the_next_one_ends_it(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    video = most_commented(folder)
    texts = texts_of(folder, video)
    real, remaining = files.fsync_file, [6]

    def full(path: Path) -> None:
        remaining[0] -= 1
        if remaining[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "fsync_file", full)
        with pytest.raises(OSError, match="No space left"):
            remove_items(folder.settings, folder.harness.clock.now, videos=[video])
    assert find(folder.settings.root, texts)
    (receipt,) = remove_items(folder.settings, folder.harness.clock.now)
    assert receipt.is_complete
    assert find(folder.settings.root, texts) == []
    assert not verify_files(folder.settings).findings


async def test_later_collection_does_not_bring_the_items_back(folder: Folder) -> None:
    harness = copy.copy(folder.harness)
    harness.settings = folder.settings
    harness.ledger = Ledger(folder.settings.ledger, folder.settings.caps, harness.server_clock)
    video = most_commented(folder)
    comment = next(one for one in records(folder.settings, "comments") if one["video_id"] != video)
    handle = "sandbox_beet"
    videos = {str(one["id"]) for one in records(folder.settings, "videos") if one["username"] == handle}
    texts = (handle, *videos, *texts_of(folder, video), str(comment["id"]))
    n_rows = len({one["id"] for one in records(folder.settings, "videos")})
    (receipt,) = remove_items(
        folder.settings, harness.clock.now, videos=[video], comments=[int(comment["id"])], handles=[handle]
    )
    assert receipt.is_complete
    gone = n_rows - len({one["id"] for one in records(folder.settings, "videos")})
    assert gone >= 1 + len(videos)
    harness.clock.advance(days=8)
    week = week_of(harness.clock.now().date())
    for spec in STUDIES:
        for entity in ("videos", "comments"):
            finished, pause = await harness.collect(entity, days(2), spec, recollect=True)
            assert pause is None
            assert {one.state for one in finished.values()} == {"complete"}
        for entity in ("users", "following", "liked_videos", "pinned_videos"):
            await harness.collect(entity, [week], spec)
    harness.ledger.close()
    assert find(folder.settings.root, texts) == []
    assert not verify_files(folder.settings).findings
    stored = {one["id"] for one in records(folder.settings, "videos")}
    assert len(stored) == n_rows - gone


@pytest.mark.timeout(1200)
@given(data=st.data())
@hypothesis_settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_selection_leaves_nothing_and_changes_nothing_else(collected: Folder, data: st.DataObject) -> None:
    videos = sorted({int(one["id"]) for one in records(collected.settings, "videos")})
    comments = sorted({int(one["id"]) for one in records(collected.settings, "comments")})
    authors = sorted({str(one["username"]) for one in records(collected.settings, "videos")})
    chosen = data.draw(st.lists(st.sampled_from(videos), max_size=3, unique=True))
    said = data.draw(st.lists(st.sampled_from(comments), max_size=2, unique=True))
    names = data.draw(st.lists(st.sampled_from(authors), max_size=2, unique=True))
    with tempfile.TemporaryDirectory() as place:
        folder = collected.copy(Path(place) / "data")
        before = digests(folder.settings)
        held = {one["id"]: one for one in records(folder.settings, "videos")}
        receipts = remove_items(folder.settings, folder.harness.clock.now, videos=chosen, comments=said, handles=names)
        assert all(receipt.is_complete for receipt in receipts)
        own = {str(one["id"]) for one in held.values() if one["username"] in names}
        assert find(folder.settings.root, (*map(str, chosen), *map(str, said), *own)) == []
        kept = {one["id"]: one for one in records(folder.settings, "videos")}
        gone = {*chosen, *map(int, own)}
        assert kept.keys() == held.keys() - gone
        plain = {key: one for key, one in kept.items() if not any(name in str(one) for name in names)}
        assert all(held[key] == one for key, one in plain.items() if "[withdrawn]" not in str(one))
        after = digests(folder.settings)
        for name, content in before.items():
            if name.endswith(".parquet") and after.get(name) != content:
                continue
            if name.endswith(".zst") and not find_in(content, (*map(str, gone), *map(str, said), *names)):
                assert after[name] == content, name


def find_in(compressed: bytes, texts: tuple[str, ...]) -> bool:
    text = zstandard.ZstdDecompressor().stream_reader(compressed).read()
    return any(one.encode() in text for one in texts)


def test_removal_refuses_while_a_run_or_a_build_is_in_progress(folder: Folder) -> None:
    before = digests(folder.settings)
    with (
        lock_partitions(folder.settings.state, "garden", "videos", days(1)),
        pytest.raises(RunInProgress, match="Nothing was changed"),
    ):
        remove_items(folder.settings, folder.harness.clock.now, videos=[1 << 60])
    with build_lock(folder.settings), pytest.raises(BuildInProgress, match="Nothing was changed"):
        remove_items(folder.settings, folder.harness.clock.now, videos=[1 << 60])
    after = digests(folder.settings)
    assert {name for name in after if after[name] != before.get(name)} <= {"state/dbt/build.lock"}


async def test_item_leaves_open_journals_and_the_search_is_resumed(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    small = {"page_size": 20, "concurrency": 1}
    spec = STUDIES[0]
    _, pause = await harness.collect("videos", days(2), spec, budget=RequestBudget(2), **small)
    assert pause is not None
    (journal,) = settings.captures.glob("videos/*/*/*.jsonl")
    rows = [row for event in read_events(journal) for row in records_of("videos", event.get("answer"))]
    newest, oldest = rows[0], rows[-1]
    texts = (str(newest["id"]), str(oldest["id"]), str(rows[5]["username"]))
    harness.ledger.close()
    (receipt,) = remove_items(
        settings, harness.clock.now, videos=[newest["id"], oldest["id"]], handles=[str(rows[5]["username"])]
    )
    assert receipt.is_complete
    assert receipt.counts["open journals"] == {"rewritten": 1}
    assert find(settings.root, texts) == []
    sent = harness.requests_sent
    finished, pause = await harness.collect("videos", days(2), spec, **small)
    harness.ledger.close()
    assert pause is None
    assert {one.state for one in finished.values()} == {"complete"}
    assert find(settings.root, texts) == []
    truth = harness.app.ground_truth.videos({"and": list(spec.query["and"])}, days(2)[0], days(2)[-1])
    expected = {video for day in truth.values() for video in day.deliverable}
    gone = expected - set(harness.ids())
    assert {newest["id"], oldest["id"]} <= gone
    assert not set(harness.ids()) - expected
    author = {row["id"] for row in rows if row["username"] == rows[5]["username"]}
    assert author <= gone
    assert harness.requests_sent - sent <= -(-len(expected) // 20) + 1
    assert len(harness.ids()) == len(set(harness.ids()))


async def test_withdrawn_account_is_never_requested_again(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    spec = STUDIES[0]
    remove_items(settings, harness.clock.now, handles=["sandbox_likes"])
    week = week_of(harness.clock.now().date())
    bodies: list[bytes] = []

    def note(request: httpx.Request, _: httpx.Response) -> None:
        bodies.append(request.content)

    named = replace(
        spec,
        query={
            "and": ({"operation": "IN", "field_name": "username", "field_values": ["sandbox_likes", "sandbox_beet"]},)
        },
    )
    alone = replace(
        spec, query={"and": ({"operation": "EQ", "field_name": "username", "field_values": ["sandbox_likes"]},)}
    )
    transport = TamperingTransport(harness, note)
    finished, _ = await harness.collect("users", [week], spec, transport=transport)
    assert finished[week].state == "complete"
    finished, _ = await harness.collect("videos", days(1), named, transport=transport)
    assert finished[days(1)[0]].state == "complete"
    finished, _ = await harness.collect("videos", days(1), alone, transport=transport, recollect=True)
    assert finished[days(1)[0]].state == "not_asked"
    assert "left out" in str(finished[days(1)[0]].reason)
    assert bodies
    assert not [body for body in bodies if b"sandbox_likes" in body]
    harness.ledger.close()
    assert find(settings.root, ("sandbox_likes",)) == []


def test_export_that_was_taken_away_is_named(folder: Folder) -> None:
    # Other tests move the clock that all copies of the folder share.
    record_command(folder.settings, export_command("garden-20260601T090000Z"), datetime(2026, 6, 1, 9, tzinfo=UTC))
    (receipt,) = remove_items(folder.settings, folder.harness.clock.now, videos=[most_commented(folder)])
    assert any("garden-20260601T090000Z (2026-06-01)" in note for note in receipt.notes)
    assert receipt.is_complete


@contextmanager
def holding(program: str, folder: Path) -> Iterator[None]:
    """Run a program that prints a line while it holds a lock, until the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"locked\n"
        yield
        process.stdin.close()
        assert process.wait(60) == 0


def test_no_run_begins_while_data_is_removed(settings: Settings) -> None:
    removal = (
        "import sys; from pathlib import Path; from research_assets.storage.locks import lock_all_partitions\n"
        "with lock_all_partitions(Path(sys.argv[1])):\n    print('locked', flush=True); sys.stdin.read()"
    )
    with (
        holding(removal, settings.state),
        pytest.raises(PartitionBusy, match="a removal of withdrawn data"),
        lock_partitions(settings.state, "garden", "videos", days(2)),
    ):
        pass
    with lock_partitions(settings.state, "garden", "videos", days(2)):
        pass


def test_run_begins_while_another_one_looks_for_a_removal(settings: Settings) -> None:
    with lock_partitions(settings.state, "garden", "videos", days(2)):
        pass
    # What `lock_partitions` does for a moment.
    looking = (
        "import fcntl, sys; file = open(sys.argv[1] + '/locks/.removal', 'a+')\n"
        "fcntl.lockf(file, fcntl.LOCK_SH); print('locked', flush=True); sys.stdin.read()"
    )
    with holding(looking, settings.state), lock_partitions(settings.state, "garden", "videos", days(2)):
        pass


def test_removal_that_could_not_clean_a_file_is_repeated_with_all_that_goes_with_its_items(folder: Folder) -> None:
    settings, now = folder.settings, folder.harness.clock.now
    video = most_commented(folder)
    comment = texts_of(folder, video)[1]
    foreign = settings.root / "copy.bin"
    foreign.write_bytes(b"\xff" + comment.encode())
    (first,) = remove_items(settings, now, videos=[video])
    assert not first.is_complete
    assert plan_path(settings.state).exists()
    # The comment is not withdrawn itself, and another removal still knows it.
    (second,) = remove_items(settings, now, comments=[1])
    assert not second.is_complete
    assert second.counts["other files"]["not cleaned"] == 1
    foreign.unlink()
    (third,) = remove_items(settings, now)
    assert third.is_complete
    assert third.id == second.id
    assert "not cleaned" not in third.counts.get("other files", {})
    assert not plan_path(settings.state).exists()
