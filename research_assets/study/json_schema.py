"""Parts of a study's JSON schema that come from the API's lists: conditions of a query, and fields of an entity.

Editors and `dg check yaml` use the schema. Not here: the other keys, and the rules that a schema cannot express (see
model.py).
"""

from typing import Any

from research_assets.fields import ENTITIES
from research_assets.tiktok.conditions import CONDITIONS, LENGTHS, REGIONS
from research_assets.tiktok.query import GROUPS


def fields_schema() -> dict[str, Any]:
    """Return the schema of `fields`: lists of fields by entity, without entities whose fields cannot be selected."""
    lists = {
        name: {"type": "array", "items": {"enum": list(entity.requested)}}
        for name, entity in ENTITIES.items()
        if entity.requested
    }
    return {"type": "object", "properties": lists, "additionalProperties": False}


def _region_pattern() -> str:
    """Return a pattern of the region codes in upper or lower case.

    An error message prints a pattern, or a list, in full; the pattern is shorter.
    """
    first_letters = sorted({code[0] for code in REGIONS})
    second_letters = {
        first: "".join(sorted(code[1] for code in REGIONS if code[0] == first)) for first in first_letters
    }
    parts = [f"[{first}{first.lower()}][{second}{second.lower()}]" for first, second in second_letters.items()]
    return rf"^\W*({'|'.join(parts)})\W*$"


def _length_pattern() -> str:
    """Return a pattern of the video lengths in upper or lower case."""
    words = ("".join(f"[{one}{one.lower()}]" if one.isalpha() else one for one in length) for length in LENGTHS)
    return rf"^\W*({'|'.join(words)})\W*$"


def query_schema() -> dict[str, Any]:
    """Return the schema of `query`: groups of conditions with their fields and operations, and any list of values."""
    # Editors read 0711 as a number and NO as false; the loader keeps the text of the file.
    value: dict[str, Any] = {"type": ["string", "number", "boolean"]}
    lists = {
        "region_code": {"type": ["string", "boolean"], "pattern": _region_pattern()},
        "video_length": {"type": "string", "pattern": _length_pattern()},
    }
    rules = []
    for field, condition in CONDITIONS.items():
        value_schema = lists.get(field, value)
        then = {
            "propertyNames": {"enum": ["field", *condition.operations]},
            "properties": {"eq": value_schema, "in": {"type": "array", "minItems": 1, "items": value_schema}},
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
