"""The three calls of batch compliance; a wrong result would delete data that may be kept."""

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.tiktok import compliance
from research_assets.tiktok.errors import ApiError, InvalidRequest, RateLimited, ServerError, TokenRejected
from research_assets.tiktok.transport import HttpResponse
from research_assets_tests.conftest import FakeClock
from research_assets_tests.tiktok.scripted_api import ScriptedApi, body_of, make_error, make_response

TASK = "12345678910987654321"
"""The id in TikTok's documentation, which exceeds a signed 64-bit number."""
IDS = (7503867840092128259, 7503867840092128260)
DOWNLOAD = compliance.task_request("validation_download", TASK)


async def test_client_uploads_ids_as_a_file_with_one_id_per_line(clock: FakeClock) -> None:
    api = ScriptedApi(make_response({"task_id": int(TASK)}))
    async with api.client(clock) as client:
        assert await client.validate(IDS, "video") == TASK
    (call,) = api.sent
    assert call.url.path == "/v2/research/validation_task/create/"
    assert call.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert call.headers["authorization"].startswith("Bearer ")
    body = call.content.decode()
    assert 'name="category"\r\n\r\nvideo\r\n' in body
    assert 'name="file_data"; filename="ids.txt"' in body
    assert "\r\n\r\n7503867840092128259\n7503867840092128260\n\r\n" in body


async def test_client_accepts_a_task_id_as_text(clock: FakeClock) -> None:
    async with ScriptedApi(make_response({"task_id": TASK})).client(clock) as client:
        assert await client.validate(IDS, "comment") == TASK


@pytest.mark.parametrize("number", ["7", "0", "007", "12345678910987654321", "9" * 30])
async def test_task_id_is_sent_as_it_was_returned(clock: FakeClock, number: str) -> None:
    written = f'"{number}"' if number == "007" else number
    created = httpx.Response(
        200, content=f'{{"data":{{"task_id" : {written}}},"error":{{"code":"ok","message":""}}}}'.encode()
    )
    api = ScriptedApi(created, make_response({"task_status": "Completed"}))
    async with api.client(clock) as client:
        assert await client.validation_status(await client.validate(IDS, "video")) == "Completed"
    assert api.sent[1].content == f'{{"task_id":{written}}}'.encode()


@pytest.mark.parametrize("data", [{}, {"task_id": None}, {"task_id": 7.5}, {"task_id": -7}, {"task_id": "seven"}])
async def test_response_without_a_task_id_is_a_server_error(clock: FakeClock, data: dict[str, Any]) -> None:
    async with ScriptedApi(make_response(data)).client(clock) as client:
        with pytest.raises(ServerError, match="task_id"):
            await client.validate(IDS, "video")


@pytest.mark.parametrize(
    ("ids", "category", "argument"),
    [([], "video", "ids"), ([1] * 10_001, "video", "ids"), ([0], "video", "ids"), ([1], "user", "category")],
)
async def test_client_rejects_invalid_arguments_by_name(
    clock: FakeClock, ids: Any, category: Any, argument: str
) -> None:
    api = ScriptedApi(make_response({"task_id": TASK}))
    async with api.client(clock) as client:
        with pytest.raises(ValueError, match=f"^{argument}"):
            await client.validate(ids, category)
    assert not api.sent


@pytest.mark.parametrize(
    ("reported", "status"),
    [("Completed", "Completed"), ("PROCESSING", "Processing"), (" failed ", "Failed"), ("Queued", "Queued")],
)
async def test_client_returns_the_state_of_a_task(clock: FakeClock, reported: str, status: str) -> None:
    api = ScriptedApi(make_response({"task_status": reported}))
    async with api.client(clock) as client:
        assert await client.validation_status(TASK) == status
    assert api.sent[0].url.path == "/v2/research/validation_task_status/get/"
    assert body_of(api.sent[0]) == {"task_id": int(TASK)}


@pytest.mark.parametrize("data", [{}, {"task_status": ""}, {"task_status": 3}])
async def test_response_without_a_state_is_a_server_error(clock: FakeClock, data: Any) -> None:
    async with ScriptedApi(make_response(data)).client(clock) as client:
        with pytest.raises(ServerError, match="task_status"):
            await client.validation_status(TASK)


