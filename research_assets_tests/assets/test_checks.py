"""The checks of a study: silent without data and on whole data, and clear about what is not whole."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from research_assets.checks import study_checks
from research_assets.checks.look import SHORT, look, sample
from research_assets.checks.rule import Rule
from research_assets.checks.rules import rules
from research_assets.collect.spec import StudySpec, UserRule
from research_assets.fields import ENTITIES
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import running
from research_assets.tables import write_rows
from research_assets_tests.assets.world import NO_COMMENTS, STUDY, Bench, failure

WHOLE = replace(STUDY, users=UserRule("authors"), panel=("beet",))
DAY = date(2026, 2, 3)
NOON = 1_770_120_000  # 2026-02-03T12:00:00Z
SEEN = datetime(2026, 2, 6, 9, tzinfo=UTC)

Row = dict[str, Any]
Case = tuple[str, str, list[Row], int]


def uploaded(seconds: int, number: int = 1) -> int:
    """An id whose upload lies so many seconds from noon."""
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
    return {"id": uploaded(-30, number), "create_time": NOON, **FIELDS, **changes}


def comment(number: int = 1, **changes: Any) -> Row:
    written = NOON + 3600
    row = {"id": written << 32 | number, "create_time": written + 40, "video_id": uploaded(0), "like_count": 0}
    return {**row, "parent_comment_id": uploaded(0), "reply_count": 0, "asked_video_id": uploaded(0), **changes}


def put(raw: Path, entity: str, rows: list[Row], *, day: date | None = None, capture: str = "a") -> None:
    """Write rows into a day of the study's raw table."""
    if day is None:
        day = SEEN.date() if ENTITIES[entity].clock == "observation" else DAY
    stamped = [{"observed_at": SEEN, "capture": capture, **row} for row in rows]
    write_rows(raw, entity, study="gardening", day=day, name=capture, rows=stamped)


def verdicts(raw: Path, entity: str, units: list[Row]) -> None:
    base = {"entity": entity, "partition": DAY, "unit_kind": "day", "state": "complete", "last_at": SEEN}
    rows = [{**base, "unit": str(place), **unit} for place, unit in enumerate(units)]
    write_rows(raw, "coverage", study="gardening", day=SEEN.date(), name="c", rows=rows)


def results(raw: Path, entity: str, study: StudySpec = WHOLE) -> dict[str, tuple[Rule, dg.AssetCheckResult]]:
    return {rule.name: (rule, result) for rule, result in look(raw, "gardening", entity, rules(study, entity))}


def broken(raw: Path, entity: str, study: StudySpec = WHOLE) -> dict[str, int]:
    """The rules that are broken, and by how many rows; looks at what a person is told on the way."""
    found = {}
    for name, (rule, result) in results(raw, entity, study).items():
        if result.passed:
            continue
        count = result.metadata["rows that break the rule"].value
        assert isinstance(count, int)
        found[name] = count
        assert rule.advice in (result.description or "")
        assert result.severity == (dg.AssetCheckSeverity.ERROR if rule.blocking else dg.AssetCheckSeverity.WARN)
        assert "| --- |" in str(result.metadata["sample"].value)
    return found


@pytest.mark.parametrize("entity", ENTITIES)
def test_without_data_nothing_is_wrong(tmp_path: Path, entity: str) -> None:
    assert not broken(tmp_path, entity)
    # Coverage alone, of a search that brought nothing yet.
    verdicts(tmp_path, entity, [{}])
    assert not broken(tmp_path, entity)


USER = {"asked_username": "ute", "follower_count": 1, "following_count": 1, "likes_count": 1, "video_count": 1}
GOOD: dict[str, list[Row]] = {
    "videos": [video(1), video(2, region_code="de", music_id=None)],
    "comments": [comment(1), comment(2, asked_comment_id=9, parent_comment_id=9)],
    "users": [USER, USER | {"asked_username": "Ida", "username": "ida"}],
    "liked_videos": [video(1) | {"asked_username": "beet"}, video(1) | {"asked_username": "balkon"}],
    "reposted_videos": [video(1) | {"asked_username": "beet"}],
    "pinned_videos": [video(1) | {"asked_username": "UTE"}],
    "followers": [{"asked_username": "beet", "username": name} for name in ("a", "b")],
    "following": [{"asked_username": "beet", "username": "a"}],
}


