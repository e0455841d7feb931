"""Requests and responses of batch compliance, which reports which ids may still be stored (reference §3.11).

A task takes up to 10,000 ids in three calls without records: upload a file of ids, request the state, download a file
of ids. Not here: deleting collected data.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal

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

# The reference documents neither the separator nor quotes or brackets around the ids.
_ID_SEPARATORS = re.compile(r"""[\s,;|"']+""")


def creation_request(ids: Sequence[int], category: Literal["video", "comment"]) -> tuple[Request, dict[str, Any]]:
    """Return the request that starts a task, and its multipart form as arguments of httpx. Raises ValueError."""
    if category not in ("video", "comment"):
        raise ValueError(f"category={category!r}: must be `video` or `comment`")
    if not 1 <= len(ids) <= MAX_IDS:
        raise ValueError(f"ids: {len(ids)} given; one task takes 1 to {MAX_IDS:,}")
    lines = "".join(f"{require_id('ids', number)}\n" for number in ids)
    request = Request(ENDPOINTS["validation_create"], {"category": category}, ())
    return request, {"data": {"category": category}, "files": {"file_data": ("ids.txt", lines.encode(), "text/plain")}}


def task_request(endpoint: Literal["validation_status", "validation_download"], task_id: int) -> Request:
    """Return a request for the state or the result of a task. Raises ValueError."""
    return Request(ENDPOINTS[endpoint], {"task_id": require_id("task_id", task_id)}, ())


def task_id(request: Request, response: HttpResponse) -> int:
    """Return the id of the started task. Raises ApiError."""
    envelope = require_success(request, response)
    try:
        return require_id("task_id", envelope.data.get("task_id"))
    except ValueError as error:
        raise error_from_response(request, response, message=f"no usable task: {error}", kind=ServerError) from error


def task_status(request: Request, response: HttpResponse) -> str:
    """Return one of `STATES`, or the text of the API if it is none of them. Raises ApiError."""
    envelope = require_success(request, response)
    status = envelope.data.get("task_status")
    if not isinstance(status, str) or not status.strip():
        raise error_from_response(request, response, message="the response has no `task_status`", kind=ServerError)
    return next((state for state in STATES if state.lower() == status.strip().lower()), status.strip())


def valid_ids(request: Request, response: HttpResponse) -> tuple[int, ...]:
    """Return the distinct ids of a result file, in its order. Raises ApiError.

    An empty file is a valid result: no id is valid any more.
    """
    text = response.body.decode("utf-8-sig", errors="replace").strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    ids = [parse_id(item) for item in _ID_SEPARATORS.split(text) if item]
    if response.status == 200 and None not in ids:
        return tuple(dict.fromkeys(number for number in ids if number is not None))
    if response.status == 200 and not _is_json(response.body):
        # The caller deletes every id that is not in the result, so ids are never extracted from any other text.
        raise error_from_response(request, response, message="the response is not a list of ids", kind=ServerError)
    require_success(request, response)
    raise error_from_response(
        request, response, message="the response reports success but contains no list of ids", kind=ServerError
    )


def _is_json(body: bytes) -> bool:
    try:
        jsonline.parse_json_line(body)
    except (ValueError, RecursionError):
        return False
    return True
