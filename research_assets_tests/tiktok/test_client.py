"""The client sends one request and returns one response or error for any behaviour of the network."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from research_assets.tiktok import transport
from research_assets.tiktok.errors import (
    ApiError,
    DailyQuotaExceeded,
    EndpointNotFound,
    RateLimited,
    RetryableError,
    ServerError,
    Unreachable,
)
from research_assets.tiktok.redaction import Redactor
from research_assets.tiktok.requests import Request
from research_assets_tests.conftest import FakeClock
from research_assets_tests.tiktok.scripted_api import (
    EVERY_REQUEST,
    KEY,
    LISTS,
    PROFILE,
    SEARCH,
    SECRET,
    URL,
    ScriptedApi,
    ScriptEntry,
    body_of,
    make_error,
    make_response,
)


@pytest.mark.parametrize("request_", EVERY_REQUEST.values(), ids=EVERY_REQUEST.keys())
async def test_client_sends_path_headers_body_and_fields(clock: FakeClock, request_: Request) -> None:
    api = ScriptedApi(make_response({}))
    async with api.client(clock) as client:
        await client.send(request_)
    (call,) = api.sent
    assert (call.method, call.url.path) == ("POST", request_.endpoint.path)
    assert call.headers["content-type"] == "application/json"
    assert call.headers["user-agent"].startswith("research-assets/")
    assert body_of(call) == request_.body
    assert call.url.params.get("fields", "") == ",".join(request_.fields)


async def test_client_accepts_an_address_with_a_path_and_a_port(clock: FakeClock) -> None:
    api = ScriptedApi(make_response({}))
    async with api.client(clock, base_url="http://127.0.0.1:8100/api") as client:
        await client.send(LISTS["followers"])
    assert str(api.sent[0].url) == "http://127.0.0.1:8100/api/v2/research/user/followers/"


async def test_client_returns_rows_date_and_request(clock: FakeClock) -> None:
    date = format_datetime(clock.now(), usegmt=True)
    api = ScriptedApi(
        make_response({"videos": [{"id": 7503867840092128259}], "cursor": 1, "has_more": False}, Date=date)
    )
    async with api.client(clock) as client:
        page = await client.send(SEARCH)
    assert (page.rows, page.date, page.request) == ([{"id": 7503867840092128259}], date, SEARCH)
    assert page.latency >= 0


@pytest.mark.parametrize(
    "failure",
    [
        make_error(429, "rate_limit_exceeded"),
        make_error(500, "internal_error"),
        make_error(400, "invalid_params", "Search Id 7 is invalid or expired"),
        httpx.Response(504, html="<html>"),
        httpx.Response(200, text="{"),
        httpx.ReadTimeout("slow"),
    ],
)
async def test_client_never_repeats_a_data_request(clock: FakeClock, failure: ScriptEntry) -> None:
    api = ScriptedApi(failure)
    async with api.client(clock) as client:
        with pytest.raises(RetryableError):
            await client.send(SEARCH)
    assert len(api.sent) == 1
    assert clock.slept == []


@pytest.mark.parametrize(
    ("failure", "sent"),
    [
        (httpx.ConnectError("refused"), False),
        (httpx.ConnectTimeout("slow"), False),
        (httpx.PoolTimeout("full"), False),
        (httpx.ProxyError("no"), False),
        (httpx.ReadTimeout("slow"), True),
        (httpx.ReadError("reset"), True),
        (httpx.WriteError("reset"), True),
        (httpx.WriteTimeout("slow"), True),
        (httpx.RemoteProtocolError("gone"), True),
    ],
)
async def test_unreachable_states_whether_the_request_may_have_cost_quota(
    clock: FakeClock, failure: Exception, sent: bool
) -> None:
    async with ScriptedApi(failure).client(clock) as client:
        with pytest.raises(Unreachable, match=rf"{URL}.*{type(failure).__name__}") as caught:
            await client.send(SEARCH)
    assert (caught.value.sent, caught.value.status, caught.value.request) == (sent, None, SEARCH)


async def test_html_of_a_gateway_is_a_server_error(clock: FakeClock) -> None:
    async with ScriptedApi(httpx.Response(504, html="<html>504</html>")).client(clock) as client:
        with pytest.raises(ServerError, match=r"HTTP 504.*text/html") as caught:
            await client.send(SEARCH)
    assert caught.value.raw == b"<html>504</html>"


async def test_client_does_not_follow_redirects(clock: FakeClock) -> None:
    api = ScriptedApi(httpx.Response(307, headers={"Location": "https://other.test/"}))
    async with api.client(clock) as client:
        with pytest.raises(EndpointNotFound, match=r"https://other\.test/"):
            await client.send(SEARCH)
    assert len(api.sent) == 1


async def test_exhausted_daily_quota_raises_its_error(clock: FakeClock) -> None:
    message = "The API daily quota limit exceeded. Please try again later"
    async with ScriptedApi(make_error(429, "daily_quota_limit_exceeded", message)).client(clock) as client:
        with pytest.raises(DailyQuotaExceeded, match="00:00 UTC"):
            await client.send(SEARCH)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Mon, 02 Mar 2026 09:00:10 GMT", 10.0),
        ("Mon, 02 Mar 2026 08:59:00 GMT", 0.0),
        ("2 Mar 2026 09:00:10", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
    ],
)
async def test_client_reads_retry_after_in_seconds_or_as_a_date_on_its_clock(
    clock: FakeClock, value: str, seconds: float | None
) -> None:
    # A wrong `Date` header of the same answer has no effect.
    headers = {"Retry-After": value, "Date": "Mon, 02 Mar 2026 06:00:00 GMT"}
    async with ScriptedApi(make_error(429, "rate_limit_exceeded", **headers)).client(clock) as client:
        with pytest.raises(RateLimited) as caught:
            await client.send(SEARCH)
    assert caught.value.retry_after == seconds


async def test_client_stops_reading_a_response_above_the_size_limit(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_BODY_BYTES", 1000)
    api = ScriptedApi(httpx.Response(200, content=b"x" * 1001))
    async with api.client(clock) as client:
        with pytest.raises(ServerError, match="larger than"):
            await client.send(SEARCH)


async def test_client_reads_compressed_responses(clock: FakeClock) -> None:
    compressed = gzip.compress(make_response({"videos": [{"id": 1}]}).content)

    def respond(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(compressed))

    async with ScriptedApi(respond).client(clock) as client:
        assert (await client.send(SEARCH)).rows == [{"id": 1}]


async def test_wrongly_compressed_response_is_a_server_error(clock: FakeClock) -> None:
    def respond(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"no gzip"))

    async with ScriptedApi(respond).client(clock) as client:
        with pytest.raises(ServerError, match="cannot be read"):
            await client.send(SEARCH)


async def test_interrupted_body_is_unreachable(clock: FakeClock) -> None:
    class Broken(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b'{"data":'
            raise httpx.ReadError("reset")

    async with ScriptedApi(lambda _: httpx.Response(200, stream=Broken())).client(clock) as client:
        with pytest.raises(Unreachable) as caught:
            await client.send(SEARCH)
    assert caught.value.sent


async def test_endless_body_ends_with_the_time_out(clock: FakeClock) -> None:
    class Dripping(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(0)
                yield b" "

    async with ScriptedApi(lambda _: httpx.Response(200, stream=Dripping())).client(clock) as client:
        await client.token()
        client._transport._timeout = 0.01
        with pytest.raises(Unreachable):
            await client.send(SEARCH)


async def test_client_waits_minutes_for_a_response_and_seconds_for_a_connection(clock: FakeClock) -> None:
    api = ScriptedApi(make_response({}))
    async with api.client(clock) as client:
        await client.send(PROFILE)
    assert api.sent[0].extensions["timeout"] == {"connect": 15.0, "read": 300.0, "write": 300.0, "pool": 300.0}


@pytest.mark.parametrize("base_url", ["", "localhost:80", "ftp://a.test", "http://", "http://a:port"])
def test_client_rejects_an_invalid_address(clock: FakeClock, base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        ScriptedApi(make_response({})).client(clock, base_url=base_url)


@pytest.mark.parametrize(
    ("base_url", "through_proxy"), [("http://127.0.0.1:1", False), ("http://localhost:1", False), (URL, True)]
)
async def test_client_uses_a_proxy_only_for_the_real_api(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, base_url: str, through_proxy: bool
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    http = transport.HttpTransport(
        base_url=base_url, clock=clock, redactor=Redactor(KEY, SECRET), timeout=1, connections=1
    )
    assert any(http._http._mounts.values()) is through_proxy
    await http.aclose()


async def test_client_sends_many_requests_concurrently(clock: FakeClock) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        name: Any = body_of(request)["username"]
        return make_response({"user_followers": [{"username": name}]})

    api = ScriptedApi(respond)
    requests = [Request(LISTS["followers"].endpoint, {"username": f"user{n}"}, ()) for n in range(100)]
    async with api.client(clock) as client:
        pages = await asyncio.gather(*(client.send(request) for request in requests))
    assert [page.rows[0]["username"] for page in pages] == [f"user{n}" for n in range(100)]
    assert len(api.token_calls) == 1


async def test_every_error_states_the_endpoint_and_the_unit(clock: FakeClock) -> None:
    for name, request in EVERY_REQUEST.items():
        async with ScriptedApi(make_error(400, "invalid_params", "No.")).client(clock) as client:
            with pytest.raises(ApiError) as caught:
                await client.send(request)
        assert str(caught.value).startswith(f"{name} {request.unit}: HTTP 400 invalid_params: No (log id ")
