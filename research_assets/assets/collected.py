"""The parts that all collected assets share: keys, descriptions, run config and the step that collects.

Not here: the entities themselves (see entities.py), and what a run reports to Dagster (see run_events.py).
"""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from research_assets.collect.types import CollectionTask
from research_assets.fields import ENTITIES, table_columns
from research_assets.partitions import partitions_def
from research_assets.resources import ASSET_TAG, CollectorResource, budget_run_id
from research_assets.study.spec import StudySpec
from research_assets.text import log_text, markdown_text
from research_assets.tiktok.endpoints import BY_ENTITY
from research_assets.units.periods import ObservedPeriods

FRESHNESS_WINDOW = timedelta(days=3)
"""Time without a new day after which an open-ended study is stale and needs a person. Causes are days that the API does
not return, or a quota that others use up."""

POOL_PREFIX = "tiktok_"
"""Begin of the names of Dagster's pools, which all projects of an instance share."""

_AUTOMATION_TAGS = ("dagster/sensor_name", "dagster/schedule_name", "dagster/backfill", ASSET_TAG)

_COMPLETE_HINT = (
    "A partition is materialized if and only if it is complete. "
    "Events shows the reason and the next try of an incomplete partition."
)


@dataclass(frozen=True, slots=True)
class CollectedEntity:
    """The properties in which one collected asset differs from the others.

    `summary`, `cost` and `rerun_note` complete the description: what the asset contains, what a partition costs, what a
    re-run does. `code_version_inputs` are the parts of the study that change the requested data. The code version is
    their digest, so the UI marks the asset as stale after an edit of them.
    """

    entity: str
    summary: str
    cost: str
    rerun_note: str
    code_version_inputs: Mapping[str, Any]
    reference: str
    deps: tuple[dg.AssetDep, ...] = ()


class CollectConfig(dg.Config):
    """Options of a run, beyond its partitions."""

    recollect: bool = Field(
        False,
        description="Collect complete units again: a new observation that costs as much as the first. Of comments only "
        "lists whose comment count has grown",
    )
    retry_now: bool = Field(False, description="Retry quarantined and suspicious units before their next try is due")
    max_requests: int | None = Field(
        None,
        ge=0,
        description="Requests that this step may send at most. The sensor sets it. Default: all that the pool has left",
    )
    canary_check: bool = Field(
        False,
        description="Collect nothing. Check whether the API still returns the videos collected on these days "
        "(one request per day)",
    )


def asset_key(study: StudySpec, entity: str) -> dg.AssetKey:
    """Return the key `<study>/<entity>`."""
    return dg.AssetKey([study.name, entity])


