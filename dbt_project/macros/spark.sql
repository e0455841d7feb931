{# What only Spark needs: the raw tables, the types of the contracts, the folders of the marts, seeds and unit tests. #}

{# Create the raw tables over the Parquet files of the build's input, and register marts of an earlier build:
   `dbt run-operation prepare_spark`, before `dbt build` (see research_assets/warehouse/spark.py).

   `raw`           path of the folder with the input: `<table>/study=…/day=…/*.parquet`
   `columns`       names and types (as DuckDB spells them) of the columns of each raw table, without `study` and `day`
   `marts`         path of the folder of the marts
   `kept`          names of the marts of which this folder contains the rows of an earlier build; none for a full refresh
   `changed_days`  rows of `raw.changed_days`: raw table, study, day
   `built_at`      time for which the marts are built, ISO 8601 with an offset
   `verify_days`   days after which items must be verified again #}
{% macro prepare_spark(raw, columns, marts, kept, changed_days, built_at, verify_days) %}
    {%- do check_spark_settings() -%}
    {%- do run_query('create schema if not exists raw') -%}
    {%- for table, fields in columns.items() -%}
        {%- set definitions = [] -%}
        {%- for name, type in fields -%}{%- do definitions.append('`' ~ name ~ '` ' ~ spark_type(type)) -%}{%- endfor -%}
        {%- do create_spark_table(
            'raw', table, definitions + ['study string', 'day date'], ['study', 'day'], raw ~ '/' ~ table
        ) -%}
    {%- endfor -%}
    {#- VALUES needs a row. -#}
    {%- set rows = ['(cast(null as string), cast(null as string), cast(null as date))'] -%}
    {%- for table, study, day in changed_days -%}
        {%- do rows.append('(' ~ spark_text(table) ~ ', ' ~ spark_text(study) ~ ", date '" ~ day ~ "')") -%}
    {%- endfor -%}
    {%- do run_query(
        'create or replace view raw.changed_days as select * from values ' ~ rows | join(', ')
        ~ ' as changed (raw_table, study, day) where raw_table is not null'
    ) -%}
    {%- do run_query(
        'create or replace view raw.build as select cast(' ~ spark_text(built_at) ~ ' as timestamp) as built_at, '
        ~ 'cast(' ~ verify_days ~ ' as int) as verify_days'
    ) -%}
    {%- do run_query('create schema if not exists marts') -%}
    {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.schema == 'marts' -%}
        {%- if node.name in kept -%}
            {%- set definitions = [] -%}
            {%- for column in node.columns.values() -%}
                {%- do definitions.append(column.name ~ ' ' ~ spark_type(column.data_type)) -%}
            {%- endfor -%}
            {%- do create_spark_table(
                'marts', node.name, definitions, node.config.partition_by, marts ~ '/' ~ node.name
            ) -%}
        {%- else -%}
            {#- The metastore of a cluster knows the tables of earlier builds. Their files remain. -#}
            {%- do run_query('drop table if exists marts.' ~ node.name) -%}
        {%- endif -%}
    {%- endfor -%}
{% endmacro %}

{# Refuse a server with other settings than those of profiles.yml. A Thrift server ignores those of a connection: without
   them it would find no row in the raw tables, and take days in its own time zone. #}
{% macro check_spark_settings() %}
    {%- set needed = {
        'spark.sql.session.timeZone': 'UTC',
        'spark.sql.parquet.outputTimestampType': 'TIMESTAMP_MICROS',
        'spark.sql.parquet.compression.codec': 'zstd',
        'spark.sql.hive.manageFilesourcePartitions': 'false',
        'spark.sql.sources.partitionOverwriteMode': 'dynamic',
    } -%}
    {%- set missing = [] -%}
    {%- for name, value in needed.items() -%}
        {%- if run_query('set ' ~ name).rows[0][1] | lower != value | lower -%}
            {%- do missing.append('--conf ' ~ name ~ '=' ~ value) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if missing -%}
        {%- do exceptions.raise_compiler_error(
            'The Spark server has other settings than the models need. Start it with ' ~ missing | join(' ')
        ) -%}
    {%- endif -%}
{% endmacro %}

{# Create a table over a folder of Parquet files, instead of that of an earlier build. #}
{% macro create_spark_table(schema, name, definitions, partitions, path) %}
    {%- do run_query('drop table if exists ' ~ schema ~ '.' ~ name) -%}
    {%- do run_query(
        'create table ' ~ schema ~ '.' ~ name ~ ' (' ~ definitions | join(', ') ~ ') using parquet partitioned by ('
        ~ partitions | join(', ') ~ ') location ' ~ spark_text(path)
    ) -%}
{% endmacro %}

{# The Spark type of a type as DuckDB spells it, which is the spelling of the contracts and of the field registry. #}
{% macro spark_type(type) %}
    {%- set type = type | trim -%}
    {%- if type.endswith('[]') -%}
        {{ return('array<' ~ spark_type(type[:-2]) ~ '>') }}
    {%- elif type.lower().startswith('struct(') -%}
        {%- set members = [] -%}
        {%- for member in type[7:-1].split(',') -%}
            {%- set name, _, member_type = (member | trim).partition(' ') -%}
            {%- do members.append('`' ~ name.strip('"') ~ '`: ' ~ spark_type(member_type)) -%}
        {%- endfor -%}
        {{ return('struct<' ~ members | join(', ') ~ '>') }}
    {%- endif -%}
    {{ return({'varchar': 'string', 'json': 'string', 'timestamptz': 'timestamp'}.get(type.lower(), type.lower())) }}
{% endmacro %}

{# The types of a contract, for dbt's comparison with the types of the model's SQL. #}
{% macro spark__get_empty_schema_sql(columns) -%}
    select
    {%- for column in columns.values() %}
        cast(null as {{ spark_type(column.data_type) }}) as {{ column.name }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# The rows of a mart in the columns of its contract. All rows of a partition are written by one task: otherwise each
   task would write a small file into each partition. #}
{% macro spark__get_select_subquery(sql) -%}
    select {{ model.columns.values() | map(attribute='name') | join(', ') }}
    from ({{ sql }}) as model_subq
    {%- if config.get('partition_by') %}
    distribute by {{ config.get('partition_by') | join(', ') }}
    {%- endif %}
{%- endmacro %}

{# The folder of a mart. dbt-spark does not escape apostrophes in it. #}
{% macro spark__location_clause() -%}
    {%- if config.get('location_root') -%}
    location {{ spark_text(config.get('location_root') ~ '/' ~ model.alias) }}
    {%- endif -%}
{%- endmacro %}

{# A value of a unit test with its type. dbt-spark writes lists and structs as Python spells them. #}
{% macro spark__safe_cast(field, type) %}cast({{ spark_literal(field) }} as {{ spark_type(type) }}){% endmacro %}

{% macro spark_literal(value) %}
    {%- if value is mapping -%}
        {%- set members = [] -%}
        {%- for name, member in value.items() -%}
            {%- do members.append("'" ~ name ~ "', " ~ spark_literal(spark_text(member))) -%}
        {%- endfor -%}
        {{ return('named_struct(' ~ members | join(', ') ~ ')') }}
    {%- elif value is iterable and value is not string -%}
        {%- set items = [] -%}
        {%- for item in value -%}{%- do items.append(spark_literal(spark_text(item))) -%}{%- endfor -%}
        {{ return('array(' ~ items | join(', ') ~ ')') }}
    {%- endif -%}
    {{ return(value | string) }}
{% endmacro %}

{# A text as a literal; any other value, unchanged. #}
{% macro spark_text(value) %}
    {%- if value is string -%}
        {{ return("'" ~ value | replace("\\", "\\\\") | replace("'", "\\'") ~ "'") }}
    {%- endif -%}
    {{ return(value) }}
{% endmacro %}

{# The rows of a seed as literals. dbt-spark does not escape apostrophes when it runs in a session. #}
{% macro spark__load_csv_rows(model, agate_table) %}
    {%- set types = model.config.get('column_types', {}) -%}
    {%- set rows = [] -%}
    {%- for row in agate_table.rows -%}
        {%- set cells = [] -%}
        {%- for name in agate_table.column_names -%}
            {%- set type = types.get(name, adapter.convert_type(agate_table, loop.index0)) -%}
            {%- set value = row[loop.index0] -%}
            {%- do cells.append('cast(' ~ ('null' if value is none else spark_text(value | string)) ~ ' as ' ~ type ~ ')') -%}
        {%- endfor -%}
        {%- do rows.append('(' ~ cells | join(', ') ~ ')') -%}
    {%- endfor -%}
    {%- if rows -%}
        {%- do adapter.add_query('insert into ' ~ this ~ ' values ' ~ rows | join(', '), abridge_sql_log=True) -%}
    {%- endif -%}
    {{ return(rows | join(', ')) }}
{% endmacro %}
