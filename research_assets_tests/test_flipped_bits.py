"""One flipped bit in any stored file: the readers give the same result, or the file is named. Never another result.

The flips are drawn with a seed. `python -m research_assets_tests.test_flipped_bits 300` prints a table of the outcomes
of 300 flips in each kind of file.
"""

import asyncio
import logging
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from research_assets.clock import week_of
from research_assets.fields import raw_tables
from research_assets.planning.coverage_summary import read_state_counts
from research_assets.planning.expected_units import write_expected_units, write_request_log
from research_assets.quota.ledger import Ledger
from research_assets.quota.ledger_database import LedgerError
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.world.accounts import PANEL
from research_assets.settings import VARIABLES, Settings
from research_assets.storage.captures import CaptureError, Journal, list_open_journals
from research_assets.storage.raw_digests import DamagedRawFile
from research_assets.storage.raw_writer import ensure_tables
from research_assets.storage.replay import replay
from research_assets.study.spec import StudySpec, UserRule
from research_assets.warehouse.changes import create_raw_views, full_input, scratch_path
from research_assets.warehouse.reader import WarehouseReadError, connect_read_only
from research_assets.warehouse.verify_files import verify_files
from research_assets_tests.collect.harness import CollectorHarness, days, study
from research_assets_tests.conftest import FakeClock

KINDS: dict[str, str] = {
    "open journal": "captures/*/*/*/*.jsonl",
    "sealed capture": "captures/*/*/*/*.jsonl.zst",
    "manifest": "captures/*/*/*/*.json",
    "raw rows": "raw/videos/study=garden/*/*.parquet",
    "coverage": "raw/coverage/study=garden/*/*[!n].parquet",
    "coverage of an open journal": "raw/coverage/study=garden/*/*-open.parquet",
    "bookkeeping": "raw/[er][xe][pq]*/study=garden/*/*.parquet",
    "empty tables": "raw/*/study=__none__/*/*.parquet",
    "digest log": "raw/*/study=garden/digests.jsonl",
    "ledger": "state/quota.sqlite",
    "log of the ledger": "state/quota.sqlite-wal",
    "warehouse": "warehouse.duckdb",
}
"""The files of each kind in a data root."""

KNOWN_ERRORS = (CaptureError, DamagedRawFile, LedgerError, WarehouseReadError)


def spec() -> StudySpec:
    return study(panel=tuple(PANEL)[:2], users=UserRule("panel"), end=days(4)[-1])


async def collect_world(settings: Settings) -> CollectorHarness:
    """Collect two days and two profiles, and stop in the third day. The warehouse is not that of a build."""
    config = SandboxConfig(fixed_volume=250)
    harness = CollectorHarness(replace(settings, research_cap=12), config)
    await harness.collect("users", [week_of(harness.clock.now().date())], spec())
    for day in days(2):
        await harness.collect("videos", [day], spec())
    _, pause = await harness.collect("videos", [days(3)[-1]], spec(), page_size=50)
    assert pause is not None
    ensure_tables(harness.settings.raw)
    write_expected_units(harness.settings.raw, [spec()], harness.clock.now())
    write_request_log(harness.settings.raw, harness.ledger)
    with duckdb.connect(str(harness.settings.warehouse)) as db:
        db.execute("CREATE SCHEMA marts")
        db.execute("CREATE TABLE marts.numbers AS SELECT n, hash(n) AS h, n::VARCHAR AS t FROM range(20000) r(n)")
    return harness


def read_all(settings: Settings, clock: FakeClock) -> Iterator[tuple[str, object]]:
    """Yield what the readers of a data root return: status, ledger, build input, replay, journals."""
    ledger = Ledger(settings.ledger, settings.caps, clock)
    try:
        yield "status", read_state_counts(settings.raw)
        yield "pools", ([ledger.pool_state(pool) for pool in settings.caps], ledger.used_by_study("research"))
        yield "requests", [*ledger.iter_requests()]
        ensure_tables(settings.raw)
        write_expected_units(settings.raw, [spec()], clock.now())
        write_request_log(settings.raw, ledger)
        yield "build", build_input_rows(settings)
        replay(settings.captures, settings.raw)
        yield "replay", build_input_rows(settings)
        for path in list_open_journals(settings.captures, "videos", "garden"):
            with Journal.resume(path) as journal:
                yield "journal", [*journal.events()]
        with connect_read_only(settings.warehouse) as db:
            yield "warehouse", db.execute("SELECT * FROM numbers").fetchall()
    finally:
        ledger.close()


