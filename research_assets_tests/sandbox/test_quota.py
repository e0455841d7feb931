from datetime import UTC, datetime
from typing import Any

import pytest

from research_assets.sandbox.config import SandboxConfig
from research_assets_tests.conftest import FakeClock
from research_assets_tests.sandbox.client import ANYTHING, SandboxClient

EVENING = datetime(2026, 11, 1, 23, 59, 0, tzinfo=UTC)
BODY = {"query": ANYTHING, "start_date": "20260201", "end_date": "20260201"}


async def ask(researcher: SandboxClient) -> tuple[int, str]:
    answer = await researcher.post("video/query", BODY, "videos")
    code = answer.json()["error"]["code"] if answer.headers["content-type"].startswith("application/json") else "html"
    return answer.status_code, code


def books(researcher: SandboxClient, pool: str = "research") -> tuple[int, int]:
    day = researcher.sandbox.quota.pools[pool].day(researcher.sandbox.clock.now())
    return day.spent, day.refused


async def test_the_cap_ends_the_day_and_midnight_begins_another() -> None:
    researcher = SandboxClient(SandboxConfig(fixed_volume=5, research_cap=3), FakeClock(EVENING))
    assert [await ask(researcher) for _ in range(3)] == [(200, "ok")] * 3
    assert await ask(researcher) == (429, "daily_quota_limit_exceeded")
    assert books(researcher) == (3, 1)
    researcher.sandbox.clock.advance(59)
    assert await ask(researcher) == (429, "daily_quota_limit_exceeded")
    researcher.sandbox.clock.advance(1)
    assert await ask(researcher) == (200, "ok")
    assert books(researcher) == (1, 0)
    researcher.sandbox.clock.advance(-10)
    assert await ask(researcher) == (429, "daily_quota_limit_exceeded")


async def test_the_daily_refusal_is_a_gateway_body() -> None:
    researcher = SandboxClient(SandboxConfig(fixed_volume=5, research_cap=0), FakeClock(EVENING))
    body = (await researcher.post("video/query", BODY, "videos")).json()
    assert body["data"] == {}
    assert body["error"]["message"] == "The API daily quota limit exceeded. Please try again later"


async def test_follow_lists_have_a_pool_of_their_own() -> None:
    researcher = SandboxClient(SandboxConfig(fixed_volume=5, research_cap=1, follow_cap=2), FakeClock(EVENING))
    assert await ask(researcher) == (200, "ok")
    for endpoint, status in (("user/followers", 200), ("user/following", 200), ("user/followers", 429)):
        assert (await researcher.post(endpoint, {"username": "sandbox_beet"})).status_code == status
    answer = await researcher.post("user/info", {"username": "sandbox_beet"}, "users")
    assert answer.json()["error"]["code"] == "daily_quota_limit_exceeded"
    assert (books(researcher), books(researcher, "follow")) == ((1, 1), (2, 1))


async def test_the_quota_may_come_back_late() -> None:
    researcher = SandboxClient(SandboxConfig(fixed_volume=5, quota_delay=3600), FakeClock(EVENING))
    assert await ask(researcher) == (200, "ok")
    researcher.sandbox.clock.advance(120)
    assert await ask(researcher) == (429, "daily_quota_limit_exceeded")
    researcher.sandbox.clock.advance(3600)
    await researcher.log_in()
    assert await ask(researcher) == (200, "ok")


async def test_calls_that_fail_cost_as_much() -> None:
    config = SandboxConfig(fixed_volume=5, every_500=2, every_504=3, every_429=5)
    researcher = SandboxClient(config, FakeClock(EVENING))
    answers = [await ask(researcher) for _ in range(10)]
    expected = ["ok", "internal_error", "html", "internal_error", "rate_limit_exceeded", "internal_error", "ok"]
    assert [code for _, code in answers[:7]] == expected
    assert [status for status, _ in answers[:7]] == [200, 500, 504, 500, 429, 500, 200]
    assert books(researcher) == (10, 0)


async def test_the_gateways_page_is_html() -> None:
    researcher = SandboxClient(SandboxConfig(fixed_volume=5, every_504=1), FakeClock(EVENING))
    answer = await researcher.post("video/query", BODY, "videos")
    assert answer.headers["content-type"] == "text/html"
    assert answer.text.startswith("<html>")


async def test_calls_that_come_too_fast_are_told_so() -> None:
    researcher = SandboxClient(SandboxConfig(fixed_volume=5, rate=4), FakeClock(EVENING))
    await researcher.log_in()
    assert [(await ask(researcher))[0] for _ in range(6)] == [200] * 4 + [429] * 2
    assert (await ask(researcher))[1] == "rate_limit_exceeded"
    researcher.sandbox.clock.advance(0.5)
    assert [(await ask(researcher))[0] for _ in range(3)] == [200, 200, 429]
    assert books(researcher) == (10, 0)


async def test_latency_passes_on_the_clock() -> None:
    clock = FakeClock(EVENING)
    researcher = SandboxClient(SandboxConfig(fixed_volume=5, latency=1.5), clock)
    await ask(researcher)
    assert clock.slept == [1.5]


async def test_faults_by_chance_are_the_same_each_time() -> None:
    config = SandboxConfig(fixed_volume=5, p_500=0.3, p_504=0.2, p_undecodable=0.2, research_cap=10**6)

    async def outcomes() -> list[Any]:
        researcher = SandboxClient(config, FakeClock(EVENING))
        found: list[Any] = []
        for _ in range(40):
            answer = await researcher.post("video/query", BODY, "videos")
            try:
                answer.json()
                found.append(answer.status_code)
            except ValueError:
                found.append(f"undecodable {answer.status_code}")
        return found

    first = await outcomes()
    assert first == await outcomes()
    assert set(first) == {200, 500, "undecodable 504", "undecodable 200"}


@pytest.mark.parametrize("knob", ["p_500", "undeliverable", "account_private", "rate"])
def test_a_knob_out_of_range_names_itself(knob: str) -> None:
    knobs: dict[str, Any] = {knob: -0.1}
    with pytest.raises(ValueError, match=knob):
        SandboxConfig(**knobs)


def test_a_profile_that_is_not_known_names_those_that_are() -> None:
    with pytest.raises(ValueError, match="clean, typical, hostile"):
        SandboxConfig(profile="nasty")


def test_a_knob_that_is_given_wins_over_the_profile() -> None:
    config = SandboxConfig(profile="hostile", p_500=0.0)
    assert config.p_500 == 0
    assert config.p_504 > 0
