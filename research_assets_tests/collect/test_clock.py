"""Days, requests, waits and tokens of a collection are the same under a wrong, jumping or moved clock."""

import asyncio
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any

import httpx
import pytest

from research_assets.clock import ClocksDiffer, ServerClock
from research_assets.collect.run import collect
from research_assets.collect.types import CollectionTask, CollectorContext, Paused
from research_assets.planning.inputs import read_agenda_inputs
from research_assets.quota.ledger import Ledger, read_pools
from research_assets.resources import CollectorResource
from research_assets.sandbox.app import create_app
from research_assets.sandbox.config import DateHeader, SandboxConfig
from research_assets.settings import Settings
from research_assets.storage.raw_reader import RawTables
from research_assets_tests.collect.harness import START, CollectorHarness, TamperingTransport, days, study
from research_assets_tests.collect.process_harness import serve_harness
from research_assets_tests.conftest import FakeClock, TrueTime

HOUR, DAY = 3600, 86_400
BASE: dict[str, Any] = {"fixed_volume": 60, "research_cap": 100, "every_500": 7, "every_429": 11}
WRONG_HEADERS: dict[str, dict[str, Any]] = {
    "3 h behind": {"date_header": "shifted", "date_offset": -3 * HOUR},
    "2 h ahead": {"date_header": "shifted", "date_offset": 2 * HOUR},
    "3 d ahead": {"date_header": "shifted", "date_offset": 3 * DAY},
    "1970": {"date_header": "year_1970"},
    "year 9999": {"date_header": "year_9999"},
    "garbage": {"date_header": "garbage"},
    "two headers": {"date_header": "double"},
    "absent": {"date_header": "absent"},
}
NIGHTS = {
    "midnight": datetime(2026, 6, 1, 23, 59, 30, tzinfo=UTC),
    "year end": datetime(2026, 12, 31, 23, 59, 30, tzinfo=UTC),
    "leap day": datetime(2028, 2, 28, 23, 59, 30, tzinfo=UTC),
    "end of leap day": datetime(2028, 2, 29, 23, 59, 30, tzinfo=UTC),
    "summer time": datetime(2026, 3, 29, 0, 59, 55, tzinfo=UTC),
}


@dataclass(frozen=True)
class Outcome:
    """Results that must not depend on any clock but the server's."""

    states: dict[date, str]
    paused_until: datetime | None
    booked: Counter[date]
    charged: dict[date, int]
    tokens: int
    slept: list[float]
    ids: list[int]


def make_harness(settings: Settings, start: datetime | None = None, **config: Any) -> CollectorHarness:
    clock = FakeClock(start or datetime(2026, 6, 1, 9, tzinfo=UTC))
    return CollectorHarness(settings, SandboxConfig(**(BASE | config)), clock)


