"""What must hold for the rows of a collected entity, as data: a name, a meaning, SQL that finds what breaks it, advice.

The SQL asks `held`, the rows of one study's entity with all columns of the registry, `study` left out and `day` added,
`units`, the attempt that counts of each unit asked, and `canaries`, known videos as they were looked for last. How
rules are run and told is in `look.py`. No Dagster.
"""

from collections.abc import Iterator

from research_assets.checks.query import violated_condition_sql
from research_assets.checks.rule import RECOLLECT_ADVICE, CheckRule
from research_assets.checks.series import (
    ALL_UNITS_SETTLED,
    CANARIES_FOUND,
    NO_UNKNOWN_FIELDS,
    VOLUME_RULES,
    requested_fields_present,
)
from research_assets.collect.spec import StudySpec
from research_assets.fields import ENTITIES

MAX_PUBLICATION_LAG = 7 * 86_400
"""Seconds after the upload at which a publication is doubtful: recorded were up to 2.5 days (reference §3.1.3)."""

_VIDEO_LISTS = ("liked_videos", "reposted_videos", "pinned_videos")
_COUNT_COLUMNS = {
    "comments": ("like_count", "reply_count"),
    "users": ("follower_count", "following_count", "likes_count", "video_count"),
    **dict.fromkeys(
        ("videos", *_VIDEO_LISTS), ("view_count", "like_count", "comment_count", "share_count", "favorites_count")
    ),
}


def rules(study: StudySpec, entity: str) -> tuple[CheckRule, ...]:
    """The rules for an entity as this study asks for it."""
    return tuple(_rules(study, entity))


def _rules(study: StudySpec, entity: str) -> Iterator[CheckRule]:
    yield _no_duplicate_rows(entity)
    if "id" in ENTITIES[entity].key:
        yield _IDS_ARE_WHOLE
        yield _COMMENT_IDS_MATCH_TIMESTAMPS if entity == "comments" else _VIDEO_IDS_MATCH_TIMESTAMPS
    yield _ROWS_MATCH_PARTITION[entity if entity in _ROWS_MATCH_PARTITION else "observed"]
    if entity == "videos":
        yield _VIDEOS_IN_ONE_PARTITION
        yield _VIEWS_DO_NOT_DECREASE
        yield CANARIES_FOUND
    answers = violated_condition_sql(study.query) if entity == "videos" else _MISMATCH_SQL.get(entity)
    if answers:
        yield _rows_match_request(entity, answers)
    if entity in _COUNT_COLUMNS:
        yield _counts_are_plausible(entity)
    if entity in VOLUME_RULES:
        yield VOLUME_RULES[entity]
    yield NO_UNKNOWN_FIELDS
    if fields := study.fields.get(entity, ENTITIES[entity].requested):
        yield requested_fields_present(tuple(fields))
    yield ALL_UNITS_SETTLED


def _no_duplicate_rows(entity: str) -> CheckRule:
    key = ", ".join(ENTITIES[entity].key)
    return CheckRule(
        "no_row_stands_twice",
        f"A capture holds each {key} once.",
        f"select {key}, capture, count(*) as rows from held group by {key}, capture having count(*) > 1",
        "Sums over these rows would be too high. Build the raw tables anew from the captures: research-assets replay.",
        blocking=True,
    )


_IDS_ARE_WHOLE = CheckRule(
    "ids_are_whole",
    "Each row has an id, and ids were not rounded on their way: 64-bit ids that went through a float end in zeros.",
    """
    select id, day, capture from held where id is null or id <= 0
    or (id % 1024 = 0 and (select count(*) >= 20 and 3 * count(*) filter (id % 1024 = 0) > count(*) from held))
    """,
    "What refers to these rows would not find them. Nothing mends an id: compare with the captures, which hold the "
    "answers as they came. If they are right there, run research-assets replay; if not, tell the API's support.",
    blocking=True,
)

_VIDEO_IDS_MATCH_TIMESTAMPS = CheckRule(
    "ids_fit_their_time",
    "The moment of upload in a video's id (id >> 32) lies before its publication, by a week at most.",
    "select id, day, create_time - (id >> 32) as seconds_after_upload, capture from held"
    f" where create_time - (id >> 32) not between -60 and {MAX_PUBLICATION_LAG}",
    "Single videos may be drafts that were kept for long; many mean that ids or times arrived damaged.",
)

