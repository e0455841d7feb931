"""What the agenda reads: how days, comments and accounts stand after real collections, and what the rest will cost."""

from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest

from research_assets.collect.probe import probe_days
from research_assets.planning.agenda import build_agenda
from research_assets.planning.inputs import read_agenda_inputs, study_entities
from research_assets.planning.types import AgendaInputs
from research_assets.quota.ledger import read_pools
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.study.spec import CommentRule, StudySpec, UserRule
from research_assets.units.partition_status import PartitionStatus
from research_assets.units.periods import should_observe
from research_assets_tests.collect.harness import START, CollectorHarness, days, study

SHORT = study(end=START + timedelta(days=2), comments=CommentRule("all"), users=UserRule("none"))


def facts(harness: CollectorHarness, *studies: StudySpec) -> AgendaInputs:
    pools, used = read_pools(harness.settings, harness.server_clock)
    return read_agenda_inputs(harness.settings, studies or (SHORT,), pools, harness.server_clock.now(), used=used)


def collect_harness(settings: Settings, **knobs: object) -> CollectorHarness:
    return CollectorHarness(settings, SandboxConfig(**{"fixed_volume": 3, "fixed_comments": 2, **knobs}))  # type: ignore[arg-type]


def test_nothing_held_is_nothing_known(settings: Settings) -> None:
    read = facts(collect_harness(settings))
    assert read.partition_status["garden", "videos"] == {}
    assert read.hits_per_day["garden"] == {}
    assert read.pools["research"].remaining == 1000


async def test_days_that_are_held_and_comments_that_are_open(settings: Settings) -> None:
    harness = collect_harness(settings)
    await harness.collect("videos", days(3), SHORT)
    read = facts(harness)
    assert read.hits_per_day["garden"] == dict.fromkeys(days(3), 3.0)
    assert {one.open_units for one in read.partition_status["garden", "videos"].values()} == {0}
    open_ = read.partition_status["garden", "comments"][START]
    assert (open_.open_units, open_.estimate.requests, open_.estimate.basis) == (3, 3.0, "known counts")
    assert read.used_today["research"] == {"garden": harness.requests_sent}
    await harness.collect("comments", days(3), SHORT)
    assert not build_agenda(facts(harness), harness.clock.now()).items


async def test_a_dead_day_rests_until_its_next_try(settings: Settings) -> None:
    dead = START + timedelta(days=1)
    harness = collect_harness(settings, dead_days=frozenset({dead}))
    await harness.collect("videos", days(3), SHORT)
    rests = facts(harness).partition_status["garden", "videos"][dead]
    assert (rests.open_units, rests.waiting_units, rests.last_complete_at) == (0, 1, None)
    assert rests.next_try is not None
    harness.clock.advance(days=1, minutes=1)
    woken = facts(harness).partition_status["garden", "videos"][dead]
    assert (woken.open_units, woken.failed_before) == (1, True)


async def test_a_look_again_that_failed_leaves_the_day_held(settings: Settings) -> None:
    harness = collect_harness(settings)
    spec = replace(SHORT, reobserve_days=(10,))
    await harness.collect("videos", days(3), spec)
    seen = facts(harness, spec).partition_status["garden", "videos"][START].last_complete_at
    harness.app.config = replace(harness.app.config, dead_days=frozenset({START}))
    harness.app.reset()
    harness.clock.advance(hours=1)
    await harness.collect("videos", (START,), spec, recollect=True)
    after = facts(harness, spec).partition_status["garden", "videos"][START]
    assert (after.last_complete_at, after.open_units, after.waiting_units) == (seen, 0, 1)


async def test_accounts_of_the_running_period(settings: Settings) -> None:
    spec = replace(SHORT, comments=CommentRule("none"), users=UserRule("panel"), panel=("sandbox_beet", "sandbox_star"))
    harness = collect_harness(settings, fixed_volume=None)
    week = date(2026, 6, 1)
    read = facts(harness, spec)
    assert read.partition_status["garden", "users"][week].estimate.requests == 2
    assert read.partition_status["garden", "followers"][week].estimate.basis == "no data yet"
    await harness.collect("users", (week,), spec)
    known = facts(harness, spec)
    assert known.partition_status["garden", "users"][week].open_units == 0
    assert known.partition_status["garden", "followers"][week].estimate.basis == "known counts"


def test_what_a_study_collects() -> None:
    assert study_entities(SHORT) == ("videos", "comments")
    assert set(study_entities(replace(SHORT, panel=("a",)))) == {
        "videos",
        "comments",
        "followers",
        "following",
        "liked_videos",
        "reposted_videos",
        "pinned_videos",
    }


@pytest.mark.parametrize(("age", "picks"), [(0, ()), (3, (0,)), (4, (0, 1)), (30, (0, 14, 27))])
def test_a_probe_asks_days_that_have_settled(age: int, picks: tuple[int, ...]) -> None:
    spec = study()
    now = datetime.fromisoformat("2026-02-01T00:00:00+00:00") + timedelta(days=age)
    assert probe_days(spec, now) == tuple(START + timedelta(days=pick) for pick in picks)


def test_accounts_are_observed_until_all_is_found_and_once_more() -> None:
    over = datetime.fromisoformat("2026-02-06T00:00:00+00:00")
    held = {day: PartitionStatus(last_complete_at=over + timedelta(days=5)) for day in days(3)}
    assert should_observe(replace(SHORT, end=None), {}, over, over + timedelta(days=900))
    assert should_observe(SHORT, held, over, over - timedelta(days=1))
    assert should_observe(SHORT, held, over + timedelta(days=4), over + timedelta(days=20))
    assert not should_observe(SHORT, held, over + timedelta(days=6), over + timedelta(days=20))
    missing = {**held, START: PartitionStatus(open_units=1)}
    assert should_observe(SHORT, missing, over + timedelta(days=6), over + timedelta(days=20))
    assert not should_observe(SHORT, {}, over + timedelta(days=1), over + timedelta(days=20))
