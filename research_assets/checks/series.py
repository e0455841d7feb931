"""Rules for a series as a whole: its volume, the fields that arrive, the units that are open. See `rules.py`."""

from research_assets.checks.rule import IS_OPEN_SQL, RECOLLECT_ADVICE, RETRY_ADVICE, CheckRule

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
    from (select unnest(json_keys(unknown_fields)) as field, observed_at from held where unknown_fields is not null)
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
    told = " union all ".join(
        f"""
        select '{name}' as field, case when "{name}" = 0 then 'never arrived' else 'no longer arrives' end as what,
        "{name}" as rows_with_it, rows, newest_day, new_rows from counted
        where ("{name}" = 0 and rows >= {MIN_ROWS_IF_SPARSE if name in SPARSE_FIELDS else MIN_ROWS})
        or ("new {name}" = 0 and new_rows >= {MIN_ROWS} and "{name}" * 2 > rows - new_rows and rows > new_rows)
        """
        for name in fields
    )
    return CheckRule(
        "fields_keep_arriving",
        "Every field that is asked for has arrived, and those that most rows have still arrive on the newest day.",
        f"""
        with newest as (select max(observed_at)::date as newest_day from held),
        marked as (select *, observed_at::date = newest_day as is_new from held, newest),
        counted as (
            select count(*) as rows, count(*) filter (is_new) as new_rows, any_value(newest_day) as newest_day, {counts}
            from marked
        )
        {told}
        """,
        "The API may have dropped or renamed the field: see no_unknown_fields, and the API's changelog.",
    )


ALL_UNITS_SETTLED = CheckRule(
    "nothing_is_left_open",
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
    select count(*) as "known videos looked for", count(*) filter (state = 'complete') as "found",
        coalesce(strftime(max(last_at), '%Y-%m-%d %H:%M UTC'), 'never') as "last look",
        coalesce(array_to_string(list(unit order by last_at desc, unit) filter (state <> 'complete')[:5], ', '), '')
            as "not found, for example"
    from canaries
    """,
)
