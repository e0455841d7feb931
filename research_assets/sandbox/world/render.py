"""Videos and comments as JSON: compact, with a different key order in each object, without nulls."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from random import Random
from typing import Any

import orjson

from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.world import text, vocabulary
from research_assets.sandbox.world.accounts import Account
from research_assets.sandbox.world.randomness import hash_parts, hash_text, uniform
from research_assets.sandbox.world.time_effects import count_at_age, snapshot_time
from research_assets.sandbox.world.videos import Video

_MAX_FRAGMENTS = 30_000  # of one selection of fields
_MAX_SELECTIONS = 4
_VIDEO_TAGS = (("AIGC Type", 1), ("AIGC Type", 2), ("Branded Type", 1), ("Branded Type", 7))
_YEAR_2024 = 19_723  # days since 1970; from then on effects are nearly always absent


def shuffled_json(record: dict[str, Any], rng: Random) -> bytes:
    """Return a record as JSON with its keys in a random order."""
    draw = rng.random
    return orjson.dumps(dict(sorted(record.items(), key=lambda _: draw())))


@lru_cache(maxsize=5000)
def _hashtag_id(tag: str) -> int:
    return hash_text(tag) >> 33


def playlist_id(account: int, week: int, number: int) -> int:
    """Return the id of a creator's playlist of a week (since 1970). Its lower bits encode account, week and number."""
    return (week * 7 * 86400 + account) << 32 | account << 16 | week << 2 | number


def playlist_parts(identity: int) -> tuple[int, int, int]:
    """Return the account, the week and the number that a playlist's id encodes."""
    return identity >> 16 & 0xFFFF, identity >> 2 & 0x3FFF, identity & 3


class VideoRenderer:
    """A renderer of videos with a selection of fields. It caches the newest fragments."""

    def __init__(self, config: SandboxConfig, username: Callable[[Account], str] = attrgetter("username")) -> None:
        """`username` returns the present username of an account."""
        self._config, self._username = config, username
        self._cache: dict[tuple[str, ...], OrderedDict[int, tuple[int, bytes]]] = {}

    def fragments(self, videos: Sequence[Video], fields: tuple[str, ...], now: float) -> list[bytes]:
        """Return one JSON object per video, with counts as delivered at `now` (Unix seconds)."""
        if fields not in self._cache and len(self._cache) >= _MAX_SELECTIONS:
            self._cache.pop(next(iter(self._cache)))
        cache, hour, found = self._cache.setdefault(fields, OrderedDict()), int(now // 3600), []
        for video in videos:
            entry = cache.get(video.id)
            if entry is None or entry[0] != hour:
                fragment = shuffled_json(self.record(video, fields, now), Random(hash_parts(video.seed, 21)))
                # A copy, because the serializer's own bytes object occupies eight kilobytes.
                entry = (hour, memoryview(fragment).tobytes())
                cache[video.id] = entry
                if len(cache) > _MAX_FRAGMENTS:
                    cache.popitem(last=False)
            found.append(entry[1])
        return found

    def record(self, video: Video, fields: tuple[str, ...], now: float) -> dict[str, Any]:
        """Return a video's record with the named fields. Absent values have no key."""
        config = self._config
        snapshot = snapshot_time(video.seed, now, config.count_lag_days)

        def count(number: int, final: int) -> int:
            seen_at = snapshot
            if config.mixed_lags:
                seed = hash_parts(video.seed, 25, number, int(now // 3600))
                seen_at = now - config.count_lag_days * 86400 * uniform(seed, 1)
            return count_at_age(final, seen_at - video.create_time)

        caption, username = video.caption, self._username(video.creator)
        if uniform(video.seed, 22) < config.nul_characters:
            caption, username = text.insert_nul(caption, video.seed), text.insert_nul(username, video.seed)
        record: dict[str, Any] = {
            "id": video.id,
            "video_description": caption,
            "create_time": video.create_time,
            "region_code": video.creator.region,
            "share_count": count(1, video.shares),
            "view_count": count(2, video.views),
            "like_count": count(3, video.likes),
            "comment_count": count(4, video.comments),
            "hashtag_names": list(video.tags),
            "username": username,
            "is_stem_verified": video.topic == "science" and uniform(video.seed, 23) < 0.5,
            "favorites_count": count(5, video.favorites),
            "video_duration": video.duration,
        }
        if "favourites_count" in fields:
            record["favourites_count"] = record["favorites_count"]
        if video.music_id:
            record["music_id"] = video.music_id
        return {name: value for name, value in (record | self._extras(video)).items() if name in fields}

    def _extras(self, video: Video) -> dict[str, Any]:
        rng = Random(hash_parts(video.seed, 24))
        extras: dict[str, Any] = {}
        if video.day < _YEAR_2024 and rng.random() < 0.9:
            extras["effect_ids"] = text.pick(rng, (["0"], ["0"], ["0"], ["260234", "0"]))
        if video.playlist:
            extras["playlist_id"] = playlist_id(video.creator.index, video.day // 7, video.playlist)
        if rng.random() < 0.17:
            extras["voice_to_text"] = text.transcript(rng, video.creator.language, video.topic)
        if video.tags:
            extras["hashtag_info_list"] = [
                {"hashtag_id": _hashtag_id(tag.lower()), "hashtag_name": tag, "hashtag_description": ""}
                for tag in video.tags
            ]
        if rng.random() < 0.12:
            extras["sticker_info_list"] = [
                {"sticker_id": str(rng.randrange(10_000, 99_999)), "sticker_name": text.pick(rng, vocabulary.STICKERS)}
            ]
        if rng.random() < 0.10:
            number = rng.randrange(len(vocabulary.EFFECTS))
            extras["effect_info_list"] = [
                {
                    "effect_id": str(260_000 + number),
                    "effect_name": vocabulary.EFFECTS[number],
                    "effect_photo_url": f"https://effects.invalid/{number}.png",
                }
            ]
        if video.mention:
            extras["video_mention_list"] = [video.mention if rng.random() < 0.8 else text.display_name(rng)]
        if rng.random() < 0.5:
            extras["video_label"] = {"content": "", "sink": False, "type": 0, "vote": False, "warn": False}
        if rng.random() < 0.05:
            kind, number = text.pick(
                rng, (("AIGC Type", 1), ("AIGC Type", 2), ("Branded Type", 1), ("Branded Type", 7))
            )
            extras["video_tag"] = {"type": kind, "number": number}
        return extras


def as_user_video(record: dict[str, Any]) -> dict[str, Any]:
    """Return a video's record with the keys of account lists, two of which differ (reference §3.1, §3.1.2)."""
    if "effect_info_list" in record:
        record["effect_info_list"] = [
            {"effect_photo_URI" if name == "effect_photo_url" else name: value for name, value in effect.items()}
            for effect in record["effect_info_list"]
        ]
    if "video_tag" in record:
        tag = record["video_tag"]
        record["video_tag"] = {"video_tag_type": tag["type"], "video_tag_number": tag["number"]}
    return record
