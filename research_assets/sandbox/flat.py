"""The flat world for benchmarks and counting tests: exactly so many videos every day, whatever the query.

A year of it costs no memory: an id tells all there is to know, and a page is a row of prepared templates. Only
conditions on `video_id`, `username` and `create_date` are looked at, so that canaries and batches of names work.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from random import Random
from typing import Any

import orjson

from research_assets.sandbox import words
from research_assets.sandbox.accounts import PANEL, Accounts
from research_assets.sandbox.ageing import grown, snapshot
from research_assets.sandbox.chance import mix
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.ids import DAY, IdLayout
from research_assets.sandbox.render import VideoRenderer
from research_assets.sandbox.videos import Video

_KINDS = 64  # templates: as many different authors, captions and orders of keys
_CHANGING = ("id", "create_time", "view_count", "like_count", "comment_count", "share_count", "favorites_count")
_MARK = 8_000_000_000_000_000_000  # numbers above it stand for what changes, while a template is made

Template = tuple[bytes, Callable[[Sequence[int]], Any]]


def _size(video_id: int) -> int:
    return 1 + (video_id * 0x9E3779B1 >> 20 & 0x7FFF)


class FlatVideos:
    """`flat` videos a day, evenly spread, 1 in 97 uploaded a day and a half before it was published."""

    def __init__(self, config: SandboxConfig, accounts: Accounts) -> None:
        self._config = config
        self._authors = [a for a in accounts.creators[len(PANEL) :] if a.region == "DE"][:_KINDS]
        self.count = config.flat or 0
        self.layout = IdLayout(max(10, (self.count - 1).bit_length()))
        self._seed = mix(config.seed, 5)
        self._gap = min(61, max(1, DAY // max(1, self.count)))
        self._every = round(1 / config.undeliverable) if config.undeliverable else 0
        self._templates: dict[tuple[str, ...], list[Template]] = {}
        self._renderer = VideoRenderer(config)

    def delivers(self, index: int) -> bool:
        """Whether video `index` of a day can be delivered at all: exactly each n-th cannot."""
        return not self._every or index % self._every != self._every - 1

    def ids(self, number: int) -> list[int]:
        """The ids of a day (days since 1970), by index."""
        return [self._id(number, index) for index in range(self.count)]

    def at(self, day: int, index: int) -> Video | None:
        """The video with a place in the world; None if there is none."""
        if not (10_000 <= day <= 40_000 and index < self.count):
            return None
        video_id, kind = self._id(day, index), index % _KINDS
        views = _size(video_id)
        return Video(
            id=video_id,
            create_time=self._create(day, index),
            day=day,
            index=index,
            creator=self._authors[kind],
            topic="gardening",
            tags=("gardening", words.TOPICS["gardening"].tags[1 + kind % 14]),
            duration=5 + kind,
            music_id=7_000_000_000_000_000_000 + kind,
            playlist=0,
            views=views,
            likes=views >> 4,
            comments=self._config.flat_comments,
            shares=views >> 8,
            favorites=views >> 7,
            seed=mix(self._seed, kind) >> 1,
        )

    def video(self, video_id: int) -> Video | None:
        """The video with an id; None if there never was one."""
        found = self.at(*self.layout.video_place(video_id))
        return found if found and found.id == video_id else None

    def render(self, ids: Sequence[int], fields: tuple[str, ...], now: float) -> list[bytes]:
        """One JSON object per id, all of videos that exist."""
        templates = self._templates.get(fields)
        if templates is None:
            templates = self._templates[fields] = [self._template(kind, fields) for kind in range(_KINDS)]
        lag, comments = self._config.count_lag_days, self._config.flat_comments
        place, count = self.layout.video_place, self.count
        found = []
        for video_id in ids:
            day, index = place(video_id)
            create = day * DAY + index * DAY // count
            age = (snapshot(video_id, now, lag) if lag else now) - create
            views = _size(video_id) if age > 60 * DAY else grown(_size(video_id), age)
            likes = views >> 4
            values = (video_id, create, views, likes, grown(comments, age), likes >> 4, likes >> 3)
            template, pick = templates[index % _KINDS]
            found.append(template % pick(values))
        return found

    def _create(self, day: int, index: int) -> int:
        return day * DAY + index * DAY // self.count

    def _id(self, day: int, index: int) -> int:
        late = index * 31 % self._gap + (129_600 if index % 97 == 48 else 0)
        return self.layout.video_id(self._create(day, index) - late, day, index, index * 0x9E3779B1 & 0xFF)

    def _template(self, kind: int, fields: tuple[str, ...]) -> Template:
        video = self.at(20_000, kind)
        if video is None:  # fewer videos a day than templates
            return b"", itemgetter(0, 1)
        record = self._renderer.record(video, fields, 0)
        record |= {name: _MARK + place for place, name in enumerate(_CHANGING) if name in record}
        names = list(record)
        Random(mix(self._seed, kind)).shuffle(names)
        template = orjson.dumps({name: record[name] for name in names}).replace(b"%", b"%%")
        for place in range(len(_CHANGING)):
            template = template.replace(b"%d" % (_MARK + place), b"%d")
        places = [_CHANGING.index(name) for name in names if name in _CHANGING]
        if len(places) < 2:  # itemgetter gives a tuple only for two or more
            return template, lambda values: tuple(values[place] for place in places)
        return template, itemgetter(*places)
