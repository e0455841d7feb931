"""The ids in a result file, whose format the API does not document (reference 3.11, 13).

Accepted: ids with any usual separator, quoted or in brackets; one column with a header; JSON with one list of ids.
Not here: what follows from the ids (see guards.py).
"""

import json
import re
from typing import Any

from research_assets.tiktok.ids import parse_id

_SEPARATORS = re.compile(r"""[\s,;|"']+""")
_HEADER = re.compile(r"""["']?(?:(?:valid_)?(?:video|comment|item)?_?ids?)["']?""", re.IGNORECASE)
_ID_KEYS = ("id", "video_id", "comment_id")


class UnreadableResult(ValueError):
    """A result file that is not certainly a list of ids."""


def parse_result(content: bytes) -> tuple[int, ...]:
    """Return the distinct ids of a result file, in its order; an empty file has none. Raises UnreadableResult.

    An id is never extracted from other text: a file with anything else in it is unreadable as a whole.
    """
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UnreadableResult("not UTF-8") from error
    if text.startswith(("{", "[")):
        try:
            values = _ids_of_json(json.loads(text))
        except (ValueError, RecursionError) as error:
            if text.startswith("{") or not text.endswith("]"):
                raise UnreadableResult("not a list of ids") from error
            values = [one for one in _SEPARATORS.split(text[1:-1]) if one]
    else:
        first, _, rest = text.partition("\n")
        values = [one for one in _SEPARATORS.split(rest if _HEADER.fullmatch(first.strip()) else text) if one]
    ids = [parse_id(value) for value in values]
    known = [one for one in ids if one is not None]
    if len(known) < len(ids):
        raise UnreadableResult("not a list of ids")
    return tuple(dict.fromkeys(known))


def _ids_of_json(value: Any) -> list[Any]:
    """Return the ids of a list, or of the only list in an object or its `data`. Raises UnreadableResult."""
    if isinstance(value, dict):
        inner = value.get("data", value)
        lists = [one for one in inner.values() if isinstance(one, list)] if isinstance(inner, dict) else [inner]
        if len(lists) != 1:
            raise UnreadableResult("no single list of ids")
        value = lists[0]
    if not isinstance(value, list):
        raise UnreadableResult("no list of ids")
    return [_id_of(one) for one in value]


def _id_of(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    # With another member, such as a state, an entry may mean that its id is not valid.
    if len(entry) == 1 and (key := next(iter(entry))) in _ID_KEYS:
        return entry[key]
    raise UnreadableResult("an entry with members besides its id")
