"""Raw tables of a study with random rows: ties, gaps and texts on which two database engines may differ.

The rows follow from the seed alone. All ids are valid for the raw tables; most other values are chosen to be difficult.
"""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from research_assets_tests.hostile import HOSTILE
from research_assets_tests.warehouse.raw_data import at, make_attempt, new_id, seconds, write

STUDY = "random"
DAYS = [date(2026, 1, 28) + timedelta(days=number) for number in range(8)]

NAMES = (
    "anna",
    "Anna",
    "ANNA",
    "ben.1",
    "_",
    "straße",
    "İstanbul",
    "\u0131\u0131",
    "žluťoučký",
    "😀",
    "日本",
    "ΣΑΣ",
    "é",
    "e\u0301",
)
TAGS = (
    "garten", " Garten ", "GARTEN", "", " ", "\u00a0nbsp\u00a0", "\u3000wide\u3000", "\ttab\t", "straße",
    "STRASSE", "İ", "ß", "ǅ", "ΣΑΣ",
    "😀", "日本", "a'b", 'a"b', "a\\b", "%", "_", "z\u0301", None,
)  # fmt: skip
COUNTS = (None, 0, 1, 2, 3, 7, 100, 2**31, 2**53 + 1, -5)
MORE_TEXTS = (None, "plain", "@Ben_1., @anna@dora @früh a@b.org", "it's", "back\\slash", "line\nbreak", '{"a": 1}')


def write_random_study(raw: Path, seed: int, n_videos: int = 40) -> None:
    """Write the raw tables of the study."""
    random = Random(seed)
    times = [at(day, hour, month) for month, day in ((1, 30), (2, 3), (2, 11), (3, 1)) for hour in (0, 10, 23)]
    videos = [_video(random, number) for number in range(n_videos)]
    for number, observed in enumerate(random.sample(times, 6)):
        for day in DAYS:
            # A video of the same id can be observed twice in one capture's day under different captures, never in one.
            rows = [
                _observe(random, video) | {"observed_at": observed}
                for video in videos
                if _day(video) == day and random.random() < 0.6
            ]
            if rows:
                write(raw, "videos", STUDY, day, f"v{number}", rows)
    for day in DAYS:
        comments = [c for video in videos if _day(video) == day for c in _comments(random, video, random.choice(times))]
        if comments:
            write(raw, "comments", STUDY, day, "c1", comments)
    _write_accounts(raw, random, times)
    _write_coverage(raw, random, videos, times)


def _day(video: dict[str, Any]) -> date:
    day: date = (at(28, 0, 1) + timedelta(seconds=video["create_time"] - seconds(at(28, 0, 1)))).date()
    return day


def _text(random: Random) -> str | None:
    return random.choice([*HOSTILE, *MORE_TEXTS])


def _video(random: Random, number: int) -> dict[str, Any]:
    created = at(28, 0, 1) + timedelta(seconds=random.randrange(8 * 86400))
    return {"id": new_id(created, number), "create_time": seconds(created)}


def _list(random: Random, make: Callable[[], Any]) -> list[Any] | None:
    return None if random.random() < 0.2 else [make() for _ in range(random.randrange(5))]


def _observe(random: Random, video: dict[str, Any]) -> dict[str, Any]:
    def info() -> dict[str, Any] | None:
        member = {"hashtag_id": random.choice([None, 7, 2**63 - 1]), "hashtag_name": random.choice(TAGS)}
        return random.choice([None, member | {"hashtag_description": _text(random)}])

    counts = ("view_count", "like_count", "comment_count", "share_count", "favorites_count", "video_duration")
    return video | {
        "username": random.choice([*NAMES, None]),
        "region_code": random.choice([" de", "De", "\u00a0AT", "", None, "ß"]),
        "video_description": _text(random),
        "voice_to_text": _text(random),
        "music_id": random.choice([None, 0, 2**63 - 1, -(2**63)]),
        "playlist_id": random.choice([None, 7 * 10**18]),
        "hashtag_names": _list(random, lambda: random.choice(TAGS)),
        "hashtag_info_list": _list(random, info),
        "effect_ids": _list(random, lambda: random.choice(["1", "", None])),
        "video_mention_list": _list(random, lambda: random.choice(NAMES)),
        "is_stem_verified": random.choice([None, True, False]),
        "unknown_fields": random.choice([None, '{"a": [1, 2.50, null], "ü": "\\u00e9"}', "{}"]),
        **{name: random.choice(COUNTS) for name in counts},
    }


def _comments(random: Random, video: dict[str, Any], observed: datetime) -> list[dict[str, Any]]:
    comments: list[dict[str, Any]] = []
    for number in range(random.randrange(6)):
        created = at(10, 0) + timedelta(seconds=random.randrange(86400))
        parents = [video["id"], None, 12345, *(comment["id"] for comment in comments)]
        comments.append(
            {
                "id": new_id(created, video["id"] % 1000 * 10 + number),
                "video_id": random.choice([video["id"], None]),
                "asked_video_id": video["id"],
                "asked_comment_id": random.choice([None, *(comment["id"] for comment in comments)]),
                "parent_comment_id": random.choice(parents),
                "create_time": random.choice([seconds(created), None, 0]),
                "text": _text(random),
                "display_name": random.choice(NAMES),
                "like_count": random.choice(COUNTS),
                "reply_count": random.choice(COUNTS),
                "position": number,
                "observed_at": observed,
            }
        )
    return comments


