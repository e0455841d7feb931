"""SQL that turns the pages of a capture into the columns of a raw table. Text in, text out; `tables.py` runs it.

Two ways lead to the same columns. `plain_rows` hands DuckDB the types and lets it parse the answers straight into
them: as fast as reading JSON can be, and right as long as the answers are what the registry says. `careful_rows`
takes each record as JSON and each field on its own: for NUL characters, structures with new members, and values that
do not fit their column, which are kept in `unknown_fields`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from research_assets.fields import POSITION, Entity, Field
from research_assets.storage.captures import Manifest
from research_assets.tiktok.endpoints import BY_ENTITY

DAY_COLUMN = "_day"
"""Column of the day for an entity whose own columns do not tell it."""

_MAX_UNKNOWN_COLUMNS = 50
_LAST_SECOND = 253_402_300_799
_POINTER = "'/' || replace(replace(k, '~', '~0'), '/', '~1')"


def sql_identifier(name: str) -> str:
    """A name as SQL."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def sql_literal(value: object) -> str:
    """A value as a SQL string."""
    escaped = str(value).replace("'", "''")
    return f"'{escaped}'"


def read_json_sql(path: Path, columns: Mapping[str, str], longest: int) -> str:
    """A table function over the lines of a JSON file with the given columns; `longest` is its longest line in bytes."""
    types = ", ".join(f"{sql_literal(name)}: {sql_literal(kind)}" for name, kind in columns.items())
    return (
        f"read_ndjson({sql_literal(path)}, columns = {{{types}}}, maximum_object_size = {max(longest + 1024, 65536)})"
    )


def fits_typed_parsing(entity: Entity, manifest: Manifest) -> bool:
    """Whether the answers are, as far as the collector saw, what `plain_rows` can take."""
    new = unknown_record_fields(manifest)
    names = [name.casefold() for name in (*entity.known, *new)]
    return (
        not manifest.nul
        and len(new) <= _MAX_UNKNOWN_COLUMNS
        and len(names) == len(set(names))
        and not any("." in name or name.endswith("[]") for name in new)
        and not any(name.endswith("[]") for name in manifest.unknown)
    )


def unknown_record_fields(manifest: Manifest) -> list[str]:
    """Unknown fields of the records; what is unknown about the answer around them stays in the capture alone."""
    return [name for name in manifest.unknown if not name.startswith(("data.", "answer."))]


def typed_rows(entity: Entity, manifest: Manifest, *, with_day: bool) -> str:
    """A query for the rows of a capture by typed parsing; it fails where a value does not fit."""
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
    """A query for the records of a capture as JSON, each with what the page around it says: for `careful_rows`."""
    endpoint = BY_ENTITY[entity.name]
    if endpoint.flat:
        return _records(entity, manifest, "JSON", "CASE WHEN coalesce(rows, 1) > 0 THEN [answer.data] END")
    lists = _coalesce([f"answer.data.{sql_identifier(key)}" for key in endpoint.payload_keys])
    return _records(entity, manifest, _struct(dict.fromkeys(endpoint.payload_keys, "JSON[]")), lists)


def lenient_rows(
    entity: Entity, manifest: Manifest, records: str, structures: Mapping[str, Any], *, with_day: bool
) -> str:
    """A query for the rows of `records`, field by field; it loses no row and no value.

    `structures` are the nested types of the entity's fields in the form of `json_transform`, by field.
    """
    passed = [*entity.known, *(("cursor", "has_more", "search_id") if BY_ENTITY[entity.name].flat else ())]
    # An escaped backslash may stand before `u0000`, so those are out of the way first; U+0001 is never bare in JSON.
    clean = r"replace(replace(replace(r::VARCHAR, '\\', chr(1)), '\u0000', ''), chr(1), '\\')::JSON"
    # Each JSON function keeps a parsed copy of all records in hand, so the record is taken apart by one of them, once.
    parts = f"json_transform(r, {sql_literal(orjson.dumps(dict.fromkeys(sorted(entity.known), 'JSON')).decode())})"
    raw = {field.name: f"raw.{sql_identifier(field.name)}" for field in entity.fields}
    fits = {field.name: _is_lossless(field, raw[field.name], structures) for field in entity.fields}
    own = ", ".join(
        f"{sql_identifier(field.name)} := "
        + _coalesce([f"nullif(part.{sql_identifier(name)}::VARCHAR, 'null')" for name in (field.name, *field.aliases)])
        for field in entity.fields
    )
    misfits = ", ".join(
        f"CASE WHEN {raw[field.name]} IS NOT NULL AND NOT coalesce({fits[field.name]}, false) "
        f"THEN {sql_literal(orjson.dumps(field.name).decode() + ':')} || {raw[field.name]} END"
        for field in entity.fields
    )
    others = (
        f"list_transform(list_filter(json_keys(r), lambda k: k NOT IN ({', '.join(map(sql_literal, passed))})), "
        "lambda k: to_json(k)::VARCHAR || ':' || "
        f"json_extract(r, {_POINTER})::VARCHAR)"
    )
    unknown = (
        "CASE WHEN r NOT LIKE '{%' THEN '{\"\":' || r::VARCHAR || '}' ELSE "
        f"nullif('{{' || array_to_string(list_filter([{misfits}] || {others}, lambda e: e IS NOT NULL), ',') || '}}', "
        "'{}') END::JSON"
    )
    values = {field.name: _value(field, raw[field.name], fits[field.name], structures) for field in entity.fields}
    cleaned = f"(SELECT * REPLACE ({clean} AS r) FROM {records})"
    apart = f"(SELECT *, struct_pack({own}) AS raw FROM (SELECT *, {parts} AS part FROM {cleaned}))"
    return _rows(entity, manifest, apart, values, unknown, with_day)


