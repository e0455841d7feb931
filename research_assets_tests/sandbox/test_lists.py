from datetime import UTC, date, datetime
from typing import Any

import pytest

from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.world.accounts import PANEL
from research_assets.sandbox.world.render import playlist_id
from research_assets.sandbox.world.videos import EPOCH, Video
from research_assets_tests.conftest import FakeClock
from research_assets_tests.sandbox.client import ANYTHING, SandboxClient, ids

LATER = datetime(2026, 11, 1, tzinfo=UTC)
DAY = date(2026, 2, 1).toordinal() - EPOCH


@pytest.fixture(scope="module")
def client() -> SandboxClient:
    return SandboxClient(SandboxConfig(research_cap=10**6), FakeClock(LATER))


def message(answer: Any, status: int = 400) -> str:
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == "invalid_params"
    return str(answer.json()["error"]["message"])


def commented_video(client: SandboxClient, low: int = 150, high: int = 900) -> Video:
    videos = (video for day in range(DAY, DAY + 20) for video in client.sandbox.world.social.day(day))
    return next(video for video in videos if low < video.comments < high)


# Comments


async def test_comment_list_equals_the_ground_truth(client: SandboxClient) -> None:
    video, ground_truth = commented_video(client), client.sandbox.ground_truth
    body = {"video_id": video.id, "max_count": 40}
    found = await client.listed("video/comment/list", "comments", body, "comments")
    assert tuple(ids(found)) == ground_truth.comments(video.id)
    assert all(comment["parent_comment_id"] == comment["video_id"] == video.id for comment in found)
    assert all(20 <= comment["create_time"] - (comment["id"] >> 32) <= 100 for comment in found)
    likes = [comment["like_count"] for comment in found]
    assert likes == sorted(likes, reverse=True)
    replies = 0
    for comment in found:
        if comment["reply_count"]:
            body = {"comment_id": comment["id"], "max_count": 100}
            answers = await client.listed("video/comment/list", "comments", body, "comments")
            assert tuple(ids(answers)) == ground_truth.replies(comment["id"])
            assert len(answers) == comment["reply_count"]
            assert {answer["parent_comment_id"] for answer in answers} == {comment["id"]}
            replies += len(answers)
    assert len(found) + replies == video.comments


async def test_comment_texts_are_masked_or_empty(client: SandboxClient) -> None:
    texts = [
        comment["text"]
        for low in (150, 200, 300, 400)
        for comment in await client.listed(
            "video/comment/list",
            "comments",
            {"video_id": commented_video(client, low).id, "max_count": 100},
            "comments",
        )
    ]
    assert "" in texts
    assert any("***" in text for text in texts)


async def test_comment_list_requires_exactly_one_id(client: SandboxClient) -> None:
    for body in ({}, {"video_id": 1, "comment_id": 2}, {"video_id": "x"}):
        message(await client.post("video/comment/list", body, "comments"))


async def test_comment_list_accepts_ids_as_text(client: SandboxClient) -> None:
    video = commented_video(client)
    body = {"video_id": str(video.id), "max_count": "100"}
    assert len((await client.post("video/comment/list", body, "comments")).json()["data"]["comments"]) == 100


@pytest.mark.parametrize(("empty_keys", "shapes"), [(True, 1), (False, 3)])
async def test_video_without_comments_may_lack_keys_if_configured(empty_keys: bool, shapes: int) -> None:
    client = SandboxClient(SandboxConfig(empty_keys=empty_keys), FakeClock(LATER))
    uncommented = next(video for video in client.sandbox.world.social.day(DAY) if not video.comments)
    for video_id in (uncommented.id, 123):
        seen = set()
        for _ in range(20):
            data = (await client.post("video/comment/list", {"video_id": video_id}, "comments")).json()["data"]
            assert data["has_more"] is False
            assert not data.get("comments")
            seen.add(frozenset(data))
        assert len(seen) == shapes
        assert frozenset({"comments", "cursor", "has_more"}) in seen


async def test_comment_limit_refuses_later_pages() -> None:
    client = SandboxClient(SandboxConfig(comment_limit=100), FakeClock(LATER))
    body: dict[str, Any] = {"video_id": commented_video(client).id, "max_count": 60}
    assert (await client.post("video/comment/list", body | {"cursor": 40}, "comments")).status_code == 200
    answer = await client.post("video/comment/list", body | {"cursor": 60}, "comments")
    assert message(answer) == "Invalid count or cursor"
    assert len(client.sandbox.ground_truth.comments(body["video_id"])) == 100


async def test_comment_list_refuses_closed_comments() -> None:
    client = SandboxClient(SandboxConfig(comments_closed=1.0), FakeClock(LATER))
    video = commented_video(client)
    answer = await client.post("video/comment/list", {"video_id": video.id}, "comments")
    assert message(answer) == "The comments of this video are not allowed to be disclosed"
    assert client.sandbox.ground_truth.comments(video.id) == ()


