"""Facts for the agenda, made by hand, and what it asks of a study."""

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


def pool(left: int, cap: int = 1000, name: str = "research") -> PoolState:
    return PoolState(name, TODAY, cap, cap - left, left, 0, None if left else next_midnight(NOW))


def make_inputs(*studies: StudySpec, left: int = 1000, cap: int = 1000, **more: Any) -> AgendaInputs:
    known: dict[str, Any] = {
        "partition_status": {},
        "hits_per_day": {one.name: {one.start: 100.0} for one in studies},
    } | more
    return AgendaInputs(studies, pools={"research": pool(left, cap), "follow": pool(20000, 20000, "follow")}, **known)


def completed(*days: date, looked_at: datetime = NOW) -> dict[date, PartitionStatus]:
    return {day: PartitionStatus(last_complete_at=looked_at) for day in days}


def date_range(first: date, last: date) -> list[date]:
    return [first + DAY * i for i in range((last - first).days + 1)]


def planned_partitions(agenda: Agenda, name: str = "garden", entity: str = "videos") -> list[date]:
    return sorted(
        day for item in agenda.items if (item.study, item.entity) == (name, entity) for day in item.partitions
    )
