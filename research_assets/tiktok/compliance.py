"""Requests and responses of batch compliance, which reports which ids may still be stored (reference §3.11).

A task takes up to 10,000 ids in three calls without records: upload a file of ids, request the state, download a file
of ids. Not here: the ids in a result file (see compliance/verification/results.py), deleting collected data.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import orjson

from research_assets.tiktok import jsonline
from research_assets.tiktok.endpoints import ENDPOINTS
from research_assets.tiktok.envelope import error_from_response, require_success
from research_assets.tiktok.errors import ServerError
from research_assets.tiktok.ids import require_id
from research_assets.tiktok.requests import Request
from research_assets.tiktok.transport import HttpResponse

MAX_IDS = 10_000
"""Maximum number of ids in one task."""

STATES = ("Completed", "Processing", "Failed")
"""Documented states of a task."""

T = TypeVar("T")

_TASK_ID = re.compile(rb'"task_id"\s*:\s*"?([0-9]{1,64})(?=[\s",}])')


@dataclass(frozen=True, slots=True)
class TaskReply(Generic[T]):
    """The result of a call, and the facts of its response for the quota ledger. It has no `rows`."""

    value: T
    status: int
    latency: float
    log_id: str | None = None
    rows: tuple[()] = ()


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


def result_file(request: Request, response: HttpResponse) -> bytes:
    """Return the bytes of a result file, in whatever form it has. Raises ApiError if the response reports an error."""
    if response.status != 200 or _reports_error(response.body):
        require_success(request, response)
        raise error_from_response(request, response, message="the response is no result file", kind=ServerError)
    return response.body


def _reports_error(body: bytes) -> bool:
    """Return whether a body is a JSON object with an `error` that is not `ok`."""
    try:
        value, _, _ = jsonline.parse_json_line(body)
    except (ValueError, RecursionError):
        return False
    error = value.get("error") if isinstance(value, dict) else None
    return error is not None and not (isinstance(error, dict) and str(error.get("code", "")).lower() in ("", "ok"))