async def test_client_returns_the_ids_that_are_still_valid(clock: FakeClock) -> None:
    api = ScriptedApi(httpx.Response(200, text="7503867840092128259\n7503867840092128260\n"))
    async with api.client(clock) as client:
        assert await client.validation_result(TASK) == IDS
    assert api.sent[0].url.path == "/v2/research/validation_task/download/"
    assert body_of(api.sent[0]) == {"task_id": int(TASK)}


def read(body: bytes, status: int = 200) -> tuple[int, ...]:
    return compliance.valid_ids(DOWNLOAD, HttpResponse(status, body, "text/plain", None, None, None, 0.0))


@given(
    st.lists(st.integers(1, 2**63 - 1), max_size=30, unique=True),
    st.sampled_from(["\n", "\r\n", ",", ", ", ";", "\t", " ", "|", ",\n", '","']),
    st.sampled_from([("", ""), ("", "\n"), ("[", "]"), ('["', '"]'), ("\ufeff", "")]),
)
def test_result_file_may_use_any_separator(ids: list[int], separator: str, around: tuple[str, str]) -> None:
    body = f"{around[0]}{separator.join(map(str, ids))}{around[1]}".encode()
    assert read(body) == tuple(ids)


@pytest.mark.parametrize(
    "body",
    [
        "id\n{0}\n{1}\n",
        "\ufeffvideo_id\r\n{0}\r\n{1}\r\n",
        '"Comment_ID"\n"{0}"\n"{1}"\n',
        "[{0}, {1}]",
        '["{0}",\n "{1}"]',
        '[{{"id": {0}}}, {{"id": "{1}"}}]',
        '{{"video_ids": [{0}, {1}]}}',
        '{{"data": {{"task_id": 7, "valid": ["{0}", "{1}"]}}, "error": {{"code": "ok", "message": ""}}}}',
    ],
)
def test_result_file_may_be_json_or_a_csv_file_with_one_column(body: str) -> None:
    assert read(body.format(*IDS).encode()) == IDS


@pytest.mark.parametrize("body", ["", "\n", "id\n", "[]", '{"data": {"ids": []}, "error": {"code": "ok"}}'])
def test_result_file_may_be_empty(body: str) -> None:
    assert read(body.encode()) == ()


def test_repeated_ids_count_once() -> None:
    assert read(b"7\n8\n7\n") == (7, 8)


@pytest.mark.parametrize(
    "body",
    [
        b"<html><h1>504</h1></html>",
        b"7503867840092128259\nid unknown\n",
        b"7.5e18\n",
        b"-7\n",
        b'{"data":{"task_id":7},"error":{"code":"ok"}}',
        b'{"error":{"code":"internal_error"}}',
        b'{"1":2}',
        b'{"valid":[7],"invalid":[8]}',
        b'{"data":{"ids":[7]},"error":{"code":"internal_error"}}',
        b'[{"id":7,"status":"gone"}]',
        b"[7,8",
        b"[7,null]",
        b"[[7]]",
        b"id,status\n7,gone\n",
        b"id\n7,8\n",
        b"id\n7\nid\n",
        b"\xff\xfe7",
        "\u0663\n".encode(),
    ],
)
def test_other_responses_yield_no_ids(body: bytes) -> None:
    with pytest.raises(ServerError):
        read(body)


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (make_error(401, "access_token_invalid"), TokenRejected),
        (make_error(429, "rate_limit_exceeded"), RateLimited),
        (make_error(400, "invalid_params", "no such task"), InvalidRequest),
        (make_error(200, "invalid_params", "no such task"), InvalidRequest),
        (httpx.Response(500, text="7503867840092128259"), ServerError),
    ],
)
async def test_download_raises_the_error_of_the_response(
    clock: FakeClock, response: httpx.Response, kind: type[ApiError]
) -> None:
    async with ScriptedApi(response).client(clock) as client:
        with pytest.raises(kind) as caught:
            await client.validation_result(TASK)
    assert (caught.value.endpoint, caught.value.unit) == ("validation_download", f"task {TASK}")
