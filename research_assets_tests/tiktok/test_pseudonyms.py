"""Requests, responses and errors of a pseudonymous study name accounts only by pseudonyms."""

import copy
import json
import pickle
import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.fields import ENTITIES
from research_assets.storage.withdrawals import hash_handle
from research_assets.tiktok.endpoints import BY_ENTITY, ENDPOINTS
from research_assets.tiktok.envelope import require_success
from research_assets.tiktok.errors import ApiError, SearchIdRejected, UserNotFound
from research_assets.tiktok.jsonline import parse_json_line
from research_assets.tiktok.names import fold_handle, parse_handle
from research_assets.tiktok.pages import ResponsePage, decode_page
from research_assets.tiktok.pseudonyms import (
    DROPPED,
    PATTERN,
    REMOVED,
    TREATMENTS,
    Pseudonyms,
    UnknownPseudonym,
    is_pseudonym,
    require_handles,
)
from research_assets.tiktok.requests import Request, user_info, user_list, video_query
from research_assets.tiktok.transport import HttpResponse
from research_assets_tests.collect.harness import START

KEY = bytes(range(32))
PSEUDONYMS = Pseudonyms(KEY, ("anna.beet", "moos_freund"))
ANNA, MOOS = PSEUDONYMS.of("anna.beet"), PSEUDONYMS.of("moos_freund")

handles = st.from_regex(r"[a-z0-9_][a-z0-9_.]{0,22}[a-z0-9_]", fullmatch=True)


def response(body: bytes, status: int = 200, location: str | None = None) -> HttpResponse:
    return HttpResponse(status, body, "application/json", None, None, location, 0.1, pseudonyms=PSEUDONYMS)


def page_of(request: Request, **data: Any) -> ResponsePage:
    return decode_page(request, response(json.dumps({"data": data, "error": {"code": "ok", "message": ""}}).encode()))


def videos(*records: Any, **data: Any) -> ResponsePage:
    request = video_query({"and": ({"operation": "EQ", "field_name": "keyword", "field_values": ["x"]},)}, START, START)
    return page_of(request, videos=list(records), **data)


@given(handles, handles)
def test_pseudonym_is_stable_and_different_for_different_handles(one: str, other: str) -> None:
    assert re.fullmatch(PATTERN, PSEUDONYMS.of(one))
    assert is_pseudonym(PSEUDONYMS.of(one))
    assert Pseudonyms(KEY).of(one) == PSEUDONYMS.of(one) != Pseudonyms(bytes(32)).of(one)
    assert (PSEUDONYMS.of(one) == PSEUDONYMS.of(other)) == (one == other)
    # It may be in a study file or a condition of a query, but is longer than any handle of TikTok.
    assert parse_handle(PSEUDONYMS.of(one)) == PSEUDONYMS.of(one)
    assert len(PSEUDONYMS.of(one)) > 24


@given(st.one_of(handles, st.text(st.characters(categories=("L", "Nd")), min_size=1, max_size=24)))
def test_spellings_of_one_handle_have_one_pseudonym(handle: str) -> None:
    for spelling in (f"@{handle}", f" {handle} ", handle.upper(), handle.title(), f" @{handle}"):
        if fold_handle(spelling) == fold_handle(handle):
            assert PSEUDONYMS.of(spelling) == PSEUDONYMS.of(handle)
        assert (hash_handle(KEY, spelling) == hash_handle(KEY, handle)) == (
            PSEUDONYMS.of(spelling) == PSEUDONYMS.of(handle)
        )
    assert PSEUDONYMS.of(f"@{handle} ") == PSEUDONYMS.of(handle)
    assert fold_handle(fold_handle(handle)) == fold_handle(handle)


@given(handles)
def test_handle_of_a_study_file_and_of_a_response_have_one_pseudonym(handle: str) -> None:
    for written in (handle.upper(), f"@{handle}", f"https://www.tiktok.com/@{handle}?lang=de"):
        assert PSEUDONYMS.of(parse_handle(written)) == PSEUDONYMS.of(handle)


def test_no_two_of_many_handles_collide() -> None:
    assert len({PSEUDONYMS.of(f"account.{number}") for number in range(200_000)}) == 200_000


def test_key_and_handles_are_in_no_form_of_the_object() -> None:
    shown = repr(PSEUDONYMS) + str(PSEUDONYMS)
    assert "anna" not in shown
    assert KEY.hex() not in shown
    for serialize in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="contain their key"):
            serialize(PSEUDONYMS)


def test_every_field_has_a_treatment() -> None:
    fields = {field.name for entity in ENTITIES.values() for field in entity.fields}
    assert fields == TREATMENTS.keys()
    assert {"display_name", "bio_description", "bio_url", "avatar_url"} == DROPPED


