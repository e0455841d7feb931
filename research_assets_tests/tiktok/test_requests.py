"""Requests have the documented form; invalid arguments are rejected before they cost a request."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.fields import ENTITIES
from research_assets.tiktok.requests import (
    MAX_WINDOW_DAYS,
    comment_list,
    playlist_info,
    user_info,
    user_list,
    video_query,
)
from research_assets_tests.tiktok.scripted_api import EVERY_REQUEST, QUERY

DAY = date(2025, 5, 1)


def test_first_page_of_a_search_has_no_cursor_and_no_search_id() -> None:
    request = video_query(QUERY, DAY, date(2025, 5, 30))
    assert request.body == {
        "query": {"and": [{"operation": "EQ", "field_name": "hashtag_name", "field_values": ["gardening"]}]},
        "start_date": "20250501",
        "end_date": "20250530",
        "max_count": 100,
    }
    assert request.fields == ENTITIES["videos"].requested
    assert request.unit == "2025-05-01..2025-05-30"


def test_later_page_of_a_search_sends_cursor_and_search_id() -> None:
    body = video_query(QUERY, DAY, DAY, max_count=7, cursor=100, search_id="75", is_random=True).body
    assert {k: body[k] for k in ("max_count", "cursor", "search_id", "is_random")} == {
        "max_count": 7,
        "cursor": 100,
        "search_id": "75",
        "is_random": True,
    }


def test_cursor_zero_is_sent() -> None:
    assert video_query(QUERY, DAY, DAY, cursor=0).body["cursor"] == 0


def test_search_omits_empty_groups_that_make_the_api_fail() -> None:
    assert video_query({**QUERY, "or": (), "not": ()}, DAY, DAY).body["query"].keys() == {"and"}


@given(st.integers(0, MAX_WINDOW_DAYS - 1))
def test_search_accepts_windows_of_up_to_31_days(days: int) -> None:
    assert video_query(QUERY, DAY, DAY + timedelta(days=days)).body["start_date"] == "20250501"


@pytest.mark.parametrize("entity", ["liked_videos", "reposted_videos", "followers", "following"])
def test_list_request_has_username_count_and_cursor(entity: Any) -> None:
    request = user_list(entity, "@beet.und.balkon", cursor=1746990000, max_count=50)
    assert request.body == {"username": "beet.und.balkon", "max_count": 50, "cursor": 1746990000}
    assert request.fields == ENTITIES[entity].requested
    assert request.unit == "@beet.und.balkon from cursor 1746990000"


def test_follow_lists_take_no_fields() -> None:
    assert user_list("followers", "a").fields == ()


def test_pinned_videos_take_neither_count_nor_cursor() -> None:
    assert user_list("pinned_videos", "a").body == {"username": "a"}


def test_comment_list_takes_a_video_id_or_a_comment_id() -> None:
    assert comment_list(video_id=2**62 + 1).body == {"video_id": 2**62 + 1, "max_count": 100}
    assert comment_list(comment_id=2**62 + 1, cursor=3).body == {
        "comment_id": 2**62 + 1,
        "max_count": 100,
        "cursor": 3,
    }


def test_playlist_request_has_its_id_and_a_page() -> None:
    request = playlist_info(7301444403253757953, cursor=20)
    assert request.body == {"playlist_id": 7301444403253757953, "max_count": 100, "cursor": 20}
    assert request.fields == ("playlist_id",)


def test_request_accepts_a_subset_of_the_fields() -> None:
    assert user_info("a", fields=["bio_url", "bio_url", "display_name"]).fields == ("bio_url", "display_name")


@given(st.integers(1, 2**63 - 1))
def test_request_keeps_all_digits_of_an_id_as_number_or_text(number: int) -> None:
    as_text: Any = str(number)
    assert comment_list(video_id=number).body["video_id"] == number
    assert comment_list(video_id=as_text).body["video_id"] == number


def test_every_request_names_its_unit() -> None:
    assert all(request.unit for request in EVERY_REQUEST.values())


def wrong(value: object) -> Any:
    """Return a value of a type that mypy would reject."""
    return value


BAD: list[tuple[str, Callable[[], object]]] = [
    ("query", lambda: video_query({}, DAY, DAY)),
    ("query", lambda: video_query({"and": ()}, DAY, DAY)),
    ("end", lambda: video_query(QUERY, DAY, DAY - timedelta(days=1))),
    ("end", lambda: video_query(QUERY, DAY, DAY + timedelta(days=31))),
    ("max_count", lambda: video_query(QUERY, DAY, DAY, max_count=0)),
    ("max_count", lambda: video_query(QUERY, DAY, DAY, max_count=101)),
    ("cursor", lambda: video_query(QUERY, DAY, DAY, cursor=-1)),
    ("cursor", lambda: video_query(QUERY, DAY, DAY, cursor=True)),
    ("search_id", lambda: video_query(QUERY, DAY, DAY, search_id="")),
    ("search_id", lambda: video_query(QUERY, DAY, DAY, search_id=wrong(7))),
    ("fields", lambda: video_query(QUERY, DAY, DAY, fields=["favourites_count"])),
    ("fields", lambda: video_query(QUERY, DAY, DAY, fields=[])),
    ("fields", lambda: user_list("followers", "a", fields=["username"])),
    ("video_id, comment_id", lambda: comment_list()),
    ("video_id, comment_id", lambda: comment_list(video_id=1, comment_id=2)),
    ("video_id", lambda: comment_list(video_id=0)),
    ("video_id", lambda: comment_list(video_id=2**63)),
    ("comment_id", lambda: comment_list(comment_id=wrong("x"))),
    ("comment_id", lambda: comment_list(comment_id=wrong(1.0))),
    ("username", lambda: user_info("")),
    ("username", lambda: user_info(" @ ")),
    ("username", lambda: user_info("two words")),
    ("username", lambda: user_list("liked_videos", "a\x00b")),
    ("entity", lambda: user_list(wrong("videos"), "a")),
    ("cursor", lambda: user_list("pinned_videos", "a", cursor=1)),
    ("playlist_id", lambda: playlist_info(-5)),
    ("playlist_id", lambda: playlist_info(wrong("9" * 5000))),
]


@pytest.mark.parametrize(("argument", "build"), BAD)
def test_request_rejects_an_invalid_argument_by_name(argument: str, build: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=f"^{argument}[=:]"):
        build()
