with texts as (
    select
        study,
        day,
        video_id,
        cast(null as bigint) as comment_id,
        {{ mentioned_handles('description') }} as names,
        true as is_in_text
    from {{ ref('videos') }}
    where description like '%@%'
    union all
    select
        study,
        day,
        video_id,
        comment_id,
        {{ mentioned_handles('text') }} as names,
        true as is_in_text
    from {{ ref('comments') }}
    where text like '%@%'
    union all
    select
        study,
        day,
        video_id,
        cast(null as bigint) as comment_id,
        mentions as names,
        false as is_in_text
    from {{ ref('videos') }}
    where mentions is not null
),

names as (
    select
        study,
        day,
        video_id,
        comment_id,
        {{ explode('names') }} as name,
        is_in_text
    from texts
),

-- A handle is lower case and does not end with a dot. A display name keeps its letters.
handles as (
    select
        *,
        regexp_replace(lower(regexp_extract(name, '^@?([A-Za-z0-9_.]+)$', 1)), '[.]+$', '') as handle
    from names
),

mentions as (
    select
        study,
        day,
        video_id,
        comment_id,
        case when handle = '' then name else handle end as mentioned_username,
        bool_or(handle <> '') as is_handle,
        bool_or(is_in_text) as is_in_text,
        bool_or(not is_in_text) as is_in_field
    from handles
    where name <> '' and not (is_in_text and handle = '')
    group by study, day, video_id, comment_id, case when handle = '' then name else handle end
)

select
    mentions.study,
    mentions.day,
    mentions.video_id,
    mentions.comment_id,
    case when mentions.comment_id is null then videos.username end as username,
    mentions.mentioned_username,
    mentions.is_handle,
    mentions.is_in_text,
    mentions.is_in_field,
    case when mentions.comment_id is null then videos.created_at else comments.created_at end as created_at
from mentions
left join {{ ref('videos') }} as videos
    on mentions.study = videos.study
    and mentions.day = videos.day
    and mentions.video_id = videos.video_id
left join {{ ref('comments') }} as comments
    on mentions.study = comments.study
    and mentions.comment_id = comments.comment_id
