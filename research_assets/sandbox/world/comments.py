"""Comment threads: the comments and replies of each video, their times, and those that the API lists.

Only the most recently generated threads stay in memory. A comment's id encodes its video and its number. The time of
the n-th comment follows from the growth of the video's count, so `comment_count` and the thread always agree.
"""

from collections import OrderedDict
from dataclasses import dataclass
from random import Random
from typing import Any

from research_assets.sandbox.world import text
from research_assets.sandbox.world.randomness import hash_parts, uniform
from research_assets.sandbox.world.time_effects import age_at_count, count_at_age, withdrawn_at
from research_assets.sandbox.world.videos import Video
from research_assets.sandbox.world.world import World

_MAX_THREADS = 4000
_REPLY_SHARE = 0.12


@dataclass(frozen=True, slots=True)
class Comment:
    """One comment. `parent` is the number of the comment that it replies to, None for a top-level comment."""

    id: int
    number: int
    create_time: int
    likes: int
    parent: int | None
    seed: int


class CommentThreads:
    """The comments of a world, by video."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seed = hash_parts(world.config.seed, 30)
        self._threads: OrderedDict[int, list[Comment]] = OrderedDict()

    def thread(self, video: Video) -> list[Comment]:
        """Return all comments that a video will ever have, by number, in the order of writing."""
        thread = self._threads.get(video.id)
        if thread is None:
            thread = self._threads[video.id] = self._make(video)
            if len(self._threads) > _MAX_THREADS:
                self._threads.popitem(last=False)
        return thread

    def closed(self, video: Video) -> bool:
        """Return whether the API refuses to disclose the comments of a video."""
        return uniform(self._seed, video.id, 1) < self._world.config.comments_closed

    def find(self, comment_id: int) -> tuple[Video, Comment] | None:
        """Return the comment with an id and its video; None if it never existed."""
        day, index, number = self._world.layout.comment_place(comment_id)
        video = self._world.video_at(day, index)
        if video is None or number >= min(video.comments, self._world.layout.comment_limit):
            return None
        comment = self.thread(video)[number]
        return (video, comment) if comment.id == comment_id else None

    def top_level(self, video: Video, at: float) -> list[Comment]:
        """Return the raw hits of a video's list at a time: top-level comments, the most liked first."""
        found = [c for c in self.thread(video) if c.parent is None and c.create_time <= at]
        return sorted(found, key=lambda comment: (-comment.likes, comment.id))

    def replies(self, video: Video, comment: Comment, at: float) -> list[Comment]:
        """Return the raw hits of a comment's replies at a time, the oldest first."""
        return [c for c in self.thread(video) if c.parent == comment.number and c.create_time <= at]

    def delivers(self, video: Video, comment: Comment, at: float) -> bool:
        """Return whether the list can deliver a comment at a time."""
        world = self._world
        return (
            comment.create_time <= at
            and comment.id not in world.withdrawn
            and withdrawn_at(comment.seed, comment.create_time, world.config.withdrawn_per_year) > at
            and world.delivers(video, at)
        )

    def record(self, video: Video, comment: Comment, fields: tuple[str, ...], at: float) -> dict[str, Any]:
        """Return a comment's record with the named fields."""
        parent = video.id if comment.parent is None else self.thread(video)[comment.parent].id
        record = {
            "id": comment.id,
            "video_id": video.id,
            "parent_comment_id": parent,
            "text": text.comment_text(Random(comment.seed), video.creator.language),
            "like_count": count_at_age(comment.likes, at - comment.create_time),
            "reply_count": len(self.replies(video, comment, at)) if comment.parent is None else 0,
            "create_time": comment.create_time,
        }
        found = {name: value for name, value in record.items() if name in fields}
        if comment.parent is not None and uniform(comment.seed, 3) < 0.5:
            found["display_name"] = text.display_name(Random(comment.seed + 1))
        return found

    def _make(self, video: Video) -> list[Comment]:
        layout = self._world.layout
        total = min(video.comments, layout.comment_limit)
        rng = Random(hash_parts(self._seed, video.id))
        tops: list[int] = []
        found = []
        for number in range(total):
            # The cube concentrates replies on a few top-level comments.
            reply = bool(tops) and rng.random() < _REPLY_SHARE
            parent = tops[int(len(tops) * rng.random() ** 3)] if reply else None
            if parent is None:
                tops.append(number)
            written = video.create_time + age_at_count(video.comments, number)
            second = written - rng.randrange(25, 93)
            if second // 86400 < video.day:
                second = video.day * 86400
            found.append(
                Comment(
                    layout.comment_id(second, video.day, video.index, number),
                    number,
                    written,
                    min(200_000, int(rng.paretovariate(0.9)) - 1),
                    parent,
                    rng.getrandbits(62),
                )
            )
        return found
