"""The client: sends one request and returns one response, or raises one error.

It never repeats a data request, because the caller must reserve each request in the quota first. Not here: building
requests (see requests.py), the token (see auth.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import httpx
import orjson

from research_assets.clock import Clock
from research_assets.text import safe_logger
from research_assets.tiktok import compliance
from research_assets.tiktok.auth import TokenProvider
from research_assets.tiktok.compliance import TaskReply
from research_assets.tiktok.errors import ApiError, TokenRejected
from research_assets.tiktok.pages import ResponsePage, decode_page
from research_assets.tiktok.pseudonyms import Pseudonyms, require_handles
from research_assets.tiktok.redaction import Redactor
from research_assets.tiktok.requests import Request
from research_assets.tiktok.transport import HttpResponse, HttpTransport

__all__ = ["Client", "ResponsePage"]

_LOGGER = safe_logger(__name__)

T = TypeVar("T")


class Client:
    """The Research API at one address, for one pair of key and secret; an async context manager.

    `timeout` is the time for a complete response in seconds (some responses of the API take minutes). `connections` is
    the number of concurrent requests; further requests wait. `transport` replaces the network in tests.
    """

    def __init__(
        self,
        *,
        key: str,
        secret: str,
        base_url: str,
        clock: Clock,
        timeout: float = 300.0,
        connections: int = 16,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Open no connection yet. Raises ValueError if `base_url` is not a URL, and ConnectionSettingsError."""
        self._transport = HttpTransport(
            base_url=base_url,
            clock=clock,
            redactor=Redactor(key, secret),
            timeout=timeout,
            connections=connections,
            transport=transport,
        )
        self._clock = clock
        self._tokens = TokenProvider(self._transport, clock, key=key, secret=secret)

    def __repr__(self) -> str:
        """Return the address, without secrets."""
        return f"Client({self._transport.base_url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections; the client cannot be used afterwards."""
        await self._tokens.aclose()
        await self._transport.aclose()

    async def token(self) -> datetime:
        """Return the time at which the token expires, UTC; sends a token call if there is no valid token.

        Retries temporary failures (see `auth.BACKOFF_SECONDS`). Raises BadCredentials, ScopeNotAuthorized,
        EndpointNotFound, Unreachable or another RetryableError, and ClocksDiffer (see clock.py).
        """
        token = await self._tokens.get()
        self._transport.check_time()
        return self._clock.now() + timedelta(seconds=token.expires_at - self._clock.monotonic())

    async def send(self, request: Request, pseudonyms: Pseudonyms | None = None) -> ResponsePage:
        """Send exactly one data request and return its page; fetches a token first if necessary. Raises ApiError.

        With `pseudonyms`, the request names accounts by pseudonyms, and neither page nor error contains a handle.
        Raises UnknownPseudonym for a pseudonym whose handle is not known. After TokenRejected the client has dropped
        its token: reserve another request and repeat once. An error whose `endpoint` is `token` is an error of the
        token call; the data request was not sent.
        """
        if pseudonyms is None:
            require_handles(request)
        sent = request if pseudonyms is None else pseudonyms.with_handles(request)
        return await self._call(request, decode_page, pseudonyms, **_json(sent))

    async def validate(self, ids: Sequence[int], category: Literal["video", "comment"]) -> TaskReply[str]:
        """Start a batch-compliance task for 1 to 10,000 ids (reference §3.11); returns the id of the task, its digits.

        Raises ValueError with the name of the argument, or ApiError.
        """
        request, form = compliance.creation_request(ids, category)
        return await self._call(request, _task_reply(compliance.task_id), **form)

    async def validation_status(self, task_id: str) -> TaskReply[str]:
        """Return the state of a task: `Completed`, `Processing` or `Failed`. Raises ValueError or ApiError."""
        request = compliance.task_request("validation_status", task_id)
        return await self._call(request, _task_reply(compliance.task_status), **_task(request))

    async def validation_result(self, task_id: str) -> TaskReply[bytes]:
        """Return the result file of a completed task as it is. Raises ValueError or ApiError."""
        request = compliance.task_request("validation_download", task_id)
        return await self._call(request, _task_reply(compliance.result_file), **_task(request))

    async def _call(
        self,
        request: Request,
        decode: Callable[[Request, HttpResponse], T],
        pseudonyms: Pseudonyms | None = None,
        **options: Any,
    ) -> T:
        token = await self._tokens.get()
        headers = {"Authorization": f"Bearer {token.value}", **options.pop("headers", {})}
        try:
            response = await self._transport.post(request, headers=headers, **options)
            if pseudonyms is not None:
                response = replace(response, pseudonyms=pseudonyms)
            result = decode(request, response)
        except ApiError as error:
            _LOGGER.debug("%s failed: %s", request.endpoint.name, error)
            if isinstance(error, TokenRejected):
                self._tokens.invalidate(token)
            raise
        _LOGGER.debug("%s returned HTTP %s", request.endpoint.name, response.status)
        return result


def _task_reply(decode: Callable[[Request, HttpResponse], T]) -> Callable[[Request, HttpResponse], TaskReply[T]]:
    def reply(request: Request, response: HttpResponse) -> TaskReply[T]:
        return TaskReply(decode(request, response), response.status, response.latency)

    return reply


def _json(request: Request) -> dict[str, Any]:
    return {
        "fields": ",".join(request.fields),
        "headers": {"Content-Type": "application/json"},
        "content": orjson.dumps(request.body),
    }


def _task(request: Request) -> dict[str, Any]:
    return _json(request) | {"content": compliance.task_body(request)}
