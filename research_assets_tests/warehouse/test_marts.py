"""The rows of each mart, for the fixed raw tables of `raw_data`."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import pytest

from research_assets_tests.warehouse.raw_data import (
    ANNA_VIDEO,
    BEN_VIDEO,
    BIKE_VIDEO,
    CARL_VIDEO,
    COMMENT,
    DAY1,
    DAY2,
    REPLY,
    REPLY_TO_REPLY,
    at,
)

Rows = Callable[[str], Sequence[tuple[Any, ...]]]


def test_videos_contains_the_newest_observation_per_study(rows: Rows) -> None:
    assert rows(
        "select study, video_id, day, username, region_code, view_count, comment_count, hashtags, n_observations, "
        "first_seen_at, last_seen_at, capture from marts.videos order by study, video_id"
    ) == [
        ("bikes", ANNA_VIDEO, DAY1, "anna", "DE", 100, 3, ["balkon", "garten"], 1, at(3), at(3), "b1"),
        ("bikes", BIKE_VIDEO, DAY1, "anna", "DE", 50, 1, None, 1, at(3), at(3), "b1"),
        ("garden", ANNA_VIDEO, DAY1, "anna", "AT", 900, 2, ["balkon", "garten"], 2, at(3), at(11), "v3"),
        ("garden", BEN_VIDEO, DAY1, "ben", "DE", 300, 0, ["balkon"], 1, at(3), at(3), "v1"),
        ("garden", CARL_VIDEO, DAY2, "carl", "DE", 2**53 + 1, None, [], 1, at(4), at(4), "v2"),
    ]


def test_videos_has_upload_time_publication_time_and_age_of_counts(rows: Rows) -> None:
    ((uploaded, created, observed_age_days),) = rows(
        "select uploaded_at, created_at, observed_age_days from marts.videos "
        f"where study = 'garden' and video_id = {BEN_VIDEO}"
    )
    assert uploaded == at(1, 9)
    assert (created - uploaded).total_seconds() == 30
    assert observed_age_days == pytest.approx((at(3) - created).total_seconds() / 86400)


def test_video_observations_contains_every_observation_and_marks_decreases(rows: Rows) -> None:
    assert rows(
        "select capture, observation_number, view_count, view_count_change, comment_count_change, has_decreased "
        f"from marts.video_observations where study = 'garden' and video_id = {ANNA_VIDEO} order by observed_at"
    ) == [("v1", 1, 100, None, None, False), ("v3", 2, 900, 800, -1, True)]


def test_replies_belong_to_the_thread_of_the_top_comment(rows: Rows) -> None:
    assert rows(
        "select comment_id, parent_comment_id, thread_root_id, depth, is_reply, position, text "
        "from marts.comments order by comment_id"
    ) == [
        (COMMENT, None, COMMENT, 0, False, 0, "Schön"),
        (REPLY, COMMENT, COMMENT, 1, True, 0, ""),
        (REPLY_TO_REPLY, REPLY, COMMENT, 2, True, 1, "!"),
    ]


def test_users_contains_the_newest_profile_and_user_observations_both(rows: Rows) -> None:
    assert rows(
        "select study, username, follower_count, first_seen_at, last_seen_at, n_observations from marts.users"
    ) == [("garden", "anna", 12, at(2), at(9), 2)]
    assert rows(
        "select observation_number, follower_count, follower_count_change from marts.user_observations order by 1"
    ) == [(1, 10, None), (2, 12, 2)]


def test_follows_combines_both_kinds_of_lists(rows: Rows) -> None:
    assert rows(
        "select source_username, target_username, first_seen_at, last_seen_at, is_in_followers, is_in_following, "
        "is_current, is_mutual, missed_at from marts.follows order by 1, 2"
    ) == [
        ("anna", "ben", at(9), at(9), False, True, True, True, None),
        ("ben", "anna", at(2), at(9), True, False, True, True, None),
        ("carl", "anna", at(2), at(2), True, False, False, False, at(9, 9)),
    ]


def test_engagements_contains_the_video_and_whether_it_is_current(rows: Rows) -> None:
    assert rows(
        "select username, video_id, kind, video_username, video_hashtags, video_view_count, is_current, missed_at "
        "from marts.engagements order by kind"
    ) == [
        ("anna", BIKE_VIDEO, "like", "dora", ["rad"], 51, True, None),
        ("anna", ANNA_VIDEO, "pin", "anna", ["balkon", "garten"], 100, False, at(9, 9)),
    ]


def test_study_days_contains_sums_and_state_of_each_day(rows: Rows) -> None:
    assert rows(
        "select study, day, state, offered, kept, n_videos, n_creators, n_comments, view_count_sum, view_count_median "
        "from marts.study_days order by study, day"
    ) == [
        ("bikes", DAY1, "partial", None, None, 2, 1, 0, 150, 75.0),
        ("garden", DAY1, "complete", 3, 2, 2, 2, 3, 1200, 600.0),
        ("garden", DAY2, "partial", 100, 1, 1, 1, 0, 2**53 + 1, float(2**53)),
        ("garden", date(2026, 3, 1), "too_fresh", None, None, 0, 0, 0, None, None),
    ]


def test_coverage_has_a_row_for_every_requested_or_expected_unit(rows: Rows) -> None:
    assert rows(
        "select entity, unit_kind, unit, state, kept, n_attempts, requests, last_attempt_state, reason, next_try_at "
        "from marts.coverage order by entity, unit"
    ) == [
        (
            "comments",
            "day",
            "2026-02-02",
            "not_asked",
            None,
            0,
            0.0,
            None,
            "Expected by the study, not requested yet",
            at(4),
        ),
        ("comments", "video", str(ANNA_VIDEO), "complete", 3, 1, 1.0, "complete", None, None),
        ("followers", "account", "anna", "complete", 1, 1, 1.0, "complete", None, None),
        ("pinned_videos", "account", "anna", "complete", 0, 1, 1.0, "complete", None, None),
        ("videos", "day", "2026-02-01", "complete", 2, 1, 2.0, "quarantined", "dead day", at(13)),
        ("videos", "day", "2026-02-02", "partial", 1, 1, 1.0, "partial", None, None),
        (
            "videos",
            "day",
            "2026-03-01",
            "too_fresh",
            None,
            0,
            0.0,
            None,
            "Too recent to be collected",
            at(3, 0, month=3),
        ),
    ]


def test_quota_usage_counts_failed_and_over_quota_requests(rows: Rows) -> None:
    assert rows(
        "select day, pool, study, endpoint, n_requests, n_failed, n_over_quota, n_rows, latency_ms_median "
        "from marts.quota_usage"
    ) == [(date(2026, 2, 3), "research", "garden", "video_query", 4, 2, 1, 2, 300.0)]


def test_each_rejected_element_is_a_row(rows: Rows) -> None:
    assert rows(
        "select study, day, capture, entity, unit, partition_day, rejection_number, field, reason, value_json "
        "from marts.rejected_rows order by rejection_number"
    ) == [
        ("garden", date(2026, 2, 3), "v1", "videos", "2026-02-01", DAY1, number, field, reason, value)
        for number, field, reason, value in (
            (1, "view_count", "not JSON, stored as null", '"many"'),
            (2, None, "no id", '{"username":"anna"}'),
            (3, None, "no id", '{"username":"ben"}'),
        )
    ]


def test_hashtags_pairs_and_creators_count_videos(rows: Rows) -> None:
    assert rows(
        "select day, hashtag, hashtag_id, description, n_videos, n_creators, view_count_sum from marts.hashtags "
        "where study = 'garden' order by hashtag"
    ) == [(DAY1, "balkon", None, None, 2, 2, 1200), (DAY1, "garten", 7, "Green", 1, 1, 900)]
    assert rows("select study, hashtag, other_hashtag, n_videos, jaccard from marts.hashtag_pairs order by study") == [
        ("bikes", "balkon", "garten", 1, 1.0),
        ("garden", "balkon", "garten", 1, 0.5),
    ]
    assert rows(
        "select username, n_videos, view_count_sum, has_profile, follower_count from marts.creators "
        "where study = 'garden' order by username"
    ) == [
        ("anna", 1, 900, True, 12),
        ("ben", 1, 300, False, None),
        ("carl", 1, 2**53 + 1, False, None),
    ]


def test_integers_are_at_most_64_bits_wide(rows: Rows) -> None:
    assert rows("select table_name, column_name from duckdb_columns() where data_type in ('HUGEINT', 'UHUGEINT')") == []
