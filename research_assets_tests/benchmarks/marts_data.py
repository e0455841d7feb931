"""A year of raw tables of realistic size, written directly as Parquet: the input of bench_marts.py.

One study has 950 videos per day, each observed three times (when settled, after 10 and after 30 days), 30 comments per
video, 300 profiles and 1,000 requests per day, and 40 follower lists of 500 accounts per week. A row depends only on
its numbers, so the data is always the same.
"""

import shutil
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import duckdb

from research_assets.fields import raw_tables
from research_assets.storage.raw_digests import publish_raw_files, recorded_digests

STUDY = "year"
FIRST = date(2025, 1, 1)
DAYS = 365
VIDEOS, COMMENTS, PROFILES, REQUESTS = 950, 30, 300, 1000
LISTS, FOLLOWERS, ACCOUNTS = 40, 500, 20_000
AGES = (3, 10, 30)
"""Days after publication on which a day's videos are observed. Their comments are collected with the first."""

# In the SQL: `o` is the day of observation, `d` that of publication, `v` the number of a video, profile or unit.
_WORDS = "['garten','balkon','tomaten','hochbeet','kompost','saatgut','ernte','gießen','fyp','foryou','diy','natur']"
_TIME = "(epoch(d)::BIGINT + v * 90 % 86000)"
_VIDEO = f"({_TIME} << 32 | v)"
_CREATOR = f"'account_' || hash(v, epoch(d)::BIGINT) % {ACCOUNTS}"
_TAGS = (
    f"list_distinct([({_WORDS})[1 + (hash(v, epoch(d), k) % 12)::INTEGER] FOR k IN range(1 + v % 6)] "
    "|| ['tag' || hash(v, epoch(d)) % 5000])"
)


def write_year(raw: Path, scale: int = 1) -> None:
    """Write the raw tables of the first `DAYS` days, with `scale` times the videos, profiles and lists of a day."""
    _write(raw, FIRST, FIRST + timedelta(days=DAYS - 1), scale)


def write_day(raw: Path, number: int, scale: int = 1) -> None:
    """Write one more day: new videos and comments, and re-observations of older days."""
    day = FIRST + timedelta(days=number)
    _write(raw, day, day, scale)


def _write(raw: Path, first: date, last: date, scale: int) -> None:
    """Write the rows of the days of observation from `first` to `last`."""
    videos, profiles, followed = VIDEOS * scale, PROFILES * scale, LISTS * scale
    with duckdb.connect(config={"memory_limit": "2GB", "preserve_insertion_order": False}) as db:
        db.execute("SET TimeZone = 'UTC'")
        db.execute(
            "CREATE TABLE days AS SELECT unnest(generate_series(?::TIMESTAMPTZ, ?::TIMESTAMPTZ, INTERVAL 1 DAY)) AS o",
            [first, last],
        )
        for age in AGES:
            _copy(db, raw, "videos", f"v{age}", _rows(f"0, {videos}", age), "d", _videos(age))
        collected = _rows("0, 1", AGES[0])
        with_comments = f"(SELECT * FROM {_rows(f'0, {videos}', AGES[0])}, range({COMMENTS}) s(c))"
        _copy(db, raw, "comments", "c", with_comments, "d", _comments())
        _copy(db, raw, "coverage", "k", _rows(f"-{len(AGES)}, {videos}", AGES[0]), "o", _coverage())
        _copy(db, raw, "users", "u", _rows(f"0, {profiles}", 0), "o", _users())
        _copy(db, raw, "requests", "requests", _rows(f"0, {REQUESTS}", 0), "o", _requests())
        lists = f"(SELECT * FROM days, range({followed}) r(a), range({FOLLOWERS}) s(f) WHERE isodow(o) = 1)"
        _copy(db, raw, "followers", "f", lists, "o", _followers())
        # Days that are expected from now on, and the videos of days whose comments are expected from now on.
        expected = (
            f"(SELECT TIMESTAMPTZ '{last}' AS o, d, v FROM (SELECT o AS d FROM days UNION SELECT d FROM {collected}), "
            f"range(-1, {videos}) s(v) WHERE v < 0 OR d <= TIMESTAMPTZ '{last}' - INTERVAL {AGES[0]} DAY)"
        )
        for (day,) in db.execute(f"SELECT DISTINCT d::DATE FROM {expected}").fetchall():
            shutil.rmtree(raw / "expected_units" / f"study={STUDY}" / f"day={day}", ignore_errors=True)
        _copy(db, raw, "expected_units", "expected", expected, "d", _expected_units())


def _rows(numbers: str, age: int) -> str:
    """Return SQL for numbered items of each day of observation, published `age` days before."""
    d = f"o - INTERVAL {age} DAY"
    return f"(SELECT o, {d} AS d, v FROM days, range({numbers}) r(v) WHERE {d} >= TIMESTAMPTZ '{FIRST}')"


def _copy(
    db: duckdb.DuckDBPyConnection, raw: Path, table: str, name: str, rows: str, day: str, values: Mapping[str, str]
) -> None:
    """Write rows to a raw table, one file per day. Columns without a value are null."""
    stamp = {"observed_at": "o + INTERVAL 12 HOUR", "capture": f"strftime(o, '%Y%m%dT120000Z') || '-{name}'"}
    values = stamp | dict(values)
    columns = ", ".join(
        f'({values.get(column.name, "NULL")})::{column.type} AS "{column.name}"' for column in raw_tables()[table]
    )
    (raw / table).mkdir(parents=True, exist_ok=True)
    db.execute(
        f"COPY (SELECT {columns}, '{STUDY}' AS study, ({day})::DATE AS day FROM {rows}) TO '{raw / table}' "
        f"(FORMAT parquet, COMPRESSION zstd, PARTITION_BY (study, day), FILENAME_PATTERN '{name}-{{uuid}}', APPEND)"
    )
    written = (raw / table / f"study={STUDY}").glob("day=*/*.parquet")
    publish_raw_files([(path, path) for path in written if not recorded_digests(path)])


