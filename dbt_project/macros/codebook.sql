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
        'hashtag_pairs', 'creators', 'study_days', 'coverage', 'quota_usage', 'api_changes'
    ]) }}
{% endmacro %}

{# Rows and values of each column, by study and the day that the mart's meta names, or by its month where the mart is not
   made by days; in an increment of the days that were made anew. What the values may look like is said where that is safe:
   of numbers that are no ids the 10th, 50th and 90th percentile, of times the first and the last, of truth values and
   declared categories each. Never of other text: names, ids, links and what people wrote are nobody's example. #}
{% macro column_fill_by_day(relation, mart) -%}
    {%- set columns, categories = mart.columns, mart.config.meta.get('categories', []) -%}
    {%- set study = 'study' if 'study' in columns else 'cast(null as string)' -%}
    {%- set day, rebuild_days_of = 'cast(' ~ (mart.config.meta.get('month_column') or 'null') ~ ' as date)', mart.config.get('rebuild_days_of') -%}
    {%- set day = day if rebuild_days_of else month_of(day) -%}
    {%- set of_all = not (is_increment() and rebuild_days_of) -%}
    {#- A macro for each column would take longer than the query. Percentiles need all values in memory, so a whole mart's
        are those of its newest days. #}
    {%- set some = percentiles('{}', 'is_newest' if of_all else 'true') -%}
    {%- set each, ends = distinct_texts('{}'), make_list(['cast(min({}) as string)', 'cast(max({}) as string)']) -%}
    {%- set quantities, numbers, texts = numeric_columns(mart), [], [] -%}
    {%- for column in columns.values() -%}
        {%- set name, is_time = column.name, column.data_type in ('date', 'timestamptz') -%}
        {%- set is_category = column.data_type == 'boolean' or name in categories -%}
        {%- set text = ends if is_time else each if is_category -%}
        {%- do texts.append(text.replace('{}', name) if text else 'null') -%}
        {%- do numbers.append(some.replace('{}', name) if name in quantities and not text else 'null') -%}
    {%- endfor -%}
    select
        '{{ mart.name }}' as mart,
        study_of_rows as study,
        day_of_rows as day,
        n_rows,
        {{ explode_together({
            'column_name': name_list(columns or ['']), 'n_filled': 'counts', 'numbers': 'numbers', 'texts': 'texts'
        }) }}
    from (
        select
            {{ study }} as study_of_rows,
            {{ day }} as day_of_rows,
            count(*) as n_rows,
            {{ make_list(['count(' ~ (columns or ['1']) | join('), count(') ~ ')']) }} as counts,
            {{ make_list(numbers) if columns else empty_list('double') }} as numbers,
            {{ make_list(texts) if columns else empty_list('string') }} as texts
        {%- if of_all %}
        from (
            select
                *,
                {{ day }} is null or {{ day }} > (select max({{ day }}) - interval '7' day from {{ relation }}) as is_newest
            from {{ relation }}
        ) as rows_of_mart
        {%- else %}
        from {{ relation }}
        {#- What `always_rebuild_where` makes anew elsewhere is filled as it was. #}
        where {{ in_changed_days(rebuild_days_of, mart.config.get('day', 'day')) }}
        {%- endif %}
        group by {{ study }}, {{ day }}
    ) as counted
{%- endmacro %}

{# The condition on what an increment counts anew, of what is held: the changed days of a mart that is made by days, and
   all of another. #}
{% macro recounted_rows() -%}
    {%- set by_days, others = [], [] -%}
    {%- for name in marts_in_codebook() if not is_unchanged(name) -%}
        {%- set rebuild_days_of = mart_node(name).config.get('rebuild_days_of') -%}
        {%- do by_days.append("('" ~ name ~ "', '" ~ rebuild_days_of ~ "')") if rebuild_days_of else others.append(name) -%}
    {%- endfor -%}
    mart in ('{{ others | join("', '") }}')
    {%- if by_days %}
    or (mart, study, day) in (
        select marts.mart, changed.study, changed.day
        from (values {{ by_days | join(', ') }}) as marts (mart, raw_table)
        inner join {{ changed_days() }} as changed on marts.raw_table = changed.raw_table
    )
    {%- endif %}
{%- endmacro %}

{# The columns of numbers that mean an amount: ids do not. #}
{% macro numeric_columns(mart) %}
    {%- set names = [] -%}
    {%- for column in mart.columns.values() -%}
        {%- if column.data_type in ('bigint', 'integer', 'double') and not column.name.endswith('_id') -%}
            {%- do names.append(column.name) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(names) }}
{% endmacro %}

{% macro name_list(names) %}{{ make_list(["'" ~ names | join("', '") ~ "'"]) }}{% endmacro %}

{# What the project says of each column, as rows of constants. #}
{% macro column_descriptions(names) -%}
    {%- set since, rows = var('field_availability', {}), [] -%}
    {%- for name in names -%}
        {%- set mart = mart_node(name) -%}
        {%- set quantities = numeric_columns(mart) -%}
        {%- for column in mart.columns.values() -%}
            {%- set source = mart.config.meta.get('source', {}).get(column.name) -%}
            {%- set unit = column_unit(column, quantities) -%}
            {%- set values = [name, loop.index, column.name, column.description, column.data_type, unit, source] -%}
            {%- set cells = [] -%}
            {%- for value in values + [since.get(source)] -%}
                {%- do cells.append(
                    'cast(null as string)' if value is none else value if value is number else sql_literal(value)
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
{% macro column_unit(column, quantities) %}
    {%- if column.data_type in ('date', 'timestamptz') -%}{{ return('UTC') }}{%- endif -%}
    {%- set found = modules.re.search('[(]([^)]+)[)]', column.description) -%}
    {{ return(found.group(1) if found and column.name in quantities else none) }}
{% endmacro %}
