"""The forecast: remaining requests, the basis of the estimate, and the day on which they are done."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from research_assets.planning.forecast import add_recurring, forecast, forecast_canary_checks, forecast_pool
from research_assets.planning.types import AgendaInputs
from research_assets.quota.ledger import PoolState
from research_assets.study.spec import CommentRule, StudySpec, UserRule
from research_assets.units.estimates import CommentRequests, Estimate, estimate_list, estimate_search
from research_assets.units.partition_status import PartitionStatus
from research_assets_tests.collect.harness import START, days, study

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
ONLY_VIDEOS = study(end=date(2026, 2, 10), comments=CommentRule("none"), users=UserRule("none"))


def make_inputs(spec: StudySpec, **values: object) -> AgendaInputs:
    pools = {
        "research": PoolState("research", NOW.date(), 40, 30, 10, 0, None),
        "follow": PoolState("follow", NOW.date(), 20_000, 0, 20_000, 0, None),
    }
    return AgendaInputs(
        (spec,),
        **{"partition_status": {}, "hits_per_day": {"garden": {}}, "pools": pools, **values},  # type: ignore[arg-type]
    )


def test_estimate_of_days_uses_hits_of_nearby_days() -> None:
    [line] = forecast(make_inputs(ONLY_VIDEOS, hits_per_day={"garden": {START: 950.0}}), {}, NOW)
    assert (line.partitions, line.remaining, line.recurring_per_day) == (10, Estimate(95, "observed density"), 0.0)
    assert {estimate.requests for estimate in line.by_partition.values()} == {10}
    inputs = make_inputs(ONLY_VIDEOS)
    end = forecast_pool([line], inputs.pools["research"], NOW)
    # 10 requests remain today; the other 85 need three days at 40 per day.
    assert (end.requests, end.days, end.finish_day) == (95, 3, date(2026, 3, 5))


def test_forecast_includes_reobservations() -> None:
    spec = replace(ONLY_VIDEOS, reobserve_days=(10, 60))
    complete = {("garden", "videos"): {day: PartitionStatus(last_complete_at=NOW) for day in days(10)}}
    [line] = forecast(make_inputs(spec, partition_status=complete, hits_per_day={"garden": {START: 100.0}}), {}, NOW)
    assert (line.partitions, line.remaining.requests) == (0, 10)
    assert line.last_due_at == datetime(2026, 2, 11, tzinfo=UTC) + timedelta(days=60)
    assert forecast_pool([line], make_inputs(spec).pools["research"], NOW).finish_day == date(2026, 4, 12)


def test_study_without_data_has_an_unknown_cost() -> None:
    [line] = forecast(make_inputs(ONLY_VIDEOS), {}, NOW)
    assert line.unknown
    assert line.remaining.requests == 1


def test_estimate_of_comments_uses_known_counts_and_the_mean_of_collected_days() -> None:
    spec = replace(ONLY_VIDEOS, comments=CommentRule("all"))
    known = {
        ("garden", "videos"): {START: PartitionStatus(last_complete_at=NOW)},
        ("garden", "comments"): {START: PartitionStatus(open_units=4, estimate=Estimate(6, "known counts"))},
    }
    _, line = forecast(
        make_inputs(spec, partition_status=known, hits_per_day={"garden": {START: 9.0}}),
        {"garden": CommentRequests(5.0)},
        NOW,
    )
    assert line.remaining == Estimate(6 + 9 * 5, "observed pages")


def test_forecast_includes_the_lists_that_a_reobservation_opens() -> None:
    spec = replace(ONLY_VIDEOS, comments=CommentRule("all"), reobserve_days=(12, 60))
    # On 2026-03-02 the days up to 02-17 are 12 days old. The last of ten days was observed at 2 days, the others later.
    early = NOW - timedelta(days=12)
    collected = {day: PartitionStatus(last_complete_at=NOW) for day in days(9)}
    collected[date(2026, 2, 10)] = PartitionStatus(last_complete_at=early)
    complete = {("garden", "videos"): collected}
    inputs = make_inputs(spec, partition_status=complete, hits_per_day={"garden": {START: 100.0}})
    videos, comments = forecast(inputs, {"garden": CommentRequests(5.0)}, NOW)
    assert videos.after_reobservation == Estimate(1 + 10, "observed density")
    assert comments.remaining == comments.after_reobservation == Estimate(5, "first collection")
    _, comments = forecast(inputs, {"garden": CommentRequests(5.0, 3.0)}, NOW)
    assert comments.remaining == Estimate(3, "observed pages")
    without_end = replace(spec, end=None)
    _, comments = forecast(make_inputs(without_end), {"garden": CommentRequests(5.0, 3.0)}, NOW)
    assert comments.recurring_per_day == 8
    _, comments = forecast(make_inputs(replace(spec, reobserve_days=())), {"garden": CommentRequests(5.0, 3.0)}, NOW)
    assert comments.after_reobservation.requests == 0


def test_future_days_cost_as_much_as_known_days_and_uncounted_work_makes_a_lower_bound() -> None:
    spec = replace(ONLY_VIDEOS, comments=CommentRule("all"), users=UserRule("authors"))
    known = {
        ("garden", "videos"): dict.fromkeys(days(2), PartitionStatus(last_complete_at=NOW)),
        ("garden", "comments"): {
            day: PartitionStatus(open_units=4, estimate=Estimate(price, "known counts"))
            for day, price in zip(days(2), (30, 40), strict=True)
        },
        ("garden", "users"): {NOW.date(): PartitionStatus(open_units=9, estimate=Estimate(9, "one request each"))},
    }
    inputs = make_inputs(spec, partition_status=known, hits_per_day={"garden": {START: 9.0}})
    _, comments, users = forecast(inputs, {}, NOW)
    assert comments.remaining == Estimate(70 + 8 * 35, "observed density")
    assert (comments.is_lower_bound, users.is_lower_bound) == (True, True)
    assert comments.unknown
    _, comments, _ = forecast(inputs, {"garden": CommentRequests(5.0)}, NOW)
    assert not comments.is_lower_bound


def test_pool_is_never_done_if_periods_use_the_whole_quota() -> None:
    spec = replace(ONLY_VIDEOS, users=UserRule("panel"), panel=("a",))
    lines = add_recurring(forecast(make_inputs(spec), {}, NOW), [spec], {("garden", "users"): 700.0})
    end = forecast_pool(
        [replace(line, remaining=Estimate(50, "observed density")) for line in lines],
        make_inputs(spec).pools["research"],
        NOW,
    )
    assert end.finish_day is None


def test_forecast_counts_the_remaining_canary_checks() -> None:
    without_end = replace(ONLY_VIDEOS, end=None)
    [line] = forecast_canary_checks(make_inputs(without_end), NOW)
    assert (line.remaining.requests, line.recurring_per_day, line.last_due_at) == (0, 1 / 7, None)
    [line] = forecast_canary_checks(make_inputs(without_end, canary_days={"garden": START}), NOW)
    assert line.remaining == Estimate(1, "one request each")
    # Its last day is 30 days old on 2026-03-13. Checks are due on 03-02 and 03-09, and one after the end.
    observed = replace(ONLY_VIDEOS, reobserve_days=(30,))
    [line] = forecast_canary_checks(make_inputs(observed), NOW)
    assert (line.remaining.requests, line.recurring_per_day, line.partitions) == (3, 0.0, 0)
    [line] = forecast_canary_checks(make_inputs(observed, last_canary_check={"garden": NOW}), NOW)
    assert line.remaining.requests == 2
    after_end = NOW + timedelta(days=14)
    assert forecast_canary_checks(make_inputs(observed, last_canary_check={"garden": after_end}), after_end) == []


def test_estimate_of_a_list_uses_counts_then_pages_then_defaults() -> None:
    assert estimate_list("comments", 250, None).requests == 3
    assert estimate_list("comments", 250, None, ceiling=100).requests == 1
    assert estimate_list("followers", 80_000, None).requests == 50
    assert estimate_list("liked_videos", None, 4.5) == Estimate(4.5, "observed pages")
    assert estimate_list("playlists", 6_001, None) == Estimate(61, "known counts")
    assert estimate_list("playlists", None, None) == Estimate(1, "no data yet")
    assert estimate_list("liked_videos", None, None).basis == "no data yet"
    assert estimate_list("pinned_videos", None, None) == Estimate(1, "one request each")
    assert estimate_search([], {}).requests == 0
