"""Where everything stands: what is held of each study, what is open, and what that will cost, read from files alone.

The reading side of the agenda and the plan: here the facts are put together, of all studies and entities. Days of a
search are read in `standing_days.py`, comments and accounts in `standing_lists.py`. A read that fails raises: it is
never taken for nothing to do.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

from research_assets.collect.accounts import batch_usernames, batchable_usernames
from research_assets.collect.agenda_model import AgendaInputs, PartitionStatus, StudyEntity
from research_assets.collect.lookup import RawTables
from research_assets.collect.spec import StudySpec
from research_assets.collect.standing_days import read_canary_day, read_day_status
from research_assets.collect.standing_lists import ListStatusReader
from research_assets.fields import ENTITIES
from research_assets.quota import PoolState
from research_assets.settings import Settings

MaterializedPartitions = Callable[[str, str], Collection[date]]
"""The partitions of a study's entity that the UI shows as materialized."""


def study_entities(study: StudySpec) -> tuple[str, ...]:
    """The entities that a study collects."""
    wanted = {"videos"}
    if study.comments.videos != "none":
        wanted.add("comments")
    if study.users.who != "none":
        wanted.add("users")
    if study.panel:
        wanted |= {name for name, entity in ENTITIES.items() if entity.time_axis == "observation" and name != "users"}
    return tuple(name for name in ENTITIES if name in wanted)


def read_agenda_inputs(
    settings: Settings,
    studies: Sequence[StudySpec],
    pools: Mapping[str, PoolState],
    now: datetime,
    *,
    used: Mapping[str, Mapping[str, int]] | None = None,
    shown: MaterializedPartitions | None = None,
    raw: RawTables | None = None,
) -> AgendaInputs:
    """The facts for a decision at `now`; without `shown`, nobody has to be shown anything.

    `raw` are the raw tables where the caller has them open.
    """
    standings: dict[StudyEntity, Mapping[date, PartitionStatus]] = {}
    density: dict[str, Mapping[date, float]] = {}
    canaries: dict[str, date] = {}
    called: dict[str, datetime] = {}
    with nullcontext(raw) if raw else RawTables(settings.raw) as tables:
        for study in studies:
            days, density[study.name] = read_day_status(tables, study, now)
            standings[study.name, "videos"] = _with_materialized(days, _materialized(shown, study.name, "videos"))
            day, last = read_canary_day(tables, study, now)
            if day is not None:
                canaries[study.name] = day
            if last is not None:
                called[study.name] = last
            lists = ListStatusReader(settings, tables, study, now)
            for entity in study_entities(study):
                if entity == "comments":
                    seen = _materialized(shown, study.name, entity)
                    standings[study.name, entity] = _with_materialized(lists.comments(days, seen or ()), seen)
                elif entity != "videos":
                    periods = lists.accounts(entity, days)
                    standings[study.name, entity] = (
                        _with_materialized(periods, _materialized(shown, study.name, entity)) if periods else {}
                    )
    return AgendaInputs(
        studies=tuple(studies),
        partition_status=standings,
        hits_per_day=density,
        pools=pools,
        used_today=used or {},
        quota_reserve=settings.quota_reserve,
        page_size=settings.page_size,
        window_days=settings.window_days,
        n_username_batches={
            s.name: len(batch_usernames(batchable_usernames(s.query), settings.username_batch)) or 1 for s in studies
        },
        canary_days=canaries,
        last_canary_check=called,
    )


def _materialized(shown: MaterializedPartitions | None, study: str, entity: str) -> Collection[date] | None:
    return None if shown is None else frozenset(shown(study, entity))


def _with_materialized(
    standings: Mapping[date, PartitionStatus], seen: Collection[date] | None
) -> Mapping[date, PartitionStatus]:
    """The standings with what the UI has `seen` of them; None where nobody has to be shown anything."""
    if seen is None:
        return standings
    return {partition: replace(standing, is_materialized=partition in seen) for partition, standing in standings.items()}


def open_journal_bytes(captures: Path, study: str, entity: str) -> int:
    """The size of the open journals: grows with each page, so that two looks tell whether a run got anywhere."""
    return sum(path.stat().st_size for path in (captures / entity / f"study={study}").glob("*/*.jsonl"))
