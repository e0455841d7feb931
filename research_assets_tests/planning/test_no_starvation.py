"""No starvation: every day is collected after a bounded number of quota days, at any cost and any competing demand.

The tests build the agenda tick by tick over many quota days and simulate its runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from research_assets.clock import next_midnight
from research_assets.planning.agenda import build_agenda
from research_assets.planning.types import AgendaInputs, PlannedRun
from research_assets.quota.ledger import PoolState
from research_assets.study.spec import StudySpec
from research_assets.units.estimates import Estimate
from research_assets.units.partition_status import PartitionStatus
from research_assets_tests.collect.harness import QUERY
from research_assets_tests.profiles import sized

NOW = datetime(2026, 3, 2, 0, 5, tzinfo=UTC)
FIRST = date(2026, 1, 1)
DAY = timedelta(days=1)
Need = dict[tuple[str, str, date], int]


@dataclass
class SimulatedStudies:
    """Studies whose days each need a number of requests (`need`); a study in `live` gets a new day every day.

    Estimates are the need divided by `underestimate`, so that runs may need more than is planned for them.
    """

    cap: int
    weights: Mapping[str, float]
    need: Need
    live: Mapping[str, int] = field(default_factory=dict)
    now: datetime = NOW
    underestimate: int = 1

    def __post_init__(self) -> None:
        self.remaining, self.open = self.cap, dict(self.need)
        self.used: dict[str, int] = {}
        self.used_on_first_day: dict[str, int] = {}
        self.n_runs = 0

    def inputs(self) -> AgendaInputs:
        """Return the inputs of the agenda."""
        statuses: dict[tuple[str, str], dict[date, PartitionStatus]] = {}
        hits_per_day: dict[str, dict[date, float]] = {name: {} for name in (*self.weights, *self.live)}
        for (name, entity, day), need in self.need.items():
            remaining = self.open[name, entity, day]
            in_progress = 0 < remaining < need
            one = PartitionStatus(
                open_units=int(remaining > 0),
                in_progress=in_progress,
                last_complete_at=None if remaining else self.now,
            )
            if entity == "comments":
                one = PartitionStatus(
                    open_units=remaining,
                    in_progress=in_progress,
                    estimate=Estimate(-(-remaining // self.underestimate), "known counts"),
                    last_complete_at=one.last_complete_at,
                )
            statuses.setdefault((name, entity), {})[day] = one
            if entity == "videos":
                hits_per_day[name][day] = 100.0 * -(-need // self.underestimate)
        last = {name: max(day for other, _, day in self.need if other == name) for name in hits_per_day}
        studies = [
            StudySpec(
                name,
                min(hits_per_day[name]),
                QUERY,
                end=last[name],
                settle_days=0,
                quota_weight=self.weights.get(name, 1.0),
            )
            for name in hits_per_day
        ]
        available_at = None if self.remaining else next_midnight(self.now)
        pool = PoolState(
            "research", self.now.date(), self.cap, self.cap - self.remaining, self.remaining, 0, available_at
        )
        follow = PoolState("follow", self.now.date(), 1, 0, 1, 0, None)
        return AgendaInputs(
            studies, statuses, hits_per_day, {"research": pool, "follow": follow}, used_today={"research": self.used}
        )

    def run_agenda(self, item: PlannedRun) -> None:
        """Simulate a run: use its budget for its days, the newest first."""
        assert item.budget <= self.remaining, "the budgets of all runs together fit the pool"
        budget, self.n_runs = item.budget, self.n_runs + 1
        for day in sorted(item.partitions, reverse=True):
            key = item.study, item.entity, day
            done = min(budget, self.open.get(key, 0))
            self.open[key] = self.open.get(key, 0) - done
            budget, self.remaining = budget - done, self.remaining - done
            self.used[item.study] = self.used.get(item.study, 0) + done

    def next_day(self) -> None:
        """Build agendas and run them until one is empty, then go to the next day."""
        for name, need in self.live.items():
            yesterday = self.now.date() - DAY
            self.need[name, "videos", yesterday] = self.open[name, "videos", yesterday] = need
        for _ in range(60):
            items = build_agenda(self.inputs(), self.now).items
            if not items:
                break
            for item in items:
                self.run_agenda(item)
        else:
            raise AssertionError("the agenda never becomes empty")
        self.used_on_first_day = self.used_on_first_day or self.used
        self.now, self.remaining, self.used = self.now + DAY, self.cap, {}

    @property
    def incomplete(self) -> list[tuple[str, str, date]]:
        """The open days of all studies that get no new days."""
        return [key for key, remaining in self.open.items() if remaining and key[0] not in self.live]


def done_after(studies: SimulatedStudies, max_days: int) -> int:
    """Return the number of quota days until all days are collected."""
    for number in range(1, max_days + 1):
        studies.next_day()
        if not studies.incomplete:
            return number
    raise AssertionError(f"after {max_days} days still open: {studies.incomplete}")


def videos(name: str, *needs: int) -> Need:
    return {(name, "videos", FIRST + DAY * i): need for i, need in enumerate(needs)}


def test_day_that_needs_more_than_the_quota_takes_several_days() -> None:
    assert done_after(SimulatedStudies(10, {"a": 1.0}, videos("a", 35)), 10) == 4


def test_day_that_waits_for_the_next_quota_window_starts_with_it() -> None:
    studies = SimulatedStudies(10, {"a": 1.0}, videos("a", 4, 8))
    studies.next_day()
    # The newest day comes first. The other needs more than the rest of today's quota, but less than a full quota.
    assert studies.incomplete == [("a", "videos", FIRST)]
    studies.next_day()
    assert not studies.incomplete


def test_daily_new_work_does_not_starve_a_large_day() -> None:
    assert done_after(SimulatedStudies(10, {"a": 1.0}, videos("a", 9), live={"daily": 3}), 10) <= 3


def test_day_larger_than_the_share_of_its_study_is_started() -> None:
    studies = SimulatedStudies(10, {"a": 1.0, "b": 1.0}, videos("a", 8) | videos("b", *[1] * 80))
    for _ in range(4):
        studies.next_day()
    assert not studies.open["a", "videos", FIRST]


def test_new_comments_that_need_more_than_backfill_leaves_are_started() -> None:
    yesterday = NOW.date() - DAY
    need = {("a", "videos", yesterday): 0, ("a", "comments", yesterday): 8} | videos("b", *[1] * 80)
    studies = SimulatedStudies(10, {"a": 1.0, "b": 1.0}, need)
    studies.next_day()
    assert studies.open["a", "comments", yesterday] == 3, "half of the quota is theirs"
    studies.next_day()
    assert not studies.open["a", "comments", yesterday]


def test_low_estimates_do_not_divide_the_work_into_many_runs() -> None:
    alone = SimulatedStudies(100, {"a": 1.0}, videos("a", 90), underestimate=90)
    alone.next_day()
    assert (alone.incomplete, alone.n_runs) == ([], 1)
    two = SimulatedStudies(100, {"a": 1.0, "b": 1.0}, videos("a", 90) | videos("b", 90), underestimate=90)
    two.next_day()
    assert two.used_on_first_day == {"a": 50, "b": 50}
    assert two.n_runs == 2
    two.next_day()
    assert (two.incomplete, two.n_runs) == ([], 4)


@st.composite
def simulated_studies(draw: st.DrawFn) -> SimulatedStudies:
    cap = draw(st.integers(4, 20))
    need: Need = {}
    weights = {}
    for name in draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True)):
        weights[name] = draw(st.sampled_from([0.5, 1.0, 3.0]))
        needs = draw(st.lists(st.integers(1, 2 * cap), min_size=1, max_size=5))
        need |= videos(name, *needs)
        need[name, "comments", FIRST] = draw(st.integers(0, 2 * cap))
    live = {"daily": draw(st.integers(1, cap // 2))} if draw(st.booleans()) else {}
    return SimulatedStudies(cap, weights, need, live, underestimate=draw(st.sampled_from([1, 3, 20])))


@sized(15, 500)
@given(simulated_studies())
def test_all_days_are_complete_after_a_bounded_time(studies: SimulatedStudies) -> None:
    # Recurring work uses half of the quota at most; every quota window must make progress.
    free = studies.cap - sum(studies.live.values())
    assert done_after(studies, 3 + 2 * -(-sum(studies.need.values()) // free))
