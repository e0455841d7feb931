{# The materialization of a mart: a table. A full refresh creates it; an increment updates it by one of these rules:

   `rebuild_days_of`  The increment deletes the rows of the days that changed in this raw table and inserts them again.
                      The model's own SQL stays the same if its inputs contain nothing but these days. `day` is the
                      name of the day column if it is not `day`. `always_rebuild_where` is a condition on further rows
                      that every increment rebuilds.
   `unique_key`       The increment replaces the rows of the keys that the model's SQL yields. The SQL must yield all
                      rows of each of these keys. `delete_where` is a condition on yielded rows whose keys no longer
                      exist: these rows are deleted and not inserted.
   `rebuild_where`    The increment deletes the rows that meet the condition of the macro with this name and inserts
                      them again.
   none               The model's SQL yields the whole table, from the stored rows (`this`) and the new ones, or from
                      other marts.

   The caller makes sure that the build file of an increment contains the marts. #}
{% materialization mart, default, supported_languages=['sql'] %}
    {%- set target = this.incorporate(type='table') -%}
    {%- set rebuild_days_of, keys = config.get('rebuild_days_of'), config.get('unique_key') -%}
    {%- set rebuild_where = config.get('rebuild_where') -%}
    {%- set new_rows = make_temp_relation(target).include(database=false, schema=false) -%}
    {%- set reads_itself = this | string in sql -%}
    {{ run_hooks(pre_hooks) }}

    {#- One statement for everything: dbt's overhead per statement exceeds DuckDB's time for most of them. #}
    {%- call statement('main') %}
    {%- if is_increment() and (rebuild_days_of or rebuild_where) %}
        {%- if reads_itself %}
        {#- The SQL may read stored rows, so it runs before they are deleted. #}
        create temporary table {{ new_rows }} as {{ sql }};
        {%- endif %}
        delete from {{ target }} where
        {%- if rebuild_where %} {{ context[rebuild_where]() }}
        {%- else %} {{ in_changed_days(rebuild_days_of, config.get('day', 'day')) }}
        {%- if config.get('always_rebuild_where') %} or {{ config.get('always_rebuild_where') }}{% endif %}
        {%- endif %};
        {{ insert_rows(target, 'select * from ' ~ new_rows if reads_itself else sql) }};
        {%- if reads_itself %}
        drop table {{ new_rows }};
        {%- endif %}
    {%- elif is_increment() and keys %}
        create temporary table {{ new_rows }} as {{ sql }};
        delete from {{ target }}
        where ({{ keys | join(', ') }}) in (select {{ keys | join(', ') }} from {{ new_rows }});
        {%- set remaining = ' where not (' ~ config.get('delete_where') ~ ')' if config.get('delete_where') else '' %}
        {{ insert_rows(target, 'select * from ' ~ new_rows ~ remaining) }};
        drop table {{ new_rows }};
    {%- else %}
        {%- if is_increment() %}
        {#- The build that created this mart checked the same SQL against its contract. #}
        {%- set replacement = make_intermediate_relation(target) %}
        create table {{ replacement }} {{ get_table_columns_and_constraints() }};
        {{ insert_rows(replacement, sql) }};
        drop table {{ target }};
        alter table {{ replacement }} rename to {{ target.identifier }};
        {%- else %}
        {{ create_table_as(false, target, ordered_by_day(sql)) }};
        {%- endif %}
        {#- The database stores the descriptions too, for readers that open the file directly. #}
        {{ column_comments(target) }}
    {%- endif %}
    {%- endcall %}

    {{ run_hooks(post_hooks) }}
    {%- do adapter.commit() %}
    {{ return({'relations': [target]}) }}
{% endmaterialization %}

{# The rows of a mart that is built by day, ordered by day. A query for some days, such as that of a later increment,
   then skips the other row groups. #}
{% macro ordered_by_day(sql) -%}
    {%- if config.get('rebuild_days_of') and config.get('ordered_by_day', true) -%}
    select * from ({{ sql }}) as new_rows order by study, {{ config.get('day', 'day') }}
    {%- else -%}
    {{ sql }}
    {%- endif -%}
{%- endmacro %}

{# Return whether the build is an increment, which reads only the data that arrived since the previous build. #}
{% macro is_increment() %}{{ return(var('is_increment', false)) }}{% endmacro %}

{# Return whether an increment skips a mart, because no new data arrived in its `raw_tables` (in its meta). #}
{% macro is_unchanged(name) %}{{ return(name in var('unchanged_marts', [])) }}{% endmacro %}

{# The condition that a row's `study` and `day` are among the days to rebuild, which the caller lists. #}
{% macro in_changed_days(raw_table, day='day') -%}
    (study, {{ day }}) in (
        select study, day from {{ changed_days() }} where raw_table = '{{ raw_table }}'
    )
{%- endmacro %}

{# The days to rebuild: `raw_table`, `study`, `day`. #}
{% macro changed_days() %}scratch.raw.changed_days{% endmacro %}

{# The rows of a mart that an increment reads to build another mart by day. #}
{% macro rows_to_rebuild(relation, raw_table) -%}
    select * from {{ relation }}{% if is_increment() %} where {{ in_changed_days(raw_table) }}{% endif %}
{%- endmacro %}

{% macro insert_rows(target, query) -%}
    {%- set names = model.columns.values() | map(attribute='name') | join(', ') -%}
    insert into {{ target }} ({{ names }}) select {{ names }} from ({{ query }}) as new_rows
{%- endmacro %}

{% macro column_comments(relation) -%}
    {{ alter_relation_comment(relation, model.description) }}
    {%- for column in model.columns.values() %}
    comment on column {{ relation }}.{{ column.name }} is {{ sql_literal(column.description) }};
    {%- endfor %}
{%- endmacro %}

{% macro sql_literal(text) %}'{{ text | replace("'", "''") }}'{% endmacro %}
