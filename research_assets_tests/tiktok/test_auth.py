"""The token's life: fetched once, shared, renewed in time, dropped when refused; and never seen."""

import asyncio
import logging
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from research_assets.tiktok.auth import PAUSES
from research_assets.tiktok.client import Client
from research_assets.tiktok.errors import (
    ApiError,
    BadCredentials,
    FinalForAll,
    RateLimited,
    ScopeNotAuthorized,
    ServerError,
    TokenRejected,
    Unreachable,
    WrongAddress,
)
from research_assets_tests.conftest import FakeClock
from research_assets_tests.tiktok.api import KEY, SEARCH, SECRET, TOKEN, URL, Answering, Api, answer, error, token

PAGE = answer({"videos": []})


def oauth_error(status: int, code: str, description: str = "") -> httpx.Response:
    return httpx.Response(status, json={"error": code, "error_description": description, "log_id": "L"})


async def test_the_form_of_the_call(clock: FakeClock) -> None:
    api = Api(PAGE)
    async with api.client(clock) as client:
        assert await client.token() == clock.now() + timedelta(seconds=7200)
        await client.ask(SEARCH)
    (call,) = api.token_calls
    assert (call.method, str(call.url)) == ("POST", f"{URL}/v2/oauth/token/")
    assert call.headers["content-type"] == "application/x-www-form-urlencoded"
    form = {"client_key": [KEY], "client_secret": [SECRET], "grant_type": ["client_credentials"]}
    assert parse_qs(call.content.decode()) == form
    assert api.sent[0].headers["authorization"] == f"Bearer {TOKEN}"


async def test_one_token_serves_until_five_minutes_before_its_end(clock: FakeClock) -> None:
    api = Api(PAGE, tokens=(token("first"), token("second")))
    async with api.client(clock) as client:
        await client.ask(SEARCH)
        clock.advance(seconds=7200 - 301)
        await client.ask(SEARCH)
        assert len(api.token_calls) == 1
        clock.advance(seconds=1)
        await client.ask(SEARCH)
    assert [call.headers["authorization"] for call in api.sent] == ["Bearer first"] * 2 + ["Bearer second"]


@pytest.mark.parametrize(
    ("told", "seconds"), [(7200, 7200), ("60", 60), (None, 7200), ("soon", 7200), (-1, 7200), (10**30, 7200), (0, 7200)]
)
async def test_life_of_a_token(clock: FakeClock, told: Any, seconds: int) -> None:
    async with Api(tokens=(token(expires_in=told),)).client(clock) as client:
        assert await client.token() == clock.now() + timedelta(seconds=seconds)


async def test_a_short_lived_token_is_not_fetched_for_each_request(clock: FakeClock) -> None:
    api = Api(PAGE, tokens=(token(expires_in=60),))
    async with api.client(clock) as client:
        for _ in range(3):
            await client.ask(SEARCH)
    assert len(api.token_calls) == 1


async def test_concurrent_callers_share_one_fetch(clock: FakeClock) -> None:
    gate = asyncio.Event()

    async def slow(_: httpx.Request) -> httpx.Response:
        await gate.wait()
        return token()

    api = Api(PAGE, tokens=(slow,))
    async with api.client(clock) as client:
        asked = [asyncio.create_task(client.ask(SEARCH)) for _ in range(20)]
        while not api.token_calls:
            await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*asked)
    assert (len(api.token_calls), len(api.sent)) == (1, 20)


async def test_concurrent_callers_share_its_failure(clock: FakeClock) -> None:
    api = Api(PAGE, tokens=(oauth_error(401, "invalid_client"),))
    async with api.client(clock) as client:
        ends = await asyncio.gather(*(client.ask(SEARCH) for _ in range(5)), return_exceptions=True)
    assert {type(end) for end in ends} == {BadCredentials}
    assert (len(api.token_calls), len(api.sent)) == (1, 0)


