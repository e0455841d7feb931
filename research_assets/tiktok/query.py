"""Queries of studies: validation, conversion into the form of the API, and formatting as text.

A query has the groups `and`, `or` and `not`, each a list of entries `{field: ..., <operation>: value}`. Not here:
fields, operations and values of a condition (see conditions.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from research_assets.tiktok.conditions import CONDITIONS, OPERATIONS, did_you_mean
from research_assets.tiktok.ids import find_rounded_ids

GROUPS = ("and", "or", "not")
"""Groups: all, at least one, or none of the conditions must match; AND joins the groups (reference §3.1.1)."""

_MAX_VALUES = 8
_OPERATION_SIGNS = {"EQ": "=", "IN": "in", "GT": ">", "GTE": ">=", "LT": "<", "LTE": "<="}


class QueryError(ValueError):
    """An invalid query.

    `path` identifies the entry or value, such as `("and", 0, "in", 2)`; it is empty for the whole query. `message`
    describes the error and the allowed values.
    """

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(path, message)
        self.path = path
        self.message = message

    def __str__(self) -> str:
        """Return the path and the message."""
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in ("query", *self.path))
        return f"{path[1:]}: {self.message}"


def parse_query(value: object) -> dict[str, tuple[dict[str, Any], ...]]:
    """Return the query in the form of the API: non-empty groups of `{"operation", "field_name", "field_values"}`.

    Values pass the functions of names.py; codes become upper case; duplicate values are removed. Raises QueryError for
    the first invalid entry, for ids that were rounded, and for conditions that no video can match.
    """
    if not isinstance(value, Mapping):
        raise QueryError((), f"must have groups {_join_or(GROUPS)}, each with a list of conditions")
    query = {}
    for name, group in value.items():
        if name not in GROUPS:
            raise QueryError(
                (str(name),), f"`{name}` is not a group; allowed: {_join_or(GROUPS)}.{did_you_mean(str(name), GROUPS)}"
            )
        if not isinstance(group, Sequence | None) or isinstance(group, str):
            raise QueryError((name,), "must be a list of conditions; each begins with `- `")
        # For empty groups the API returns 500 (reference §7 #24).
        if group:
            query[name] = tuple(_condition((name, index), entry) for index, entry in enumerate(group))
    if not query:
        raise QueryError((), f"contains no condition; at least one is required in {_join_or(GROUPS)}")
    _refuse_rounded_ids(query)
    _refuse_contradictions(query)
    return query


_SINGLE_VALUED = frozenset(
    {"create_date", "username", "region_code", "video_id", "music_id", "video_length", "view_count", "comment_count"}
)
"""Fields of which a video has one value, so that two conditions in `and` can exclude each other."""

_ID_FIELDS = ("video_id", "music_id", "effect_id")


def _refuse_rounded_ids(query: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Raise QueryError if ids in the conditions were rounded by another program."""
    for field in _ID_FIELDS:
        values = [
            ((group, index), int(value))
            for group, conditions in query.items()
            for index, condition in enumerate(conditions)
            if condition["field_name"] == field
            for value in condition["field_values"]
        ]
        rounded = find_rounded_ids(identifier for _, identifier in values)
        if rounded is not None and rounded.is_certain:
            path, first = next((path, one) for path, one in values if one in rounded.ids)
            more = f" and {len(rounded.ids) - 1} more values" if len(rounded.ids) > 1 else ""
            raise QueryError(path, f"`{first}`{more} of `{field}` were probably rounded: {rounded}")


