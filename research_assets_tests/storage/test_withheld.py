"""Removal of withdrawn items from events: what goes is null, and everything else keeps its bytes."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.storage.withdrawals import Withdrawn, hash_handle
from research_assets.storage.withheld import Cleaner, is_withdrawn_unit, withhold

KEY = b"k" * 32
FIRST = 7602014558564353972
OTHER = FIRST + 1
IDS = tuple(FIRST + number for number in range(8))


def withdrawn(*handles: str, videos: Sequence[int] = (), comments: Sequence[int] = ()) -> Withdrawn:
    hashes = frozenset(hash_handle(KEY, handle) for handle in handles)
    return Withdrawn(frozenset(videos), frozenset(comments), hashes, KEY)


def answer_of(key: str, records: Sequence[Any]) -> bytes:
    return orjson.dumps({"data": {"cursor": 3, key: records, "has_more": False}, "error": {"code": "ok"}})


def test_removed_record_is_null_and_the_others_keep_their_bytes() -> None:
    text = b'{"data": { "videos":[ {"id":%d,"x":1.50} ,{"id":%d, "music_id":9999999999999999999999}],"cursor":2 } }' % (
        FIRST,
        OTHER,
    )
    event = {"event": "page", "rows": 2, "kept": {"2026-02-01": 2}, "lowest_id": FIRST, "rejected": []}
    facts, answer = withhold("videos", event, text, withdrawn(videos=[FIRST]))
    assert answer == text.replace(b'{"id":%d,"x":1.50}' % FIRST, b"null")
    assert facts["rows"] == 1
    assert facts["lowest_id"] >> 32 == FIRST >> 32
    assert facts["lowest_id"] > OTHER
    assert withhold("videos", event, text, withdrawn(videos=[5]))[1] is text
    assert withhold("videos", event, text, withdrawn(videos=[5]))[0] is event


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("with @Anna.K.", "with [withdrawn]."),
        ("@anna.k2 stays", "@anna.k2 stays"),
        ("see tiktok.com/@anna.k/video/1", "see tiktok.com/[withdrawn]/video/1"),
        ("anna.k in prose stays", "anna.k in prose stays"),
        (f"video {FIRST}!", "video [withdrawn]!"),
    ],
)
def test_mentions_and_ids_leave_the_texts_of_others(text: str, expected: str) -> None:
    records = [{"id": OTHER, "video_description": text, "video_mention_list": ["Anna.K", "bob"]}]
    _, answer = withhold("videos", {"event": "page"}, answer_of("videos", records), withdrawn("anna.k", videos=[FIRST]))
    assert answer is not None
    (record,) = orjson.loads(answer)["data"]["videos"]
    assert record == {"id": OTHER, "video_description": expected, "video_mention_list": ["bob"]}


def test_replies_and_comments_of_a_video_go_with_it() -> None:
    records = [
        {"id": 1, "video_id": FIRST, "text": "of the video"},
        {"id": IDS[5], "video_id": OTHER, "text": "withdrawn"},
        {"id": 3, "video_id": OTHER, "parent_comment_id": IDS[5], "text": "its reply"},
        {"id": 4, "video_id": str(OTHER), "text": "stays"},
    ]
    items = withdrawn(videos=[FIRST], comments=[IDS[5]])
    _, answer = withhold("comments", {"event": "page"}, answer_of("comments", records), items)
    assert answer is not None
    assert orjson.loads(answer)["data"]["comments"] == [None, None, None, records[3]]
    assert is_withdrawn_unit("comments", {"unit": str(FIRST)}, items)
    assert not is_withdrawn_unit("comments", {"unit": str(OTHER)}, items)


def test_account_leaves_batches_queries_and_messages() -> None:
    items = withdrawn("anna_k")
    event = {
        "event": "page",
        "unit": "2026-02-01 for anna_k and 2 more",
        "request": {"query": {"and": [{"field_name": "username", "field_values": ["anna_k", "bob"]}]}},
        "reason": "Without anna_k, bob: searches with such a name fail.",
    }
    facts, _ = withhold("videos", event, None, items)
    assert facts["unit"] == "2026-02-01 for [withdrawn] and 2 more"
    assert facts["request"]["query"]["and"][0]["field_values"] == ["bob"]
    assert facts["reason"] == "Without [withdrawn], bob: searches with such a name fail."
    unit = {"event": "unit", "unit_kind": "account", "unit": "anna_k,bob"}
    assert withhold("videos", unit, None, items)[0]["unit"] == "bob"
    assert not is_withdrawn_unit("videos", unit, items)
    assert is_withdrawn_unit("videos", unit | {"unit": "anna_k"}, items)


_TEXTS = st.text(st.sampled_from('ab @._"\\\u00e9\u2028,:[]{}'), max_size=12)
_RECORDS = st.lists(
    st.fixed_dictionaries({"id": st.sampled_from(IDS), "username": st.sampled_from(["anna", "bob", "a.b"])})
    | st.fixed_dictionaries({"id": st.sampled_from(IDS), "video_description": _TEXTS, "music_id": st.integers()})
    | st.none(),
    max_size=6,
)


@given(_RECORDS, st.sets(st.sampled_from(IDS)), st.sets(st.sampled_from(["anna", "bob", "a.b"])), st.booleans())
def test_any_answer_keeps_exactly_the_other_records(
    records: list[Any], ids: set[int], names: set[str], indent: bool
) -> None:
    import json

    body = {"data": {"has_more": False, "videos": records, "cursor": 1}}
    text = json.dumps(body, ensure_ascii=False, indent=1 if indent else None).encode()
    items = withdrawn(*names, videos=sorted(ids))
    _, answer = withhold("videos", {"event": "page"}, text, items)
    assert answer is not None
    cleaner = Cleaner(items)
    expected = [
        None if one is None or one["id"] in ids or one.get("username") in names else cleaner.value(one)
        for one in records
    ]
    assert json.loads(answer) == {"data": body["data"] | {"videos": expected}}
    assert withhold("videos", {"event": "page"}, answer, items)[1] == answer
