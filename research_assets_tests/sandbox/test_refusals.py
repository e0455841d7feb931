"""All errors of the API in their recorded forms."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from research_assets.sandbox.config import SandboxConfig
from research_assets_tests.conftest import FakeClock
from research_assets_tests.sandbox.client import ANYTHING, FORM, SandboxClient, condition

LATER = datetime(2026, 11, 1, 5, 6, 7, tzinfo=UTC)
GOOD: dict[str, Any] = {"query": ANYTHING, "start_date": "20260201", "end_date": "20260202"}


def query(*conditions: Any, group: str = "and") -> dict[str, Any]:
    return {"query": {group: list(conditions)}}


BAD_SEARCHES: dict[str, dict[str, Any]] = {
    "no query": {"query": None},
    "no condition": {"query": {}},
    "only an empty group": {"query": {"and": []}},
    "unknown group": query(condition("keyword", "EQ", "a"), group="xor"),
    "unknown field": query(condition("colour", "EQ", "a")),
    "unknown operation": query(condition("keyword", "LIKE", "a")),
    "operation of another field": query(condition("username", "GT", "a")),
    "EQ with several values": query(condition("keyword", "EQ", "a", "b")),
    "GT with several values": query(condition("view_count", "GT", "1", "2")),
    "no value": query(condition("keyword", "EQ")),
    "an empty value": query(condition("keyword", "EQ", "")),
    "an integer for a text": query({"field_name": "keyword", "operation": "EQ", "field_values": [5]}),
    "a fraction": query({"field_name": "view_count", "operation": "GT", "field_values": [5.5]}),
    "a boolean for a number": query({"field_name": "view_count", "operation": "GT", "field_values": [True]}),
    "a negative number": query({"field_name": "view_count", "operation": "GT", "field_values": [-5]}),
    "a value alone": query({"field_name": "keyword", "operation": "EQ", "field_values": "a"}),
    "an unknown key": query(condition("keyword", "EQ", "a") | {"more": 1}),
    "bad region": query(condition("region_code", "EQ", "UK")),
    "bad length": query(condition("video_length", "EQ", "HUGE")),
    "bad number": query(condition("video_id", "EQ", "12x")),
    "bad create_date": query(condition("create_date", "EQ", "2026-02-01")),
    "no start": {"start_date": None},
    "start is no date": {"start_date": "20260230"},
    "end with dashes": {"end_date": "2026-02-02"},
    "end before start": {"end_date": "20260131"},
    "32 days": {"end_date": "20260304"},
    "max_count 101": {"max_count": 101},
    "max_count 0": {"max_count": 0},
    "max_count as text": {"max_count": "many"},
    "negative cursor": {"cursor": -1},
    "is_random as text": {"is_random": "yes"},
    "cursor beyond the end": {"cursor": 10_000},
    "unknown search id": {"search_id": "7711008963202392234"},
}


@pytest.fixture(scope="module")
def client() -> SandboxClient:
    return SandboxClient(SandboxConfig(fixed_volume=20), FakeClock(LATER))


def check_error(answer: httpx.Response, status: int, code: str, *, gateway: bool = False) -> None:
    assert answer.status_code == status
    body = answer.json()
    assert set(body) == ({"data", "error"} if gateway else {"error"})
    assert body.get("data", {}) == {}
    error = body["error"]
    assert set(error) == {"code", "message", "log_id"}
    assert error["code"] == code
    assert error["message"]
    assert len(error["log_id"]) == 34
    assert error["log_id"].startswith("20261101050607")


@pytest.mark.parametrize("name", BAD_SEARCHES)
async def test_invalid_search_is_refused_and_charged(client: SandboxClient, name: str) -> None:
    before = client.sandbox.quota.pools["research"].day(LATER).used
    check_error(await client.post("video/query", GOOD | BAD_SEARCHES[name], "videos"), 400, "invalid_params")
    assert client.sandbox.quota.pools["research"].day(LATER).used == before + 1


@pytest.mark.parametrize("accepted", [True, False])
async def test_integers_in_conditions_are_accepted_or_refused_as_configured(accepted: bool) -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=20, integer_values=accepted), FakeClock(LATER))
    video_id = (await client.videos(ANYTHING, "20260201", "20260202"))[3]["id"]
    body = GOOD | query({"field_name": "video_id", "operation": "IN", "field_values": [video_id, "7"]})
    answer = await client.post("video/query", body, "videos")
    if accepted:
        assert [video["id"] for video in answer.json()["data"]["videos"]] == [video_id]
    else:
        check_error(answer, 400, "invalid_params")


async def test_longest_window_has_31_days(client: SandboxClient) -> None:
    answer = await client.post("video/query", GOOD | {"end_date": "20260303"}, "videos")
    assert answer.status_code == 200


@pytest.mark.parametrize("fields", [{}, {"fields": ""}, {"fields": "id,colour"}, {"fields": "favourites_count"}])
async def test_fields_are_required_and_must_be_known(client: SandboxClient, fields: dict[str, str]) -> None:
    check_error(await client.post("video/query", GOOD, **fields), 400, "invalid_params")


async def test_page_contains_only_the_requested_fields(client: SandboxClient) -> None:
    answer = await client.post("video/query", GOOD, fields="id, create_time,username")
    assert all(set(video) == {"id", "create_time", "username"} for video in answer.json()["data"]["videos"])
    answer = await client.post("video/query", GOOD, fields="username")
    assert all(set(video) == {"username"} for video in answer.json()["data"]["videos"])


@pytest.mark.parametrize("body", [[], "text", None, 7])
async def test_body_that_is_not_an_object_is_refused(client: SandboxClient, body: Any) -> None:
    check_error(await client.post("video/query", body, "videos"), 400, "invalid_params")


async def test_empty_group_is_accepted_or_fails_as_configured() -> None:
    body = GOOD | {"query": ANYTHING | {"or": []}}
    for fails in (False, True):
        client = SandboxClient(SandboxConfig(fixed_volume=20, empty_group_500=fails), FakeClock(LATER))
        answer = await client.post("video/query", body, "videos")
        if fails:
            check_error(answer, 500, "internal_error")
        else:
            assert answer.status_code == 200


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer clt.wrong", "Basic abc"])
async def test_invalid_token_is_401_and_not_charged(token: str) -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=20), FakeClock(LATER))
    headers = {"Authorization": token} if token else {}
    answer = await client.http.post("/v2/research/video/query/", json=GOOD, headers=headers)
    check_error(answer, 401, "access_token_invalid", gateway=True)
    assert client.sandbox.quota.pools["research"].day(LATER).used == 0


async def test_token_expires_after_two_hours() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=20), FakeClock(LATER))
    assert (await client.post("video/query", GOOD, "videos")).status_code == 200
    client.sandbox.clock.advance(7199)
    assert (await client.post("video/query", GOOD, "videos")).status_code == 200
    client.sandbox.clock.advance(1)
    assert (await client.post("video/query", GOOD, "videos")).status_code == 401
    await client.log_in()
    assert (await client.post("video/query", GOOD, "videos")).status_code == 200


@pytest.mark.parametrize("alone", [False, True])
async def test_new_token_revokes_the_old_one_if_configured(alone: bool) -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=20, single_token=alone), FakeClock(LATER))
    await client.log_in()
    old = client.token
    await client.log_in()
    assert old != client.token
    client.token = old
    assert (await client.post("video/query", GOOD, "videos")).status_code == (401 if alone else 200)


async def test_token_answers_are_flat() -> None:
    client = SandboxClient(SandboxConfig(), FakeClock(LATER))
    good = (await client.http.post("/v2/oauth/token/", data=FORM)).json()
    assert set(good) == {"access_token", "expires_in", "token_type"}
    assert good["access_token"].startswith("clt.")
    assert good["expires_in"] == 7200
    wrong = {
        "invalid_client": FORM | {"client_secret": "no"},
        "unsupported_grant_type": FORM | {"grant_type": "password"},
        "invalid_request": {"client_key": "sandbox-key"},
    }
    for error, form in wrong.items():
        answer = await client.http.post("/v2/oauth/token/", data=form)
        assert answer.status_code == 401
        assert set(answer.json()) == {"error", "error_description", "log_id"}
        assert answer.json()["error"] == error
        assert "no" not in answer.json()["error_description"].split()


async def test_token_failures_have_the_configured_status_or_occur_at_random() -> None:
    config = SandboxConfig(token_error_status=200, p_token_failure=0.5)
    client = SandboxClient(config, FakeClock(LATER))
    answers = [await client.http.post("/v2/oauth/token/", data=FORM) for _ in range(20)]
    assert {answer.json().get("error") for answer in answers} == {None, "temporarily_unavailable"}
    bad = [await client.http.post("/v2/oauth/token/", data={}) for _ in range(20)]
    assert {answer.status_code for answer in bad} == {200, 503}


async def test_follow_lists_require_their_scope() -> None:
    client = SandboxClient(SandboxConfig(follow_scope=False), FakeClock(LATER))
    for endpoint in ("user/followers", "user/following"):
        answer = await client.post(endpoint, {"username": "sandbox_beet"})
        check_error(answer, 401, "scope_not_authorized", gateway=True)
    assert (await client.post("user/info", {"username": "sandbox_beet"}, "users")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/research/video/query"),
        ("POST", "/v2/research/tts/shop/"),
        ("GET", "/v2/research/video/query/"),
        ("POST", "/nothing"),
    ],
)
async def test_unknown_path_is_a_404_with_a_json_error(client: SandboxClient, method: str, path: str) -> None:
    answer = await client.http.request(method, path, json={})
    check_error(answer, 404, "unsupported_path", gateway=True)
    assert answer.headers["content-type"].startswith("application/json")


async def test_wrong_method_of_a_control_endpoint_is_a_405_with_a_json_error(client: SandboxClient) -> None:
    check_error(await client.http.get("/sandbox/reset"), 405, "unsupported_path", gateway=True)


async def test_success_has_an_envelope_without_nulls(client: SandboxClient) -> None:
    answer = await client.post("video/query", GOOD, "videos")
    assert answer.headers["date"] == "Sun, 01 Nov 2026 05:06:07 GMT"
    assert answer.headers["content-type"].startswith("application/json")
    assert b'": ' not in answer.content
    assert answer.json()["error"].keys() == {"code", "message", "log_id"}
    assert answer.json()["error"]["code"] == "ok"
    orders = {tuple(video) for video in answer.json()["data"]["videos"]}
    assert len(orders) > 10
    tops = {tuple((await client.post("video/query", GOOD, "videos")).json()) for _ in range(12)}
    assert len(tops) == 2
