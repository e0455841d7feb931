"""A page of records: the rows in the `data` of a response, its cursor, and the names of its unknown fields.

Where the documentation contradicts itself, both spellings of a key are accepted. Rows are kept as received. Not here:
typed columns (see storage/raw_writer.py), requests for further pages (see collect/).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from research_assets.fields import ENTITIES, PLAYLIST, Field
from research_assets.tiktok.endpoints import ENDPOINTS
from research_assets.tiktok.envelope import PAGING, error_from_response, require_success
from research_assets.tiktok.errors import ServerError
from research_assets.tiktok.requests import Request
from research_assets.tiktok.transport import HttpResponse

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ResponsePage:
    """A page as received.

    `raw` is the body as one line of JSON with unchanged numbers. `rows` are the records without NUL characters: one row
    for a flat endpoint, no row if the list is absent. `cursor` and `search_id` are the values for the next request, or
    None. `unknown` contains the keys that `research_assets.fields` does not define: `name` for a key of a record,
    `name.key` for a key in a structure of a record, `data.name` or `answer.name` for a key of the envelope. `date` is
    the `Date` header; `latency` is in seconds.
    """

    request: Request
    status: int
    raw: bytes
    rows: list[Row]
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
    if endpoint.flat:
        row = {key: value for key, value in data.items() if key not in PAGING}
        rows = [row] if row else []
    else:
        key = next((key for key in endpoint.payload_keys if data.get(key) is not None), "")
        items = data.get(key, [])
        if not isinstance(items, list):
            raise error_from_response(request, response, message=f"`data.{key}` is not a list", kind=ServerError)
        rows = [row for row in items if isinstance(row, dict)]
        if len(rows) < len(items):
            unknown.add(f"data.{key}[]")
        unknown |= {f"data.{name}" for name in data.keys() - PAGING - set(endpoint.payload_keys)}
    known_names, structures = _KNOWN_KEYS[endpoint.name]
    unknown |= set().union(*rows) - known_names
    for name, known_keys in structures:
        unknown |= {f"{name}.{key}" for key in _unknown_member_keys(rows, name, known_keys)}
    return ResponsePage(
        request=request,
        status=response.status,
        raw=envelope.raw,
        rows=rows,
        cursor=_integer(data.get("cursor")),
        has_more=str(data.get("has_more")).lower() in {"true", "1"},
        search_id=_search_id(data.get("search_id")),
        log_id=envelope.log_id,
        date=response.date,
        latency=response.latency,
        unknown=frozenset(unknown),
    )


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


_KNOWN_KEYS: dict[str, _KnownKeys] = {"playlist_info": _known_keys(PLAYLIST)} | {
    endpoint.name: _known_keys(ENTITIES[endpoint.entity].fields) for endpoint in ENDPOINTS.values() if endpoint.entity
}


def _search_id(value: object) -> str | None:
    """Return a search id as text, the form in which the next request sends it."""
    return str(value) if value and isinstance(value, int | str) else None


def _integer(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        return int(value)
    except ValueError:
        return None
