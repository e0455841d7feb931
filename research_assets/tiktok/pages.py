"""A page of records: what an answer's `data` holds, and what of it nobody has described yet.

Both spellings are taken wherever the documentation contradicts itself. Rows stay as delivered; giving them types is the
work of `research_assets.storage.raw_writer`, asking again the caller's.
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

    `raw` is the body as one line of JSON with its numbers untouched. `rows` are the records without NUL characters: one
    for an endpoint that answers flat, none if the list is absent. `cursor` and `search_id` are for the next request,
    None where absent. `unknown` names keys that `research_assets.fields` does not know: of records as `name`, inside a
    record's structure as `name.key`, of the envelope as `data.name` or `answer.name`. `date` is the answer's `Date`
    header, `latency` is in seconds.
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


def decode_page(request: Request, reply: HttpResponse) -> ResponsePage:
    """The page that an answer holds; raises the ApiError that any other answer stands for."""
    endpoint = request.endpoint
    envelope = require_success(request, reply)
    data = envelope.data
    unknown = {f"answer.{key}" for key in envelope.fields.keys() - {"data", "error"}}
    if endpoint.flat:
        row = {key: value for key, value in data.items() if key not in PAGING}
        rows = [row] if row else []
    else:
        key = next((key for key in endpoint.payload_keys if data.get(key) is not None), "")
        listed = data.get(key, [])
        if not isinstance(listed, list):
            raise error_from_response(request, reply, message=f"`data.{key}` is not a list", kind=ServerError)
        rows = [row for row in listed if isinstance(row, dict)]
        if len(rows) < len(listed):
            unknown.add(f"data.{key}[]")
        unknown |= {f"data.{name}" for name in data.keys() - PAGING - set(endpoint.payload_keys)}
    known, structures = _KNOWN[endpoint.name]
    unknown |= set().union(*rows) - known
    for name, keys in structures:
        unknown |= {f"{name}.{key}" for key in _new_keys_inside(rows, name, keys)}
    return ResponsePage(
        request=request,
        status=reply.status,
        raw=envelope.raw,
        rows=rows,
        cursor=_integer(data.get("cursor")),
        has_more=str(data.get("has_more")).lower() in {"true", "1"},
        search_id=_digits(data.get("search_id")),
        log_id=envelope.log_id,
        date=reply.date,
        latency=reply.latency,
        unknown=frozenset(unknown),
    )


def _new_keys_inside(rows: Iterable[Row], name: str, known: frozenset[str]) -> set[str]:
    """Keys that are not known, of the structures that stand under `name`, be it a list of them or a single one."""
    held = [inside for row in rows if (inside := row.get(name))]
    listed = [item for inside in held if type(inside) is list for item in inside if type(item) is dict]
    return set().union(*listed, *(inside for inside in held if type(inside) is dict)) - known


_Known = tuple[frozenset[str], tuple[tuple[str, frozenset[str]], ...]]


def _known(fields: Iterable[Field]) -> _Known:
    """Every key that may stand in a record, and the keys inside those that are structures by their DuckDB type."""
    fields = tuple(fields)
    inside = {field.name: re.findall(r'[(,] ?"?(\w+)"? ', field.type) for field in fields if "STRUCT" in field.type}
    names = frozenset(name for field in fields for name in (field.name, *field.aliases))
    return names, tuple((name, frozenset(keys)) for name, keys in inside.items())


_KNOWN: dict[str, _Known] = {"playlist_info": _known(PLAYLIST)} | {
    endpoint.name: _known(ENTITIES[endpoint.entity].fields) for endpoint in ENDPOINTS.values() if endpoint.entity
}


def _digits(value: object) -> str | None:
    """A search id as text, in which it is asked again; a number is taken too."""
    return str(value) if value and isinstance(value, int | str) else None


def _integer(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        return int(value)
    except ValueError:
        return None