def build_input_rows(settings: Settings) -> dict[str, list[Any]]:
    """Return the rows that dbt reads in a full refresh, by table."""
    settings.dbt_target.mkdir(parents=True, exist_ok=True)
    create_raw_views(settings, full_input(settings, "test"), datetime(2026, 3, 2, tzinfo=UTC))
    with duckdb.connect(str(scratch_path(settings)), read_only=True) as db:
        db.execute("SET TimeZone = 'UTC'")
        return {table: db.execute(f"SELECT * FROM raw.{table} ORDER BY ALL").fetchall() for table in raw_tables()}


class Messages(logging.Handler):
    """The messages that the package logs."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def outcome_of_flip(
    world: Settings, root: Path, kind: str, draw: random.Random, expected: list[tuple[str, object]], clock: FakeClock
) -> str:
    """Flip a bit in a copy of the world; returns the outcome. Raises AssertionError for another result in silence."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(world.root, root)
    settings = replace(world, root=root)
    if kind == "ledger":
        # Closing the last connection writes all pages of the log into the file.
        ledger = Ledger(settings.ledger, settings.caps, clock)
        ledger.pool_state("research")
        ledger.close()
    path = draw.choice(sorted(root.glob(KINDS[kind])))
    content = bytearray(path.read_bytes())
    bit = draw.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    messages = Messages()
    logger = logging.getLogger("research_assets")
    logger.addHandler(messages)
    results: list[tuple[str, object]] = []
    error = ""
    try:
        if draw.random() < 0.5:
            messages.texts += [finding.message for finding in verify_files(settings).findings]
        results += read_all(settings, clock)
    except KNOWN_ERRORS as known:
        error = str(known)
    except duckdb.Error as known:
        # An error of a query names no file. Only the warehouse is read without a comparison before.
        error = f"{settings.warehouse}: {known}"
    finally:
        logger.removeHandler(messages)
    text = "\n".join([*messages.texts, error])
    is_named = str(path) in text or (kind == "digest log" and str(path.parent) in text)
    if error:
        assert is_named, f"{kind}: bit {bit} of {path}: the error does not name the file: {text}"
        return "error"
    if results == expected:
        return "repaired" if text else "same"
    assert is_named, f"{kind}: bit {bit} of {path}: another result in silence ({text})"
    return "reported"


class World:
    """A collected data root with what its readers return. Its ledger stays open, so its log is there."""

    def __init__(self, root: Path) -> None:
        values = {"root": str(root / "world"), "api_url": "http://127.0.0.1:9", "client_key": "k", "client_secret": "s"}
        self.settings = Settings.from_env({VARIABLES[name].name: value for name, value in values.items()})
        self.harness = asyncio.run(collect_world(self.settings))
        self.clock, self.scratch = self.harness.clock, root / "copy"
        shutil.copytree(self.settings.root, self.scratch)
        self.expected = [*read_all(replace(self.settings, root=self.scratch), self.clock)]

    def flip(self, kind: str, draw: random.Random) -> str:
        return outcome_of_flip(self.settings, self.scratch, kind, draw, self.expected, self.clock)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("flips"))


def test_world_has_files_of_every_kind(world: World) -> None:
    assert [kind for kind, pattern in KINDS.items() if not list(world.settings.root.glob(pattern))] == []
    tables: Any = dict(world.expected)["build"]
    assert [len(tables[name]) for name in ("videos", "users", "requests")] == [500, 2, 12]


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bit_is_never_another_result_in_silence(
    world: World, kind: str, request: pytest.FixtureRequest
) -> None:
    number = 60 if request.config.option.long else 3
    draw = random.Random(f"{kind} {number}")
    outcomes = Counter(world.flip(kind, draw) for _ in range(number))
    # The flips reach the checks: not all of them are in bytes without a meaning, except in SQLite's unused pages.
    assert outcomes.keys() != {"same"} or kind == "ledger"


def main(number: int) -> None:
    """Print how many of some flips in each kind of file had which outcome."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for kind in KINDS:
            draw = random.Random(f"{kind} table")
            outcomes: Counter[str] = Counter()
            for _ in range(number):
                try:
                    outcomes[world.flip(kind, draw)] += 1
                except AssertionError as error:
                    outcomes["SILENT"] += 1
                    sys.stderr.write(f"{error}\n")
            sys.stdout.write(f"{kind}: {dict(outcomes)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
