"""Inputs of the agenda for tests, and the partitions that an agenda plans."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from research_assets.clock import next_midnight
from research_assets.planning.types import Agenda, AgendaInputs
from research_assets.quota.ledger import PoolState
from research_assets.study.spec import StudySpec
from research_assets.units.partition_status import PartitionStatus

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
TODAY = NOW.date()
DAY = timedelta(days=1)


def pool(remaining: int, cap: int = 1000, name: str = "research") -> PoolState:
    return PoolState(name, TODAY, cap, cap - remaining, remaining, 0, None if remaining else next_midnight(NOW))


def make_inputs(*studies: StudySpec, remaining: int = 1000, cap: int = 1000, **values: Any) -> AgendaInputs:
    inputs: dict[str, Any] = {
        "partition_status": {},
        "hits_per_day": {one.name: {one.start: 100.0} for one in studies},
    } | values
    pools = {"research": pool(remaining, cap), "follow": pool(20000, 20000, "follow")}
    return AgendaInputs(studies, pools=pools, **inputs)


def completed(*days: date, at: datetime = NOW) -> dict[date, PartitionStatus]:
    return {day: PartitionStatus(last_complete_at=at) for day in days}


def date_range(first: date, last: date) -> list[date]:
    return [first + DAY * i for i in range((last - first).days + 1)]


def planned_partitions(agenda: Agenda, name: str = "garden", entity: str = "videos") -> list[date]:
    return sorted(day for run in agenda.items if (run.study, run.entity) == (name, entity) for day in run.partitions)
