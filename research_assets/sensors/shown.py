"""Days that are held but not yet shown as materialized: events of the sensor itself, since a run would ask nothing.

A day whose videos have no comments is held without a request, and so is one whose run died after it was published.
"""

from collections.abc import Iterable, Iterator
from datetime import date

import dagster as dg

from research_assets.collect.agenda_model import PlannedRun
from research_assets.collect.coverage import SETTLED, UnitStatus, read_unit_status
from research_assets.fields import ENTITIES
from research_assets.settings import Settings


def is_already_collected(item: PlannedRun) -> bool:
    """Whether all days of an item are only to be shown. An observed period may be held by another study's rows."""
    return item.reasons == ("show",) and ENTITIES[item.entity].time_axis == "content"


def materialization_events(items: Iterable[PlannedRun], settings: Settings) -> Iterator[dg.AssetMaterialization]:
    """One materialization for each day of the items, with the same counts as a run gives it."""
    for item in items:
        records = read_unit_status(
            settings.raw, item.entity, study=item.study, partitions=item.partitions, captures=settings.captures
        )
        by_day: dict[date, list[UnitStatus]] = {day: [] for day in item.partitions}
        for record in records:
            if record.attempt.state in SETTLED:
                by_day[record.attempt.partition].append(record)
        for day, of_day in by_day.items():
            yield dg.AssetMaterialization(
                [item.study, item.entity],
                partition=day.isoformat(),
                description="Held already; shown without a run, which would have asked nothing.",
                metadata=_counts(of_day),
            )


def _counts(records: list[UnitStatus]) -> dict[str, float]:
    kept = sum(record.attempt.kept for record in records)
    return {
        "dagster/partition_row_count": kept,
        "rows asked": sum(record.attempt.asked for record in records),
        "rows offered": sum(record.attempt.offered for record in records),
        "rows kept": kept,
        "requests": round(sum(record.attempt.requests for record in records), 2),
        "units": len(records),
        "units not complete": 0,
    }