_COMMENT_IDS_MATCH_TIMESTAMPS = CheckRule(
    "ids_fit_their_time",
    "A comment was written when its id says (id >> 32), give or take a day, and after its video was uploaded.",
    "select id, video_id, create_time - (id >> 32) as seconds_after_id, create_time - (video_id >> 32)"
    " as seconds_after_video, capture from held where create_time - (id >> 32) not between -60 and 86400"
    " or create_time - (video_id >> 32) < -60",
    "Many such rows mean that ids or times arrived damaged. " + RECOLLECT_ADVICE,
)

_ROWS_MATCH_PARTITION = {
    "videos": CheckRule(
        "rows_lie_in_their_day",
        "Each video was published on the UTC day of its partition.",
        "select id, day, to_timestamp(create_time) as published, capture from held"
        " where to_timestamp(create_time)::date <> day",
        "Pages of one search came from other data. " + RECOLLECT_ADVICE,
    ),
    "comments": CheckRule(
        "rows_lie_in_their_day",
        "Each comment lies under the UTC day of its video, which was uploaded a week before at most.",
        "select id, video_id, day, to_timestamp(video_id >> 32)::date as uploaded, capture from held"
        " where day - to_timestamp(video_id >> 32)::date not between -1 and 8",
        "Comments of other videos were delivered. " + RECOLLECT_ADVICE,
    ),
    "observed": CheckRule(
        "rows_lie_in_their_day",
        "Each row lies under the UTC day on which it was observed.",
        "select asked_username, day, observed_at, capture from held where observed_at::date <> day",
        "Build the raw tables anew from the captures: research-assets replay.",
    ),
}

_VIDEOS_IN_ONE_PARTITION = CheckRule(
    "videos_keep_their_day",
    "A video stands under one day only, however often it was collected.",
    "select id, count(distinct day) as days, min(day) as first, max(day) as last from held"
    " group by id having count(distinct day) > 1",
    "The API changed the time of publication. The marts take the newest: the earlier day holds less than it says.",
)

_VIEWS_DO_NOT_DECREASE = CheckRule(
    "views_do_not_fall",
    "From one observation to the next, a video's views do not fall by more than a tenth (and ten views).",
    """
    select id, observed_at, view_count,
        lag(view_count) over (partition by id order by observed_at, capture) as views_before
    from held qualify view_count + 10 < views_before and view_count * 10 < views_before * 9
    """,
    "The API served older or other counts (reference §7 #13). Be careful with changes over time; all observations stay "
    "in video_observations.",
)

_MISMATCH_SQL = {
    "comments": "case when video_id <> asked_video_id then 'another video' "
    "when parent_comment_id <> asked_comment_id then 'another comment' end",
    "users": "case when lower(username) <> lower(asked_username) then 'another account' end",
    "pinned_videos": "case when lower(username) <> lower(asked_username) then 'another account' end",
    "followers": "case when lower(username) = lower(asked_username) then 'the account itself' end",
    "following": "case when lower(username) = lower(asked_username) then 'the account itself' end",
}
"""What is wrong with a row as an answer; null if nothing is, or if it cannot be told."""


def _rows_match_request(entity: str, wrong: str) -> CheckRule:
    told = {
        "videos": "id, username, region_code, hashtag_names",
        "comments": "id, asked_video_id, video_id, asked_comment_id, parent_comment_id",
        "pinned_videos": "id, asked_username, username",
    }.get(entity, "asked_username, username")
    meaning = (
        "Region, hashtag, username and sound of each video are those of the study's query, in whatever case."
        if entity == "videos"
        else "What was delivered belongs to what was asked for."
    )
    return CheckRule(
        "rows_answer_what_was_asked",
        meaning,
        f"select {wrong} as wrong, {told}, capture from held where {wrong} is not null",
        "The API matches roughly, and answers may come from another search (reference §3.1.1, §7 #7). Leave these rows "
        "out of your analysis; if there are many, materialize their partitions once more with `again`.",
    )


def _counts_are_plausible(entity: str) -> CheckRule:
    counts = _COUNT_COLUMNS[entity]
    wrong = [f"{count} < 0" for count in counts]
    meaning = "No count is below zero."
    if "view_count" in counts:
        wrong.append("like_count > view_count")
        meaning = "No count is below zero, and a video has no more likes than views."
    who = "asked_username" if entity == "users" else "id"
    return CheckRule(
        "counts_are_plausible",
        meaning,
        f"select {who}, day, {', '.join(counts)}, capture from held where {' or '.join(wrong)}",
        "The API has served wrong counts before (reference §7 #13). " + RECOLLECT_ADVICE,
    )
