"""The ground truth for tests: the items that a perfect collector would receive at the current sandbox time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from research_assets.sandbox.query import parse
from research_assets.sandbox.world.comments import CommentThreads
from research_assets.sandbox.world.network import Network
from research_assets.sandbox.world.world import World


@dataclass(frozen=True, slots=True)
class DayHits:
    """The ids of a day's raw hits in descending order, and those of them that a page delivers."""

    raw: tuple[int, ...]
    deliverable: tuple[int, ...]


class GroundTruth:
    """Answers about the current state of a world. They cost no quota and meet no fault."""

    def __init__(self, world: World, threads: CommentThreads, network: Network) -> None:
        self._world = world
        self.threads = threads
        self.network = network

    def videos(self, query: Mapping[str, Any], start: date, end: date) -> dict[date, DayHits]:
        """Return the hits of a query by UTC day of publication; days without hits are included.

        `query` has the API's own form, and the window may have any length. Hits of dead and of empty days are included
        although the API does not return them. Raises ApiFailure for a query that the API would refuse.
        """
        at = self._world.now()
        hits: dict[date, DayHits] = {}
        for number in range(start.toordinal(), end.toordinal() + 1):
            day = date.fromordinal(number)
            text = day.strftime("%Y%m%d")
            checked = parse({"query": query, "start_date": text, "end_date": text}, self._world.config)
            raw = self._world.hits(checked, at, skip_empty_days=False)
            hits[day] = DayHits(tuple(raw), tuple(self._world.deliverable(raw, at)))
        return hits

    def comments(self, video_id: int) -> tuple[int, ...]:
        """Return the ids of a video's top-level comments that its list delivers, in its order and up to its limit."""
        at, video = self._world.now(), self._world.video(video_id)
        if video is None or self.threads.closed(video):
            return ()
        hits = self.threads.top_level(video, at)[: self._world.config.comment_limit or None]
        return tuple(comment.id for comment in hits if self.threads.delivers(video, comment, at))

    def replies(self, comment_id: int) -> tuple[int, ...]:
        """Return the ids of a comment's replies that the list delivers."""
        at, found = self._world.now(), self.threads.find(comment_id)
        if found is None or self.threads.closed(found[0]):
            return ()
        hits = self.threads.replies(*found, at)[: self._world.config.comment_limit or None]
        return tuple(reply.id for reply in hits if self.threads.delivers(found[0], reply, at))

    def state(self, username: str) -> str:
        """Return the state of an account: `open`, `private`, `refused` or `missing`."""
        account = self._world.account(username, self._world.now())
        return "missing" if account is None else account.state

    def user(self, username: str) -> dict[str, Any]:
        """Return the state of an account and all lists that the API returns for it; a refused list is null."""
        at = self._world.now()
        account = self._world.account(username, at)
        if account is None or account.state != "open":
            return {"username": username, "state": self.state(username)}
        network = self.network
        followers = [r for r in network.followers(account, at) if network.listed(r, at)]
        following = [r for r in network.following(account, at) if network.listed(r, at)]
        lists = {
            "liked_videos": [video for _, video in network.liked(account, at)] if account.likes_public else None,
            "reposted_videos": [video for _, video in network.reposted(account, at)],
            "pinned_videos": network.pinned(account, at),
        }
        return {
            "username": self._world.username(account),
            "state": account.state,
            "followers": [self._world.username(self._world.accounts[other]) for _, other in followers],
            "following": [self._world.username(self._world.accounts[other]) for _, other in following]
            if account.following_public
            else None,
            "follower_count": network.follower_count(account, at),
        } | {
            name: None if videos is None else [v.id for v in videos if self._world.delivers(v, at)]
            for name, videos in lists.items()
        }

    def now(self) -> datetime:
        """Return the sandbox time to which the answers apply, UTC."""
        return datetime.fromtimestamp(self._world.now(), UTC)
