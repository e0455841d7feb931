"""A small set of raw tables, as the collector would write them, with fixed rows of two studies."""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from research_assets import fields
from research_assets.settings import Settings
from research_assets.storage.checked_lines import add_checksum
from research_assets.storage.raw_digests import publish_raw_files
from research_assets.storage.raw_sql import sql_literal
from research_assets.storage.shared_duckdb import connect_shared
from research_assets.warehouse import changes

DAY1, DAY2 = date(2026, 2, 1), date(2026, 2, 2)
STUDIES = ("bikes", "garden")
UPSTREAM = {entity: [dg.AssetKey([study, entity]) for study in STUDIES] for entity in fields.ENTITIES}


def at(day: int, hour: int = 10, month: int = 2, minute: int = 0) -> datetime:
    """Return a UTC time of 2026."""
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def seconds(time: datetime) -> int:
    """Return a time in Unix seconds."""
    return int(time.timestamp())


def new_id(time: datetime, number: int) -> int:
    """Return an id as the API assigns it: the upload time is in the upper 32 bits."""
    return seconds(time) << 32 | number


def new_settings(root: Path) -> Settings:
    """Create a data root and return its settings."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Settings.from_env({"RESEARCH_DATA": str(root), "TIKTOK_API_URL": "http://127.0.0.1:9"})


def copy_published(source: Settings, root: Path) -> Settings:
    """Copy a data root with a published warehouse; its record of the raw files is that of the copies."""
    shutil.copytree(source.root, root)
    settings = new_settings(root)
    record_published(settings)
    return settings


def record_published(settings: Settings) -> None:
    """Record the raw files and the warehouse as they are now, as if the last build had published them."""
    path = settings.dbt_target / "build_record.json"
    record = json.loads(path.read_text())
    del record["crc32"]
    record |= {
        "file_stamps": changes.list_raw_files(settings.raw),
        "file": changes.file_stamp(settings.warehouse.stat()),
    }
    path.write_bytes(add_checksum(json.dumps(record).encode()))


def write(raw: Path, table: str, study: str, day: date, capture: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write one Parquet file of a raw table; columns that a row does not contain are null, except the capture."""
    folder = raw / table / f"study={study}" / f"day={day}"
    folder.mkdir(parents=True, exist_ok=True)
    columns = fields.raw_tables()[table]
    names_of_table = {column.name for column in columns}
    with closing(connect_shared()) as connection:
        connection.execute(f"create temp table rows ({fields.column_definitions(columns)})")
        for row in rows:
            values = ({"capture": capture} if "capture" in names_of_table else {}) | dict(row)
            names = ", ".join(f'"{name}"' for name in values)
            marks = ", ".join("?" for _ in values)
            connection.execute(f"insert into rows ({names}) values ({marks})", list(values.values()))
        path = folder / f"{capture}.parquet"
        connection.execute(f"copy rows to {sql_literal(path)} (format parquet)")
        publish_raw_files([(path, path)])


ANNA_VIDEO = new_id(at(1, 8), 1)
BEN_VIDEO = new_id(at(1, 9), 2)
CARL_VIDEO = new_id(at(2, 7), 3)
BIKE_VIDEO = new_id(at(1, 12), 4)
COMMENT = new_id(at(1, 15), 11)
REPLY = new_id(at(1, 16), 12)
REPLY_TO_REPLY = new_id(at(1, 17), 13)


def video(identity: int, username: str, observed: datetime, **more: Any) -> dict[str, Any]:
    """Return a video that was published half a minute after its upload."""
    values = {"id": identity, "username": username, "create_time": (identity >> 32) + 30, "region_code": "de"}
    return values | {"observed_at": observed} | more


def make_attempt(
    entity: str, partition: date, kind: str, unit: str, state: str, last: datetime, **more: Any
) -> dict[str, Any]:
    """Return a row of `coverage` with one request."""
    values = {"entity": entity, "partition": partition, "unit_kind": kind, "unit": unit, "state": state}
    return (
        values
        | {"first_at": last, "last_at": last, "requests": 1.0, "inclusion_probability": 1.0}
        | {"selection": "all"}
        | more
    )


