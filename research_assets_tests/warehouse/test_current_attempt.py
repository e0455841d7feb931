"""The attempt that counts is the same one for Python and for the mart `coverage`."""

from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any, get_args

from research_assets.storage import raw_writer
from research_assets.units.coverage import UnitState, UnitStatus, read_unit_status
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


def _row(status: UnitStatus) -> tuple[Any, ...]:
    attempt = status.attempt
    return attempt.unit_kind, attempt.unit, attempt.state, attempt.kept, attempt.capture
