"""The ids in a result file, whose format the API does not document (reference §3.11, §13).

Accepted: ids with any usual separator, quoted or in brackets; one column with a header; JSON with one list of ids.
Not here: what follows from the ids (see guards.py).
"""

import re
from collections.abc import Iterator
from typing import Any

import orjson

from research_assets.tiktok.ids import parse_id

# The reference documents neither the separator nor quotes, brackets or a header.
_ID_SEPARATORS = re.compile(r"""[\s,;|"']+""")
_HEADER = re.compile(r"""\A["']?(?:valid_)?(?:video|comment|item)?_?ids?["']?[ \t]*(?:\r\n|\r|\n|\Z)""", re.IGNORECASE)


class UnreadableResult(ValueError):
    """A result file that is not certainly a list of ids."""


def parse_result(content: bytes) -> tuple[int, ...]:
    """Return the distinct ids of a result file, in its order; an empty file has none. Raises UnreadableResult.

    What is not in the result is deleted, so ids are never extracted from other text: a file with anything else in it
    is unreadable as a whole.
    """
    try:
        return tuple(dict.fromkeys(_parse_ids(content.decode("utf-8-sig").strip())))
    except (ValueError, RecursionError) as error:
        raise UnreadableResult("not a list of ids") from error


def _parse_ids(text: str) -> list[int]:
    """Return the ids of a text. Raises ValueError if it is anything but a list of ids."""
    if text.startswith(("{", "[")):
        try:
            return [_require_id(item) for item in _only_list(orjson.loads(text)) if item != ""]
        except ValueError:
            # Brackets and quotes around a list with any other separator.
            if not (text.startswith("[") and text.endswith("]")):
                raise
            text = text[1:-1]
    if header := _HEADER.match(text):
        # Below a header each line has one id: further columns would have a meaning that is unknown.
        return [_require_id(line.strip(" \t\"'")) for line in text[header.end() :].splitlines() if line.strip()]
    return [_require_id(item) for item in _ID_SEPARATORS.split(text) if item]


def _only_list(value: Any) -> list[Any]:
    """Return the only list in a JSON value, with the members of objects that have one member. Raises ValueError."""
    lists = list(_lists(value))
    if len(lists) != 1:
        raise UnreadableResult("the value contains no list, or several")
    return [next(iter(item.values())) if isinstance(item, dict) and len(item) == 1 else item for item in lists[0]]


def _lists(value: Any) -> Iterator[list[Any]]:
    if isinstance(value, list):
        yield value
    elif isinstance(value, dict):
        error = value.get("error")
        if isinstance(error, dict) and error.get("code") not in (None, "", "ok"):
            raise UnreadableResult("the value reports an error")
        for member in value.values():
            yield from _lists(member)


def _require_id(item: object) -> int:
    number = parse_id(item)
    if number is None:
        raise UnreadableResult(f"{item!r} is not an id")
    return number
