"""The token's life: fetched once, shared, renewed in time, dropped when refused."""

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


async def test_the_form_of_the_call(clock: FakeClock) -> None:
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


async def test_one_token_serves_until_five_minutes_before_its_end(clock: FakeClock) -> None:
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
    ("told", "seconds"), [(7200, 7200), ("60", 60), (None, 7200), ("soon", 7200), (-1, 7200), (10**30, 7200), (0, 7200)]
)
async def test_life_of_a_token(clock: FakeClock, told: Any, seconds: int) -> None:
    async with ScriptedApi(tokens=(token(expires_in=told),)).client(clock) as client:
        assert await client.token() == clock.now() + timedelta(seconds=seconds)


async def test_a_short_lived_token_is_not_fetched_for_each_request(clock: FakeClock) -> None:
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
        asked = [asyncio.create_task(client.send(SEARCH)) for _ in range(20)]
        while not api.token_calls:
            await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*asked)
    assert (len(api.token_calls), len(api.sent)) == (1, 20)


async def test_concurrent_callers_share_its_failure(clock: FakeClock) -> None:
    api = ScriptedApi(PAGE, tokens=(oauth_error(401, "invalid_client"),))
    async with api.client(clock) as client:
        ends = await asyncio.gather(*(client.send(SEARCH) for _ in range(5)), return_exceptions=True)
    assert {type(end) for end in ends} == {BadCredentials}
    assert (len(api.token_calls), len(api.sent)) == (1, 0)


async def test_a_caller_that_gives_up_leaves_the_fetch_to_the_others(clock: FakeClock) -> None:
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


async def test_closing_ends_a_fetch_that_is_under_way(clock: FakeClock) -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    api = ScriptedApi(PAGE, tokens=(never,))
    client = api.client(clock)
    asked = asyncio.create_task(client.send(SEARCH))
    while not api.token_calls:
        await asyncio.sleep(0)
    await client.aclose()
    with pytest.raises(asyncio.CancelledError):
        await asked


async def test_a_refused_token_is_dropped_and_the_call_not_repeated(clock: FakeClock) -> None:
    api = ScriptedApi(make_error(401, "access_token_invalid"), PAGE, tokens=(token("first"), token("second")))
    async with api.client(clock) as client:
        with pytest.raises(TokenRejected):
            await client.send(SEARCH)
        assert len(api.sent) == 1
        await client.send(SEARCH)
    assert [call.headers["authorization"] for call in api.sent] == ["Bearer first", "Bearer second"]


async def test_late_news_of_an_old_token_does_not_drop_the_new_one(clock: FakeClock) -> None:
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
