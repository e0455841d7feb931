"""Properties of the ledger and the fair shares for any order of operations."""

from collections.abc import Callable
from datetime import UTC, datetime
from fractions import Fraction
from math import floor
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from research_assets.quota.fair_share import StudyDemand, fair_shares
from research_assets.quota.ledger import Ledger, QuotaExhausted
from research_assets_tests.conftest import FakeClock
from research_assets_tests.profiles import sized
from research_assets_tests.quota.operations import Place, file_in

CAP = 12
START = datetime(2026, 3, 2, 22, 0, tzinfo=UTC)
STUDIES = st.sampled_from("abc")


class LedgerMachine(RuleBasedStateMachine):
    """Two processes on one ledger, with different clocks and an API that may refuse any request."""

    new_place: ClassVar[Callable[[], Place]]
    reservations = Bundle("reservations")

    def __init__(self) -> None:
        super().__init__()
        place = type(self).new_place()
        self.clocks = [FakeClock(START), FakeClock(START)]
        self.ledgers = [Ledger(place(), {"research": CAP}, clock, quota_reserve=2) for clock in self.clocks]
        self.taken: dict[str, int] = {}
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
        assert sum(1 for _ in self.ledgers[1].iter_requests()) == sum(self.taken.values())


def test_ledger_keeps_its_rules_for_any_order_of_processes_refusals_and_clock_changes(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    LedgerMachine.new_place = lambda: file_in(tmp_path_factory.mktemp("ledger"))
    run_state_machine_as_test(LedgerMachine, settings=sized(60, 1000, stateful_step_count=40))


def test_ledger_in_a_database_keeps_its_rules_for_any_order_of_operations(
    new_database_place: Callable[[], Place],
) -> None:
    LedgerMachine.new_place = new_database_place
    run_state_machine_as_test(LedgerMachine, settings=sized(12, 300, stateful_step_count=40))


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


@given(
    st.integers(1, 60),
    st.dictionaries(
        st.sampled_from("abcd"), st.tuples(st.sampled_from([0.5, 1.0, 2.0, 3.0]), st.integers(1, 80)), min_size=1
    ),
)
def test_fair_shares_are_at_least_the_weighted_part_of_the_cap(cap: int, needs: dict[str, tuple[float, int]]) -> None:
    shares = fair_shares(cap, {name: StudyDemand(weight, 0, need) for name, (weight, need) in needs.items()})
    total = sum(Fraction(weight) for weight, _ in needs.values())
    for name, (weight, need) in needs.items():
        assert shares[name] >= min(need, floor(cap * Fraction(weight) / total))