def test_request_is_sent_with_handles() -> None:
    assert PSEUDONYMS.with_handles(user_info(ANNA)).body == {"username": "anna.beet"}
    query = {
        "and": ({"operation": "IN", "field_name": "username", "field_values": ["anna.beet", "moos_freund"]},),
        "not": ({"operation": "EQ", "field_name": "keyword", "field_values": ["anna.beet"]},),
    }
    request = video_query(PSEUDONYMS.query(query), START, START)
    assert request.body["query"]["and"][0]["field_values"] == [ANNA, MOOS]
    sent = PSEUDONYMS.with_handles(request)
    assert {name: list(group) for name, group in sent.body["query"].items()} == {
        name: [dict(one) for one in group] for name, group in query.items()
    }
    with pytest.raises(UnknownPseudonym, match="No request was sent"):
        PSEUDONYMS.with_handles(user_info(PSEUDONYMS.of("ben")))


def test_pseudonym_is_never_sent() -> None:
    """The API would say that there is no such account, and a check of deleted accounts would believe it."""
    require_handles(user_info("anna.beet"))
    require_handles(video_query(_ANY, START, START))
    for request in (user_info(ANNA), user_list("followers", ANNA), video_query(_OF_ANNA, START, START)):
        with pytest.raises(UnknownPseudonym, match="No request was sent"):
            require_handles(request)


def test_page_names_accounts_by_pseudonyms() -> None:
    record = {
        "id": 7300000000000000001,
        "username": "Anna.Beet",
        "video_description": "with @moos_freund and @Some.One, see https://x.org/anna or write to anna.beet",
        "video_mention_list": ["moos_freund", "Some One", 12],
        "hashtag_names": ["gardening", "anna.beet"],
        "hashtag_info_list": [{"hashtag_id": "1230000000000000456", "hashtag_name": "anna.beet"}],
        "view_count": 12345678901234567890123,
        "region_code": "DE",
        "create_time": None,
    }
    page = videos(record, cursor=100, has_more=True, search_id="7300000000000000009")
    [row] = page.rows
    assert row["username"] == ANNA
    some = PSEUDONYMS.of("Some.One")
    assert row["video_description"] == f"with @{MOOS} and @{some}, see [link] or write to {ANNA}"
    assert row["video_mention_list"] == [MOOS, PSEUDONYMS.of("Some One"), PSEUDONYMS.of("12")]
    assert row["hashtag_names"] == ["gardening", ANNA]
    assert row["hashtag_info_list"] == [{"hashtag_id": "1230000000000000456", "hashtag_name": ANNA}]
    assert (row["id"], row["region_code"], row["create_time"]) == (7300000000000000001, "DE", None)
    # Digits are kept that no double could hold.
    assert b'"view_count":12345678901234567890123' in page.raw
    assert (page.cursor, page.has_more, page.search_id) == (100, True, "7300000000000000009")
    assert b"anna.beet" not in page.raw.lower()


def test_names_and_texts_of_a_profile_are_not_stored() -> None:
    profile = {
        "display_name": "Anna Beet",
        "bio_description": "Anna",
        "avatar_url": "https://a/anna",
        "bio_url": "b.de",
    }
    [row] = page_of(user_info(ANNA), **profile, username="anna.beet", follower_count=7).rows
    assert row == dict.fromkeys(profile) | {"username": ANNA, "follower_count": 7}
    [row] = page_of(user_list("followers", ANNA), user_followers=[{"username": "ben", "display_name": "Ben B"}]).rows
    assert row == {"username": PSEUDONYMS.of("ben"), "display_name": None}


def test_undocumented_values_are_reported_but_not_stored() -> None:
    page = videos(
        {"id": 1, "author_name": "anna.beet", "anna.beet": 1, "hashtag_info_list": [{"owner": "x", "username": "Ben"}]},
        from_user="anna.beet",
    )
    assert page.rows[0]["author_name"] is None
    assert page.rows[0]["hashtag_info_list"] == [{"owner": "x", "username": PSEUDONYMS.of("Ben")}]
    assert page.unknown == {
        "author_name",
        ANNA,
        "data.from_user",
        "hashtag_info_list.owner",
        "hashtag_info_list.username",
    }
    assert b"anna" not in page.raw


@pytest.mark.parametrize("element", ["anna.beet", 7, ["anna.beet"], True])
def test_element_that_is_no_record_is_rejected_without_its_content(element: object) -> None:
    page = page_of(
        user_list("followers", ANNA), user_followers=[element, {"username": ["anna.beet"]}, {"username": 12}]
    )
    assert orjson.loads(page.raw)["data"]["user_followers"][0] == REMOVED
    assert [(one.position, one.reason) for one in page.rejected] == [(0, "not an object"), (1, "an invalid username")]
    assert [row["username"] for row in page.rows] == [PSEUDONYMS.of("12")]
    assert b"anna" not in page.raw


