{#- A chain of renamed handles is followed over three of them. -#}
{%- set hops = 3 -%}
with handles_0 as (
    select
        study,
        video_id,
        username,
        last_seen_at as named_at
    from {{ ref('videos') }}
    where username is not null
),

renames as (
    select
        study,
        former_username,
        username,
        min(renamed_at) as renamed_at
    from {{ ref('videos') }}
    where former_username is not null and username is not null
    group by study, former_username, username
),

{% for hop in range(1, hops + 1) -%}
-- The next handle of an account that was last observed under an earlier one. A handle can have a new owner later.
next_{{ hop }} as (
    select
        handles.study,
        handles.video_id,
        renames.username,
        renames.renamed_at,
        row_number() over (
            partition by handles.study, handles.video_id order by renames.renamed_at, renames.username
        ) as distance
    from handles_{{ hop - 1 }} as handles
    inner join renames
        on handles.study = renames.study
        and handles.username = renames.former_username
        and handles.named_at < renames.renamed_at
),

handles_{{ hop }} as (
    select
        handles.study,
        handles.video_id,
        coalesce(renamed.username, handles.username) as username,
        coalesce(renamed.renamed_at, handles.named_at) as named_at
    from handles_{{ hop - 1 }} as handles
    left join next_{{ hop }} as renamed
        on handles.study = renamed.study
        and handles.video_id = renamed.video_id
        and renamed.distance = 1
),

{% endfor -%}
owners as (
    select
        study,
        video_id,
        username as owner
    from handles_{{ hops }}
)

select * from owners
