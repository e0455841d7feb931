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
    {%- set columns = mart.columns.keys() | list or ['1'] -%}
    {%- set study = 'study' if 'study' in columns else 'cast(null as string)' -%}
    {%- set day = 'cast(' ~ (mart.config.meta.get('month') or 'null') ~ ' as date)' -%}
    select
        '{{ mart.name }}' as mart,
        study_of_rows as study,
        day_of_rows as day,
        n_rows,
        {{ explode_together({'column_name': names_in_list(columns), 'n_filled': 'counts'}) }}
    from (
        select
            {{ study }} as study_of_rows,
            {{ day }} as day_of_rows,
            count(*) as n_rows,
            {{ list_of(['count(' ~ columns | join('), count(') ~ ')']) }} as counts
        from {{ relation }}
        {%- if increment() and mart.config.get('days_of') %}
        {#- What `rest` makes anew elsewhere is filled as it was. #}
        where {{ in_changed_days(mart.config.days_of, mart.config.get('day', 'day')) }}
        {%- endif %}
        group by {{ study }}, {{ day }}
    ) as counted
{%- endmacro %}

{# The condition on what an increment counts anew, of what is held: the changed days of a mart that is made by days, and
   all of another. #}
{% macro counted_anew() -%}
    {%- for name in marts_in_codebook() if not is_idle(name) %}
    {%- set days_of = mart_node(name).config.get('days_of') %}
    (mart = '{{ name }}'{% if days_of %} and {{ in_changed_days(days_of) }}{% endif %}){{ ' or ' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# Values that are safe to show, as numbers or as texts: of numbers that are no ids the 10th, 50th and 90th percentile, of
   dates the first and the last, of truth values and declared categories each; of the newest seven days (the days of each
   mart in `newest`), and how many values there are (`n`). Never of other text: names, ids, links and what people wrote
   are nobody's example. #}
{% macro examples_of(relation, mart) -%}
    {#- A macro for each column would take longer than the query. #}
    {%- set percentiles, each, ends = some_percentiles('{}'), different_texts('{}'), first_and_last('{}') -%}
    {%- set no_numbers, no_texts, quantities = no_list('double'), no_list('string'), quantities_of(mart) -%}
    {%- set day, categories = mart.config.meta.get('month'), mart.config.meta.get('categories', []) -%}
    {%- set names, numbers, texts = [], [], [] -%}
    {%- for column in mart.columns.values() -%}
        {%- set name = column.name -%}
        {%- set text = each if column.data_type == 'boolean' or name in categories else none -%}
        {%- set text = ends if column.data_type in ('date', 'timestamptz') else text -%}
        {%- if text or name in quantities -%}
            {%- do names.append(name) -%}
            {%- do numbers.append(no_numbers if text else percentiles.replace('{}', name)) -%}
            {%- do texts.append(text.replace('{}', name) if text else no_texts) -%}
        {%- endif -%}
    {%- endfor -%}
    {#- While the project is parsed, no column is known. #}
    select
        '{{ mart.name }}' as mart,
        {{ explode_together({'column_name': names_in_list(names), 'n': 'n', 'numbers': 'numbers', 'texts': 'texts'}) }}
    from (
        select
            {{ list_of(['count(' ~ (names or ['1']) | join('), count(') ~ ')']) }} as n,
            {{ list_of(numbers or [no_numbers]) }} as numbers,
            {{ list_of(texts or [no_texts]) }} as texts
        from {{ relation }}
        {%- if day %}
        where cast({{ day }} as date) in (select day from newest where mart = '{{ mart.name }}')
        {%- endif %}
    ) as chosen
{%- endmacro %}

{# The columns of numbers that mean an amount: ids do not. #}
{% macro quantities_of(mart) %}
    {%- set names = [] -%}
    {%- for column in mart.columns.values() -%}
        {%- if column.data_type in ('bigint', 'integer', 'double') and not column.name.endswith('_id') -%}
            {%- do names.append(column.name) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(names) }}
{% endmacro %}

{% macro first_and_last(column) -%}
    {{ list_of(['cast(cast(min(' ~ column ~ ') as date) as string)', 'cast(cast(max(' ~ column ~ ') as date) as string)']) }}
{%- endmacro %}

{% macro names_in_list(names) %}{{ list_of(["'" ~ names | join("', '") ~ "'"]) }}{% endmacro %}

{# What the project says of each column, as rows of constants. #}
{% macro described_columns(names) -%}
    {%- set since, rows = var('api_fields', {}), [] -%}
    {%- for name in names -%}
        {%- set mart = mart_node(name) -%}
        {%- set quantities = quantities_of(mart) -%}
        {%- for column in mart.columns.values() -%}
            {%- set source = mart.config.meta.get('source', {}).get(column.name) -%}
            {%- set unit = unit_of(column, quantities) -%}
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
{% macro unit_of(column, quantities) %}
    {%- if column.data_type in ('date', 'timestamptz') -%}{{ return('UTC') }}{%- endif -%}
    {%- set found = modules.re.search('[(]([^)]+)[)]', column.description) -%}
    {{ return(found.group(1) if found and column.name in quantities else none) }}
{% endmacro %}
