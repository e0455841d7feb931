with pages as (
    -- A page of another playlist than the requested one is a failed check of the asset, not a row of this mart.
    select * from {{ ref('stg_tiktok__playlists') }}
    where playlist_id is null or playlist_id = asked_playlist_id
),

observations as (
    select
        study,
        asked_playlist_id,
        capture,
        min(observed_at) as observed_at
    from pages
    group by study, asked_playlist_id, capture
),

newest as (
    {{ newest_observations('select * from observations', ['study', 'asked_playlist_id']) }}
),

newest_pages as (
    select
        pages.*,
        row_number() over (
            partition by pages.study, pages.asked_playlist_id order by pages.position, pages.observed_at
        ) as page_number
    from pages
    inner join newest
        on pages.study = newest.study
        and pages.asked_playlist_id = newest.asked_playlist_id
        and pages.capture = newest.capture
),

entries as (
    select
        study,
        asked_playlist_id,
        {{ explode('video_ids') }} as video_id
    from newest_pages
),

counts as (
    select
        entries.study,
        entries.asked_playlist_id,
        count(distinct entries.video_id) as n_videos,
        count(distinct videos.video_id) as n_videos_held
    from entries
    left join {{ ref('videos') }} as videos
        on entries.study = videos.study
        and entries.video_id = videos.video_id
    group by entries.study, entries.asked_playlist_id
),

complete as (
    select distinct
        study,
        unit,
        capture
    from {{ ref('stg_research__coverage') }}
    where entity = 'playlists' and state = 'complete'
)

select
    newest.study,
    newest.asked_playlist_id as playlist_id,
    newest_pages.playlist_name,
    newest_pages.item_total,
    newest_pages.last_updated,
    coalesce(counts.n_videos, 0) as n_videos,
    coalesce(counts.n_videos_held, 0) as n_videos_held,
    complete.unit is not null as is_complete,
    newest_pages.unknown_fields_json,
    newest.first_seen_at,
    newest.last_seen_at,
    newest.n_observations,
    newest.capture
from newest
inner join newest_pages
    on newest.study = newest_pages.study
    and newest.asked_playlist_id = newest_pages.asked_playlist_id
    and newest_pages.page_number = 1
left join counts
    on newest.study = counts.study
    and newest.asked_playlist_id = counts.asked_playlist_id
left join complete
    on newest.study = complete.study
    and cast(newest.asked_playlist_id as string) = complete.unit
    and newest.capture = complete.capture