def write_raw_data(raw: Path) -> None:
    """Write study `garden` (three videos of two days, all entities) and study `bikes`, which shares a video with it."""
    counted = {"like_count": 10, "comment_count": 3, "share_count": 1, "favorites_count": 0}
    tags = {"hashtag_names": ["Garten", "BALKON", "garten"]}
    info = {"hashtag_info_list": [{"hashtag_id": 7, "hashtag_name": "Garten", "hashtag_description": "Green"}]}
    anna = video(ANNA_VIDEO, "anna", at(3), view_count=100, **counted, **tags, **info)
    ben = video(BEN_VIDEO, "ben", at(3), view_count=300, **(counted | {"comment_count": 0}), hashtag_names=["balkon"])
    carl = video(CARL_VIDEO, "carl", at(4), view_count=2**53 + 1, hashtag_names=[])
    bike = video(BIKE_VIDEO, "anna", at(3), view_count=50, comment_count=1)
    write(raw, "videos", "garden", DAY1, "v1", [anna, ben])
    write(raw, "videos", "garden", DAY2, "v2", [carl])
    later = anna | {"observed_at": at(11), "view_count": 900, "comment_count": 2, "region_code": "AT"}
    write(raw, "videos", "garden", DAY1, "v3", [later])
    write(raw, "videos", "bikes", DAY1, "b1", [bike, anna])

    listed = {"video_id": ANNA_VIDEO, "asked_video_id": ANNA_VIDEO, "observed_at": at(5)}
    top = {
        "id": COMMENT,
        "text": "Schön",
        "parent_comment_id": ANNA_VIDEO,
        "like_count": 2,
        "reply_count": 2,
        "position": 0,
    }
    under = listed | {"asked_comment_id": COMMENT, "observed_at": at(5, 11)}
    first = under | {"id": REPLY, "text": "", "parent_comment_id": COMMENT, "position": 0}
    second = under | {"id": REPLY_TO_REPLY, "text": "!", "parent_comment_id": REPLY, "position": 1}
    times = {i: {"create_time": (i >> 32) + 40} for i in (COMMENT, REPLY, REPLY_TO_REPLY)}
    rows = [listed | top | times[COMMENT], first | times[REPLY], second | times[REPLY_TO_REPLY]]
    write(raw, "comments", "garden", DAY1, "c1", rows)

    for day, capture, followers in ((2, "u1", 10), (9, "u2", 12)):
        profile = {
            "asked_username": "anna",
            "display_name": "Anna",
            "follower_count": followers,
            "observed_at": at(day),
        }
        write(raw, "users", "garden", date(2026, 2, day), capture, [profile])

    def relation(account: str, other: str, observed: datetime, position: int = 0) -> dict[str, Any]:
        return {"asked_username": account, "username": other, "observed_at": observed, "position": position}

    write(raw, "followers", "garden", date(2026, 2, 2), "f1", [relation("anna", n, at(2)) for n in ("ben", "carl")])
    write(raw, "followers", "garden", date(2026, 2, 9), "f2", [relation("anna", "ben", at(9))])
    write(raw, "following", "garden", date(2026, 2, 9), "f3", [relation("anna", "ben", at(9))])

    liked = video(BIKE_VIDEO, "dora", at(9), view_count=51, hashtag_names=["Rad"]) | {"asked_username": "anna"}
    write(raw, "liked_videos", "garden", date(2026, 2, 9), "l1", [liked | {"position": 0}])
    write(
        raw,
        "pinned_videos",
        "garden",
        date(2026, 2, 2),
        "p1",
        [anna | {"asked_username": "anna", "observed_at": at(2)}],
    )

    week = date(2026, 2, 9)
    write(
        raw,
        "coverage",
        "garden",
        date(2026, 2, 9),
        "k1",
        [
            make_attempt("videos", DAY1, "day", "2026-02-01", "complete", at(3), asked=200, offered=3, kept=2),
            make_attempt(
                "videos", DAY1, "day", "2026-02-01", "quarantined", at(11), reason="dead day", next_try=at(13)
            ),
            make_attempt("videos", DAY2, "day", "2026-02-02", "partial", at(4), asked=100, offered=100, kept=1),
            make_attempt("comments", DAY1, "video", str(ANNA_VIDEO), "complete", at(5), kept=3, expected=3),
            make_attempt("followers", week, "account", "anna", "complete", at(9, 9), kept=1, capture="f2"),
            make_attempt("pinned_videos", week, "account", "anna", "complete", at(9, 9), kept=0, capture="p2"),
        ],
    )
    due = {"partition": date(2026, 3, 1), "unit_kind": "day", "unit": "2026-03-01", "due_at": at(3, 0, month=3)}
    comments = {"entity": "comments", "partition": DAY2, "unit_kind": "day", "unit": "2026-02-02", "due_at": at(4)}
    write(raw, "expected_units", "garden", date(2026, 3, 1), "w1", [{"entity": "videos"} | due])
    write(raw, "expected_units", "garden", DAY2, "w1", [comments])
    request: dict[str, Any] = {"pool": "research", "endpoint": "video_query", "entity": "videos"}
    codes = [("ok", 200, 2, 100.0), ("ok", 200, 0, 300.0), ("internal_error", 500, None, 900.0)]
    sent = [
        request | {"code": code, "status": status, "rows": rows, "latency_ms": latency, "sent_at": at(3, minute=i)}
        for i, (code, status, rows, latency) in enumerate([*codes, ("daily_quota_limit_exceeded", 429, None, None)])
    ]
    write(raw, "requests", "garden", date(2026, 2, 3), "q1", sent)
    rejected = {"entity": "videos", "partition": DAY1, "unit": "2026-02-01", "observed_at": at(3)}
    reasons = [
        {"reason": "no id", "position": 3, "value": '{"username":"anna"}'},
        {"reason": "no id", "position": 4, "value": '{"username":"ben"}'},
        {"reason": "not JSON, stored as null", "position": 0, "field": "view_count", "value": '"many"'},
    ]
    write(raw, "rejected", "garden", date(2026, 2, 3), "v1", [rejected | reason for reason in reasons])
