from datetime import UTC, datetime

import orjson
import pytest

from research_assets.sandbox.config import SandboxConfig
from research_assets_tests.conftest import FakeClock
from research_assets_tests.sandbox.client import ANYTHING, GARDENING, SandboxClient, ids

LATER = datetime(2026, 11, 1, tzinfo=UTC)


async def test_the_state_tells_quota_requests_and_answers() -> None:
    researcher = SandboxClient(SandboxConfig(fixed_volume=120, research_cap=50), FakeClock(LATER))
    await researcher.videos(ANYTHING, "20260201", "20260201")
    await researcher.post("user/info", {"username": "sandbox_missing"}, "users")
    state = (await researcher.http.get("/sandbox/state")).json()
    assert state["pools"]["research"] == {"cap": 50, "spent": 3, "refused": 0}
    assert state["requests"] == {"video/query": 2, "oauth/token": 1, "user/info": 1}
    assert state["outcomes"] == {"ok": 3, "invalid_params": 1}
    assert state["rows"] == 120
    assert state["latest"][0]["endpoint"] == "user/info"
    assert state["latest"][0]["status"] == 400


async def test_a_reset_forgets_requests_and_tokens_but_not_the_world() -> None:
    researcher = SandboxClient(SandboxConfig(fixed_volume=20), FakeClock(LATER))
    before = await researcher.videos(ANYTHING, "20260201", "20260201")
    state = (await researcher.http.post("/sandbox/reset")).json()
    assert state["pools"]["research"]["spent"] == 0
    assert state["requests"] == {}
    assert (await researcher.search(ANYTHING, "20260201", "20260201")).status_code == 401
    await researcher.log_in()
    assert await researcher.videos(ANYTHING, "20260201", "20260201") == before


async def test_the_clock_can_be_set_moved_and_stopped() -> None:
    inner = FakeClock(LATER)
    researcher = SandboxClient(SandboxConfig(start_time=datetime(2026, 3, 1, tzinfo=UTC)), inner)
    clock = researcher.sandbox.clock
    assert clock.now() == datetime(2026, 3, 1, tzinfo=UTC)
    inner.advance(seconds=5)
    assert clock.now() == datetime(2026, 3, 1, 0, 0, 5, tzinfo=UTC)
    answer = await researcher.http.post("/sandbox/clock", json={"now": "2026-05-01T00:00:00Z", "stopped": True})
    assert answer.json() == {"now": "2026-05-01T00:00:00+00:00", "stopped": True}
    inner.advance(seconds=5)
    assert clock.now() == datetime(2026, 5, 1, tzinfo=UTC)
    await researcher.http.post("/sandbox/clock", json={"advance": 60, "stopped": False})
    inner.advance(seconds=5)
    assert clock.now() == datetime(2026, 5, 1, 0, 1, 5, tzinfo=UTC)
    answer = await researcher.search(GARDENING, "20260201", "20260201")
    assert answer.headers["date"] == "Fri, 01 May 2026 00:01:05 GMT"


@pytest.mark.parametrize("wish", [{"now": "tomorrow"}, {"advance": "much"}, {"now": 7}])
async def test_a_wish_that_the_clock_cannot_follow_is_explained(wish: dict[str, object]) -> None:
    researcher = SandboxClient(SandboxConfig(), FakeClock(LATER))
    answer = await researcher.http.post("/sandbox/clock", json=wish)
    assert answer.status_code == 400
    assert "was not moved" in answer.json()["error"]
    assert researcher.sandbox.clock.now() == LATER


async def test_the_truth_can_be_asked_over_http() -> None:
    researcher = SandboxClient(SandboxConfig(fixed_volume=30, fixed_comments=4, undeliverable=0.1), FakeClock(LATER))
    get = researcher.http.get
    params = {"kind": "videos", "query": orjson.dumps(ANYTHING).decode(), "start_date": "2026-02-01"}
    truth = (await get("/sandbox/truth", params=params | {"end_date": "20260202"})).json()
    assert [len(day["raw"]) for day in truth["days"].values()] == [30, 30]
    found = await researcher.videos(ANYTHING, "20260202", "20260202")
    assert truth["days"]["2026-02-02"]["deliverable"] == ids(found)
    comments = (await get("/sandbox/truth", params={"kind": "comments", "video_id": found[0]["id"]})).json()["ids"]
    assert comments
    replies = (await get("/sandbox/truth", params={"kind": "replies", "comment_id": comments[0]})).json()
    assert isinstance(replies["ids"], list)
    user = (await get("/sandbox/truth", params={"kind": "user", "username": "sandbox_private"})).json()
    assert user["state"] == "private"
    for wrong in (
        {},
        {"kind": "weather"},
        {"kind": "comments"},
        params | {"end_date": "soon"},
        params | {"query": "{}"},
    ):
        answer = await get("/sandbox/truth", params=wrong)
        assert answer.status_code == 400
        assert "Ask one of" in answer.json()["error"]


async def test_a_user_can_be_removed() -> None:
    researcher = SandboxClient(SandboxConfig(), FakeClock(LATER))
    await researcher.http.post("/sandbox/withdraw", json={"users": ["sandbox_star"]})
    assert researcher.sandbox.truth.state("sandbox_star") == "missing"
    videos = await researcher.videos(GARDENING, "20260201", "20260207")
    assert "sandbox_star" not in {video["username"] for video in videos}


async def test_the_page_needs_nothing_from_elsewhere() -> None:
    researcher = SandboxClient(SandboxConfig(), FakeClock(LATER))
    page = (await researcher.http.get("/")).text
    assert "simulated" in page
    assert "https://" not in page
    assert '<link rel="stylesheet"' not in page
    assert "src=" not in page
