"""The units of a partition that a study collects: from the study's rules and the data collected before.

The functions read the raw tables and send no request. Not here: days of videos, which are searched in windows (see
windows.py).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from research_assets.storage.raw_reader import RawTables, query_raw
from research_assets.storage.withdrawals import withdrawn_beside
from research_assets.study.spec import CommentRule, StudySpec
from research_assets.tiktok.requests import Request, comment_list, playlist_info, user_info, user_list
from research_assets.units.coverage import Selection, UnitKind
from research_assets.units.renames import present_handles


@dataclass(frozen=True, slots=True)
class Target:
    """One unit to collect: a video's comments, a comment's replies, an account's profile or list, a playlist.

    `expected` is the number of rows according to a field of another entity. `is_confirmed` is false for a comment count
    of zero that may be older than the first comment. `inclusion_probability` is the probability of the unit to be in
    the sample; 1 without sampling, None for a selection of the units with the highest counts, which is no sample.
    `selection_rank` is the rank by that count, from 1, and `selected_at` the time of the newest observation (UTC) on
    which the selection is based.
    """

    entity: str
    kind: UnitKind
    unit: str
    context: Mapping[str, Any] = field(default_factory=dict)
    expected: int | None = None
    is_confirmed: bool = True
    inclusion_probability: float | None = 1.0
    selection: Selection = "all"
    selection_rank: int | None = None
    selected_at: datetime | None = None

    def request(self, study: StudySpec, page_size: int, cursor: int | None) -> Request:
        """Return the request for the page at `cursor`."""
        fields = study.fields.get(self.entity)
        if self.kind == "video":
            return comment_list(video_id=int(self.unit), fields=fields, max_count=page_size, cursor=cursor)
        if self.kind == "comment":
            return comment_list(comment_id=int(self.unit), fields=fields, max_count=page_size, cursor=cursor)
        if self.kind == "playlist":
            return playlist_info(int(self.unit), max_count=page_size, cursor=cursor)
        if self.entity == "users":
            return user_info(self.unit, fields=fields)
        return user_list(self.entity, self.unit, fields=fields, max_count=page_size, cursor=cursor)  # type: ignore[arg-type]


def video_targets(raw: Path | RawTables, study: StudySpec, day: date) -> list[Target]:
    """Return the videos of a day whose comments the study collects, those with most comments first.

    The counts are those of the newest observation. A count of zero that was observed too early is not confirmed; if
    the day was observed later without this video, its count is unknown (None).
    """
    return video_targets_by_day(raw, study, [day]).get(day, [])


def video_targets_by_day(raw: Path | RawTables, study: StudySpec, days: Iterable[date]) -> dict[date, list[Target]]:
    """Return `video_targets` for several days, read in two queries."""
    folders = [f"study={study.name}/day={day}" for day in days]
    rows = query_raw(
        raw,
        "videos",
        folders,
        "SELECT day, id, max_by(comment_count, observed_at), max(observed_at) FROM {table} WHERE id IS NOT NULL "
        "GROUP BY day, id ORDER BY day, 3 DESC NULLS FIRST, id DESC",
    )
    is_unconfirmed = {
        (day, video) for day, video, count, seen_at in rows if count == 0 and not study.confirms_counts(day, seen_at)
    }
    observed_at = _last_complete_observations(raw, study, {day for day, _ in is_unconfirmed})
    vanished = {
        (day, video)
        for day, video in is_unconfirmed
        if day in observed_at and study.confirms_counts(day, observed_at[day])
    }
    return {
        day: [
            Target(
                "comments",
                "video",
                str(video),
                {"asked_video_id": video},
                expected=None if (day, video) in vanished else count,
                is_confirmed=(day, video) not in is_unconfirmed or (day, video) in vanished,
                **selected,
            )
            for video, count, selected in _apply_rule([row[1:] for row in group], study.comments)
        ]
        for day, group in groupby(rows, key=lambda row: row[0])
    }


def _last_complete_observations(raw: Path | RawTables, study: StudySpec, days: Iterable[date]) -> dict[date, datetime]:
    """Return when the newest complete observation of each of some days of videos ended."""
    rows = (
        query_raw(
            raw,
            "coverage",
            f"study={study.name}/day=*",
            "SELECT partition, max(last_at) FROM {table} WHERE entity = 'videos' AND unit_kind = 'day' "
            "AND state = 'complete' AND partition IN (SELECT unnest(?::DATE[])) GROUP BY partition",
            [sorted(days)],
        )
        if (days := set(days))
        else []
    )
    return dict(rows)


def reply_targets(raw: Path | RawTables, study: StudySpec, day: date) -> list[Target]:
    """Return the comments of a day's videos whose `reply_count` exceeds the number of collected replies."""
    return reply_targets_by_day(raw, study, [day]).get(day, [])


