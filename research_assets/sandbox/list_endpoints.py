"""The endpoints of comments, profiles, account lists and playlists (reference §§3.2 to 3.9).

Not here: the video search (see search.py).
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeVar

import orjson

from research_assets.sandbox.api_call import ApiCall
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.faults import Faults
from research_assets.sandbox.responses import ApiResponse, ResponseBuilder, invalid
from research_assets.sandbox.world import text
from research_assets.sandbox.world.accounts import Account
from research_assets.sandbox.world.comments import Comment, CommentThreads
from research_assets.sandbox.world.network import Network, Relation
from research_assets.sandbox.world.randomness import hash_parts, hash_text, uniform
from research_assets.sandbox.world.render import VideoRenderer, as_user_video, shuffled_json
from research_assets.sandbox.world.time_effects import count_at_age
from research_assets.sandbox.world.videos import Video
from research_assets.sandbox.world.world import World

T = TypeVar("T")


class ListEndpoints:
    """The endpoints for one video, one comment, one account or one playlist."""

    def __init__(self, config: SandboxConfig, world: World, faults: Faults, responses: ResponseBuilder) -> None:
        self._config = config
        self._world = world
        self._faults = faults
        self._responses = responses
        self.threads = CommentThreads(world)
        self.network = Network(world)
        self._renderer = VideoRenderer(config, world.username)
        self._rng = Random(hash_parts(config.seed, 31))

    # Comments

    def comments(self, call: ApiCall) -> ApiResponse:
        """Return comments of a video, or replies to a comment."""
        video_id, comment_id = call.integer("video_id", 0), call.integer("comment_id", 0)
        if bool(video_id) == bool(comment_id):
            raise invalid("exactly one of video_id and comment_id is needed")
        size, cursor, limit = call.count(10), call.integer("cursor", 0), self._config.comment_limit
        if limit and cursor + size > limit:
            raise invalid("Invalid count or cursor")
        video, hits = self._comment_hits(video_id, comment_id, call.at)
        if not hits or video is None:
            return self._comment_page([], cursor, False, call)
        if cursor > len(hits):
            raise invalid("Invalid count or cursor")
        page = hits[cursor : cursor + size]
        found = [
            shuffled_json(self.threads.record(video, comment, call.fields, call.at), self._rng)
            for comment in page
            if self.threads.delivers(video, comment, call.at)
        ]
        after = cursor + len(page)
        return self._comment_page(found, after, after < len(hits), call)

    def _comment_hits(self, video_id: int, comment_id: int, at: float) -> tuple[Video | None, Sequence[Comment]]:
        if comment_id:
            found = self.threads.find(comment_id)
            if found is None:
                return None, []
            video, comment = found
            hits = self.threads.replies(video, comment, at)
        else:
            listed = self._world.video(video_id)
            if listed is None:
                return None, []
            video, hits = listed, self.threads.top_level(listed, at)
        if self.threads.closed(video):
            raise invalid("The comments of this video are not allowed to be disclosed")
        return (video, hits) if self._world.delivers(video, at) else (None, [])

    def _comment_page(self, found: list[bytes], after: int, has_more: bool, call: ApiCall) -> ApiResponse:
        data = {"has_more": b"true" if has_more else b"false", "cursor": b"%d" % after}
        data["comments"] = b"[%s]" % b",".join(found)
        if not found and not has_more and not self._config.empty_keys and self._rng.random() < 0.5:
            # The API may omit either key for a video without comments (reference §3.2).
            del data[self._rng.choice(("cursor", "comments"))]
        return ApiResponse(200, self._responses.success(data, call.now), rows=len(found))

    # Accounts

    def _account(self, call: ApiCall) -> Account:
        username = call.text("username")
        account = self._world.account(username, call.at)
        if account is None:
            raise invalid(f"`username: {username}` is invalid: cannot find the user")
        if account.state != "open":
            raise invalid("API cannot return this user's information")
        return account

    def _result(
        self, call: ApiCall, data: dict[str, bytes], rows: int, *, message: str = "ok", broken: bool = False
    ) -> ApiResponse:
        """Return a result. Some correct results have status 500 and no `message` (reference §3.9, §6.2, §13)."""
        if broken or self._faults.result_as_500():
            return ApiResponse(500, self._responses.success(data, call.now, message=None), "ok", rows)
        return ApiResponse(200, self._responses.success(data, call.now, message=message), "ok", rows)

    def user_info(self, call: ApiCall) -> ApiResponse:
        """Return a profile with its current counts."""
        account = self._account(call)
        record = {name: value for name, value in self.profile(account, call.at).items() if name in call.fields}
        data = {name: orjson.dumps(value) for name, value in record.items()}
        return self._result(call, data, 1, message="")

    def profile(self, account: Account, at: float) -> dict[str, Any]:
        """Return all profile fields of an account at `at` (Unix seconds)."""
        seed = hash_parts(self._config.seed, 33, account.index)
        rng = Random(seed)
        days = max(0.0, (at - account.joined) / 86400)
        expires = int(at // 86400 + 2) * 86400
        record = {
            "display_name": account.display_name,
            "bio_description": text.bio(rng, account.language),
            "avatar_url": f"https://avatars.invalid/{seed:016x}~c5_168x168.jpeg?x-expires={expires}&x-signature=sandbox",
            "is_verified": account.is_verified,
            "follower_count": self.network.follower_count(account, at),
            "following_count": len(self.network.following(account, at)),
            "likes_count": int(account.followers * 37 * uniform(seed, 1) * days / 1000)
            + count_at_age(5, at - account.joined),
            "video_count": int(days * account.weight * self._world.posting_rate) if account.weight else 0,
        }
        if uniform(seed, 2) < 0.2:
            record["bio_url"] = f"https://links.invalid/{account.username}"
        return record

    def _videos(self, call: ApiCall, name: str, videos: Sequence[Video], paging: dict[str, bytes]) -> ApiResponse:
        fields, at = call.fields, call.at
        found = [
            shuffled_json(as_user_video(self._renderer.record(video, fields, at)), self._rng)
            for video in videos
            if self._world.delivers(video, at)
        ]
        data = paging | {name: b"[%s]" % b",".join(found)}
        return self._result(call, data, len(found))

    def liked(self, call: ApiCall) -> ApiResponse:
        """Return liked videos; nearly all accounts refuse. The cursor is a time in milliseconds, as documented."""
        account = self._account(call)
        if not account.likes_public:
            refusal = invalid("This user's liked videos list is private")
            refusal.status = self._config.likes_status
            raise refusal
        cursor = call.integer("cursor", 0)
        cursor = cursor * 1000 if 0 < cursor < 10**11 else cursor
        picks = [(second * 1000, video) for second, video in self.network.liked(account, call.at)]
        page, after, has_more = _by_time(picks, cursor or int(call.at * 1000), call.count(20), lambda pick: pick[0])
        paging = {"cursor": b"%d" % after, "has_more": b"true" if has_more else b"false"}
        return self._videos(call, "user_liked_videos", [video for _, video in page], paging)

    def reposted(self, call: ApiCall) -> ApiResponse:
        """Return reposted videos, paged by index."""
        account, cursor, size = self._account(call), call.integer("cursor", 0), call.count(20)
        picks = self.network.reposted(account, call.at)
        page = picks[cursor : cursor + size]
        after = cursor + len(page)
        paging = {"cursor": b"%d" % after, "has_more": b"true" if after < len(picks) else b"false"}
        return self._videos(call, "reposted_videos", [video for _, video in page], paging)

    def pinned(self, call: ApiCall) -> ApiResponse:
        """Return all pinned videos on one page."""
        account = self._account(call)
        return self._videos(call, "pinned_videos_list", self.network.pinned(account, call.at), {})

    def followers(self, call: ApiCall) -> ApiResponse:
        """Return followers, newest first."""
        return self._relations(call, "user_followers", self.network.followers(self._account(call), call.at))

    def following(self, call: ApiCall) -> ApiResponse:
        """Return the accounts that the user follows, newest first."""
        account = self._account(call)
        if not account.following_public:
            raise invalid("The following list of this user is private")
        return self._relations(call, "user_following", self.network.following(account, call.at))

    def _relations(self, call: ApiCall, name: str, relations: Sequence[Relation]) -> ApiResponse:
        cursor = call.integer("cursor", 0) or int(call.at)
        page, after, has_more = _by_time(relations, cursor, call.count(20), lambda relation: relation[0])
        found = []
        for relation in page:
            if self.network.listed(relation, call.at):
                other = self._world.accounts[relation[1]]
                record = {"username": self._world.username(other), "display_name": other.display_name}
                found.append(shuffled_json(record, self._rng))
        data = {"cursor": b"%d" % after, "has_more": b"true" if has_more else b"false"}
        if relations or name != "user_followers" or self._config.empty_followers_key:
            data[name] = b"[%s]" % b",".join(found)
        return self._result(call, data, len(found))

    # Playlists

    def playlist(self, call: ApiCall) -> ApiResponse:
        """Return a playlist with all keys; `fields` has no effect."""
        identity, cursor, size = call.integer("playlist_id", 0), call.integer("cursor", 0), call.count(20)
        found = self.network.playlist(identity)
        if found is None:
            raise invalid(f"`playlist_id: {identity}` is invalid: cannot find the playlist")
        account, week, videos = found
        kept = [video for video in videos if self._world.delivers(video, call.at)]
        if not kept:
            raise invalid(f"`playlist_id: {identity}` is invalid: cannot find the playlist")
        page = kept[cursor : cursor + size]
        after = cursor + len(page)
        data: dict[str, Any] = {
            "playlist_id": identity,
            "playlist_name": text.playlist_name(Random(hash_text(account.username) + week)),
            "playlist_item_total": len(kept),
            "playlist_last_updated": max(video.create_time for video in kept),
            "playlist_video_ids": [video.id for video in page],
            "cursor": after,
            "has_more": after < len(kept),
        }
        encoded = {name: orjson.dumps(value) for name, value in data.items()}
        return self._result(call, encoded, 1, broken=self._config.playlist_500)


def _by_time(items: Sequence[T], cursor: int, size: int, time_of: Callable[[T], int]) -> tuple[list[T], int, bool]:
    """Return a page of items not later than the cursor, the next cursor, and whether more items follow.

    Items are sorted from newest to oldest. The next page begins at the time of this page's last item. Items with equal
    times are therefore repeated on two pages and never skipped. If all items of a page have the same time, the cursor
    is decremented; otherwise paging would not advance.
    """
    rest = [item for item in items if time_of(item) <= cursor]
    page = rest[:size]
    if len(page) == len(rest):
        return page, time_of(page[-1]) if page else cursor, False
    last = time_of(page[-1])
    return page, last if last < time_of(page[0]) else last - 1, True
