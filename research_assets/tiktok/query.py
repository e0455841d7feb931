"""A study's query, checked and turned into the API's form; and that form in words for people.

A query has groups `and`, `or`, `not` of entries `{field: ..., <operation>: value}`. What fields, operations and values
there are is listed in `conditions.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from research_assets.tiktok.conditions import CONDITIONS, OPERATIONS, did_you_mean

GROUPS = ("and", "or", "not")
"""All must hold, at least one must hold, none may hold; the groups themselves are joined by and (reference §3.1.1)."""

_MAX_VALUES = 8
_OPERATION_SIGNS = {"EQ": "=", "IN": "in", "GT": ">", "GTE": ">=", "LT": "<", "LTE": "<="}


class QueryError(ValueError):
    """A mistake in a query.

    `path` leads to the entry or value in question, such as `("and", 0, "in", 2)`, and is empty for the query as a
    whole; `message` says what is wrong and what is allowed.
    """

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(path, message)
        self.path = path
        self.message = message

    def __str__(self) -> str:
        """The message after the place."""
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in ("query", *self.path))
        return f"{place[1:]}: {self.message}"


def parse_query(value: object) -> dict[str, tuple[dict[str, Any], ...]]:
    """The query in the API's own form: groups of `{"operation", "field_name", "field_values"}`, empty groups left out.

    Values become text, `#` and `@` are stripped, codes are upper case, repeated values are left out. Raises QueryError
    for the first mistake.
    """
    if not isinstance(value, Mapping):
        raise QueryError((), f"must have groups {_join_or(GROUPS)}, each with a list of conditions")
    query = {}
    for name, group in value.items():
        if name not in GROUPS:
            raise QueryError(
                (str(name),), f"`{name}` is no group; allowed: {_join_or(GROUPS)}.{did_you_mean(str(name), GROUPS)}"
            )
        if not isinstance(group, Sequence | None) or isinstance(group, str):
            raise QueryError((name,), "must be a list of conditions, each beginning with `- `")
        # Empty groups make the API answer 500 (reference §7 #24).
        if group:
            query[name] = tuple(_condition((name, index), entry) for index, entry in enumerate(group))
    if not query:
        raise QueryError((), f"holds no condition; at least one is needed in {_join_or(GROUPS)}")
    return query


def format_query(query: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A query of the API's form on one line: `region_code in DE, AT and hashtag_name = gardening, not ...`."""
    parts = []
    for name in GROUPS:
        words = [_format_condition(condition) for condition in query.get(name, ())]
        if not words:
            continue
        joined = f" {'and' if name == 'and' else 'or'} ".join(words)
        several = len(words) > 1
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
            known = "cannot be asked of" if operation in OPERATIONS else "is no operation for"
            raise QueryError(
                (*path, str(operation)),
                f"`{operation}` {known} `{field}`; allowed: {_join_or(kind.operations)}."
                f"{did_you_mean(str(operation), kind.operations)}",
            )
    if len(operations) != 1:
        raise QueryError(
            path, f"has {len(operations)} operations, but must have one; write a second condition for a second one"
        )
    operation = operations[0]
    path = (*path, operation)
    given = entry[operation]
    many = isinstance(given, Sequence | set) and not isinstance(given, str)
    if many and operation != "in":
        advice = " Use `in` for several." if operation == "eq" else ""
        raise QueryError(path, f"`{operation}` takes one value, but a list is given.{advice}")
    if operation == "in" and not (many and given):
        raise QueryError(path, "`in` takes a list of at least one value, written as [a, b]")
    values = dict.fromkeys(
        _value(field, (*path, index) if many else path, one) for index, one in enumerate(given if many else [given])
    )
    return {"operation": OPERATIONS[operation], "field_name": field, "field_values": list(values)}


def _value(field: str, path: tuple[str | int, ...], given: object) -> str:
    try:
        return CONDITIONS[field].value(given)
    except ValueError as error:
        raise QueryError(path, f"value of `{field}` {error}") from error


def _format_condition(condition: Mapping[str, Any]) -> str:
    values = [f'"{v}"' if " " in v or "," in v else v for v in condition["field_values"]]
    more = f" and {len(values) - _MAX_VALUES} more" if len(values) > _MAX_VALUES else ""
    shown = ", ".join(values[:_MAX_VALUES])
    return f"{condition['field_name']} {_OPERATION_SIGNS[condition['operation']]} {shown}{more}"


def _join_or(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
