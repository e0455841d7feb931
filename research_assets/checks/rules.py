"""The rules that the rows and units of a collected entity must meet, as data: a name, a description, SQL and advice.

The SQL of a rule selects the rows that fail it. It reads four views: `rows_held`, the rows of one entity of one study
with all columns of the registry and `day`; `units`, the current attempt of each unit; `canaries`, the newest attempt at
each canary; and `rejected`, the elements and values of pages that cannot be used. Not here: how rules run and what
their results say (see runner.py), and Dagster's checks (see `checks/__init__.py`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from research_assets.clock import LAST_SECOND
from research_assets.fields import ENTITIES
from research_assets.storage.raw_sql import sql_literal
from research_assets.study.spec import QueryGroups, StudySpec
from research_assets.units.coverage import (
    DAYS_WITHOUT_VIDEOS_SQL,
    NO_VIDEO_FOUND_ADVICE,
    NO_VIDEO_FOUND_SQL,
    SETTLED_SQL,
)

IS_OPEN_SQL = f"state not in {SETTLED_SQL} and state <> 'too_fresh'"
"""SQL condition for units that need more work. Settled units are final for now, and units that are too fresh are
collected later."""

RETRY_ADVICE = (
    "The sensor quota_window collects partial and unrequested units when quota is available, and retries quarantined "
    "and suspicious units at their next try. To collect a unit now, or with the sensor off, materialize its partition "
    "alone."
)
"""Advice for units that are not complete."""

RECOLLECT_ADVICE = "Materialize these partitions with `recollect: true` and check whether the result stays the same."
"""Advice for rows that a new observation may correct."""


@dataclass(frozen=True, slots=True)
class CheckRule:
    """One rule: `description` is the condition that it checks, `sql` selects the rows of `table` that fail it.

    `advice` says what to do about failing rows. A `blocking` rule prevents a build of the marts, because they would be
    wrong. `summary_sql` selects one row of figures that the check always shows.
    """

    name: str
    description: str
    sql: str
    advice: str
    table: Literal["rows_held", "units", "canaries", "rejected"] = "rows_held"
    blocking: bool = False
    summary_sql: str | None = None


def rules(study: StudySpec, entity: str) -> tuple[CheckRule, ...]:
    """Return the rules for an entity as this study collects it."""
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
        yield QUERY_FINDS_ANYTHING
        yield CANARIES_FOUND
    mismatch_sql = violated_condition_sql(study.query) if entity == "videos" else _MISMATCH_SQL.get(entity)
    if mismatch_sql:
        yield _rows_match_request(entity, mismatch_sql)
    if entity in _COUNT_COLUMNS:
        yield _counts_are_plausible(entity)
    if entity in VOLUME_RULES:
        yield VOLUME_RULES[entity]
    yield _NO_REJECTED_ROWS
    yield NO_UNKNOWN_FIELDS
    if fields := study.fields.get(entity, ENTITIES[entity].requested):
        yield requested_fields_present(tuple(fields))
    yield ALL_UNITS_SETTLED
    if entity == "comments":
        yield zero_counts_confirmed(study)


# Rules for single rows: keys, ids, times and counts.


def _no_duplicate_rows(entity: str) -> CheckRule:
    key = ", ".join(ENTITIES[entity].key)
    return CheckRule(
        "no_duplicate_rows",
        f"No two rows of a capture have the same {key}.",
        f"select {key}, capture, count(*) as rows from rows_held group by {key}, capture having count(*) > 1",
        "A capture was loaded more than once, so sums over these rows would be too high. "
        "Rebuild the raw tables from the captures with `research-assets replay`.",
        blocking=True,
    )


_IDS_ARE_WHOLE = CheckRule(
    "ids_are_whole",
    "Every row has an id, and no id was rounded by a float conversion (rounded 64-bit ids end in binary zeros).",
    """
    select id, day, capture from rows_held where id is null or id <= 0
    or (id % 1024 = 0 and (select count(*) >= 20 and 3 * count(*) filter (id % 1024 = 0) > count(*) from rows_held))
    """,
    "Rows that refer to these ids would not find them. Compare the ids with the captures, which contain the responses "
    "as received. If they are right there, run `research-assets replay`; if not, report it to the API's support.",
    blocking=True,
)

MAX_PUBLICATION_LAG = 7 * 86_400
"""Seconds between upload and publication above which a video's time is doubtful. Recorded lags were up to 2.5 days
(reference §3.1.3)."""

_VIDEO_IDS_MATCH_TIMESTAMPS = CheckRule(
    "ids_match_timestamps",
    "The upload time in a video's id (id >> 32) is before its publication, by at most 7 days.",
    "select id, day, create_time::hugeint - (id >> 32) as seconds_after_upload, capture from rows_held"
    f" where create_time::hugeint - (id >> 32) not between -60 and {MAX_PUBLICATION_LAG}",
    "Single videos may be drafts that were published long after their upload. Many such rows mean that ids or times "
    "are damaged: compare them with the captures.",
)

_COMMENT_IDS_MATCH_TIMESTAMPS = CheckRule(
    "ids_match_timestamps",
    "A comment's time is within one day after the time in its id (id >> 32), and after the upload of its video.",
    "select id, video_id, time - (id >> 32) as seconds_after_id, time - (video_id >> 32) as seconds_after_video,"
    " capture from (select *, create_time::hugeint as time from rows_held)"
    " where time - (id >> 32) not between -60 and 86400 or time - (video_id >> 32) < -60",
    "Many such rows mean that ids or times are damaged. " + RECOLLECT_ADVICE,
)


def _rows_match_observation(key: str) -> CheckRule:
    return CheckRule(
        "rows_match_partition",
        "Each row is in the folder of the UTC day on which it was observed.",
        f"select {key}, day, observed_at, capture from rows_held where observed_at::date <> day",
        "These rows were loaded into a wrong folder. Rebuild the raw tables from the captures with "
        "`research-assets replay`.",
    )


_ROWS_MATCH_PARTITION = {
    "videos": CheckRule(
        "rows_match_partition",
        "Each video was published on the UTC day of its partition.",
        # A number that is no time is a matter of `ids_match_timestamps`.
        "select id, day, to_timestamp(create_time) as published, capture"
        f" from (from rows_held where create_time between 1 and {LAST_SECOND})"
        " where to_timestamp(create_time)::date <> day",
        "Pages of a search contained other data, so the day's rows are unreliable. " + RECOLLECT_ADVICE,
    ),
    "comments": CheckRule(
        "rows_match_partition",
        "The video of each comment was uploaded between 8 days before and 1 day after the comment's partition.",
        "select id, video_id, day, to_timestamp(video_id >> 32)::date as uploaded, capture from rows_held"
        " where day - to_timestamp(video_id >> 32)::date not between -1 and 8",
        "The API returned comments of other videos. " + RECOLLECT_ADVICE,
    ),
    "playlists": _rows_match_observation("asked_playlist_id"),
    "observed": _rows_match_observation("asked_username"),
}

_VIDEOS_IN_ONE_PARTITION = CheckRule(
    "videos_in_one_partition",
    "Each video is in one partition only, however often it was collected.",
    "select id, count(distinct day) as days, min(day) as first, max(day) as last from rows_held"
    " group by id having count(distinct day) > 1",
    "The API changed the video's publication time. The marts use the newest one, so the earlier day contains fewer "
    "videos than its coverage says. Take counts by day from the marts.",
)

_VIEWS_DO_NOT_DECREASE = CheckRule(
    "views_do_not_decrease",
    "From one observation to the next, a video's views decrease by at most one tenth (or by at most 10 views).",
    """
    select id, observed_at, view_count,
        lag(view_count) over (partition by id order by observed_at, capture) as views_before
    from (select * replace (view_count::hugeint as view_count) from rows_held)
    qualify view_count + 10 < views_before and view_count * 10 < views_before * 9
    """,
    "The API returned older or other counts (reference §7 #13), so changes over time may be wrong. Compare all "
    "observations in the mart video_observations.",
)

_VIDEO_LISTS = ("liked_videos", "reposted_videos", "pinned_videos")

_COUNT_COLUMNS = {
    "playlists": ("playlist_item_total",),
    "comments": ("like_count", "reply_count"),
    "users": ("follower_count", "following_count", "likes_count", "video_count"),
    **dict.fromkeys(
        ("videos", *_VIDEO_LISTS), ("view_count", "like_count", "comment_count", "share_count", "favorites_count")
    ),
}


def _counts_are_plausible(entity: str) -> CheckRule:
    counts = _COUNT_COLUMNS[entity]
    conditions = [f"{count} < 0" for count in counts]
    description = "No count is negative."
    if "view_count" in counts:
        conditions.append("like_count > view_count")
        description = "No count is negative, and no video has more likes than views."
    key = {"users": "asked_username", "playlists": "asked_playlist_id"}.get(entity, "id")
    return CheckRule(
        "counts_are_plausible",
        description,
        f"select {key}, day, {', '.join(counts)}, capture from rows_held where {' or '.join(conditions)}",
        "The API has returned wrong counts before (reference §7 #13). " + RECOLLECT_ADVICE,
    )


# Rules that compare rows with the request. The API matches keywords and effects in ways that a row does not show, and
# counts change between the search and its response. Conditions on them are left out, and an `or` that contains one of
# them cannot fail.

_CONDITION_SQL = {
    "region_code": "lower(trim(region_code)) in ({values})",
    "username": "lower(trim(username)) in ({values})",
    "hashtag_name": "list_has_any(list_transform(hashtag_names, lambda tag: lower(trim(tag))), [{values}])",
    "music_id": "music_id::varchar in ({values})",
    "video_id": "id::varchar in ({values})",
}
"""SQL by field of the API: whether a row has one of the values. Null if the row lacks the field."""

_MISMATCH_SQL = {
    "comments": "case when video_id <> asked_video_id then 'another video' "
    "when parent_comment_id <> asked_comment_id then 'another comment' end",
    "playlists": "case when playlist_id <> asked_playlist_id then 'another playlist' end",
    "users": "case when lower(username) <> lower(asked_username) then 'another account' end",
    "pinned_videos": "case when lower(username) <> lower(asked_username) then 'another account' end",
    "followers": "case when lower(username) = lower(asked_username) then 'the account itself' end",
    "following": "case when lower(username) = lower(asked_username) then 'the account itself' end",
}
"""SQL by entity: how a row differs from its request; null if it matches or if the row does not show it."""


def violated_condition_sql(query: QueryGroups) -> str | None:
    """Return an SQL expression for the part of the query that a row does not meet, null if it meets all.

    Return None if a row shows nothing about the query.
    """
    cases = [
        f"when not {_condition_sql(condition)} then {sql_literal('not ' + _condition_text(condition))}"
        for condition in query.get("and", ())
        if _is_checkable(condition)
    ]
    alternatives = query.get("or", ())
    if alternatives and all(map(_is_checkable, alternatives)):
        text = " nor ".join(map(_condition_text, alternatives))
        is_met = " or ".join(map(_condition_sql, alternatives))
        cases.append(f"when not ({is_met}) then {sql_literal(f'neither {text}')}")
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


def _rows_match_request(entity: str, mismatch_sql: str) -> CheckRule:
    columns = {
        "videos": "id, username, region_code, hashtag_names",
        "comments": "id, asked_video_id, video_id, asked_comment_id, parent_comment_id",
        "pinned_videos": "id, asked_username, username",
        "playlists": "asked_playlist_id, playlist_id",
    }.get(entity, "asked_username, username")
    description = (
        "The region, hashtags, username and sound of each video match the study's query (letter case is ignored)."
        if entity == "videos"
        else "Each row belongs to the video, comment, account or playlist that was requested."
    )
    return CheckRule(
        "rows_match_request",
        description,
        f"select {mismatch_sql} as mismatch, {columns}, capture from rows_held where {mismatch_sql} is not null",
        "The API matches loosely, and rows may come from another search (reference §3.1.1, §7 #7). Exclude these rows "
        "from your analysis; if there are many, materialize their partitions with `recollect: true`.",
    )


# Rules for a series as a whole: its volume, its fields, its open units and its canaries.

_LIST_VOLUME = CheckRule(
    "volume_is_as_usual",
    "A list of 50 or more rows is at least half as long at its next observation.",
    """
    select unit as account, "partition", kept, lag(kept) over (partition by unit order by "partition") as kept_before
    from units where state = 'complete' qualify kept_before >= 50 and kept * 2 < kept_before
    """,
    "The account may have hidden many entries, or the API ended the list early. Materialize the running period with "
    "`recollect: true`.",
    table="units",
)

VOLUME_RULES = {
    "videos": CheckRule(
        "volume_is_as_usual",
        "The volume of a complete day is between one fifth and five times the median of the days within 15 days of it.",
        """
        with days as (select "partition" as day, offered from units where unit_kind = 'day' and state = 'complete')
        select days.day, any_value(days.offered) as offered, median(near.offered) as median, count(*) as days_compared
        from days join days as near on near.day <> days.day and abs(near.day - days.day) <= 15
        group by days.day
        having count(*) >= 5 and (
            (median(near.offered) >= 20 and any_value(days.offered) * 5 < median(near.offered))
            or (any_value(days.offered) >= 100 and any_value(days.offered) > 5 * median(near.offered))
        )
        order by days.day
        """,
        "An event or a holiday may explain the volume, or the API lost part of the day. " + RECOLLECT_ADVICE,
        table="units",
    ),
    "comments": CheckRule(
        "volume_is_as_usual",
        "The share of expected comments that arrived for a day is at least one third of the median share of all days.",
        """
        with days as (
            select "partition" as day, sum(kept) / sum(expected) as share, sum(kept) as kept, sum(expected) as expected
            from units where unit_kind = 'video' and state = 'complete'
            group by "partition" having sum(expected) >= 50
        )
        select day, kept, expected, round(share, 2) as share, round(median(share) over (), 2) as median from days
        qualify count(*) over () >= 5 and share * 3 < median(share) over () order by day
        """,
        "The API may have ended lists of comments early. " + RECOLLECT_ADVICE,
        table="units",
    ),
    **dict.fromkeys(("followers", "following", *_VIDEO_LISTS), _LIST_VOLUME),
}
"""The rule for the volume, by entity."""

QUERY_FINDS_ANYTHING = CheckRule(
    "query_finds_anything",
    "The study's query has found at least one video, or no day was searched yet.",
    f"""
    select {DAYS_WITHOUT_VIDEOS_SQL} as "days without a video", min("partition") as "first day",
        max("partition") as "last day", sum(requests) as requests
    from units where unit_kind = 'day' having {NO_VIDEO_FOUND_SQL}
    """,
    "No video was ever found for this query, so its empty days prove nothing and stay suspicious. "
    + NO_VIDEO_FOUND_ADVICE,
    table="units",
)

_NO_REJECTED_ROWS = CheckRule(
    "no_rejected_rows",
    "Every element that the API returned is a usable row: an object with a valid key and JSON values.",
    """
    select reason, field, count(*) as rejected, min(unit) as "unit (example)", max(observed_at) as last_seen
    from rejected group by reason, field order by rejected desc, reason, field
    """,
    "The other rows of these pages were kept, and the reason of each unit counts its rejected rows. The elements are "
    "in the raw table `rejected` as delivered. " + RECOLLECT_ADVICE,
    table="rejected",
)

NO_UNKNOWN_FIELDS = CheckRule(
    "no_unknown_fields",
    "Every returned field is in the codebook, with the type that the codebook states.",
    """
    select field, count(*) as rows, min(observed_at) as first_seen, max(observed_at) as last_seen
    from (
        select unnest(json_keys(unknown_fields)) as field, observed_at from rows_held where unknown_fields is not null
    )
    group by field order by rows desc, field
    """,
    "The API added or changed a field. No data is lost: the values are in the column unknown_fields. Add the field to "
    "research_assets/fields.py, then run `research-assets replay`.",
)

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
"""Number of rows from which a field without any value counts as missing: for most fields, and for `SPARSE_FIELDS`."""


def requested_fields_present(fields: tuple[str, ...]) -> CheckRule:
    """Return the rule for the requested fields. A field without values fails from `MIN_ROWS` rows on."""
    counts = ", ".join(
        f'count("{name}") as "{name}", count("{name}") filter (is_new) as "new {name}"' for name in fields
    )
    # One query over a list: a `union all` of a query for each field takes several times as long to plan.
    counted_fields = ", ".join(
        f"""struct_pack(field := '{name}', rows_with_field := "{name}", new_rows_with_field := "new {name}",
        min_rows := {MIN_ROWS_IF_SPARSE if name in SPARSE_FIELDS else MIN_ROWS})"""
        for name in fields
    )
    return CheckRule(
        "requested_fields_present",
        "Every requested field has arrived, and fields that most earlier rows have still arrive on the newest day.",
        f"""
        with newest as (select max(observed_at)::date as newest_day from rows_held),
        marked as (select *, observed_at::date = newest_day as is_new from rows_held, newest),
        counted as (
            select count(*) as rows, count(*) filter (is_new) as new_rows, any_value(newest_day) as newest_day, {counts}
            from marked
        ),
        of_fields as (select unnest([{counted_fields}], recursive := true), rows, new_rows, newest_day from counted)
        select field, case when rows_with_field = 0 then 'never arrived' else 'no longer arrives' end as issue,
            rows_with_field, rows, newest_day, new_rows
        from of_fields
        where (rows_with_field = 0 and rows >= min_rows)
        or (new_rows_with_field = 0 and new_rows >= {MIN_ROWS} and rows_with_field * 2 > rows - new_rows
            and rows > new_rows)
        """,
        "The API may have dropped or renamed the field, so new rows lack it. See the check no_unknown_fields and the "
        "API's changelog.",
    )


ALL_UNITS_SETTLED = CheckRule(
    "all_units_settled",
    "Every unit with an attempt is complete, refused, missing or too fresh (a video with a comment count of 0 that is "
    "not confirmed yet is too fresh).",
    f"""
    select "partition", unit_kind as kind, unit, state, reason, next_try from units
    where {IS_OPEN_SQL} order by "partition", unit
    """,
    RETRY_ADVICE,
    table="units",
)


def zero_counts_confirmed(study: StudySpec) -> CheckRule:
    """Return the rule for comment counts of zero, which may be older than the first comment (reference §7 #14)."""
    age = study.count_confirmation_age
    return CheckRule(
        "zero_counts_confirmed",
        f"Every comment count of 0 was observed at an age of {age} days or more, or a re-observation at such an age is "
        "planned.",
        f"""
        select "partition", unit as video, reason from units
        where unit_kind = 'video' and state = 'too_fresh' and {study.leaves_counts_unconfirmed}
        order by "partition", unit
        """,
        f"These videos may have comments that the API did not count yet. Add an age of {age} days or more to "
        "reobserve_days, or materialize their days of videos with `recollect: true`.",
        table="units",
    )


_LAST_CANARY_CHECK = "capture = (select arg_max(capture, last_at) from canaries)"

CANARIES_FOUND = CheckRule(
    "canaries_found",
    "The last canary check found at least half of the videos that it searched for.",
    f"""
    select "partition" as day, unit as video, state, last_at as checked_at from canaries
    where {_LAST_CANARY_CHECK} and state <> 'complete' and (
        select 2 * count(*) filter (state = 'complete') < count(*) from canaries where {_LAST_CANARY_CHECK}
    )
    order by unit
    """,
    "Single videos disappear: deleted, made private or moderated. If most are not found at the same time, the API does "
    "not answer this study's query, and an empty day of these weeks proves nothing. The sensor repeats the check. If "
    "it still fails, report it to the API's support with the log id from the capture. To check now, materialize a "
    "collected day with `canary_check: true`.",
    table="canaries",
    summary_sql="""
    select count(*) as "videos searched", count(*) filter (state = 'complete') as "videos found",
        coalesce(strftime(max(last_at), '%Y-%m-%d %H:%M UTC'), 'never') as "last check",
        coalesce(array_to_string(list(unit order by last_at desc, unit) filter (state <> 'complete')[:5], ', '), '')
            as "not found (examples)"
    from canaries
    """,
)