def code_version(study: StudySpec, collected_entity: CollectedEntity) -> str:
    """Return a digest of the requested data. Two study files that request the same data have the same digest."""
    entity = collected_entity.entity
    inputs = {
        **collected_entity.code_version_inputs,
        "fields": sorted(study.fields.get(entity, ENTITIES[entity].requested)),
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()[:12]


def freshness_policy(study: StudySpec, entity: str) -> dg.FreshnessPolicy | None:
    """Return the policy that marks videos of an open-ended study as stale after `FRESHNESS_WINDOW` without a new day.

    Return None for every other asset, because Dagster counts from the last materialization of any partition. A study
    with an end would be stale for ever. Comments and accounts wait until newly settled days have used the quota. A
    backfill of old days hides that new ones are missing; the checks report that.
    """
    if study.end is not None or entity != "videos":
        return None
    # One day settles each day, and it is collected before all other work.
    return dg.FreshnessPolicy.time_window(
        fail_window=FRESHNESS_WINDOW, warn_window=FRESHNESS_WINDOW - timedelta(days=1)
    )


def collected_asset(
    study: StudySpec,
    name: str,
    collected_entities: Sequence[CollectedEntity],
    periods: ObservedPeriods | None = None,
    simulated: str = "",
) -> dg.AssetsDefinition:
    """Return the step that collects entities of a study with the same partitions and pool, any number of days per run.

    `periods` are the partitions of an observed entity. `simulated` is a paragraph that marks simulated data.

    Entities that depend on one another share a step and are collected in sequence. In separate steps, a single day
    without videos would hold back the comments of every other day of the run.
    """
    entity = collected_entities[0].entity

    @dg.multi_asset(
        name=f"{study.name}__{name}",
        specs=[_asset_spec(study, collected_entity, simulated) for collected_entity in collected_entities],
        can_subset=True,
        partitions_def=partitions_def(study, entity, periods),
        # Neighbouring days share requests, and starting a process costs more than collecting a day. So all partitions
        # of a backfill go into one run.
        backfill_policy=dg.BackfillPolicy.single_run(),
        # The ledger enforces the quota. The pool prevents two runs from meeting the API's rate limit together.
        pool=f"{POOL_PREFIX}{BY_ENTITY[entity].pool}",
    )
    def collected(
        context: dg.AssetExecutionContext, config: CollectConfig, research_api: dg.ResourceParam[CollectorResource]
    ) -> Iterator[dg.MaterializeResult[None]]:
        # Imported here, so that loading the code location does not load the collector and the charts.
        from research_assets.assets.run_events import CollectionRun

        days = _selected_days(context)
        entities = [collected_entity.entity for collected_entity in collected_entities]
        budget = research_api.request_budget(
            config.max_requests, budget_run_id(context.instance, context.run), study.name, entities
        )
        retry_now = config.retry_now or _is_manual_single_partition(context)
        for collected_entity in collected_entities:
            if asset_key(study, collected_entity.entity) in context.selected_asset_keys:
                task = CollectionTask(
                    study,
                    collected_entity.entity,
                    days,
                    recollect=config.recollect,
                    retry_now=retry_now,
                    canary_check=config.canary_check and collected_entity.entity == "videos",
                    budget=budget,
                )
                run = CollectionRun(context, task, research_api)
                asyncio.run(run.execute())
                yield from run.results()

    return collected


def _asset_spec(study: StudySpec, collected_entity: CollectedEntity, simulated: str) -> dg.AssetSpec:
    entity = ENTITIES[collected_entity.entity]
    columns = [
        dg.TableColumn(column.name, type=column.type, description=column.description)
        for column in table_columns(entity)
    ]
    return dg.AssetSpec(
        asset_key(study, entity.name),
        deps=collected_entity.deps,
        description=_description(study, collected_entity, simulated),
        group_name=f"studies/{study.name}",
        kinds={"simulated" if simulated else "tiktok", "parquet"},
        owners=list(study.owners) or None,
        tags={"study": study.name, "time_axis": entity.time_axis, "quota_pool": BY_ENTITY[entity.name].pool},
        code_version=code_version(study, collected_entity),
        freshness_policy=freshness_policy(study, entity.name),
        metadata={
            "dagster/column_schema": dg.TableSchema(columns=columns),
            "reference": dg.MetadataValue.url(collected_entity.reference),
        },
        # A paused run has neither failed nor finished. It yields no output, so the steps below wait.
        skippable=True,
    )


def _description(study: StudySpec, collected_entity: CollectedEntity, simulated: str) -> str:
    entity = collected_entity.entity
    parts = (
        # Lists of assets show the beginning without rendering it, so it contains no Markdown.
        f"{collected_entity.summary}.",
        f"Study: {markdown_text(study.title)}" if study.title else "",
        simulated.strip(),
        f"**Grain:** {ENTITIES[entity].grain}.",
        f"**Partition:** {_partition_text(study, entity)}. {_COMPLETE_HINT}",
        f"**Cost:** {collected_entity.cost}.",
        f"**Re-run:** {collected_entity.rerun_note}",
        "Terms: docs/glossary.md",
    )
    return "\n\n".join(part for part in parts if part)


def _partition_text(study: StudySpec, entity: str) -> str:
    if entity == "videos":
        return "the UTC day on which the video was published"
    if entity == "comments":
        return "the UTC day on which the video was published, not the day of the comment"
    period = "UTC day" if study.observe == "daily" else "UTC week, named by its Monday,"
    return (
        f"the {period} in which it was observed; "
        "the API returns current values only, so past periods cannot be collected"
    )


def _selected_days(context: dg.AssetExecutionContext) -> tuple[date, ...]:
    """Return the partitions of a run. Raises Failure without a retry if it has none, or one that the asset lacks."""
    names = ", ".join(sorted(key.to_user_string() for key in context.selected_asset_keys))
    advice = "No request was sent. Materialize assets with other partitions in runs of their own."
    try:
        days = tuple(date.fromisoformat(key) for key in context.partition_keys)
    # A run of several assets has one range of partitions for all of them. Dagster's error has no public class.
    except Exception as error:
        text = f"The partitions of this run are not partitions of {names}: {log_text(str(error).strip())}. {advice}"
        raise dg.Failure(text, allow_retries=False) from error
    if not days:
        raise dg.Failure(f"This run selects no partition of {names}. {advice}", allow_retries=False)
    return days


def _is_manual_single_partition(context: dg.AssetExecutionContext) -> bool:
    """Return whether a person started the run for one partition. Its quarantined units are then retried at once."""
    return len(context.partition_keys) == 1 and not any(tag in context.run.tags for tag in _AUTOMATION_TAGS)
