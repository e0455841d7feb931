"""SQL queries that convert the pages of a capture into the columns of a raw table.

Two queries return the same columns. `typed_rows` lets DuckDB parse the responses directly into the column types: it is
the fastest method and correct if the responses match the registry. `lenient_rows` reads each record as JSON and each
field separately: it handles NUL characters, structures with new members, and values that do not fit their column, which
are kept in `unknown_fields`. Not here: running the queries (see raw_writer.py).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from research_assets.clock import LAST_SECOND
from research_assets.fields import POSITION, Entity, Field
from research_assets.storage.captures import Manifest
from research_assets.tiktok.endpoints import BY_ENTITY

DAY_COLUMN = "_day"
"""Temporary column with the day of a row, in the rows of a capture of several days."""

_REJECTION = {"position": "BIGINT", "field": "VARCHAR", "reason": "VARCHAR", "text": "VARCHAR"}
"""Columns of a rejection in the facts of a page (see tiktok/pages.py)."""

_MAX_UNKNOWN_COLUMNS = 50


def sql_identifier(name: str) -> str:
    """Return a name as a quoted SQL identifier."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def sql_literal(value: object) -> str:
    """Return a value as a SQL string literal."""
    escaped = str(value).replace("'", "''")
    return f"'{escaped}'"


def read_json_sql(path: Path, columns: Mapping[str, str], longest: int) -> str:
    """Return a table function that reads a JSON-lines file; `longest` is the length of its longest line in bytes."""
    types = ", ".join(f"{sql_literal(name)}: {sql_literal(kind)}" for name, kind in columns.items())
    return (
        f"read_ndjson({sql_literal(path)}, columns = {{{types}}}, maximum_object_size = {max(longest + 1024, 65536)})"
    )


def fits_typed_parsing(entity: Entity, manifest: Manifest) -> bool:
    """Return whether the manifest reports no content that `typed_rows` cannot parse."""
    new = unknown_record_fields(manifest)
    names = [name.casefold() for name in (*entity.known, *new)]
    return (
        not manifest.nul
        and len(new) <= _MAX_UNKNOWN_COLUMNS
        and len(names) == len(set(names))
        and "" not in names
        and not any("." in name or name.endswith("[]") for name in new)
        and not any(name.endswith("[]") for name in manifest.unknown)
    )


def unknown_record_fields(manifest: Manifest) -> list[str]:
    """Return the unknown fields of the records, without those of the envelope, which only the capture keeps."""
    return [name for name in manifest.unknown if not name.startswith(("data.", "answer."))]


def template_literal(value: object) -> str:
    """Return a SQL string literal for a query whose tables are named in braces (see raw_reader.py)."""
    return sql_literal(value).replace("{", "{{").replace("}", "}}")


def typed_rows(entity: Entity, manifest: Manifest, *, with_day: bool) -> str:
    """Return a query for the rows of a capture by typed parsing; it fails if a value does not fit its column."""
    endpoint, new = BY_ENTITY[entity.name], unknown_record_fields(manifest)
    members = {name: field.type for field in entity.fields for name in (field.name, *field.aliases)}
    record = _struct(members | dict.fromkeys(new, "JSON"))
    if endpoint.flat:
        data, records = record, "CASE WHEN coalesce(rows, 1) > 0 THEN [answer.data] END"
    else:
        data = _struct(dict.fromkeys(endpoint.payload_keys, f"{record}[]"))
        records = _coalesce([f"answer.data.{sql_identifier(key)}" for key in endpoint.payload_keys])
    values = {
        field.name: _coalesce([f"r.{sql_identifier(name)}" for name in (field.name, *field.aliases)])
        for field in entity.fields
    }
    new_members = ", ".join(
        f"{sql_literal(orjson.dumps(name).decode() + ':')} || r.{sql_identifier(name)}::VARCHAR" for name in new
    )
    unknown = f"nullif('{{' || concat_ws(',', {new_members}) || '}}', '{{}}')::JSON" if new else "NULL::JSON"
    return _rows(entity, manifest, _records(entity, manifest, data, records), values, unknown, with_day)


def json_records(entity: Entity, manifest: Manifest) -> str:
    """Return a query for the records of a capture as JSON with the data of their page, the input of `lenient_rows`."""
    endpoint = BY_ENTITY[entity.name]
    if endpoint.flat:
        return _records(entity, manifest, "JSON", "CASE WHEN coalesce(rows, 1) > 0 THEN [answer.data] END")
    lists = _coalesce([f"answer.data.{sql_identifier(key)}" for key in endpoint.payload_keys])
    return _records(entity, manifest, _struct(dict.fromkeys(endpoint.payload_keys, "JSON[]")), lists)


