"""Videos of fixed volume, for benchmarks and counting tests: exactly N videos per day match any query.

They take no memory: an id encodes all properties of its video, and a page is a series of prepared templates. Only
conditions on `video_id`, `username` and `create_date` have an effect, which canary checks and username batches need.
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
from research_assets.sandbox.world.videos import Video

_KINDS = 64  # templates: the number of different authors, captions, sizes and orders of keys
_CHANGING = ("id", "create_time", "view_count", "like_count", "comment_count", "share_count", "favorites_count")
_MARK = 8_000_000_000_000_000_000  # numbers from here on mark the changing values while a template is made
_SETTLED = 80 * DAY  # from this age of the upload no count changes, for any lag

Fields = tuple[str, ...]
Template = tuple[bytes, Callable[[Sequence[int]], Any]]


class FixedVolumeVideos:
    """`fixed_volume` videos per day, evenly spread. One in 97 is uploaded a day and a half before its publication."""

    def __init__(self, config: SandboxConfig, accounts: Accounts) -> None:
        self._config = config
        self._authors = [a for a in accounts.creators[len(PANEL) :] if a.region == "DE"][:_KINDS]
        self.count = count = config.fixed_volume or 0
        self.layout = IdLayout(max(10, (count - 1).bit_length()))
        self._seed = hash_parts(config.seed, 5)
        every = round(1 / config.undeliverable) if config.undeliverable else 0
        gap = min(61, max(1, DAY // max(1, count)))
        self._created = [index * DAY // count for index in range(count)]
        self._late = [index * 31 % gap + (129_600 if index % 97 == 48 else 0) for index in range(count)]
        self._id_parts = [self._id_part(index) for index in range(count)]
        self.delivers = [not every or index % every != every - 1 for index in range(count)]
        self.delivers_all = all(self.delivers)
        kinds = [self._kind(kind, 0, 0, kind) for kind in range(_KINDS)]
        self._finals = [(v.views, v.likes, v.comments, v.shares, v.favorites) for v in kinds]
        self._templates: dict[tuple[Fields, bool], list[Template]] = {}
        self._renderer = VideoRenderer(config)

    def ids(self, number: int) -> list[int]:
        """Return the ids of a day (days since 1970), by index."""
        return self.layout.day_ids(number, self._id_parts)

    def at(self, day: int, index: int) -> Video | None:
        """Return the video with an index of a day; None if it does not exist."""
        if not (10_000 <= day <= 40_000 and index < self.count):
            return None
        return self._kind(index % _KINDS, self.layout.day_ids(day, [self._id_parts[index]])[0], day, index)

    def _kind(self, kind: int, video_id: int, day: int, index: int) -> Video:
        seed = hash_parts(self._seed, kind) >> 1
        return Video(
            id=video_id,
            create_time=day * DAY + (self._created[index] if index < self.count else 0),
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
        late, indexes = self._late, self.layout.indexes(ids)
        # Most pages are old: only id and time differ between videos of one template.
        if ids and now - (max(ids) >> 32) > _SETTLED and "id" in fields and "create_time" in fields:
            settled = [template for template, _ in self._templates_of(fields, settled=True)]
            return [settled[n % _KINDS] % (i, (i >> 32) + late[n]) for i, n in zip(ids, indexes, strict=True)]
        templates, found, lag = self._templates_of(fields, settled=False), [], self._config.count_lag_days
        for video_id, index in zip(ids, indexes, strict=True):
            create = (video_id >> 32) + late[index]
            age = (snapshot_time(video_id, now, lag) if lag else now) - create
            template, pick = templates[index % _KINDS]
            counts = [count_at_age(final, age) for final in self._finals[index % _KINDS]]
            found.append(template % pick((video_id, create, *counts)))
        return found

    def _id_part(self, index: int) -> tuple[int, int]:
        """Return the upload time of a video in seconds after midnight, and the lower bits of its id."""
        second = self._created[index] - self._late[index]
        return second, self.layout.low(-(second // DAY), index, index * 0x9E3779B1 & 0xFF)

    def _templates_of(self, fields: Fields, *, settled: bool) -> list[Template]:
        templates = self._templates.get((fields, settled))
        if templates is None:
            templates = [self._template(kind, fields, settled=settled) for kind in range(_KINDS)]
            self._templates[fields, settled] = templates
        return templates

    def _template(self, kind: int, fields: Fields, *, settled: bool) -> Template:
        record = self._renderer.record(self._kind(kind, 0, 0, kind), fields, 10**10)
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
