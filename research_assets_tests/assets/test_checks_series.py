"""The checks of a series as a whole: its volume, its fields, its open units and its canaries."""

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
    OBSERVED_AT,
    Row,
    add_empty_days,
    add_rows,
    add_units,
    failing_rules,
    results,
    video,
)


def test_field_that_never_arrived_or_no_longer_arrives_fails(tmp_path: Path) -> None:
    study = replace(FULL_STUDY, fields={"videos": ("id", "create_time", "like_count", "music_id", "playlist_id")})
    add_rows(tmp_path, "videos", [video(index) for index in range(1, 90)])
    assert not failing_rules(tmp_path, "videos", study), "too few rows for a field to count as missing"
    add_rows(tmp_path, "videos", [video(index) for index in range(90, 200)], capture="b")
    assert failing_rules(tmp_path, "videos", study) == {"requested_fields_present": 1}, (
        "music_id; playlist_id is a sparse field"
    )
    later = [
        video(index, music_id=1, like_count=None, observed_at=OBSERVED_AT + timedelta(days=1))
        for index in range(200, 310)
    ]
    add_rows(tmp_path, "videos", later, capture="c")
    _, result = results(tmp_path, "videos", study)["requested_fields_present"]
    assert "| like count | no longer arrives |" in str(result.metadata["example rows"].value).replace(
        "like_count", "like count"
    )
    assert failing_rules(tmp_path, "videos", study) == {"requested_fields_present": 1}


def series(*offered: int) -> list[Row]:
    return [{"partition": DAY + timedelta(days=index), "offered": hits} for index, hits in enumerate(offered)]


def test_volume_of_a_day_is_compared_with_neighbouring_days(tmp_path: Path) -> None:
    add_units(tmp_path, "videos", series(100, 90, 110, 95, 105, 0, 100, 900))
    assert failing_rules(tmp_path, "videos") == {"volume_is_as_usual": 2}
    add_units(tmp_path, "videos", series(100, 90, 500, 30, 105))
    assert not failing_rules(tmp_path, "videos")
    add_units(tmp_path, "videos", series(100, 0))
    assert not failing_rules(tmp_path, "videos"), "too few days to compare with"


def test_share_of_comments_is_compared_with_other_days(tmp_path: Path) -> None:
    units = [
        {"partition": DAY + timedelta(days=index), "unit_kind": "video", "expected": 100, "kept": kept}
        for index, kept in enumerate((80, 85, 70, 90, 75, 10))
    ]
    add_units(tmp_path, "comments", units)
    assert failing_rules(tmp_path, "comments") == {"volume_is_as_usual": 1}


@pytest.mark.parametrize("entity", ["followers", "following", "liked_videos", "reposted_videos", "pinned_videos"])
def test_list_that_lost_half_of_its_rows_fails(tmp_path: Path, entity: str) -> None:
    weeks = [DAY + timedelta(weeks=week) for week in range(3)]
    units = [
        {"partition": week, "unit_kind": "account", "unit": name, "kept": kept}
        for name, lengths in {"beet": (100, 90, 20), "ute": (40, 1, 1)}.items()
        for week, kept in zip(weeks, lengths, strict=True)
    ]
    add_units(tmp_path, entity, units)
    assert failing_rules(tmp_path, entity) == {"volume_is_as_usual": 1}


@pytest.mark.parametrize("entity", ENTITIES)
def test_open_units_fail_with_their_reason(tmp_path: Path, entity: str) -> None:
    states = ("partial", "quarantined", "suspicious", "not_asked", "complete", "refused", "missing", "too_fresh")
    add_units(tmp_path, entity, [{"state": state, "reason": f"reason for {state}"} for state in states])
    assert failing_rules(tmp_path, entity) == {"all_units_settled": 4}
    _, result = results(tmp_path, entity)["all_units_settled"]
    assert "reason for quarantined" in str(result.metadata["example rows"].value)


