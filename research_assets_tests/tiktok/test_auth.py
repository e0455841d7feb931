"""The lifetime of the token: fetched once, shared, renewed before it expires, dropped when rejected."""

import asyncio
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from research_assets.tiktok.errors import BadCredentials, ScopeNotAuthorized, TokenRejected
from research_assets_tests.conftest import FakeClock
from research_assets_tests.tiktok.scripted_api import (
    KEY,
    PAGE,
    SEARCH,
    SECRET,
    TOKEN,
    URL,
    ScriptedApi,
    make_error,
    oauth_error,
    token,
)


async def test_token_call_has_the_documented_form(clock: FakeClock) -> None:
    api = ScriptedApi(PAGE)
    async with api.client(clock) as client:
        assert await client.token() == clock.now() + timedelta(seconds=7200)
        await client.send(SEARCH)
    (call,) = api.token_calls
    assert (call.method, str(call.url)) == ("POST", f"{URL}/v2/oauth/token/")
    assert call.headers["content-type"] == "application/x-www-form-urlencoded"
    form = {"client_key": [KEY], "client_secret": [SECRET], "grant_type": ["client_credentials"]}
    assert parse_qs(call.content.decode()) == form
    assert api.sent[0].headers["authorization"] == f"Bearer {TOKEN}"


async def test_client_keeps_a_token_until_five_minutes_before_it_expires(clock: FakeClock) -> None:
    api = ScriptedApi(PAGE, tokens=(token("first"), token("second")))
    async with api.client(clock) as client:
        await client.send(SEARCH)
        clock.advance(seconds=7200 - 301)
        await client.send(SEARCH)
        assert len(api.token_calls) == 1
        clock.advance(seconds=1)
        await client.send(SEARCH)
    assert [call.headers["authorization"] for call in api.sent] == ["Bearer first"] * 2 + ["Bearer second"]


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [(7200, 7200), ("60", 60), (None, 7200), ("soon", 7200), (-1, 7200), (10**30, 7200), (0, 7200)],
)
async def test_client_reads_the_lifetime_of_a_token(clock: FakeClock, expires_in: Any, seconds: int) -> None:
    async with ScriptedApi(tokens=(token(expires_in=expires_in),)).client(clock) as client:
        assert await client.token() == clock.now() + timedelta(seconds=seconds)


async def test_client_fetches_a_short_lived_token_once_for_several_requests(clock: FakeClock) -> None:
    api = ScriptedApi(PAGE, tokens=(token(expires_in=60),))
    async with api.client(clock) as client:
        for _ in range(3):
            await client.send(SEARCH)
    assert len(api.token_calls) == 1


async def test_concurrent_callers_share_one_fetch(clock: FakeClock) -> None:
    gate = asyncio.Event()

    async def slow(_: httpx.Request) -> httpx.Response:
        await gate.wait()
        return token()

    api = ScriptedApi(PAGE, tokens=(slow,))
    async with api.client(clock) as client:
        tasks = [asyncio.create_task(client.send(SEARCH)) for _ in range(20)]
        while not api.token_calls:
            await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*tasks)
    assert (len(api.token_calls), len(api.sent)) == (1, 20)


async def test_concurrent_callers_share_one_failure(clock: FakeClock) -> None:
    api = ScriptedApi(PAGE, tokens=(oauth_error(401, "invalid_client"),))
    async with api.client(clock) as client:
        results = await asyncio.gather(*(client.send(SEARCH) for _ in range(5)), return_exceptions=True)
    assert {type(result) for result in results} == {BadCredentials}
    assert (len(api.token_calls), len(api.sent)) == (1, 0)


async def test_cancelled_caller_leaves_the_fetch_to_the_others(clock: FakeClock) -> None:
    gate = asyncio.Event()

    async def slow(_: httpx.Request) -> httpx.Response:
        await gate.wait()
        return token()

    api = ScriptedApi(PAGE, tokens=(slow,))
    async with api.client(clock) as client:
        first, second = (asyncio.create_task(client.send(SEARCH)) for _ in range(2))
        while not api.token_calls:
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        gate.set()
        await second
    assert first.cancelled()
    assert len(api.token_calls) == 1


async def test_closing_cancels_a_running_fetch(clock: FakeClock) -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    api = ScriptedApi(PAGE, tokens=(never,))
    client = api.client(clock)
    task = asyncio.create_task(client.send(SEARCH))
    while not api.token_calls:
        await asyncio.sleep(0)
    await client.aclose()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_client_drops_a_rejected_token_and_does_not_repeat_the_call(clock: FakeClock) -> None:
    api = ScriptedApi(make_error(401, "access_token_invalid"), PAGE, tokens=(token("first"), token("second")))
    async with api.client(clock) as client:
        with pytest.raises(TokenRejected):
            await client.send(SEARCH)
        assert len(api.sent) == 1
        await client.send(SEARCH)
    assert [call.headers["authorization"] for call in api.sent] == ["Bearer first", "Bearer second"]


async def test_rejection_of_an_old_token_keeps_the_new_token(clock: FakeClock) -> None:
    gate = asyncio.Event()

    async def late(_: httpx.Request) -> httpx.Response:
        await gate.wait()
        return make_error(401, "access_token_invalid")

    api = ScriptedApi(
        late, make_error(401, "access_token_invalid"), PAGE, tokens=(token("first"), token("second"), token("third"))
    )
    async with api.client(clock) as client:
        early = asyncio.create_task(client.send(SEARCH))
        while not api.sent:
            await asyncio.sleep(0)
        with pytest.raises(TokenRejected):
            await client.send(SEARCH)
        await client.send(SEARCH)
        gate.set()
        with pytest.raises(TokenRejected):
            await early
        await client.send(SEARCH)
    assert len(api.token_calls) == 2


async def test_scope_errors_keep_the_token(clock: FakeClock) -> None:
    api = ScriptedApi(make_error(401, "scope_not_authorized"))
    async with api.client(clock) as client:
        for _ in range(2):
            with pytest.raises(ScopeNotAuthorized):
                await client.send(SEARCH)
    assert len(api.token_calls) == 1
