"""The checks of a series as a whole: its volume, the fields that arrive, the units that are open, known videos."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from research_assets.fields import ENTITIES
from research_assets.storage.raw_writer import write_rows
from research_assets_tests.assets.raw_rows import (
    DAY,
    FULL_STUDY,
    SEEN,
    Row,
    add_rows,
    check_results,
    failing_rules,
    results,
    video,
)


def test_a_field_that_never_came_or_no_longer_comes_is_missed(tmp_path: Path) -> None:
    study = replace(FULL_STUDY, fields={"videos": ("id", "create_time", "like_count", "music_id", "playlist_id")})
    add_rows(tmp_path, "videos", [video(place) for place in range(1, 90)])
    assert not failing_rules(tmp_path, "videos", study), "too few rows to miss anything"
    add_rows(tmp_path, "videos", [video(place) for place in range(90, 200)], capture="b")
    assert failing_rules(tmp_path, "videos", study) == {"requested_fields_present": 1}, "music_id; a playlist is rare"
    later = [
        video(place, music_id=1, like_count=None, observed_at=SEEN + timedelta(days=1)) for place in range(200, 310)
    ]
    add_rows(tmp_path, "videos", later, capture="c")
    _, result = results(tmp_path, "videos", study)["requested_fields_present"]
    assert "| like count | no longer arrives |" in str(result.metadata["sample"].value).replace(
        "like_count", "like count"
    )
    assert failing_rules(tmp_path, "videos", study) == {"requested_fields_present": 1}


def series(*offered: int) -> list[Row]:
    return [{"partition": DAY + timedelta(days=place), "offered": hits} for place, hits in enumerate(offered)]


def test_the_volume_of_a_day_is_held_against_the_days_around(tmp_path: Path) -> None:
    check_results(tmp_path, "videos", series(100, 90, 110, 95, 105, 0, 100, 900))
    assert failing_rules(tmp_path, "videos") == {"volume_is_as_usual": 2}
    check_results(tmp_path, "videos", series(100, 90, 500, 30, 105))
    assert not failing_rules(tmp_path, "videos")
    check_results(tmp_path, "videos", series(100, 0))
    assert not failing_rules(tmp_path, "videos"), "too little is known to judge"


def test_the_share_of_comments_is_held_against_the_other_days(tmp_path: Path) -> None:
    units = [
        {"partition": DAY + timedelta(days=place), "unit_kind": "video", "expected": 100, "kept": kept}
        for place, kept in enumerate((80, 85, 70, 90, 75, 10))
    ]
    check_results(tmp_path, "comments", units)
    assert failing_rules(tmp_path, "comments") == {"volume_is_as_usual": 1}


@pytest.mark.parametrize("entity", ["followers", "following", "liked_videos", "reposted_videos", "pinned_videos"])
def test_a_list_that_shrank_is_found(tmp_path: Path, entity: str) -> None:
    weeks = [DAY + timedelta(weeks=week) for week in range(3)]
    units = [
        {"partition": week, "unit_kind": "account", "unit": name, "kept": kept}
        for name, lengths in {"beet": (100, 90, 20), "ute": (40, 1, 1)}.items()
        for week, kept in zip(weeks, lengths, strict=True)
    ]
    check_results(tmp_path, entity, units)
    assert failing_rules(tmp_path, entity) == {"volume_is_as_usual": 1}


@pytest.mark.parametrize("entity", ENTITIES)
def test_units_that_are_open_are_told(tmp_path: Path, entity: str) -> None:
    states = ("partial", "quarantined", "suspicious", "not_asked", "complete", "refused", "missing", "too_fresh")
    check_results(tmp_path, entity, [{"state": state, "reason": f"so {state}"} for state in states])
    assert failing_rules(tmp_path, entity) == {"all_units_settled": 4}
    _, result = results(tmp_path, entity)["all_units_settled"]
    assert "so quarantined" in str(result.metadata["sample"].value)


def test_the_newest_attempt_counts_and_other_studies_do_not(tmp_path: Path) -> None:
    again = {"unit": "a", "last_at": SEEN + timedelta(hours=1), "state": "complete"}
    check_results(tmp_path, "videos", [{"unit": "a", "state": "quarantined"}, again])
    other = {"entity": "videos", "partition": DAY, "unit_kind": "day", "unit": "x", "state": "partial"}
    write_rows(tmp_path, "coverage", study="other", day=DAY, name="o", rows=[other])
    assert not failing_rules(tmp_path, "videos")


def test_known_videos_that_are_lost_are_counted_and_told_once_most_of_them_are(tmp_path: Path) -> None:
    def looked(lost: int, **changes: Any) -> list[Row]:
        kind = {"unit_kind": "canary", "capture": "k", **changes}
        return [{**kind, "unit": f"7{place}", "state": "missing" if place < lost else "complete"} for place in range(8)]

    earlier = looked(0, capture="j", last_at=SEEN - timedelta(days=7))
    check_results(tmp_path, "videos", [{}, *looked(4), *earlier])
    result = results(tmp_path, "videos")["canaries"][1]
    assert result.passed
    reported = {name: result.metadata[name].value for name in ("videos searched", "found", "last check")}
    assert reported == {"videos searched": 8, "found": 4, "last check": f"{SEEN:%Y-%m-%d %H:%M} UTC"}
    assert result.metadata["not found (examples)"].value == "70, 71, 72, 73"
    check_results(tmp_path, "videos", [{}, *looked(5), *earlier])
    assert failing_rules(tmp_path, "videos") == {"canaries": 5}