def test_zero_counts_that_no_reobservation_confirms_fail(tmp_path: Path) -> None:
    zeros = [{"unit_kind": "video", "state": "too_fresh"}, {"unit_kind": "video", "state": "complete"}]
    add_units(tmp_path, "comments", [{"unit": str(index), **zero} for index, zero in enumerate(zeros)])
    assert not failing_rules(tmp_path, "comments", replace(FULL_STUDY, reobserve_days=(12,)))
    for ages in ((), (11,)):
        study = replace(FULL_STUDY, reobserve_days=ages)
        assert failing_rules(tmp_path, "comments", study) == {"zero_counts_confirmed": 1}
    assert not failing_rules(tmp_path, "comments", replace(FULL_STUDY, reobserve_days=(), count_lag_days=0))


def test_newest_attempt_counts_and_other_studies_do_not(tmp_path: Path) -> None:
    retried = {"unit": "a", "last_at": OBSERVED_AT + timedelta(hours=1), "state": "complete"}
    add_units(tmp_path, "videos", [{"unit": "a", "state": "quarantined"}, retried])
    other = {"entity": "videos", "partition": DAY, "unit_kind": "day", "unit": "x", "state": "partial"}
    write_rows(tmp_path, "coverage", study="other", day=DAY, name="o", rows=[other])
    assert not failing_rules(tmp_path, "videos")


def test_canary_check_fails_once_most_videos_are_not_found(tmp_path: Path) -> None:
    def canaries(missing: int, **changes: Any) -> list[Row]:
        kind = {"unit_kind": "canary", "capture": "k", **changes}
        return [
            {**kind, "unit": f"7{index}", "state": "missing" if index < missing else "complete"} for index in range(8)
        ]

    earlier = canaries(0, capture="j", last_at=OBSERVED_AT - timedelta(days=7))
    add_units(tmp_path, "videos", [{}, *canaries(4), *earlier])
    result = results(tmp_path, "videos")["canaries_found"][1]
    assert result.passed
    figures = {name: result.metadata[name].value for name in ("videos searched", "videos found", "last check")}
    assert figures == {"videos searched": 8, "videos found": 4, "last check": f"{OBSERVED_AT:%Y-%m-%d %H:%M} UTC"}
    assert result.metadata["not found (examples)"].value == "70, 71, 72, 73"
    add_units(tmp_path, "videos", [{}, *canaries(5), *earlier])
    assert failing_rules(tmp_path, "videos") == {"canaries_found": 5}


@pytest.mark.parametrize("state", ["suspicious", "complete"])
def test_query_that_never_found_a_video_fails(tmp_path: Path, state: str) -> None:
    add_empty_days(tmp_path, 31, state=state)
    assert failing_rules(tmp_path, "videos")["query_finds_anything"] == 1
    result = results(tmp_path, "videos")["query_finds_anything"][1]
    assert "31 · 2026-01-04 · 2026-02-03 · 62.0" in (result.description or "")
    assert "research-assets plan STUDY --probe" in (result.description or "")


def test_query_that_found_one_video_or_was_never_searched_passes(tmp_path: Path) -> None:
    add_units(tmp_path, "videos", [{"state": "quarantined", "offered": 0}, {"state": "not_asked", "offered": None}])
    assert "query_finds_anything" not in failing_rules(tmp_path, "videos")
    empty, found = {"offered": 0, "kept": 0}, {"offered": 3, "kept": 1}
    add_units(tmp_path, "videos", [{"state": "suspicious", **empty}, {"state": "partial", **found}])
    assert "query_finds_anything" not in failing_rules(tmp_path, "videos")


def test_rejected_rows_fail_by_reason(tmp_path: Path) -> None:
    add_rows(tmp_path, "videos", [video()])
    rows = [
        {"entity": entity, "reason": reason, "unit": "u", "position": position, "capture": "a"}
        for position, (entity, reason) in enumerate(
            [("videos", "no id"), ("videos", "no id"), ("videos", "not an object"), ("comments", "no id")]
        )
    ]
    write_rows(tmp_path, "rejected", study="gardening", day=DAY, name="a", rows=rows)
    assert failing_rules(tmp_path, "videos") == {"no_rejected_rows": 2}
    assert results(tmp_path, "videos")["no_rejected_rows"][1].metadata["rows checked"].value == 3
