{{ config(
    materialized='incremental',
    incremental_strategy=replace_days(),
    partition_by=['study', 'day'],
    meta={'raw_table': 'videos'}
) }}
with uses as (
    {{ changed_rows(ref('int_videos__hashtags'), 'videos') }}
),

counted as (
    select study, day, hashtag, count(*) as n_videos
    from uses
    group by study, day, hashtag
),

pairs as (
    select
        one.study,
        one.day,
        one.hashtag,
        other.hashtag as other_hashtag,
        count(*) as n_videos,
        count(distinct one.username) as n_creators
    from uses as one
    inner join uses as other
        on one.study = other.study
        and one.video_id = other.video_id
        and one.hashtag < other.hashtag
    group by one.study, one.day, one.hashtag, other.hashtag
)

select
    pairs.study,
    pairs.day,
    pairs.hashtag,
    pairs.other_hashtag,
    pairs.n_videos,
    pairs.n_creators,
    cast(pairs.n_videos as double) / (one.n_videos + other.n_videos - pairs.n_videos) as jaccard
from pairs
inner join counted as one
    on pairs.study = one.study
    and pairs.day = one.day
    and pairs.hashtag = one.hashtag
inner join counted as other
    on pairs.study = other.study
    and pairs.day = other.day
    and pairs.other_hashtag = other.hashtag
