"""A scripted API behind the transport of httpx, and one request of each kind. All values are invented."""

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any, get_args

import httpx
import orjson

from research_assets.tiktok.client import Client
from research_assets.tiktok.requests import (
    Request,
    UserList,
    comment_list,
    playlist_info,
    user_info,
    user_list,
    video_query,
)
from research_assets_tests.conftest import FakeClock

KEY, SECRET, TOKEN = "key-of-a-test", "secret-of-a-test", "clt.2.token-of-a-test"
LOG_ID = "20250515090640A1B2C3D4E5F60718293A"
URL = "https://api.test"

ScriptEntry = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]

QUERY = {"and": ({"operation": "EQ", "field_name": "hashtag_name", "field_values": ["gardening"]},)}
SEARCH = video_query(QUERY, date(2025, 5, 1), date(2025, 5, 30))
COMMENTS = comment_list(video_id=7503867840092128259)
REPLIES = comment_list(comment_id=7503879097333924949)
PROFILE = user_info("beet.und.balkon")
PLAYLIST = playlist_info(7301444403253757953)
LISTS = {entity: user_list(entity, "beet.und.balkon") for entity in get_args(UserList)}
EVERY_REQUEST: dict[str, Request] = {
    "video_query": SEARCH,
    "comment_list": COMMENTS,
    "user_info": PROFILE,
    "playlist_info": PLAYLIST,
    **LISTS,
}


class ScriptedApi:
    """Returns responses to data calls and token calls from two scripts, in order; the last one is repeated."""

    def __init__(self, *data: ScriptEntry, tokens: tuple[ScriptEntry, ...] | None = None) -> None:
        self.data = list(data)
        self.tokens = list(tokens if tokens is not None else (token(),))
        self.sent: list[httpx.Request] = []
        self.token_calls: list[httpx.Request] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        is_token = request.url.path.endswith("/v2/oauth/token/")
        (self.token_calls if is_token else self.sent).append(request)
        script = self.tokens if is_token else self.data
        entry = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(entry, Exception):
            raise entry
        if isinstance(entry, httpx.Response):
            # A response can be read only once, and a script may repeat it.
            return httpx.Response(entry.status_code, headers=entry.headers, content=entry.content)
        response = entry(request)
        return response if isinstance(response, httpx.Response) else await response

    def client(self, clock: FakeClock | None = None, **options: Any) -> Client:
        options = {"key": KEY, "secret": SECRET, "base_url": URL} | options
        return Client(clock=clock or FakeClock(), transport=httpx.MockTransport(self), **options)


def token(value: str = TOKEN, expires_in: Any = 7200) -> httpx.Response:
    return httpx.Response(200, json={"access_token": value, "expires_in": expires_in, "token_type": "Bearer"})


def make_response(data: Any, status: int = 200, **headers: str) -> httpx.Response:
    body = {"data": data, "error": {"code": "ok", "message": "", "log_id": LOG_ID}}
    return httpx.Response(status, content=orjson.dumps(body), headers=headers)


def make_error(status: int, code: str, message: str = "", **headers: str) -> httpx.Response:
    body = {"error": {"code": code, "message": message, "log_id": LOG_ID}}
    return httpx.Response(status, json=body, headers=headers)


def oauth_error(status: int, code: str, description: str = "") -> httpx.Response:
    """Return an error in the form of the token endpoint."""
    return httpx.Response(status, json={"error": code, "error_description": description, "log_id": "L"})


PAGE = make_response({"videos": []})


def body_of(request: httpx.Request) -> Any:
    return orjson.loads(request.content)
