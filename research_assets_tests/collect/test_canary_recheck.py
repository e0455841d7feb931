"""Canary rechecks: which videos are found, when the next recheck is due, and what it costs."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import httpx
import orjson
import pytest

from research_assets.planning.inputs import read_agenda_inputs
from research_assets.quota.ledger import read_pools
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.units.periods import CANARY_INTERVAL, canary_day
from research_assets_tests.collect.harness import (
    START,
    CollectorHarness,
    TamperingTransport,
    change_data,
    days,
    error_response,
    ids_as_text,
    study,
)
from research_assets_tests.collect.test_username_batches import (
    RecordingEdit,
    make_harness,
    panel,
    replaced,
    usernames_of,
)

CANARY_SQL = """
SELECT state, count(*), round(sum(requests), 6), min(reason) FROM {coverage} WHERE unit_kind = 'canary' GROUP BY state
"""
RUNNING = study(end=None)


async def collected_harness(settings: Settings, **knobs: object) -> CollectorHarness:
    """Return a harness that collected five days of 20 videos one canary interval ago."""
    harness = CollectorHarness(settings, SandboxConfig(**{"fixed_volume": 20, "search_lifetime": 40 * 86_400, **knobs}))  # type: ignore[arg-type]
    await harness.collect("videos", days(5))
    harness.clock.advance(days=CANARY_INTERVAL.days)
    return harness


def due(harness: CollectorHarness) -> date | None:
    """Return the day of the canary recheck that is due now."""
    pools, used = read_pools(harness.settings, harness.server_clock)
    return read_agenda_inputs(harness.settings, [RUNNING], pools, harness.clock.now(), used=used).canary_days.get(
        "garden"
    )


async def test_recheck_costs_one_request_and_records_each_video(settings: Settings) -> None:
    harness = await collected_harness(settings)
    sent = harness.requests_sent

    def withdrawn(_: httpx.Request, response: httpx.Response) -> httpx.Response:
        return change_data(response, videos=orjson.loads(response.content)["data"]["videos"][:-3])

    finished, pause = await harness.collect(
        "videos", [START], canary_check=True, transport=TamperingTransport(harness, withdrawn)
    )
    assert (pause, finished[START].state, finished[START].was_complete, harness.requests_sent - sent) == (
        None,
        "complete",
        True,
        1,
    )
    assert sorted(harness.sql(CANARY_SQL)) == [
        ("complete", 17, 0.85, None),
        ("missing", 3, 0.15, "Previously collected, but not found in the canary check."),
    ]
    assert len(harness.ids()) == 100, "a recheck stores no rows"
    # The status of the days is unchanged, for the collector and for the agenda.
    finished, _ = await harness.collect("videos", days(5))
    assert {one.was_complete for one in finished.values()} == {True}
    assert harness.requests_sent - sent == 1


async def test_recheck_finds_ids_as_text(settings: Settings) -> None:
    harness = await collected_harness(settings)
    await harness.collect(
        "videos", [START], canary_check=True, transport=TamperingTransport(harness, lambda _, r: ids_as_text(r))
    )
    assert harness.sql(CANARY_SQL) == [("complete", 20, 1, None)]


async def test_unanswered_query_is_suspicious_and_due_for_a_recheck_after_a_day(settings: Settings) -> None:
    harness = await collected_harness(settings)
    sent = harness.requests_sent
    nothing = TamperingTransport(
        harness, lambda _, r: change_data(r, videos=None, cursor=0, has_more=False, search_id=None)
    )
    await harness.collect("videos", [START], canary_check=True, transport=nothing)
    assert harness.requests_sent - sent == 2
    [(state, number, requests, reason)] = harness.sql(CANARY_SQL)
    assert (state, number, requests) == ("suspicious", 20, 2)
    assert "20 previously collected videos" in reason
    assert due(harness) is None
    harness.clock.advance(days=1)
    assert due(harness) is not None


async def test_recheck_waits_for_the_quota(settings: Settings) -> None:
    harness = await collected_harness(settings)
    harness.ledger.mark_exhausted("research")
    finished, pause = await harness.collect("videos", [START], canary_check=True)
    assert not finished
    assert pause is not None
    assert pause.remaining == (START,)
    assert harness.sql(CANARY_SQL) == []


async def test_outage_pauses_the_recheck_and_records_no_video(settings: Settings) -> None:
    harness = await collected_harness(settings)
    sent = harness.requests_sent
    down = TamperingTransport(harness, lambda _, r: error_response(r, 500, "internal_error", "Server Internal Error"))
    finished, pause = await harness.collect("videos", [START], canary_check=True, transport=down)
    assert not finished
    assert pause is not None
    assert "The canary check failed" in pause.reason
    assert harness.requests_sent - sent == 2
    assert harness.sql(CANARY_SQL) == []


async def test_recheck_of_many_accounts_uses_those_that_fit_into_one_search(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig(fixed_volume=20, search_lifetime=40 * 86_400))
    authors = sorted({name for (name,) in (await _any_day(harness))})
    wide = study(query={"and": ({"operation": "IN", "field_name": "username", "field_values": tuple(authors)},)})
    searched: list[set[str]] = []

    def record(request: httpx.Request, _: httpx.Response) -> None:
        for one in orjson.loads(request.content)["query"]["and"]:
            if one["field_name"] == "username":
                searched.append(set(one["field_values"]))

    await harness.collect("videos", [START], wide, canary_check=True, transport=TamperingTransport(harness, record))
    assert len(authors) > harness.settings.username_batch
    [names] = searched
    assert len(names) == harness.settings.username_batch
    assert names < set(authors)


@pytest.mark.parametrize("spell", [str, str.upper])
async def test_recheck_leaves_out_an_account_that_breaks_searches(
    settings: Settings, spell: Callable[[str], str]
) -> None:
    harness = make_harness(settings, search_lifetime=40 * 86_400)
    names = [spell(name) for name in panel(harness, 10)]
    harness = make_harness(replaced(settings), search_lifetime=40 * 86_400, breaking_usernames=frozenset({names[3]}))
    recorded = RecordingEdit()
    await harness.collect("videos", days(5), usernames_of(names))
    harness.clock.advance(days=CANARY_INTERVAL.days)
    sent = harness.requests_sent
    finished, pause = await harness.collect(
        "videos", [START], usernames_of(names), canary_check=True, transport=TamperingTransport(harness, recorded)
    )
    assert (pause, finished[START].state, harness.requests_sent - sent) == (None, "complete", 1)
    # It is unknown which of the two that failed last is the cause, so both are searched separately.
    [together] = recorded.searches
    assert len(together) == 8
    assert set(together) < set(names) - {names[3]}
    assert harness.sql(CANARY_SQL) == [("complete", 8, 1, None)]


async def test_recheck_of_few_videos_says_nothing_about_the_query(settings: Settings) -> None:
    harness = await collected_harness(settings)
    [(name, number)] = harness.sql(
        f"SELECT username, count(*) FROM {{videos}} WHERE day = '{START}' GROUP BY ALL HAVING count(*) < 3 LIMIT 1"
    )
    few = usernames_of([name, "some.other"])
    nothing = TamperingTransport(
        harness, lambda _, r: change_data(r, videos=None, cursor=0, has_more=False, search_id=None)
    )
    finished, pause = await harness.collect("videos", [START], few, canary_check=True, transport=nothing)
    assert (pause, finished[START].state) == (None, "complete")
    assert [(state, count) for state, count, _, _ in harness.sql(CANARY_SQL)] == [("missing", number)]


async def _any_day(harness: CollectorHarness) -> list[tuple[str]]:
    await harness.collect("videos", [START])
    return harness.sql("SELECT DISTINCT username FROM {videos}")


async def test_recheck_is_due_a_week_after_the_last_one_and_a_week_after_collection(
    settings: Settings,
) -> None:
    harness = await collected_harness(settings)
    assert due(harness) in days(5)
    harness.clock.advance(seconds=-1)
    assert due(harness) is None
    harness.clock.advance(seconds=1)
    await harness.collect("videos", [START], RUNNING, canary_check=True)
    assert due(harness) is None
    harness.clock.advance(days=CANARY_INTERVAL.days, seconds=-1)
    assert due(harness) is None
    harness.clock.advance(seconds=1)
    assert due(harness) in days(5)


def test_recheck_day_changes_weekly_and_rechecks_end_with_the_study() -> None:
    now = datetime(2026, 6, 1, 9, tzinfo=UTC)
    weeks = [canary_day(RUNNING, days(40), None, None, now + CANARY_INTERVAL * i) for i in range(20)]
    assert len(set(weeks)) > 10
    assert canary_day(RUNNING, (), None, None, now) is None
    over = study(end=START + timedelta(days=4))
    assert canary_day(over, days(5), None, None, now) in days(5), "one recheck after the end"
    assert canary_day(over, days(5), now - CANARY_INTERVAL, None, now) is None
