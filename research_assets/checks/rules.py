"""A rule for the rows of a collected entity, as data, and words that several rules share. No Dagster."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from research_assets.fields import ENTITIES
from research_assets.storage.raw_sql import sql_literal
from research_assets.study.spec import QueryGroups, StudySpec
from research_assets.units.coverage import SETTLED_SQL

# JOINED: """A study's query held against the rows that it brought, as SQL. Only what a row can show is judged.
#
# Keywords and effects are matched by the API in ways that a row does not tell, counts move between the search and the
# answer: conditions on them are left out, and an `or` that holds one of them cannot fail.
# """


# JOINED: """Rules for a series as a whole: its volume, the fields that arrive, the units that are open. See `rules.py`."""


# JOINED: """What must hold for the rows of a collected entity, as data: a name, a meaning, SQL that finds what breaks it, advice.
#
# The SQL asks `held`, the rows of one study's entity with all columns of the registry, `study` left out and `day` added,
# `units`, the attempt that counts of each unit asked, and `canaries`, known videos as they were looked for last. How
# rules are run and told is in `look.py`. No Dagster.
# """


RETRY_ADVICE = (
    "The sensor quota_window asks what is partial or not asked as soon as the quota allows, and what is quarantined or "
    "suspicious at its next try. To ask it now, or with the sensor switched off, materialize its partition alone."
)
"""What to do about units that are not complete."""

IS_OPEN_SQL = f"state not in {SETTLED_SQL} and state <> 'too_fresh'"
"""Which units are a lack, in SQL: what is settled is final for now, and days that are too fresh will come."""

RECOLLECT_ADVICE = "Materialize these partitions once more with `again`, and look whether it stays."
"""What to do about rows that one more look may mend."""


@dataclass(frozen=True, slots=True)
class CheckRule:
    """Rows of `over` that should not be: `sql` finds them, `advice` says what to do.

    `blocking` where the marts would be built on wrong data. `numbers` is SQL for one row that is shown in any case.
    """

    name: str
    description: str
    sql: str
    advice: str
    table: Literal["rows_held", "units", "canaries"] = "rows_held"
    blocking: bool = False
    summary_sql: str | None = None


_CONDITION_SQL = {
    "region_code": "lower(trim(region_code)) in ({values})",
    "username": "lower(trim(username)) in ({values})",
    "hashtag_name": "list_has_any(list_transform(hashtag_names, lambda tag: lower(trim(tag))), [{values}])",
    "music_id": "music_id::varchar in ({values})",
    "video_id": "id::varchar in ({values})",
}
"""By field of the API: whether a row fulfils `is one of`. Null where the row lacks the field."""


def violated_condition_sql(query: QueryGroups) -> str | None:
    """An SQL expression: which part of the query a row does not fulfil, null if none; None if nothing can be judged."""
    cases = [
        f"when not {_condition_sql(condition)} then {sql_literal('not ' + _condition_text(condition))}"
        for condition in query.get("and", ())
        if _is_checkable(condition)
    ]
    either = query.get("or", ())
    if either and all(map(_is_checkable, either)):
        words = " nor ".join(map(_condition_text, either))
        cases.append(f"when not ({' or '.join(map(_condition_sql, either))}) then {sql_literal(f'neither {words}')}")
    cases += [
        f"when {_condition_sql(condition)} then {sql_literal(_condition_text(condition))}"
        for condition in query.get("not", ())
        if _is_checkable(condition)
    ]
    return f"case {' '.join(cases)} end" if cases else None


def _is_checkable(condition: Mapping[str, Any]) -> bool:
    return condition["field_name"] in _CONDITION_SQL and condition["operation"] in ("EQ", "IN")


def _condition_sql(condition: Mapping[str, Any]) -> str:
    values = ", ".join(sql_literal(str(value).strip().lower()) for value in condition["field_values"])
    return f"({_CONDITION_SQL[condition['field_name']].format(values=values)})"


def _condition_text(condition: Mapping[str, Any]) -> str:
    return f"{condition['field_name']} {', '.join(map(str, condition['field_values']))}"


SPARSE_FIELDS = frozenset(
    {
        "effect_ids",
        "playlist_id",
        "voice_to_text",
        "sticker_info_list",
        "effect_info_list",
        "video_mention_list",
        "video_label",
        "video_tag",
        "bio_url",
    }
)
"""Fields that most records lack by nature (reference §3.1, §3.3)."""

MIN_ROWS, MIN_ROWS_IF_SPARSE = 100, 20_000
"""Rows after which a field that never came is missed."""

_VIDEO_LISTS = ("liked_videos", "reposted_videos", "pinned_videos")

_LIST_VOLUME = CheckRule(
    "volume_is_as_usual",
    "A list that had 50 rows or more is not half as long the next time.",
    """
    select unit as account, "partition", kept, lag(kept) over (partition by unit order by "partition") as kept_before
    from units where state = 'complete' qualify kept_before >= 50 and kept * 2 < kept_before
    """,
    "The account may have hidden much, or the list ended early. Materialize the running period once more with `again`.",
    table="units",
)

