"""A study's query in words, for readers who do not know the API's names."""

from collections.abc import Mapping, Sequence
from typing import Any

_FIELD_LABELS = {
    "create_date": "day of publication",
    "username": "creator",
    "region_code": "creator's country of registration",
    "video_id": "video id",
    "hashtag_name": "hashtag",
    "keyword": "keyword",
    "music_id": "sound",
    "effect_id": "effect",
    "video_length": "length class",
    "view_count": "number of views",
    "comment_count": "number of comments",
}
_OPERATION_LABELS = {
    "EQ": "is",
    "IN": "is",
    "GT": "is above",
    "GTE": "is at least",
    "LT": "is below",
    "LTE": "is at most",
}
_MAX_VALUES = 12


def describe_query(query: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A query of the API's form as part of a sentence: `hashtag is gardening and none of these holds: ...`."""
    parts = []
    if every := query.get("and"):
        parts.append(" and ".join(map(_describe_condition, every)))
    if some := query.get("or"):
        told = "; or ".join(map(_describe_condition, some))
        parts.append(f"at least one of these holds: {told}" if len(some) > 1 else told)
    if none := query.get("not"):
        parts.append(f"it does not hold that {' or that '.join(map(_describe_condition, none))}")
    return "; and ".join(parts)


def _describe_condition(condition: Mapping[str, Any]) -> str:
    values = [str(value) for value in condition["field_values"]]
    shown = [f"\N{LEFT DOUBLE QUOTATION MARK}{value}\N{RIGHT DOUBLE QUOTATION MARK}" for value in values[:_MAX_VALUES]]
    more = len(values) - len(shown)
    if more:
        shown.append(f"one of {more} more")
    either = f"{', '.join(shown[:-1])} or {shown[-1]}" if len(shown) > 1 else shown[0]
    name = condition["field_name"]
    return f"the {_FIELD_LABELS.get(name, name)} {_OPERATION_LABELS[condition['operation']]} {either}"
