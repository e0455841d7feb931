"""Parts of a query: further conditions that divide the hits of one day among several searches.

A search whose id expired is continued by a jump to the cursor where it stopped. Where the API refuses the jump, a day
with more pages than the quota of a day can never be read in one search. Its parts can: each is a search of its own.

A part is text, as it is stored in journals and raw/coverage: its conditions, such as `video_length=MID
region_code!=US,BR`. The parts of a query are a partition of its hits for any values of the field: the last one is the
negation of the others, unless the query itself lists all values.

Pure functions. Not here: which parts of a day are collected (see collect/search/query_parts.py).
"""

from collections.abc import Iterable, Sequence
from typing import Any

from research_assets.study.spec import QueryGroups

_VIDEO_LENGTHS = (("LONG",), ("MID",))
"""Groups of `video_length`, probably smallest first; the rest, at present `SHORT` and `EXTRA_LONG`, is collected before
them. `EXTRA_LONG` is in the rest because a part without any video needs a second look on another day. Assumption: no
distribution of lengths is published."""

_REGIONS = (
    ("US", "CA"),
    ("ID", "PH", "MY", "SG"),
    ("BR", "MX", "AR", "CO", "PE", "CL"),
    ("GB", "DE", "FR", "IT", "ES", "PL", "NL"),
    ("VN", "TH", "JP", "KR", "TW"),
    ("TR", "SA", "EG", "IQ", "AE", "MA", "DZ"),
    ("PK", "BD", "NP", "LK", "KH", "MM"),
    ("RU", "UA", "KZ", "RO", "NG", "ZA", "KE"),
)
"""Groups of `region_code`, in the order in which they are separated from the rest. Assumption: the markets with most
users are the first ones."""

_MAX_GROUPS = 4
"""Groups that one cut separates from the rest."""


def restrict_to_part(query: QueryGroups, part: str) -> QueryGroups:
    """Return the query with the conditions of a part added; the query itself if `part` is empty.

    The conditions of the query stay as they are: conditions of `and` all hold, and none of those in `not`.
    """
    for text in part.split():
        excluded = "!=" in text
        field, _, values = text.partition("!=" if excluded else "=")
        listed = values.split(",")
        condition = {"operation": "IN" if len(listed) > 1 else "EQ", "field_name": field, "field_values": listed}
        group = "not" if excluded else "and"
        query = {**query, group: (*query.get(group, ()), condition)}
    return query


def cut_query(query: QueryGroups, part: str = "") -> tuple[str, ...]:
    """Return the parts into which a query, or a part of it, is cut: first by `video_length`, then by `region_code`.

    The result is empty if neither field divides the hits any further.
    """
    restricted = restrict_to_part(query, part)
    for field in ("video_length", "region_code"):
        allowed, excluded = _listed_values(restricted, field)
        conditions = _conditions(field, allowed, excluded)
        if len(conditions) > 1:
            return tuple(f"{part} {condition}".lstrip() for condition in conditions)
    return ()


def enclosing_parts(part: str) -> tuple[str, ...]:
    """Return the parts that a part was cut from, narrowest first; the last one is the whole query, an empty text."""
    conditions = part.split()
    return tuple(" ".join(conditions[:number]) for number in reversed(range(len(conditions))))


def _conditions(field: str, allowed: Sequence[str] | None, excluded: frozenset[str]) -> list[str]:
    """Return the conditions that divide the values of a field; a single one or none if they cannot be divided.

    `allowed` are the values that the query lists; None if it lists none.
    """
    left = None if allowed is None else [value for value in allowed if value not in excluded]
    groups = [
        kept
        for group in (_VIDEO_LENGTHS if field == "video_length" else _REGIONS)
        if (kept := [value for value in group if value not in excluded and (left is None or value in left)])
    ]
    if left is not None and len(groups) <= 1:
        size = -(-len(left) // _MAX_GROUPS) or 1
        groups = [left[begin : begin + size] for begin in range(0, len(left), size)]
    groups = groups[:_MAX_GROUPS]
    separated = [value for group in groups for value in group]
    conditions = [f"{field}={','.join(group)}" for group in groups]
    if left is not None:
        others = [value for value in left if value not in separated]
        return [*conditions, *([f"{field}={','.join(others)}"] if others else [])]
    rest = [f"{field}!={','.join(separated)}"] if separated else []
    return [*rest, *conditions] if field == "video_length" else [*conditions, *rest]


def _listed_values(query: QueryGroups, field: str) -> tuple[list[str] | None, frozenset[str]]:
    """Return the values of a field that a query requires, None if it requires none, and those that it excludes."""

    def values(conditions: Iterable[Any]) -> list[list[str]]:
        return [list(one["field_values"]) for one in conditions if one["field_name"] == field]

    either = query.get("or", ())
    required = values(query.get("and", ())) + (values(either) if len(either) == 1 else [])
    excluded = frozenset(value for listed in values(query.get("not", ())) for value in listed)
    if not required:
        return None, excluded
    return [value for value in dict.fromkeys(required[0]) if all(value in other for other in required)], excluded
