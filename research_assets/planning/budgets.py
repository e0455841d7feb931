"""Budgets of planned runs: the requests that each run may send, from what the agenda left unplanned.

An estimate can be too low, above all without data. So a run may send more than is planned for it, while no other study
needs the requests. Pure. Not here: the planned requests (see allocation.py); enforcing a budget (see
collect/sender.py).
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from research_assets.planning.allocation import BACKFILL_PRIORITY
from research_assets.planning.types import PlannedRun
from research_assets.quota.fair_share import StudyDemand, fair_shares

_MAX_CANARY_REQUESTS = 4
"""Requests of a canary check: two searches, each with one retry (see collect/search/canary.py)."""


def set_budgets(
    runs: Sequence[PlannedRun],
    free: int,
    weights: Mapping[str, float],
    used: Mapping[str, int],
    active: Set[str],
    reserve: int,
) -> list[PlannedRun]:
    """Return the planned runs of one pool with their budgets, whose sum is at most the `free` requests.

    `used` are today's requests by study, with those that active runs may still send. Unplanned requests are divided
    between the studies of the runs and the `active` studies by weight, so that the day's requests follow the weights.
    The share of an active study without a planned run stays free for its next run. Runs of one study get equal parts.
    Runs of backfill get nothing from the `reserve`.
    """
    budgets = {number: run.requests for number, run in enumerate(runs)}
    for number, run in enumerate(runs):
        if run.reasons == ("canary",):
            unplanned = max(0, free - sum(budgets.values()))
            budgets[number] += min(_MAX_CANARY_REQUESTS - run.requests, unplanned)
    extensible = [number for number, run in enumerate(runs) if run.reasons != ("canary",) and not run.needs_no_run]
    due = [number for number in extensible if runs[number].priority < BACKFILL_PRIORITY]
    for numbers, kept in ((extensible, reserve), (due, 0)):
        unplanned = max(0, free - sum(budgets.values()) - kept)
        studies = {runs[number].study for number in numbers}
        total = {study: used.get(study, 0) for study in weights}
        for number, run in enumerate(runs):
            total[run.study] += budgets[number]
        shares = _divide(unplanned, {study: weights[study] for study in studies | active}, total) if studies else {}
        for study in studies:
            of_study = [number for number in numbers if runs[number].study == study]
            for position, number in enumerate(of_study):
                budgets[number] += (shares[study] + len(of_study) - 1 - position) // len(of_study)
    return [replace(run, budget=budgets[number]) for number, run in enumerate(runs)]


def _divide(unplanned: int, weights: Mapping[str, float], total: Mapping[str, int]) -> dict[str, int]:
    """Divide all unplanned requests between studies, so that their `total` requests of the day follow the weights."""
    demands = {study: StudyDemand(weight, total[study], unplanned) for study, weight in weights.items()}
    fair = fair_shares(sum(total[study] for study in weights) + unplanned, demands)
    shares = {study: fair[study] - total[study] for study in weights}
    # Shares are rounded down. A request that remains would start a run of its own.
    remainder = unplanned - sum(shares.values())
    for study in sorted(weights, key=lambda name: (-weights[name], name))[:remainder]:
        shares[study] += 1
    return shares
