"""The checks of a study pass without data and on valid data, and name the rows that fail."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from research_assets.checks import runner, study_checks
from research_assets.checks.rules import rules
from research_assets.checks.runner import MAX_INLINE_CHARACTERS, markdown_sample
from research_assets.fields import ENTITIES
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import run_in_thread
from research_assets_tests.assets.harness import NO_COMMENTS, AssetHarness, failure_message
from research_assets_tests.assets.raw_rows import (
    DAY,
    FULL_STUDY,
    NOON,
    OBSERVED_AT,
    Row,
    add_rows,
    add_units,
    comment,
    failing_rules,
    make_id,
    results,
    video,
)

Case = tuple[str, str, list[Row], int]


@pytest.mark.parametrize("entity", ENTITIES)
def test_checks_pass_without_data(tmp_path: Path, entity: str) -> None:
    assert not failing_rules(tmp_path, entity)
    # Coverage without rows, of a search that returned nothing yet.
    add_units(tmp_path, entity, [{}])
    assert not failing_rules(tmp_path, entity)


USER = {"asked_username": "ute", "follower_count": 1, "following_count": 1, "likes_count": 1, "video_count": 1}
PLAYLIST = {"asked_playlist_id": 7, "playlist_id": 7, "position": 0, "playlist_item_total": 2}
VALID_ROWS: dict[str, list[Row]] = {
    "videos": [video(1), video(2, region_code="de", music_id=None)],
    "comments": [comment(1), comment(2, asked_comment_id=9, parent_comment_id=9)],
    "users": [USER, USER | {"asked_username": "Ida", "username": "ida"}],
    "liked_videos": [video(1) | {"asked_username": "beet"}, video(1) | {"asked_username": "balkon"}],
    "reposted_videos": [video(1) | {"asked_username": "beet"}],
    "pinned_videos": [video(1) | {"asked_username": "UTE"}],
    "followers": [{"asked_username": "beet", "username": name} for name in ("a", "b")],
    "following": [{"asked_username": "beet", "username": "a"}],
    "playlists": [PLAYLIST, PLAYLIST | {"position": 100}, PLAYLIST | {"asked_playlist_id": 8, "playlist_id": None}],
}


@pytest.mark.parametrize("entity", ENTITIES)
def test_valid_rows_pass_every_rule(tmp_path: Path, entity: str) -> None:
    add_rows(tmp_path, entity, VALID_ROWS[entity])
    assert not failing_rules(tmp_path, entity)
    assert all(result.metadata["rows checked"].value is not None for _, result in results(tmp_path, entity).values())


@pytest.mark.parametrize("entity", ["videos", "comments"])
def test_checks_have_the_same_results_on_large_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entity: str
) -> None:
    add_rows(tmp_path, entity, VALID_ROWS[entity] * 2)
    add_units(tmp_path, entity, [{"state": "partial"}, {"unit_kind": "canary", "kept": 0}])
    add_rows(tmp_path, "rejected", [{"entity": entity, "position": 1}], day=DAY)
    small = results(tmp_path, entity)
    # Large data are not copied into memory.
    monkeypatch.setattr(runner, "_MAX_COPIED_BYTES", -1)
    assert repr(results(tmp_path, entity)) == repr(small)
    assert {"no_duplicate_rows", "all_units_settled", "no_rejected_rows"} <= failing_rules(tmp_path, entity).keys()


@pytest.mark.parametrize("count", [2**63 - 1, -(2**63), 1_769_950_800_000])
def test_impossible_numbers_stop_no_check(tmp_path: Path, count: int) -> None:
    add_rows(tmp_path, "videos", [video(1, create_time=count, view_count=count), video(2, view_count=2**63 - 1)])
    assert "ids_match_timestamps" in failing_rules(tmp_path, "videos")
    add_rows(tmp_path, "comments", [comment(1, create_time=count)])
    assert "ids_match_timestamps" in failing_rules(tmp_path, "comments")


INVALID_ROWS: list[Case] = [
    ("videos", "rows_match_partition", [video(1, create_time=NOON + 86_400)], 1),
    ("videos", "ids_match_timestamps", [video(id=make_id(100)), video(id=make_id(-8 * 86_400))], 2),
    ("videos", "no_duplicate_rows", [video(1), video(1), video(2)], 1),
    ("videos", "ids_are_whole", [video(id=None), video(id=-5, create_time=None)], 2),
    ("videos", "ids_are_whole", [video(id=make_id(-30, 1024 * index)) for index in range(30)], 30),
    ("videos", "rows_match_request", [video(1, hashtag_names=["cooking"]), video(2, hashtag_names=None)], 1),
    ("videos", "counts_are_plausible", [video(1, like_count=101), video(2, share_count=-1)], 2),
    ("videos", "no_unknown_fields", [video(1, unknown_fields={"ai_score": 1, "b": 2}), video(2)], 2),
    ("comments", "ids_match_timestamps", [comment(1, create_time=NOON - 7200)], 1),
    ("comments", "rows_match_partition", [comment(1, video_id=make_id(-20 * 86_400), asked_video_id=None)], 1),
    ("comments", "rows_match_request", [comment(1, asked_video_id=7), comment(2, asked_comment_id=8)], 2),
    ("comments", "counts_are_plausible", [comment(1, reply_count=-1)], 1),
    ("comments", "no_duplicate_rows", [comment(1), comment(1)], 1),
    ("users", "counts_are_plausible", [USER | {"follower_count": -1}], 1),
    ("users", "rows_match_request", [USER | {"username": "otto"}], 1),
    ("users", "rows_match_partition", [USER | {"observed_at": OBSERVED_AT + timedelta(days=1)}], 1),
    ("liked_videos", "counts_are_plausible", [video(1, like_count=101, asked_username="beet")], 1),
    ("reposted_videos", "ids_match_timestamps", [video(1, id=make_id(100), asked_username="beet")], 1),
    ("pinned_videos", "rows_match_request", [video(1, asked_username="beet")], 1),
    ("followers", "rows_match_request", [{"asked_username": "beet", "username": "Beet"}], 1),
    ("playlists", "counts_are_plausible", [PLAYLIST | {"playlist_item_total": -1}], 1),
    ("playlists", "rows_match_request", [PLAYLIST | {"playlist_id": 8}], 1),
    ("playlists", "rows_match_partition", [PLAYLIST | {"observed_at": OBSERVED_AT + timedelta(days=1)}], 1),
    ("playlists", "no_duplicate_rows", [PLAYLIST, PLAYLIST], 1),
    ("following", "no_duplicate_rows", [{"asked_username": "beet", "username": "a"}] * 3, 1),
]


@pytest.mark.parametrize(("entity", "rule", "rows", "count"), INVALID_ROWS, ids=lambda value: str(value)[:40])
def test_invalid_row_fails_its_rule(tmp_path: Path, entity: str, rule: str, rows: list[Row], count: int) -> None:
    add_rows(tmp_path, entity, rows)
    assert failing_rules(tmp_path, entity) == {rule: count}


def test_video_in_a_second_partition_fails_and_in_a_second_capture_passes(tmp_path: Path) -> None:
    add_rows(tmp_path, "videos", [video(1)])
    add_rows(tmp_path, "videos", [video(1)], capture="b")
    assert not failing_rules(tmp_path, "videos")
    add_rows(tmp_path, "videos", [video(1, create_time=NOON + 86_400)], day=DAY + timedelta(days=1), capture="c")
    assert failing_rules(tmp_path, "videos") == {"videos_in_one_partition": 1}


def test_large_decrease_of_views_fails_and_small_one_passes(tmp_path: Path) -> None:
    for hour, views in enumerate((1000, 950, 940, 300, 400)):
        add_rows(
            tmp_path,
            "videos",
            [video(1, view_count=views, observed_at=OBSERVED_AT + timedelta(hours=hour))],
            capture=f"{hour}",
        )
    assert failing_rules(tmp_path, "videos") == {"views_do_not_decrease": 1}
    [(_, result)] = [results(tmp_path, "videos")["views_do_not_decrease"]]
    assert "| 300 | 940 |" in str(result.metadata["example rows"].value)


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
def test_rows_match_request_compares_rows_with_the_query(tmp_path: Path, changes: Row, wrong: str | None) -> None:
    add_rows(tmp_path, "videos", [video(1, **changes)])
    _, result = results(tmp_path, "videos", replace(FULL_STUDY, query=QUERY))["rows_match_request"]
    assert result.passed is (wrong is None)
    assert wrong is None or f"| {wrong} |" in str(result.metadata["example rows"].value)


@pytest.mark.parametrize("field", ["keyword", "view_count"])
def test_conditions_that_rows_do_not_show_make_no_rule(field: str) -> None:
    condition = {"operation": "EQ", "field_name": field, "field_values": ["1"]}
    one_of = {"or": (condition, {"operation": "EQ", "field_name": "username", "field_values": ["ute"]})}
    for query in ({"and": (condition,)}, {"not": (condition,)}, one_of):
        names = {rule.name for rule in rules(replace(FULL_STUDY, query=query), "videos")}
        assert "rows_match_request" not in names


def test_sample_has_the_length_that_the_ui_shows_inline() -> None:
    rows = [(1 << 62 | index, "a | b\nc", "x" * 100) for index in range(50)]
    sample = markdown_sample(("id", "reason_why", "long"), rows)
    assert len(sample) <= MAX_INLINE_CHARACTERS
    assert sample.splitlines()[0] == "| id | reason why | long |"
    assert sample.splitlines()[2].startswith(f"| {1 << 62} | a \\| b c | xxx")
    assert len(sample.splitlines()) > 8


def test_each_collected_asset_has_checks_and_two_kinds_block() -> None:
    specs = [spec for check in study_checks(FULL_STUDY) for spec in check.check_specs]
    checked = {spec.asset_key.path[-1] for spec in specs}
    assert checked == {*ENTITIES, "coverage"}
    assert {spec.name for spec in specs if spec.blocking} == {"ids_are_whole", "no_duplicate_rows"}
    assert all(spec.description for spec in specs)


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AssetHarness]:
    """A hostile world."""
    config = SandboxConfig(profile="hostile", videos_per_day=200)
    with run_in_thread(config) as sandbox:
        yield AssetHarness(sandbox, tmp_path_factory.mktemp("collected") / "data", NO_COMMENTS)


def test_checks_pass_on_collected_data(collected: AssetHarness) -> None:
    assert collected.run("videos", first="2026-02-01", last="2026-02-03").success
    result = collected.run("videos", first="2026-02-02")
    assert result.success
    evaluations = result.get_asset_check_evaluations()
    assert {one.check_name for one in evaluations} == {
        "study_is_unchanged",
        *(rule.name for rule in rules(NO_COMMENTS, "videos")),
    }
    assert all(one.passed for one in evaluations), [one.metadata for one in evaluations if not one.passed]
    without_rows = {"canaries_found", "no_rejected_rows", "study_is_unchanged"}
    assert all(one.metadata["rows checked"].value for one in evaluations if one.check_name not in without_rows)


def test_damaged_ids_fail_the_run_and_name_the_check(collected: AssetHarness) -> None:
    add_rows(collected.settings.raw, "videos", [{"id": None}])
    result = collected.run("videos", first="2026-02-01")
    assert not result.success
    assert "ids_are_whole" in failure_message(result)
    of_two_days = collected.run("videos", first="2026-02-01", last="2026-02-02")
    assert not of_two_days.success
    assert "ids_are_whole" in failure_message(of_two_days)
