{# The time for which the warehouse is built. The caller passes it, because a build must not depend on the engine's
   clock. #}
{% macro now() %}
    {%- set given = var('now', none) -%}
    {%- if execute and not given -%}
        {{ exceptions.raise_compiler_error(
            "The variable `now` is missing, so nothing was built. Pass it: --vars '{now: \"2026-03-01T00:00:00+00:00\"}'"
        ) }}
    {%- endif -%}
    {{ to_timestamp_utc("'" ~ (given or '1970-01-01T00:00:00+00:00') ~ "'") }}
{%- endmacro %}
