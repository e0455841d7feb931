"""Treatment of every column of every mart in a pseudonymous export: kept, replaced or dropped.

A column without a treatment is dropped, so that a new column is never exported before it was classified.
Not here: how pseudonyms are computed (see pseudonyms.py), the SQL of a treatment (see columns.py).
"""

from collections.abc import Mapping
from enum import StrEnum

from research_assets.warehouse.reader import Mart


class Treatment(StrEnum):
    """Treatment of a column. The value is the text in codebook.csv."""

    KEEP = "kept"
    DROP = "dropped"
    USER = "pseudonym of the account"
    VIDEO = "pseudonym of the video"
    COMMENT = "pseudonym of the comment"
    MUSIC = "pseudonym of the sound"
    PLAYLIST = "pseudonym of the playlist"
    USERS = "pseudonyms of the accounts"
    TEXT = "text; mentions replaced by pseudonyms; links, addresses, telephone numbers, accounts and ids removed"
    LABEL = "kept; mentions, links, addresses, telephone numbers, accounts and ids in it replaced as in texts"
    UNIT = "pseudonym of the video, the comment or each account; days kept"


PSEUDONYM_KINDS = {
    Treatment.USER: "user",
    Treatment.USERS: "user",
    Treatment.VIDEO: "video",
    Treatment.COMMENT: "comment",
    Treatment.MUSIC: "music",
    Treatment.PLAYLIST: "playlist",
}
"""Kind of the pseudonym by treatment. An account has the same pseudonym in every column."""

_T = Treatment

