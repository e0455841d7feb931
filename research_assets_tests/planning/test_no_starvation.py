"""Whatever the days cost and whoever else wants the quota: each is done in the end, and none waits for ever.

The agenda is asked tick by tick over many quota days, and what it asks for is done on paper.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from research_assets.clock import next_midnight
from research_assets.planning.agenda import build_agenda
from research_assets.planning.types import AgendaInputs, PlannedRun
from research_assets.quota.ledger import PoolState
from research_assets.study.spec import StudySpec
from research_assets.units.estimates import Estimate
from research_assets.units.partition_status import PartitionStatus
from research_assets_tests.collect.harness import QUERY

NOW = datetime(2026, 3, 2, 0, 5, tzinfo=UTC)
FIRST = date(2026, 1, 1)
DAY = timedelta(days=1)
Need = dict[tuple[str, str, date], int]


@dataclass
class SimulatedStudies:
    """Studies whose days need so many requests each, by study, entity and day; `live` ones get a new day each day."""

    cap: int
    shares: Mapping[str, float]
    price: Need
    live: Mapping[str, int] = field(default_factory=dict)
    now: datetime = NOW

    def __post_init__(self) -> None:
        self.left, self.open = self.cap, dict(self.price)
        self.used: dict[str, int] = {}

    def facts(self) -> AgendaInputs:
        """How things stand, with every price known."""
        statuses: dict[tuple[str, str], dict[date, PartitionStatus]] = {}
        density: dict[str, dict[date, float]] = {name: {} for name in (*self.shares, *self.live)}
        for (name, entity, day), price in self.price.items():
            rest = self.open[name, entity, day]
            begun = 0 < rest < price
            one = PartitionStatus(
                open_units=int(rest > 0), in_progress=begun, last_complete_at=None if rest else self.now
            )
            if entity == "comments":
                one = PartitionStatus(
                    open_units=rest,
                    in_progress=begun,
                    estimate=Estimate(rest, "known counts"),
                    last_complete_at=one.last_complete_at,
                )
            statuses.setdefault((name, entity), {})[day] = one
            if entity == "videos":
                density[name][day] = 100.0 * price
        last = {name: max(day for other, _, day in self.price if other == name) for name in density}
        studies = [
            StudySpec(
                name, min(density[name]), QUERY, end=last[name], settle_days=0, quota_weight=self.shares.get(name, 1.0)
            )
            for name in density
        ]
        opens = None if self.left else next_midnight(self.now)
        pool = PoolState("research", self.now.date(), self.cap, self.cap - self.left, self.left, 0, opens)
        follow = PoolState("follow", self.now.date(), 1, 0, 1, 0, None)
        return AgendaInputs(
            studies, statuses, density, {"research": pool, "follow": follow}, used_today={"research": self.used}
        )

    def run_agenda(self, item: PlannedRun) -> None:
        """Do what an item asks for, the newest day first, as far as its requests go."""
        budget = min(item.requests, self.left)
        for day in sorted(item.partitions, reverse=True):
            key = item.study, item.entity, day
            done = min(budget, self.open.get(key, 0))
            self.open[key] = self.open.get(key, 0) - done
            budget, self.left = budget - done, self.left - done
            self.used[item.study] = self.used.get(item.study, 0) + done

    def next_day(self) -> None:
        """Tick until nothing more is asked, then let midnight come."""
        for name, price in self.live.items():
            yesterday = self.now.date() - DAY
            self.price[name, "videos", yesterday] = self.open[name, "videos", yesterday] = price
        for _ in range(60):
            items = build_agenda(self.facts(), self.now).items
            if not items:
                break
            for item in items:
                self.run_agenda(item)
        else:
            raise AssertionError("the agenda asks for ever")
        self.now, self.left, self.used = self.now + DAY, self.cap, {}

    @property
    def lacking(self) -> list[tuple[str, str, date]]:
        """What is still open, but for the days of the live studies."""
        return [key for key, rest in self.open.items() if rest and key[0] not in self.live]


def done_after(paper: SimulatedStudies, most: int) -> int:
    """The number of quota days until all is done."""
    for number in range(1, most + 1):
        paper.next_day()
        if not paper.lacking:
            return number
    raise AssertionError(f"after {most} days there still wait: {paper.lacking}")


def videos(name: str, *prices: int) -> Need:
    return {(name, "videos", FIRST + DAY * i): price for i, price in enumerate(prices)}


def test_a_day_that_costs_more_than_the_quota_goes_on_over_several_days() -> None:
    assert done_after(SimulatedStudies(10, {"a": 1.0}, videos("a", 35)), 10) == 4


def test_work_that_waits_for_the_window_begins_with_it() -> None:
    paper = SimulatedStudies(10, {"a": 1.0}, videos("a", 4, 8))
    paper.next_day()
    # The newest first; the other costs more than was left, and less than a day's quota.
    assert paper.lacking == [("a", "videos", FIRST)]
    paper.next_day()
    assert not paper.lacking


def test_what_is_due_each_day_leaves_a_large_day_not_waiting_for_ever() -> None:
    assert done_after(SimulatedStudies(10, {"a": 1.0}, videos("a", 9), live={"new_comments": 3}), 10) <= 3


def test_a_day_larger_than_its_studys_share_is_begun() -> None:
    paper = SimulatedStudies(10, {"a": 1.0, "b": 1.0}, videos("a", 8) | videos("b", *[1] * 80))
    for _ in range(4):
        paper.next_day()
    assert not paper.open["a", "videos", FIRST]


def test_new_comments_that_cost_more_than_backfill_leaves_them_are_begun() -> None:
    yesterday = NOW.date() - DAY
    need = {("a", "videos", yesterday): 0, ("a", "comments", yesterday): 8} | videos("b", *[1] * 80)
    paper = SimulatedStudies(10, {"a": 1.0, "b": 1.0}, need)
    paper.next_day()
    assert paper.open["a", "comments", yesterday] == 3, "half of the day is theirs"
    paper.next_day()
    assert not paper.open["a", "comments", yesterday]


@st.composite
def simulated_studies(draw: st.DrawFn) -> SimulatedStudies:
    cap = draw(st.integers(4, 20))
    need: Need = {}
    shares = {}
    for name in draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True)):
        shares[name] = draw(st.sampled_from([0.5, 1.0, 3.0]))
        prices = draw(st.lists(st.integers(1, 2 * cap), min_size=1, max_size=5))
        need |= videos(name, *prices)
        need[name, "comments", FIRST] = draw(st.integers(0, 2 * cap))
    live = {"new_comments": draw(st.integers(1, cap // 2))} if draw(st.booleans()) else {}
    return SimulatedStudies(cap, shares, need, live)


@hypothesis_settings(max_examples=25)
@given(simulated_studies())
def test_everything_is_done_in_the_end(paper: SimulatedStudies) -> None:
    # What recurs takes half of a day at most; no window may be left without progress.
    free = paper.cap - sum(paper.live.values())
    assert done_after(paper, 3 + 2 * -(-sum(paper.price.values()) // free))
