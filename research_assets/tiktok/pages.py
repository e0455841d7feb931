"""A page of records: the rows in the `data` of a response, its cursor, and the names of its unknown fields.

Where the documentation contradicts itself, both spellings of a key are accepted. Rows are kept as received. Elements of
the list that are no rows (no object, no id) are rejected one by one: they never cost the other rows. Not here: typed
columns and the raw table of rejected elements (see storage/raw_writer.py), requests for further pages (see collect/).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from research_assets.fields import ENTITIES, Entity, Field
from research_assets.tiktok.endpoints import ENDPOINTS
from research_assets.tiktok.envelope import PAGING, Envelope, require_success
from research_assets.tiktok.errors import LABEL_CHARACTERS
from research_assets.tiktok.ids import parse_id
from research_assets.tiktok.requests import Request
from research_assets.tiktok.transport import HttpResponse

Row = dict[str, Any]

NOT_AN_OBJECT = "not an object"
NO_PROFILE_FIELD = "none of the fields of a profile"
NO_PLAYLIST_FIELD = "none of the fields of a playlist"


class Rejection(NamedTuple):
    """One element of a page that cannot be used, or one value of an element.

    `position` is the place of the element in the list, from 0; None for a value outside the list. `field` is the name
    of the value; None if the whole element is rejected. `reason` completes "rejected: …". `text` is the value as
    received if the line of JSON does not contain it.
    """

    position: int | None
    field: str | None
    reason: str
    text: str | None = None


@dataclass(frozen=True, slots=True)
class ResponsePage:
    """A page as received.

    `raw` is the body as one line of JSON with unchanged numbers (see jsonline.py). `rows` are the usable records in it:
    one row for a flat endpoint, no row if the list is absent. `rejected` are the other elements of the list, and values
    that `raw` does not contain as received. `offered` is the number of elements in the list, usable or not. `cursor`
    and `search_id` are the values for the next request, or None. `unknown` contains the keys that
    `research_assets.fields` does not define: `name` for a key of a record (`record.data.x` for the key `data.x`),
    `name.key` for a key in a structure of a record, `data.name` or `answer.name` for a key of the envelope. `date` is
    the `Date` header; `latency` is in seconds.
    """

    request: Request
    status: int
    raw: bytes
    rows: list[Row]
    rejected: tuple[Rejection, ...]
    offered: int
    cursor: int | None
    has_more: bool
    search_id: str | None
    log_id: str | None
    date: str | None
    latency: float
    unknown: frozenset[str]


def decode_page(request: Request, response: HttpResponse) -> ResponsePage:
    """Return the page in a response. Raises the matching ApiError for a response without a result."""
    endpoint = request.endpoint
    envelope = require_success(request, response)
    data = envelope.data
    unknown = {f"answer.{key}" for key in envelope.fields.keys() - {"data", "error"}}
    key, items = "", list[Any]()
    if endpoint.flat:
        items = [row] if (row := {key: value for key, value in data.items() if key not in PAGING}) else []
    else:
        key = next((key for key in endpoint.payload_keys if data.get(key) is not None), "")
        items = data[key] if key else []
        if not all(isinstance(item, dict) for item in items):
            unknown.add(f"data.{key}[]")
        unknown |= {f"data.{name}" for name in data.keys() - PAGING - set(endpoint.payload_keys)}
    entity = ENTITIES.get(endpoint.entity or "")
    reasons = [_rejection_reason(item, entity) for item in items]
    rows = [item for item, reason in zip(items, reasons, strict=True) if reason is None]
    rejected = [Rejection(position, None, reason) for position, reason in enumerate(reasons) if reason is not None]
    known_names, structures = _KNOWN_KEYS[endpoint.name]
    # Without the prefix, these would pass for keys of the envelope.
    new_names = set().union(*rows) - known_names
    unknown |= {f"record.{name}" if name.startswith(("data.", "answer.")) else name for name in new_names}
    for name, known_keys in structures:
        unknown |= {f"{name}.{key}" for key in _unknown_member_keys(rows, name, known_keys)}
    return ResponsePage(
        request=request,
        status=response.status,
        raw=envelope.raw,
        rows=rows,
        rejected=(*rejected, *_changed_values(envelope, key)),
        offered=len(items),
        cursor=_integer(data.get("cursor")),
        has_more=_has_more(data, request, default=bool(items)),
        search_id=_search_id(data.get("search_id")),
        log_id=envelope.log_id,
        date=response.date,
        latency=response.latency,
        unknown=frozenset(unknown),
    )


def _rejection_reason(item: object, entity: Entity | None) -> str | None:
    """Return the reason why an element of a list is no record of an entity; None if it is one."""
    if not isinstance(item, dict):
        return NOT_AN_OBJECT
    if entity is None:
        return None
    key = entity.key[-1]
    if any(key == field.name for field in entity.context):
        if any(item.get(name) is not None for name in entity.known):
            return None
        return NO_PLAYLIST_FIELD if entity.name == "playlists" else NO_PROFILE_FIELD
    field = entity.field(key)
    value = next((item[name] for name in (field.name, *field.aliases) if item.get(name) is not None), None)
    if parse_id(value) is not None if field.type == "BIGINT" else _is_name(value):
        return None
    return f"no {key}" if value is None or value == "" else f"an invalid {key}"


def _is_name(value: object) -> bool:
    return type(value) is int or (isinstance(value, str) and bool(value.strip()))


def _changed_values(envelope: Envelope, key: str) -> Iterable[Rejection]:
    """Yield the values that differ from the body, by the record that contains them. `key` is that of the list."""
    for path, reason, text in envelope.changed:
        position, names = None, path
        if key and path[:2] == ("data", key) and len(path) > 2:
            position, names = int(path[2]), path[3:]
        elif not key and path[:1] == ("data",):
            position, names = 0, path[1:]
        if names:  # without a name, the element as a whole is rejected
            yield Rejection(position, ".".join(map(str, names)), reason, text)


def _unknown_member_keys(rows: Iterable[Row], name: str, known_keys: frozenset[str]) -> set[str]:
    """Return the unknown keys of the structures in the column `name`, which contains one structure or a list."""
    values = [value for row in rows if (value := row.get(name))]
    items = [item for value in values if type(value) is list for item in value if type(item) is dict]
    return set().union(*items, *(value for value in values if type(value) is dict)) - known_keys


_KnownKeys = tuple[frozenset[str], tuple[tuple[str, frozenset[str]], ...]]


def _known_keys(fields: Iterable[Field]) -> _KnownKeys:
    """Return the keys of a record, and by structure field (from its DuckDB type) the keys of the structure."""
    fields = tuple(fields)
    members = {field.name: re.findall(r'[(,] ?"?(\w+)"? ', field.type) for field in fields if "STRUCT" in field.type}
    names = frozenset(name for field in fields for name in (field.name, *field.aliases))
    return names, tuple((name, frozenset(keys)) for name, keys in members.items())


_KNOWN_KEYS: dict[str, _KnownKeys] = {
    endpoint.name: _known_keys(ENTITIES[endpoint.entity].fields) for endpoint in ENDPOINTS.values() if endpoint.entity
}


def _search_id(value: object) -> str | None:
    """Return a search id as text, the form in which the next request sends it; None if it is longer than any id."""
    if not value or not isinstance(value, int | str) or isinstance(value, bool):
        return None
    text = str(value)
    return text if len(text) <= LABEL_CHARACTERS else None


def _has_more(data: dict[str, Any], request: Request, *, default: bool) -> bool:
    """Return whether further pages follow. Without `has_more` they may if the page has as many hits as requested.

    A page of 100 hits often has fewer records; where the cursor is a position, it counts the hits.
    """
    value, size = data.get("has_more"), request.body.get("max_count")
    if value is not None or size is None:
        return _boolean(value, default=default)
    hits = max((len(member) for member in data.values() if isinstance(member, list)), default=0)
    if request.endpoint.indexed:
        hits = max(hits, (_integer(data.get("cursor")) or 0) - (request.body.get("cursor") or 0))
    return bool(hits >= size)


def _boolean(value: object, *, default: bool) -> bool:
    """Return a flag given as a boolean, a number or a text. None is false, and anything else `default`."""
    if value is None or isinstance(value, bool | int | float):
        return bool(value)
    return {"true": True, "1": True, "false": False, "0": False, "": False}.get(str(value).strip().lower(), default)


def _integer(value: object) -> int | None:
    """Return a 64-bit integer given as a number or as text; None for anything else, which no journal can store."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        number = int(value)
    except ValueError:
        return None
    return number if -(2**63) <= number < 2**63 else None
