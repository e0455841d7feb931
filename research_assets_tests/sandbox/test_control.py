import re
from datetime import UTC, datetime

import orjson
import pytest

from research_assets.sandbox.config import SandboxConfig
from research_assets_tests.conftest import FakeClock
from research_assets_tests.sandbox.client import ANYTHING, GARDENING, SandboxClient, ids

LATER = datetime(2026, 11, 1, tzinfo=UTC)


async def test_state_contains_quota_requests_and_outcomes() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=120, research_cap=50), FakeClock(LATER))
    await client.videos(ANYTHING, "20260201", "20260201")
    await client.post("user/info", {"username": "sandbox_missing"}, "users")
    state = (await client.http.get("/sandbox/state")).json()
    assert state["pools"]["research"] == {"cap": 50, "used": 3, "refused": 0}
    assert state["requests"] == {"video/query": 2, "oauth/token": 1, "user/info": 1}
    assert state["outcomes"] == {"ok": 3, "invalid_params": 1}
    assert state["rows"] == 120
    assert state["latest"][0]["endpoint"] == "user/info"
    assert state["latest"][0]["status"] == 400


async def test_reset_discards_requests_and_tokens_and_keeps_the_world() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=20), FakeClock(LATER))
    before = await client.videos(ANYTHING, "20260201", "20260201")
    state = (await client.http.post("/sandbox/reset")).json()
    assert state["pools"]["research"]["used"] == 0
    assert state["requests"] == {}
    assert (await client.search(ANYTHING, "20260201", "20260201")).status_code == 401
    await client.log_in()
    assert await client.videos(ANYTHING, "20260201", "20260201") == before


async def test_clock_endpoint_sets_advances_and_stops_the_clock() -> None:
    inner = FakeClock(LATER)
    client = SandboxClient(SandboxConfig(start_time=datetime(2026, 3, 1, tzinfo=UTC)), inner)
    clock = client.sandbox.clock
    assert clock.now() == datetime(2026, 3, 1, tzinfo=UTC)
    inner.advance(seconds=5)
    assert clock.now() == datetime(2026, 3, 1, 0, 0, 5, tzinfo=UTC)
    answer = await client.http.post("/sandbox/clock", json={"now": "2026-05-01T00:00:00Z", "stopped": True})
    assert answer.json() == {"now": "2026-05-01T00:00:00+00:00", "stopped": True}
    inner.advance(seconds=5)
    assert clock.now() == datetime(2026, 5, 1, tzinfo=UTC)
    await client.http.post("/sandbox/clock", json={"advance": 60, "stopped": False})
    inner.advance(seconds=5)
    assert clock.now() == datetime(2026, 5, 1, 0, 1, 5, tzinfo=UTC)
    answer = await client.search(GARDENING, "20260201", "20260201")
    assert answer.headers["date"] == "Fri, 01 May 2026 00:01:05 GMT"


@pytest.mark.parametrize("body", [{"now": "tomorrow"}, {"advance": "much"}, {"now": 7}])
async def test_clock_endpoint_explains_an_invalid_body(body: dict[str, object]) -> None:
    client = SandboxClient(SandboxConfig(), FakeClock(LATER))
    answer = await client.http.post("/sandbox/clock", json=body)
    assert answer.status_code == 400
    assert "was not moved" in answer.json()["error"]
    assert client.sandbox.clock.now() == LATER


async def test_ground_truth_is_available_over_http() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=30, fixed_comments=4, undeliverable=0.1), FakeClock(LATER))
    get = client.http.get
    params = {"kind": "videos", "query": orjson.dumps(ANYTHING).decode(), "start_date": "2026-02-01"}
    ground_truth = (await get("/sandbox/ground-truth", params=params | {"end_date": "20260202"})).json()
    assert [len(day["raw"]) for day in ground_truth["days"].values()] == [30, 30]
    found = await client.videos(ANYTHING, "20260202", "20260202")
    assert ground_truth["days"]["2026-02-02"]["deliverable"] == ids(found)
    comments = (await get("/sandbox/ground-truth", params={"kind": "comments", "video_id": found[0]["id"]})).json()[
        "ids"
    ]
    assert comments
    replies = (await get("/sandbox/ground-truth", params={"kind": "replies", "comment_id": comments[0]})).json()
    assert isinstance(replies["ids"], list)
    user = (await get("/sandbox/ground-truth", params={"kind": "user", "username": "sandbox_private"})).json()
    assert user["state"] == "private"
    for wrong in (
        {},
        {"kind": "weather"},
        {"kind": "comments"},
        params | {"end_date": "soon"},
        params | {"query": "{}"},
    ):
        answer = await get("/sandbox/ground-truth", params=wrong)
        assert answer.status_code == 400
        assert "Ask one of" in answer.json()["error"]


async def test_withdraw_removes_a_user() -> None:
    client = SandboxClient(SandboxConfig(), FakeClock(LATER))
    await client.http.post("/sandbox/withdraw", json={"users": ["sandbox_star"]})
    assert client.sandbox.ground_truth.state("sandbox_star") == "missing"
    videos = await client.videos(GARDENING, "20260201", "20260207")
    assert "sandbox_star" not in {video["username"] for video in videos}


async def test_page_reads_only_keys_of_the_state() -> None:
    client = SandboxClient(SandboxConfig(), FakeClock(LATER))
    page = (await client.http.get("/")).text
    state = (await client.http.get("/sandbox/state")).json()
    assert set(re.findall(r"\bs\.(\w+)", page)) <= set(state)
    assert set(re.findall(r"\bp\.(\w+)", page)) <= set(state["pools"]["research"])


async def test_page_loads_no_external_resource() -> None:
    client = SandboxClient(SandboxConfig(), FakeClock(LATER))
    page = (await client.http.get("/")).text
    assert "simulated" in page
    assert "https://" not in page
    assert '<link rel="stylesheet"' not in page
    assert "src=" not in page
