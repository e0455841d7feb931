from datetime import UTC, datetime

import httpx

from research_assets.sandbox.config import SandboxConfig
from research_assets_tests.conftest import FakeClock
from research_assets_tests.sandbox.client import ANYTHING, SandboxClient, ids

LATER = datetime(2026, 11, 1, tzinfo=UTC)


async def submit(researcher: SandboxClient, text: str, category: str = "video") -> httpx.Response:
    await researcher.log_in()
    return await researcher.http.post(
        "/v2/research/validation_task/create/",
        data={"category": category},
        files={"file_data": ("ids.txt", text.encode(), "text/plain")},
        headers={"Authorization": f"Bearer {researcher.token}"},
    )


async def valid(researcher: SandboxClient, asked: list[int], category: str = "video") -> list[int]:
    answer = await submit(researcher, "\n".join(str(i) for i in asked), category)
    assert answer.json()["error"]["http_status_code"] == 200
    task = {"task_id": answer.json()["data"]["task_id"]}
    state = (await researcher.post("validation_task_status/get", task)).json()["data"]["task_status"]
    assert state == "Processing"
    assert (await researcher.post("validation_task/download", task)).status_code == 400
    researcher.sandbox.clock.advance(2)
    assert (await researcher.post("validation_task_status/get", task)).json()["data"]["task_status"] == "Completed"
    download = await researcher.post("validation_task/download", task)
    assert download.headers["content-type"] == "text/plain"
    return [int(line) for line in download.text.splitlines()]


async def test_what_was_withdrawn_is_missing_from_the_file() -> None:
    researcher = SandboxClient(SandboxConfig(fixed_volume=40, fixed_comments=3), FakeClock(LATER))
    videos = ids(await researcher.videos(ANYTHING, "20260201", "20260201"))
    assert await valid(researcher, [*videos, 99]) == videos
    comments = list(researcher.sandbox.truth.comments(videos[0]))
    assert await valid(researcher, [*comments, 99], "comment") == comments
    gone = {"videos": videos[:2], "comments": []}
    await researcher.http.post("/sandbox/withdraw", json=gone)
    assert await valid(researcher, videos) == videos[2:]
    assert await valid(researcher, comments, "comment") == []
    assert ids(await researcher.videos(ANYTHING, "20260201", "20260201")) == videos[2:]


async def test_a_file_that_cannot_be_used_is_refused() -> None:
    researcher = SandboxClient(SandboxConfig(fixed_volume=1), FakeClock(LATER))
    for text, category in (("", "video"), ("abc", "video"), ("1", "user"), ("1\n" * 10_001, "video")):
        assert (await submit(researcher, text, category)).status_code == 400
    assert (await submit(researcher, "1\n" * 10_000)).status_code == 200
    assert (await researcher.post("validation_task/create", {"category": "video"})).status_code == 400
    assert (await researcher.post("validation_task_status/get", {"task_id": 5})).status_code == 400
