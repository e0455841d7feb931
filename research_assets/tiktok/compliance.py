"""Requests and responses of batch compliance, which reports which ids may still be stored (reference §3.11).

A task takes up to 10,000 ids in three calls without records: upload a file of ids, request the state, download a file
of ids. Not here: deleting collected data.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import orjson

from research_assets.tiktok import jsonline
from research_assets.tiktok.endpoints import ENDPOINTS
from research_assets.tiktok.envelope import error_from_response, require_success
from research_assets.tiktok.errors import ServerError
from research_assets.tiktok.ids import parse_id, require_id
from research_assets.tiktok.requests import Request
from research_assets.tiktok.transport import HttpResponse

MAX_IDS = 10_000
"""Maximum number of ids in one task."""

STATES = ("Completed", "Processing", "Failed")
"""Documented states of a task."""

# The reference documents neither the separator nor quotes, brackets or a header.
_ID_SEPARATORS = re.compile(r"""[\s,;|"']+""")
_HEADER = re.compile(r"""\A["']?(?:video|comment|item)?_?ids?["']?[ \t]*(?:\r\n|\r|\n|\Z)""", re.IGNORECASE)
_TASK_ID = re.compile(rb'"task_id"\s*:\s*"?([0-9]{1,64})(?=[\s",}])')


class _NotAList(ValueError):
    """A text that is not a list of ids."""


def creation_request(ids: Sequence[int], category: Literal["video", "comment"]) -> tuple[Request, dict[str, Any]]:
    """Return the request that starts a task, and its multipart form as arguments of httpx. Raises ValueError."""
    if category not in ("video", "comment"):
        raise ValueError(f"category={category!r}: must be `video` or `comment`")
    if not 1 <= len(ids) <= MAX_IDS:
        raise ValueError(f"ids: {len(ids)} given; one task takes 1 to {MAX_IDS:,}")
    lines = "".join(f"{require_id('ids', number)}\n" for number in ids)
    request = Request(ENDPOINTS["validation_create"], {"category": category}, ())
    return request, {"data": {"category": category}, "files": {"file_data": ("ids.txt", lines.encode(), "text/plain")}}


def task_request(endpoint: Literal["validation_status", "validation_download"], task_id: str) -> Request:
    """Return a request for the state or the result of a task. Raises ValueError."""
    if re.fullmatch("[0-9]{1,64}", task_id) is None:
        raise ValueError(f"task_id={task_id!r}: must be the digits that the API returned")
    return Request(ENDPOINTS[endpoint], {"task_id": task_id}, ())


def task_body(request: Request) -> bytes:
    """Return the body of a request about a task. The id is a number, which may exceed 64 bits, as in the reference."""
    digits: str = request.body["task_id"]
    is_number = digits == "0" or not digits.startswith("0")
    return f'{{"task_id":{digits}}}'.encode() if is_number else orjson.dumps(request.body)


def task_id(request: Request, response: HttpResponse) -> str:
    """Return the id of the started task: its digits, because it may exceed 64 bits. Raises ApiError."""
    envelope = require_success(request, response)
    # Parsers of JSON round numbers above 64 bits.
    found = _TASK_ID.search(response.body) if "task_id" in envelope.data else None
    if found is None:
        raise error_from_response(request, response, message="the response has no usable `task_id`", kind=ServerError)
    return found[1].decode()


def task_status(request: Request, response: HttpResponse) -> str:
    """Return one of `STATES`, or the text of the API if it is none of them. Raises ApiError."""
    envelope = require_success(request, response)
    status = envelope.data.get("task_status")
    if not isinstance(status, str) or not status.strip():
        raise error_from_response(request, response, message="the response has no `task_status`", kind=ServerError)
    return next((state for state in STATES if state.lower() == status.strip().lower()), status.strip())


def valid_ids(request: Request, response: HttpResponse) -> tuple[int, ...]:
    """Return the distinct ids of a result file, in its order. Raises ApiError.

    The format is unknown (reference §3.11). Understood are ids with any separator, a CSV file with one column and a
    header, and JSON with one list of ids. An empty file is a valid result: no id is valid any more.
    """
    if response.status == 200:
        try:
            return tuple(dict.fromkeys(_parse_ids(response.body.decode("utf-8-sig").strip())))
        except ValueError:
            # The caller deletes every id that is not in the result, so ids are never extracted from any other text.
            if not _is_json(response.body):
                raise error_from_response(
                    request, response, message="the response is not a list of ids", kind=ServerError
                ) from None
    require_success(request, response)
    raise error_from_response(
        request, response, message="the response reports success but contains no list of ids", kind=ServerError
    )


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
        raise _NotAList("the value contains no list, or several")
    return [next(iter(item.values())) if isinstance(item, dict) and len(item) == 1 else item for item in lists[0]]


def _lists(value: Any) -> Iterator[list[Any]]:
    if isinstance(value, list):
        yield value
    elif isinstance(value, dict):
        error = value.get("error")
        if isinstance(error, dict) and error.get("code") not in (None, "", "ok"):
            raise _NotAList("the value reports an error")
        for member in value.values():
            yield from _lists(member)


def _require_id(item: object) -> int:
    number = parse_id(item)
    if number is None:
        raise _NotAList(f"{item!r} is not an id")
    return number


def _is_json(body: bytes) -> bool:
    try:
        jsonline.parse_json_line(body)
    except (ValueError, RecursionError):
        return False
    return True
