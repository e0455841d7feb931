{# Rows of the mart `codebook`, from the descriptions and the rows of the other marts. #}

{# The project's node of a mart; while dbt parses the project, a node without columns. #}
{% macro mart_node(name) %}
    {%- set empty = {'name': name, 'columns': {}, 'config': {'meta': {}}} -%}
    {{ return(graph.nodes['model.research.' ~ name] if execute else empty) }}
{% endmacro %}

{# The marts that the codebook counts: all except itself. #}
{% macro marts_in_codebook() %}
    {{ return([
        'videos', 'video_observations', 'comments', 'users', 'user_observations', 'follows', 'engagements', 'hashtags',
        'hashtag_pairs', 'creators', 'study_days', 'coverage', 'rejected_rows', 'quota_usage', 'api_changes'
    ]) }}
{% endmacro %}

{# Rows and values of each column, by study and by day (`month_column` in the mart's meta), or by month for marts that
   are not built by day. An increment counts only the rebuilt days. Example values are restricted to safe columns: the 10th,
   50th and 90th percentile of numbers that are not ids, the first and last value of time columns, and each value of
   booleans and declared categories. Other text is never an example: names, ids, links and user-written text. #}
{% macro column_fill_by_day(relation, mart) -%}
    {%- set columns, categories = mart.columns, mart.config.meta.get('categories', []) -%}
    {%- set study = 'study' if 'study' in columns else 'cast(null as string)' -%}
    {%- set day = 'cast(' ~ (mart.config.meta.get('month_column') or 'null') ~ ' as date)' -%}
    {%- set rebuild_days_of = mart.config.get('rebuild_days_of') -%}
    {%- set day = day if rebuild_days_of else month_of(day) -%}
    {%- set all_rows = not (is_increment() and rebuild_days_of) -%}
    {#- Calling a macro for each column would take longer than the query. Percentiles need all values in memory, so
        those of a whole mart are computed from its newest days. #}
    {%- set percentiles_of = percentiles('{}', 'is_newest' if all_rows else 'true') -%}
    {%- set all_values = distinct_texts('{}') -%}
    {%- set first_and_last = make_list(['cast(min({}) as string)', 'cast(max({}) as string)']) -%}
    {%- set numeric, numbers, texts = numeric_columns(mart), [], [] -%}
    {%- for column in columns.values() -%}
        {%- set name, is_time = column.name, column.data_type in ('date', 'timestamptz') -%}
        {%- set is_category = column.data_type == 'boolean' or name in categories -%}
        {%- set text = first_and_last if is_time else all_values if is_category -%}
        {%- do texts.append(text.replace('{}', name) if text else 'null') -%}
        {%- do numbers.append(percentiles_of.replace('{}', name) if name in numeric and not text else 'null') -%}
    {%- endfor -%}
    select
        '{{ mart.name }}' as mart,
        group_study as study,
        group_day as day,
        n_rows,
        {{ explode_together({
            'column_name': name_list(columns or ['']), 'n_filled': 'counts', 'numbers': 'numbers', 'texts': 'texts'
        }) }}
    from (
        select
            {{ study }} as group_study,
            {{ day }} as group_day,
            count(*) as n_rows,
            {{ make_list(['count(' ~ (columns or ['1']) | join('), count(') ~ ')']) }} as counts,
            {{ make_list(numbers) if columns else empty_list('double') }} as numbers,
            {{ make_list(texts) if columns else empty_list('string') }} as texts
        {%- if all_rows %}
        from (
            select
                *,
                {{ day }} is null
                or {{ day }} > (select max({{ day }}) - interval '7' day from {{ relation }}) as is_newest
            from {{ relation }}
        ) as mart_rows
        {%- else %}
        from {{ relation }}
        {#- Rows that `always_rebuild_where` rebuilds on other days keep their fill. #}
        where {{ in_changed_days(rebuild_days_of, mart.config.get('day', 'day')) }}
        {%- endif %}
        group by {{ study }}, {{ day }}
    ) as counted
{%- endmacro %}

{# The condition on the stored rows that an increment counts again: the changed days of marts that are built by day, and
   all rows of other marts. #}
{% macro recounted_rows() -%}
    {%- set by_day, others = [], [] -%}
    {%- for name in marts_in_codebook() if not is_unchanged(name) -%}
        {%- set rebuild_days_of = mart_node(name).config.get('rebuild_days_of') -%}
        {%- do by_day.append("('" ~ name ~ "', '" ~ rebuild_days_of ~ "')") if rebuild_days_of else others.append(name) -%}
    {%- endfor -%}
    mart in ('{{ others | join("', '") }}')
    {%- if by_day %}
    or (mart, study, day) in (
        select marts.mart, changed.study, changed.day
        from (values {{ by_day | join(', ') }}) as marts (mart, raw_table)
        inner join {{ changed_days() }} as changed on marts.raw_table = changed.raw_table
    )
    {%- endif %}
{%- endmacro %}

{# The names of the numeric columns, without ids. #}
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

{# The description of each column in the project, as rows of constants. #}
{% macro column_descriptions(names) -%}
    {%- set since, rows = var('field_availability', {}), [] -%}
    {%- for name in names -%}
        {%- set mart = mart_node(name) -%}
        {%- set numeric = numeric_columns(mart) -%}
        {%- for column in mart.columns.values() -%}
            {%- set source = mart.config.meta.get('source', {}).get(column.name) -%}
            {%- set unit = column_unit(column, numeric) -%}
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
    ) as mart_columns
    {%- else -%}
    select '', 1, '', '', '', '', '', '' where false
    {%- endif -%}
{%- endmacro %}

{# The unit of a column: of numbers the text in the first parentheses of the description, of days and timestamps UTC. #}
{% macro column_unit(column, numeric) %}
    {%- if column.data_type in ('date', 'timestamptz') -%}{{ return('UTC') }}{%- endif -%}
    {%- set found = modules.re.search('[(]([^)]+)[)]', column.description) -%}
    {{ return(found.group(1) if found and column.name in numeric else none) }}
{% endmacro %}