def _write_accounts(raw: Path, random: Random, times: list[datetime]) -> None:
    for number, observed in enumerate(random.sample(times, 5)):
        day = observed.date()
        profiles = [
            {
                "asked_username": name,
                "display_name": random.choice(NAMES),
                "bio_description": _text(random),
                "is_verified": random.choice([None, True]),
                **{count: random.choice(COUNTS) for count in ("follower_count", "likes_count", "video_count")},
                # Two observations at the same time are ordered by the capture.
                "observed_at": random.choice([observed, times[0]]),
            }
            for name in random.sample(NAMES, 6)
        ]
        write(raw, "users", STUDY, day, f"u{number}", profiles)
        for table in ("followers", "following"):
            relations = [
                {"asked_username": account, "username": other, "observed_at": observed, "position": position}
                for account in random.sample(NAMES, 3)
                for position, other in enumerate(random.sample(NAMES, 4))
            ]
            write(raw, table, STUDY, day, f"{table}{number}", relations)
        for table in ("liked_videos", "reposted_videos", "pinned_videos"):
            listed = [
                _observe(random, _video(random, number % 3))
                | {"asked_username": account, "observed_at": observed, "position": position}
                for account in random.sample(NAMES, 3)
                for position in range(2)
            ]
            for row in listed:
                for name in ("playlist_id", "effect_ids", "voice_to_text"):
                    row.pop(name)
            write(raw, table, STUDY, day, f"{table}{number}", listed)


def _write_coverage(raw: Path, random: Random, videos: list[dict[str, Any]], times: list[datetime]) -> None:
    states = ("complete", "partial", "quarantined", "suspicious", "missing")
    for number, ended in enumerate(random.sample(times, 5)):
        attempts = [
            make_attempt(
                "videos", day, "day", str(day), random.choice(states), random.choice([ended, times[0]]),
                asked=random.choice([100, None]), offered=random.choice([90, 3]), kept=random.choice([80, 0]),
                reason=random.choice([None, "quota", "dead day"]), next_try=random.choice([None, times[-1]]),
                requests=random.choice([0.1, 0.2, 1.0]),
            )
            for day in DAYS
        ]  # fmt: skip
        attempts += [
            make_attempt(
                "comments", _day(video), "video", str(video["id"]), random.choice(states), ended,
                kept=3, inclusion_probability=random.choice([0.1, 1 / 3, 1.0, None]),
                selection=random.choice(["all", "sample", "top"]), selection_rank=random.choice([None, 1, 2]),
                selected_at=random.choice([None, ended]),
            )
            for video in random.sample(videos, 15)
        ]  # fmt: skip
        attempts += [
            make_attempt(entity, DAYS[0], "account", name, random.choice(states), ended, kept=4,
                expected=random.choice([None, 0, 3, 7]))
            for entity in ("followers", "following", "liked_videos", "pinned_videos")
            for name in random.sample(NAMES, 4)
        ]  # fmt: skip
        attempts += [make_attempt("videos", DAYS[1], "canary", "7", random.choice(states), ended)]
        write(raw, "coverage", STUDY, ended.date(), f"k{number}", attempts)
    due: list[dict[str, Any]] = [
        {"entity": "videos", "partition": day, "unit_kind": "day", "unit": str(day), "due_at": random.choice(times)}
        for day in [*DAYS, date(2026, 3, 1), date(2026, 3, 2)]
    ]
    for row in due:
        write(raw, "expected_units", STUDY, row["partition"], "w", [row])
    codes = ("ok", None, "internal_error", "daily_quota_limit_exceeded")
    sent: list[dict[str, Any]] = [
        {
            "pool": random.choice(["research", "follow"]),
            "endpoint": random.choice(["video_query", "comment_list"]),
            "entity": "videos",
            "code": random.choice(codes),
            "rows": random.choice([None, 0, 70]),
            "latency_ms": random.choice([None, 0.1, 100.0, 333.3]),
            "sent_at": random.choice(times),
        }
        for _ in range(60)
    ]
    for day in {row["sent_at"].date() for row in sent}:
        write(raw, "requests", STUDY, day, "q", [row for row in sent if row["sent_at"].date() == day])
    rejected = [
        {
            "entity": "videos", "partition": random.choice([None, *DAYS]), "unit": random.choice([None, "", "u"]),
            "field": random.choice([None, "view_count"]), "reason": random.choice(["no id", "it's bad"]),
            "observed_at": times[0], "value": random.choice([None, '{"v": "\\u00fc"}']),
        }
        for _ in range(20)
    ]  # fmt: skip
    write(raw, "rejected", STUDY, times[0].date(), "r", rejected)
