"""Each profile, collected by a persistent client that follows only the API reference."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from research_assets.sandbox.config import PROFILES, SandboxConfig
from research_assets_tests.conftest import FakeClock
from research_assets_tests.sandbox.client import ANYTHING, GARDENING, SandboxClient, ids

LATER = datetime(2026, 11, 1, tzinfo=UTC)


async def collect_week(client: SandboxClient, seen: dict[int, Any], outcomes: set[str]) -> bool:
    """Request the pages of a week once. Return whether all of them came from one search."""
    paging: dict[str, Any] = {}
    for _ in range(40):
        client.sandbox.clock.advance(4)
        answer = await client.search(GARDENING, "20260201", "20260207", **paging)
        try:
            body = answer.json()
        except ValueError:
            outcomes.add(f"undecodable {answer.status_code}")
            continue
        outcomes.add(body["error"]["code"])
        if answer.status_code == 401:
            await client.log_in()
        if answer.status_code != 200:
            continue
        data = body["data"]
        old = int(data.get("search_id", paging.get("search_id", 0))) >> 32 < LATER.timestamp() - 100 * 86400
        outcomes.add("foreign" if paging and old else "own")
        seen.update({video["id"]: video for video in data.get("videos", [])})
        if not data["has_more"]:
            return "search_id" in data and not old
        if old:
            return False
        if "cursor" not in data:
            outcomes.add("no cursor")
            continue
        paging = {"cursor": data["cursor"], "search_id": data["search_id"]}
    return False


@pytest.mark.parametrize("profile", PROFILES)
async def test_persistent_client_collects_everything_in_every_profile(profile: str) -> None:
    volume: dict[str, Any] = {"fixed_volume": 400} if profile == "dense" else {}
    client = SandboxClient(SandboxConfig(profile=profile, research_cap=10**6, **volume), FakeClock(LATER))
    while not client.token:
        answer = await client.http.post("/v2/oauth/token/", data={
            "client_key": "sandbox-key", "client_secret": "sandbox-secret", "grant_type": "client_credentials",
        })  # fmt: skip
        client.token = answer.json().get("access_token", "")
    days = client.sandbox.ground_truth.videos(GARDENING, date(2026, 2, 1), date(2026, 2, 7))
    ground_truth = {video_id for hits in days.values() for video_id in hits.deliverable}
    seen: dict[int, Any] = {}
    outcomes: set[str] = set()
    passes = 0
    while not await collect_week(client, seen, outcomes) or passes < 60:
        passes += 1
    assert set(seen) == ground_truth
    raw = sum(len(hits.raw) for hits in days.values())
    if profile == "clean":
        assert outcomes == {"ok", "own"}
        assert len(ground_truth) > raw * 0.97
    else:
        assert 0.5 * raw < len(ground_truth) < 0.85 * raw
        assert {"invalid_params", "internal_error"} <= outcomes
    if profile == "hostile":
        assert outcomes >= {"foreign", "no cursor", "undecodable 504", "undecodable 200"}
        texts = [video["video_description"] + video["username"] for video in seen.values()]
        assert any("\0" in text for text in texts)


async def test_dense_day_takes_40_of_60_requests_and_its_search_expires_overnight() -> None:
    quiet: dict[str, Any] = {"p_500": 0.0, "p_fresh_search_id": 0.0, "rate": 0.0}
    client = SandboxClient(SandboxConfig(profile="dense", **quiet), FakeClock(LATER))
    pages = [page async for page in client.pages(ANYTHING, "20260201", "20260201")]
    assert len(pages) == 40
    assert 3100 < sum(len(page["videos"]) for page in pages) < 3300
    assert client.sandbox.quota.pools["research"].day(LATER).used == 40
    paging: dict[str, Any] = {}
    for _ in range(20):
        data = (await client.search(ANYTHING, "20260202", "20260202", **paging)).json()["data"]
        paging = {"cursor": data["cursor"], "search_id": data["search_id"]}
    spent = await client.search(ANYTHING, "20260202", "20260202", **paging)
    assert spent.json()["error"]["code"] == "daily_quota_limit_exceeded"
    client.sandbox.clock.advance(86_400)
    await client.log_in()
    expired = await client.search(ANYTHING, "20260202", "20260202", **paging)
    assert expired.json()["error"]["message"] == f"Search Id {paging['search_id']} is invalid or expired"
    moved = await client.search(ANYTHING, "20260202", "20260202", cursor=paging["cursor"])
    assert moved.json()["data"]["cursor"] == paging["cursor"] + 100


async def test_texts_contain_the_recorded_irregularities() -> None:
    client = SandboxClient(SandboxConfig(), FakeClock(LATER))
    query = {"not": [{"operation": "EQ", "field_name": "video_id", "field_values": ["1"]}]}
    videos = await client.videos(query, "20260201", "20260203")
    captions = [video["video_description"] for video in videos]
    assert any(caption.endswith(" ") for caption in captions)
    assert any("##" in caption for caption in captions)
    assert any("\u0600" <= letter <= "\u06ff" for caption in captions for letter in caption)
    assert any(caption.count(f"#{video['hashtag_names'][0]}") > 1
               for video, caption in zip(videos, captions, strict=True) if video["hashtag_names"])  # fmt: skip
    tags = [tag for video in videos for tag in video["hashtag_names"]]
    assert "🌱" in tags
    assert any(tag != tag.lower() for tag in tags)
    assert any(video["hashtag_names"] == [] for video in videos)
    assert any("music_id" not in video for video in videos)
    assert any("voice_to_text" in video for video in videos)
    assert 0.005 < sum("playlist_id" in video for video in videos) / len(videos) < 0.05
    assert max(ids(videos)) > 2**53
    for video in videos:
        assert len({tag.lower() for tag in video["hashtag_names"]}) == len(video["hashtag_names"])
