"""What an asset still needs, for its metadata in the UI: requests, what they are founded on, when it is done."""

from math import ceil
from typing import Any

import dagster as dg

from research_assets.clock import Clock
from research_assets.collect.forecast import add_recurring, forecast, forecast_pool
from research_assets.collect.history import max_requests_per_period, mean_comment_requests_per_day
from research_assets.collect.lookup import RawTables
from research_assets.collect.pools import read_pools
from research_assets.collect.spec import StudySpec
from research_assets.collect.standing import read_agenda_inputs
from research_assets.settings import Settings
from research_assets.tiktok.endpoints import BY_ENTITY


def remaining_metadata(settings: Settings, study: StudySpec, entity: str, clock: Clock) -> dict[str, Any]:
    """Metadata about what is left of an entity, as `research-assets plan` says it for this study alone."""
    now = clock.now()
    pools, used = read_pools(settings, clock)
    with RawTables(settings.raw) as raw:
        facts = read_agenda_inputs(settings, [study], pools, now, used=used, raw=raw)
        lines = add_recurring(
            forecast(facts, mean_comment_requests_per_day(raw), now), [study], max_requests_per_period(raw)
        )
    line = next(line for line in lines if line.entity == entity)
    end = forecast_pool([line], pools[BY_ENTITY[entity].pool], now)
    return {
        "requests left": ceil(line.remaining.requests),
        "requests left by partition": dg.MetadataValue.json(
            {str(partition): round(estimate.requests, 1) for partition, estimate in line.by_partition.items()}
        ),
        "founded on": line.remaining.basis + (": the least it can be" if line.unknown else ""),
        "days of quota left": end.days if end.days is not None else "without end",
        "done on": f"{end.finish_day}, if nothing else is asked"
        if end.finish_day
        else "never: what recurs takes the whole quota",
    }