async def test_fixed_volume_video_has_comments() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=30, fixed_comments=12), FakeClock(LATER))
    video = (await client.videos(ANYTHING, "20260201", "20260201"))[0]
    assert video["comment_count"] == 12
    body = {"video_id": video["id"], "max_count": 100}
    found = await client.listed("video/comment/list", "comments", body, "comments")
    assert len(found) + sum(comment["reply_count"] for comment in found) == 12


# Profiles


async def test_profile_is_flat_and_has_no_username(client: SandboxClient) -> None:
    data = (await client.post("user/info", {"username": "sandbox_popular"}, "users")).json()["data"]
    assert data.keys() - {"bio_url"} == {
        "display_name", "bio_description", "avatar_url", "is_verified",
        "follower_count", "following_count", "likes_count", "video_count",
    }  # fmt: skip
    assert data["follower_count"] > 300


async def test_profile_error_states_the_reason(client: SandboxClient) -> None:
    post = client.post
    missing = await post("user/info", {"username": "sandbox_missing"}, "users")
    assert message(missing) == "`username: sandbox_missing` is invalid: cannot find the user"
    private = await post("user/info", {"username": "sandbox_private"}, "users")
    assert message(private) == "API cannot return this user's information"
    for body in ({}, {"username": ""}, {"username": 5}):
        message(await post("user/info", body, "users"))


async def test_refused_accounts_have_videos() -> None:
    client = SandboxClient(SandboxConfig(account_refused=0.5, research_cap=10**6), FakeClock(LATER))
    videos = await client.videos(ANYTHING, "20260201", "20260201")
    states = {client.sandbox.ground_truth.state(video["username"]) for video in videos}
    assert states == {"open", "refused"}


# Follow lists


@pytest.mark.parametrize(("entity", "key"), [("followers", "user_followers"), ("following", "user_following")])
@pytest.mark.parametrize("size", [7, 20, 100])
async def test_follow_list_equals_the_ground_truth_with_repeats_between_pages(
    client: SandboxClient, entity: str, key: str, size: int
) -> None:
    body = {"username": "sandbox_popular", "max_count": size}
    found = await client.listed(f"user/{entity}", key, body, None)
    names = [relation["username"] for relation in found]
    ground_truth = client.sandbox.ground_truth.user("sandbox_popular")[entity]
    assert list(dict.fromkeys(names)) == ground_truth
    assert len(ground_truth) < len(names) or len(ground_truth) <= size
    assert all(set(relation) == {"username", "display_name"} for relation in found)


async def test_following_list_of_several_pages_exists(client: SandboxClient) -> None:
    following = client.sandbox.ground_truth.user("sandbox_popular")["following"]
    assert 200 < len(following) < 400
    network, at = client.sandbox.ground_truth.network, LATER.timestamp()
    popular = client.sandbox.world.accounts[2]
    for followed_at, index in network.following(popular, at):
        account = client.sandbox.world.accounts[index]
        assert (followed_at, 2) in network.followers(account, at) or network.follower_count(account, at) > 5000
    for other in (account for account in client.sandbox.world.accounts.creators[:300] if account.followers < 5000):
        followers = network.followers(other, at)
        assert len({follower for _, follower in followers}) == len(followers) <= network.follower_count(other, at)
        assert followers == sorted(followers, key=lambda relation: -relation[0])


@pytest.mark.parametrize("present", [True, False])
async def test_account_without_followers_lacks_the_key_if_configured(present: bool) -> None:
    client = SandboxClient(SandboxConfig(empty_followers_key=present), FakeClock(LATER))
    accounts, at = client.sandbox.world.accounts, LATER.timestamp()
    follower = next(a for a in map(accounts.__getitem__, range(20_000, 20_100)) if a.following_public)
    assert client.sandbox.ground_truth.network.follower_count(follower, at) == 0
    body = (await client.post("user/followers", {"username": follower.username})).json()
    assert body["error"]["code"] == "ok"
    assert body["data"].get("user_followers") == ([] if present else None)
    assert ("user_followers" in body["data"]) is present
    following = (await client.post("user/following", {"username": follower.username})).json()["data"]
    assert following["user_following"]
    popular = (await client.post("user/followers", {"username": "sandbox_popular"})).json()["data"]
    assert popular["user_followers"]


async def test_favourites_count_is_accepted_only_for_reposts(client: SandboxClient) -> None:
    for endpoint, username in (("user/liked_videos", "sandbox_likes"), ("user/pinned_videos", "sandbox_beet")):
        message(await client.post(endpoint, {"username": username}, fields="id,favourites_count"))
    body = {"username": "sandbox_beet"}
    answer = await client.post("user/reposted_videos", body, fields="id,favourites_count,favorites_count")
    videos = answer.json()["data"]["reposted_videos"]
    assert videos
    assert all(set(video) == {"id", "favourites_count", "favorites_count"} for video in videos)
    assert all(video["favourites_count"] == video["favorites_count"] for video in videos)
    answer = await client.post("user/reposted_videos", body, "reposted_videos")
    assert all("favourites_count" not in video for video in answer.json()["data"]["reposted_videos"])


