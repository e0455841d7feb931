{{ config(
    materialized='incremental',
    incremental_strategy=replace_days(),
    partition_by=['study', 'day'],
    meta={'raw_table': 'videos'}
) }}
with uses as (
    {{ changed_rows(ref('int_videos__hashtags'), 'videos') }}
),

described as (
    select study, day, {{ explode('hashtag_info') }} as info
    from ({{ changed_rows(ref('videos'), 'videos') }}) as videos
),

descriptions as (
    select
        study,
        day,
        {{ lower_trimmed('info.hashtag_name') }} as hashtag,
        max(info.hashtag_id) as hashtag_id,
        max(info.hashtag_description) as description
    from described
    group by study, day, {{ lower_trimmed('info.hashtag_name') }}
),

counted as (
    select
        study,
        day,
        hashtag,
        count(*) as n_videos,
        count(distinct username) as n_creators,
        {{ sum_integer('view_count') }} as view_count_sum,
        cast(median(view_count) as double) as view_count_median,
        {{ sum_integer('like_count') }} as like_count_sum
    from uses
    group by study, day, hashtag
)

select
    counted.study,
    counted.day,
    counted.hashtag,
    descriptions.hashtag_id,
    descriptions.description,
    counted.n_videos,
    counted.n_creators,
    counted.view_count_sum,
    counted.view_count_median,
    counted.like_count_sum
from counted
left join descriptions
    on counted.study = descriptions.study
    and counted.day = descriptions.day
    and counted.hashtag = descriptions.hashtag
