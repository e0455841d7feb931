"""Raw rows and units of a study for tests of the checks, valid by default, and the results of the check rules."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from research_assets.checks.rules import CheckRule, rules
from research_assets.checks.runner import run_rules
from research_assets.fields import ENTITIES
from research_assets.storage.raw_writer import write_rows
from research_assets.study.spec import StudySpec, UserRule
from research_assets.units.coverage import NO_VIDEO_FOUND
from research_assets_tests.assets.harness import STUDY

FULL_STUDY = replace(STUDY, users=UserRule("authors"), playlists=True, panel=("beet",))
DAY = date(2026, 2, 3)
NOON = 1_770_120_000  # 2026-02-03T12:00:00Z
OBSERVED_AT = datetime(2026, 2, 6, 9, tzinfo=UTC)
Row = dict[str, Any]


def make_id(seconds: int, number: int = 1) -> int:
    """Return an id with an upload time that many seconds after noon (before, if negative)."""
    return (NOON + seconds) << 32 | number


FIELDS: Row = {
    "region_code": "DE",
    "username": "ute",
    "hashtag_names": ["Gardening"],
    "view_count": 100,
    "like_count": 5,
    "comment_count": 0,
    "share_count": 0,
    "favorites_count": 0,
}


def video(number: int = 1, **changes: Any) -> Row:
    return {"id": make_id(-30, number), "create_time": NOON, **FIELDS, **changes}


def comment(number: int = 1, **changes: Any) -> Row:
    written_at = NOON + 3600
    row = {"id": written_at << 32 | number, "create_time": written_at + 40, "video_id": make_id(0), "like_count": 0}
    return {**row, "parent_comment_id": make_id(0), "reply_count": 0, "asked_video_id": make_id(0), **changes}


def add_rows(raw: Path, entity: str, rows: list[Row], *, day: date | None = None, capture: str = "a") -> None:
    """Write rows into a day of the study's raw table."""
    if day is None:
        day = OBSERVED_AT.date() if ENTITIES[entity].time_axis == "observation" else DAY
    stamped = [{"observed_at": OBSERVED_AT, "capture": capture, **row} for row in rows]
    write_rows(raw, entity, study="gardening", day=day, name=capture, rows=stamped)


def add_units(raw: Path, entity: str, units: list[Row]) -> None:
    """Write attempts at units into the study's coverage, complete days by default."""
    base = {"entity": entity, "partition": DAY, "unit_kind": "day", "state": "complete", "last_at": OBSERVED_AT}
    rows = [{**base, "unit": str(index), **unit} for index, unit in enumerate(units)]
    write_rows(raw, "coverage", study="gardening", day=OBSERVED_AT.date(), name="c", rows=rows)


def add_empty_days(raw: Path, number: int, *, state: str = "suspicious") -> None:
    """Write a number of searched days without a hit into the study's coverage, until `DAY`."""
    empty = {"state": state, "asked": 100, "offered": 0, "kept": 0, "requests": 2.0, "reason": NO_VIDEO_FOUND}
    days = [DAY - timedelta(days=age) for age in range(number)]
    add_units(raw, "videos", [{**empty, "partition": day, "unit": day.isoformat()} for day in days])


def results(raw: Path, entity: str, study: StudySpec = FULL_STUDY) -> dict[str, tuple[CheckRule, dg.AssetCheckResult]]:
    """Return each rule of an entity with its result, by name."""
    return {rule.name: (rule, result) for rule, result in run_rules(raw, "gardening", entity, rules(study, entity))}


def failing_rules(raw: Path, entity: str, study: StudySpec = FULL_STUDY) -> dict[str, int]:
    """Return the number of failing rows by failing rule, and assert that each result has advice and examples."""
    failing = {}
    for name, (rule, result) in results(raw, entity, study).items():
        if result.passed:
            continue
        count = result.metadata["failing rows"].value
        assert isinstance(count, int)
        failing[name] = count
        assert rule.advice in (result.description or "")
        assert result.severity == (dg.AssetCheckSeverity.ERROR if rule.blocking else dg.AssetCheckSeverity.WARN)
        assert "| --- |" in str(result.metadata["example rows"].value)
    return failing