def _refuse_contradictions(query: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Raise QueryError if the conditions in `and` and `not` exclude every video."""
    excluded: dict[str, set[str]] = {}
    for condition in query.get("not", ()):
        if condition["operation"] in ("EQ", "IN"):
            excluded.setdefault(condition["field_name"], set()).update(condition["field_values"])
    allowed: dict[str, set[str]] = {}
    bounds: dict[str, tuple[int, int]] = {}
    for index, condition in enumerate(query.get("and", ())):
        field, operation, values = condition["field_name"], condition["operation"], set(condition["field_values"])
        path = ("and", index)
        if operation in ("EQ", "IN"):
            if values <= excluded.get(field, set()):
                raise QueryError(path, f"no video can match: `not` excludes all values of `{field}` that this allows")
            if field in _SINGLE_VALUED:
                values = values & allowed.get(field, values) - excluded.get(field, set())
                allowed[field] = values
        else:
            low, high = bounds.get(field, (0, 2**63))
            value = int(condition["field_values"][0])
            match operation:
                case "GT" | "GTE":
                    low = max(low, value + (operation == "GT"))
                case _:
                    high = min(high, value - (operation == "LT"))
            bounds[field] = (low, high)
        low, high = bounds.get(field, (0, 2**63))
        if low > high or (field in allowed and not any(_is_within(value, low, high) for value in allowed[field])):
            raise QueryError(path, f"no video can match: the conditions on `{field}` exclude each other")


def _is_within(value: str, low: int, high: int) -> bool:
    return not value.isdigit() or low <= int(value) <= high


def format_query(query: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return a query in the form of the API as one line: `region_code in DE, AT and hashtag_name = gardening`."""
    parts = []
    for name in GROUPS:
        conditions = [_format_condition(condition) for condition in query.get(name, ())]
        if not conditions:
            continue
        joined = f" {'and' if name == 'and' else 'or'} ".join(conditions)
        several = len(conditions) > 1
        parts.append({"and": joined, "or": f"({joined})" if several else joined, "not": f"not ({joined})"}[name])
    return " and ".join(parts)


def _condition(path: tuple[str | int, ...], entry: object) -> dict[str, Any]:
    if not isinstance(entry, Mapping):
        raise QueryError(path, "must be written as {field: <name>, <operation>: <value>}")
    if "field" not in entry:
        raise QueryError(path, f"has no `field`; allowed: {_join_or(CONDITIONS)}")
    field = entry["field"]
    kind = CONDITIONS.get(field) if isinstance(field, str) else None
    if kind is None:
        raise QueryError(
            (*path, "field"),
            f"`{field}` is unknown; allowed: {_join_or(CONDITIONS)}.{did_you_mean(str(field), CONDITIONS)}",
        )
    operations = [key for key in entry if key != "field"]
    for operation in operations:
        if operation not in kind.operations:
            problem = "does not apply to" if operation in OPERATIONS else "is not an operation of"
            raise QueryError(
                (*path, str(operation)),
                f"`{operation}` {problem} `{field}`; allowed: {_join_or(kind.operations)}."
                f"{did_you_mean(str(operation), kind.operations)}",
            )
    if len(operations) != 1:
        raise QueryError(
            path,
            f"has {len(operations)} operations, but must have one; write a second condition for a second operation",
        )
    operation = operations[0]
    path = (*path, operation)
    value = entry[operation]
    is_list = isinstance(value, Sequence | set) and not isinstance(value, str)
    if is_list and operation != "in":
        advice = " Use `in` for several values." if operation == "eq" else ""
        raise QueryError(path, f"`{operation}` takes one value, not a list.{advice}")
    if operation == "in" and not (is_list and value):
        raise QueryError(path, "`in` takes a list of at least one value, written as [a, b]")
    values = dict.fromkeys(
        _value(field, (*path, index) if is_list else path, item)
        for index, item in enumerate(value if is_list else [value])
    )
    return {"operation": OPERATIONS[operation], "field_name": field, "field_values": list(values)}


def _value(field: str, path: tuple[str | int, ...], value: object) -> str:
    try:
        return CONDITIONS[field].value(value)
    except ValueError as error:
        raise QueryError(path, f"value of `{field}` {error}") from error


def _format_condition(condition: Mapping[str, Any]) -> str:
    values = [f'"{v}"' if " " in v or "," in v else v for v in condition["field_values"]]
    more = f" and {len(values) - _MAX_VALUES} more" if len(values) > _MAX_VALUES else ""
    first = ", ".join(values[:_MAX_VALUES])
    return f"{condition['field_name']} {_OPERATION_SIGNS[condition['operation']]} {first}{more}"


def _join_or(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
