{# The columns of every delivered video, renamed and typed. #}
{% macro video_columns() %}
    id as video_id,
    username,
    {{ upper_code('region_code') }} as region_code,
    {{ time_of_api('create_time') }} as created_at,
    {{ uploaded_at('id') }} as uploaded_at,
    video_description as description,
    video_duration as duration_seconds,
    view_count,
    like_count,
    comment_count,
    share_count,
    favorites_count,
    music_id,
    {{ lower_list('coalesce(hashtag_names, ' ~ pluck('hashtag_info_list', 'hashtag_name') ~ ')') }} as hashtags,
    hashtag_info_list as hashtag_info,
    video_mention_list as mentions,
    {{ pluck('sticker_info_list', 'sticker_name') }} as sticker_names,
    {{ pluck('effect_info_list', 'effect_name') }} as effect_names,
    is_stem_verified,
    cast(video_label as string) as label_json,
    cast(video_tag as string) as tag_json
{% endmacro %}

{# One list of an account, of videos or of other accounts: the account, `columns` of the listed rows, and the time. #}
{% macro account_list(table, columns) %}
with source as (
    select * from {{ source('raw', table) }}
),

renamed as (
    select
        study,
        day,
        asked_username,
        position,
        {{ columns }},
        cast(unknown_fields as string) as unknown_fields_json,
        observed_at,
        capture
    from source
)

select * from renamed
{% endmacro %}


{#- The lists of videos of an account, by the kind of the engagement. -#}
{%- macro engagement_lists() -%}
{{ return({'like': 'liked_videos', 'repost': 'reposted_videos', 'pin': 'pinned_videos'}) }}
{%- endmacro -%}
