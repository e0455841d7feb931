"""The sandbox as an ASGI application: routes, the checks before an endpoint, and HTTP answers.

A data call passes the checks of token, scope, quota and faults, in this order, and reaches its endpoint. No web
framework handles these calls: benchmarks of the client must not measure the sandbox.

Not here: the page and the control endpoints (see control.py).
"""

from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import lru_cache
from time import perf_counter
from typing import Any
from urllib.parse import parse_qs

import orjson

from research_assets.clock import Clock
from research_assets.sandbox.api_call import ApiCall, Route
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.control import control
from research_assets.sandbox.request_log import LogEntry
from research_assets.sandbox.responses import ApiFailure, ApiResponse, invalid
from research_assets.sandbox.simulation import Simulation

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

TOKEN_PATH = "/v2/oauth/token/"
_MAX_CACHED_FIELD_LISTS = 1000
_HOUR = timedelta(hours=1)


class Sandbox(Simulation):
    """One simulated Research API as an ASGI application."""

    def __init__(self, config: SandboxConfig, clock: Clock | None = None) -> None:
        super().__init__(config, clock)
        self._control = control(self)
        self._n_dates = 0
        self._field_lists: dict[tuple[str, bytes], tuple[str, ...]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        route = self.routes.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if route is None:
            await self._other(scope, receive, send)
            return
        body = await _read(receive)
        started = perf_counter()
        now = self.clock.now()
        try:
            response = self._authorize(route, scope, now)
            if self.config.latency:
                await self.clock.sleep(self.config.latency)
                started, now = perf_counter(), self.clock.now()
            response = response or self.faults.after(route.handler(self._call(route, scope, body, now)))
        except ApiFailure as failure:
            response = self.responses.failure(failure, now)
        ms = (perf_counter() - started) * 1000
        self.request_log.add(LogEntry(now, route.name, response.status, response.code, response.rows, ms))
        await self._send(send, response, now)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a token request; pass everything else to the control endpoints."""
        if scope["type"] != "http" or scope["path"] != TOKEN_PATH or scope["method"] != "POST":
            await self._control(scope, receive, self._dated(send))
            return
        body, now = await _read(receive), self.clock.now()
        fails = self.faults.token(self.tokens.issued + 1)
        response = self.tokens.fetch(body, now.timestamp(), self.responses.log_id(now), fails=fails)
        self.request_log.add(LogEntry(now, "oauth/token", response.status, response.code, 0, 0.0))
        await self._send(send, response, now)

    def _dated(self, send: Send) -> Send:
        """Return `send` with a Date header of the sandbox's clock, from which clients read the server time."""

        async def dated(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *self._date_header(self.clock.now())]}
            await send(message)

        return dated

    def _date_header(self, now: datetime) -> list[tuple[bytes, bytes]]:
        """Return the Date header of the next answer; it may be wrong, missing or double."""
        second, config = now.replace(microsecond=0), self.config
        self._n_dates += 1
        is_right = config.date_answers and self._n_dates not in config.date_answers
        match "right" if is_right else config.date_header:
            case "right":
                texts = [_date(second)]
            case "absent":
                texts = []
            case "wrong":
                texts = [(_date(second + _HOUR), _date(second - _HOUR), b"yesterday")[self._n_dates % 3 - 1]]
            case "shifted":
                texts = [_date(second + timedelta(seconds=config.date_offset))]
            case "garbage":
                texts = [b"\xff, 31 Feb -1 99:99"]
            case "double":
                texts = [_date(second), _date(second + _HOUR)]
            case "year_1970":
                texts = [_date(datetime(1970, 1, 1, tzinfo=UTC))]
            case _:
                texts = [_date(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))]
        return [(b"date", text) for text in texts]

    def _authorize(self, route: Route, scope: Scope, now: datetime) -> ApiResponse | None:
        """Check token, scope and quota, then apply faults. Return an answer that replaces the real one, or None.

        Raises ApiFailure if a check fails.
        """
        self.tokens.check(_header(scope, b"authorization"), now.timestamp())
        if route.pool == "follow" and not self.config.follow_scope:
            message = "The user did not authorize the scope required for completing this request."
            raise ApiFailure(401, "scope_not_authorized", message, gateway=True)
        self.quota.charge(route.pool, now)
        return self.faults.before()

    def _call(self, route: Route, scope: Scope, body: bytes, now: datetime) -> ApiCall:
        fields = self._requested_fields(route, scope.get("query_string", b""))
        content_type = _header(scope, b"content-type")
        if content_type.startswith("multipart/form-data"):
            return ApiCall({}, fields, now, body, content_type)
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError:
            parsed = None
        if not isinstance(parsed, dict):
            raise invalid("the request body is not a JSON object")
        return ApiCall(parsed, fields, now)

    def _requested_fields(self, route: Route, query_string: bytes) -> tuple[str, ...]:
        if route.fields is None:
            return ()
        key = (route.name, query_string)
        fields = self._field_lists.get(key)
        if fields is None:
            names = ",".join(parse_qs(query_string.decode("ascii", "replace")).get("fields", ())).split(",")
            fields = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
            if not fields:
                raise invalid("fields is missing")
            unknown = [name for name in fields if name not in route.fields]
            if unknown:
                raise invalid(f"fields is invalid: {', '.join(unknown)}")
            if len(self._field_lists) < _MAX_CACHED_FIELD_LISTS:
                self._field_lists[key] = fields
        return fields

    async def _send(self, send: Send, response: ApiResponse, now: datetime) -> None:
        headers = [
            (b"content-type", response.content_type),
            (b"content-length", b"%d" % len(response.body)),
            *self._date_header(now),
        ]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})


@lru_cache(maxsize=4)
def _date(second: datetime) -> bytes:
    return format_datetime(second, usegmt=True).encode()


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body", False):
            return body


def _header(scope: Scope, name: bytes) -> str:
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return ""


def create_app(config: SandboxConfig | None = None, clock: Clock | None = None) -> Sandbox:
    """Return a sandbox for `httpx.ASGITransport` or any ASGI server. Its clock follows `clock`."""
    return Sandbox(config or SandboxConfig(), clock)
