"""Inputs of the agenda after collections: the status of days, comments and accounts, and the cost of open units."""

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
from research_assets.study.day_sample import DaySample
from research_assets.study.spec import CommentRule, StudySpec, UserRule
from research_assets.units.partition_status import PartitionStatus
from research_assets.units.periods import should_observe
from research_assets_tests.collect.harness import START, CollectorHarness, days, study

SHORT = study(end=START + timedelta(days=2), comments=CommentRule("all"), users=UserRule("none"))


def read_inputs(harness: CollectorHarness, *studies: StudySpec) -> AgendaInputs:
    pools, used = read_pools(harness.settings, harness.server_clock)
    return read_agenda_inputs(harness.settings, studies or (SHORT,), pools, harness.server_clock.now(), used=used)


def collect_harness(settings: Settings, **options: object) -> CollectorHarness:
    return CollectorHarness(settings, SandboxConfig(**{"fixed_volume": 3, "fixed_comments": 2, **options}))  # type: ignore[arg-type]


def test_study_without_data_has_no_status(settings: Settings) -> None:
    inputs = read_inputs(collect_harness(settings))
    assert inputs.partition_status["garden", "videos"] == {}
    assert inputs.hits_per_day["garden"] == {}
    assert inputs.pools["research"].remaining == 1000


async def test_collected_days_have_open_comments(settings: Settings) -> None:
    harness = collect_harness(settings)
    await harness.collect("videos", days(3), SHORT)
    inputs = read_inputs(harness)
    assert inputs.hits_per_day["garden"] == dict.fromkeys(days(3), 3.0)
    assert {one.open_units for one in inputs.partition_status["garden", "videos"].values()} == {0}
    open_ = inputs.partition_status["garden", "comments"][START]
    assert (open_.open_units, open_.estimate.requests, open_.estimate.basis) == (3, 3.0, "known counts")
    assert inputs.used_today["research"] == {"garden": harness.requests_sent}
    await harness.collect("comments", days(3), SHORT)
    assert not build_agenda(read_inputs(harness), harness.clock.now()).items


async def test_days_without_comments_get_a_run_that_sends_no_request(settings: Settings) -> None:
    # Without a state, estimates of comments per video would miss the selected videos of these days.
    harness = collect_harness(settings, fixed_comments=0)
    spec = replace(SHORT, comments=CommentRule("sample", fraction=0.5), count_lag_days=0)
    await harness.collect("videos", days(3), spec)
    n_sent = harness.requests_sent
    (item,) = build_agenda(read_inputs(harness, spec), harness.clock.now()).items
    assert (item.entity, item.requests) == ("comments", 0)
    await harness.collect("comments", item.partitions, spec)
    assert not build_agenda(read_inputs(harness, spec), harness.clock.now()).items
    states = harness.sql("SELECT DISTINCT state, inclusion_probability FROM {coverage} WHERE entity = 'comments'")
    assert (states, harness.requests_sent) == ([("complete", 0.5)], n_sent)


async def test_comments_are_open_although_dagster_shows_their_days_as_materialized(settings: Settings) -> None:
    # A day that had nothing to collect, a report by hand, or an instance that is newer than a restored backup.
    harness = collect_harness(settings)
    await harness.collect("videos", days(3), SHORT)
    sampled = replace(SHORT, comments=CommentRule("sample", fraction=0.0001, seed=3))
    pools, _ = read_pools(harness.settings, harness.server_clock)
    for spec, n_open in ((sampled, 0), (SHORT, 3)):
        inputs = read_agenda_inputs(
            settings, (spec,), pools, harness.server_clock.now(), materialized=lambda *_: days(3)
        )
        assert {one.open_units for one in inputs.partition_status["garden", "comments"].values()} == {n_open}


async def test_days_that_left_the_study_are_not_planned(settings: Settings) -> None:
    harness = collect_harness(settings)
    await harness.collect("videos", days(3), SHORT)
    harness.clock.advance(days=8)
    middle = START + timedelta(days=1)
    samples = (DaySample(0.2, ("month",), seed) for seed in range(1000))
    sample = next(one for one in samples if [day for day in days(3) if one.contains(day)] == [middle])
    for spec in (replace(SHORT, start=middle, end=middle), replace(SHORT, day_sample=sample)):
        inputs = read_inputs(harness, spec)
        for entity in ("videos", "comments"):
            assert list(inputs.partition_status["garden", entity]) == [middle]
        assert inputs.canary_days == {"garden": middle}
        assert set(inputs.hits_per_day["garden"]) == set(days(3))