def lenient_rows(
    entity: Entity, manifest: Manifest, records: str, structures: Mapping[str, Any], *, with_day: bool
) -> str:
    """Return a query for the rows of `records`, field by field; it loses no row and no value.

    `structures` are the nested types of the fields of the entity in the form of `json_transform`, by field.
    """
    known_keys = [*entity.known, *(("cursor", "has_more", "search_id") if BY_ENTITY[entity.name].flat else ())]
    # `u0000` may follow an escaped backslash, so these are replaced first; valid JSON contains no bare U+0001.
    clean = r"replace(replace(replace(r::VARCHAR, '\\', chr(1)), '\u0000', ''), chr(1), '\\')::JSON"
    # Each call of a JSON function keeps a parsed copy of all records in memory, so one call extracts all fields.
    parts = f"json_transform(r, {sql_literal(orjson.dumps(dict.fromkeys(sorted(entity.known), 'JSON')).decode())})"
    raw = {field.name: f"raw.{sql_identifier(field.name)}" for field in entity.fields}
    fits = {field.name: _is_lossless(field, raw[field.name], structures) for field in entity.fields}
    members = ", ".join(
        f"{sql_identifier(field.name)} := "
        + _coalesce([f"nullif(part.{sql_identifier(name)}::VARCHAR, 'null')" for name in (field.name, *field.aliases)])
        for field in entity.fields
    )
    misfits = ", ".join(
        f"CASE WHEN {raw[field.name]} IS NOT NULL AND NOT coalesce({fits[field.name]}, false) "
        f"THEN {sql_literal(orjson.dumps(field.name).decode() + ':')} || {raw[field.name]} END"
        for field in entity.fields
    )
    # A map takes time in proportion to the keys; `json_extract` by key would parse the record again for each key.
    others = (
        f"list_transform(list_filter({_members('r')}, "
        f"lambda e: e.key NOT IN ({', '.join(map(sql_literal, known_keys))})), "
        "lambda e: to_json(e.key)::VARCHAR || ':' || coalesce(e.value::VARCHAR, 'null'))"
    )
    unknown = (
        f"nullif('{{' || array_to_string(list_filter([{misfits}] || {others}, lambda e: e IS NOT NULL), ',') || '}}', "
        "'{}')::JSON"
    )
    values = {field.name: _value(field, raw[field.name], fits[field.name], structures) for field in entity.fields}
    cleaned = f"(SELECT * REPLACE ({clean} AS r) FROM {records})"
    source = f"(SELECT *, struct_pack({members}) AS raw FROM (SELECT *, {parts} AS part FROM {cleaned}))"
    return _rows(entity, manifest, source, values, unknown, with_day)


def rejected_elements(entity: Entity, manifest: Manifest) -> str:
    """Return a query for the rejected elements and values of a capture in the columns of the raw table `rejected`."""
    endpoint = BY_ENTITY[entity.name]
    if endpoint.flat:
        data, records = "JSON", "[answer.data]"
    else:
        data = _struct(dict.fromkeys(endpoint.payload_keys, "JSON[]"))
        records = _coalesce([f"answer.data.{sql_identifier(key)}" for key in endpoint.payload_keys])
    columns = {
        "event": "VARCHAR",
        "partition": "VARCHAR",
        "unit": "VARCHAR",
        "observed_at": "TIMESTAMPTZ",
        "context": _struct({"position": "BIGINT"}),
        "rejected": f"{_struct(_REJECTION | {'partition': 'VARCHAR'})}[]",
        "answer": _struct({"data": data}),
    }
    lines = read_json_sql(manifest.path, columns, manifest.longest)
    values = {
        "entity": sql_literal(entity.name),
        "partition": 'TRY_CAST(coalesce(e."partition", page_partition) AS DATE)',
        "unit": 'coalesce(e."partition", unit)',
        "position": "coalesce(context.position, 0) + e.position",
        "field": "e.field",
        "reason": "e.reason",
        # An element that is null is an SQL null in the list.
        "value": "CASE WHEN e.field IS NULL THEN coalesce(records[e.position + 1], 'null'::JSON) "
        "ELSE to_json(e.text) END",
        "observed_at": "observed_at",
        "capture": sql_literal(manifest.capture),
    }
    selected = ", ".join(f"{value} AS {sql_identifier(name)}" for name, value in values.items())
    return (
        f'SELECT {selected} FROM (SELECT *, {records} AS records, "partition" AS page_partition, unnest(rejected) AS e '
        f"FROM {lines} WHERE event = 'page')"
    )


def day_of(entity: Entity) -> str | None:
    """Return the UTC day of a row as SQL over its columns; None if only the page contains it (comments)."""
    if entity.time_axis == "observation":
        return "CAST(observed_at AS DATE)"
    if entity.name != "videos":
        return None
    times = (f"CASE WHEN {value} BETWEEN 1 AND {LAST_SECOND} THEN {value} END" for value in ("create_time", "id >> 32"))
    return f"coalesce(CAST(make_timestamp({_coalesce([*times])} * 1000000) AS DATE), CAST(observed_at AS DATE))"


def json_transform_type(kind: Any) -> Any:
    """Return a DuckDB type in the form of `json_transform`."""
    if kind.id == "list":
        return [json_transform_type(kind.children[0][1])]
    if kind.id == "struct":
        return {name: json_transform_type(child) for name, child in kind.children}
    return str(kind)


