"""The parts of a study's JSON schema that come from the API's own lists: conditions of a query, fields of an entity.

An editor and `dg check yaml` work with it. What a schema cannot say is checked when the file is loaded.
"""

from typing import Any

from research_assets.fields import ENTITIES
from research_assets.tiktok.conditions import CONDITIONS, LENGTHS, REGIONS
from research_assets.tiktok.query import GROUPS


def fields_schema() -> dict[str, Any]:
    """Lists of fields by entity; entities whose fields cannot be chosen are left out."""
    lists = {
        name: {"type": "array", "items": {"enum": list(entity.requested)}}
        for name, entity in ENTITIES.items()
        if entity.requested
    }
    return {"type": "object", "properties": lists, "additionalProperties": False}


def _region_pattern() -> str:
    """The region codes in either case; shorter than the list of them, which an error would print in full."""
    firsts = sorted({code[0] for code in REGIONS})
    seconds = {first: "".join(sorted(code[1] for code in REGIONS if code[0] == first)) for first in firsts}
    parts = [f"[{first}{first.lower()}][{more}{more.lower()}]" for first, more in seconds.items()]
    return f"^({'|'.join(parts)})$"


def query_schema() -> dict[str, Any]:
    """Groups of conditions: the fields, and for each its operations and values where they are a list."""
    value: dict[str, Any] = {"type": ["string", "integer"]}
    lists = {
        "region_code": {"type": "string", "pattern": _region_pattern()},
        "video_length": {"enum": [*LENGTHS, *(length.lower() for length in LENGTHS)]},
    }
    rules = []
    for field, condition in CONDITIONS.items():
        one = lists.get(field, value)
        then = {
            "propertyNames": {"enum": ["field", *condition.operations]},
            "properties": {"eq": one, "in": {"type": "array", "minItems": 1, "items": one}},
            "additionalProperties": value,
        }
        rules.append({"if": {"properties": {"field": {"const": field}}}, "then": then})
    entry = {
        "type": "object",
        "properties": {"field": {"enum": [*CONDITIONS]}},
        "required": ["field"],
        "minProperties": 2,
        "maxProperties": 2,
        "allOf": rules,
    }
    group = {"type": "array", "items": entry}
    return {"type": "object", "properties": dict.fromkeys(GROUPS, group), "additionalProperties": False}