async def test_a_caller_that_gives_up_leaves_the_fetch_to_the_others(clock: FakeClock) -> None:
    gate = asyncio.Event()

    async def slow(_: httpx.Request) -> httpx.Response:
        await gate.wait()
        return token()

    api = Api(PAGE, tokens=(slow,))
    async with api.client(clock) as client:
        first, second = (asyncio.create_task(client.ask(SEARCH)) for _ in range(2))
        while not api.token_calls:
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        gate.set()
        await second
    assert first.cancelled()
    assert len(api.token_calls) == 1


async def test_closing_ends_a_fetch_that_is_under_way(clock: FakeClock) -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    api = Api(PAGE, tokens=(never,))
    client = api.client(clock)
    asked = asyncio.create_task(client.ask(SEARCH))
    while not api.token_calls:
        await asyncio.sleep(0)
    await client.aclose()
    with pytest.raises(asyncio.CancelledError):
        await asked


async def test_a_refused_token_is_dropped_and_the_call_not_repeated(clock: FakeClock) -> None:
    api = Api(error(401, "access_token_invalid"), PAGE, tokens=(token("first"), token("second")))
    async with api.client(clock) as client:
        with pytest.raises(TokenRejected):
            await client.ask(SEARCH)
        assert len(api.sent) == 1
        await client.ask(SEARCH)
    assert [call.headers["authorization"] for call in api.sent] == ["Bearer first", "Bearer second"]


async def test_late_news_of_an_old_token_does_not_drop_the_new_one(clock: FakeClock) -> None:
    gate = asyncio.Event()

    async def late(_: httpx.Request) -> httpx.Response:
        await gate.wait()
        return error(401, "access_token_invalid")

    api = Api(late, error(401, "access_token_invalid"), PAGE, tokens=(token("first"), token("second"), token("third")))
    async with api.client(clock) as client:
        early = asyncio.create_task(client.ask(SEARCH))
        while not api.sent:
            await asyncio.sleep(0)
        with pytest.raises(TokenRejected):
            await client.ask(SEARCH)
        await client.ask(SEARCH)
        gate.set()
        with pytest.raises(TokenRejected):
            await early
        await client.ask(SEARCH)
    assert len(api.token_calls) == 2


async def test_scope_errors_keep_the_token(clock: FakeClock) -> None:
    api = Api(error(401, "scope_not_authorized"))
    async with api.client(clock) as client:
        for _ in range(2):
            with pytest.raises(ScopeNotAuthorized):
                await client.ask(SEARCH)
    assert len(api.token_calls) == 1


