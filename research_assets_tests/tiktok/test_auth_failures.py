"""Failures of the token call: which are retried and how long, which are raised at once; no secret is shown."""

import logging

import httpx
import pytest

from research_assets.tiktok.auth import BACKOFF_SECONDS
from research_assets.tiktok.client import Client
from research_assets.tiktok.errors import (
    ApiError,
    BadCredentials,
    EndpointNotFound,
    FatalError,
    RateLimited,
    ScopeNotAuthorized,
    ServerError,
    Unreachable,
)
from research_assets_tests.conftest import FakeClock
from research_assets_tests.tiktok.scripted_api import (
    KEY,
    PAGE,
    SEARCH,
    SECRET,
    TOKEN,
    ScriptedApi,
    ScriptEntry,
    make_error,
    oauth_error,
    token,
)

SPORADIC: list[ScriptEntry] = [
    oauth_error(500, "server_error"),
    oauth_error(503, "temporarily_unavailable"),
    httpx.Response(504, html="<html>gateway</html>"),
    httpx.Response(200, text="no json"),
    httpx.Response(200, json={}),
    httpx.Response(200, json={"access_token": "bro\nken"}),
    httpx.Response(200, json={"access_token": 7}),
    httpx.Response(429),
    httpx.ReadTimeout("slow"),
    httpx.RemoteProtocolError("gone"),
]


@pytest.mark.parametrize("failure", SPORADIC)
async def test_client_retries_sporadic_failures(clock: FakeClock, failure: ScriptEntry) -> None:
    api = ScriptedApi(tokens=(failure, failure, token()))
    async with api.client(clock) as client:
        await client.token()
    assert clock.slept == list(BACKOFF_SECONDS[:2])


@pytest.mark.parametrize("failure", SPORADIC)
async def test_client_stops_retrying_after_the_last_backoff(clock: FakeClock, failure: ScriptEntry) -> None:
    api = ScriptedApi(tokens=(failure,))
    async with api.client(clock) as client:
        with pytest.raises((ServerError, RateLimited, Unreachable)) as caught:
            await client.token()
    assert caught.value.endpoint == "token"
    assert clock.slept == list(BACKOFF_SECONDS)
    assert len(api.token_calls) == len(BACKOFF_SECONDS) + 1


async def test_web_page_instead_of_a_token_reports_a_wrong_address(clock: FakeClock) -> None:
    page = httpx.Response(200, text="<html>Welcome</html>", headers={"Content-Type": "text/html"})
    api = ScriptedApi(PAGE, tokens=(page,) * 5)
    async with api.client(clock) as client:
        with pytest.raises(EndpointNotFound, match=r"not the Research API.*TIKTOK_API_URL") as caught:
            await client.send(SEARCH)
    assert not caught.value.sent
    assert not api.sent


async def test_failed_token_call_marks_the_request_as_not_sent(clock: FakeClock) -> None:
    api = ScriptedApi(PAGE, tokens=(httpx.Response(503),) * 5)
    async with api.client(clock) as client:
        with pytest.raises(ServerError) as caught:
            await client.send(SEARCH)
    assert not caught.value.sent


async def test_client_waits_for_retry_after_up_to_60_seconds(clock: FakeClock) -> None:
    api = ScriptedApi(
        tokens=(
            httpx.Response(429, headers={"Retry-After": "7"}),
            httpx.Response(503, headers={"Retry-After": "86400"}),
            token(),
        )
    )
    async with api.client(clock) as client:
        await client.token()
    assert clock.slept == [7.0, 60.0]


async def test_client_uses_a_valid_token_while_its_renewal_fails(clock: FakeClock) -> None:
    api = ScriptedApi(PAGE, tokens=(token(), httpx.Response(500)))
    async with api.client(clock) as client:
        await client.send(SEARCH)
        clock.advance(seconds=7200 - 200)
        await client.send(SEARCH)
        clock.advance(seconds=200)
        with pytest.raises(ServerError):
            await client.send(SEARCH)
    assert len(api.sent) == 2


@pytest.mark.parametrize(
    ("failure", "kind", "text"),
    [
        (
            oauth_error(401, "invalid_client", "Client key or secret is incorrect."),
            BadCredentials,
            "TIKTOK_CLIENT_SECRET",
        ),
        (oauth_error(200, "invalid_client"), BadCredentials, "TIKTOK_CLIENT_KEY"),
        (oauth_error(500, "invalid_request", "Client secret is missed in request."), BadCredentials, "missed"),
        (oauth_error(400, "unauthorized_client"), ScopeNotAuthorized, "approved"),
        (httpx.Response(404, text="not found"), EndpointNotFound, "TIKTOK_API_URL"),
        (httpx.Response(301, headers={"Location": "https://other.test/"}), EndpointNotFound, "https://other.test/"),
    ],
)
async def test_client_raises_fatal_errors_without_a_retry(
    clock: FakeClock, failure: httpx.Response, kind: type[ApiError], text: str
) -> None:
    api = ScriptedApi(PAGE, tokens=(failure,))
    async with api.client(clock) as client:
        with pytest.raises(kind, match=text) as caught:
            await client.send(SEARCH)
    assert isinstance(caught.value, FatalError)
    assert (len(api.token_calls), len(api.sent), clock.slept) == (1, 0, [])


@pytest.mark.parametrize(("key", "secret"), [("", SECRET), (KEY, "")])
async def test_client_without_credentials_sends_no_request(clock: FakeClock, key: str, secret: str) -> None:
    api = ScriptedApi(PAGE)
    async with api.client(clock, key=key, secret=secret) as client:
        with pytest.raises(BadCredentials, match="no request was sent"):
            await client.send(SEARCH)
    assert not api.token_calls


async def test_client_reports_an_address_without_a_server_at_once(clock: FakeClock) -> None:
    async with Client(key=KEY, secret=SECRET, base_url="http://127.0.0.1:9", clock=clock) as client:
        with pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:9.*TIKTOK_API_URL") as caught:
            await client.token()
    assert not caught.value.sent
    assert clock.slept == []


async def test_errors_and_logs_contain_no_secret(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    reported = f"{SECRET} {KEY} {TOKEN}"
    scripts: list[tuple[ScriptEntry, tuple[ScriptEntry, ...]]] = [
        (make_error(400, "invalid_params", reported), (token(),)),
        (make_error(401, "access_token_invalid", reported), (token(),)),
        (httpx.Response(504, text=reported), (token(),)),
        (httpx.ReadError("gone"), (token(),)),
        (PAGE, (oauth_error(401, "invalid_client", reported.replace(TOKEN, "")),)),
        (PAGE, (token(f"{TOKEN}\n"),)),
        (PAGE, (httpx.ConnectError("no"),)),
    ]
    seen = []
    for data, tokens in scripts:
        async with ScriptedApi(data, tokens=tokens).client(clock) as client:
            with pytest.raises(ApiError) as caught:
                await client.send(SEARCH)
            seen += [repr(client), repr(client.__dict__), str(caught.value), repr(caught.value)]
            seen += [repr(caught.value.__dict__), repr(caught.value.__cause__), repr(caught.value.args)]
    seen.append(caplog.text)
    for secret in (KEY, SECRET, TOKEN):
        assert secret not in " ".join(seen)


async def test_repr_contains_no_token(clock: FakeClock) -> None:
    async with ScriptedApi(PAGE).client(clock) as client:
        await client.token()
        current = await client._tokens.get()
        assert TOKEN not in f"{current!r} {client!r} {client._tokens!r} {client._transport!r}"