@pytest.mark.parametrize("entity", ENTITIES)
def test_good_rows_break_no_rule(tmp_path: Path, entity: str) -> None:
    put(tmp_path, entity, GOOD[entity])
    assert not broken(tmp_path, entity)
    assert all(result.metadata["rows looked at"].value is not None for _, result in results(tmp_path, entity).values())


ROWS: list[Case] = [
    ("videos", "rows_lie_in_their_day", [video(1, create_time=NOON + 86_400)], 1),
    ("videos", "ids_fit_their_time", [video(id=uploaded(100)), video(id=uploaded(-8 * 86_400))], 2),
    ("videos", "no_row_stands_twice", [video(1), video(1), video(2)], 1),
    ("videos", "ids_are_whole", [video(id=None), video(id=-5, create_time=None)], 2),
    ("videos", "ids_are_whole", [video(id=uploaded(-30, 1024 * place)) for place in range(30)], 30),
    ("videos", "rows_answer_what_was_asked", [video(1, hashtag_names=["cooking"]), video(2, hashtag_names=None)], 1),
    ("videos", "counts_are_plausible", [video(1, like_count=101), video(2, share_count=-1)], 2),
    ("videos", "no_unknown_fields", [video(1, unknown_fields={"ai_score": 1, "b": 2}), video(2)], 2),
    ("comments", "ids_fit_their_time", [comment(1, create_time=NOON - 7200)], 1),
    ("comments", "rows_lie_in_their_day", [comment(1, video_id=uploaded(-20 * 86_400), asked_video_id=None)], 1),
    ("comments", "rows_answer_what_was_asked", [comment(1, asked_video_id=7), comment(2, asked_comment_id=8)], 2),
    ("comments", "counts_are_plausible", [comment(1, reply_count=-1)], 1),
    ("comments", "no_row_stands_twice", [comment(1), comment(1)], 1),
    ("users", "counts_are_plausible", [USER | {"follower_count": -1}], 1),
    ("users", "rows_answer_what_was_asked", [USER | {"username": "otto"}], 1),
    ("users", "rows_lie_in_their_day", [USER | {"observed_at": SEEN + timedelta(days=1)}], 1),
    ("liked_videos", "counts_are_plausible", [video(1, like_count=101, asked_username="beet")], 1),
    ("reposted_videos", "ids_fit_their_time", [video(1, id=uploaded(100), asked_username="beet")], 1),
    ("pinned_videos", "rows_answer_what_was_asked", [video(1, asked_username="beet")], 1),
    ("followers", "rows_answer_what_was_asked", [{"asked_username": "beet", "username": "Beet"}], 1),
    ("following", "no_row_stands_twice", [{"asked_username": "beet", "username": "a"}] * 3, 1),
]


@pytest.mark.parametrize(("entity", "rule", "rows", "count"), ROWS, ids=lambda value: str(value)[:40])
def test_a_row_that_should_not_be_is_found(tmp_path: Path, entity: str, rule: str, rows: list[Row], count: int) -> None:
    put(tmp_path, entity, rows)
    assert broken(tmp_path, entity) == {rule: count}


def test_a_second_capture_is_no_second_video_but_a_second_day_is(tmp_path: Path) -> None:
    put(tmp_path, "videos", [video(1)])
    put(tmp_path, "videos", [video(1)], capture="b")
    assert not broken(tmp_path, "videos")
    put(tmp_path, "videos", [video(1, create_time=NOON + 86_400)], day=DAY + timedelta(days=1), capture="c")
    assert broken(tmp_path, "videos") == {"videos_keep_their_day": 1}


def test_views_that_fall_are_found_and_a_small_step_back_is_not(tmp_path: Path) -> None:
    for hour, views in enumerate((1000, 950, 940, 300, 400)):
        put(
            tmp_path,
            "videos",
            [video(1, view_count=views, observed_at=SEEN + timedelta(hours=hour))],
            capture=f"{hour}",
        )
    assert broken(tmp_path, "videos") == {"views_do_not_fall": 1}
    [(_, result)] = [results(tmp_path, "videos")["views_do_not_fall"]]
    assert "| 300 | 940 |" in str(result.metadata["sample"].value)


