{# The moment for which the warehouse is built. It comes from the caller, never from the engine's clock. #}
{% macro now() %}
    {%- set given = var('now', none) -%}
    {%- if execute and not given -%}
        {{ exceptions.raise_compiler_error(
            "The build does not know what time it is. Hand it in: --vars '{now: \"2026-03-01T00:00:00+00:00\"}'"
        ) }}
    {%- endif -%}
    {{ to_timestamp_utc("'" ~ (given or '1970-01-01T00:00:00+00:00') ~ "'") }}
{%- endmacro %}
