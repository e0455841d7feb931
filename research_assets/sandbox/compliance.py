"""The three batch-compliance calls (reference §3.11): submit ids, get the task's status, download the valid ids."""

from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP

import orjson

from research_assets.sandbox.api_call import ApiCall
from research_assets.sandbox.responses import ApiFailure, ApiResponse, ResponseBuilder, invalid
from research_assets.sandbox.world.comments import CommentThreads
from research_assets.sandbox.world.randomness import hash_parts
from research_assets.sandbox.world.world import World

MOST_IDS = 10_000
_PROCESSING = 1.0  # seconds of the sandbox's clock until a task is done


@dataclass(frozen=True, slots=True)
class Task:
    """Submitted ids of one category, and the time from which their result is available (Unix seconds)."""

    category: str
    ids: tuple[int, ...]
    done_at: float


class Compliance:
    """The tasks of a sandbox and the three calls on them."""

    def __init__(self, world: World, threads: CommentThreads, responses: ResponseBuilder) -> None:
        self._world = world
        self._threads = threads
        self._responses = responses
        self._tasks: dict[int, Task] = {}

    def create(self, call: ApiCall) -> ApiResponse:
        """Create a task from a file of ids, separated by line breaks or commas."""
        parts = _form(call)
        category = parts.get("category", b"").decode("utf-8", "replace").strip()
        if category not in ("video", "comment"):
            raise invalid("category must be video or comment")
        ids = parts.get("file_data", b"").replace(b",", b"\n").split()
        if not ids or len(ids) > MOST_IDS or not all(text.isdigit() for text in ids):
            raise ApiFailure(400, "invalid_file_upload", f"file_data must hold 1 to {MOST_IDS} ids, one a line")
        number = hash_parts(self._world.config.seed, 34, len(self._tasks)) >> 2
        self._tasks[number] = Task(category, tuple(int(text) for text in ids), call.at + _PROCESSING)
        return self._answer(call, {"task_id": number})

    def status(self, call: ApiCall) -> ApiResponse:
        """Return the status of a task."""
        done = call.at >= self._task(call).done_at
        return self._answer(call, {"task_status": "Completed" if done else "Processing"})

    def download(self, call: ApiCall) -> ApiResponse:
        """Return the ids of a task that are still valid, one per line."""
        task = self._task(call)
        if call.at < task.done_at:
            raise invalid("the task is still being processed")
        valid = [identity for identity in task.ids if self.valid(task.category, identity, call.at)]
        return ApiResponse(200, "".join(f"{i}\n" for i in valid).encode(), rows=len(valid), content_type=b"text/plain")

    def valid(self, category: str, identity: int, at: float) -> bool:
        """Return whether a video or comment can still be delivered at `at` (Unix seconds)."""
        if category == "video":
            video = self._world.video(identity)
            return video is not None and self._world.delivers(video, at)
        found = self._threads.find(identity)
        return found is not None and self._threads.delivers(*found, at)

    def _task(self, call: ApiCall) -> Task:
        task = self._tasks.get(call.integer("task_id", 0))
        if task is None:
            raise invalid("task_id is invalid")
        return task

    def _answer(self, call: ApiCall, data: dict[str, object]) -> ApiResponse:
        encoded = {name: orjson.dumps(value) for name, value in data.items()}
        return ApiResponse(200, self._responses.success(encoded, call.now, message="ok.", http_status_code=200))


def _form(call: ApiCall) -> dict[str, bytes]:
    """Return the parts of a multipart form by name."""
    if not call.content_type:
        raise invalid("the request body is not a multipart form")
    head = f"Content-Type: {call.content_type}\r\n\r\n".encode()
    found = {}
    for part in BytesParser(policy=HTTP).parsebytes(head + call.raw).iter_parts():
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(payload, bytes):
            found[name] = payload
    return found
