"""Properties of every agenda: it fits the quota, follows the weights, and accounts for every open unit."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from research_assets.clock import week_of
from research_assets.planning.agenda import build_agenda
from research_assets.planning.types import AgendaInputs, PlannedRun
from research_assets.study.spec import StudySpec
from research_assets.tiktok.endpoints import BY_ENTITY
from research_assets.units.estimates import Estimate
from research_assets.units.partition_status import PartitionStatus
from research_assets_tests.collect.harness import QUERY, study
from research_assets_tests.planning.agenda_inputs import DAY, NOW, TODAY, date_range, make_inputs, pool
from research_assets_tests.profiles import sized

few = sized(40, 1000)
times = st.integers(-40 * 24, 40 * 24).map(lambda hours: NOW + timedelta(hours=hours))


@st.composite
def partition_status(draw: st.DrawFn, costs: bool) -> PartitionStatus:
    kind = draw(st.sampled_from(["open", "backing_off", "done", "both"]))
    units = draw(st.integers(1, 40))
    return PartitionStatus(
        open_units=units if kind in ("open", "both") else 0,
        waiting_units=draw(st.integers(1, 5)) if kind in ("backing_off", "both") else 0,
        next_try=NOW + DAY if kind in ("backing_off", "both") else None,
        last_complete_at=draw(times) if kind == "done" else None,
        failed_before=draw(st.booleans()),
        in_progress=draw(st.booleans()),
        is_materialized=draw(st.booleans()),
        estimate=Estimate(float(units), "known counts") if costs and kind in ("open", "both") else Estimate(),
    )


@st.composite
def agenda_inputs(draw: st.DrawFn) -> AgendaInputs:
    names = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True))
    studies, statuses, hits_per_day = [], {}, {}
    for name in names:
        start = TODAY - DAY * draw(st.integers(0, 50))
        one = StudySpec(
            name,
            start,
            QUERY,
            end=draw(st.sampled_from([None, start, start + 20 * DAY, start + 60 * DAY])),
            settle_days=draw(st.integers(0, 5)),
            reobserve_days=draw(st.sampled_from([(), (10,), (10, 30)])),
            quota_weight=draw(st.sampled_from([0.5, 1.0, 2.0])),
        )
        studies.append(one)
        days = draw(st.dictionaries(st.integers(0, 50), partition_status(costs=False), max_size=12))
        statuses[name, "videos"] = {
            start + DAY * n: replace(one, open_units=min(1, one.open_units)) for n, one in days.items()
        }
        statuses[name, "comments"] = {
            start + DAY * n: replace(one, unconfirmed_units=draw(st.sampled_from([0, 0, 3])))
            for n, one in draw(st.dictionaries(st.integers(0, 50), partition_status(costs=True), max_size=6)).items()
        }
        statuses[name, "users"] = {week_of(TODAY): draw(partition_status(costs=True))}
        statuses[name, "followers"] = {week_of(TODAY): draw(partition_status(costs=True))}
        hits_per_day[name] = {start: float(hits)} if (hits := draw(st.integers(0, 900))) else {}
    keys = st.sampled_from(sorted(statuses))
    cap = draw(st.integers(1, 60))
    return AgendaInputs(
        studies=studies,
        partition_status=statuses,
        hits_per_day=hits_per_day,
        pools={
            "research": pool(draw(st.integers(0, cap)), cap),
            "follow": pool(draw(st.integers(0, 50)), 50, "follow"),
        },
        used_today={"research": draw(st.dictionaries(st.sampled_from(names), st.integers(0, 30)))},
        running_requests=draw(st.dictionaries(keys, st.integers(0, 20), max_size=2)),
        backing_off_until=draw(st.dictionaries(keys, st.just(NOW + DAY), max_size=1)),
        quota_reserve=draw(st.integers(0, 10)),
    )


def by_pool(items: tuple[PlannedRun, ...]) -> Mapping[str, int]:
    spent = {"research": 0, "follow": 0}
    for item in items:
        spent[BY_ENTITY[item.entity].pool] += item.requests
    return spent


@few
@given(agenda_inputs())
def test_agenda_never_exceeds_the_free_requests(inputs: AgendaInputs) -> None:
    agenda = build_agenda(inputs, NOW)
    for name, spent in by_pool(agenda.items).items():
        expected = sum(n for (_, entity), n in inputs.running_requests.items() if BY_ENTITY[entity].pool == name)
        assert spent <= max(0, inputs.pools[name].remaining - expected)


def free_requests(inputs: AgendaInputs, name: str) -> int:
    budgeted = sum(n for (_, entity), n in inputs.running_requests.items() if BY_ENTITY[entity].pool == name)
    return max(0, inputs.pools[name].remaining - budgeted)


@few
@given(agenda_inputs())
def test_budgets_of_active_and_planned_runs_never_exceed_the_free_requests(inputs: AgendaInputs) -> None:
    items = build_agenda(inputs, NOW).items
    for name in inputs.pools:
        of_pool = [item for item in items if BY_ENTITY[item.entity].pool == name]
        assert all(item.budget >= item.requests for item in of_pool)
        assert sum(item.budget for item in of_pool) <= free_requests(inputs, name)
        backfill = sum(item.budget for item in of_pool if item.reasons == ("backfill",))
        reserve = inputs.quota_reserve if name == "research" else 0
        assert backfill <= max(0, free_requests(inputs, name) - reserve)


@few
@given(agenda_inputs())
def test_one_study_with_work_may_use_everything_that_is_free(inputs: AgendaInputs) -> None:
    inputs = replace(inputs, studies=inputs.studies[:1], canary_days={})
    items = build_agenda(inputs, NOW).items
    for name in inputs.pools:
        of_pool = [item for item in items if BY_ENTITY[item.entity].pool == name and not item.needs_no_run]
        if of_pool and not any(BY_ENTITY[entity].pool == name for _, entity in inputs.running_requests):
            is_backfill = all(set(item.reasons) == {"backfill"} for item in of_pool)
            reserve = inputs.quota_reserve if name == "research" and is_backfill else 0
            assert sum(item.budget for item in of_pool) == max(0, free_requests(inputs, name) - reserve)


@few
@given(agenda_inputs())
def test_agenda_plans_no_settled_waiting_running_or_too_fresh_partition(inputs: AgendaInputs) -> None:
    studies = {one.name: one for one in inputs.studies}
    seen = set()
    for item in build_agenda(inputs, NOW).items:
        one = studies[item.study]
        assert (item.study, item.entity) not in inputs.running_requests
        assert (item.study, item.entity) not in inputs.backing_off_until
        if item.entity == "videos" and not item.recollect:
            known = inputs.partition_status[item.study, "videos"]
            # A run collects every day from its first to its last, so no other day between them may be open.
            for day in set(date_range(item.partitions[0], item.partitions[-1])) - set(item.partitions):
                assert not known.get(day, PartitionStatus(open_units=1)).open_units or known[day].last_complete_at
        else:
            assert len(date_range(item.partitions[0], item.partitions[-1])) == len(item.partitions)
        for day in item.partitions:
            assert (item.entity, item.study, day) not in seen
            seen.add((item.entity, item.study, day))
            one_day = inputs.partition_status[item.study, item.entity].get(day)
            if item.entity == "videos":
                assert one.start <= day <= min(one.end or TODAY, TODAY)
                assert datetime(day.year, day.month, day.day, tzinfo=UTC) + DAY * (1 + one.settle_days) <= NOW
                one_day = one_day or PartitionStatus(open_units=1)
            assert one_day is not None
            has_waiting_units = one_day.waiting_units or one_day.unconfirmed_units
            assert one_day.open_units or (not has_waiting_units and (item.recollect or not one_day.is_materialized))
            if item.recollect and not one_day.open_units:
                assert one_day.last_complete_at is not None
                assert one.reobserve_days


@few
@given(agenda_inputs())
def test_agenda_does_not_depend_on_the_order_of_its_inputs(inputs: AgendaInputs) -> None:
    reordered = replace(
        inputs,
        partition_status={key: dict(reversed(list(days.items()))) for key, days in inputs.partition_status.items()},
    )
    assert build_agenda(inputs, NOW) == build_agenda(reordered, NOW)


@few
@given(agenda_inputs())
def test_agenda_plans_or_defers_every_open_unit(inputs: AgendaInputs) -> None:
    agenda = build_agenda(inputs, NOW)
    for (name, entity), days in inputs.partition_status.items():
        if entity == "videos":
            continue
        reported = sum(item.units for item in agenda.items if (item.study, item.entity) == (name, entity))
        reported += sum(
            w.units
            for w in agenda.deferred
            if (w.study, w.entity) == (name, entity) and w.reason not in ("backing_off", "unconfirmed")
        )
        unconfirmed = [w.units for w in agenda.deferred if (w.study, w.reason) == (name, "unconfirmed")]
        if entity == "comments":
            assert sum(unconfirmed) == sum(one.unconfirmed_units for one in days.values())
        is_exhausted = inputs.pools[BY_ENTITY[entity].pool].available_at is not None
        assert reported == sum(
            one.open_units + one.waiting_units * (one.in_progress and is_exhausted) for one in days.values()
        )


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 5).map(float), min_size=2),
    st.integers(0, 100),
)
def test_planned_requests_follow_the_weights_at_equal_demand(weights: dict[str, float], remaining: int) -> None:
    studies = [study(name, start=TODAY, quota_weight=weight) for name, weight in sorted(weights.items())]
    # Each partition needs one request; together they need more than the pool has.
    statuses = {
        (one.name, "comments"): {
            one.start - DAY * n: PartitionStatus(open_units=1, estimate=Estimate(1, "known counts"))
            for n in range(10, 120)
        }
        for one in studies
    }
    agenda = build_agenda(make_inputs(*studies, remaining=remaining, partition_status=statuses), NOW)
    spent = {name: sum(item.requests for item in agenda.items if item.study == name) for name in weights}
    assert sum(spent.values()) == remaining
    sum_of_weights = sum(weights.values())
    for name, weight in weights.items():
        assert abs(spent[name] - remaining * weight / sum_of_weights) <= len(weights)


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 5).map(float), min_size=2),
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 100)),
    st.integers(4, 200),
)
def test_budgets_without_data_follow_the_weights_of_the_day(
    weights: dict[str, float], used: dict[str, int], remaining: int
) -> None:
    studies = [study(name, start=TODAY - 20 * DAY, quota_weight=weight) for name, weight in sorted(weights.items())]
    used = {name: n for name, n in used.items() if name in weights}
    inputs = make_inputs(*studies, remaining=remaining, hits_per_day={}, used_today={"research": used})
    items = build_agenda(inputs, NOW).items
    budgets = {name: sum(item.budget for item in items if item.study == name) for name in weights}
    assert sum(budgets.values()) == remaining
    levels = {name: (used.get(name, 0) + budgets[name]) / weight for name, weight in weights.items()}
    # No study gets more than its planned request while another one is below its level of use.
    lowest = min(levels.values())
    for name, weight in weights.items():
        assert budgets[name] <= 2 or levels[name] <= lowest + len(weights) * (1 + 1 / weight)