def _videos(age: int) -> dict[str, str]:
    views = f"(1 + hash(v, epoch(d)) % 100000) * {age + 10}"
    tag = "{'hashtag_id': (hash(t) >> 2)::BIGINT, 'hashtag_name': t, 'hashtag_description': ''}"
    return {
        "id": _VIDEO,
        "video_description": "'Heute: ' || repeat('gießen, jäten, ernten ', (1 + v % 4)::INTEGER) || '#garten ' || v",
        "create_time": f"{_TIME} + 27",
        "region_code": "['DE', 'de', 'AT', 'CH'][1 + v % 4]",
        "share_count": f"({views}) // 200",
        "view_count": views,
        "like_count": f"({views}) // 20",
        "comment_count": str(COMMENTS),
        "music_id": "7000000000000000000 + v",
        "hashtag_names": _TAGS,
        "username": _CREATOR,
        "voice_to_text": "CASE WHEN v % 6 = 0 THEN repeat('und dann nehmen wir die Schaufel ', 5) END",
        "is_stem_verified": "false",
        "favorites_count": f"({views}) // 100",
        "video_duration": "10 + v % 60",
        "hashtag_info_list": f"[{tag} FOR t IN {_TAGS}]",
        "video_label": '\'{"content":"","sink":false,"type":0,"vote":false,"warn":false}\'',
    }


def _comments() -> dict[str, str]:
    written = f"({_TIME} + 600 + c * 60)"
    return {
        "id": f"({written} << 32 | (v * 100 + c))",
        "video_id": _VIDEO,
        "text": "'Kommentar ' || c || ': ' || repeat('sehr schön ', (hash(v, c) % 8)::INTEGER)",
        "like_count": "c",
        "reply_count": "0",
        # Each third comment is a reply to the one before it.
        "parent_comment_id": f"CASE WHEN c % 3 = 2 THEN (({written} - 60) << 32 | (v * 100 + c - 1)) ELSE {_VIDEO} END",
        "create_time": f"{written} + 30",
        "asked_video_id": _VIDEO,
        "position": "c",
    }


def _users() -> dict[str, str]:
    return {
        "asked_username": f"'account_' || (epoch(d)::BIGINT // 86400 * 7919 + v * 61) % {ACCOUNTS}",
        "display_name": "'Konto ' || v",
        "bio_description": "'Gärtnern in ' || repeat('Graz ', (v % 9)::INTEGER)",
        "avatar_url": "'https://p16.example/avatar~' || hash(v, epoch(d)) || '.jpeg?x-expires=1747472400'",
        "is_verified": "v % 50 = 0",
        "follower_count": "hash(v) % 100000",
        "following_count": "hash(v) % 1000",
        "likes_count": "hash(v) % 1000000",
        "video_count": "hash(v) % 300",
    }


def _coverage() -> dict[str, str]:
    """Return SQL for the attempts: a row for each day of videos, and one for the comments of each video."""
    day = f"CASE WHEN v < 0 THEN (o - INTERVAL 1 DAY * ({list(AGES)}[-v]))::DATE ELSE d::DATE END"
    return {
        "entity": "CASE WHEN v < 0 THEN 'videos' ELSE 'comments' END",
        "partition": day,
        "unit_kind": "CASE WHEN v < 0 THEN 'day' ELSE 'video' END",
        "unit": f"CASE WHEN v < 0 THEN ({day})::VARCHAR ELSE {_VIDEO}::VARCHAR END",
        "state": "'complete'",
        "asked": "100",
        "offered": "100",
        "kept": f"CASE WHEN v < 0 THEN {VIDEOS} ELSE {COMMENTS} END",
        "expected": f"CASE WHEN v >= 0 THEN {COMMENTS} END",
        "requests": "1",
        "inclusion_probability": "1",
        "selection": "'all'",
        "first_at": "o + INTERVAL 11 HOUR",
        "last_at": "o + INTERVAL 12 HOUR",
    }


def _expected_units() -> dict[str, str]:
    return {
        "entity": "CASE WHEN v < 0 THEN 'videos' ELSE 'comments' END",
        "partition": "d::DATE",
        "unit_kind": "CASE WHEN v < 0 THEN 'day' ELSE 'video' END",
        "unit": f"CASE WHEN v < 0 THEN d::DATE::VARCHAR ELSE {_VIDEO}::VARCHAR END",
        "due_at": f"d + INTERVAL {AGES[0]} DAY",
    }


def _requests() -> dict[str, str]:
    return {
        "pool": "'research'",
        "endpoint": "CASE WHEN v < 50 THEN 'video_query' ELSE 'comment_list' END",
        "entity": "CASE WHEN v < 50 THEN 'videos' ELSE 'comments' END",
        "unit": "v::VARCHAR",
        "sent_at": "o + v * INTERVAL 1 SECOND",
        "status": "200",
        "code": "'ok'",
        "rows": "100",
        "latency_ms": "100 + v % 900",
        "log_id": "'20250515090640A1B2C3D4E5F60718293A'",
    }


def _followers() -> dict[str, str]:
    """Return SQL for follower lists. Each list changes by a tenth per week."""
    week = "epoch(o)::BIGINT // 604800"
    return {
        "username": f"'follower_' || a || '_' || (f + {week} * {FOLLOWERS // 10})",
        "display_name": "'Name ' || f",
        "asked_username": "'panel_' || a",
        "position": "f",
    }
