"""What is asked next: in order of worth, within the quota, by weight, never what is settled, rests or is too fresh."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import pytest

from research_assets.clock import next_midnight, week_of
from research_assets.planning.agenda import build_agenda
from research_assets.planning.messages import describe_deferred
from research_assets.units.estimates import Estimate
from research_assets.units.partition_status import PartitionStatus
from research_assets_tests.collect.harness import study
from research_assets_tests.planning.agenda_inputs import (
    DAY,
    NOW,
    TODAY,
    completed,
    date_range,
    make_inputs,
    planned_partitions,
    pool,
)


def test_comments_of_days_that_lie_apart_are_asked_in_one_run() -> None:
    days = date_range(date(2026, 2, 1), date(2026, 2, 9))
    cost = Estimate(1, "known counts")
    statuses = {
        day: PartitionStatus(open_units=1, estimate=cost) if day.day in (1, 4, 9) else PartitionStatus() for day in days
    }
    one = study(start=days[0], end=days[-1])
    known = {("garden", "videos"): completed(*days), ("garden", "comments"): statuses}
    [item] = build_agenda(make_inputs(one, partition_status=known), NOW).items
    assert (item.partitions, item.units, item.requests) == ((days[0], days[3], days[8]), 3, 3)
    # What rests in between would be tried by the run, before its time.
    statuses[days[1]] = PartitionStatus(waiting_units=1, next_try=NOW + DAY, failed_before=True)
    assert [i.partitions for i in build_agenda(make_inputs(one, partition_status=known), NOW).items] == [
        (days[0],),
        (days[3], days[8]),
    ]


def test_known_videos_are_looked_for_before_the_days_of_their_study_and_beside_those_of_others() -> None:
    now = make_inputs(study(), study("other"), left=10, canary_days={"garden": date(2026, 2, 3)})
    agenda = build_agenda(now, NOW)
    first, *rest = agenda.items
    assert (first.study, first.partitions, first.reasons, first.requests) == (
        "garden",
        (date(2026, 2, 3),),
        ("canary",),
        1,
    )
    assert {item.study for item in rest} == {"other"}
    assert sum(item.requests for item in agenda.items) == 10
    for held_up in ({"left": 0}, {"running_requests": {("garden", "videos"): 3}}, {"backing_off_until": {("garden", "videos"): NOW + DAY}}):
        waits = build_agenda(replace(now, pools=make_inputs(left=held_up.pop("left", 10)).pools, **held_up), NOW)  # type: ignore[arg-type]
        assert not [item for item in waits.items if item.reasons == ("canary",)]


def test_what_paused_waits_until_the_pool_opens_and_is_priced() -> None:
    days = date_range(date(2026, 2, 10), date(2026, 2, 13))
    # The pause was for a share of the day, which lapses after an hour.
    resting = {
        day: PartitionStatus(waiting_units=1, next_try=NOW + timedelta(hours=1), in_progress=True) for day in days
    }
    one = study(start=days[0], end=days[-1])
    agenda = build_agenda(make_inputs(one, left=0, partition_status={("garden", "videos"): resting}), NOW)
    [quota] = [wait for wait in agenda.deferred if wait.reason == "quota"]
    assert (quota.units, quota.requests, quota.until) == (4, 4, next_midnight(NOW))
    pools = {"research": pool(0)}
    said = "research: 0 of 1,000 left; 4 units wait for about 4 requests; opens 00:00 UTC."
    assert describe_deferred(agenda, pools, NOW) == said
    # Of another study's units nothing is known, so they cannot be counted.
    more = replace(agenda, deferred=(quota, replace(quota, study="other", requests=0)))
    assert "8 units wait for at least 4 requests" in describe_deferred(more, pools, NOW)


def test_newest_days_come_first_and_only_what_fits() -> None:
    agenda = build_agenda(make_inputs(study(), left=3), NOW)
    # 28 February settles on 3 March only; each day costs one request, and windows may not share one.
    assert planned_partitions(agenda) == date_range(date(2026, 2, 25), date(2026, 2, 27))
    assert sum(item.requests for item in agenda.items) == 3
    [quota] = [wait for wait in agenda.deferred if wait.reason == "quota"]
    assert (quota.units, quota.requests, quota.until) == (24, 24, datetime(2026, 3, 3, tzinfo=UTC))
    [fresh] = [wait for wait in agenda.deferred if wait.reason == "too_fresh"]
    assert (fresh.units, fresh.until) == (3, datetime(2026, 3, 3, tzinfo=UTC))


def test_sparse_days_share_a_window() -> None:
    agenda = build_agenda(make_inputs(study(), left=1, hits_per_day={"garden": {date(2026, 2, 1): 3.0}}), NOW)
    assert planned_partitions(agenda) == date_range(date(2026, 2, 1), date(2026, 2, 27))
    [item] = agenda.items
    assert (item.requests, item.basis, item.reasons, item.priority) == (
        1,
        "observed density",
        ("settled", "backfill"),
        0,
    )


def test_sparse_days_around_held_ones_share_a_run_but_dense_ones_do_not() -> None:
    held = {("garden", "videos"): completed(*date_range(date(2026, 2, 10), date(2026, 2, 20)))}
    [item] = build_agenda(
        make_inputs(study(), partition_status=held, hits_per_day={"garden": {date(2026, 2, 10): 1.0}}), NOW
    ).items
    assert (item.partitions[0], item.partitions[-1], item.requests) == (date(2026, 2, 1), date(2026, 2, 27), 1)
    dense = build_agenda(
        make_inputs(study(), partition_status=held, hits_per_day={"garden": {date(2026, 2, 10): 90.0}}), NOW
    )
    assert [item.partitions[0] for item in dense.items] == [date(2026, 2, 21), date(2026, 2, 1)]


def test_a_day_that_does_not_fit_is_not_bridged() -> None:
    dead, days = date(2026, 2, 3), date_range(date(2026, 2, 1), date(2026, 2, 27))
    known = {("garden", "videos"): {dead: PartitionStatus(open_units=1, failed_before=True)}}
    agenda = build_agenda(
        make_inputs(study(), left=3, partition_status=known, hits_per_day={"garden": dict.fromkeys(days, 60.0)}), NOW
    )
    assert sum(item.requests for item in agenda.items) <= 3
    assert (dead,) in [item.partitions for item in agenda.items]


def test_a_study_of_which_nothing_is_known_says_so_and_wants_all() -> None:
    agenda = build_agenda(make_inputs(study(), hits_per_day={}), NOW)
    assert {item.basis for item in agenda.items} == {"no data yet"}
    assert agenda.demand["garden", "research"] == 1000


def test_days_that_settled_come_before_comments_before_backfill() -> None:
    one = study(comments=study().comments)
    days = {date(2026, 2, n): PartitionStatus(open_units=4, estimate=Estimate(4, "known counts")) for n in (20, 27)}
    statuses = {("garden", "comments"): days, ("garden", "videos"): completed(date(2026, 2, 26))}
    agenda = build_agenda(make_inputs(one, left=40, partition_status=statuses), NOW)
    assert [(item.entity, item.reasons) for item in agenda.items] == [
        ("videos", ("settled",)),
        ("comments", ("new_comments",)),
        ("videos", ("backfill",)),
        ("comments", ("backfill",)),
    ]


def test_a_dead_day_waits_for_its_next_try_and_then_comes_first() -> None:
    dead = date(2026, 2, 5)
    days = date_range(date(2026, 2, 1), date(2026, 2, 27))
    resting = {("garden", "videos"): {**completed(*days), dead: PartitionStatus(waiting_units=1, next_try=NOW + DAY)}}
    agenda = build_agenda(make_inputs(study(), partition_status=resting), NOW)
    assert not agenda.items
    [rests] = [wait for wait in agenda.deferred if wait.reason == "backing_off"]
    assert (rests.units, rests.until) == (1, NOW + DAY)
    woken = {("garden", "videos"): {**completed(*days), dead: PartitionStatus(open_units=1, failed_before=True)}}
    [item] = build_agenda(make_inputs(study(), partition_status=woken), NOW).items
    assert (item.partitions, item.reasons, item.recollect) == ((dead,), ("retry",), False)


@pytest.mark.parametrize(("age", "again"), [(9, False), (10, True), (29, True), (40, True)])
def test_days_are_asked_again_at_their_ages(age: int, again: bool) -> None:
    day = date(2026, 2, 1)
    one = study(end=day, reobserve_days=(10, 30))
    now = datetime(2026, 2, 2, tzinfo=UTC) + DAY * age
    statuses = {("garden", "videos"): completed(day, looked_at=datetime(2026, 2, 5, tzinfo=UTC))}
    items = build_agenda(make_inputs(one, partition_status=statuses), now).items
    assert [(item.partitions, item.recollect, item.reasons) for item in items] == (
        [((day,), True, ("reobserve",))] * again
    )


def test_a_look_at_an_age_counts_for_it_and_for_all_ages_before() -> None:
    day = date(2026, 2, 1)
    one = study(end=day, reobserve_days=(10, 30))
    late = {("garden", "videos"): completed(day, looked_at=datetime(2026, 3, 5, tzinfo=UTC))}
    assert not build_agenda(make_inputs(one, partition_status=late), datetime(2026, 6, 1, tzinfo=UTC)).items


def test_a_look_again_that_failed_rests_and_is_then_a_look_again() -> None:
    day, early = date(2026, 2, 1), datetime(2026, 2, 5, tzinfo=UTC)
    one = study(end=day, reobserve_days=(10,))
    rests = {
        ("garden", "videos"): {
            day: PartitionStatus(waiting_units=1, next_try=NOW + DAY, last_complete_at=early, failed_before=True)
        }
    }
    assert not build_agenda(make_inputs(one, partition_status=rests), NOW).items
    woken = {("garden", "videos"): {day: PartitionStatus(open_units=1, last_complete_at=early, failed_before=True)}}
    [item] = build_agenda(make_inputs(one, partition_status=woken), NOW).items
    assert item.recollect


def test_what_is_held_but_not_shown_costs_nothing_and_needs_no_quota() -> None:
    day = date(2026, 2, 1)
    held = {("garden", "videos"): {day: PartitionStatus(last_complete_at=NOW, is_materialized=False)}}
    [item] = build_agenda(make_inputs(study(end=day), left=0, partition_status=held), NOW).items
    assert (item.reasons, item.requests, item.partitions) == (("mark_materialized",), 0, (day,))


def test_what_runs_is_not_asked_and_its_requests_are_taken() -> None:
    agenda = build_agenda(make_inputs(study(), left=10, running_requests={("garden", "videos"): 7}), NOW)
    assert not agenda.items
    assert {wait.reason for wait in agenda.deferred} == {"running", "too_fresh"}
    assert agenda.demand["garden", "research"] == 27
    other = build_agenda(make_inputs(study(), study("other"), left=10, running_requests={("garden", "videos"): 7}), NOW)
    assert sum(item.requests for item in other.items) == 3


def test_runs_in_vain_halt_an_entity_and_give_its_share_away() -> None:
    until = NOW + timedelta(minutes=30)
    agenda = build_agenda(make_inputs(study(), study("other"), left=10, backing_off_until={("garden", "videos"): until}), NOW)
    assert {item.study for item in agenda.items} == {"other"}
    assert agenda.demand["garden", "research"] == 0
    assert [(w.study, w.until) for w in agenda.deferred if w.reason == "no_progress"] == [("garden", until)] * 2


def test_weights_divide_the_day() -> None:
    agenda = build_agenda(make_inputs(study("heavy", quota_weight=3.0), study("light"), left=20), NOW)
    taken = {name: len(planned_partitions(agenda, name)) for name in ("heavy", "light")}
    assert taken == {"heavy": 15, "light": 5}


def test_whoever_had_more_today_gets_less() -> None:
    used = {"research": {"heavy": 10}}
    agenda = build_agenda(make_inputs(study("heavy"), study("light"), left=10, used_today=used), NOW)
    assert sum(item.requests for item in agenda.items if item.study == "light") == 9


def test_the_reserve_is_closed_to_backfill() -> None:
    agenda = build_agenda(make_inputs(study(), left=6, quota_reserve=4), NOW)
    assert sum(item.requests for item in agenda.items) == 2


def test_accounts_do_not_starve_the_backfill() -> None:
    one = study()
    week = week_of(TODAY)
    statuses = {
        ("garden", "users"): {week: PartitionStatus(open_units=500, estimate=Estimate(500, "one request each"))}
    }
    agenda = build_agenda(make_inputs(one, left=20, cap=100, partition_status=statuses), NOW)
    users = sum(item.requests for item in agenda.items if item.entity == "users")
    videos = sum(item.requests for item in agenda.items if item.entity == "videos")
    assert users == 10
    assert videos == 10
    [begun] = [item for item in agenda.items if item.entity == "users"]
    assert begun.is_partial


def test_a_day_larger_than_the_cap_is_begun_all_the_same() -> None:
    one = study(end=date(2026, 2, 1))
    agenda = build_agenda(make_inputs(one, left=5, cap=5, hits_per_day={"garden": {date(2026, 1, 31): 950.0}}), NOW)
    [item] = agenda.items
    assert (item.requests, item.is_partial) == (5, True)


def test_a_day_that_would_fit_tomorrow_waits() -> None:
    one = study(end=date(2026, 2, 1))
    agenda = build_agenda(make_inputs(one, left=5, cap=40, hits_per_day={"garden": {date(2026, 1, 31): 950.0}}), NOW)
    assert not agenda.items
    assert [wait.requests for wait in agenda.deferred if wait.reason == "quota"] == [10]


def test_follow_lists_have_a_pool_of_their_own() -> None:
    week = week_of(TODAY)
    statuses = {("garden", "followers"): {week: PartitionStatus(open_units=3, estimate=Estimate(90, "known counts"))}}
    [item] = build_agenda(make_inputs(study(), left=0, partition_status=statuses), NOW).items
    assert (item.entity, item.requests, item.reasons) == ("followers", 90, ("period",))


@pytest.mark.parametrize(("observe", "begun"), [("weekly", True), ("daily", False)])
def test_a_period_that_ends_today_comes_before_what_can_wait(observe: str, begun: bool) -> None:
    now = datetime.combine(week_of(TODAY) + timedelta(days=6), time(20), UTC)
    period = now.date() if observe == "daily" else week_of(TODAY)
    statuses = {
        ("garden", "users"): {
            period: PartitionStatus(open_units=3, in_progress=begun, estimate=Estimate(3, "one request each"))
        }
    }
    one = study(observe=observe, end=date(2026, 2, 1))
    first = build_agenda(make_inputs(one, left=4, cap=40, partition_status=statuses), now).items[0]
    assert (first.entity, first.reasons, first.priority) == ("users", ("period_ending",), 0)
