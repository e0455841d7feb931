"""The client: one request out, one answer or one error back.

It repeats no data request, because each must first take its place in the quota, which is the caller's to keep.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import httpx
import orjson

from research_assets.clock import Clock
from research_assets.tiktok import compliance
from research_assets.tiktok.auth import TokenProvider
from research_assets.tiktok.errors import ApiError, TokenRejected
from research_assets.tiktok.pages import ResponsePage, decode_page
from research_assets.tiktok.requests import Request
from research_assets.tiktok.transport import HttpResponse, HttpTransport

__all__ = ["Client", "ResponsePage"]

T = TypeVar("T")


class Client:
    """The Research API at one address, for one pair of key and secret; an async context manager.

    `timeout` is the time to wait for an answer in seconds (the API takes minutes now and then), `connections` how many
    requests travel at once; more wait for their turn. `transport` replaces the network, for tests.
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
        """Open nothing yet; raises ValueError if `base_url` is no address."""
        self._wire = HttpTransport(
            base_url=base_url, clock=clock, timeout=timeout, connections=connections, transport=transport
        )
        self._tokens = TokenProvider(self._wire, clock, key=key, secret=secret)

    def __repr__(self) -> str:
        """The address, and nothing secret."""
        return f"Client({self._wire.base_url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections; the client cannot be used afterwards."""
        await self._tokens.aclose()
        await self._wire.aclose()

    async def token(self) -> datetime:
        """Make sure that a token is held, at the cost of one token call if none is; gives the moment it ends, UTC.

        Failures that may pass are retried a few times. Raises BadCredentials, ScopeNotAuthorized, WrongAddress,
        Unreachable or another Wait.
        """
        return (await self._tokens.get()).expires_at

    async def send(self, request: Request) -> ResponsePage:
        """Send exactly one data request, after a token fetch if none is held; gives its page, or raises ApiError.

        TokenRejected means that the held token was dropped: reserve again and repeat once. An error whose `endpoint` is
        `token` came from the token fetch, and the data request was not sent.
        """
        return await self._call(request, decode_page, **_json(request))

    async def validate(self, ids: Sequence[int], category: Literal["video", "comment"]) -> int:
        """Start a batch-compliance task for 1 to 10,000 ids (reference §3.11); gives its id.

        Raises ValueError naming the argument, or ApiError.
        """
        request, form = compliance.creation_request(ids, category)
        return await self._call(request, compliance.task_id, **form)

    async def validation_status(self, task_id: int) -> str:
        """State of a task: `Completed`, `Processing` or `Failed`. Raises ValueError or ApiError."""
        request = compliance.task_request("validation_status", task_id)
        return await self._call(request, compliance.task_status, **_json(request))

    async def validation_result(self, task_id: int) -> tuple[int, ...]:
        """Ids of a completed task that are still valid. Raises ValueError or ApiError."""
        request = compliance.task_request("validation_download", task_id)
        return await self._call(request, compliance.valid_ids, **_json(request))

    async def _call(self, request: Request, read: Callable[[Request, HttpResponse], T], **what: Any) -> T:
        token = await self._tokens.get()
        headers = {"Authorization": f"Bearer {token.value}", **what.pop("headers", {})}
        try:
            return read(request, await self._wire.post(request, headers=headers, **what))
        except ApiError as error:
            error.redact(self._tokens.secrets)
            error.redact([token.value])
            if isinstance(error, TokenRejected):
                self._tokens.invalidate(token)
            raise


def _json(request: Request) -> dict[str, Any]:
    return {
        "fields": ",".join(request.fields),
        "headers": {"Content-Type": "application/json"},
        "content": orjson.dumps(request.body),
    }
