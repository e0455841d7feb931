with uses as (
    select study, video_id, username, hashtag from {{ ref('int_videos__hashtags') }}
),

pairs as (
    select
        one.study,
        one.hashtag,
        other.hashtag as other_hashtag,
        count(*) as n_videos,
        count(distinct one.username) as n_creators
    from uses as one
    inner join uses as other
        on one.study = other.study
        and one.video_id = other.video_id
        and one.hashtag < other.hashtag
    group by one.study, one.hashtag, other.hashtag
)

select
    pairs.study,
    pairs.hashtag,
    pairs.other_hashtag,
    pairs.n_videos,
    pairs.n_creators,
    cast(pairs.n_videos as double) / (one.n_videos + other.n_videos - pairs.n_videos) as jaccard
from pairs
inner join {{ ref('hashtags') }} as one
    on pairs.study = one.study
    and pairs.hashtag = one.hashtag
inner join {{ ref('hashtags') }} as other
    on pairs.study = other.study
    and pairs.other_hashtag = other.hashtag