SPORADIC: list[Answering] = [
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
async def test_sporadic_failures_are_retried(clock: FakeClock, failure: Answering) -> None:
    api = Api(tokens=(failure, failure, token()))
    async with api.client(clock) as client:
        await client.token()
    assert clock.slept == list(PAUSES[:2])


@pytest.mark.parametrize("failure", SPORADIC)
async def test_but_not_for_ever(clock: FakeClock, failure: Answering) -> None:
    api = Api(tokens=(failure,))
    async with api.client(clock) as client:
        with pytest.raises((ServerError, RateLimited, Unreachable)) as caught:
            await client.token()
    assert caught.value.endpoint == "token"
    assert clock.slept == list(PAUSES)
    assert len(api.token_calls) == len(PAUSES) + 1


async def test_whoever_answers_with_a_page_of_its_own_is_not_the_api(clock: FakeClock) -> None:
    page = httpx.Response(200, text="<html>Welcome</html>", headers={"Content-Type": "text/html"})
    api = Api(PAGE, tokens=(page,) * 5)
    async with api.client(clock) as client:
        with pytest.raises(WrongAddress, match=r"not the Research API.*TIKTOK_API_URL") as caught:
            await client.ask(SEARCH)
    assert not caught.value.sent
    assert not api.sent


async def test_without_a_token_no_quota_can_have_been_spent(clock: FakeClock) -> None:
    api = Api(PAGE, tokens=(httpx.Response(503),) * 5)
    async with api.client(clock) as client:
        with pytest.raises(ServerError) as caught:
            await client.ask(SEARCH)
    assert not caught.value.sent


async def test_the_server_s_own_wish_is_waited_for_within_reason(clock: FakeClock) -> None:
    api = Api(
        tokens=(
            httpx.Response(429, headers={"Retry-After": "7"}),
            httpx.Response(503, headers={"Retry-After": "86400"}),
            token(),
        )
    )
    async with api.client(clock) as client:
        await client.token()
    assert clock.slept == [7.0, 60.0]


async def test_a_token_that_still_lasts_bridges_a_failing_renewal(clock: FakeClock) -> None:
    api = Api(PAGE, tokens=(token(), httpx.Response(500)))
    async with api.client(clock) as client:
        await client.ask(SEARCH)
        clock.advance(seconds=7200 - 200)
        await client.ask(SEARCH)
        clock.advance(seconds=200)
        with pytest.raises(ServerError):
            await client.ask(SEARCH)
    assert len(api.sent) == 2


@pytest.mark.parametrize(
    ("failure", "kind", "says"),
    [
        (
            oauth_error(401, "invalid_client", "Client key or secret is incorrect."),
            BadCredentials,
            "TIKTOK_CLIENT_SECRET",
        ),
        (oauth_error(200, "invalid_client"), BadCredentials, "TIKTOK_CLIENT_KEY"),
        (oauth_error(500, "invalid_request", "Client secret is missed in request."), BadCredentials, "missed"),
        (oauth_error(400, "unauthorized_client"), ScopeNotAuthorized, "approved"),
        (httpx.Response(404, text="not found"), WrongAddress, "TIKTOK_API_URL"),
        (httpx.Response(301, headers={"Location": "https://other.test/"}), WrongAddress, "https://other.test/"),
    ],
)
async def test_final_failures_are_told_at_once(
    clock: FakeClock, failure: httpx.Response, kind: type[ApiError], says: str
) -> None:
    api = Api(PAGE, tokens=(failure,))
    async with api.client(clock) as client:
        with pytest.raises(kind, match=says) as caught:
            await client.ask(SEARCH)
    assert isinstance(caught.value, FinalForAll)
    assert (len(api.token_calls), len(api.sent), clock.slept) == (1, 0, [])


@pytest.mark.parametrize(("key", "secret"), [("", SECRET), (KEY, "")])
async def test_without_credentials_nothing_is_sent(clock: FakeClock, key: str, secret: str) -> None:
    api = Api(PAGE)
    async with api.client(clock, key=key, secret=secret) as client:
        with pytest.raises(BadCredentials, match="nothing was sent"):
            await client.ask(SEARCH)
    assert not api.token_calls


async def test_nobody_at_the_address(clock: FakeClock) -> None:
    async with Client(key=KEY, secret=SECRET, base_url="http://127.0.0.1:9", clock=clock) as client:
        with pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:9.*TIKTOK_API_URL") as caught:
            await client.token()
    assert not caught.value.sent
    assert clock.slept == []


async def test_no_secret_is_ever_seen(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told = f"{SECRET} {KEY} {TOKEN}"
    scripts: list[tuple[Answering, tuple[Answering, ...]]] = [
        (error(400, "invalid_params", told), (token(),)),
        (error(401, "access_token_invalid", told), (token(),)),
        (httpx.Response(504, text=told), (token(),)),
        (httpx.ReadError("gone"), (token(),)),
        (PAGE, (oauth_error(401, "invalid_client", told.replace(TOKEN, "")),)),
        (PAGE, (token(f"{TOKEN}\n"),)),
        (PAGE, (httpx.ConnectError("no"),)),
    ]
    seen = []
    for data, tokens in scripts:
        async with Api(data, tokens=tokens).client(clock) as client:
            with pytest.raises(ApiError) as caught:
                await client.ask(SEARCH)
            seen += [repr(client), repr(client.__dict__), str(caught.value), repr(caught.value)]
            seen += [repr(caught.value.__dict__), repr(caught.value.__cause__), repr(caught.value.args)]
    seen.append(caplog.text)
    for secret in (KEY, SECRET, TOKEN):
        assert secret not in " ".join(seen)


async def test_a_held_token_does_not_show(clock: FakeClock) -> None:
    async with Api(PAGE).client(clock) as client:
        await client.token()
        held = await client._tokens.get()
        assert TOKEN not in f"{held!r} {client!r} {client._tokens!r} {client._wire!r}"