QUERY = {
    "and": (
        {"operation": "IN", "field_name": "region_code", "field_values": ["DE", "AT"]},
        {"operation": "EQ", "field_name": "keyword", "field_values": ["tomato"]},
    ),
    "or": (
        {"operation": "EQ", "field_name": "username", "field_values": ["Ute"]},
        {"operation": "EQ", "field_name": "music_id", "field_values": ["77"]},
    ),
    "not": ({"operation": "EQ", "field_name": "hashtag_name", "field_values": ["it's an ad"]},),
}


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, None),
        ({"username": "otto", "music_id": 77}, None),
        ({"username": None, "region_code": None, "hashtag_names": None}, None),
        ({"region_code": "CH"}, "not region_code DE, AT"),
        ({"username": "otto", "music_id": 78}, "neither username Ute nor music_id 77"),
        ({"hashtag_names": ["it's AN ad"]}, "hashtag_name it's an ad"),
    ],
)
def test_the_query_is_held_against_the_rows(tmp_path: Path, changes: Row, wrong: str | None) -> None:
    put(tmp_path, "videos", [video(1, **changes)])
    _, result = results(tmp_path, "videos", replace(WHOLE, query=QUERY))["rows_answer_what_was_asked"]
    assert result.passed is (wrong is None)
    assert wrong is None or f"| {wrong} |" in str(result.metadata["sample"].value)


@pytest.mark.parametrize("field", ["keyword", "view_count"])
def test_what_a_row_cannot_show_is_no_rule(field: str) -> None:
    condition = {"operation": "EQ", "field_name": field, "field_values": ["1"]}
    one_of = {"or": (condition, {"operation": "EQ", "field_name": "username", "field_values": ["ute"]})}
    for query in ({"and": (condition,)}, {"not": (condition,)}, one_of):
        names = {rule.name for rule in rules(replace(WHOLE, query=query), "videos")}
        assert "rows_answer_what_was_asked" not in names


def test_a_field_that_never_came_or_no_longer_comes_is_missed(tmp_path: Path) -> None:
    study = replace(WHOLE, fields={"videos": ("id", "create_time", "like_count", "music_id", "playlist_id")})
    put(tmp_path, "videos", [video(place) for place in range(1, 90)])
    assert not broken(tmp_path, "videos", study), "too few rows to miss anything"
    put(tmp_path, "videos", [video(place) for place in range(90, 200)], capture="b")
    assert broken(tmp_path, "videos", study) == {"fields_keep_arriving": 1}, "music_id; a playlist is rare"
    later = [
        video(place, music_id=1, like_count=None, observed_at=SEEN + timedelta(days=1)) for place in range(200, 310)
    ]
    put(tmp_path, "videos", later, capture="c")
    _, result = results(tmp_path, "videos", study)["fields_keep_arriving"]
    assert "| like count | no longer arrives |" in str(result.metadata["sample"].value).replace(
        "like_count", "like count"
    )
    assert broken(tmp_path, "videos", study) == {"fields_keep_arriving": 1}


def series(*offered: int) -> list[Row]:
    return [{"partition": DAY + timedelta(days=place), "offered": hits} for place, hits in enumerate(offered)]


def test_the_volume_of_a_day_is_held_against_the_days_around(tmp_path: Path) -> None:
    verdicts(tmp_path, "videos", series(100, 90, 110, 95, 105, 0, 100, 900))
    assert broken(tmp_path, "videos") == {"volume_is_as_usual": 2}
    verdicts(tmp_path, "videos", series(100, 90, 500, 30, 105))
    assert not broken(tmp_path, "videos")
    verdicts(tmp_path, "videos", series(100, 0))
    assert not broken(tmp_path, "videos"), "too little is known to judge"


def test_the_share_of_comments_is_held_against_the_other_days(tmp_path: Path) -> None:
    units = [
        {"partition": DAY + timedelta(days=place), "unit_kind": "video", "expected": 100, "kept": kept}
        for place, kept in enumerate((80, 85, 70, 90, 75, 10))
    ]
    verdicts(tmp_path, "comments", units)
    assert broken(tmp_path, "comments") == {"volume_is_as_usual": 1}


@pytest.mark.parametrize("entity", ["followers", "following", "liked_videos", "reposted_videos", "pinned_videos"])
def test_a_list_that_shrank_is_found(tmp_path: Path, entity: str) -> None:
    weeks = [DAY + timedelta(weeks=week) for week in range(3)]
    units = [
        {"partition": week, "unit_kind": "account", "unit": name, "kept": kept}
        for name, lengths in {"beet": (100, 90, 20), "ute": (40, 1, 1)}.items()
        for week, kept in zip(weeks, lengths, strict=True)
    ]
    verdicts(tmp_path, entity, units)
    assert broken(tmp_path, entity) == {"volume_is_as_usual": 1}


