with recursive renames as (
    select
        study,
        former_username,
        username,
        renamed_at
    from {{ ref('renames') }}
),

-- The next rename of an account. A handle can have a new owner later, so the first one after it counts.
followed as (
    select
        renames.study,
        renames.former_username,
        renames.username,
        later.former_username as next_former_username,
        later.username as next_username,
        row_number() over (
            partition by renames.study, renames.former_username, renames.username
            order by later.renamed_at, later.username
        ) as distance
    from renames
    inner join renames as later
        on renames.study = later.study
        and renames.username = later.former_username
        and renames.renamed_at < later.renamed_at
),

-- Each rename with all later ones of its account. Their times increase, so a chain ends.
chains as (
    select
        study,
        former_username,
        username,
        former_username as last_former_username,
        username as last_username,
        0 as n_later
    from renames
    union all
    select
        chains.study,
        chains.former_username,
        chains.username,
        followed.next_former_username as last_former_username,
        followed.next_username as last_username,
        chains.n_later + 1 as n_later
    from chains
    inner join followed
        on chains.study = followed.study
        and chains.last_former_username = followed.former_username
        and chains.last_username = followed.username
        and followed.distance = 1
),

ends as (
    select
        *,
        row_number() over (partition by study, former_username, username order by n_later desc) as recency
    from chains
),

-- The first rename of the handle of a video after the video was last observed.
renamed as (
    select
        videos.study,
        videos.video_id,
        renames.former_username,
        renames.username,
        row_number() over (
            partition by videos.study, videos.video_id order by renames.renamed_at, renames.username
        ) as distance
    from {{ ref('videos') }} as videos
    inner join renames
        on videos.study = renames.study
        and videos.username = renames.former_username
        and videos.last_seen_at < renames.renamed_at
)

select
    videos.study,
    videos.video_id,
    coalesce(ends.last_username, videos.username) as owner
from {{ ref('videos') }} as videos
left join renamed
    on videos.study = renamed.study
    and videos.video_id = renamed.video_id
    and renamed.distance = 1
left join ends
    on renamed.study = ends.study
    and renamed.former_username = ends.former_username
    and renamed.username = ends.username
    and ends.recency = 1
where videos.username is not null
