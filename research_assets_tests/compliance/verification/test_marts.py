"""The marts of verification, from the sandbox to the warehouse."""

from datetime import timedelta
from typing import Any

import duckdb
import pytest

from research_assets.compliance.forget import remove_items
from research_assets.compliance.verification.raw_tables import write_verification_tables
from research_assets.settings import Settings
from research_assets.storage.raw_writer import ensure_tables
from research_assets.storage.withdrawals import read_withdrawals
from research_assets.warehouse import build
from research_assets_tests.compliance.verification.harness import VerificationHarness


@pytest.fixture
def data(settings: Settings) -> VerificationHarness:
    harness = VerificationHarness(settings, n_videos=12)
    harness.collect(number=2)
    harness.collect("comments")
    return harness


def build_marts(data: VerificationHarness, *, full_refresh: bool = False) -> bool:
    """Build and publish the marts; returns whether the build was an increment."""
    settings, now = data.settings, data.collector.clock.now()
    with build.build_lock(settings):
        ensure_tables(settings.raw)
        write_verification_tables(settings)
        build_input, results = build.build_warehouse(
            settings, now=now, progress=lambda *_: None, full_refresh=full_refresh
        )
        assert not [result for result in results if result.failed]
        build.publish_warehouse(settings, build_input)
    return build_input.full_refresh_reason is None


def rows(data: VerificationHarness, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(data.settings.warehouse), read_only=True) as db:
        db.execute("SET TimeZone = 'UTC'")
        return db.execute(sql).fetchall()


def raw_files(data: VerificationHarness) -> dict[str, int]:
    paths = data.settings.raw.glob("verified_*/study=garden/day=*/*.parquet")
    return {str(path.relative_to(data.settings.raw)): path.stat().st_mtime_ns for path in paths}


def test_marts_have_the_time_of_verification_after_an_increment(data: VerificationHarness) -> None:
    build_marts(data)
    assert rows(data, "SELECT DISTINCT last_verified_at = last_seen_at FROM marts.videos") == [(True,)]
    assert rows(data, "SELECT count(*) FROM marts.withdrawals") == [(0,)]
    collected_at = data.collector.clock.now()
    data.wait(days=15, hours=1)
    assert build_marts(data)
    assert rows(data, "SELECT kind, sum(n_items), sum(n_overdue) FROM marts.verification GROUP BY 1 ORDER BY 1") == [
        ("comment", 24, 24),
        ("video", 24, 24),
    ]
    sent_at = data.collector.clock.now()
    data.run_until_quiet()
    assert build_marts(data)
    ((verified_at,),) = rows(data, "SELECT min(last_verified_at) FROM marts.videos")
    assert verified_at >= sent_at
    counts = "SELECT kind, sum(n_items), sum(n_verified), sum(n_overdue) FROM marts.verification GROUP BY 1 ORDER BY 1"
    assert rows(data, counts) == [("comment", 24, 24, 0), ("video", 24, 24, 0)]
    ((due,),) = rows(data, "SELECT min(first_due_at) FROM marts.verification")
    assert timedelta() <= due - (sent_at + timedelta(days=data.settings.verify_days)) < timedelta(hours=1)
    assert sent_at - collected_at > timedelta(days=15)
    tables = ("videos", "comments", "verification")
    after_increment = [rows(data, f"SELECT * FROM marts.{table} ORDER BY ALL") for table in tables]
    files = raw_files(data)
    assert not build_marts(data, full_refresh=True)
    assert [rows(data, f"SELECT * FROM marts.{table} ORDER BY ALL") for table in tables] == after_increment
    # A day whose times did not change keeps its file.
    assert raw_files(data) == files
    assert {name.split("/")[0] for name in files} == {"verified_videos", "verified_comments"}


def test_withdrawals_are_counted_without_their_ids(data: VerificationHarness) -> None:
    data.wait(days=15)
    data.run_until_quiet()
    build_marts(data)
    first, second = data.collector.ids()[:2]
    data.withdraw(first)
    data.wait(days=15)
    data.run_until_quiet()
    build_marts(data)
    assert rows(data, "SELECT kind, found_by, n_items FROM marts.withdrawals") == [("video", "compliance", 1)]
    remove_items(data.settings, data.collector.clock.now, videos=[second], handles=["nobody"])
    # The removal builds the warehouse itself.
    assert rows(data, "SELECT kind, found_by, n_items FROM marts.withdrawals ORDER BY ALL") == [
        ("account", "forgotten", 1),
        ("video", "compliance", 1),
        ("video", "forgotten", 1),
    ]
    logged = read_withdrawals(data.settings.state)
    assert sum(n for (n,) in rows(data, "SELECT n_items FROM marts.withdrawals")) == len(logged)
    stored = {
        one for table in ("videos", "comments") for (one,) in rows(data, f"SELECT {table[:-1]}_id FROM marts.{table}")
    }
    assert not stored & {first, second}
    verified = data.collector.sql(
        f"SELECT id FROM read_parquet('{data.settings.raw}/verified_*/study=garden/*/*.parquet')"
    )
    assert not {first, second} & {one for (one,) in verified}


def test_damaged_file_of_verification_is_written_again(data: VerificationHarness) -> None:
    data.wait(days=15)
    data.run_until_quiet()
    write_verification_tables(data.settings)
    path = next(data.settings.raw.glob("verified_videos/study=garden/day=*/*.parquet"))
    content = path.read_bytes()
    path.write_bytes(content[:60] + bytes([content[60] ^ 1]) + content[61:])
    write_verification_tables(data.settings)
    assert path.read_bytes() == content
