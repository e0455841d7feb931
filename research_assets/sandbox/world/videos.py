"""Videos of the social world, day by day: who posts what and when, with which tags, and how big it will become."""

from bisect import bisect
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from itertools import accumulate
from math import cos, exp, pi
from random import Random

from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.world import text, vocabulary
from research_assets.sandbox.world.accounts import Account, Accounts
from research_assets.sandbox.world.ids import DAY, IdLayout
from research_assets.sandbox.world.randomness import hash_parts, uniform

EPOCH = date(1970, 1, 1).toordinal()
_KEPT_DAYS = 70
_WEEKDAYS = (1.0, 0.95, 0.95, 0.98, 1.02, 1.12, 1.18)  # day 0 of 1970 was a Thursday; see `_volume`
_TOPICS = tuple(vocabulary.TOPICS)
_HOURS = list(accumulate((3, 2, 1, 1, 1, 2, 4, 6, 7, 7, 7, 8, 9, 9, 9, 10, 12, 14, 16, 17, 16, 13, 9, 6)))


@dataclass(slots=True)
class Video:
    """One video. Counts are what they end at when it is old; `ageing` tells what they are at a moment."""

    id: int
    create_time: int
    day: int
    index: int
    creator: Account
    topic: str
    tags: tuple[str, ...]
    duration: int
    music_id: int
    playlist: int  # number of the creator's playlist, 0 for none
    views: int
    likes: int
    comments: int
    shares: int
    favorites: int
    seed: int
    mention: str | None = None
    until: float | None = None  # when it ceases to be delivered; worked out when first needed

    @property
    def caption(self) -> str:
        """Its caption."""
        return text.caption(Random(self.seed), self.creator.language, self.topic, self.tags, self.mention)


class SocialVideos:
    """The videos of a world with people in it. Days are made when asked for and the newest used are kept."""

    layout = IdLayout(13)

    def __init__(self, config: SandboxConfig, accounts: Accounts) -> None:
        self._config = config
        self._accounts = accounts
        self._seed = hash_parts(config.seed, 2)
        self._days: OrderedDict[int, list[Video]] = OrderedDict()

    def day(self, number: int) -> list[Video]:
        """The videos published on a day (days since 1970), by index."""
        held = self._days.get(number)
        if held is None:
            held = self._days[number] = self._make_day(number)
            if len(self._days) > _KEPT_DAYS:
                self._days.popitem(last=False)
        else:
            self._days.move_to_end(number)
        return held

    def video(self, video_id: int) -> Video | None:
        """The video with an id; None if there never was one."""
        day, index = self.layout.video_place(video_id)
        if not 10_000 <= day <= 40_000:
            return None
        videos = self.day(day)
        return videos[index] if index < len(videos) and videos[index].id == video_id else None

    def at(self, day: int, index: int) -> Video | None:
        """The video with a place in the world; None if there never was one."""
        videos = self.day(day) if 10_000 <= day <= 40_000 else []
        return videos[index] if index < len(videos) else None

    def _volume(self, number: int) -> int:
        season = 1 + 0.12 * cos(2 * pi * (number % 365.25 - 15) / 365.25)
        noise = 0.94 + 0.12 * uniform(self._seed, number)
        return max(1, round(self._config.videos_per_day * season * _WEEKDAYS[(number + 3) % 7] * noise))

    def _bursts(self, number: int) -> dict[str, list[tuple[str, float]]]:
        """Tags that are in fashion on a day, by topic, with the share of the topic's videos that carry them."""
        found: dict[str, list[tuple[str, float]]] = {}
        for place, (topic, about) in enumerate(vocabulary.TOPICS.items()):
            for age in range(12):
                draw = hash_parts(self._seed, 3, place, number - age)
                if draw % 24 == 0:
                    tag = f"{about.tags[0]}{('challenge', 'week', 'trend')[draw // 24 % 3]}{draw // 72 % 90 + 10}"
                    found.setdefault(topic, []).append((tag, 0.45 * exp(-age / 3)))
        return found

    def _make_day(self, number: int) -> list[Video]:
        rng = Random(hash_parts(self._seed, 4, number))
        bursts = self._bursts(number)
        return [self._make(rng, number, index, bursts) for index in range(self._volume(number))]

    def _make(self, rng: Random, day: int, index: int, bursts: dict[str, list[tuple[str, float]]]) -> Video:
        draw = rng.random
        creator = self._accounts.posting(draw())
        topic = creator.topic if draw() < 0.88 else text.pick(rng, _TOPICS)
        create = day * DAY + bisect(_HOURS, draw() * _HOURS[-1]) * 3600 + int(draw() * 3600)
        # Drafts and scheduled posts are uploaded long before; all others within the minute (reference §3.1.3).
        late = int(draw() * 2.5 * DAY) if draw() < 0.03 else min(60, int(rng.expovariate(1 / 27)))
        views = int(40 * rng.paretovariate(0.8) * (1 + creator.followers) ** 0.35)
        views = min(views, 40_000_000)
        likes = int(views * (0.01 + 0.12 * draw()))
        return Video(
            id=self.layout.video_id(create - late, day, index, rng.getrandbits(17)),
            create_time=create,
            day=day,
            index=index,
            creator=creator,
            topic=topic,
            tags=_tags(rng, topic, bursts.get(topic, ())),
            duration=min(600, 4 + int(rng.expovariate(1 / 38))),
            music_id=0 if draw() < 0.013 else (day - int(draw() ** 3 * 400)) * DAY << 32 | int(rng.paretovariate(0.9)),
            playlist=1 + int(draw() * 3) if draw() < 0.02 else 0,
            views=views,
            likes=likes,
            comments=min(5000, int(rng.paretovariate(0.95))) if draw() < 0.11 else 0,
            shares=int(likes * 0.08 * draw()),
            favorites=int(likes * 0.15 * draw()),
            seed=rng.getrandbits(63),
            mention=self._accounts.posting(draw()).username if draw() < 0.08 else None,
        )


def _tags(rng: Random, topic: str, bursts: Iterable[tuple[str, float]]) -> tuple[str, ...]:
    draw = rng.random
    if draw() < 0.04:
        return ()
    own = vocabulary.TOPICS[topic].tags
    tags = [own[0]] if draw() < 0.9 else []
    # Zipf: the r-th tag is taken in proportion to 1/r.
    tags += [own[min(len(own) - 1, int(len(own) ** draw()))] for _ in range(int(draw() * 4))]
    tags += [tag for tag, share in bursts if draw() < share]
    if draw() < 0.5:
        general = vocabulary.GENERAL_TAGS
        tags += [general[int(len(general) ** draw()) - 1] for _ in range(1 + int(draw() * 3))]
    if tags and draw() < 0.04:
        tags[0] = tags[0].upper() if draw() < 0.5 else tags[0].title()
    seen = {tag.lower(): tag for tag in tags}
    return tuple(sorted(seen.values(), key=lambda _: draw()))
