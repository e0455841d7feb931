"""A warehouse with values that are difficult to export: long ids, formulas, line ends, nulls, mentions."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb

from research_assets.settings import Settings
from research_assets.study.spec import StudySpec
from research_assets.warehouse.changes import BuildInput, write_record

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
VIDEO, OTHER, THIRD = 7602399228894800784, 7602399228894800785, 2**53 + 1
COMMENT, REPLY = 7602400000000000001, 7602400000000000003
VIEWS = 2**53 + 3
LONG = "ü" * 2000

STUDY = StudySpec(
    name="garden",
    start=date(2026, 2, 1),
    query={
        "and": (
            {"operation": "EQ", "field_name": "hashtag_name", "field_values": ["garten"]},
            {"operation": "IN", "field_name": "username", "field_values": ["anna", "ben"]},
        )
    },
    panel=("carla",),
)

_TABLES = """
CREATE SCHEMA marts;
CREATE TABLE marts.videos (
    study VARCHAR, video_id BIGINT, day DATE, username VARCHAR, region_code VARCHAR, created_at TIMESTAMPTZ,
    description VARCHAR, hashtags VARCHAR[],
    hashtag_info STRUCT(hashtag_id BIGINT, hashtag_name VARCHAR, hashtag_description VARCHAR)[],
    mentions VARCHAR[], sticker_names VARCHAR[], voice_to_text VARCHAR, music_id BIGINT, playlist_id BIGINT,
    is_stem_verified BOOLEAN, view_count BIGINT, observed_age_days DOUBLE, label_json VARCHAR
);
CREATE TABLE marts.comments (
    study VARCHAR, comment_id BIGINT, video_id BIGINT, day DATE, parent_comment_id BIGINT, depth INTEGER, text VARCHAR,
    display_name VARCHAR
);
CREATE TABLE marts.users (study VARCHAR, username VARCHAR, display_name VARCHAR, bio_url VARCHAR, like_count BIGINT);
CREATE TABLE marts.coverage (
    study VARCHAR, entity VARCHAR, partition_day DATE, unit_kind VARCHAR, unit VARCHAR, state VARCHAR, asked BIGINT,
    offered BIGINT, kept BIGINT, reason VARCHAR
);
CREATE TABLE marts.quota_usage (day DATE, pool VARCHAR, study VARCHAR, n_requests BIGINT);
COMMENT ON TABLE marts.videos IS 'Grain: one video of one study.';
COMMENT ON COLUMN marts.videos.view_count IS 'Views, however they were counted, in a sentence that is longer than what'
    ' Stata shows beside a variable (views).';
"""


def at(day: int, second: int = 0) -> datetime:
    return datetime(2026, 2, day, 10, 0, second, 250_000, tzinfo=UTC)


VIDEOS: list[tuple[Any, ...]] = [
    (
        *("garden", VIDEO, date(2026, 2, 1), "anna", "NA", at(1)),
        f'=HYPERLINK("x") mit @Ben.k. und @Frau Dr. Carla!\r\n"Zeile 2", https://x.org/{OTHER} {OTHER} a@b.org',
        ["garten", 'say "hi"'],
        [{"hashtag_id": 2**60 + 1, "hashtag_name": "garten", "hashtag_description": ""}],
        *(["ben.k", "Frau Dr. Carla"], ["@anna", None], LONG, 7_500_000_000_000_000_001, None),
        *(True, VIEWS, 0.5, '{"content": ""}'),
    ),
    (
        *("garden", OTHER, date(2026, 2, 2), "12345678901234567", "DE", None, "", [], None, None, None),
        *("'-1", None, 7_400_000_000_000_000_001, None, None, None, None),
    ),
    (
        *("bikes", THIRD, date(2026, 2, 2), "ben.k", None, at(2, 5), None, None, [], [], [], "nul\0l", 5, None, False),
        *(12, -1.5, "x"),
    ),
]
COMMENTS: list[tuple[Any, ...]] = [
    ("garden", COMMENT, VIDEO, date(2026, 2, 1), None, 0, "@Anna schön", "Ben K"),
    ("garden", REPLY, VIDEO, date(2026, 2, 1), COMMENT, 1, "+1", None),
]
USERS: list[tuple[Any, ...]] = [
    ("garden", "anna", "Anna M", "https://x.org/anna", 5),
    ("garden", "ben.k", "", None, None),
]
COVERAGE: list[tuple[Any, ...]] = [
    ("garden", "videos", date(2026, 2, 1), "day", "2026-02-01", "complete", 100, 3, 1, None),
    ("garden", "comments", date(2026, 2, 1), "video", str(VIDEO), "complete", 100, 2, 2, None),
    ("garden", "users", date(2026, 2, 2), "account", "anna", "missing", 0, 0, 0, "`username: anna` is invalid"),
    ("garden", "users", date(2026, 2, 3), "account", "anna,ben.k", "failed", 2, 0, 0, None),
    ("garden", "videos", date(2026, 2, 4), "canary", str(VIDEO), "complete", 1, 1, 1, None),
]


def make_warehouse(root: Path) -> Settings:
    """Return settings of a new data folder with this warehouse."""
    (root / "state").mkdir(mode=0o700, parents=True)
    settings = Settings.from_env({"RESEARCH_DATA": str(root)})
    with duckdb.connect(str(settings.warehouse)) as connection:
        connection.execute(_TABLES)
        for table, rows in (("videos", VIDEOS), ("comments", COMMENTS), ("users", USERS), ("coverage", COVERAGE)):
            for row in rows:
                connection.execute(f"INSERT INTO marts.{table} VALUES ({', '.join('?' * len(row))})", list(row))
        connection.execute("INSERT INTO marts.quota_usage VALUES ('2026-02-03', 'research', 'garden', 4)")
    return settings


def record_build(settings: Settings) -> None:
    """Record the warehouse as built from the raw files, of which there are none.

    Otherwise a removal would build it again, because it has an item that they do not have.
    """
    settings.dbt_target.mkdir(mode=0o700, exist_ok=True)
    settings.warehouse.rename(settings.warehouse_build)
    write_record(settings, BuildInput({}, None), "")
    settings.warehouse_build.rename(settings.warehouse)
