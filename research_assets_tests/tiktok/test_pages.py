"""Pages are decoded as received, in each spelling that the documentation or the API uses."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.fields import ENTITIES
from research_assets.tiktok.endpoints import BY_ENTITY
from research_assets.tiktok.errors import ApiError, InvalidRequest, ServerError, UserNotFound
from research_assets.tiktok.jsonline import MAX_DEPTH, NOT_JSON, REPEATED_KEY, TOO_DEEP
from research_assets.tiktok.pages import NO_PLAYLIST_FIELD, NO_PROFILE_FIELD, NOT_AN_OBJECT, ResponsePage, decode_page
from research_assets.tiktok.requests import Request
from research_assets.tiktok.transport import HttpResponse
from research_assets_tests.tiktok.scripted_api import (
    COMMENTS,
    EVERY_REQUEST,
    LISTS,
    LOG_ID,
    PLAYLIST,
    PROFILE,
    REPLIES,
    SEARCH,
)

OK = {"code": "ok", "message": "", "log_id": LOG_ID}
VIDEO = {"id": 7503867840092128259, "create_time": 1747130400, "username": "beet.und.balkon"}


def http_response(body: Any, status: int = 200) -> HttpResponse:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return HttpResponse(status, content, "application/json", "Thu, 15 May 2025 09:06:40 GMT", None, None, 0.25)


def decode(request: Request, data: Any, status: int = 200, error: Any = OK) -> ResponsePage:
    return decode_page(request, http_response({"data": data, "error": error}, status))


def test_page_of_videos_has_rows_paging_and_metadata() -> None:
    page = decode(SEARCH, {"search_id": "7504596358308462638", "videos": [VIDEO], "cursor": 100, "has_more": True})
    assert page.rows == [VIDEO]
    assert (page.cursor, page.has_more, page.search_id) == (100, True, "7504596358308462638")
    assert (page.status, page.log_id, page.latency) == (200, LOG_ID, 0.25)
    assert page.date == "Thu, 15 May 2025 09:06:40 GMT"
    assert page.unknown == frozenset()
    assert page.request is SEARCH


@given(st.lists(st.integers(1, 2**63 - 1), max_size=20), st.sampled_from(["id", "video_id"]))
def test_rows_and_line_keep_every_bit_of_an_id(ids: list[int], key: str) -> None:
    page = decode(SEARCH, {"videos": [{key: number} for number in ids]})
    assert [row[key] for row in page.rows] == ids
    assert orjson.loads(page.raw)["data"]["videos"] == [{key: number} for number in ids]
    assert not page.unknown


@given(st.text(), st.text())
def test_rows_contain_no_nul_characters(name: str, inside: str) -> None:
    page = decode(SEARCH, {"videos": [{"id": 1, "username": name, "video_mention_list": [inside]}]})
    row = page.rows[0]
    assert (row["username"], row["video_mention_list"]) == (name.replace("\0", ""), [inside.replace("\0", "")])


@pytest.mark.parametrize("entity", [name for name, e in BY_ENTITY.items() if not e.flat])
def test_decoder_accepts_every_payload_key(entity: str) -> None:
    request = EVERY_REQUEST[BY_ENTITY[entity].name]
    for key in request.endpoint.payload_keys:
        row = {"id": 1, "username": "a"}
        page = decode(request, {key: [row], "has_more": False})
        assert (page.rows, page.has_more) == ([row], False)
        assert not {name for name in page.unknown if name.startswith("data.")}


def test_decoder_knows_all_documented_fields() -> None:
    for name, entity in ENTITIES.items():
        endpoint = BY_ENTITY[name]
        row: dict[str, Any] = dict.fromkeys(entity.known, 1)
        data = row if endpoint.flat else {endpoint.payload_keys[0]: [row]}
        assert decode(EVERY_REQUEST[endpoint.name], data).unknown == frozenset()


def test_profile_is_one_row() -> None:
    assert decode(PROFILE, {"display_name": "Beet", "bio_url": "x"}).rows == [{"display_name": "Beet", "bio_url": "x"}]


def test_playlist_is_one_row_without_its_paging_keys() -> None:
    page = decode(PLAYLIST, {"playlist_id": 1, "playlist_video_ids": [2**62], "cursor": 1, "has_more": True})
    assert (page.rows, page.cursor) == ([{"playlist_id": 1, "playlist_video_ids": [2**62]}], 1)
    assert not page.unknown
    page = decode(PLAYLIST, {"something": 1, "cursor": 1})
    assert (page.rows, page.rejected) == ([], ((0, None, NO_PLAYLIST_FIELD, None),))


@pytest.mark.parametrize(
    ("data", "cursor", "has_more", "search_id"),
    [
        ({}, None, False, None),
        ({"videos": None}, None, False, None),
        ({"videos": [], "has_more": True}, None, True, None),
        (
            {"videos": [], "cursor": "145", "has_more": "true", "search_id": 7504596358308462638},
            145,
            True,
            "7504596358308462638",
        ),
        ({"videos": [], "cursor": None, "has_more": 1, "search_id": ""}, None, True, None),
        ({"videos": [], "cursor": True, "has_more": 0, "search_id": None}, None, False, None),
        ({"videos": [], "cursor": "x", "has_more": "false", "search_id": 1.5}, None, False, None),
        ({"videos": [], "cursor": 0}, 0, False, None),
    ],
)
def test_decoder_reads_every_spelling_of_paging(
    data: Any, cursor: int | None, has_more: bool, search_id: str | None
) -> None:
    page = decode(SEARCH, data)
    assert (page.rows, page.cursor, page.has_more, page.search_id) == ([], cursor, has_more, search_id)


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"log_id":"L","message":"","code":"ok"},"data":{"has_more":false,"comments":[{"id":1}]}}',
        b'{"data":{"comments":[{"id":1}]},"error":{"code":"ok","msg":"","log_id":"L"}}',
        b'{"data":{"comments":[{"id":1}]},"error":{"code":"ok","message":"ok.","http_status_code":200}}',
        b'{"data":{"comments":[{"id":1}]},"error":{"code":"OK"}}',
        b'{"data":{"comments":[{"id":1}]},"error":{}}',
        b'{"data":{"comments":[{"id":1}]},"error":null}',
        b'{"data":{"comments":[{"id":1}]}}',
    ],
)
def test_decoder_accepts_every_spelling_of_success(body: bytes) -> None:
    assert decode_page(REPLIES, http_response(body)).rows == [{"id": 1}]


def test_success_without_data_is_an_empty_page() -> None:
    assert decode_page(COMMENTS, http_response({"error": OK})).rows == []


@pytest.mark.parametrize(
    ("error", "code", "message", "log_id"),
    [
        ({"code": "invalid_params", "message": "bad", "log_id": LOG_ID}, "invalid_params", "bad", LOG_ID),
        ({"code": "invalid_params", "msg": "bad"}, "invalid_params", "bad", None),
        ({"code": "invalid_params"}, "invalid_params", "", None),
        ("invalid_params", "invalid_params", "", None),
    ],
)
@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("more", [{}, {"data": {}}, {"data": None}])
def test_decoder_raises_for_every_spelling_of_an_error(
    error: Any, code: str, message: str, log_id: str, status: int, more: Any
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_page(SEARCH, http_response({"error": error} | more, status))
    assert (caught.value.code, caught.value.message, caught.value.log_id) == (code, message, log_id)
    assert caught.value.status == status
    assert caught.value.request is SEARCH
    assert orjson.loads(caught.value.raw or b"") == {"error": error} | more


@pytest.mark.parametrize("request_", [PROFILE, PLAYLIST, *LISTS.values()], ids=lambda r: r.endpoint.name)
@pytest.mark.parametrize("error", [OK, None, {"code": "internal_error", "message": ""}])
def test_decoder_reads_the_result_in_a_500(request_: Request, error: Any) -> None:
    row: Any = {"playlist_id": 1} if request_ is PLAYLIST else {"id": 1, "username": "a"}
    data = row if request_.endpoint.flat else {request_.endpoint.payload_keys[-1]: [row]}
    page = decode(request_, data | {"cursor": 1, "has_more": True}, 500, error)
    assert (page.status, page.rows, page.cursor) == (500, [row], 1)


@pytest.mark.parametrize(
    ("request_", "data", "error"),
    [
        (PLAYLIST, {}, OK),
        (PLAYLIST, {"cursor": 1, "has_more": True}, OK),
        (LISTS["followers"], {}, OK),
        (LISTS["followers"], {"user_followers": []}, {"code": "internal_error", "message": ""}),
        (LISTS["followers"], {"user_followers": [{"username": "a"}]}, {"code": "internal_error", "message": "Broken"}),
        (SEARCH, {"videos": [VIDEO]}, OK),
        (COMMENTS, {"comments": [{"id": 1}]}, OK),
    ],
)
def test_500_without_a_result_is_a_server_error(request_: Request, data: Any, error: Any) -> None:
    with pytest.raises(ServerError):
        decode(request_, data, 500, error)


def test_empty_list_in_a_500_with_code_ok_is_a_result() -> None:
    assert decode(LISTS["followers"], {"user_followers": []}, 500).rows == []


@pytest.mark.parametrize(
    "body", [b"", b"\n", b"<html>", b'{"data":', b"[]", b"7", b'"ok"', b"null", b"{}", b'{"log_id":"L"}']
)
@pytest.mark.parametrize("status", [200, 500, 504])
def test_body_without_data_and_error_is_a_server_error(body: bytes, status: int) -> None:
    with pytest.raises(ServerError) as caught:
        decode_page(SEARCH, http_response(body, status))
    assert (caught.value.raw, caught.value.status) == (body, status)


def test_payload_that_is_not_a_list_is_a_server_error() -> None:
    with pytest.raises(ServerError, match=r"data\.videos"):
        decode(SEARCH, {"videos": {"id": 1}})


@pytest.mark.parametrize("value", [True, 7, "text", [VIDEO], {"id": 1}])
def test_empty_key_in_data_is_no_list_of_records(value: Any) -> None:
    page = decode(SEARCH, {"": value})
    assert (page.rows, page.offered, page.unknown) == ([], 0, frozenset({"data."}))


def test_message_identifies_a_missing_user() -> None:
    message = "`username: X` is invalid: cannot find the user"
    with pytest.raises(UserNotFound, match="cannot find the user"):
        decode(PROFILE, {}, 400, {"code": "invalid_params", "message": message})


def test_page_lists_unknown_fields_at_every_level() -> None:
    body = {
        "data": {
            "videos": [
                VIDEO | {"new_count": 1, "hashtag_info_list": [{"hashtag_id": 1, "trend": 2}, "x"]},
                VIDEO
                | {"other": None, "effect_info_list": {"effect_photo_URI": "u", "glow": 1}, "sticker_info_list": 7},
                "not a record",
            ],
            "total": 5,
        },
        "error": OK,
        "extra": 1,
    }
    assert decode_page(SEARCH, http_response(body)).unknown == {
        *("new_count", "other", "hashtag_info_list.trend", "effect_info_list.glow"),
        *("data.total", "data.videos[]", "answer.extra"),
    }


def test_page_lists_unknown_fields_of_a_profile() -> None:
    assert decode(PROFILE, {"display_name": "a", "age": 5}).unknown == {"age"}


def test_unknown_field_of_a_record_does_not_pass_for_one_of_the_envelope() -> None:
    page = decode(SEARCH, {"videos": [VIDEO | {"data.x": 1, "answer.x": 2}], "x": 3})
    assert page.unknown == {"record.data.x", "record.answer.x", "data.x"}


KEYS = ["data", "error", "videos", "code", "message", "cursor", "has_more", "search_id", "id", "x"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=15,
)


@given(ANYTHING, st.sampled_from([SEARCH, PROFILE]), st.sampled_from([200, 400, 500]))
def test_any_json_is_a_page_or_an_api_error(value: Any, request_: Request, status: int) -> None:
    try:
        page = decode_page(request_, http_response(json.dumps(value).encode(), status))
    except ApiError:
        return
    assert all(isinstance(row, dict) for row in page.rows)


UNUSABLE: list[tuple[Any, str]] = [
    ("text", NOT_AN_OBJECT),
    (None, NOT_AN_OBJECT),
    ([VIDEO], NOT_AN_OBJECT),
    (7, NOT_AN_OBJECT),
    ({}, "no id"),
    ({"id": None, "create_time": 5}, "no id"),
    ({"video": VIDEO}, "no id"),
    ({"id": "soon"}, "an invalid id"),
    ({"id": 10**19}, "an invalid id"),
    ({"id": -1}, "an invalid id"),
    ({"id": 7503867840092128259.0}, "an invalid id"),
    ({"id": True}, "an invalid id"),
    ({"id": {"high": 1}}, "an invalid id"),
]


@pytest.mark.parametrize(("item", "reason"), UNUSABLE)
def test_decoder_rejects_an_unusable_element_and_keeps_the_others(item: Any, reason: str) -> None:
    page = decode(SEARCH, {"videos": [VIDEO, item, VIDEO | {"id": "5"}]})
    assert page.rows == [VIDEO, VIDEO | {"id": "5"}]
    assert page.rejected == ((1, None, reason, None),)
    assert page.offered == 3


@pytest.mark.parametrize("entity", [name for name, e in BY_ENTITY.items() if not e.flat])
def test_decoder_rejects_elements_without_the_key_of_the_entity(entity: str) -> None:
    key = ENTITIES[entity].key[-1]
    request = EVERY_REQUEST[BY_ENTITY[entity].name]
    page = decode(request, {request.endpoint.payload_keys[0]: [{key: 5}, {key: ""}, {"other": 1}, {key: {"a": 1}}]})
    assert page.rows == [{key: 5}]
    assert [(rejection.position, rejection.reason) for rejection in page.rejected] == [
        (1, f"no {key}"),
        (2, f"no {key}"),
        (3, f"an invalid {key}"),
    ]


@pytest.mark.parametrize("data", [{"user": {"display_name": "Beet"}}, {"users": []}, {"display_name": None}])
def test_decoder_rejects_a_profile_without_a_profile_field(data: Any) -> None:
    page = decode(PROFILE, data)
    assert page.rows == []
    assert page.rejected == ((0, None, NO_PROFILE_FIELD, None),)


def test_decoder_keeps_the_rows_of_a_page_with_nan() -> None:
    body = (
        b'{"data":{"videos":[{"id":7503867840092128259,"view_count":NaN},{"id":NaN},{"id":5,"username":"NaN",'
        b'"hashtag_info_list":[{"hashtag_id":-Infinity}]},Infinity],"cursor":100,"has_more":true},"error":{"code":"ok"}}'
    )
    page = decode_page(SEARCH, http_response(body))
    assert [(row["id"], row.get("username"), row.get("view_count")) for row in page.rows] == [
        (7503867840092128259, None, None),
        (5, "NaN", None),
    ]
    assert set(page.rejected) == {
        (0, "view_count", NOT_JSON, "NaN"),
        (1, None, "no id", None),
        (1, "id", NOT_JSON, "NaN"),
        (2, "hashtag_info_list.0.hashtag_id", NOT_JSON, "-Infinity"),
        (3, None, NOT_AN_OBJECT, None),
    }
    assert (page.offered, page.cursor, page.has_more) == (4, 100, True)
    assert orjson.loads(page.raw)["data"]["videos"][1] == {"id": None}


@pytest.mark.parametrize("data", [[VIDEO], "text", 7, [], "", False, 0, 0.0])
@pytest.mark.parametrize("request_", [SEARCH, PROFILE])
def test_decoder_raises_server_error_if_data_is_not_an_object(data: Any, request_: Request) -> None:
    with pytest.raises(ServerError, match="`data` is not an object"):
        decode(request_, data)


REPOSTS = EVERY_REQUEST["reposted_videos"]
AMBIGUOUS = {
    b'{"data":{"videos":[],"videos":[{"id":5}]},"error":{"code":"ok"}}': "the key `data.videos` is repeated",
    b'{"data":{"videos":[{"id":5}],"videos":null},"error":{"code":"ok"}}': "the key `data.videos` is repeated",
    b'{"data":{"videos":[NaN],"videos":[{"id":5}]},"error":{"code":"ok"}}': "the key `data.videos` is repeated",
    rb'{"data":{"videos":[],"\u0076ideos\u0000":[]},"error":{"code":"ok"}}': "the key `data.videos` is repeated",
    b'{"data":{"videos":[]},"data":{"videos":[]},"error":{"code":"ok"}}': "the key `data` is repeated",
    b'{"data":{"videos":[]},"error":{"code":"x"},"error":{"code":"ok"}}': "the key `error` is repeated",
    b'{"data":{"videos":[]},"error":{"code":"x","code":"ok"}}': "the key `error.code` is repeated",
    b'{"data":{"videos":[{"id":5}],"cursor":1,"cursor":2},"error":{"code":"ok"}}': "the key `data.cursor` is repeated",
}


@pytest.mark.parametrize("body", AMBIGUOUS)
def test_decoder_raises_server_error_for_a_repeated_key_outside_a_record(body: bytes) -> None:
    with pytest.raises(ServerError, match=AMBIGUOUS[body]):
        decode_page(SEARCH, http_response(body))


@pytest.mark.parametrize("second", [[], [VIDEO], [5], 5, {}, "x"])
def test_decoder_raises_server_error_for_two_lists_of_records(second: Any) -> None:
    with pytest.raises(ServerError, match="contains both `reposted_videos` and `user_reposted_videos`"):
        decode(REPOSTS, {"reposted_videos": [VIDEO], "user_reposted_videos": second})
    assert decode(REPOSTS, {"reposted_videos": None, "user_reposted_videos": [VIDEO]}).rows == [VIDEO]


@pytest.mark.parametrize("status", [200, 500])
def test_decoder_applies_the_same_rules_to_a_result_with_status_500(status: int) -> None:
    body = b'{"data":{"display_name":"a","cursor":1,"cursor":2},"error":{"code":"ok"}}'
    with pytest.raises(ServerError):
        decode_page(PROFILE, http_response(body, status))


def test_record_with_repeated_keys_has_the_last_value_and_the_others_are_rejected() -> None:
    body = (
        b'{"data":{"videos":[{"id":7,"id":8,"hashtag_info_list":[{"hashtag_id":1,"hashtag_id":2}]},{"id":5}]},'
        b'"error":{"code":"ok"}}'
    )
    page = decode_page(SEARCH, http_response(body))
    assert page.rows == [{"id": 8, "hashtag_info_list": [{"hashtag_id": 2}]}, {"id": 5}]
    assert page.rejected == (
        (0, "id", REPEATED_KEY, "7"),
        (0, "hashtag_info_list.0.hashtag_id", REPEATED_KEY, "1"),
    )
    assert orjson.loads(page.raw)["data"]["videos"] == page.rows
    profile = decode_page(PROFILE, http_response(b'{"data":{"display_name":"a","display_name":"b"}}'))
    assert (profile.rows, profile.rejected) == ([{"display_name": "b"}], ((0, "display_name", REPEATED_KEY, '"a"'),))


def test_record_with_a_value_that_is_nested_too_deep_keeps_its_other_values() -> None:
    deep = "[" * 2000 + "]" * 2000
    body = f'{{"data":{{"videos":[{{"id":7,"video_label":{deep}}},{deep}]}},"error":{{"code":"ok"}}}}'
    page = decode_page(SEARCH, http_response(body.encode()))
    assert [row["id"] for row in page.rows] == [7]
    label, element, whole = sorted(page.rejected, key=lambda one: (one.position, one.field is None))
    assert (label.position, (label.field or "")[:15], label.reason) == (0, "video_label.0.0", TOO_DEEP)
    assert (element.position, element.reason, whole) == (1, TOO_DEEP, (1, None, NOT_AN_OBJECT, None))
    assert len(str(label.text)) == 2 * (2000 + 4 - MAX_DEPTH)


@pytest.mark.parametrize("cursor", [2**63, -1e300, 1e300, "9" * 300, "9" * 5000, [5], True, "x"])
def test_decoder_reads_no_cursor_from_a_value_beyond_64_bits(cursor: Any) -> None:
    assert decode(SEARCH, {"videos": [VIDEO], "cursor": cursor}).cursor is None


@pytest.mark.parametrize(
    ("has_more", "expected"),
    [(1.0, True), ("True ", True), ("false", False), (0, False), (None, True), ("yes", True), ({"a": 1}, True)],
)
def test_decoder_does_not_end_a_list_because_of_the_type_of_has_more(has_more: Any, expected: bool) -> None:
    page = decode(SEARCH, {"videos": [VIDEO], "cursor": 100.0, "has_more": has_more, "search_id": True})
    assert (page.has_more, page.cursor, page.search_id) == (expected, 100, None)
    assert decode(SEARCH, {"videos": [], "has_more": "yes"}).has_more is False


@pytest.mark.parametrize(
    ("request_", "data", "expected"),
    [
        (SEARCH, {"videos": [VIDEO], "cursor": 100}, True),
        (SEARCH, {"videos": [VIDEO], "cursor": 99}, False),
        (SEARCH, {"videos": [VIDEO] * 100}, True),
        (LISTS["followers"], {"user_followers": [{"username": "b"}], "cursor": 1_700_000_000}, False),
        (LISTS["followers"], {"user_followers": [{"username": "b"}] * 100}, True),
        (PLAYLIST, {"playlist_id": 1, "playlist_video_ids": [2**62] * 100}, True),
        (PROFILE, {"display_name": "A"}, False),
    ],
)
def test_full_page_without_has_more_does_not_end_a_list(request_: Request, data: Any, expected: bool) -> None:
    assert decode(request_, data).has_more is expected


@pytest.mark.parametrize("error", [{"message": "Something is wrong."}, {"code": "", "msg": "Something is wrong."}])
def test_error_without_a_code_is_no_success(error: Any) -> None:
    with pytest.raises(ServerError, match="Something is wrong"):
        decode(COMMENTS, {}, error=error)
    with pytest.raises(ServerError):
        decode_page(COMMENTS, http_response({"message": "Something is wrong."}))
