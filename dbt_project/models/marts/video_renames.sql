{{ config(
    materialized='incremental',
    incremental_strategy=replace_days(),
    partition_by=['study', 'day'],
    meta={'raw_table': 'videos'}
) }}
{%- set rows -%}
select * from ({{ changed_rows(ref('stg_tiktok__videos'), 'videos') }}) as changed where username is not null
{%- endset -%}
-- A video keeps its account, so another handle is a renamed account.
with renamed as (
    select study, video_id
    from ({{ rows }}) as observations
    group by study, video_id
    having min(username) <> max(username)
),

handles as (
    select
        observations.study,
        observations.day,
        observations.video_id,
        observations.username,
        observations.observed_at,
        observations.capture,
        lag(observations.username) over (
            partition by observations.study, observations.video_id
            order by observations.observed_at, observations.capture
        ) as former_username,
        lag(observations.observed_at) over (
            partition by observations.study, observations.video_id
            order by observations.observed_at, observations.capture
        ) as former_seen_at
    from ({{ rows }}) as observations
    inner join renamed
        on observations.study = renamed.study
        and observations.video_id = renamed.video_id
)

select
    study,
    day,
    video_id,
    former_username,
    username,
    former_seen_at,
    observed_at as renamed_at,
    capture
from handles
where former_username <> username