def day_of(entity: Entity) -> str | None:
    """The UTC day of a row as SQL over the columns of its table; None if only the page tells it (comments)."""
    if entity.time_axis == "observation":
        return "CAST(observed_at AS DATE)"
    if entity.name != "videos":
        return None
    times = (
        f"CASE WHEN {value} BETWEEN 1 AND {_LAST_SECOND} THEN {value} END" for value in ("create_time", "id >> 32")
    )
    return f"coalesce(CAST(make_timestamp({_coalesce([*times])} * 1000000) AS DATE), CAST(observed_at AS DATE))"


def pruning_column(entity: Entity) -> str:
    """The column by which `day_of` nearly always decides: over its range within a day, a reader skips other days."""
    if entity.time_axis == "observation":
        return "observed_at"
    return "create_time" if entity.name == "videos" else DAY_COLUMN


def json_transform_type(kind: Any) -> Any:
    """A DuckDB type in the form of `json_transform`."""
    if kind.id == "list":
        return [json_transform_type(kind.children[0][1])]
    if kind.id == "struct":
        return {name: json_transform_type(child) for name, child in kind.children}
    return str(kind)


def _records(entity: Entity, manifest: Manifest, data: str, records: str) -> str:
    """The records of all pages as `r`; `data` is the type of the answer's data, `records` their list in terms of it."""
    context = _struct({"position": "BIGINT"} | {field.name: field.type for field in entity.context})
    columns = {
        "event": "VARCHAR",
        "partition": "VARCHAR",
        "rows": "BIGINT",
        "observed_at": "TIMESTAMPTZ",
        "context": context,
        "answer": _struct({"data": data}),
    }
    lines = read_json_sql(manifest.path, columns, manifest.longest)
    pages = f"(SELECT *, {records} AS records FROM {lines} WHERE event = 'page')"
    place = ", generate_subscripts(records, 1) - 1 AS place" if POSITION in entity.context else ""
    return f'(SELECT observed_at, "partition", context, unnest(records) AS r{place} FROM {pages})'


def _rows(
    entity: Entity, manifest: Manifest, records: str, values: Mapping[str, str], unknown: str, with_day: bool
) -> str:
    """The final columns, in the order of the table."""
    context = {
        field.name: "coalesce(context.position, 0) + place"
        if field is POSITION
        else f"context.{sql_identifier(field.name)}"
        for field in entity.context
    }
    stamp = {"observed_at": "observed_at", "capture": sql_literal(manifest.capture), "unknown_fields": unknown}
    if with_day:
        stamp[DAY_COLUMN] = f'coalesce(TRY_CAST("partition" AS DATE), DATE {sql_literal(manifest.first)})'
    columns = ", ".join(
        f"{value} AS {sql_identifier(name)}" for name, value in (dict(values) | context | stamp).items()
    )
    return f"SELECT {columns} FROM {records}"


def _struct(members: Mapping[str, str]) -> str:
    return "STRUCT(" + ", ".join(f"{sql_identifier(name)} {kind}" for name, kind in members.items()) + ")"


def _coalesce(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"coalesce({', '.join(values)})"


def _value(field: Field, raw: str, fits: str, structures: Mapping[str, Any]) -> str:
    """The typed value of a member's JSON text, null where it does not fit, as SQL."""
    if field.type == "JSON":
        return f"{raw}::JSON"
    if field.type == "VARCHAR":
        return f"json_extract_string({raw}, '$')"
    if field.name in structures:
        return f"json_transform({raw}, {sql_literal(orjson.dumps(structures[field.name]).decode())})"
    return f"CASE WHEN {fits} THEN TRY_CAST(trim({raw}, '\"') AS {field.type}) END"


def _is_lossless(field: Field, raw: str, structures: Mapping[str, Any]) -> str:
    """Whether the typed value says all that the member's JSON text says, as SQL; null counts as no."""
    if field.type in ("JSON", "VARCHAR"):
        return "true"
    if field.type == "BIGINT":
        # 3.0 is 3, but 3.5 is not 4, and 7.5e18 is not the id that it was meant to be.
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
    filled = f"list_filter(json_keys(e), lambda k: json_type(json_extract(e, {_POINTER})) <> 'NULL')"
    given = f"CASE json_type(e) WHEN 'OBJECT' THEN len({filled}) ELSE -1 END"
    taken = " + ".join(f"CASE WHEN e.{sql_identifier(name)} IS NULL THEN 0 ELSE 1 END" for name in inner)
    given, taken = (
        f"list_transform({values}, lambda e: {count})"
        for values, count in ((f"json_extract({raw}, '$[*]')", given), (typed, taken))
    )
    return f"CASE WHEN {raw} LIKE '[%' THEN {given} = {taken} ELSE false END"
