"""Batch compliance: which of up to 10,000 ids may still be held (reference §3.11).

Three calls that carry no records: a file of ids goes up, a state is asked, a file of ids comes down. What follows for
the data held is not decided here.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal

from research_assets.tiktok import jsonline
from research_assets.tiktok.endpoints import ENDPOINTS
from research_assets.tiktok.envelope import error_from_response, require_success
from research_assets.tiktok.errors import ServerError
from research_assets.tiktok.ids import require_id
from research_assets.tiktok.requests import Request
from research_assets.tiktok.transport import HttpResponse

MAX_IDS = 10_000
"""Ids in one task at most."""

STATES = ("Completed", "Processing", "Failed")
"""States of a task, as documented."""

# The separator is not documented; neither is whether the ids come quoted or in brackets.
_BETWEEN_IDS = re.compile(r'[\s,;|\[\]"\']+')


def creation_request(ids: Sequence[int], category: Literal["video", "comment"]) -> tuple[Request, dict[str, Any]]:
    """The request that starts a task, with its multipart form as httpx takes it; raises ValueError."""
    if category not in ("video", "comment"):
        raise ValueError(f"category={category!r}: must be `video` or `comment`")
    if not 1 <= len(ids) <= MAX_IDS:
        raise ValueError(f"ids: {len(ids)} given; one task takes 1 to {MAX_IDS:,}")
    lines = "".join(f"{require_id('ids', number)}\n" for number in ids)
    request = Request(ENDPOINTS["validation_create"], {"category": category}, ())
    return request, {"data": {"category": category}, "files": {"file_data": ("ids.txt", lines.encode(), "text/plain")}}


def task_request(endpoint: Literal["validation_status", "validation_download"], task_id: int) -> Request:
    """A request about a task; raises ValueError."""
    return Request(ENDPOINTS[endpoint], {"task_id": require_id("task_id", task_id)}, ())


def task_id(request: Request, reply: HttpResponse) -> int:
    """The id of the task that was started."""
    envelope = require_success(request, reply)
    try:
        return require_id("task_id", envelope.data.get("task_id"))
    except ValueError as error:
        raise error_from_response(request, reply, message=f"no usable task: {error}", kind=ServerError) from error


def task_status(request: Request, reply: HttpResponse) -> str:
    """One of `STATES`, or whatever else the API says."""
    envelope = require_success(request, reply)
    status = envelope.data.get("task_status")
    if not isinstance(status, str) or not status.strip():
        raise error_from_response(request, reply, message="the answer has no `task_status`", kind=ServerError)
    return next((state for state in STATES if state.lower() == status.strip().lower()), status.strip())


def valid_ids(request: Request, reply: HttpResponse) -> tuple[int, ...]:
    """The ids in a result file, in its order, each once. An empty file is an answer: none is valid any more."""
    text = reply.body.decode("utf-8-sig", errors="replace")
    words = [word for word in _BETWEEN_IDS.split(text) if word]
    if reply.status == 200 and all(word.isascii() and word.isdigit() for word in words):
        return tuple(dict.fromkeys(int(word) for word in words))
    if reply.status == 200 and not _is_json(reply.body):
        # Ids must never be fished out of something else, because what is not among them will be deleted.
        raise error_from_response(request, reply, message="the answer is no list of ids", kind=ServerError)
    require_success(request, reply)
    raise error_from_response(
        request, reply, message="the answer reports success but holds no list of ids", kind=ServerError
    )


def _is_json(body: bytes) -> bool:
    try:
        jsonline.parse_json_line(body)
    except ValueError:
        return False
    return True
