{# A mart is a table. Built whole, it is made afresh; in an increment it is brought up to date by one of these rules:

   `rebuild_days_of`  the rows of the days that changed in this raw table are deleted and made anew: the model's own SQL does not
              change where the days that it sees then are all there is to see of them. `day` names the column if it is
              not called so, `always_rebuild_where` is a condition on further rows that are always made anew
   `unique_key`     the rows whose keys the model's SQL yields are replaced; it yields all rows of a key that it touches. `delete_where`
              is a condition on those it yields of keys that are no more: they are not held again
   `rebuild_where`     the rows that fulfil the condition that a macro of this name gives are deleted and made anew
   none       the model's SQL yields the whole table, from what is held (`this`) and what came since, or from other marts

   Whoever starts the build sees to it that the build file holds the marts in an increment. #}
{% materialization mart, default, supported_languages=['sql'] %}
    {%- set target = this.incorporate(type='table') -%}
    {%- set rebuild_days_of, keys, anew = config.get('rebuild_days_of'), config.get('unique_key'), config.get('rebuild_where') -%}
    {%- set news = make_temp_relation(target).include(database=false, schema=false) -%}
    {%- set reads_itself = this | string in sql -%}
    {{ run_hooks(pre_hooks) }}

    {#- One call for all: around each, dbt works longer than DuckDB on most of these. #}
    {%- call statement('main') %}
    {%- if is_increment() and (rebuild_days_of or anew) %}
        {%- if reads_itself %}
        {#- The SQL may look at what is held, so it runs before the old rows go. #}
        create temporary table {{ news }} as {{ sql }};
        {%- endif %}
        delete from {{ target }} where
        {%- if anew %} {{ context[anew]() }}
        {%- else %} {{ in_changed_days(rebuild_days_of, config.get('day', 'day')) }}
        {%- if config.get('always_rebuild_where') %} or {{ config.get('always_rebuild_where') }}{% endif %}
        {%- endif %};
        {{ insert_rows(target, 'select * from ' ~ news if reads_itself else sql) }};
        {%- if reads_itself %}
        drop table {{ news }};
        {%- endif %}
    {%- elif is_increment() and keys %}
        create temporary table {{ news }} as {{ sql }};
        delete from {{ target }} where ({{ keys | join(', ') }}) in (select {{ keys | join(', ') }} from {{ news }});
        {%- set still = ' where not (' ~ config.get('delete_where') ~ ')' if config.get('delete_where') else '' %}
        {{ insert_rows(target, 'select * from ' ~ news ~ still) }};
        drop table {{ news }};
    {%- else %}
        {%- if is_increment() %}
        {#- The build that made this mart held the same SQL against its contract. #}
        {%- set fresh = make_intermediate_relation(target) %}
        create table {{ fresh }} {{ get_table_columns_and_constraints() }};
        {{ insert_rows(fresh, sql) }};
        drop table {{ target }};
        alter table {{ fresh }} rename to {{ target.identifier }};
        {%- else %}
        {{ create_table_as(false, target, ordered_by_day(sql)) }};
        {%- endif %}
        {#- Descriptions are kept in the database too: whoever opens the file finds them there. #}
        {{ column_comments(target) }}
    {%- endif %}
    {%- endcall %}

    {{ run_hooks(post_hooks) }}
    {%- do adapter.commit() %}
    {{ return({'relations': [target]}) }}
{% endmaterialization %}

{# The rows of a mart that is made day by day, in the order of days: whoever asks for some days, a later increment among
   them, then need not read the others. #}
{% macro ordered_by_day(sql) -%}
    {%- if config.get('rebuild_days_of') and config.get('ordered_by_day', true) -%}
    select * from ({{ sql }}) as news order by study, {{ config.get('day', 'day') }}
    {%- else -%}
    {{ sql }}
    {%- endif -%}
{%- endmacro %}

{# Whether the build takes in only what came since the one before. #}
{% macro is_increment() %}{{ return(var('is_increment', false)) }}{% endmacro %}

{# Whether an increment leaves a mart out, because nothing came of what feeds it (`raw_tables` in its meta). #}
{% macro is_unchanged(name) %}{{ return(name in var('unchanged_marts', [])) }}{% endmacro %}

{# The condition that a row's `study` and `day` are among those to make anew, which whoever starts the build lists. #}
{% macro in_changed_days(raw_table, day='day') -%}
    (study, {{ day }}) in (
        select study, day from {{ changed_days() }} where raw_table = '{{ raw_table }}'
    )
{%- endmacro %}

{# The days to make anew: `raw_table`, `study`, `day`. #}
{% macro changed_days() %}scratch.raw.changed_days{% endmacro %}

{# The rows of a mart that an increment has to look at, for a mart that is made day by day from it. #}
{% macro rows_to_rebuild(relation, raw_table) -%}
    select * from {{ relation }}{% if is_increment() %} where {{ in_changed_days(raw_table) }}{% endif %}
{%- endmacro %}

{% macro insert_rows(target, query) -%}
    {%- set names = model.columns.values() | map(attribute='name') | join(', ') -%}
    insert into {{ target }} ({{ names }}) select {{ names }} from ({{ query }}) as news
{%- endmacro %}

{% macro column_comments(relation) -%}
    {{ alter_relation_comment(relation, model.description) }}
    {%- for column in model.columns.values() %}
    comment on column {{ relation }}.{{ column.name }} is {{ sql_literal(column.description) }};
    {%- endfor %}
{%- endmacro %}

{% macro sql_literal(text) %}'{{ text | replace("'", "''") }}'{% endmacro %}