VOLUME_RULES = {
    "videos": CheckRule(
        "volume_is_as_usual",
        "A complete day has neither a fifth nor five times of what the days around it have (15 days before and after).",
        """
        with days as (select "partition" as day, offered from units where unit_kind = 'day' and state = 'complete')
        select days.day, any_value(days.offered) as offered, median(near.offered) as usual, count(*) as days_around
        from days join days as near on near.day <> days.day and abs(near.day - days.day) <= 15
        group by days.day
        having count(*) >= 5 and (
            (median(near.offered) >= 20 and any_value(days.offered) * 5 < median(near.offered))
            or (any_value(days.offered) >= 100 and any_value(days.offered) > 5 * median(near.offered))
        )
        order by days.day
        """,
        "It may be so, an event or a feast; or the API lost a part of the day. " + RECOLLECT_ADVICE,
        table="units",
    ),
    "comments": CheckRule(
        "volume_is_as_usual",
        "Of the comments that a day's videos promise, no less than a third of the usual share arrived.",
        """
        with days as (
            select "partition" as day, sum(kept) / sum(expected) as share, sum(kept) as kept, sum(expected) as promised
            from units where unit_kind = 'video' and state = 'complete'
            group by "partition" having sum(expected) >= 50
        )
        select day, kept, promised, round(share, 2) as share, round(median(share) over (), 2) as usual from days
        qualify count(*) over () >= 5 and share * 3 < median(share) over () order by day
        """,
        "Lists of comments may have ended early. " + RECOLLECT_ADVICE,
        table="units",
    ),
    **dict.fromkeys(("followers", "following", *_VIDEO_LISTS), _LIST_VOLUME),
}

NO_UNKNOWN_FIELDS = CheckRule(
    "no_unknown_fields",
    "Every field of the answers is one that the codebook knows, in the type that it gives.",
    """
    select field, count(*) as rows, min(observed_at) as first_seen, max(observed_at) as last_seen
    from (select unnest(json_keys(unknown_fields)) as field, observed_at from rows_held where unknown_fields is not null)
    group by field order by rows desc, field
    """,
    "Nothing is lost: the values are in the column unknown_fields. Add the field to research_assets/fields.py, then "
    "run research-assets replay.",
)


def requested_fields_present(fields: tuple[str, ...]) -> CheckRule:
    """The rule for the fields that are asked for. One that never came is missed once enough rows could have had it."""
    counts = ", ".join(
        f'count("{name}") as "{name}", count("{name}") filter (is_new) as "new {name}"' for name in fields
    )
    reported = " union all ".join(
        f"""
        select '{name}' as field, case when "{name}" = 0 then 'never arrived' else 'no longer arrives' end as what,
        "{name}" as rows_with_it, rows, newest_day, new_rows from counted
        where ("{name}" = 0 and rows >= {MIN_ROWS_IF_SPARSE if name in SPARSE_FIELDS else MIN_ROWS})
        or ("new {name}" = 0 and new_rows >= {MIN_ROWS} and "{name}" * 2 > rows - new_rows and rows > new_rows)
        """
        for name in fields
    )
    return CheckRule(
        "requested_fields_present",
        "Every field that is asked for has arrived, and those that most rows have still arrive on the newest day.",
        f"""
        with newest as (select max(observed_at)::date as newest_day from rows_held),
        marked as (select *, observed_at::date = newest_day as is_new from rows_held, newest),
        counted as (
            select count(*) as rows, count(*) filter (is_new) as new_rows, any_value(newest_day) as newest_day, {counts}
            from marked
        )
        {reported}
        """,
        "The API may have dropped or renamed the field: see no_unknown_fields, and the API's changelog.",
    )


ALL_UNITS_SETTLED = CheckRule(
    "all_units_settled",
    "Everything that was asked is complete, or known not to be had.",
    f"""
    select "partition", unit_kind as kind, unit, state, reason, next_try from units
    where {IS_OPEN_SQL} order by "partition", unit
    """,
    RETRY_ADVICE,
    table="units",
)

_LAST_CANARY_CHECK = "capture = (select arg_max(capture, last_at) from canaries)"

CANARIES_FOUND = CheckRule(
    "canaries",
    "When videos known from before were looked for last, half of them or more were found.",
    f"""
    select "partition" as day, unit as video, state, last_at as looked_at from canaries
    where {_LAST_CANARY_CHECK} and state <> 'complete' and (
        select 2 * count(*) filter (state = 'complete') < count(*) from canaries where {_LAST_CANARY_CHECK}
    )
    order by unit
    """,
    "Some videos vanish: deleted, private, moderated. If nearly all do at once, the API is not answering this study's "
    "query, and an empty day of these weeks is not to be believed. It is looked for again by itself; if it stays, ask "
    "the API's support with the log id from the capture. To look now, materialize a held day with `canary`.",
    table="canaries",
    summary_sql="""
    select count(*) as "videos searched", count(*) filter (state = 'complete') as "found",
        coalesce(strftime(max(last_at), '%Y-%m-%d %H:%M UTC'), 'never') as "last check",
        coalesce(array_to_string(list(unit order by last_at desc, unit) filter (state <> 'complete')[:5], ', '), '')
            as "not found (examples)"
    from canaries
    """,
)

