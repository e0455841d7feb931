"""The three calls of batch compliance; a wrong result would delete data that may be kept."""

from typing import Any

import httpx
import pytest

from research_assets.tiktok.errors import ApiError, InvalidRequest, RateLimited, ServerError, TokenRejected
from research_assets_tests.conftest import FakeClock
from research_assets_tests.tiktok.scripted_api import ScriptedApi, body_of, make_error, make_response

TASK = "12345678910987654321"
"""The id in TikTok's documentation, which exceeds a signed 64-bit number."""
IDS = (7503867840092128259, 7503867840092128260)


async def test_client_uploads_ids_as_a_file_with_one_id_per_line(clock: FakeClock) -> None:
    api = ScriptedApi(make_response({"task_id": int(TASK)}))
    async with api.client(clock) as client:
        assert (await client.validate(IDS, "video")).value == TASK
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
        assert (await client.validate(IDS, "comment")).value == TASK


@pytest.mark.parametrize("number", ["7", "0", "007", "12345678910987654321", "9" * 30])
async def test_task_id_is_sent_as_it_was_returned(clock: FakeClock, number: str) -> None:
    written = f'"{number}"' if number == "007" else number
    created = httpx.Response(
        200, content=f'{{"data":{{"task_id" : {written}}},"error":{{"code":"ok","message":""}}}}'.encode()
    )
    api = ScriptedApi(created, make_response({"task_status": "Completed"}))
    async with api.client(clock) as client:
        created_id = (await client.validate(IDS, "video")).value
        assert (await client.validation_status(created_id)).value == "Completed"
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
        assert (await client.validation_status(TASK)).value == status
    assert api.sent[0].url.path == "/v2/research/validation_task_status/get/"
    assert body_of(api.sent[0]) == {"task_id": int(TASK)}


@pytest.mark.parametrize("data", [{}, {"task_status": ""}, {"task_status": 3}])
async def test_response_without_a_state_is_a_server_error(clock: FakeClock, data: Any) -> None:
    async with ScriptedApi(make_response(data)).client(clock) as client:
        with pytest.raises(ServerError, match="task_status"):
            await client.validation_status(TASK)


async def test_client_returns_the_result_file_as_it_is(clock: FakeClock) -> None:
    api = ScriptedApi(httpx.Response(200, text="7503867840092128259\n7503867840092128260\n"))
    async with api.client(clock) as client:
        assert (await client.validation_result(TASK)).value == b"7503867840092128259\n7503867840092128260\n"
    assert api.sent[0].url.path == "/v2/research/validation_task/download/"
    assert body_of(api.sent[0]) == {"task_id": int(TASK)}


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
