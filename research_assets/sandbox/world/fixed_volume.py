"""Videos of fixed volume, for benchmarks and counting tests: exactly N videos per day match any query.

They take no memory: an id encodes all properties of its video, and a page is a series of prepared templates. Of a
query, only the conditions that `EFFECTIVE` names have an effect: canary checks, username batches, and searches that
divide a day need them.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import orjson

from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.world import vocabulary
from research_assets.sandbox.world.accounts import PANEL, Accounts
from research_assets.sandbox.world.ids import DAY, IdLayout
from research_assets.sandbox.world.randomness import hash_parts
from research_assets.sandbox.world.render import VideoRenderer
from research_assets.sandbox.world.time_effects import count_at_age, snapshot_time
from research_assets.sandbox.world.videos import EPOCH, Video

_KINDS = 64  # templates: the number of different authors, captions, sizes and orders of keys
_CHANGING = ("id", "create_time", "view_count", "like_count", "comment_count", "share_count", "favorites_count")
_MARK = 8_000_000_000_000_000_000  # numbers from here on mark the changing values while a template is made
_SETTLED = 62 * DAY  # from this age of the upload no count changes, apart from the lag

EFFECTIVE = frozenset({"video_id", "username", "create_date", "video_length", "music_id"})
"""Condition fields that have an effect on videos of fixed volume; all videos match all other conditions."""

Fields = tuple[str, ...]
Template = tuple[bytes, Callable[[Sequence[int]], Any]]


class FixedVolumeVideos:
    """`fixed_volume` videos per day, evenly spread. One in 97 is uploaded a day and a half before its publication."""

    def __init__(self, config: SandboxConfig, accounts: Accounts) -> None:
        self._config = config
        self._authors = [a for a in accounts.creators[len(PANEL) :] if a.region == "DE"][:_KINDS]
        self.usual_count = config.fixed_volume or 0
        self._counts = {day.toordinal() - EPOCH: count for day, count in config.volume_by_day.items()}
        largest = max(self.usual_count, *self._counts.values(), 0)
        self.layout = IdLayout(max(10, (largest - 1).bit_length()))
        self._seed = hash_parts(config.seed, 5)
        every = round(1 / config.undeliverable) if config.undeliverable else 0
        self._group = group = config.videos_per_second
        gap = min(61, max(1, DAY // max(1, largest)))
        self._late = [index // group * 31 % gap + (129_600 if index % 97 == 48 else 0) for index in range(largest)]
        self._id_parts = {count: self._parts(count) for count in {self.usual_count, *self._counts.values()}}
        self.delivers = [not every or index % every != every - 1 for index in range(largest)]
        self.delivers_all = all(self.delivers)
        self._kinds = [self._kind(kind, 0, 0, 0, kind) for kind in range(_KINDS)]
        self._finals = [(v.views, v.likes, v.comments, v.shares, v.favorites) for v in self._kinds]
        self._templates: dict[tuple[Fields, bool], list[Template]] = {}
        self._renderer = VideoRenderer(config)

    def count(self, day: int) -> int:
        """Return the number of videos of a day (days since 1970)."""
        return self._counts.get(day, self.usual_count)

    def ids(self, day: int) -> list[int]:
        """Return the ids of a day (days since 1970), by index."""
        return self.layout.day_ids(day, self._id_parts[self.count(day)])

    def create_times(self, ids: Sequence[int]) -> list[int]:
        """Return the publication times of videos (Unix seconds). All ids must be of existing videos."""
        late = self._late
        return [(i >> 32) + late[index] for i, index in zip(ids, self.layout.indexes(ids), strict=True)]

    def _second(self, index: int, count: int) -> int:
        """Return the publication of a video in a day of `count` videos, in seconds after midnight."""
        return index // self._group * self._group * DAY // count

    def matching(self, day: int, matches: Callable[[Video], bool]) -> list[int]:
        """Return the ids of a day's videos that match by what their kind determines: all but id, day and time."""
        kinds = [matches(video) for video in self._kinds]
        return [i for index, i in enumerate(self.ids(day)) if kinds[index % _KINDS]]

    def at(self, day: int, index: int) -> Video | None:
        """Return the video with an index of a day; None if it does not exist."""
        count = self.count(day)
        if not (10_000 <= day <= 40_000 and index < count):
            return None
        video_id = self.layout.day_ids(day, [self._id_parts[count][index]])[0]
        return self._kind(index % _KINDS, video_id, day * DAY + self._second(index, count), day, index)

    def _kind(self, kind: int, video_id: int, create_time: int, day: int, index: int) -> Video:
        seed = hash_parts(self._seed, kind) >> 1
        return Video(
            id=video_id,
            create_time=create_time,
            day=day,
            index=index,
            creator=self._authors[kind],
            topic="gardening",
            tags=("gardening", vocabulary.TOPICS["gardening"].tags[1 + kind % 14]),
            duration=5 + kind,
            music_id=7_000_000_000_000_000_000 + kind,
            playlist=0,
            views=100 + seed % 90_000,
            likes=seed % 3_000,
            comments=self._config.fixed_comments,
            shares=seed % 500,
            favorites=seed % 700,
            seed=seed,
        )

    def video(self, video_id: int) -> Video | None:
        """Return the video with an id; None if it never existed."""
        found = self.at(*self.layout.video_place(video_id))
        return found if found and found.id == video_id else None

    def render(self, ids: Sequence[int], fields: Fields, now: float) -> list[bytes]:
        """Return one JSON object per id. All ids must be of existing videos."""
        late, indexes, lag = self._late, self.layout.indexes(ids), self._config.count_lag_days
        # Most pages are old: only id and time differ between videos of one template.
        if ids and now - (max(ids) >> 32) > _SETTLED + lag * DAY and "id" in fields and "create_time" in fields:
            settled = [template for template, _ in self._templates_of(fields, settled=True)]
            return [settled[n % _KINDS] % (i, (i >> 32) + late[n]) for i, n in zip(ids, indexes, strict=True)]
        templates, found = self._templates_of(fields, settled=False), []
        for video_id, index in zip(ids, indexes, strict=True):
            create = (video_id >> 32) + late[index]
            age = (snapshot_time(video_id, now, lag) if lag else now) - create
            template, pick = templates[index % _KINDS]
            counts = [count_at_age(final, age) for final in self._finals[index % _KINDS]]
            found.append(template % pick((video_id, create, *counts)))
        return found

    def _parts(self, count: int) -> list[tuple[int, int]]:
        """Return, by index in a day of `count` videos, the upload in seconds after midnight and the id's lower bits."""
        seconds = [self._second(index, count) - self._late[index] for index in range(count)]
        return [
            (second, self.layout.low(-(second // DAY), index, index * 0x9E3779B1 & 0xFF))
            for index, second in enumerate(seconds)
        ]

    def _templates_of(self, fields: Fields, *, settled: bool) -> list[Template]:
        templates = self._templates.get((fields, settled))
        if templates is None:
            templates = [self._template(kind, fields, settled=settled) for kind in range(_KINDS)]
            self._templates[fields, settled] = templates
        return templates

    def _template(self, kind: int, fields: Fields, *, settled: bool) -> Template:
        record = self._renderer.record(self._kinds[kind], fields, 10**10)
        names = list(record)
        Random(hash_parts(self._seed, kind)).shuffle(names)
        changing = _CHANGING[:2] if settled else _CHANGING
        if settled:  # a fixed order of these two makes the selection below unnecessary
            present = [name for name in changing if name in record]
            for index, name in zip(sorted(map(names.index, present)), present, strict=True):
                names[index] = name
        record |= {name: _MARK + number for number, name in enumerate(changing) if name in record}
        template = orjson.dumps({name: record[name] for name in names}).replace(b"%", b"%%")
        for number in range(len(changing)):
            template = template.replace(b"%d" % (_MARK + number), b"%d")
        order = [changing.index(name) for name in names if name in changing]
        return template, lambda values: tuple([values[number] for number in order])