MAX_PUBLICATION_LAG = 7 * 86_400
"""Seconds after the upload at which a publication is doubtful: recorded were up to 2.5 days (reference §3.1.3)."""
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
        "no_duplicate_rows",
        f"A capture holds each {key} once.",
        f"select {key}, capture, count(*) as rows from rows_held group by {key}, capture having count(*) > 1",
        "Sums over these rows would be too high. Build the raw tables anew from the captures: research-assets replay.",
        blocking=True,
    )


_IDS_ARE_WHOLE = CheckRule(
    "ids_are_whole",
    "Each row has an id, and ids were not rounded on their way: 64-bit ids that went through a float end in zeros.",
    """
    select id, day, capture from rows_held where id is null or id <= 0
    or (id % 1024 = 0 and (select count(*) >= 20 and 3 * count(*) filter (id % 1024 = 0) > count(*) from rows_held))
    """,
    "What refers to these rows would not find them. Nothing mends an id: compare with the captures, which hold the "
    "answers as they came. If they are right there, run research-assets replay; if not, tell the API's support.",
    blocking=True,
)

_VIDEO_IDS_MATCH_TIMESTAMPS = CheckRule(
    "ids_match_timestamps",
    "The moment of upload in a video's id (id >> 32) lies before its publication, by a week at most.",
    "select id, day, create_time - (id >> 32) as seconds_after_upload, capture from rows_held"
    f" where create_time - (id >> 32) not between -60 and {MAX_PUBLICATION_LAG}",
    "Single videos may be drafts that were kept for long; many mean that ids or times arrived damaged.",
)

_COMMENT_IDS_MATCH_TIMESTAMPS = CheckRule(
    "ids_match_timestamps",
    "A comment was written when its id says (id >> 32), give or take a day, and after its video was uploaded.",
    "select id, video_id, create_time - (id >> 32) as seconds_after_id, create_time - (video_id >> 32)"
    " as seconds_after_video, capture from rows_held where create_time - (id >> 32) not between -60 and 86400"
    " or create_time - (video_id >> 32) < -60",
    "Many such rows mean that ids or times arrived damaged. " + RECOLLECT_ADVICE,
)

_ROWS_MATCH_PARTITION = {
    "videos": CheckRule(
        "rows_match_partition",
        "Each video was published on the UTC day of its partition.",
        "select id, day, to_timestamp(create_time) as published, capture from rows_held"
        " where to_timestamp(create_time)::date <> day",
        "Pages of one search came from other data. " + RECOLLECT_ADVICE,
    ),
    "comments": CheckRule(
        "rows_match_partition",
        "Each comment lies under the UTC day of its video, which was uploaded a week before at most.",
        "select id, video_id, day, to_timestamp(video_id >> 32)::date as uploaded, capture from rows_held"
        " where day - to_timestamp(video_id >> 32)::date not between -1 and 8",
        "Comments of other videos were delivered. " + RECOLLECT_ADVICE,
    ),
    "observed": CheckRule(
        "rows_match_partition",
        "Each row lies under the UTC day on which it was observed.",
        "select asked_username, day, observed_at, capture from rows_held where observed_at::date <> day",
        "Build the raw tables anew from the captures: research-assets replay.",
    ),
}

_VIDEOS_IN_ONE_PARTITION = CheckRule(
    "videos_in_one_partition",
    "A video stands under one day only, however often it was collected.",
    "select id, count(distinct day) as days, min(day) as first, max(day) as last from rows_held"
    " group by id having count(distinct day) > 1",
    "The API changed the time of publication. The marts take the newest: the earlier day holds less than it says.",
)

_VIEWS_DO_NOT_DECREASE = CheckRule(
    "views_do_not_decrease",
    "From one observation to the next, a video's views do not fall by more than a tenth (and ten views).",
    """
    select id, observed_at, view_count,
        lag(view_count) over (partition by id order by observed_at, capture) as views_before
    from rows_held qualify view_count + 10 < views_before and view_count * 10 < views_before * 9
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
    reported = {
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
        "rows_match_request",
        meaning,
        f"select {wrong} as wrong, {reported}, capture from rows_held where {wrong} is not null",
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
        f"select {who}, day, {', '.join(counts)}, capture from rows_held where {' or '.join(wrong)}",
        "The API has served wrong counts before (reference §7 #13). " + RECOLLECT_ADVICE,
    )
