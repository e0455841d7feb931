"""What the collected assets share: keys, partitions, descriptions, and the asset around a run of the collector."""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from research_assets.clock import week_of
from research_assets.collect.types import CollectionTask
from research_assets.fields import ENTITIES, table_columns
from research_assets.resources import CollectorResource
from research_assets.study.spec import StudySpec
from research_assets.tiktok.endpoints import BY_ENTITY

FRESHNESS_WINDOW = timedelta(days=3)
"""Without a new day for so long, a study without end needs a person: a dead day, a quota that others use up."""

_AUTOMATION_TAGS = ("dagster/sensor_name", "dagster/schedule_name", "dagster/backfill")


_EVENTS_HINT = "Why one is not, and when it is tried again, stands under Events."


@dataclass(frozen=True, slots=True)
class CollectedEntity:
    """What sets one collected asset apart.

    `cost` and `again` complete the description: what a partition costs, what a re-run does. `asked` is what of the
    study changes the data asked for: the code version comes from it, so that the UI shows what an edit made stale.
    """

    entity: str
    cost: str
    rerun_note: str
    code_version_inputs: Mapping[str, Any]
    reference: str
    deps: tuple[dg.AssetDep, ...] = ()


class CollectConfig(dg.Config):
    """What a person can ask of a run beyond its partitions."""

    recollect: bool = Field(False, description="Ask what is complete once more: a new observation, at the full cost")
    retry_now: bool = Field(False, description="Ask what was given up before its next try is due")
    canary_check: bool = Field(
        False, description="Collect nothing, but look whether videos of these held days are still found: a request each"
    )


def asset_key(study: StudySpec, entity: str) -> dg.AssetKey:
    """`<study>/<entity>`."""
    return dg.AssetKey([study.name, entity])


def partitions_def(study: StudySpec, entity: str) -> dg.TimeWindowPartitionsDefinition:
    """UTC days from start to end for content; for what is observed, weeks or days up to and with the running one.

    Observation goes on after a study's last day, because the videos of its days still have authors.
    """
    if ENTITIES[entity].time_axis == "content":
        after = study.end + timedelta(days=1) if study.end else None
        return dg.DailyPartitionsDefinition(
            start_date=study.start.isoformat(), end_date=after.isoformat() if after else None
        )
    if study.observe == "daily":
        return dg.DailyPartitionsDefinition(start_date=study.start.isoformat(), end_offset=1)
    return dg.WeeklyPartitionsDefinition(start_date=week_of(study.start).isoformat(), day_offset=1, end_offset=1)


def code_version(study: StudySpec, family: CollectedEntity) -> str:
    """A digest of what the asset asks for; the same for two files that ask for the same."""
    asked = {
        **family.code_version_inputs,
        "fields": sorted(study.fields.get(family.entity, ENTITIES[family.entity].requested)),
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _partition_text(study: StudySpec, entity: str) -> str:
    if entity == "videos":
        return "the UTC day on which the video was published"
    if entity == "comments":
        return "the UTC day on which the video was published, not the comment's"
    period = "UTC day" if study.observe == "daily" else "UTC week, named by its Monday,"
    return f"the {period} in which it was observed; the API knows only now, so a past period cannot be asked any more"


def _description(study: StudySpec, family: CollectedEntity) -> str:
    return "\n\n".join(
        (
            # Lists of assets show the first line as it is written.
            f"Grain: {ENTITIES[family.entity].grain}.",
            f"**Partition:** {_partition_text(study, family.entity)}. It is materialized if and only if it is complete. {_EVENTS_HINT}",
            f"**Cost:** {family.cost}.",
            f"**Again:** {family.rerun_note}",
        )
    )


def freshness_policy(study: StudySpec, entity: str) -> dg.FreshnessPolicy | None:
    """What the UI calls stale: videos of a study without end to which no day was added for `STALE`.

    Dagster counts from the last materialization of whatever partition. So nothing can be said of a study with an end,
    which would be stale for good; of comments and accounts, which wait for the quota behind days that have settled; and
    a backfill of old days hides that new ones are missing: the checks tell that.
    """
    if study.end is not None or entity != "videos":
        return None
    # Each day a day settles, and it is asked before anything else.
    return dg.FreshnessPolicy.time_window(
        fail_window=FRESHNESS_WINDOW, warn_window=FRESHNESS_WINDOW - timedelta(days=1)
    )


def _asset_spec(study: StudySpec, family: CollectedEntity) -> dg.AssetSpec:
    entity = ENTITIES[family.entity]
    columns = [
        dg.TableColumn(column.name, type=column.type, description=column.description)
        for column in table_columns(entity)
    ]
    return dg.AssetSpec(
        asset_key(study, family.entity),
        deps=family.deps,
        description=_description(study, family),
        group_name=study.name,
        kinds={"tiktok", "parquet"},
        owners=[f"team:{study.name}"],
        tags={"study": study.name, "time_axis": entity.time_axis, "quota_pool": BY_ENTITY[family.entity].pool},
        code_version=code_version(study, family),
        freshness_policy=freshness_policy(study, family.entity),
        metadata={
            "dagster/column_schema": dg.TableSchema(columns=columns),
            "reference": dg.MetadataValue.url(family.reference),
        },
        # Without an output the steps below wait: a run that pauses has not failed, and has not finished either.
        skippable=True,
    )


def _is_manual_single_partition(context: dg.AssetExecutionContext) -> bool:
    """Whether a person asked for one partition: then what was given up on is tried now, not when it is due."""
    return len(context.partition_keys) == 1 and not any(tag in context.run.tags for tag in _AUTOMATION_TAGS)


def collected_asset(study: StudySpec, name: str, families: Sequence[CollectedEntity]) -> dg.AssetsDefinition:
    """The step that collects entities of a study that share partitions and a pool: any number of days in one run.

    Entities that follow from one another go through one step, one after the other: in steps of their own, a single dead
    day among the videos would hold back the comments of every other day of the run.
    """
    entity = families[0].entity

    @dg.multi_asset(
        name=f"{study.name}__{name}",
        specs=[_asset_spec(study, family) for family in families],
        can_subset=True,
        partitions_def=partitions_def(study, entity),
        # Neighbouring days share requests, and a process costs more than a day: one run for all that is asked at once.
        backfill_policy=dg.BackfillPolicy.single_run(),
        # The ledger keeps the quota whole; the pool keeps two runs from meeting at the API's rate limit.
        pool=BY_ENTITY[entity].pool,
    )
    def collected(
        context: dg.AssetExecutionContext, config: CollectConfig, collector: dg.ResourceParam[CollectorResource]
    ) -> Iterator[dg.MaterializeResult[None]]:
        # The collector and its pictures are paid for by the runs, not by whoever loads the code location.
        from research_assets.assets.run_events import CollectionRun

        days = tuple(date.fromisoformat(key) for key in context.partition_keys)
        retry = config.retry_now or _is_manual_single_partition(context)
        for family in families:
            if asset_key(study, family.entity) in context.selected_asset_keys:
                canary = config.canary_check and family.entity == "videos"
                task = CollectionTask(
                    study, family.entity, days, recollect=config.recollect, retry_now=retry, canary_check=canary
                )
                run = CollectionRun(context, task, collector)
                asyncio.run(run.execute())
                yield from run.results()

    return collected
