"""Invalid responses: no endless loop, no early end, no failed run, and no day that is complete because of them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest

from research_assets.collect.run import collect
from research_assets.collect.types import CollectionTask, Paused
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.storage.captures import list_sealed, read_events
from research_assets.study.spec import UserRule
from research_assets.tiktok.errors import Unreachable
from research_assets_tests.collect.harness import (
    START,
    CollectorHarness,
    Edit,
    TamperingTransport,
    change_data,
    days,
    error_response,
    study,
)
from research_assets_tests.collect.process_harness import open_tools
from research_assets_tests.collect.test_lists import garden_config, this_week
from research_assets_tests.tiktok.hostile_server import hostile_server
from research_assets_tests.tiktok.test_bounds import dripping

Change = Callable[[dict[str, Any]], dict[str, Any]]


def dense(**knobs: object) -> SandboxConfig:
    return SandboxConfig(**{"fixed_volume": 250, "profile": "clean"} | knobs)  # type: ignore[arg-type]


def nth(number: int, change: Change) -> Edit:
    """Change the `data` of the n-th answer to a data request, from 1."""
    count = 0

    def edited(_: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        nonlocal count
        count += 1
        return change_data(response, **change(orjson.loads(response.content)["data"])) if count == number else None

    return edited


def always(**values: object) -> Change:
    return lambda _: values


def with_row(**values: object) -> Change:
    def change(data: dict[str, Any]) -> dict[str, Any]:
        data["videos"][3] |= values
        return data

    return change


def of_another_day(data: dict[str, Any]) -> dict[str, Any]:
    return {"videos": [row | {"create_time": 1} for row in data["videos"]]}


INVALID_PAGES: dict[str, tuple[int, Change]] = {
    "a cursor far ahead": (1, always(cursor=9_000_000)),
    "a cursor below zero": (1, always(cursor=-5)),
    "a cursor as text": (1, always(cursor="soon")),
    "a search id that is no number": (2, always(search_id="not a number")),
    "a search id beyond all numbers": (2, always(search_id="9" * 40)),
    "a create_time beyond all time": (1, with_row(create_time=10**15)),
    "a create_time as an object": (1, with_row(create_time={"at": 1})),
    "a list that ends although has_more was true": (2, always(videos=None, cursor=0, has_more=False, search_id=None)),
    "a page of other days": (2, of_another_day),
}


@pytest.mark.parametrize("case", INVALID_PAGES)
async def test_invalid_response_costs_some_requests_and_no_row(settings: Settings, case: str) -> None:
    harness = CollectorHarness(settings, dense())
    finished, pause = await harness.collect(
        "videos", days(4), transport=TamperingTransport(harness, nth(*INVALID_PAGES[case]))
    )
    assert pause is None
    assert {f.state for f in finished.values()} == {"complete"}
    assert len(set(harness.ids()) - {None}) == 1000
    assert harness.requests_sent <= 20


BAD_ENVELOPES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "an empty list as data": (lambda _: b'{"data":[],"error":{"code":"ok"}}', "`data` is not an object"),
    "a number as data": (lambda _: b'{"data":0,"error":{"code":"ok"}}', "`data` is not an object"),
    "an object as the list": (lambda _: b'{"data":{"videos":{}},"error":{"code":"ok"}}', "`data.videos` is not a list"),
    "the list twice": (lambda b: b.replace(b'"videos":', b'"videos":[],"videos":'), "key `data.videos` is repeated"),
    "data twice": (lambda b: b.replace(b'"data":', b'"data":null,"data":'), "the key `data` is repeated"),
    "the cursor twice": (lambda b: b.replace(b'"cursor":', b'"cursor":7,"cursor":'), "`data.cursor` is repeated"),
}


@pytest.mark.parametrize("case", BAD_ENVELOPES)
@pytest.mark.parametrize("n_bad", [1, 1000])
async def test_page_with_a_bad_envelope_is_a_failed_request_and_never_stored(
    settings: Settings, case: str, n_bad: int
) -> None:
    change, reason = BAD_ENVELOPES[case]
    harness, changed = CollectorHarness(settings, dense(fixed_volume=60)), 0

    def edit(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        nonlocal changed
        if orjson.loads(request.content)["start_date"] != "20260202" or changed == n_bad:
            return None
        changed += 1
        return httpx.Response(200, content=change(response.content), headers={"date": response.headers["date"]})

    for day in days(3):
        finished, pause = await harness.collect("videos", [day], transport=TamperingTransport(harness, edit))
        assert pause is None
        is_bad = n_bad > 1 and day.day == 2
        assert finished[day].state == ("quarantined" if is_bad else "complete")
        assert (reason in (finished[day].reason or "")) is is_bad
    assert 1 <= changed <= 5
    assert len(harness.ids()) == (120 if n_bad > 1 else 180)
    events = [event for capture in list_sealed(settings.captures) for event in read_events(capture.path)]
    assert sum(event["event"] == "page" for event in events) == (2 if n_bad > 1 else 3)
    assert sum(event["event"] == "fail" and reason in event["message"] for event in events) == changed


async def test_outage_pauses_the_run_and_quarantines_no_day(settings: Settings) -> None:
    harness = CollectorHarness(settings, dense())
    await harness.collect("videos", days(2))
    before = harness.requests_sent
    down = TamperingTransport(harness, lambda _, r: error_response(r, 500, "internal_error", "Server Internal Error"))
    finished, pause = await harness.collect("videos", days(60), transport=down)
    assert pause is not None
    assert "not even a canary check" in pause.reason
    assert {f.state for f in finished.values() if not f.was_complete} <= {"quarantined"}
    assert len(finished) == 2
    assert harness.requests_sent - before <= 40
    harness.clock.moment = pause.retry_at
    finished, pause = await harness.collect("videos", days(60))
    assert {f.state for f in finished.values()} == {"complete"}
    assert len(set(harness.ids())) == 60 * 250


async def test_missing_server_raises_and_the_next_run_resumes(settings: Settings) -> None:
    harness = CollectorHarness(settings, dense())
    count = 0

    def cut(request: httpx.Request, _: httpx.Response) -> None:
        nonlocal count
        count += 1
        if count > 3:
            raise httpx.ConnectError("no server", request=request)

    with pytest.raises(Unreachable, match="no server"):
        await harness.collect("videos", days(4), transport=TamperingTransport(harness, cut))
    assert harness.sql("SELECT DISTINCT state FROM {coverage}") == [("partial",)]
    assert harness.ledger.pool_state("research").used == 3
    finished, _ = await harness.collect("videos", days(4))
    assert {f.state for f in finished.values()} == {"complete"}
    assert len(harness.ids()) == len(set(harness.ids())) == 1000


async def test_answers_after_the_deadline_cost_one_reservation_each(settings: Settings) -> None:
    harness = CollectorHarness(settings, dense())
    task = CollectionTask(study(), "videos", days(4))
    async with hostile_server(dripping(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n")) as server:
        slow = replace(harness.settings, api_url=server.url, timeout=0.1)
        context = open_tools(slow, harness.server_clock, harness.ledger)
        async with context.client:
            results = [result async for result in collect(task, context)]
    assert {result.state for result in results if not isinstance(result, Paused)} == {"quarantined"}
    sent = len([head for head in server.requests if head.startswith(b"POST") and b"/oauth/" not in head])
    assert harness.ledger.pool_state("research").used == sent > 0
    [(reason,)] = harness.sql("SELECT DISTINCT reason FROM {coverage} WHERE state = 'quarantined'")
    assert "(TimeoutError: not complete after 0.1 s)" in reason


async def test_endless_rate_limiting_pauses_the_run_within_45_requests(settings: Settings) -> None:
    harness = CollectorHarness(settings, dense())
    await harness.collect("videos", days(1))
    rate_limited = TamperingTransport(harness, lambda _, r: error_response(r, 429, "rate_limit_exceeded", "Too fast."))
    before = harness.requests_sent
    finished, pause = await harness.collect("videos", days(300), transport=rate_limited)
    assert pause is not None
    assert "even at the lowest request rate" in pause.reason
    assert [f.state for f in finished.values() if f.state != "too_fresh"] == ["complete"]
    assert len(pause.remaining) + len(finished) == 300
    assert harness.requests_sent - before <= 45


async def test_rejected_window_blocks_no_other_window(settings: Settings) -> None:
    harness = CollectorHarness(settings, dense(fixed_volume=20))
    await harness.collect("videos", days(40, START - timedelta(days=40)), study(start=START - timedelta(days=40)))

    def refuse(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if orjson.loads(request.content)["start_date"] <= "20260203":
            return error_response(response, 400, "invalid_params", "start_date is odd")
        return None

    before = harness.requests_sent
    finished, pause = await harness.collect("videos", days(62), transport=TamperingTransport(harness, refuse))
    assert pause is None
    states = [finished[day].state for day in days(62)]
    assert states.count("complete") >= 30
    assert finished[START].state == "quarantined"
    assert "start_date is odd" in (finished[START].reason or "")
    assert harness.requests_sent - before <= 16


async def test_endless_list_is_suspicious_with_the_reason_of_its_gap(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    week = this_week(harness)

    def echo(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        body = orjson.loads(request.content)
        if body["username"] != "sandbox_star":
            return None
        return change_data(response, cursor=body.get("cursor", 1_700_000_000), has_more=True)

    await harness.collect("followers", [week], garden_config(), transport=TamperingTransport(harness, echo))
    state, reason, requests = harness.sql("SELECT state, reason, requests FROM {coverage} WHERE unit = 'sandbox_star'")[
        0
    ]
    assert state == "suspicious"
    assert "share the time" in reason or "no new rows" in reason
    assert requests <= 20


async def test_invalid_lists_block_no_other_account(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    week, spec = this_week(harness), garden_config(users=UserRule("panel"))
    odd = study(panel=("two words", "\x00\x00", "", *spec.panel), users=UserRule("panel"))

    def empty(request: httpx.Request, _: httpx.Response) -> httpx.Response | None:
        star = orjson.loads(request.content)["username"] == "sandbox_star"
        return httpx.Response(200, json={"data": {}, "error": {"code": "ok"}}) if star else None

    await harness.collect("users", [week], odd, transport=TamperingTransport(harness, empty))
    states = dict(harness.sql("SELECT unit, state FROM {coverage}"))
    assert states["two words"] == states[""] == "missing"
    assert states["sandbox_star"] == "suspicious"
    assert list(states.values()).count("complete") == len(spec.panel) - 3
    rows = [{"username": {"a": 1}}, {"other": 1}, 7]
    objects = TamperingTransport(
        harness, lambda _, r: change_data(r, user_followers=rows) if r.status_code == 200 else None
    )
    await harness.collect("followers", [week], odd, transport=objects)
    pinned = TamperingTransport(
        harness, lambda _, r: change_data(r, has_more=True, cursor=7) if r.status_code == 200 else None
    )
    await harness.collect("pinned_videos", [week], odd, transport=pinned)
    assert {row[0] for row in harness.sql("SELECT state FROM {coverage} WHERE entity = 'pinned_videos'")} <= {
        "complete",
        "missing",
        "refused",
    }


async def test_refusals_between_failures_do_not_count_as_an_outage(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig(every_500=2))
    names = tuple(f"nonexistent{number}" for number in range(40))
    finished, pause = await harness.collect("users", [this_week(harness)], study(panel=names, users=UserRule("panel")))
    assert pause is None
    assert finished[this_week(harness)].units["missing"] > 30


async def test_quota_reserve_is_open_to_due_days_and_closed_to_a_backfill(settings: Settings) -> None:
    harness = CollectorHarness(settings, dense(fixed_volume=150))
    due = harness.clock.now().date() - timedelta(days=3)
    harness.ledger = type(harness.ledger)(
        settings.ledger, {"research": 10, "follow": 10}, harness.server_clock, quota_reserve=8
    )
    finished, pause = await harness.collect("videos", [*days(9), due])
    assert pause is not None
    assert finished[due].state == "complete"
    assert pause.remaining == days(9)
