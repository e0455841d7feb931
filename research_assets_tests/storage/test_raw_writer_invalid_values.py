"""Captures with responses that differ from the documentation: no row and no value is lost."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from research_assets.fields import ENTITIES
from research_assets.storage.raw_writer import write_capture
from research_assets.storage.replay import replay
from research_assets_tests.profiles import sized
from research_assets_tests.storage.capture_factory import ID, SECOND, make_answer, make_capture, make_video, read_rows


@pytest.mark.parametrize("typed", [True, False])
def test_aliases_are_written_to_the_same_column(tmp_path: Path, typed: bool) -> None:
    rows = [{"video_id": ID, "create_time": SECOND, "favourites_count": 5, "username": "x" if typed else "x\0"}]
    write_capture(tmp_path / "raw", make_capture(tmp_path, "videos", [make_answer("videos", rows)]))
    (row,) = read_rows(tmp_path, "videos")
    assert (row["id"], row["favorites_count"], row["username"]) == (ID, 5, "x")


def test_writer_removes_nul_characters_and_keeps_escaped_backslashes(tmp_path: Path) -> None:
    rows = [
        make_video(
            username="a\0b\0",
            video_description="C:\\u0000 \\\0",
            hashtag_names=["\0x"],
            hashtag_info_list=[{"hashtag_id": 1, "hashtag_name": "q\0q"}],
            video_label={"content": "\0y"},
        )
    ]
    write_capture(tmp_path / "raw", make_capture(tmp_path, "videos", [make_answer("videos", rows)]))
    (row,) = read_rows(tmp_path, "videos")
    assert (row["username"], row["video_description"], row["hashtag_names"]) == ("ab", "C:\\u0000 \\", ["x"])
    assert row["hashtag_info_list"] == [{"hashtag_id": 1, "hashtag_name": "qq", "hashtag_description": None}]
    assert json.loads(row["video_label"]) == {"content": "y"}
    assert row["unknown_fields"] is None


@pytest.mark.parametrize("name", ["new", 'we"ird name', "ID", "it's", "/path~"])
def test_writer_keeps_unknown_fields(tmp_path: Path, name: str) -> None:
    rows = [make_video(1, **{name: {"deep": [1, None]}}), make_video(2)]
    page = make_answer("videos", rows), {"unknown": [name, "data.next", "answer.extra"]}
    write_capture(tmp_path / "raw", make_capture(tmp_path, "videos", [page]))
    kept = sorted(read_rows(tmp_path, "videos"), key=lambda row: row["id"])
    assert json.loads(kept[0]["unknown_fields"]) == {name: {"deep": [1, None]}}
    assert kept[1]["unknown_fields"] is None


def test_writer_keeps_new_members_of_a_structure(tmp_path: Path) -> None:
    tags = [{"hashtag_id": 1, "hashtag_name": "x", "colour": "red"}]
    page = (
        make_answer("videos", [make_video(1, hashtag_info_list=tags), make_video(2)]),
        {"unknown": ["hashtag_info_list.colour"]},
    )
    write_capture(tmp_path / "raw", make_capture(tmp_path, "videos", [page]))
    kept = sorted(read_rows(tmp_path, "videos"), key=lambda row: row["id"])
    assert kept[0]["hashtag_info_list"] == [{"hashtag_id": 1, "hashtag_name": "x", "hashtag_description": None}]
    assert json.loads(kept[0]["unknown_fields"]) == {"hashtag_info_list": tags}
    assert kept[1]["unknown_fields"] is None


WRONG = {
    "like_count": "many",
    "view_count": 2**63,
    "hashtag_names": "one",
    "hashtag_info_list": {"hashtag_id": 1},
    "sticker_info_list": ["x"],
    "is_stem_verified": "perhaps",
    "video_duration": 3.5,
    "playlist_id": {"id": 5},
}


@pytest.mark.parametrize("name", [name for name in WRONG if name != "video_duration"])
def test_value_of_the_wrong_type_loses_neither_row_nor_value(tmp_path: Path, name: str) -> None:
    rows = [
        make_video(1, **{name: WRONG[name]}),
        make_video(2, like_count="12", video_duration=4.0),
        make_video(3, username=55),
    ]
    write_capture(tmp_path / "raw", make_capture(tmp_path, "videos", [make_answer("videos", rows)]))
    kept = sorted(read_rows(tmp_path, "videos"), key=lambda row: row["id"])
    assert kept[0][name] in (None, [{"sticker_id": None, "sticker_name": None}])
    assert json.loads(kept[0]["unknown_fields"]) == {name: WRONG[name]}
    assert (kept[1]["like_count"], kept[1]["video_duration"], kept[1]["unknown_fields"]) == (12, 4, None)
    assert kept[2]["username"] == "55"


def test_writer_keeps_rows_with_all_kinds_of_invalid_values(tmp_path: Path) -> None:
    rows: list[Any] = [make_video(1, **WRONG, extra=None, other="\0"), "no record", None, make_video(2)]
    rejected = [rejection(1, "not an object"), rejection(2, "not an object")]
    page = make_answer("videos", rows), {"unknown": ["extra", "other", "data.videos[]"], "rejected": rejected}
    write_capture(tmp_path / "raw", make_capture(tmp_path, "videos", [page]))
    kept = read_rows(tmp_path, "videos")
    assert len(kept) == 2
    unknown = sorted(row["unknown_fields"] or "" for row in kept)
    assert unknown[0] == ""
    assert sorted((row["position"], row["value"]) for row in read_rows(tmp_path, "rejected")) == [
        (1, '"no record"'),
        (2, "null"),
    ]
    (all_wrong,) = (json.loads(row["unknown_fields"]) for row in kept if row["id"] == (SECOND << 32) + 1)
    assert all_wrong == {**WRONG, "extra": None, "other": ""}


def rejection(position: int | None, reason: str, field: str | None = None, text: str | None = None) -> dict[str, Any]:
    return {"position": position, "field": field, "reason": reason, "text": text}


@pytest.mark.parametrize("typed", [True, False])
def test_rejected_elements_are_in_their_table_and_nowhere_else(tmp_path: Path, typed: bool) -> None:
    name = "x" if typed else "x\0"
    no_id = {"create_time": SECOND, "username": name, "view_count": 5}
    rows: list[Any] = [make_video(1, view_count=None), no_id, make_video(2, username=name)]
    rejected = [rejection(1, "no id"), rejection(0, "not JSON", "view_count", "NaN"), rejection(None, "x", "y", "z")]
    of_day = [one | {"partition": "2026-01-31"} for one in rejected]
    pages: list[Any] = [
        (make_answer("videos", rows), {"unit": "2026-01-31..2026-02-01", "rejected": of_day}),
        make_answer("videos", [make_video(3)]),
    ]
    sealed = make_capture(tmp_path, "videos", pages, units=[{"unit": "u", "state": "complete"}])
    write_capture(tmp_path / "raw", sealed)
    assert {row["id"] & 0xFF for row in read_rows(tmp_path, "videos")} == {1, 2, 3}
    found = {row["position"]: row for row in read_rows(tmp_path, "rejected")}
    assert json.loads(found[1]["value"]) == no_id | {"username": name}
    assert (found[0]["field"], found[0]["value"], found[None]["value"]) == ("view_count", '"NaN"', '"z"')
    assert {(row["entity"], row["partition"], row["unit"], row["study"]) for row in found.values()} == {
        ("videos", "2026-01-31", "2026-01-31", "s")
    }


@pytest.mark.parametrize("entity", ["comments", "followers", "users"])
def test_rejected_elements_keep_the_position_in_their_list(tmp_path: Path, entity: str) -> None:
    elements: list[Any] = (
        [["odd"]] if entity == "users" else [{"id": 5, "username": "a"}, ["odd"], {"id": 7, "username": "b"}]
    )
    bad = 0 if entity == "users" else 1
    facts: dict[str, Any] = {
        "unit": "u",
        "partition": "2026-02-01",
        "context": {"position": 40},
        "unknown": ["data.x[]"],
    }
    facts |= {"rows": len(elements) - 1, "rejected": [rejection(bad, "not an object")]}
    write_capture(tmp_path / "raw", make_capture(tmp_path, entity, [(make_answer(entity, elements), facts)]))
    (rejected,) = read_rows(tmp_path, "rejected")
    assert (rejected["unit"], rejected["partition"], rejected["position"]) == ("u", "2026-02-01", 40 + bad)
    assert json.loads(rejected["value"]) == ["odd"]
    if entity != "users":
        assert sorted(row["position"] for row in read_rows(tmp_path, entity)) == [40, 42]
    else:
        assert not list((tmp_path / "raw" / "users").glob("**/*.parquet"))


def test_replay_restores_the_rejected_elements(tmp_path: Path) -> None:
    page = make_answer("videos", [make_video(1), {}]), {"unit": "2026-02-01", "rejected": [rejection(1, "no id")]}
    sealed = make_capture(tmp_path, "videos", [page], units=[{"unit": "u", "state": "complete"}])
    write_capture(tmp_path / "raw", sealed)
    before = read_rows(tmp_path, "rejected")
    shutil.rmtree(tmp_path / "raw" / "rejected")
    replay(tmp_path / "captures", tmp_path / "raw")
    assert [row for row in read_rows(tmp_path, "rejected") if row["study"] == "s"] == before != []


def test_row_with_a_key_twice_loses_no_other_row(tmp_path: Path) -> None:
    body = make_answer("videos", [make_video(1), make_video(2)]).replace(b'"username":"beet"', b'"id":5,"username":"x"')
    write_capture(tmp_path / "raw", make_capture(tmp_path, "videos", [body]))
    assert len(read_rows(tmp_path, "videos")) == 2


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    | st.sampled_from(["12", "\0", "\\u0000", "true"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3).filter(str.isalnum), inner, max_size=2)
    ),
    max_leaves=4,
)
NAMES = st.sampled_from(
    [field.name for field in ENTITIES["videos"].fields if field.name != "id"] + ["new", "a.b", "Id", "/~"]
)


@sized(12, 1000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=4), min_size=1, max_size=4))
def test_each_row_is_written_once_for_any_field_values(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]
) -> None:
    root = tmp_path_factory.mktemp("any")
    rows = [{"id": (SECOND << 32) + number, **record} for number, record in enumerate(records)]
    unknown = sorted({name for row in rows for name in row} - ENTITIES["videos"].known)
    write_capture(root / "raw", make_capture(root, "videos", [(make_answer("videos", rows), {"unknown": unknown})]))
    found = {row["id"]: row for row in read_rows(root, "videos")}
    assert sorted(found) == [row["id"] for row in rows]
    for row in rows:
        kept = json.loads(found[row["id"]]["unknown_fields"] or "{}")
        for name, value in row.items():
            if value is not None:
                assert name in kept or found[row["id"]].get(name) is not None, (name, value)