async def outcome(harness: CollectorHarness, number: int = 14, **options: Any) -> Outcome:
    # As `CollectorResource.open`, which learns the time before the first decision.
    context = harness.tools()
    async with context.client:
        await context.client.token()
    finished, pause = await harness.collect("videos", days(number), page_size=20, **options)
    booked = Counter(row["day"] for row in harness.ledger.iter_requests() if row["status"] is not None)
    charged = {day: n.used + n.refused for day, n in harness.app.quota.pools["research"].days.items()}
    return Outcome(
        {day: result.state for day, result in finished.items()},
        pause.retry_at if pause else None,
        booked,
        {day: n for day, n in charged.items() if n},
        harness.app.request_log.requests["oauth/token"],
        harness.clock.slept,
        sorted(harness.ids()),
    )


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The outcome under right clocks."""
    settings = Settings.from_env({"RESEARCH_DATA": str(tmp_path_factory.mktemp("right"))})
    result = asyncio.run(outcome(make_harness(settings)))
    assert set(result.states.values()) == {"complete"}
    assert result.booked == result.charged
    assert result.booked.total() > 40
    assert result.tokens == 2, "one for each client"
    assert sum(result.slept) > 20
    return result


@pytest.mark.parametrize("kind", WRONG_HEADERS)
@pytest.mark.parametrize("answer", [1, 2, 12])
async def test_single_wrong_header_changes_nothing(settings: Settings, right: Outcome, kind: str, answer: int) -> None:
    wrong = WRONG_HEADERS[kind] | {"date_answers": frozenset({answer})}
    assert await outcome(make_harness(settings, **wrong)) == right


@pytest.mark.parametrize("kind", ["wrong", "absent", "garbage", "double", "year_1970", "year_9999"])
async def test_headers_that_are_all_wrong_leave_the_local_clock(
    settings: Settings, right: Outcome, kind: DateHeader
) -> None:
    assert await outcome(make_harness(settings, date_header=kind)) == right


async def test_wrong_headers_over_sockets_change_nothing(settings: Settings) -> None:
    outcomes = []
    variants: dict[str, dict[str, Any]] = {
        "right": {},
        "wrong": {"date_header": "wrong"},
        "garbage": {"date_header": "garbage"},
        "jumps": WRONG_HEADERS["3 d ahead"] | {"date_answers": frozenset({2, 5})},
    }
    for name, changes in variants.items():
        config = SandboxConfig(**(BASE | changes))
        with serve_harness(replace(settings, root=settings.root / name), config) as harness:
            one = await outcome(harness, rate_limit=1000.0)
        outcomes.append((one.states, one.booked, one.charged, one.tokens, one.ids))
    assert all(one == outcomes[0] for one in outcomes[1:])


@pytest.mark.parametrize("error", [timedelta(hours=-3), timedelta(hours=14), timedelta(days=2), timedelta(days=-365)])
@pytest.mark.parametrize("night", ["midnight", "year end"])
async def test_requests_are_booked_on_the_day_of_the_server_under_a_wrong_local_clock(
    settings: Settings, error: timedelta, night: str
) -> None:
    harness = make_harness(replace(settings, research_cap=30), NIGHTS[night], research_cap=30)
    harness.clock.error = error
    result = await outcome(harness, 20, rate_limit=0.2)
    assert result.booked == result.charged
    assert all(n <= 30 for n in result.charged.values())
    assert set(result.booked) == {NIGHTS[night].date(), NIGHTS[night].date() + timedelta(days=1)}


@pytest.mark.parametrize("night", NIGHTS)
async def test_local_clock_that_moves_during_a_run_changes_nothing(settings: Settings, night: str) -> None:
    async def run(name: str, steps: dict[int, timedelta]) -> Outcome:
        harness = make_harness(replace(settings, root=settings.root / name), NIGHTS[night])
        answers = count(1)

        def move(*_: object) -> None:
            harness.clock.error += steps.get(next(answers), timedelta(0))

        return await outcome(harness, 20, rate_limit=0.2, transport=TamperingTransport(harness, move))

    expected = await run("still", {})
    steps = {2: timedelta(minutes=-5), 5: timedelta(hours=-5), 12: timedelta(hours=1), 20: timedelta(days=1)}
    assert await run("moved", steps) == expected
    assert expected.booked == expected.charged
    assert sum(expected.booked.values()) > 20


async def test_token_is_renewed_by_its_age_alone(settings: Settings) -> None:
    harness = make_harness(settings, token_lifetime=600, rate=0.0)
    moved = iter([timedelta(hours=3), timedelta(hours=-9), timedelta(days=400)])

    def move(*_: object) -> None:
        harness.clock.error = next(moved, harness.clock.error)

    result = await outcome(harness, 20, rate_limit=0.05, transport=TamperingTransport(harness, move))
    seconds = sum(harness.clock.slept)
    assert result.tokens == pytest.approx(seconds / 300, abs=2), "half of 600 s"
    assert harness.app.request_log.outcomes["access_token_invalid"] == 0
    assert set(result.states.values()) == {"complete"}


@pytest.mark.parametrize("error", [timedelta(days=-1), timedelta(days=1), timedelta(days=365)])
async def test_difference_above_the_limit_stops_before_the_first_request(settings: Settings, error: timedelta) -> None:
    clock = FakeClock(datetime(2026, 6, 1, 9, tzinfo=UTC), error=error)
    app = create_app(SandboxConfig(fixed_volume=30), TrueTime(clock))
    settings = replace(settings, api_url="https://api.test", root=settings.root / "real")
    collector = CollectorResource(settings, clock=clock, transport=httpx.ASGITransport(app))
    with pytest.raises(ClocksDiffer, match="2026-06-01 09:00 UTC"):
        async with collector.open():
            pass
    assert dict(app.request_log.requests) == {"oauth/token": 1}
    assert not settings.ledger.exists()

    ignoring = replace(collector, settings=replace(settings, max_clock_offset=0.0))
    async with ignoring.open() as context:
        assert context.clock.now() == clock.now()


async def test_difference_that_appears_during_a_run_stops_it(settings: Settings) -> None:
    clock = FakeClock(datetime(2026, 6, 1, 9, tzinfo=UTC), error=timedelta(days=30))
    config = SandboxConfig(fixed_volume=300, date_answers=frozenset(range(1, 6)), date_header="absent")
    harness = CollectorHarness(settings, config, clock)
    harness.server_clock = ServerClock(clock, limit=timedelta(hours=15))
    harness.ledger = Ledger(harness.settings.ledger, harness.settings.caps, harness.server_clock)
    with pytest.raises(ClocksDiffer):
        await harness.collect("videos", days(30), concurrency=1)
    assert harness.requests_sent == 3, "until three answers agreed"


async def test_limit_within_which_the_server_wins_is_a_setting(settings: Settings) -> None:
    clock = FakeClock(datetime(2026, 6, 1, 9, tzinfo=UTC), error=timedelta(hours=-3))
    app = create_app(SandboxConfig(fixed_volume=30), TrueTime(clock))
    settings = replace(settings, api_url="https://api.test", root=settings.root / "real")

    async def run(hours: float) -> CollectorContext:
        collector = CollectorResource(
            replace(settings, max_clock_offset=hours), clock=clock, transport=httpx.ASGITransport(app)
        )
        async with collector.open() as context:
            async for result in collect(CollectionTask(study(), "videos", days(1)), context):
                assert not isinstance(result, Paused)
            return context

    context = await run(3.1)
    assert abs(context.clock.now() - clock.moment) < timedelta(seconds=1)
    with pytest.raises(ClocksDiffer):
        await run(2.9)


async def test_next_try_from_a_clock_that_was_ahead_delays_nothing(settings: Settings) -> None:
    """Without a header nothing corrects the machine's clock. Once it is set, the unit is not left for a year."""
    config = SandboxConfig(fixed_volume=5, date_header="absent", dead_days=frozenset({START}))
    harness = CollectorHarness(settings, config)
    harness.clock.error = timedelta(days=365)
    finished, _ = await harness.collect("videos", days(1))
    assert finished[START].state == "quarantined"
    harness.clock.error = timedelta(0)
    sent = harness.requests_sent
    await harness.collect("videos", days(1))
    assert harness.requests_sent > sent
    with RawTables(settings.raw) as raw:
        pools, used = read_pools(harness.settings, harness.clock)
        inputs = read_agenda_inputs(harness.settings, [study()], pools, harness.clock.now(), used=used, raw=raw)
    [status] = inputs.partition_status["garden", "videos"].values()
    assert (status.open_units, status.waiting_units) == (1, 0)
