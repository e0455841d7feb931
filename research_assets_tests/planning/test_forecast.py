"""What is still to be paid, on what that is founded, and when it is done."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from research_assets.planning.coverage_summary import coverage_bar
from research_assets.planning.forecast import add_recurring, forecast, forecast_canary_checks, forecast_pool
from research_assets.planning.types import AgendaInputs
from research_assets.quota.ledger import PoolState
from research_assets.study.spec import CommentRule, StudySpec, UserRule
from research_assets.units.coverage import UnitState
from research_assets.units.estimates import Estimate, estimate_list, estimate_search
from research_assets.units.partition_status import PartitionStatus
from research_assets_tests.collect.harness import START, days, study

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
ONLY_VIDEOS = study(end=date(2026, 2, 10), comments=CommentRule("none"), users=UserRule("none"))


def facts(spec: StudySpec, **known: object) -> AgendaInputs:
    pools = {
        "research": PoolState("research", NOW.date(), 40, 30, 10, 0, None),
        "follow": PoolState("follow", NOW.date(), 20_000, 0, 20_000, 0, None),
    }
    return AgendaInputs(
        (spec,), **{"partition_status": {}, "hits_per_day": {"garden": {}}, "pools": pools, **known}  # type: ignore[arg-type]
    )


def test_days_cost_what_their_neighbours_had() -> None:
    [line] = forecast(facts(ONLY_VIDEOS, hits_per_day={"garden": {START: 950.0}}), {}, NOW)
    assert (line.partitions, line.remaining, line.recurring_per_day) == (10, Estimate(95, "observed density"), 0.0)
    assert {estimate.requests for estimate in line.by_partition.values()} == {10}
    read = facts(ONLY_VIDEOS)
    end = forecast_pool([line], read.pools["research"], NOW)
    # 10 today, then 85 at 40 a day.
    assert (end.requests, end.days, end.finish_day) == (95, 3, date(2026, 3, 5))


def test_looks_again_are_counted_too() -> None:
    spec = replace(ONLY_VIDEOS, reobserve_days=(10, 60))
    held = {("garden", "videos"): {day: PartitionStatus(last_complete_at=NOW) for day in days(10)}}
    [line] = forecast(facts(spec, partition_status=held, hits_per_day={"garden": {START: 100.0}}), {}, NOW)
    assert (line.partitions, line.remaining.requests) == (0, 10)
    assert line.last_due_at == datetime(2026, 2, 11, tzinfo=UTC) + timedelta(days=60)
    assert forecast_pool([line], facts(spec).pools["research"], NOW).finish_day == date(2026, 4, 12)


def test_a_study_not_begun_says_that_nothing_is_known() -> None:
    [line] = forecast(facts(ONLY_VIDEOS), {}, NOW)
    assert line.unknown
    assert line.remaining.requests == 1


def test_comments_cost_known_counts_and_what_days_took_so_far() -> None:
    spec = replace(ONLY_VIDEOS, comments=CommentRule("all"))
    known = {
        ("garden", "videos"): {START: PartitionStatus(last_complete_at=NOW)},
        ("garden", "comments"): {START: PartitionStatus(open_units=4, estimate=Estimate(6, "known counts"))},
    }
    _, line = forecast(facts(spec, partition_status=known, hits_per_day={"garden": {START: 9.0}}), {"garden": 5.0}, NOW)
    assert line.remaining == Estimate(6 + 9 * 5, "observed pages")


def test_days_to_come_cost_what_known_ones_do_and_what_nobody_can_count_is_said() -> None:
    spec = replace(ONLY_VIDEOS, comments=CommentRule("all"), users=UserRule("authors"))
    known = {
        ("garden", "videos"): dict.fromkeys(days(2), PartitionStatus(last_complete_at=NOW)),
        ("garden", "comments"): {
            day: PartitionStatus(open_units=4, estimate=Estimate(price, "known counts"))
            for day, price in zip(days(2), (30, 40), strict=True)
        },
        ("garden", "users"): {NOW.date(): PartitionStatus(open_units=9, estimate=Estimate(9, "one request each"))},
    }
    read = facts(spec, partition_status=known, hits_per_day={"garden": {START: 9.0}})
    _, comments, users = forecast(read, {}, NOW)
    assert comments.remaining == Estimate(70 + 8 * 35, "observed density")
    assert (comments.is_lower_bound, users.is_lower_bound) == (True, True)
    assert comments.unknown
    _, comments, _ = forecast(read, {"garden": 5.0}, NOW)
    assert not comments.is_lower_bound


def test_periods_recur_and_may_take_all() -> None:
    spec = replace(ONLY_VIDEOS, users=UserRule("panel"), panel=("a",))
    lines = add_recurring(forecast(facts(spec), {}, NOW), [spec], {("garden", "users"): 700.0})
    end = forecast_pool(
        [replace(line, remaining=Estimate(50, "observed density")) for line in lines],
        facts(spec).pools["research"],
        NOW,
    )
    assert end.finish_day is None


def test_looks_for_known_videos_are_counted_as_long_as_there_are_some() -> None:
    without_end = replace(ONLY_VIDEOS, end=None)
    [line] = forecast_canary_checks(facts(without_end), NOW)
    assert (line.remaining.requests, line.recurring_per_day, line.last_due_at) == (0, 1 / 7, None)
    [line] = forecast_canary_checks(facts(without_end, canary_days={"garden": START}), NOW)
    assert line.remaining == Estimate(1, "one request each")
    # Its last day is 30 days old on 2026-03-13: looked for on 03-02 and 03-09, and once more when it is over.
    observed = replace(ONLY_VIDEOS, reobserve_days=(30,))
    [line] = forecast_canary_checks(facts(observed), NOW)
    assert (line.remaining.requests, line.recurring_per_day, line.partitions) == (3, 0.0, 0)
    [line] = forecast_canary_checks(facts(observed, last_canary_check={"garden": NOW}), NOW)
    assert line.remaining.requests == 2
    over = NOW + timedelta(days=14)
    assert forecast_canary_checks(facts(observed, last_canary_check={"garden": over}), over) == []


def test_estimates_of_lists() -> None:
    assert estimate_list("comments", 250, None).requests == 3
    assert estimate_list("comments", 250, None, ceiling=100).requests == 1
    assert estimate_list("followers", 80_000, None).requests == 50
    assert estimate_list("liked_videos", None, 4.5) == Estimate(4.5, "observed pages")
    assert estimate_list("liked_videos", None, None).basis == "no data yet"
    assert estimate_list("pinned_videos", None, None) == Estimate(1, "one request each")
    assert estimate_search([], {}).requests == 0


def test_a_bar_shows_the_worst_of_what_it_joins() -> None:
    assert coverage_bar(["complete", "quarantined", "not_asked"], 60) == "█!·"
    many: list[UnitState] = [*["complete"] * 99, "quarantined"]  # type: ignore[list-item]
    assert coverage_bar(many, 50) == "█" * 49 + "!"
    assert coverage_bar([], 10) == ""
