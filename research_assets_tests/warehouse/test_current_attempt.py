"""The attempt that counts is the same one for Python and for the mart `coverage`."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, get_args

from research_assets.planning.coverage_board import read_board
from research_assets.planning.expected_units import write_expected_units
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.storage import raw_writer
from research_assets.study.spec import CommentRule, StudySpec
from research_assets.units.coverage import UnitState, UnitStatus, read_unit_status
from research_assets_tests.collect.harness import START, CollectorHarness, study
from research_assets_tests.conftest import FakeClock
from research_assets_tests.warehouse.conftest import materialize, query
from research_assets_tests.warehouse.raw_data import DAY1, at, make_attempt, new_settings

N_UNITS = 400
ENTITY_OF_KIND = {"day": "videos", "canary": "videos", "video": "comments", "comment": "comments", "account": "users"}


def random_attempts(random: Random) -> list[dict[str, Any]]:
    """Return one to six attempts at each unit: many have equal times, some have none."""
    attempts = []
    for number in range(N_UNITS):
        kind = random.choice(sorted(ENTITY_OF_KIND))
        day = DAY1 + timedelta(days=number)
        unit = str(day) if kind == "day" else str(number)
        for capture in random.sample("abcdefgh", random.randint(1, 6)):
            state, last = random.choice(get_args(UnitState)), at(random.randint(5, 8))
            attempt = make_attempt(ENTITY_OF_KIND[kind], day, kind, unit, state, last, capture=capture)
            if state == "partial" and random.random() < 0.3:
                attempt |= {"first_at": None, "last_at": None}
            attempts.append(attempt | {"asked": 100, "offered": 9, "kept": random.randint(0, 9)})
    return attempts


def test_mart_and_python_agree_on_the_attempt_that_counts(tmp_path: Path) -> None:
    settings, random = new_settings(tmp_path / "data"), Random(7)
    raw_writer.ensure_tables(settings.raw)
    by_capture: dict[str, list[dict[str, Any]]] = {}
    for attempt in random_attempts(random):
        by_capture.setdefault(attempt["capture"], []).append(attempt)
    assert len(by_capture) == 8
    files = [(date(2026, 2, 10), capture, attempts) for capture, attempts in by_capture.items()]
    raw_writer.write_files(settings.raw, "coverage", study="garden", files=files)
    assert materialize(settings).success
    in_mart = query(settings, "select unit_kind, unit, state, kept, capture from marts.coverage order by 1, 2")
    in_python = [
        _row(status)
        for entity in sorted(set(ENTITY_OF_KIND.values()))
        for status in read_unit_status(settings.raw, entity, study="garden")
    ]
    assert in_mart == sorted(in_python)
    assert len(in_python) == N_UNITS


def units_on_board(settings: Settings, spec: StudySpec, now: datetime) -> list[tuple[Any, ...]]:
    """Return the units of the coverage board by entity, partition and state."""
    cells = ((row.entity, day, cell) for row in read_board(settings, spec, now).rows for day, cell in row.cells.items())
    return sorted((entity, day, state, number) for entity, day, cell in cells for state, number in cell.units.items())


def test_mart_board_and_python_agree_on_comment_counts_that_lag(tmp_path: Path) -> None:
    config = SandboxConfig(fixed_volume=8, fixed_comments=20, count_lag_days=10.0)
    clock = FakeClock(datetime(2026, 2, 4, 1, tzinfo=UTC))
    harness = CollectorHarness(new_settings(tmp_path / "data"), config, clock)
    spec = study(end=START, comments=CommentRule("all", replies="none"), reobserve_days=(12,))
    states = []
    for age in (2, 12):
        clock.moment = datetime(2026, 2, 2 + age, 1, tzinfo=UTC)
        asyncio.run(harness.collect("videos", [START], spec, recollect=age > 2))
        asyncio.run(harness.collect("comments", [START], spec))
        # The board is read from the raw tables before the build.
        on_board = units_on_board(harness.settings, spec, clock.now())
        write_expected_units(harness.settings.raw, [spec], clock.now())
        assert materialize(harness.settings).success
        by_state = "select entity, partition_day, state, count(*) from marts.coverage group by all order by all"
        assert on_board == query(harness.settings, by_state)
        columns = "unit, state, expected, kept, reason, next_try_at"
        in_mart = query(
            harness.settings, f"select {columns} from marts.coverage where entity = 'comments' order by unit"
        )
        attempts = [status.attempt for status in read_unit_status(harness.settings.raw, "comments", study="garden")]
        assert in_mart == [
            (one.unit, one.state, one.expected, one.kept, one.reason, one.next_try)
            for one in sorted(attempts, key=lambda one: one.unit)
        ]
        states.append({row[1] for row in in_mart})
    assert states == [{"too_fresh", "complete"}, {"complete"}]


def _row(status: UnitStatus) -> tuple[Any, ...]:
    attempt = status.attempt
    return attempt.unit_kind, attempt.unit, attempt.state, attempt.kept, attempt.capture