async def test_dead_day_waits_until_its_next_try(settings: Settings) -> None:
    dead = START + timedelta(days=1)
    harness = collect_harness(settings, dead_days=frozenset({dead}))
    await harness.collect("videos", days(3), SHORT)
    waiting = read_inputs(harness).partition_status["garden", "videos"][dead]
    assert (waiting.open_units, waiting.waiting_units, waiting.last_complete_at) == (0, 1, None)
    assert waiting.next_try is not None
    harness.clock.advance(days=1, minutes=1)
    due = read_inputs(harness).partition_status["garden", "videos"][dead]
    assert (due.open_units, due.failed_before) == (1, True)


async def test_failed_reobservation_keeps_the_day_complete(settings: Settings) -> None:
    harness = collect_harness(settings)
    spec = replace(SHORT, reobserve_days=(10,))
    await harness.collect("videos", days(3), spec)
    seen = read_inputs(harness, spec).partition_status["garden", "videos"][START].last_complete_at
    harness.app.config = replace(harness.app.config, dead_days=frozenset({START}))
    harness.app.reset()
    harness.clock.advance(hours=1)
    await harness.collect("videos", (START,), spec, recollect=True)
    after = read_inputs(harness, spec).partition_status["garden", "videos"][START]
    assert (after.last_complete_at, after.open_units, after.waiting_units) == (seen, 0, 1)


async def test_accounts_of_the_current_period_have_a_status(settings: Settings) -> None:
    spec = replace(SHORT, comments=CommentRule("none"), users=UserRule("panel"), panel=("sandbox_beet", "sandbox_star"))
    harness = collect_harness(settings, fixed_volume=None)
    week = date(2026, 6, 1)
    inputs = read_inputs(harness, spec)
    assert inputs.partition_status["garden", "users"][week].estimate.requests == 2
    assert inputs.partition_status["garden", "followers"][week].estimate.basis == "no data yet"
    await harness.collect("users", (week,), spec)
    known = read_inputs(harness, spec)
    assert known.partition_status["garden", "users"][week].open_units == 0
    assert known.partition_status["garden", "followers"][week].estimate.basis == "known counts"


def test_study_collects_the_entities_of_its_rules() -> None:
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
    assert study_entities(replace(SHORT, playlists=True)) == ("videos", "comments", "playlists")


@pytest.mark.parametrize(("age", "picks"), [(0, ()), (3, (0,)), (4, (0, 1)), (30, (0, 14, 27))])
def test_probe_collects_settled_days(age: int, picks: tuple[int, ...]) -> None:
    spec = study()
    now = datetime.fromisoformat("2026-02-01T00:00:00+00:00") + timedelta(days=age)
    assert probe_days(spec, now) == tuple(START + timedelta(days=pick) for pick in picks)


def test_accounts_are_observed_until_all_days_are_complete_and_in_one_more_period() -> None:
    ends_at = datetime.fromisoformat("2026-02-06T00:00:00+00:00")
    complete = {day: PartitionStatus(last_complete_at=ends_at + timedelta(days=5)) for day in days(3)}
    assert should_observe(replace(SHORT, end=None), {}, ends_at, ends_at + timedelta(days=900))
    assert should_observe(SHORT, complete, ends_at, ends_at - timedelta(days=1))
    assert should_observe(SHORT, complete, ends_at + timedelta(days=4), ends_at + timedelta(days=20))
    assert not should_observe(SHORT, complete, ends_at + timedelta(days=6), ends_at + timedelta(days=20))
    missing = {**complete, START: PartitionStatus(open_units=1)}
    assert should_observe(SHORT, missing, ends_at + timedelta(days=6), ends_at + timedelta(days=20))
    assert not should_observe(SHORT, {}, ends_at + timedelta(days=1), ends_at + timedelta(days=20))
