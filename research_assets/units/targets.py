"""Whom and what to ask: the units of a partition, drawn from the study's rules and from what is already held.

Reads the raw tables; sends nothing. Days of videos are no targets: their windows are planned in `plan.py`.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

from research_assets.storage.raw_reader import RawTables, query_raw
from research_assets.study.spec import CommentRule, StudySpec
from research_assets.tiktok.requests import Request, comment_list, user_info, user_list
from research_assets.units.coverage import UnitKind


@dataclass(frozen=True, slots=True)
class Target:
    """One unit to ask: a video's comments, a comment's replies, an account's profile or list.

    `expected` is the number of rows that another field promises; `probability` the chance with which it was drawn.
    """

    entity: str
    kind: UnitKind
    unit: str
    context: Mapping[str, Any] = field(default_factory=dict)
    expected: int | None = None
    inclusion_probability: float = 1.0

    def request(self, study: StudySpec, page_size: int, cursor: int | None) -> Request:
        """The request for the page at `cursor`."""
        fields = study.fields.get(self.entity)
        if self.kind == "video":
            return comment_list(video_id=int(self.unit), fields=fields, max_count=page_size, cursor=cursor)
        if self.kind == "comment":
            return comment_list(comment_id=int(self.unit), fields=fields, max_count=page_size, cursor=cursor)
        if self.entity == "users":
            return user_info(self.unit, fields=fields)
        return user_list(self.entity, self.unit, fields=fields, max_count=page_size, cursor=cursor)  # type: ignore[arg-type]


def video_targets(raw: Path | RawTables, study: StudySpec, day: date) -> list[Target]:
    """The videos of a day whose comments the study wants, in falling order of comments; newest counts decide."""
    return video_targets_by_day(raw, study, [day]).get(day, [])


def video_targets_by_day(raw: Path | RawTables, study: StudySpec, days: Iterable[date]) -> dict[date, list[Target]]:
    """The same for several days in one look."""
    rows = query_raw(
        raw,
        "videos",
        [f"study={study.name}/day={day}" for day in days],
        "SELECT day, id, max_by(comment_count, observed_at) FROM {table} WHERE id IS NOT NULL GROUP BY day, id "
        "ORDER BY day, 3 DESC NULLS FIRST, id DESC",
    )
    return {
        day: [
            Target(
                "comments", "video", str(video), {"asked_video_id": video}, expected=count, inclusion_probability=chance
            )
            for video, count, chance in _apply_rule([(video, count) for _, video, count in of_day], study.comments)
        ]
        for day, of_day in groupby(rows, key=lambda row: row[0])
    }


def count_video_targets(raw: Path | RawTables, study: StudySpec, days: Iterable[date]) -> int:
    """About how many videos of some days have comments that the study wants."""
    rule = study.comments
    rows = query_raw(
        raw,
        "videos",
        f"study={study.name}/day=*",
        "SELECT count(DISTINCT id) FROM {table} WHERE day IN (SELECT unnest(?::DATE[])) "
        "AND comment_count IS DISTINCT FROM 0 GROUP BY day",
        [sorted(set(days))],
    )
    counts = [int(count) for (count,) in rows]
    if rule.videos == "none":
        return 0
    if rule.videos == "top":
        return sum(min(rule.n, count) for count in counts)
    return round(sum(counts) * (rule.fraction if rule.videos == "sample" else 1))


def reply_targets(raw: Path | RawTables, study: StudySpec, day: date) -> list[Target]:
    """Comments of a day's videos whose `reply_count` exceeds the replies that are held."""
    return reply_targets_by_day(raw, study, [day]).get(day, [])


def reply_targets_by_day(raw: Path | RawTables, study: StudySpec, days: Iterable[date]) -> dict[date, list[Target]]:
    """The same for several days in one look."""
    if study.comments.replies == "none":
        return {}
    rows = query_raw(
        raw,
        "comments",
        [f"study={study.name}/day={day}" for day in days],
        """
        SELECT c.day, c.video_id, c.id, c.reply_count
        FROM (SELECT day, id, max_by(video_id, observed_at) AS video_id, max_by(reply_count, observed_at) AS reply_count
              FROM {table} WHERE asked_comment_id IS NULL GROUP BY day, id) c
        LEFT JOIN (SELECT day, asked_comment_id AS id, count(DISTINCT id) AS held
                   FROM {table} WHERE asked_comment_id IS NOT NULL GROUP BY ALL) r USING (day, id)
        WHERE c.reply_count > coalesce(r.held, 0)
        ORDER BY c.day, c.video_id, c.id
        """,
    )
    return {
        day: [reply_target(video, comment, count) for _, video, comment, count in of_day]
        for day, of_day in groupby(rows, key=lambda row: row[0])
    }


def reply_target(video: int, comment: int, replies: int) -> Target:
    """The replies of one comment."""
    return Target(
        "comments", "comment", str(comment), {"asked_video_id": video, "asked_comment_id": comment}, expected=replies
    )


def account_targets(raw: Path | RawTables, study: StudySpec, entity: str) -> list[Target]:
    """The accounts that a study observes: for `users` by its rule, for everything else its panel.

    Handles differ in more than their case, so each is asked once in its first spelling.
    """
    names: Iterable[str] = study.panel
    if entity == "users":
        names = _user_names(raw, study)
    once: dict[str, str] = {}
    for name in names:
        once.setdefault(name.casefold(), name)
    promised = _expected_list_lengths(raw, entity)
    return [
        Target(entity, "account", name, {"asked_username": name}, expected=promised.get(name)) for name in once.values()
    ]


def _user_names(raw: Path | RawTables, study: StudySpec) -> list[str]:
    rule = study.users
    if rule.who == "none":
        return []
    names: list[str] = []
    if rule.who != "panel":
        rows = query_raw(
            raw,
            "videos",
            f"study={study.name}/day=*",
            "SELECT username, count(DISTINCT id) AS n FROM {table} WHERE username <> '' GROUP BY 1 ORDER BY n DESC, 1",
        )
        names = [name for name, _ in (rows[: rule.n] if rule.who == "top" else rows)]
    return [*names, *study.panel]


def _expected_list_lengths(raw: Path | RawTables, entity: str) -> dict[str, int]:
    """How long an account's list should be, by the newest profile that any study holds."""
    column = {"followers": "follower_count", "following": "following_count"}.get(entity)
    if column is None:
        return {}
    rows = query_raw(
        raw,
        "users",
        "study=*/day=*",
        f"SELECT asked_username, max_by({column}, observed_at) FROM {{table}} WHERE {column} IS NOT NULL GROUP BY 1",
    )
    return dict(rows)


def _apply_rule(rows: Sequence[tuple[int, int | None]], rule: CommentRule) -> list[tuple[int, int | None, float]]:
    if rule.videos == "none":
        return []
    if rule.videos == "top":
        return [(video, count, 1.0) for video, count in rows[: rule.n]]
    if rule.videos == "sample":
        return [
            (video, count, rule.fraction) for video, count in rows if _sampling_draw(video, rule.seed) < rule.fraction
        ]
    return [(video, count, 1.0) for video, count in rows]


def _sampling_draw(video: int, seed: int) -> float:
    """A number in [0, 1) that depends on nothing but the video and the seed: the same draw at each run."""
    digest = hashlib.blake2b(f"{seed}:{video}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