def test_value_that_is_no_json_is_rejected_without_its_text() -> None:
    body = b'{"data": {"user_followers": [{"username": "anna.beet", "username": "ben"}, {"username": NaN}]}}'
    page = decode_page(user_list("followers", ANNA), response(body))
    assert {one.text for one in page.rejected if one.field} == {REMOVED}
    assert len([one for one in page.rejected if one.field]) == 2


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("User anna.beet does not exist", f"User {ANNA} does not exist"),
        ("cannot find @Anna.Beet.", f"cannot find @{ANNA}."),
        ("cannot find @stranger", f"cannot find @{PSEUDONYMS.of('stranger')}"),
    ],
)
def test_error_names_accounts_by_pseudonyms(message: str, kept: str) -> None:
    body = orjson.dumps({"data": {}, "error": {"code": "invalid_params", "message": message, "log_id": "20260601ABC"}})
    with pytest.raises(ApiError) as raised:
        require_success(user_info(ANNA), response(body, 400))
    error = raised.value
    assert (error.message, error.log_id, error.raw) == (kept, "20260601ABC", None)
    assert "anna" not in f"{error!s}{error!r}".lower()


def test_type_of_an_error_follows_from_its_real_message() -> None:
    """A handle that is a word of a message must not change what the error means."""
    words = Pseudonyms(KEY, ("search", "user", "found", "exist", "id"))
    body = orjson.dumps({"error": {"code": "invalid_params", "message": "Search Id is invalid or expired"}})
    plain = HttpResponse(400, body, "", None, None, None, 0.1)
    for one in (plain, HttpResponse(400, body, "", None, None, None, 0.1, pseudonyms=words)):
        with pytest.raises(SearchIdRejected):
            require_success(video_query(_ANY, START, START, cursor=1, search_id="1"), one)


_OF_ANNA = {"or": ({"operation": "IN", "field_name": "username", "field_values": ["ben", ANNA]},)}
_ANY = {"and": ({"operation": "EQ", "field_name": "keyword", "field_values": ["x"]},)}


@pytest.mark.parametrize("body", [b"<html>anna.beet</html>", b'"anna.beet"', b"", b'["anna.beet"]'])
def test_error_without_an_object_has_nothing_of_the_body(body: bytes) -> None:
    with pytest.raises(ApiError) as raised:
        require_success(user_info(ANNA), response(body, 502, "https://www.tiktok.com/@anna.beet"))
    assert "anna" not in str(raised.value)
    assert ANNA in raised.value.message
    assert raised.value.raw is None


_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.sampled_from(["anna.beet", "x"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["id", "username", "text"]), inner)
    ),
    max_leaves=8,
)


@given(st.sampled_from(sorted(ENDPOINTS)), st.data())
def test_no_structure_of_an_answer_lets_a_listed_handle_through(name: str, data: st.DataObject) -> None:
    endpoint = ENDPOINTS[name]
    keys = ["error", "data", "anna.beet", *endpoint.payload_keys, *sorted(TREATMENTS)]
    records = st.lists(st.dictionaries(st.sampled_from(keys), _VALUES) | _VALUES, max_size=3)
    values = st.dictionaries(st.sampled_from(keys), records | _VALUES) | _VALUES
    body = data.draw(st.dictionaries(st.sampled_from(keys), values))
    line = parse_json_line(json.dumps(body).encode())
    clean = PSEUDONYMS.line(endpoint, line)
    # These texts are stored as delivered.
    if not any(name in line.line for name in (b"region_code", b"effect_ids", b"search_id", b"cursor")):
        assert b"anna.beet" not in clean.line
    assert orjson.loads(clean.line) == clean.value


def test_withdrawn_account_is_recognized_by_its_pseudonym() -> None:
    watching = PSEUDONYMS.watching(lambda handle: fold_handle(handle) == "ben")
    line = parse_json_line(b'{"data": {"user_followers": [{"username": "Ben"}, {"username": "anna.beet"}]}}')
    watching.line(BY_ENTITY["followers"], line)
    assert watching.withdrawn == {PSEUDONYMS.of("ben")}
    assert PSEUDONYMS.withdrawn == set()


def test_user_that_is_missing_stays_missing() -> None:
    body = orjson.dumps({"error": {"code": "invalid_params", "message": "cannot find the user: anna.beet"}})
    with pytest.raises(ApiError) as plain:
        require_success(user_info("anna.beet"), HttpResponse(400, body, "", None, None, None, 0.1))
    with pytest.raises(ApiError) as pseudonymous:
        require_success(user_info(ANNA), response(body, 400))
    assert type(plain.value) is type(pseudonymous.value) is UserNotFound
