{# What the mart `codebook` says of the other marts, from their descriptions in the project and their rows. #}

{# A mart's node of the project; while the project is parsed, one without columns. #}
{% macro mart_node(name) %}
    {%- set empty = {'name': name, 'columns': {}, 'config': {'meta': {}}} -%}
    {{ return(graph.nodes['model.research.' ~ name] if execute else empty) }}
{% endmacro %}

{# Whether an increment makes only some days of a mart anew and leaves the others as they are. #}
{% macro is_made_by_day(mart) %}
    {{ return(mart.config.get('days_of') and not mart.config.get('rest')) }}
{% endmacro %}

{% macro in_changed_months(mart, month) -%}
    ({{ month }} in (
        select {{ month_of('day') }} from scratch.raw.changed_days where raw_table = '{{ mart.config.days_of }}'
    ))
{%- endmacro %}

{# Rows and values of each column, by the month that the mart's meta names; in an increment of the months that changed. #}
{% macro filled_by_month(relation, mart) -%}
    {%- set columns = mart.columns.keys() | list or ['none'] -%}
    {%- set day = mart.config.meta.get('month') -%}
    select month, n_rows, {{ explode_pairs(columns, columns, 'n_filled') }}
    from (
        select
            {{ month_of(day) if day else 'cast(null as date)' }} as month,
            count(*) as n_rows{% for column in mart.columns %},
            count({{ column }}) as {{ column }}
            {%- endfor %}
            {%- if not mart.columns %}, 0 as none{% endif %}
        from {{ relation }}
        {%- if increment() and is_made_by_day(mart) %}
        where {{ in_changed_months(mart, month_of(day)) }}
        {%- endif %}
        group by {{ month_of(day) if day else 'cast(null as date)' }}
    ) as counted
{%- endmacro %}

{# Values that are safe to show: of numbers that are no ids the 10th, 50th and 90th percentile, of dates the first and the
   last, of truth values and declared categories up to five; of the newest seven days, and none of fewer than ten values.
   Never of other text: names, ids, links and what people wrote are nobody's example. #}
{% macro examples_of(relation, mart) -%}
    {%- set columns = mart.columns.values() | list or [{'name': 'none', 'data_type': 'none'}] -%}
    {%- set day, values = mart.config.meta.get('month'), [] -%}
    {%- for column in columns -%}
        {%- set number = column.data_type in ('bigint', 'integer', 'double') and not column.name.endswith('_id') -%}
        {%- if column.data_type == 'boolean' or column.name in mart.config.meta.get('categories', []) -%}
            {%- do values.append(few_values(column.name)) -%}
        {%- elif number -%}
            {%- do values.append(few_numbers(column.name)) -%}
        {%- elif column.data_type in ('date', 'timestamptz') -%}
            {%- do values.append(first_and_last(column.name)) -%}
        {%- else -%}
            {%- do values.append('cast(null as string)') -%}
        {%- endif -%}
    {%- endfor -%}
    select {{ explode_pairs(columns | map(attribute='name') | list, columns | map(attribute='name') | list, 'examples') }}
    from (
        select
            {%- for column in columns %}
            {% if column.name in ('none',) or values[loop.index0] == 'cast(null as string)' -%}
            cast(null as string) as {{ column.name }}
            {%- else -%}
            case when count({{ column.name }}) >= 10 then {{ values[loop.index0] }} end as {{ column.name }}
            {%- endif %}{{ ',' if not loop.last }}
            {%- endfor %}
        from {{ relation }}
        {%- if day %}
        where {{ day }} > (select max({{ day }}) from {{ relation }}) - interval '7' day
        {%- endif %}
    ) as chosen
{%- endmacro %}

{# What the project says of each column, as rows of constants. #}
{% macro described_columns(names) -%}
    {%- set since, rows = var('api_fields', {}), [] -%}
    {%- for name in names -%}
        {%- set mart = mart_node(name) -%}
        {%- for column in mart.columns.values() -%}
            {%- set source = mart.config.meta.get('source', {}).get(column.name) -%}
            {%- set unit = unit_of(column) -%}
            {%- set values = [name, loop.index, column.name, column.description, column.data_type, unit, source] -%}
            {%- set cells = [] -%}
            {%- for value in values + [since.get(source)] -%}
                {%- do cells.append(
                    'cast(null as string)' if value is none else value if value is number else quoted_text(value)
                ) -%}
            {%- endfor -%}
            {%- do rows.append('(' ~ cells | join(', ') ~ ')') -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- if rows -%}
    select * from (values
        {{ rows | join(',\n        ') }}
    ) as columns_of_marts
    {%- else -%}
    select '', 1, '', '', '', '', '', '' where false
    {%- endif -%}
{%- endmacro %}

{# The unit of a column: descriptions give it in the first parentheses, and moments and days are in UTC. #}
{% macro unit_of(column) %}
    {%- if column.data_type in ('date', 'timestamptz') -%}{{ return('UTC') }}{%- endif -%}
    {%- set found = modules.re.search('[(]([^)]+)[)]', column.description) -%}
    {%- set number = column.data_type in ('bigint', 'integer', 'double') and not column.name.endswith('_id') -%}
    {{ return(found.group(1) if found and number else none) }}
{% endmacro %}
