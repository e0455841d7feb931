from datetime import UTC, datetime

import httpx

from research_assets.sandbox.config import SandboxConfig
from research_assets_tests.conftest import FakeClock
from research_assets_tests.sandbox.client import ANYTHING, SandboxClient, ids

LATER = datetime(2026, 11, 1, tzinfo=UTC)


async def submit(client: SandboxClient, text: str, category: str = "video") -> httpx.Response:
    await client.log_in()
    return await client.http.post(
        "/v2/research/validation_task/create/",
        data={"category": category},
        files={"file_data": ("ids.txt", text.encode(), "text/plain")},
        headers={"Authorization": f"Bearer {client.token}"},
    )


async def valid(client: SandboxClient, submitted: list[int], category: str = "video") -> list[int]:
    answer = await submit(client, "\n".join(str(i) for i in submitted), category)
    assert answer.json()["error"]["http_status_code"] == 200
    task = {"task_id": answer.json()["data"]["task_id"]}
    state = (await client.post("validation_task_status/get", task)).json()["data"]["task_status"]
    assert state == "Processing"
    assert (await client.post("validation_task/download", task)).status_code == 400
    client.sandbox.clock.advance(2)
    assert (await client.post("validation_task_status/get", task)).json()["data"]["task_status"] == "Completed"
    download = await client.post("validation_task/download", task)
    assert download.headers["content-type"] == "text/plain"
    return [int(line) for line in download.text.splitlines()]


async def test_download_omits_withdrawn_items() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=40, fixed_comments=3), FakeClock(LATER))
    videos = ids(await client.videos(ANYTHING, "20260201", "20260201"))
    assert await valid(client, [*videos, 99]) == videos
    comments = list(client.sandbox.ground_truth.comments(videos[0]))
    assert await valid(client, [*comments, 99], "comment") == comments
    withdrawn = {"videos": videos[:2], "comments": []}
    await client.http.post("/sandbox/withdraw", json=withdrawn)
    assert await valid(client, videos) == videos[2:]
    assert await valid(client, comments, "comment") == []
    assert ids(await client.videos(ANYTHING, "20260201", "20260201")) == videos[2:]


async def test_create_refuses_an_invalid_file() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=1), FakeClock(LATER))
    for text, category in (("", "video"), ("abc", "video"), ("1", "user"), ("1\n" * 10_001, "video")):
        assert (await submit(client, text, category)).status_code == 400
    assert (await submit(client, "1\n" * 10_000)).status_code == 200
    assert (await client.post("validation_task/create", {"category": "video"})).status_code == 400
    assert (await client.post("validation_task_status/get", {"task_id": 5})).status_code == 400
