with wanted as (
    select * from {{ ref('stg_tiktok__wanted') }}
),

videos as (
    select * from {{ ref('videos') }}
),

searched as (
    select study, partition_day
    from {{ ref('stg_tiktok__coverage') }}
    where entity = 'videos' and state = 'complete'
    union
    select study, day as partition_day
    from videos
),

-- The comments of a day are wanted as a day until its videos are known, then video by video.
comments_of_videos as (
    select
        wanted.study,
        wanted.entity,
        wanted.partition_day,
        'video' as unit_kind,
        cast(videos.video_id as string) as unit,
        wanted.due_at
    from wanted
    inner join videos
        on wanted.study = videos.study
        and wanted.partition_day = videos.day
    where wanted.entity = 'comments' and wanted.unit_kind = 'day'
        -- A video without comments has none to ask for.
        and coalesce(videos.comment_count, 1) > 0
),

others as (
    select
        wanted.study,
        wanted.entity,
        wanted.partition_day,
        wanted.unit_kind,
        wanted.unit,
        wanted.due_at
    from wanted
    left join searched
        on wanted.study = searched.study
        and wanted.partition_day = searched.partition_day
    where not (wanted.entity = 'comments' and wanted.unit_kind = 'day' and searched.study is not null)
)

select * from comments_of_videos
union all
select * from others