def _records(entity: Entity, manifest: Manifest, data: str, records: str) -> str:
    """Return a query for the records of all pages as `r`.

    `data` is the type of `answer.data`; `records` is the SQL expression for the list of records in it.
    """
    context = _struct({"position": "BIGINT"} | {field.name: field.type for field in entity.context})
    columns = {
        "event": "VARCHAR",
        "partition": "VARCHAR",
        "rows": "BIGINT",
        "observed_at": "TIMESTAMPTZ",
        "context": context,
        "rejected": f"{_struct(_REJECTION)}[]",
        "answer": _struct({"data": data}),
    }
    lines = read_json_sql(manifest.path, columns, manifest.longest)
    pages = f"(SELECT *, {records} AS records FROM {lines} WHERE event = 'page')"
    with_index = POSITION in entity.context or manifest.rejected
    item_index = ", generate_subscripts(records, 1) - 1 AS item_index" if with_index else ""
    columns_of_page = 'observed_at, "partition", context, rejected'
    unnested = f"(SELECT {columns_of_page}, unnest(records) AS r{item_index} FROM {pages})"
    # Nulls are withdrawn records (see withheld.py); a null that the API returned is in `rejected`.
    rows = f"(SELECT * FROM {unnested} WHERE r IS NOT NULL)"
    if not manifest.rejected:
        return rows
    whole = "list_transform(list_filter(rejected, lambda e: e.field IS NULL), lambda e: e.position)"
    return f"(SELECT * FROM {rows} WHERE NOT coalesce(list_contains({whole}, item_index), false))"


def _rows(
    entity: Entity, manifest: Manifest, records: str, values: Mapping[str, str], unknown: str, with_day: bool
) -> str:
    """Return a query for the final columns, in the order of the raw table."""
    context = {
        field.name: "coalesce(context.position, 0) + item_index"
        if field is POSITION
        else f"context.{sql_identifier(field.name)}"
        for field in entity.context
    }
    capture_columns = {
        "observed_at": "observed_at",
        "capture": sql_literal(manifest.capture),
        "unknown_fields": unknown,
    }
    day = day_of(entity) if with_day else None
    if with_day and day is None:
        capture_columns[DAY_COLUMN] = f'coalesce(TRY_CAST("partition" AS DATE), DATE {sql_literal(manifest.first)})'
    columns = ", ".join(
        f"{value} AS {sql_identifier(name)}" for name, value in (dict(values) | context | capture_columns).items()
    )
    rows = f"SELECT {columns} FROM {records}"
    return f"SELECT *, {day} AS {DAY_COLUMN} FROM ({rows})" if day else rows


def _members(json: str) -> str:
    """Return SQL for the members of a JSON object as a list of structures of `key` and `value`."""
    return f"""map_entries(json_transform({json}, '"MAP(VARCHAR, JSON)"'))"""


def _struct(members: Mapping[str, str]) -> str:
    return "STRUCT(" + ", ".join(f"{sql_identifier(name)} {kind}" for name, kind in members.items()) + ")"


def _coalesce(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"coalesce({', '.join(values)})"


def _value(field: Field, raw: str, fits: str, structures: Mapping[str, Any]) -> str:
    """Return SQL for the typed value of the JSON text of a member, null if it does not fit."""
    if field.type == "JSON":
        return f"{raw}::JSON"
    if field.type == "VARCHAR":
        return f"json_extract_string({raw}, '$')"
    if field.name in structures:
        return f"json_transform({raw}, {sql_literal(orjson.dumps(structures[field.name]).decode())})"
    return f"CASE WHEN {fits} THEN TRY_CAST(trim({raw}, '\"') AS {field.type}) END"


def _is_lossless(field: Field, raw: str, structures: Mapping[str, Any]) -> str:
    """Return SQL for whether the typed value preserves the JSON text of a member; null counts as false."""
    if field.type in ("JSON", "VARCHAR"):
        return "true"
    if field.type == "BIGINT":
        # 3.0 equals 3, but 3.5 is not an integer, and 7.5e18 is an id that was rounded.
        return (
            f"(regexp_full_match(trim({raw}, '\"'), '-?[0-9]+(\\.0*)?') "
            f"AND TRY_CAST(trim({raw}, '\"') AS BIGINT) IS NOT NULL)"
        )
    if field.name not in structures:
        return f"TRY_CAST(trim({raw}, '\"') AS {field.type}) IS NOT NULL"
    (inner,) = structures[field.name]
    if not isinstance(inner, dict):
        return f"{raw} LIKE '[%'"
    typed = f"json_transform({raw}, {sql_literal(orjson.dumps(structures[field.name]).decode())})"
    filled = f"list_filter({_members('e')}, lambda m: m.value IS NOT NULL)"
    n_members = f"CASE json_type(e) WHEN 'OBJECT' THEN len({filled}) ELSE -1 END"
    n_typed = " + ".join(f"CASE WHEN e.{sql_identifier(name)} IS NULL THEN 0 ELSE 1 END" for name in inner)
    given, converted = (
        f"list_transform({values}, lambda e: {count})"
        for values, count in ((f"json_extract({raw}, '$[*]')", n_members), (typed, n_typed))
    )
    return f"CASE WHEN {raw} LIKE '[%' THEN {given} = {converted} ELSE false END"
