"""Whatever the order of things: the ledger's caps and the fairness of its shares."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import floor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from research_assets.quota.fair_share import StudyDemand, fair_shares, may_reserve
from research_assets.quota.ledger import DEMAND_TTL, Ledger, QuotaExhausted
from research_assets_tests.conftest import FakeClock

CAP = 12
START = datetime(2026, 3, 2, 22, 0, tzinfo=UTC)
STUDIES = st.sampled_from("abc")


class LedgerMachine(RuleBasedStateMachine):
    """Two processes' ledgers over one file, with clocks that disagree, and a server that refuses when it likes."""

    folders: pytest.TempPathFactory
    reservations = Bundle("places")

    def __init__(self) -> None:
        super().__init__()
        path = self.folders.mktemp("ledger") / "quota.sqlite"
        self.clocks = [FakeClock(START), FakeClock(START)]
        self.ledgers = [Ledger(path, {"research": CAP}, clock, due_reserve=2) for clock in self.clocks]
        self.taken: dict[str, int] = {}
        self.sent = 0
        self.refusal: tuple[QuotaExhausted, datetime, int] | None = None

    def teardown(self) -> None:
        for ledger in self.ledgers:
            ledger.close()

    @rule(target=reservations, who=st.integers(0, 1), study=STUDIES, due=st.booleans())
    def reserve(self, who: int, study: str, due: bool) -> tuple[int, str] | None:
        day = self.clocks[who].now().date().isoformat()
        try:
            number = self.ledgers[who].reserve(
                "research", study=study, entity="videos", unit="u", endpoint="video_query", due=due
            )
        except QuotaExhausted as error:
            self.refusal = error, self.clocks[who].now(), self.taken.get(day, 0)
            return None
        self.taken[day] = self.taken.get(day, 0) + 1
        self.sent += 1
        return number, day

    @rule(place=consumes(reservations), who=st.integers(0, 1), status=st.sampled_from([200, 400, 401, 429, 500, None]))
    def settle(self, place: tuple[int, str] | None, who: int, status: int | None) -> None:
        if place:
            self.ledgers[who].settle(place[0], status=status, code="", rows=0, latency=1.0, log_id=None)

    @rule(place=consumes(reservations), who=st.integers(0, 1))
    def never_sent(self, place: tuple[int, str] | None, who: int) -> None:
        if place:
            self.ledgers[who].settle(place[0], status=None, code=None, rows=None, latency=None, log_id=None, sent=False)
            self.taken[place[1]] -= 1

    @rule(who=st.integers(0, 1), place=reservations)
    def spent(self, who: int, place: tuple[int, str] | None) -> None:
        opens_at = self.ledgers[who].mark_exhausted("research", place[0] if place else None)
        assert opens_at.tzinfo is not None

    @rule(who=st.integers(0, 1), study=STUDIES, weight=st.sampled_from([0.5, 1, 3]), units=st.integers(0, 20))
    def want(self, who: int, study: str, weight: float, units: int) -> None:
        self.ledgers[who].declare_demand(study, weight, units)

    @rule(who=st.integers(0, 1), minutes=st.sampled_from([-1500, -120, -5, 1, 16, 61, 125, 1440]))
    def time_moves(self, who: int, minutes: int) -> None:
        self.clocks[who].advance(minutes=minutes)

    @rule(who=st.integers(0, 1))
    def restart(self, who: int) -> None:
        self.ledgers[who].close()

    @invariant()
    def no_utc_day_ever_has_more_than_the_cap(self) -> None:
        assert all(0 <= n <= CAP for n in self.taken.values())
        state = self.ledgers[0].pool_state("research")
        assert state.used == self.taken.get(state.day.isoformat(), 0)
        assert 0 <= state.remaining <= CAP - state.used

    @invariant()
    def a_refusal_says_a_later_moment_and_the_truth(self) -> None:
        if self.refusal:
            error, moment, taken = self.refusal
            assert error.retry_at > moment
            assert error.reason != "cap" or taken == CAP

    @invariant()
    def every_request_is_on_record(self) -> None:
        assert sum(1 for _ in self.ledgers[1].iter_requests()) == self.sent


