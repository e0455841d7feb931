"""The sandbox as an ASGI application: routes, gates and clock.

A data call passes token, scope, quota and faults, in this order, and reaches its endpoint. It does so without a web
framework, because the sandbox must never be what is measured; whatever people look at is left to `control`.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from time import perf_counter
from typing import Any
from urllib.parse import parse_qs

import orjson

from research_assets.clock import Clock, SystemClock
from research_assets.fields import ENTITIES
from research_assets.sandbox.api_call import ApiCall, Route
from research_assets.sandbox.clock import SandboxClock
from research_assets.sandbox.compliance import Compliance
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.control import control
from research_assets.sandbox.faults import Faults
from research_assets.sandbox.ground_truth import GroundTruth
from research_assets.sandbox.list_endpoints import ListEndpoints
from research_assets.sandbox.quota import QuotaLimits
from research_assets.sandbox.request_log import LogEntry, RequestLog
from research_assets.sandbox.responses import ApiFailure, ApiResponse, ResponseBuilder, invalid
from research_assets.sandbox.search import SearchEndpoint
from research_assets.sandbox.tokens import TokenStore
from research_assets.sandbox.world.randomness import hash_parts
from research_assets.sandbox.world.world import World

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

TOKEN_PATH = "/v2/oauth/token/"


class Sandbox:
    """One simulated Research API. An ASGI application; its parts are open to tests."""

    def __init__(self, config: SandboxConfig, clock: Clock | None = None) -> None:
        self.config = config
        self.clock = SandboxClock(clock or SystemClock(), config.start_time)
        self.world = World(config, self.clock)
        self._control = control(self)
        self.reset()

    def reset(self) -> None:
        """Forget every request, token, search and charge; the world and the clock stay."""
        config = self.config
        self.books = RequestLog()
        self.quota = QuotaLimits(config)
        self.faults = Faults(config)
        self.tokens = TokenStore(config)
        self._envelopes = ResponseBuilder(hash_parts(config.seed, 11))
        self._fields: dict[tuple[str, bytes], tuple[str, ...]] = {}
        self.routes = self._data_routes()

    def _data_routes(self) -> dict[str, Route]:
        config, world, faults, envelopes = self.config, self.world, self.faults, self._envelopes
        lists = ListEndpoints(config, world, faults, envelopes)
        compliance = Compliance(world, lists.threads, envelopes)
        self.truth = GroundTruth(world, lists.threads, lists.network)
        videos = SearchEndpoint(config, world, faults, envelopes)
        known = {name: entity.requested for name, entity in ENTITIES.items()}
        liked = (*known["liked_videos"], "favourites_count")
        routes = (
            Route("video/query", "research", known["videos"], videos),
            Route("video/comment/list", "research", known["comments"], lists.comments),
            Route("user/info", "research", known["users"], lists.user_info),
            Route("user/liked_videos", "research", liked, lists.liked),
            Route("user/reposted_videos", "research", known["reposted_videos"], lists.reposted),
            Route("user/pinned_videos", "research", known["pinned_videos"], lists.pinned),
            Route("user/followers", "follow", None, lists.followers),
            Route("user/following", "follow", None, lists.following),
            Route("playlist/info", "research", None, lists.playlist),
            Route("validation_task/create", "research", None, compliance.create),
            Route("validation_task_status/get", "research", None, compliance.status),
            Route("validation_task/download", "research", None, compliance.download),
        )
        return {f"/v2/research/{route.name}/": route for route in routes}

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
            reply = self._authorize(route, scope, now)
            if self.config.latency:
                await self.clock.sleep(self.config.latency)
                started, now = perf_counter(), self.clock.now()
            reply = reply or self.faults.after(route.handler(self._call(route, scope, body, now)))
        except ApiFailure as failure:
            reply = self._envelopes.failure(failure, now)
        ms = (perf_counter() - started) * 1000
        self.books.add(LogEntry(now, route.name, reply.status, reply.code, reply.rows, ms))
        await self._send(send, reply, now)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != TOKEN_PATH or scope["method"] != "POST":
            await self._control(scope, receive, self._dated(send))
            return
        body, now = await _read(receive), self.clock.now()
        fails = self.faults.token(self.tokens.issued + 1)
        reply = self.tokens.fetch(body, now.timestamp(), self._envelopes.log_id(now), fails=fails)
        self.books.add(LogEntry(now, "oauth/token", reply.status, reply.code, 0, 0.0))
        await self._send(send, reply, now)

    def _dated(self, send: Send) -> Send:
        """Every answer tells the sandbox's time, as a server's do."""

        async def dated(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                date = _date(self.clock.now().replace(microsecond=0))
                message = {**message, "headers": [*message.get("headers", ()), (b"date", date)]}
            await send(message)

        return dated

    def _authorize(self, route: Route, scope: Scope, now: datetime) -> ApiResponse | None:
        """Token, scope, quota, faults. Raises ApiFailure, or gives an answer that replaces the real one."""
        self.tokens.check(_header(scope, b"authorization"), now.timestamp())
        if route.pool == "follow" and not self.config.follow_scope:
            message = "The user did not authorize the scope required for completing this request."
            raise ApiFailure(401, "scope_not_authorized", message, gateway=True)
        self.quota.charge(route.pool, now)
        return self.faults.before()

    def _call(self, route: Route, scope: Scope, body: bytes, now: datetime) -> ApiCall:
        fields = self._chosen(route, scope.get("query_string", b""))
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

    def _chosen(self, route: Route, query_string: bytes) -> tuple[str, ...]:
        if route.fields is None:
            return ()
        place = (route.name, query_string)
        held = self._fields.get(place)
        if held is None:
            names = ",".join(parse_qs(query_string.decode("ascii", "replace")).get("fields", ())).split(",")
            held = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
            if not held:
                raise invalid("fields is missing")
            unknown = [name for name in held if name not in route.fields]
            if unknown:
                raise invalid(f"fields is invalid: {', '.join(unknown)}")
            if len(self._fields) < 1000:
                self._fields[place] = held
        return held

    async def _send(self, send: Send, reply: ApiResponse, now: datetime) -> None:
        headers = [
            (b"content-type", reply.content_type),
            (b"content-length", b"%d" % len(reply.body)),
            (b"date", _date(now.replace(microsecond=0))),
        ]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})


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
    """A sandbox, for `httpx.ASGITransport` or any ASGI server. Its clock runs with the handed-in one."""
    return Sandbox(config or SandboxConfig(), clock)
