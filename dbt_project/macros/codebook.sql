{# What the mart `codebook` says of the other marts, from their descriptions in the project and their rows. #}

{# A mart's node of the project; while the project is parsed, one without columns. #}
{% macro mart_node(name) %}
    {%- set empty = {'name': name, 'columns': {}, 'config': {'meta': {}}} -%}
    {{ return(graph.nodes['model.research.' ~ name] if execute else empty) }}
{% endmacro %}

{# The marts that the codebook counts: all but itself. #}
{% macro marts_in_codebook() %}
    {{ return([
        'videos', 'video_observations', 'comments', 'users', 'user_observations', 'follows', 'engagements', 'hashtags',
        'hashtag_pairs', 'creators', 'days', 'coverage', 'quota', 'epochs'
    ]) }}
{% endmacro %}

{# Rows and values of each column, by study and the day that the mart's meta names; in an increment of the days that were
   made anew. #}
{% macro filled_by_day(relation, mart) -%}
    {%- set columns = mart.columns.keys() | list or ['none'] -%}
    {%- set study = 'study' if 'study' in mart.columns else 'cast(null as string)' -%}
    {%- set day = mart.config.meta.get('month') -%}
    {%- set day = 'cast(' ~ (day or 'null') ~ ' as date)' -%}
    select '{{ mart.name }}' as mart, of_study as study, of_day as day, n_rows, {{ explode_pairs(columns, columns, 'n_filled') }}
    from (
        select
            {{ study }} as of_study,
            {{ day }} as of_day,
            count(*) as n_rows{% for column in mart.columns %},
            count({{ column }}) as {{ column }}
            {%- endfor %}
            {%- if not mart.columns %}, 0 as none{% endif %}
        from {{ relation }}
        {%- if increment() and mart.config.get('days_of') %}
        {#- What `rest` makes anew elsewhere is filled as it was. #}
        where {{ in_changed_days(mart.config.days_of, mart.config.get('day', 'day')) }}
        {%- endif %}
        group by {{ study }}, {{ day }}
    ) as counted
{%- endmacro %}

{# Values that are safe to show: of numbers that are no ids the 10th, 50th and 90th percentile, of dates the first and the
   last, of truth values and declared categories up to five; of the newest seven days, and none of fewer than ten values.
   Never of other text: names, ids, links and what people wrote are nobody's example. #}
{% macro examples_of(relation, mart) -%}
    {%- set day, names, values = mart.config.meta.get('month'), [], [] -%}
    {%- for column in mart.columns.values() -%}
        {%- set number = column.data_type in ('bigint', 'integer', 'double') and not column.name.endswith('_id') -%}
        {%- set chosen = none -%}
        {%- if column.data_type == 'boolean' or column.name in mart.config.meta.get('categories', []) -%}
            {%- set chosen = few_values(column.name) -%}
        {%- elif number -%}
            {%- set chosen = few_numbers(column.name) -%}
        {%- elif column.data_type in ('date', 'timestamptz') -%}
            {%- set chosen = first_and_last(column.name) -%}
        {%- endif -%}
        {%- if chosen -%}
            {%- do names.append(column.name) -%}
            {%- do values.append('case when count(' ~ column.name ~ ') >= 10 then ' ~ chosen ~ ' end') -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if not names -%}
        {#- So it is while the project is parsed. #}
        {%- do names.append('none') -%}
        {%- do values.append('cast(null as string)') -%}
    {%- endif -%}
    select {{ explode_pairs(names, names, 'examples') }}
    from (
        select
            {%- for name in names %}
            {{ values[loop.index0] }} as {{ name }}{{ ',' if not loop.last }}
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