@pytest.mark.parametrize("entity", ENTITIES)
def test_units_that_are_open_are_told(tmp_path: Path, entity: str) -> None:
    states = ("partial", "quarantined", "suspicious", "not_asked", "complete", "refused", "missing", "too_fresh")
    verdicts(tmp_path, entity, [{"state": state, "reason": f"so {state}"} for state in states])
    assert broken(tmp_path, entity) == {"nothing_is_left_open": 4}
    _, result = results(tmp_path, entity)["nothing_is_left_open"]
    assert "so quarantined" in str(result.metadata["sample"].value)


def test_the_newest_attempt_counts_and_other_studies_do_not(tmp_path: Path) -> None:
    again = {"unit": "a", "last_at": SEEN + timedelta(hours=1), "state": "complete"}
    verdicts(tmp_path, "videos", [{"unit": "a", "state": "quarantined"}, again])
    other = {"entity": "videos", "partition": DAY, "unit_kind": "day", "unit": "x", "state": "partial"}
    write_rows(tmp_path, "coverage", study="other", day=DAY, name="o", rows=[other])
    assert not broken(tmp_path, "videos")


def test_known_videos_that_are_lost_are_counted_and_told_once_most_of_them_are(tmp_path: Path) -> None:
    def looked(lost: int, **changes: Any) -> list[Row]:
        kind = {"unit_kind": "canary", "capture": "k", **changes}
        return [{**kind, "unit": f"7{place}", "state": "missing" if place < lost else "complete"} for place in range(8)]

    earlier = looked(0, capture="j", last_at=SEEN - timedelta(days=7))
    verdicts(tmp_path, "videos", [{}, *looked(4), *earlier])
    result = results(tmp_path, "videos")["canaries"][1]
    assert result.passed
    told = {name: result.metadata[name].value for name in ("known videos looked for", "found", "last look")}
    assert told == {"known videos looked for": 8, "found": 4, "last look": f"{SEEN:%Y-%m-%d %H:%M} UTC"}
    assert result.metadata["not found, for example"].value == "70, 71, 72, 73"
    verdicts(tmp_path, "videos", [{}, *looked(5), *earlier])
    assert broken(tmp_path, "videos") == {"canaries": 5}


def test_a_sample_is_as_long_as_the_ui_shows_at_once() -> None:
    rows = [(1 << 62 | place, "a | b\nc", "x" * 100) for place in range(50)]
    told = sample(("id", "reason_why", "long"), rows)
    assert len(told) <= SHORT
    assert told.splitlines()[0] == "| id | reason why | long |"
    assert told.splitlines()[2].startswith(f"| {1 << 62} | a ¦ b c | xxx")
    assert len(told.splitlines()) > 8


def test_each_collected_asset_has_its_checks_and_two_kinds_block() -> None:
    specs = [spec for check in study_checks(WHOLE) for spec in check.check_specs]
    checked = {spec.asset_key.path[-1] for spec in specs}
    assert checked == {*ENTITIES, "coverage"}
    assert {spec.name for spec in specs if spec.blocking} == {"ids_are_whole", "no_row_stands_twice"}
    assert all(spec.description for spec in specs)


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A hostile world."""
    config = SandboxConfig(profile="hostile", videos_per_day=200)
    with running(config) as sandbox:
        yield Bench(sandbox, tmp_path_factory.mktemp("collected") / "data", NO_COMMENTS)


def test_the_checks_pass_on_what_the_collector_brings(collected: Bench) -> None:
    result = collected.run("videos", first="2026-02-01", last="2026-02-03")
    assert result.success
    evaluations = result.get_asset_check_evaluations()
    assert {one.check_name for one in evaluations} == {rule.name for rule in rules(NO_COMMENTS, "videos")}
    assert all(one.passed for one in evaluations), [one.metadata for one in evaluations if not one.passed]
    assert all(one.metadata["rows looked at"].value for one in evaluations if one.check_name != "canaries")


def test_damaged_ids_make_the_run_red_and_say_so(collected: Bench) -> None:
    put(collected.settings.raw, "videos", [{"id": None}])
    result = collected.run("videos", first="2026-02-01")
    assert not result.success
    assert "ids_are_whole" in failure(result)
