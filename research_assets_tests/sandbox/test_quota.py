from datetime import UTC, datetime
from typing import Any

import pytest

from research_assets.sandbox.config import SandboxConfig
from research_assets_tests.conftest import FakeClock
from research_assets_tests.sandbox.client import ANYTHING, SandboxClient

EVENING = datetime(2026, 11, 1, 23, 59, 0, tzinfo=UTC)
BODY = {"query": ANYTHING, "start_date": "20260201", "end_date": "20260201"}


async def post_search(client: SandboxClient) -> tuple[int, str]:
    answer = await client.post("video/query", BODY, "videos")
    code = answer.json()["error"]["code"] if answer.headers["content-type"].startswith("application/json") else "html"
    return answer.status_code, code


def charges(client: SandboxClient, pool: str = "research") -> tuple[int, int]:
    day = client.sandbox.quota.pools[pool].day(client.sandbox.clock.now())
    return day.used, day.refused


async def test_cap_refuses_calls_until_midnight() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=5, research_cap=3), FakeClock(EVENING))
    assert [await post_search(client) for _ in range(3)] == [(200, "ok")] * 3
    assert await post_search(client) == (429, "daily_quota_limit_exceeded")
    assert charges(client) == (3, 1)
    client.sandbox.clock.advance(59)
    assert await post_search(client) == (429, "daily_quota_limit_exceeded")
    client.sandbox.clock.advance(1)
    assert await post_search(client) == (200, "ok")
    assert charges(client) == (1, 0)
    client.sandbox.clock.advance(-10)
    assert await post_search(client) == (429, "daily_quota_limit_exceeded")


async def test_daily_quota_error_has_a_gateway_body() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=5, research_cap=0), FakeClock(EVENING))
    body = (await client.post("video/query", BODY, "videos")).json()
    assert body["data"] == {}
    assert body["error"]["message"] == "The API daily quota limit exceeded. Please try again later"


async def test_follow_lists_have_their_own_pool() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=5, research_cap=1, follow_cap=2), FakeClock(EVENING))
    assert await post_search(client) == (200, "ok")
    for endpoint, status in (("user/followers", 200), ("user/following", 200), ("user/followers", 429)):
        assert (await client.post(endpoint, {"username": "sandbox_beet"})).status_code == status
    answer = await client.post("user/info", {"username": "sandbox_beet"}, "users")
    assert answer.json()["error"]["code"] == "daily_quota_limit_exceeded"
    assert (charges(client), charges(client, "follow")) == ((1, 1), (2, 1))


async def test_quota_delay_postpones_the_new_day() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=5, quota_delay=3600), FakeClock(EVENING))
    assert await post_search(client) == (200, "ok")
    client.sandbox.clock.advance(120)
    assert await post_search(client) == (429, "daily_quota_limit_exceeded")
    client.sandbox.clock.advance(3600)
    await client.log_in()
    assert await post_search(client) == (200, "ok")


async def test_failed_calls_are_charged() -> None:
    config = SandboxConfig(fixed_volume=5, every_500=2, every_504=3, every_429=5)
    client = SandboxClient(config, FakeClock(EVENING))
    answers = [await post_search(client) for _ in range(10)]
    expected = ["ok", "internal_error", "html", "internal_error", "rate_limit_exceeded", "internal_error", "ok"]
    assert [code for _, code in answers[:7]] == expected
    assert [status for status, _ in answers[:7]] == [200, 500, 504, 500, 429, 500, 200]
    assert charges(client) == (10, 0)


async def test_gateway_timeout_is_html() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=5, every_504=1), FakeClock(EVENING))
    answer = await client.post("video/query", BODY, "videos")
    assert answer.headers["content-type"] == "text/html"
    assert answer.text.startswith("<html>")


async def test_rate_limit_refuses_fast_calls() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=5, rate=4), FakeClock(EVENING))
    await client.log_in()
    assert [(await post_search(client))[0] for _ in range(6)] == [200] * 4 + [429] * 2
    assert (await post_search(client))[1] == "rate_limit_exceeded"
    client.sandbox.clock.advance(0.5)
    assert [(await post_search(client))[0] for _ in range(3)] == [200, 200, 429]
    assert charges(client) == (10, 0)


async def test_latency_waits_on_the_inner_clock() -> None:
    clock = FakeClock(EVENING)
    client = SandboxClient(SandboxConfig(fixed_volume=5, latency=1.5), clock)
    await post_search(client)
    assert clock.slept == [1.5]


async def test_random_faults_are_reproducible() -> None:
    config = SandboxConfig(fixed_volume=5, p_500=0.3, p_504=0.2, p_undecodable=0.2, research_cap=10**6)

    async def outcomes() -> list[Any]:
        client = SandboxClient(config, FakeClock(EVENING))
        found: list[Any] = []
        for _ in range(40):
            answer = await client.post("video/query", BODY, "videos")
            try:
                answer.json()
                found.append(answer.status_code)
            except ValueError:
                found.append(f"undecodable {answer.status_code}")
        return found

    first = await outcomes()
    assert first == await outcomes()
    assert set(first) == {200, 500, "undecodable 504", "undecodable 200"}


@pytest.mark.parametrize("name", ["p_500", "undeliverable", "account_private", "rate"])
def test_invalid_field_is_named_in_the_error(name: str) -> None:
    fields: dict[str, Any] = {name: -0.1}
    with pytest.raises(ValueError, match=name):
        SandboxConfig(**fields)


def test_unknown_profile_error_names_the_known_profiles() -> None:
    with pytest.raises(ValueError, match="clean, typical, hostile"):
        SandboxConfig(profile="nasty")


def test_given_field_overrides_the_profile() -> None:
    config = SandboxConfig(profile="hostile", p_500=0.0)
    assert config.p_500 == 0
    assert config.p_504 > 0
