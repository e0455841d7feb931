"""Days of a search as whoever asked for them gets them: finished as their verdict says, or too fresh to be asked."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta

from research_assets.clock import midnight
from research_assets.collect.coverage import Attempt, format_utc
from research_assets.collect.model import PartitionResult
from research_assets.collect.spec import StudySpec


def result_from_attempt(verdict: Attempt, *, held: bool = False) -> PartitionResult:
    """A day as its verdict says."""
    return PartitionResult(
        partition=verdict.partition,
        state=verdict.state,
        asked=verdict.asked,
        offered=verdict.offered,
        kept=verdict.kept,
        requests=verdict.requests,
        units={verdict.state: 1},
        reason=verdict.reason,
        next_try=verdict.next_try,
        was_complete=held,
    )


def too_fresh_result(study: StudySpec, day: date, now: datetime) -> PartitionResult | None:
    """The refusal to ask a day that has not settled yet (new videos lag up to 48 hours); None if it has."""
    due = midnight(day) + timedelta(days=1 + study.settle_days)
    if now >= due:
        return None
    reason = f"The day settles on {format_utc(due)} (settle_days: {study.settle_days}); asked earlier it would be incomplete."
    return PartitionResult(partition=day, state="too_fresh", units={"too_fresh": 1}, reason=reason, next_try=due)


def take_results(verdicts: Iterable[Attempt], left: set[date], spent: Mapping[date, float]) -> list[PartitionResult]:
    """The days that verdicts finish, taken off what is left, with the requests that they cost in this run."""
    done = [verdict for verdict in verdicts if verdict.partition in left and verdict.state != "partial"]
    left.difference_update(verdict.partition for verdict in done)
    return [result_from_attempt(replace(verdict, requests=spent[verdict.partition])) for verdict in done]