def reply_targets_by_day(raw: Path | RawTables, study: StudySpec, days: Iterable[date]) -> dict[date, list[Target]]:
    """Return `reply_targets` for several days, read in one query."""
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
        LEFT JOIN (SELECT day, asked_comment_id AS id, count(DISTINCT id) AS n_replies
                   FROM {table} WHERE asked_comment_id IS NOT NULL GROUP BY ALL) r USING (day, id)
        WHERE c.reply_count > coalesce(r.n_replies, 0)
        ORDER BY c.day, c.video_id, c.id
        """,
    )
    return {
        day: [reply_target(video, comment, count) for _, video, comment, count in group]
        for day, group in groupby(rows, key=lambda row: row[0])
    }


def reply_target(video: int, comment: int, replies: int, of: Target | None = None) -> Target:
    """Return the target for the replies of one comment. They are selected with their video, whose target is `of`."""
    target = Target(
        "comments", "comment", str(comment), {"asked_video_id": video, "asked_comment_id": comment}, expected=replies
    )
    if of is None:
        return target
    return replace(
        target,
        inclusion_probability=of.inclusion_probability,
        selection=of.selection,
        selection_rank=of.selection_rank,
        selected_at=of.selected_at,
    )


def observed_kind(entity: str) -> UnitKind:
    """Return the kind of the units of an entity that is observed in periods."""
    return "playlist" if entity == "playlists" else "account"


def observed_targets(raw: Path | RawTables, study: StudySpec, entity: str, period: date | None = None) -> list[Target]:
    """Return the units that a study observes in a period: its playlists, or its accounts."""
    return playlist_targets(raw, study) if entity == "playlists" else account_targets(raw, study, entity, period)


def playlist_targets(raw: Path | RawTables, study: StudySpec) -> list[Target]:
    """Return the playlists of a study's videos: the least recently observed first, those never observed before all.

    The expected rows are the number of videos that the API counted at the last observation by any study.
    """
    if not study.playlists:
        return []
    ids = query_raw(
        raw,
        "videos",
        f"study={study.name}/day=*",
        "SELECT DISTINCT playlist_id FROM {table} WHERE playlist_id > 0 ORDER BY playlist_id",
    )
    last_observed_at = dict(
        query_raw(
            raw,
            "coverage",
            "study=*/day=*",
            "SELECT unit, max(last_at) FROM {table} WHERE entity = 'playlists' AND requests > 0 GROUP BY unit",
        )
    )
    expected = dict(
        query_raw(
            raw,
            "playlists",
            "study=*/day=*",
            "SELECT asked_playlist_id, max_by(playlist_item_total, observed_at) FROM {table} "
            "WHERE playlist_item_total >= 0 GROUP BY 1",
        )
    )
    targets = [
        Target("playlists", "playlist", str(one), {"asked_playlist_id": one}, expected=expected.get(one))
        for (one,) in ids
    ]
    never = datetime.min.replace(tzinfo=UTC)
    return sorted(targets, key=lambda target: last_observed_at.get(target.unit) or never)


def account_targets(raw: Path | RawTables, study: StudySpec, entity: str, period: date | None = None) -> list[Target]:
    """Return the accounts that a study observes: for `users` by its rule, for other entities its panel.

    Two handles that differ only in case are one account; it is collected once, with its first spelling. A withdrawn
    account is no target. A renamed account of the panel has its new handle if the study follows renames, unless it was
    observed under the old one in the period.
    """
    names: Mapping[str, Mapping[str, Any]] = {name: {} for name in study.panel}
    if entity == "users":
        names = _user_names(raw, study)
    withdrawn = withdrawn_beside(raw if isinstance(raw, Path) else raw.folder)
    unique: dict[str, str] = {}
    handles = present_handles(raw, study, entity, period)
    names = {handles.get(name.lower(), name): selection for name, selection in names.items()}
    for name in names:
        if not withdrawn.has_account(name):
            unique.setdefault(name.casefold(), name)
    expected = _expected_list_lengths(raw, entity)
    return [
        Target(entity, "account", name, {"asked_username": name}, expected=expected.get(name), **names[name])
        for name in unique.values()
    ]


def _user_names(raw: Path | RawTables, study: StudySpec) -> dict[str, Mapping[str, Any]]:
    """Return the accounts whose profiles a study observes, with their selection. Accounts of the panel are all."""
    rule = study.users
    if rule.who == "none":
        return {}
    names: dict[str, Mapping[str, Any]] = {}
    if rule.who != "panel":
        rows = query_raw(
            raw,
            "videos",
            f"study={study.name}/day=*",
            "SELECT username, count(DISTINCT id) AS n, max(max(observed_at)) OVER () FROM {table} WHERE username <> '' "
            "GROUP BY 1 ORDER BY n DESC, 1",
        )
        if rule.who == "top":
            top = {"selection": "top", "inclusion_probability": None}
            names = {
                name: top | {"selection_rank": rank, "selected_at": selected_at}
                for rank, (name, _, selected_at) in enumerate(rows[: rule.n], 1)
            }
        else:
            names = {name: {} for name, *_ in rows}
    return names | {name: {} for name in study.panel}


def _expected_list_lengths(raw: Path | RawTables, entity: str) -> dict[str, int]:
    """Return the expected rows of each account's list, from the newest profile collected by any study."""
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


def _apply_rule(
    rows: Sequence[tuple[int, int | None, datetime]], rule: CommentRule
) -> list[tuple[int, int | None, dict[str, Any]]]:
    """Return id, count and selection of the selected videos of a day. `rows` are ordered by rank."""
    if rule.videos == "none":
        return []
    selected_at = max((seen_at for *_, seen_at in rows), default=None)
    if rule.videos == "top":
        top = {"selection": "top", "inclusion_probability": None, "selected_at": selected_at}
        return [
            (video, count, top | {"selection_rank": rank}) for rank, (video, count, _) in enumerate(rows[: rule.n], 1)
        ]
    if rule.videos == "sample":
        sample = {"selection": "sample", "inclusion_probability": rule.fraction, "selected_at": selected_at}
        return [(video, count, sample) for video, count, _ in rows if _sampling_draw(video, rule.seed) < rule.fraction]
    return [(video, count, {}) for video, count, _ in rows]


def _sampling_draw(video: int, seed: int) -> float:
    """Return a number in [0, 1) that depends on the video and the seed only, so that each run draws the same sample."""
    digest = hashlib.blake2b(f"{seed}:{video}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