async def test_follower_list_ends_at_5000_accounts(client: SandboxClient) -> None:
    user = client.sandbox.ground_truth.user("sandbox_star")
    assert user["follower_count"] > 9000
    assert 4500 <= len(user["followers"]) <= 5000


async def test_follow_list_cursor_is_a_time(client: SandboxClient) -> None:
    body = {"username": "sandbox_popular", "max_count": 100}
    first = (await client.post("user/followers", body | {"cursor": 0})).json()
    assert 1_500_000_000 < first["data"]["cursor"] < LATER.timestamp()
    assert first["error"]["message"] == "ok"
    early = (await client.post("user/followers", body | {"cursor": 1_300_000_000})).json()["data"]
    assert (early["user_followers"], early["has_more"]) == ([], False)


async def test_private_following_list_is_refused(client: SandboxClient) -> None:
    assert "private" in message(await client.post("user/following", {"username": "sandbox_balkon"}))


# Videos of accounts


async def test_likes_are_refused_unless_public(client: SandboxClient) -> None:
    answer = await client.post("user/liked_videos", {"username": "sandbox_beet"}, "liked_videos")
    assert "is private" in message(answer)
    body = {"username": "sandbox_likes", "max_count": 50}
    found = await client.listed("user/liked_videos", "user_liked_videos", body, "liked_videos")
    ground_truth = client.sandbox.ground_truth.user("sandbox_likes")["liked_videos"]
    assert list(dict.fromkeys(ids(found))) == ground_truth
    assert len(ground_truth) > 100
    first = (await client.post("user/liked_videos", body, "liked_videos")).json()["data"]
    assert first["cursor"] > 10**12, "milliseconds, as in the documentation's example"
    assert all(not {"effect_ids", "playlist_id", "voice_to_text"} & set(video) for video in found)


async def test_likes_status_sets_the_refusal_status() -> None:
    client = SandboxClient(SandboxConfig(likes_status=403), FakeClock(LATER))
    answer = await client.post("user/liked_videos", {"username": "sandbox_beet"}, "liked_videos")
    message(answer, 403)


async def test_reposts_page_by_index_and_pins_have_one_page(client: SandboxClient) -> None:
    ground_truth = client.sandbox.ground_truth.user("sandbox_beet")
    body = {"username": "sandbox_beet", "max_count": 5}
    first = (await client.post("user/reposted_videos", body, "reposted_videos")).json()["data"]
    assert first["cursor"] == 5
    found = await client.listed("user/reposted_videos", "reposted_videos", body, "reposted_videos")
    assert ids(found) == ground_truth["reposted_videos"]
    pinned = (await client.post("user/pinned_videos", {"username": "sandbox_beet"}, "pinned_videos")).json()["data"]
    assert set(pinned) == {"pinned_videos_list"}
    assert ids(pinned["pinned_videos_list"]) == ground_truth["pinned_videos"]
    assert {video["username"] for video in pinned["pinned_videos_list"]} == {"sandbox_beet"}


async def test_panel_accounts_match_their_descriptions(client: SandboxClient) -> None:
    ground_truth = client.sandbox.ground_truth
    states = {name: ground_truth.state(name) for name in PANEL}
    assert states.pop("sandbox_private") == "private"
    assert states.pop("sandbox_missing") == "missing"
    assert set(states.values()) == {"open"}
    assert ground_truth.user("sandbox_beet")["following"]
    assert ground_truth.user("sandbox_beet")["pinned_videos"]


# Playlists


async def test_playlist_contains_the_video_that_names_it(client: SandboxClient) -> None:
    videos = await client.videos(ANYTHING, "20260201", "20260203")
    video = next(video for video in videos if "playlist_id" in video)
    data = (await client.post("playlist/info", {"playlist_id": video["playlist_id"]})).json()["data"]
    assert data["playlist_id"] == video["playlist_id"]
    assert video["id"] in data["playlist_video_ids"]
    assert data["playlist_item_total"] == len(data["playlist_video_ids"]) == data["cursor"]
    assert data["has_more"] is False
    for identity in (0, 12345, playlist_id(5, 2900, 3), "x"):
        message(await client.post("playlist/info", {"playlist_id": identity}))


async def test_correct_result_may_have_status_500() -> None:
    client = SandboxClient(SandboxConfig(playlist_500=True, users_500=1.0), FakeClock(LATER))
    videos = await client.videos(ANYTHING, "20260201", "20260203")
    identity = next(video["playlist_id"] for video in videos if "playlist_id" in video)
    for endpoint, body, entity in (
        ("playlist/info", {"playlist_id": identity}, None),
        ("user/info", {"username": "sandbox_beet"}, "users"),
        ("user/followers", {"username": "sandbox_beet"}, None),
    ):
        answer = await client.post(endpoint, body, entity)
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "ok"
        assert set(answer.json()["error"]) == {"code", "log_id"}
        assert answer.json()["data"]
