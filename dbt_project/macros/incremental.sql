{# Incremental builds by day. The table `raw.changed_days` lists the days of each raw table that changed since the last
   build. A day's rows follow from the raw files of that day alone, so a model that is built by day reads the changed
   days completely and replaces them. (If the API ever returns an id with another day of publication, the test of the
   model's grain fails, and the build is repeated as a full refresh, in which the newest observation counts.) #}

{# The condition that a row's `study` and `day` changed in a raw table. #}
{% macro in_changed_days(raw_table) -%}
    (study, day) in (select study, day from {{ source('raw', 'changed_days') }} where raw_table = '{{ raw_table }}')
{%- endmacro %}

{# The rows of a relation that this build reads: all rows, or in an incremental build those of the changed days. #}
{% macro changed_rows(relation, raw_table) -%}
    {#- Rendered in every build, so that the lineage contains the source. -#}
    {%- set condition = in_changed_days(raw_table) -%}
    select * from {{ relation }}{{ ' where ' ~ condition if is_incremental() }}
{%- endmacro %}

{# Study and day of the searches of which this build reads new attempts. #}
{% macro searched_days() -%}
    select study, partition_day from {{ ref('stg_research__coverage') }}
    where entity = 'videos' and unit_kind = 'day' and state = 'complete'
        and (study, ended_day) in (
            select study, day from {{ source('raw', 'changed_days') }} where raw_table = 'coverage'
        )
{%- endmacro %}

{# The incremental strategy that replaces days: on Spark its own one, whose partitions are days. Spark would keep the old
   rows of a changed day that has no new ones, so the build does not take over the partitions of changed days. #}
{% macro replace_days() %}{{ return('insert_overwrite' if target.type == 'spark' else 'replace_days') }}{% endmacro %}

{# The incremental strategy `replace_days`: the rows of the days that changed in the model's `raw_table` (in its meta)
   are deleted, because a changed day can lose its last row, and those of all days with new rows. Then the new rows are
   inserted. #}
{% macro get_incremental_replace_days_sql(arg_dict) -%}
    {%- set target, new_rows = arg_dict['target_relation'], arg_dict['temp_relation'] -%}
    {%- set columns = get_quoted_csv(arg_dict['dest_columns'] | map(attribute='name')) -%}
    delete from {{ target }}
    where {{ in_changed_days(config.meta_require('raw_table')) }}
        or (study, day) in (select study, day from {{ new_rows }});
    insert into {{ target }} ({{ columns }}) select {{ columns }} from {{ new_rows }}
{%- endmacro %}
