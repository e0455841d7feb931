"""Properties of the ledger and the fair shares for any order of operations."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import floor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from research_assets.quota.fair_share import StudyDemand, fair_shares, may_reserve
from research_assets.quota.ledger import DEMAND_TTL, Ledger, QuotaExhausted
from research_assets_tests.conftest import FakeClock
from research_assets_tests.profiles import sized

CAP = 12
START = datetime(2026, 3, 2, 22, 0, tzinfo=UTC)
STUDIES = st.sampled_from("abc")


class LedgerMachine(RuleBasedStateMachine):
    """Ledgers of two processes over one file, with different clocks and an API that may refuse any request."""

    folders: pytest.TempPathFactory
    reservations = Bundle("reservations")

    def __init__(self) -> None:
        super().__init__()
        path = self.folders.mktemp("ledger") / "quota.sqlite"
        self.clocks = [FakeClock(START), FakeClock(START)]
        self.ledgers = [Ledger(path, {"research": CAP}, clock, quota_reserve=2) for clock in self.clocks]
        self.taken: dict[str, int] = {}
        self.sent = 0
        self.refusal: tuple[QuotaExhausted, datetime, int] | None = None

    def teardown(self) -> None:
        for ledger in self.ledgers:
            ledger.close()

    @rule(target=reservations, process=st.integers(0, 1), study=STUDIES, due=st.booleans())
    def reserve(self, process: int, study: str, due: bool) -> tuple[int, str] | None:
        day = self.clocks[process].now().date().isoformat()
        try:
            number = self.ledgers[process].reserve(
                "research", study=study, entity="videos", unit="u", endpoint="video_query", due=due
            )
        except QuotaExhausted as error:
            self.refusal = error, self.clocks[process].now(), self.taken.get(day, 0)
            return None
        self.taken[day] = self.taken.get(day, 0) + 1
        self.sent += 1
        return number, day

    @rule(
        reservation=consumes(reservations),
        process=st.integers(0, 1),
        status=st.sampled_from([200, 400, 401, 429, 500, None]),
    )
    def settle(self, reservation: tuple[int, str] | None, process: int, status: int | None) -> None:
        if reservation:
            self.ledgers[process].settle(reservation[0], status=status, code="", rows=0, latency=1.0, log_id=None)

    @rule(reservation=consumes(reservations), process=st.integers(0, 1))
    def release(self, reservation: tuple[int, str] | None, process: int) -> None:
        if reservation:
            self.ledgers[process].settle(
                reservation[0], status=None, code=None, rows=None, latency=None, log_id=None, sent=False
            )
            self.taken[reservation[1]] -= 1

    @rule(process=st.integers(0, 1), reservation=reservations)
    def refuse(self, process: int, reservation: tuple[int, str] | None) -> None:
        available_at = self.ledgers[process].mark_exhausted("research", reservation[0] if reservation else None)
        assert available_at.tzinfo is not None

    @rule(process=st.integers(0, 1), study=STUDIES, weight=st.sampled_from([0.5, 1, 3]), n_requests=st.integers(0, 20))
    def declare_demand(self, process: int, study: str, weight: float, n_requests: int) -> None:
        self.ledgers[process].declare_demand(study, weight, n_requests)

    @rule(process=st.integers(0, 1), minutes=st.sampled_from([-1500, -120, -5, 1, 16, 61, 125, 1440]))
    def change_clock(self, process: int, minutes: int) -> None:
        self.clocks[process].advance(minutes=minutes)

    @rule(process=st.integers(0, 1))
    def restart(self, process: int) -> None:
        self.ledgers[process].close()

    @invariant()
    def no_utc_day_exceeds_the_cap(self) -> None:
        assert all(0 <= n <= CAP for n in self.taken.values())
        state = self.ledgers[0].pool_state("research")
        assert state.used == self.taken.get(state.day.isoformat(), 0)
        assert 0 <= state.remaining <= CAP - state.used

    @invariant()
    def refusal_has_a_later_retry_time_and_the_right_reason(self) -> None:
        if self.refusal:
            error, refused_at, taken = self.refusal
            assert error.retry_at > refused_at
            assert error.reason != "cap" or taken == CAP

    @invariant()
    def every_request_is_recorded(self) -> None:
        assert sum(1 for _ in self.ledgers[1].iter_requests()) == self.sent


def test_ledger_keeps_its_rules_for_any_order_of_processes_refusals_and_clock_changes(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    LedgerMachine.folders = tmp_path_factory
    run_state_machine_as_test(LedgerMachine, settings=sized(60, 1000, stateful_step_count=40))


DEMANDS = st.dictionaries(
    st.sampled_from("abcde"),
    st.builds(StudyDemand, st.sampled_from([0.1, 0.3, 1.0, 2.0, 7.5]), st.integers(0, 40), st.integers(0, 200)),
    min_size=1,
)


@given(st.integers(1, 200), DEMANDS)
def test_fair_shares_never_exceed_the_cap_or_the_demand(cap: int, demands: dict[str, StudyDemand]) -> None:
    shares = fair_shares(cap, demands)
    used = sum(demand.used for demand in demands.values())
    assert sum(shares.values()) <= max(cap, used)
    for name, demand in demands.items():
        assert demand.used <= shares[name] <= demand.used + demand.requested
    total_need = used + sum(demand.requested for demand in demands.values())
    if total_need <= cap:
        assert sum(shares.values()) == total_need, "the cap covers the demand of all studies"
    elif used <= cap:
        assert sum(shares.values()) > cap - len(demands), "only fractions remain"


@given(st.integers(1, 200), DEMANDS)
def test_one_study_may_always_reserve_while_requests_remain(cap: int, demands: dict[str, StudyDemand]) -> None:
    in_need = [name for name, demand in demands.items() if demand.requested]
    if in_need and sum(demand.used for demand in demands.values()) < cap:
        assert any(may_reserve(name, cap, demands) for name in in_need)


@given(
    st.integers(1, 60),
    st.dictionaries(
        st.sampled_from("abcd"), st.tuples(st.sampled_from([0.5, 1.0, 2.0, 3.0]), st.integers(1, 80)), min_size=1
    ),
    st.lists(st.sampled_from("abcd"), max_size=200),
)
def test_each_study_gets_its_weighted_share_and_no_request_stays_unused(
    cap: int, needs: dict[str, tuple[float, int]], order: list[str]
) -> None:
    demands = {name: StudyDemand(weight, 0, need) for name, (weight, need) in needs.items()}
    total = sum(Fraction(weight) for weight, _ in needs.values())
    share = {name: floor(cap * Fraction(weight) / total) for name, (weight, _) in needs.items()}

    def reserve(name: str) -> bool:
        demand = demands[name]
        if not demand.requested or not may_reserve(name, cap, demands):
            return False
        demands[name] = StudyDemand(demand.weight, demand.used + 1, demand.requested - 1)
        remaining = cap - sum(other.used for other in demands.values())
        if demands[name].used > share[name]:
            reserved = sum(min(d.requested, max(0, share[n] - d.used)) for n, d in demands.items() if n != name)
            assert remaining >= reserved, "the shares of the other studies stay free"
        return True

    for name in order:
        if name in demands:
            reserve(name)
    progress = True
    while progress:
        progress = any(reserve(name) for name in sorted(demands))
    assert sum(demand.used for demand in demands.values()) == min(cap, sum(need for _, need in needs.values()))
    for name, (_, need) in needs.items():
        assert demands[name].used >= min(need, share[name])


def test_demand_of_a_dead_study_expires_after_one_hour(tmp_path: Path) -> None:
    clock = FakeClock(START - timedelta(hours=10))
    ledger = Ledger(tmp_path / "quota.sqlite", {"research": 10}, clock)

    def reserve(study: str) -> None:
        ledger.reserve("research", study=study, entity="videos", unit="u", endpoint="video_query")

    ledger.declare_demand("alive", 1, 100)
    clock.advance(minutes=10)
    ledger.declare_demand("dead", 1, 100)
    for _ in range(5):
        reserve("alive")
    with pytest.raises(QuotaExhausted) as refused:
        reserve("alive")
    assert (refused.value.reason, refused.value.retry_at) == ("fair_share", clock.now() + DEMAND_TTL)
    clock.moment = refused.value.retry_at
    reserve("alive")
    ledger.declare_demand("dead", 1, 100)
    with pytest.raises(QuotaExhausted):
        reserve("alive")
    ledger.declare_demand("dead", 1, 0)
    for _ in range(4):
        reserve("alive")