def test_any_interleaving_of_processes_refusals_midnights_and_clocks_going_backward(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    LedgerMachine.folders = tmp_path_factory
    run_state_machine_as_test(LedgerMachine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))


CLAIMS = st.dictionaries(
    st.sampled_from("abcde"),
    st.builds(StudyDemand, st.sampled_from([0.1, 0.3, 1.0, 2.0, 7.5]), st.integers(0, 40), st.integers(0, 200)),
    min_size=1,
)


@given(st.integers(1, 200), CLAIMS)
def test_fair_shares_never_exceed_the_cap_nor_what_is_wanted(cap: int, claims: dict[str, StudyDemand]) -> None:
    shares = fair_shares(cap, claims)
    used = sum(claim.used for claim in claims.values())
    assert sum(shares.values()) <= max(cap, used)
    for name, claim in claims.items():
        assert claim.used <= shares[name] <= claim.used + claim.requested
    everything = used + sum(claim.requested for claim in claims.values())
    if everything <= cap:
        assert sum(shares.values()) == everything, "enough for all: each has all that it wants"
    elif used <= cap:
        assert sum(shares.values()) > cap - len(claims), "only fractions are left over"


@given(st.integers(1, 200), CLAIMS)
def test_somebody_who_wants_may_always_take_while_something_is_left(cap: int, claims: dict[str, StudyDemand]) -> None:
    wanting = [name for name, claim in claims.items() if claim.requested]
    if wanting and sum(claim.used for claim in claims.values()) < cap:
        assert any(may_reserve(name, cap, claims) for name in wanting)


@given(
    st.integers(1, 60),
    st.dictionaries(
        st.sampled_from("abcd"), st.tuples(st.sampled_from([0.5, 1.0, 2.0, 3.0]), st.integers(1, 80)), min_size=1
    ),
    st.lists(st.sampled_from("abcd"), max_size=200),
)
def test_a_study_gets_its_weighted_part_before_others_exceed_theirs_and_nothing_stays_idle(
    cap: int, wants: dict[str, tuple[float, int]], asking: list[str]
) -> None:
    claims = {name: StudyDemand(weight, 0, wanted) for name, (weight, wanted) in wants.items()}
    total = sum(Fraction(weight) for weight, _ in wants.values())
    part = {name: floor(cap * Fraction(weight) / total) for name, (weight, _) in wants.items()}

    def ask(name: str) -> bool:
        claim = claims[name]
        if not claim.requested or not may_reserve(name, cap, claims):
            return False
        claims[name] = StudyDemand(claim.weight, claim.used + 1, claim.requested - 1)
        left = cap - sum(other.used for other in claims.values())
        if claims[name].used > part[name]:
            held = sum(min(c.requested, max(0, part[n] - c.used)) for n, c in claims.items() if n != name)
            assert left >= held, "what the others have due stays free"
        return True

    for name in asking:
        if name in claims:
            ask(name)
    progress = True
    while progress:
        progress = any(ask(name) for name in sorted(claims))
    assert sum(claim.used for claim in claims.values()) == min(cap, sum(wanted for _, wanted in wants.values()))
    for name, (_, wanted) in wants.items():
        assert claims[name].used >= min(wanted, part[name])


def test_a_study_that_died_holds_its_share_for_an_hour_and_no_longer(tmp_path: Path) -> None:
    clock = FakeClock(START - timedelta(hours=10))
    ledger = Ledger(tmp_path / "quota.sqlite", {"research": 10}, clock)

    def take(study: str) -> None:
        ledger.reserve("research", study=study, entity="videos", unit="u", endpoint="video_query")

    ledger.declare_demand("alive", 1, 100)
    clock.advance(minutes=10)
    ledger.declare_demand("dead", 1, 100)
    for _ in range(5):
        take("alive")
    with pytest.raises(QuotaExhausted) as refused:
        take("alive")
    assert (refused.value.reason, refused.value.retry_at) == ("fair_share", clock.now() + DEMAND_TTL)
    clock.moment = refused.value.retry_at
    take("alive")
    ledger.declare_demand("dead", 1, 100)
    with pytest.raises(QuotaExhausted):
        take("alive")
    ledger.declare_demand("dead", 1, 0)
    for _ in range(4):
        take("alive")
