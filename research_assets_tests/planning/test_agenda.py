"""The agenda: planned runs by priority and weight within the quota, and the units that are deferred."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import pytest

from research_assets.clock import next_midnight, week_of
from research_assets.planning.agenda import build_agenda
from research_assets.planning.forecast import forecast
from research_assets.planning.messages import describe_deferred, plan_table
from research_assets.planning.types import Agenda, DeferredUnits, PlannedRun
from research_assets.study.day_sample import DaySample
from research_assets.units.estimates import Estimate
from research_assets.units.partition_status import PartitionStatus
from research_assets.units.windows import date_ranges
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


def test_one_run_collects_comments_of_days_that_are_not_consecutive() -> None:
    days = date_range(date(2026, 2, 1), date(2026, 2, 9))
    cost = Estimate(1, "known counts")
    statuses = {
        day: PartitionStatus(open_units=1, estimate=cost) if day.day in (1, 4, 9) else PartitionStatus() for day in days
    }
    one = study(start=days[0], end=days[-1])
    known = {("garden", "videos"): completed(*days), ("garden", "comments"): statuses}
    [item] = build_agenda(make_inputs(one, partition_status=known), NOW).items
    assert (item.partitions, item.units, item.requests) == ((days[0], days[3], days[8]), 3, 3)
    # A run over all three would try the waiting day between them before its next try is due.
    statuses[days[1]] = PartitionStatus(waiting_units=1, next_try=NOW + DAY, failed_before=True)
    assert [i.partitions for i in build_agenda(make_inputs(one, partition_status=known), NOW).items] == [
        (days[0],),
        (days[3], days[8]),
    ]


def test_sampled_days_with_gaps_share_a_run_and_cost_their_own_searches() -> None:
    first, last = date(2026, 2, 1), date(2026, 2, 28)
    one = study(start=first, end=last, day_sample=DaySample(0.25, ("month",), 7))
    drawn = one.days_to(last)
    inputs = make_inputs(one, hits_per_day={"garden": dict.fromkeys(drawn, 30.0)})
    [item] = build_agenda(inputs, datetime(2026, 4, 1, tzinfo=UTC)).items
    assert item.partitions == drawn
    # 30 hits a day: one request for each range of consecutive days.
    assert item.requests == len(date_ranges(drawn)) > 1
    [videos, *_] = forecast(inputs, {}, datetime(2026, 4, 1, tzinfo=UTC))
    assert (videos.partitions, set(videos.by_partition)) == (7, set(drawn))


def test_share_of_complete_days_is_asked_again_within_a_day() -> None:
    days = date_range(date(2026, 1, 1), date(2026, 2, 20))
    one = study(start=days[0], end=days[-1], reobserve_days=(), repeat=0.2)
    chosen = [day for day in days if one.repeats(day)]
    assert 0 < len(chosen) < len(days) / 2
    assert [day for day in days if replace(one, repeat=1.0).repeats(day)] == days
    done = completed(*days, at=NOW - timedelta(hours=2))
    agenda = build_agenda(make_inputs(one, partition_status={("garden", "videos"): done}), NOW)
    assert planned_partitions(agenda) == chosen
    assert {(run.recollect, run.reasons) for run in agenda.items if run.entity == "videos"} == {(True, ("repeat",))}
    assert not build_agenda(make_inputs(one, remaining=0, partition_status={("garden", "videos"): done}), NOW).items
    for statuses in (
        completed(*days, at=NOW - timedelta(hours=25)),
        {day: replace(status, is_repeated=True) for day, status in done.items()},
    ):
        assert not build_agenda(make_inputs(one, partition_status={("garden", "videos"): statuses}), NOW).items
    [videos, *_] = forecast(make_inputs(one), {}, NOW)
    [without, *_] = forecast(make_inputs(replace(one, repeat=0.0)), {}, NOW)
    assert videos.remaining.requests == without.remaining.requests + len(chosen)


def test_canary_check_comes_before_the_days_of_its_study_and_next_to_those_of_others() -> None:
    inputs = make_inputs(study(), study("other"), remaining=10, canary_days={"garden": date(2026, 2, 3)})
    agenda = build_agenda(inputs, NOW)
    first, *rest = agenda.items
    assert (first.study, first.partitions, first.reasons, first.requests) == (
        "garden",
        (date(2026, 2, 3),),
        ("canary",),
        1,
    )
    assert {item.study for item in rest} == {"other"}
    assert sum(item.requests for item in agenda.items) == 10
    key = ("garden", "videos")
    for changes in (
        {"pools": make_inputs(remaining=0).pools},
        {"running_requests": {key: 3}},
        {"backing_off_until": {key: NOW + DAY}},
    ):
        waiting = build_agenda(replace(inputs, **changes), NOW)
        assert not [run for run in waiting.items if run.reasons == ("canary",)]


def test_paused_units_wait_until_the_pool_is_available_and_have_an_estimate() -> None:
    days = date_range(date(2026, 2, 10), date(2026, 2, 13))
    # The next try is due before the pool has requests again.
    paused = {
        day: PartitionStatus(waiting_units=1, next_try=NOW + timedelta(hours=1), in_progress=True) for day in days
    }
    one = study(start=days[0], end=days[-1])
    agenda = build_agenda(make_inputs(one, remaining=0, partition_status={("garden", "videos"): paused}), NOW)
    [quota] = [deferred for deferred in agenda.deferred if deferred.reason == "quota"]
    assert (quota.units, quota.requests, quota.until) == (4, 4, next_midnight(NOW))
    pools = {"research": pool(0)}
    expected = "research: 0 of 1,000 requests remaining; 4 units wait for about 4 requests; available at 00:00 UTC."
    assert describe_deferred(agenda, pools, NOW) == expected
    # The units of the other study have no estimate, so the number is a lower bound.
    more = replace(agenda, deferred=(quota, replace(quota, study="other", requests=0)))
    assert "8 units wait for 4 requests or more" in describe_deferred(more, pools, NOW)


def test_agenda_plans_the_newest_days_that_fit_the_quota() -> None:
    agenda = build_agenda(make_inputs(study(), remaining=3), NOW)
    # 28 February settles on 3 March. Each day costs one request, because two days do not fit into one.
    assert planned_partitions(agenda) == date_range(date(2026, 2, 25), date(2026, 2, 27))
    assert sum(item.requests for item in agenda.items) == 3
    [quota] = [deferred for deferred in agenda.deferred if deferred.reason == "quota"]
    assert (quota.units, quota.requests, quota.until) == (24, 24, datetime(2026, 3, 3, tzinfo=UTC))
    [fresh] = [deferred for deferred in agenda.deferred if deferred.reason == "too_fresh"]
    assert (fresh.units, fresh.until) == (3, datetime(2026, 3, 3, tzinfo=UTC))


def test_sparse_days_share_a_window() -> None:
    agenda = build_agenda(make_inputs(study(), remaining=1, hits_per_day={"garden": {date(2026, 2, 1): 3.0}}), NOW)
    assert planned_partitions(agenda) == date_range(date(2026, 2, 1), date(2026, 2, 27))
    [item] = agenda.items
    assert (item.requests, item.basis, item.reasons, item.priority) == (
        1,
        "observed density",
        ("settled", "backfill"),
        0,
    )


def test_sparse_days_around_complete_ones_share_a_run_but_dense_days_do_not() -> None:
    complete = {("garden", "videos"): completed(*date_range(date(2026, 2, 10), date(2026, 2, 20)))}
    [item] = build_agenda(
        make_inputs(study(), partition_status=complete, hits_per_day={"garden": {date(2026, 2, 10): 1.0}}), NOW
    ).items
    assert (item.partitions[0], item.partitions[-1], item.requests) == (date(2026, 2, 1), date(2026, 2, 27), 1)
    dense = build_agenda(
        make_inputs(study(), partition_status=complete, hits_per_day={"garden": {date(2026, 2, 10): 90.0}}), NOW
    )
    assert [item.partitions[0] for item in dense.items] == [date(2026, 2, 21), date(2026, 2, 1)]


def test_run_does_not_span_a_day_that_does_not_fit_its_window() -> None:
    dead, days = date(2026, 2, 3), date_range(date(2026, 2, 1), date(2026, 2, 27))
    known = {("garden", "videos"): {dead: PartitionStatus(open_units=1, failed_before=True)}}
    agenda = build_agenda(
        make_inputs(study(), remaining=3, partition_status=known, hits_per_day={"garden": dict.fromkeys(days, 60.0)}),
        NOW,
    )
    assert sum(item.requests for item in agenda.items) <= 3
    assert (dead,) in [item.partitions for item in agenda.items]


def test_run_of_a_study_without_data_may_send_all_free_requests() -> None:
    [item] = build_agenda(make_inputs(study(), hits_per_day={}), NOW).items
    assert (item.basis, item.requests, item.budget) == ("no data yet", 1, 1000)
    with_active_run = make_inputs(
        study(), hits_per_day={}, running_requests={("garden", "users"): 40}, quota_reserve=100
    )
    [item] = build_agenda(with_active_run, NOW).items
    # The run has days that have just settled, so it may use the reserve. The budget of the active run is not free.
    assert item.budget == 960
    backfill = replace(with_active_run, studies=[study(end=date(2026, 2, 10))])
    assert [item.budget for item in build_agenda(backfill, NOW).items] == [860]


def test_budgets_divide_unplanned_requests_by_weight() -> None:
    heavy, light = study("heavy", quota_weight=3.0), study("light")
    inputs = make_inputs(heavy, light, remaining=800, hits_per_day={})
    budgets = {item.study: item.budget for item in build_agenda(inputs, NOW).items}
    assert budgets == {"heavy": 600, "light": 200}
    # The share of a study with an active run stays free for its next run.
    active = replace(inputs, running_requests={("heavy", "videos"): 100})
    assert {item.study: item.budget for item in build_agenda(active, NOW).items} == {"light": 200}
    # A budget is not free until its run ends.
    active = replace(inputs, running_requests={("heavy", "videos"): 800})
    agenda = build_agenda(active, NOW)
    assert not agenda.items
    assert describe_deferred(agenda, active.pools, NOW).startswith(
        "research: 800 of 1,000 requests remaining, 800 of them in the budgets of active runs; 27 units wait for "
        "about 2 requests; available when these runs end, or at 00:00 UTC."
    )
    # A study whose units wait for their next try needs no request now.
    waiting = {("heavy", "videos"): NOW + DAY}
    inputs = replace(inputs, running_requests={}, backing_off_until=waiting)
    assert {item.study: item.budget for item in build_agenda(inputs, NOW).items} == {"light": 800}


def test_canary_check_has_a_budget_for_its_retries() -> None:
    inputs = make_inputs(study(), study("other"), canary_days={"garden": date(2026, 2, 3)})
    canary, *others = build_agenda(inputs, NOW).items
    assert (canary.requests, canary.budget) == (1, 4)
    assert sum(item.budget for item in others) == 996


def test_settled_days_come_before_comments_before_backfill() -> None:
    one = study(comments=study().comments)
    days = {date(2026, 2, n): PartitionStatus(open_units=4, estimate=Estimate(4, "known counts")) for n in (20, 27)}
    statuses = {("garden", "comments"): days, ("garden", "videos"): completed(date(2026, 2, 26))}
    agenda = build_agenda(make_inputs(one, remaining=40, partition_status=statuses), NOW)
    assert [(item.entity, item.reasons) for item in agenda.items] == [
        ("videos", ("settled",)),
        ("comments", ("new_comments",)),
        ("videos", ("backfill",)),
        ("comments", ("backfill",)),
    ]


def test_dead_day_waits_for_its_next_try_and_then_comes_first() -> None:
    dead = date(2026, 2, 5)
    days = date_range(date(2026, 2, 1), date(2026, 2, 27))
    waiting = {("garden", "videos"): {**completed(*days), dead: PartitionStatus(waiting_units=1, next_try=NOW + DAY)}}
    agenda = build_agenda(make_inputs(study(), partition_status=waiting), NOW)
    assert not agenda.items
    [backing_off] = [deferred for deferred in agenda.deferred if deferred.reason == "backing_off"]
    assert (backing_off.units, backing_off.until) == (1, NOW + DAY)
    due = {("garden", "videos"): {**completed(*days), dead: PartitionStatus(open_units=1, failed_before=True)}}
    [item] = build_agenda(make_inputs(study(), partition_status=due), NOW).items
    assert (item.partitions, item.reasons, item.recollect) == ((dead,), ("retry",), False)


@pytest.mark.parametrize(("age", "is_due"), [(9, False), (10, True), (29, True), (40, True)])
def test_day_is_collected_again_at_its_ages(age: int, is_due: bool) -> None:
    day = date(2026, 2, 1)
    one = study(end=day, reobserve_days=(10, 30))
    now = datetime(2026, 2, 2, tzinfo=UTC) + DAY * age
    statuses = {("garden", "videos"): completed(day, at=datetime(2026, 2, 5, tzinfo=UTC))}
    items = build_agenda(make_inputs(one, partition_status=statuses), now).items
    assert [(item.partitions, item.recollect, item.reasons) for item in items] == (
        [((day,), True, ("reobserve",))] * is_due
    )


def test_observation_at_an_age_counts_for_all_earlier_ages() -> None:
    day = date(2026, 2, 1)
    one = study(end=day, reobserve_days=(10, 30))
    late = {("garden", "videos"): completed(day, at=datetime(2026, 3, 5, tzinfo=UTC))}
    assert not build_agenda(make_inputs(one, partition_status=late), datetime(2026, 6, 1, tzinfo=UTC)).items


def test_failed_reobservation_waits_and_is_then_retried_as_a_reobservation() -> None:
    day, early = date(2026, 2, 1), datetime(2026, 2, 5, tzinfo=UTC)
    one = study(end=day, reobserve_days=(10,))
    waiting = {
        ("garden", "videos"): {
            day: PartitionStatus(waiting_units=1, next_try=NOW + DAY, last_complete_at=early, failed_before=True)
        }
    }
    assert not build_agenda(make_inputs(one, partition_status=waiting), NOW).items
    due = {("garden", "videos"): {day: PartitionStatus(open_units=1, last_complete_at=early, failed_before=True)}}
    [item] = build_agenda(make_inputs(one, partition_status=due), NOW).items
    assert item.recollect


def test_marking_a_collected_day_as_materialized_needs_no_quota() -> None:
    day = date(2026, 2, 1)
    collected = {("garden", "videos"): {day: PartitionStatus(last_complete_at=NOW, is_materialized=False)}}
    [item] = build_agenda(make_inputs(study(end=day), remaining=0, partition_status=collected), NOW).items
    assert (item.reasons, item.requests, item.partitions) == (("mark_materialized",), 0, (day,))


def test_running_entity_is_not_planned_and_its_requests_are_not_free() -> None:
    agenda = build_agenda(make_inputs(study(), remaining=10, running_requests={("garden", "videos"): 7}), NOW)
    assert not agenda.items
    assert {deferred.reason for deferred in agenda.deferred} == {"running", "too_fresh"}
    other = build_agenda(
        make_inputs(study(), study("other"), remaining=10, running_requests={("garden", "videos"): 7}), NOW
    )
    assert sum(item.requests for item in other.items) == 3


def test_entity_without_progress_backs_off_and_others_get_its_share() -> None:
    until = NOW + timedelta(minutes=30)
    agenda = build_agenda(
        make_inputs(study(), study("other"), remaining=10, backing_off_until={("garden", "videos"): until}), NOW
    )
    assert {item.study for item in agenda.items} == {"other"}
    assert [(one.study, one.until) for one in agenda.deferred if one.reason == "no_progress"] == [("garden", until)] * 2


def test_weights_divide_the_quota() -> None:
    agenda = build_agenda(make_inputs(study("heavy", quota_weight=3.0), study("light"), remaining=20), NOW)
    planned = {name: len(planned_partitions(agenda, name)) for name in ("heavy", "light")}
    assert planned == {"heavy": 15, "light": 5}


def test_study_that_used_more_today_gets_less() -> None:
    used = {"research": {"heavy": 10}}
    agenda = build_agenda(make_inputs(study("heavy"), study("light"), remaining=10, used_today=used), NOW)
    assert sum(item.requests for item in agenda.items if item.study == "light") == 9


def test_backfill_does_not_use_the_reserve() -> None:
    agenda = build_agenda(make_inputs(study(), remaining=6, quota_reserve=4), NOW)
    assert sum(item.requests for item in agenda.items) == 2


def test_accounts_leave_half_of_the_quota_to_backfill() -> None:
    one = study()
    week = week_of(TODAY)
    statuses = {
        ("garden", "users"): {week: PartitionStatus(open_units=500, estimate=Estimate(500, "one request each"))}
    }
    agenda = build_agenda(make_inputs(one, remaining=20, cap=100, partition_status=statuses), NOW)
    users = sum(item.requests for item in agenda.items if item.entity == "users")
    videos = sum(item.requests for item in agenda.items if item.entity == "videos")
    assert users == 10
    assert videos == 10
    [accounts] = [item for item in agenda.items if item.entity == "users"]
    assert accounts.is_partial


def test_day_that_needs_more_than_the_cap_is_started() -> None:
    one = study(end=date(2026, 2, 1))
    agenda = build_agenda(
        make_inputs(one, remaining=5, cap=5, hits_per_day={"garden": {date(2026, 1, 31): 950.0}}), NOW
    )
    [item] = agenda.items
    assert (item.requests, item.is_partial) == (5, True)


def test_day_that_fits_tomorrow_waits() -> None:
    one = study(end=date(2026, 2, 1))
    agenda = build_agenda(
        make_inputs(one, remaining=5, cap=40, hits_per_day={"garden": {date(2026, 1, 31): 950.0}}), NOW
    )
    assert not agenda.items
    assert [deferred.requests for deferred in agenda.deferred if deferred.reason == "quota"] == [10]


def test_follow_lists_use_their_own_pool() -> None:
    week = week_of(TODAY)
    statuses = {("garden", "followers"): {week: PartitionStatus(open_units=3, estimate=Estimate(90, "known counts"))}}
    [item] = build_agenda(make_inputs(study(), remaining=0, partition_status=statuses), NOW).items
    assert (item.entity, item.requests, item.reasons) == ("followers", 90, ("period",))


@pytest.mark.parametrize(("observe", "in_progress"), [("weekly", True), ("daily", False)])
def test_period_that_ends_today_comes_first(observe: str, in_progress: bool) -> None:
    now = datetime.combine(week_of(TODAY) + timedelta(days=6), time(20), UTC)
    period = now.date() if observe == "daily" else week_of(TODAY)
    statuses = {
        ("garden", "users"): {
            period: PartitionStatus(open_units=3, in_progress=in_progress, estimate=Estimate(3, "one request each"))
        }
    }
    one = study(observe=observe, end=date(2026, 2, 1))
    first = build_agenda(make_inputs(one, remaining=4, cap=40, partition_status=statuses), now).items[0]
    assert (first.entity, first.reasons, first.priority) == ("users", ("period_ending",), 0)


def test_plan_table_lists_runs_and_later_units_with_their_cost() -> None:
    later = DeferredUnits("gardening", "comments", 1200, "quota", datetime(2026, 3, 3, tzinfo=UTC), 340)
    run = PlannedRun(
        "gardening", "videos", (date(2026, 2, 1), date(2026, 2, 7)), False, ("backfill",), 7, 3, "no data yet"
    )
    assert plan_table(Agenda((run,), (later,)), datetime(2026, 3, 2, 9, tzinfo=UTC)).splitlines() == [
        "starts now        partitions              units   requests  reason",
        "gardening/videos  2026-02-01..2026-02-07      7  3 or more  earlier days",
        "",
        "later               from       units  requests  reason",
        "gardening/comments  00:00 UTC  1,200       340  the quota is used up",
    ]
