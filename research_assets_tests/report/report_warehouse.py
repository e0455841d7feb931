"""A published warehouse of a few known rows; its tables have the columns of the marts' contracts."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import chain, groupby
from typing import Any

import duckdb
import yaml

from research_assets.settings import DBT_PROJECT_DIR, Settings
from research_assets.storage.raw_sql import sql_identifier
from research_assets.study.spec import CommentRule, StudySpec
from research_assets.warehouse import codebook

SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(1)>'
"""HTML in a hashtag and in a name, which must stay text."""

STUDY = StudySpec(
    name="garden",
    start=date(2026, 2, 1),
    end=date(2026, 2, 6),
    query={
        "and": ({"operation": "IN", "field_name": "region_code", "field_values": ["DE", "AT"]},),
        "not": ({"operation": "EQ", "field_name": "keyword", "field_values": ["</pre><script>"]},),
    },
    reobserve_days=(10,),
    comments=CommentRule("sample", fraction=0.25, seed=7),
    panel=("anna", "ben"),
)

STATES = ("complete", "complete", "quarantined", "suspicious", "partial", "not_asked")
"""States of the six days."""

VIDEOS = (3, 2, 0, 0, 1, 0)
"""Videos of the six days."""


def at(day: int, hour: int = 10) -> datetime:
    """Return a time in February 2026 (UTC)."""
    return datetime(2026, 2, day, hour, tzinfo=UTC)


@cache
def contracts() -> dict[str, Mapping[str, str]]:
    """Return the columns of each mart with their types: the contracts that dbt enforces, and the codebook."""
    files = (DBT_PROJECT_DIR / "models" / "marts").glob("_*.yml")
    models = [model for file in files for model in yaml.safe_load(file.read_text()).get("models", ())]
    marts: dict[str, Mapping[str, str]] = {
        model["name"]: {column["name"]: column["data_type"] for column in model["columns"]} for model in models
    }
    return marts | {"codebook": {name: kind for name, (kind, *_) in codebook.COLUMNS.items()}}


def publish(settings: Settings, rows: Mapping[str, Sequence[Mapping[str, Any]]], *, leave_out: str = "") -> None:
    """Write a warehouse with these rows and every mart except `leave_out`. Columns missing from a row are null."""
    settings.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with duckdb.connect(str(settings.warehouse)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        # One transaction: otherwise DuckDB flushes its log after each statement.
        connection.begin()
        connection.execute("create schema marts")
        for mart, columns in contracts().items():
            if mart == leave_out:
                continue
            definitions = ", ".join(f"{sql_identifier(name)} {kind}" for name, kind in columns.items())
            connection.execute(f"create table marts.{sql_identifier(mart)} ({definitions})")
            for names, group in groupby(rows.get(mart, ()), key=tuple):
                values = [[*row.values()] for row in group]
                # One statement for all rows: its overhead is most of the time of a row.
                places = ", ".join([f"({', '.join('?' * len(names))})"] * len(values))
                connection.execute(
                    f"insert into marts.{sql_identifier(mart)} ({', '.join(map(sql_identifier, names))}) "
                    f"values {places}",
                    [*chain.from_iterable(values)],
                )
        connection.commit()


def unit(entity: str, kind: str, name: str, state: str = "complete", **more: Any) -> dict[str, Any]:
    values = {"study": "garden", "entity": entity, "unit_kind": kind, "unit": name, "state": state}
    return (
        values
        | {"partition_day": date(2026, 2, 1), "inclusion_probability": 1.0, "requests": 1.0, "last_at": at(9)}
        | more
    )


def column(number: int, name: str, *filled: int, **more: Any) -> dict[str, Any]:
    """Return a codebook row of the mart `videos`: filled rows of 100 for each month from February 2024."""
    months = [
        {"month": date(2024, 2 + index, 1), "n_rows": 100, "n_filled": count, "fill_rate": count / 100}
        for index, count in enumerate(filled)
    ]
    row = {
        "mart": "videos",
        "column_number": number,
        "column_name": name,
        "description": "A description.",
        "type": "bigint",
    }
    return row | {"n_rows": 100 * len(filled), "n_filled": sum(filled), "fill_by_month": months} | more


def garden_rows() -> dict[str, list[dict[str, Any]]]:
    """Return six videos of two creators on days with different states, and one video of another study."""
    days = [STUDY.start + timedelta(days=n) for n in range(6)]
    videos: list[dict[str, Any]] = []
    for day, number in zip(days, VIDEOS, strict=True):
        for _ in range(number):
            index = len(videos)
            videos.append(
                {
                    "study": "garden",
                    "video_id": 10 + index,
                    "day": day,
                    "username": "anna" if index else IMAGE,
                    "view_count": (0, 5, 50, 500, 5_000, 50_000)[index],
                    "like_count": index,
                    "comment_count": 0,
                    "share_count": None,
                    "hashtags": [SCRIPT, "garten"] if index % 2 else [SCRIPT],
                    "observed_age_days": 5.0 + index,
                    "is_within_count_lag": index < 5,
                    "created_at": datetime(2026, 2, 1, tzinfo=UTC),
                    "first_seen_at": at(8),
                    "last_seen_at": at(9),
                    "missed_at": at(9) if index == 2 else None,
                    "n_observations": 2 if index == 1 else 1,
                }
            )
    other = {"study": "bikes", "video_id": 99, "view_count": 7, "last_seen_at": at(9), "n_observations": 1}
    rows_of_day = dict(zip(days, ((200, 5, 3), (100, 4, 2), (0, 0, 0), (0, 0, 0), (100, 9, 1), (0, 0, 0)), strict=True))
    searches = [
        unit("videos", "day", str(day), state, partition_day=day, asked=a, offered=o, kept=k,
             first_offered=o if state == "complete" else None, first_kept=k if state == "complete" else None,
             first_completed_at=at(8) if state == "complete" else None,
             reason=None if state == "complete" else f"Search of {day} failed: {SCRIPT}")
        for (day, (a, o, k)), state in zip(rows_of_day.items(), STATES, strict=True)
    ]  # fmt: skip
    lists = [
        unit(
            "comments",
            "video",
            "10",
            asked=100,
            offered=4,
            kept=3,
            expected=4,
            inclusion_probability=0.25,
            selection="sample",
            completed_at=at(9),
        ),
        unit(
            "comments",
            "video",
            "11",
            "refused",
            expected=1,
            inclusion_probability=0.25,
            reason="Comments of 11 are closed",
        ),
        unit("followers", "account", "anna", asked=100, offered=2, kept=2, expected=5, completed_at=at(9)),
        unit("following", "account", "ben", "missing", reason="`username: ben` is unknown"),
        unit("users", "account", "anna", asked=1, offered=1, kept=1),
    ]
    comments = [
        {"comment_id": 1, "thread_root_id": 1, "depth": 0, "is_reply": False},
        {"comment_id": 2, "thread_root_id": 1, "depth": 1, "is_reply": True},
        {"comment_id": 3, "thread_root_id": 1, "depth": 2, "is_reply": True},
    ]
    requests = [
        (8, "research", "video_query", 20, 4, 1),
        (9, "research", "user_info", 2, 1, 0),
        (9, "follow", "followers", 3, 0, 0),
    ]
    return {
        "videos": [*videos, other],
        "video_observations": [
            {"study": "garden", "video_id": 10 + index, "observed_at": at(8), "observation_number": 1,
             "view_count": views, "age_days": 4.0, "is_within_count_lag": True}
            for index, views in enumerate((100, 300))
        ]
        + [{"study": "garden", "video_id": 10, "observed_at": at(9, 23), "observation_number": 2, "view_count": 900}],
        "comments": [comment | {"study": "garden", "video_id": 10} for comment in comments],
        "users": [{"study": "garden", "username": "anna"}],
        "follows": [{"study": "garden", "source_username": n, "target_username": "anna"} for n in ("ben", "carl")],
        "hashtags": [
            {"study": "garden", "hashtag": tag, "day": day, "n_videos": 1} for tag in (SCRIPT, "garten") for day in days
        ],
        "creators": [
            {"study": "garden", "username": "anna", "n_videos": 5, "n_days": 3, "view_count_median": 500.0},
            {"study": "garden", "username": IMAGE, "n_videos": 1, "n_days": 1, "view_count_median": 0.0},
        ],
        "study_days": [
            {"study": "garden", "day": day, "state": state, "n_videos": n, "n_creators": min(n, 2), "n_comments": 0,
             "n_not_returned": 0 if state == "complete" else None, "offered": rows_of_day[day][1],
             "kept": rows_of_day[day][2]}
            for day, state, n in zip(days, STATES, VIDEOS, strict=True)
        ],
        "observation_rounds": [
            {"study": "garden", "day": days[0], "round_number": 1, "started_at": at(8), "ended_at": at(8), "offered": 5,
             "kept": 3, "n_returned": 3, "age_days": 5.5, "n_first_seen": 3, "n_seen_again": 0, "n_reappeared": 0,
             "n_missed": 0},
            {"study": "garden", "day": days[0], "round_number": 2, "started_at": at(9), "ended_at": at(9), "offered": 5,
             "kept": 2, "n_returned": 2, "age_days": 7.5, "n_first_seen": 0, "n_seen_again": 2, "n_reappeared": 0,
             "n_missed": 1},
            {"study": "garden", "day": days[1], "round_number": 1, "started_at": at(7), "ended_at": at(8), "offered": 4,
             "kept": 2, "n_returned": 2, "age_days": 4.5, "n_first_seen": 2, "n_seen_again": 0, "n_reappeared": 0,
             "n_missed": 0},
        ],
        "coverage": [*searches, *lists],
        "quota_usage": [
            {"study": "garden", "day": date(2026, 2, day), "pool": pool, "endpoint": endpoint, "n_requests": n,
             "n_failed": failed, "n_over_quota": refused, "n_rows": n,
             "first_sent_at": at(day), "last_sent_at": at(day, 11)}
            for day, pool, endpoint, n, failed, refused in requests
        ],
        "verification": [
            {"study": "garden", "kind": "video", "day": day, "n_items": items, "n_verified": verified,
             "n_overdue": overdue, "oldest_verified_at": at(9), "newest_verified_at": at(20), "first_due_at": at(24)}
            for day, items, verified, overdue in ((days[0], 3, 2, 0), (days[1], 3, 0, 1))
        ],
        "withdrawals": [
            {"receipt": receipt, "kind": kind, "found_by": found_by, "withdrawn_at": at(20), "n_items": n}
            for receipt, kind, found_by, n in (
                ("r1", "video", "compliance", 2), ("r2", "video", "compliance", 1), ("r3", "account", "forgotten", 1)
            )
        ],
        "codebook": [
            column(1, "study", 100, 100, 100),
            column(2, "view_count", 0, 40, 50, unit="views", source_field="videos.view_count",
                   available_since="2024-03-15", description=f"Views, see `video_observations`. {SCRIPT}"),
            column(3, "like_count", 100, 10, 10, examples="1, 2, 3"),
            {"mart": "codebook", "column_number": 1, "column_name": "mart", "type": "varchar",
             "description": "The mart."},
        ],
        "api_changes": [
            {"change_id": "a", "date_basis": "published", "first_day": date(2026, 2, 2), "precision": "day",
             "title": "Broken tags", "description": SCRIPT, "source": "reference"},
            {"change_id": "b", "date_basis": "observed", "last_day": date(2024, 6, 30), "precision": "month",
             "title": "Long over"},
            {"change_id": "c", "date_basis": "observed", "first_day": date(2025, 1, 1), "precision": "year",
             "title": "Goes on"},
            {"change_id": "d", "date_basis": "observed", "first_day": date(2026, 2, 9), "precision": "day",
             "title": "New rules"},
        ],
    }  # fmt: skip
