"""Limits of a call of `research-assets collect`: the budget acts as a smaller quota, the days as a smaller study."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from research_assets.planning.agenda import build_agenda
from research_assets.planning.limits import Limits
from research_assets.planning.types import AgendaInputs
from research_assets.quota.ledger import PoolState
from research_assets.study.spec import StudySpec

NOW = datetime(2026, 3, 20, 9, tzinfo=UTC)
CONDITION = {"field_name": "region_code", "operation": "EQ", "field_values": ["DE"]}
STUDY = StudySpec("garden", date(2026, 2, 1), {"and": (CONDITION,)}, end=date(2026, 2, 28))
DAYS = {date(2026, 2, day): 90.0 for day in range(1, 29)}


def inputs(remaining: int, reserve: int = 0) -> AgendaInputs:
    pools = {
        name: PoolState(name, NOW.date(), 1_000, 1_000 - remaining, remaining, 0, None)
        for name in ("research", "follow")
    }
    return AgendaInputs([STUDY], {}, {"garden": DAYS}, pools, quota_reserve=reserve)


def test_no_limit_changes_nothing() -> None:
    assert Limits().apply(inputs(700, 50)) == inputs(700, 50)
    assert Limits().remaining is None


@pytest.mark.parametrize(
    ("budget", "used", "remaining", "reserve", "expected_remaining", "expected_reserve"),
    [
        (10, 4, 700, 50, 6, 0),
        (1_000, 0, 700, 50, 700, 50),
        # 30 of the 50 reserved requests are outside the budget.
        (670, 0, 700, 50, 670, 20),
        (10, 12, 700, 0, 0, 0),
    ],
)
def test_budget_is_a_smaller_quota_that_takes_the_reserve_from_the_rest(
    budget: int, used: int, remaining: int, reserve: int, expected_remaining: int, expected_reserve: int
) -> None:
    limited = Limits(budget=budget, used=used).apply(inputs(remaining, reserve))
    assert {pool.remaining for pool in limited.pools.values()} == {expected_remaining}
    assert {pool.cap for pool in limited.pools.values()} == {min(1_000, budget)}
    assert limited.quota_reserve == expected_reserve


@pytest.mark.parametrize("budget", [1, 3, 7, 20])
def test_runs_within_a_budget_fit_into_it_and_a_small_one_starts_a_day(budget: int) -> None:
    agenda = build_agenda(Limits(budget=budget).apply(inputs(700)), NOW)
    assert agenda.items
    assert sum(run.budget for run in agenda.items) <= budget


def test_days_restrict_runs_deferred_units_and_canary_checks() -> None:
    days = date(2026, 2, 10), date(2026, 2, 12)
    given = replace(inputs(700), canary_days={"garden": date(2026, 2, 3)})
    assert next(run.reasons for run in build_agenda(given, NOW).items) == ("canary",)
    agenda = build_agenda(Limits(days).apply(given), NOW)
    [run] = agenda.items
    assert run.partitions == (date(2026, 2, 10), date(2026, 2, 11), date(2026, 2, 12))
    assert not agenda.deferred
    assert not Limits(days).apply(given).may_collect("users", days[0])