TREATMENTS: Mapping[str, Mapping[Treatment, str]] = {
    "videos": {
        _T.KEEP: "study day renamed_at created_at uploaded_at duration_seconds is_stem_verified view_count like_count "
        "comment_count share_count favorites_count observed_age_days is_within_count_lag first_seen_at "
        "last_seen_at last_verified_at n_observations is_delivered missed_at n_rounds_missed "
        "inclusion_probability sampling_weight comments_state comments_probability comments_observed_at "
        "n_comments_held",
        _T.LABEL: "region_code hashtags hashtag_info effect_names effect_ids",
        _T.VIDEO: "video_id",
        _T.USER: "username former_username",
        _T.USERS: "mentions",
        _T.TEXT: "description voice_to_text tag_json sticker_names",
        # An original sound identifies the account that created it.
        _T.MUSIC: "music_id",
        _T.PLAYLIST: "playlist_id",
        # The structure of the label and the content of unknown fields are not documented.
        _T.DROP: "label_json unknown_fields_json capture",
    },
    "video_observations": {
        _T.KEEP: "study observed_at day observation_number previous_observed_at age_days view_count view_count_change "
        "like_count like_count_change comment_count comment_count_change share_count share_count_change "
        "favorites_count favorites_count_change is_within_count_lag has_decreased is_implausible",
        _T.VIDEO: "video_id",
        _T.DROP: "capture",
    },
    "comments": {
        _T.KEEP: "study day depth is_reply position like_count reply_count created_at uploaded_at "
        "selection selection_rank selected_at inclusion_probability sampling_weight first_seen_at last_seen_at "
        "last_verified_at n_observations",
        _T.COMMENT: "comment_id parent_comment_id thread_root_id",
        _T.VIDEO: "video_id",
        _T.TEXT: "text",
        _T.DROP: "display_name unknown_fields_json capture",
    },
    "users": {
        _T.KEEP: "study is_verified follower_count following_count like_count video_count "
        "first_seen_at last_seen_at n_observations",
        _T.USER: "username",
        _T.DROP: "display_name bio_description bio_url avatar_url unknown_fields_json capture",
    },
    "user_observations": {
        _T.KEEP: "study observed_at day observation_number is_verified follower_count follower_count_change "
        "following_count following_count_change like_count like_count_change video_count video_count_change",
        _T.USER: "username",
        _T.DROP: "display_name bio_description bio_url avatar_url unknown_fields_json capture",
    },
    "follows": {
        _T.KEEP: "study first_seen_at last_seen_at missed_at n_observations is_in_followers is_in_following "
        "is_left_censored is_current is_mutual followers_completeness following_completeness",
        _T.USER: "source_username target_username",
    },
    "engagements": {
        _T.KEEP: "study kind position video_created_at video_view_count first_seen_at last_seen_at missed_at "
        "n_observations is_left_censored is_current",
        _T.LABEL: "video_region_code video_hashtags",
        _T.USER: "username video_username",
        _T.VIDEO: "video_id",
        _T.TEXT: "video_description",
        _T.DROP: "capture",
    },
    "hashtags": {
        _T.KEEP: "study day hashtag_id n_videos n_creators view_count_sum view_count_median like_count_sum",
        _T.LABEL: "hashtag description",
    },
    "hashtag_pairs": {_T.KEEP: "study day n_videos n_creators jaccard", _T.LABEL: "hashtag other_hashtag"},
    "sounds": {
        _T.KEEP: "study n_videos n_creators n_days first_video_at last_video_at view_count_sum view_count_median "
        "like_count_sum first_seen_at last_seen_at",
        _T.MUSIC: "music_id",
    },
    "playlists": {
        _T.KEEP: "study item_total last_updated n_videos n_videos_held is_complete first_seen_at last_seen_at "
        "n_observations",
        _T.PLAYLIST: "playlist_id",
        _T.TEXT: "playlist_name",
        _T.DROP: "unknown_fields_json capture",
    },
    "mentions": {
        _T.KEEP: "study day is_handle is_in_text is_in_field created_at",
        _T.VIDEO: "video_id",
        _T.COMMENT: "comment_id",
        _T.USER: "username mentioned_username",
    },
    "video_renames": {
        _T.KEEP: "study day former_seen_at renamed_at",
        _T.VIDEO: "video_id",
        _T.USER: "former_username username",
        _T.DROP: "capture",
    },
    "renames": {_T.KEEP: "study former_seen_at renamed_at n_videos", _T.USER: "former_username username"},
    "creators": {
        _T.KEEP: "study n_videos n_days first_video_at last_video_at view_count_sum view_count_median "
        "like_count_sum comment_count_sum share_count_sum has_profile is_verified follower_count profile_seen_at",
        _T.USER: "username",
        _T.USERS: "former_usernames",
    },
    "observation_rounds": {
        _T.KEEP: "study day round_number started_at ended_at age_days offered kept n_returned n_first_seen "
        "n_seen_again n_reappeared n_missed n_at_risk n_lost is_newest",
        _T.DROP: "capture",
    },
    "study_days": {
        _T.KEEP: "study day state stratum stratum_days stratum_sampled inclusion_probability "
        "offered kept first_offered first_kept requests n_videos n_not_returned n_creators "
        "n_comments view_count_sum "
        "view_count_median like_count_sum like_count_median comment_count_sum comment_count_median share_count_sum "
        "share_count_median last_seen_at api_changes api_changes_started",
    },
    "coverage": {
        _T.KEEP: "study entity partition_day unit_kind state asked offered kept expected first_offered first_kept "
        "n_rejected "
        "selection selection_rank selected_at inclusion_probability "
        "n_attempts requests first_at last_at first_completed_at last_complete_started_at completed_at "
        "last_attempt_state next_try_at",
        _T.UNIT: "unit",
        # Reasons quote error messages of the API, which contain names of accounts.
        _T.DROP: "reason capture",
    },
    "rejected_rows": {
        _T.KEEP: "study day rejection_number entity partition_day position observed_at",
        # Names of unknown fields, and what the reasons quote, come from the API.
        _T.LABEL: "field reason",
        # The value is the element as delivered, with the names in it.
        _T.DROP: "unit capture value_json",
    },
    "population": {
        _T.KEEP: "study day started_at ended_at n_requests n_draws n_drawn n_distinct n_pairs n_shared estimate "
        "estimate_low estimate_high hour_p_value region_p_value length_p_value day_state n_videos_held",
        _T.DROP: "capture",
    },
    "repeatability": {
        _T.KEEP: "study day first_ended_at second_ended_at n_first n_second n_both jaccard chapman_estimate "
        "chapman_standard_error",
    },
    "quota_usage": {
        _T.KEEP: "day pool study endpoint n_requests n_failed n_over_quota n_rows latency_ms_median first_sent_at "
        "last_sent_at",
    },
    "verification": {
        _T.KEEP: "study kind day n_items n_verified n_overdue oldest_verified_at newest_verified_at first_due_at",
    },
    "withdrawals": {_T.KEEP: "receipt kind found_by withdrawn_at n_items"},
    # The mart excludes names, ids, links and texts from its examples.
    "codebook": {
        _T.KEEP: "mart column_number column_name description type unit source_field available_since n_rows n_filled "
        "fill_rate fill_by_month",
        _T.LABEL: "examples",
    },
    "api_changes": {_T.KEEP: "change_id kind date_basis first_day last_day precision title description source"},
}


def mart_treatments(mart: Mart) -> dict[str, Treatment]:
    """Return the treatment of each column of a mart."""
    treatments = {
        column: treatment for treatment, columns in TREATMENTS.get(mart.name, {}).items() for column in columns.split()
    }
    return {name: treatments.get(name, Treatment.DROP) for name in mart.names}
