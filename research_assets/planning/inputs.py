"""The inputs of the agenda and the forecast, read from the raw tables.

From top to bottom: the inputs of all studies together; the days of a study's search, and the day of its canary check;
the lists of a study (the comments of each day, and the accounts of the current period). For a list the units that the
study expects are compared with the units collected. A read that fails raises an error: it must never pass for "nothing
to do".

Not here: the decision (see agenda.py); which units a study expects of a partition (see units/targets.py).
"""

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path

import duckdb

from research_assets.clock import MAX_CLOCK_SKEW
from research_assets.fields import ENTITIES, ENTITIES_OF_ACCOUNTS
from research_assets.planning.types import AgendaInputs, StudyEntity
from research_assets.quota.ledger import PoolState
from research_assets.settings import Settings
from research_assets.storage.listing import matching_paths
from research_assets.storage.raw_digests import DamagedRawFile
from research_assets.storage.raw_reader import RawTables, query_raw
from research_assets.study.pseudonymous import page_sources
from research_assets.study.spec import StudySpec
from research_assets.units.comment_counts import has_new_replies, is_reopened, waits_for_confirmation
from research_assets.units.coverage import (
    ATTEMPT_RECENCY,
    MAX_BACKOFF,
    SETTLED,
    SETTLED_SQL,
    UnitStatus,
    is_waiting,
    read_unit_status,
)
from research_assets.units.estimates import (
    Estimate,
    estimate_list,
    mean_requests_per_list,
    reply_request_ratio,
    sum_estimates,
)
from research_assets.units.partition_status import REPEAT_WITHIN, PartitionStatus
from research_assets.units.periods import (
    CANARY_INTERVAL,
    MIN_CANARY_VIDEOS,
    ObservedPeriods,
    canary_day,
    current_period,
    observed_periods,
    period_of,
    should_observe,
)
from research_assets.units.targets import Target, observed_targets, reply_targets_by_day, video_targets_by_day
from research_assets.units.usernames import batch_usernames, batchable_usernames, days_missing_accounts

MaterializedPartitions = Callable[[str, str], Collection[date]]
"""Function that returns the materialized partitions of a study's entity in Dagster."""

_DAYS_PER_READ = 31
"""Days whose comment units are read in one query and are in memory together."""


def study_entities(study: StudySpec) -> tuple[str, ...]:
    """Return the entities that a study collects."""
    collected = {"videos"}
    if study.comments.videos != "none":
        collected.add("comments")
    if study.users.who != "none":
        collected.add("users")
    if study.panel:
        collected |= {
            name
            for name, entity in ENTITIES.items()
            if entity.time_axis == "observation" and name not in ("users", "playlists")
        }
    if study.playlists:
        collected.add("playlists")
    return tuple(name for name in ENTITIES if name in collected)


def read_agenda_inputs(
    settings: Settings,
    studies: Sequence[StudySpec],
    pools: Mapping[str, PoolState],
    now: datetime,
    *,
    used: Mapping[str, Mapping[str, int]] | None = None,
    materialized: MaterializedPartitions | None = None,
    raw: RawTables | None = None,
) -> AgendaInputs:
    """Return the inputs of a decision at `now`.

    Without `materialized` all partitions count as materialized. `raw` are the raw tables if the caller has them open.
    A study whose accounts are all withdrawn is not in the result.
    """
    studies = [study for study in studies if not study.all_left_out]
    statuses: dict[StudyEntity, Mapping[date, PartitionStatus]] = {}
    hits_per_day: dict[str, Mapping[date, float]] = {}
    canary_days: dict[str, date] = {}
    last_canary_check: dict[str, datetime] = {}
    with nullcontext(raw) if raw else RawTables(settings.raw) as tables:
        for study in studies:
            days, hits_per_day[study.name] = read_day_status(tables, study, now)
            seen = _materialized(materialized, study.name, "videos")
            statuses[study.name, "videos"] = _with_materialized(days, seen)
            day, last_check = read_canary_day(tables, study, now)
            if day is not None:
                canary_days[study.name] = day
            if last_check is not None:
                last_canary_check[study.name] = last_check
            lists = ListStatusReader(settings, tables, study, now)
            for entity in study_entities(study):
                if entity == "comments":
                    seen = _materialized(materialized, study.name, entity)
                    statuses[study.name, entity] = _with_materialized(lists.comments(days), seen)
                elif entity != "videos":
                    periods = lists.accounts(entity, days)
                    statuses[study.name, entity] = (
                        _with_materialized(periods, _materialized(materialized, study.name, entity)) if periods else {}
                    )
    return AgendaInputs(
        studies=tuple(studies),
        partition_status=statuses,
        hits_per_day=hits_per_day,
        pools=pools,
        used_today=used or {},
        quota_reserve=settings.quota_reserve,
        page_size=settings.page_size,
        window_days=settings.window_days,
        n_username_batches={
            study.name: len(batch_usernames(batchable_usernames(study.query), settings.username_batch)) or 1
            for study in studies
        },
        canary_days=canary_days,
        last_canary_check=last_canary_check,
    )


def read_observed_periods(settings: Settings, study: StudySpec, now: datetime) -> dict[str, ObservedPeriods]:
    """Return the partitions of each observed entity of a study, from the collected data.

    The periods are read from the names of folders: loading the code location must not fail because a file is damaged,
    and it must not take long. Without a readable file the partitions have no end.
    """
    entities = [entity for entity in study_entities(study) if ENTITIES[entity].time_axis == "observation"]
    if not entities:
        return {}
    # Without a day nobody knows yet when the last author will be found.
    days: Mapping[date, PartitionStatus] = {}
    unknown_days = {study.start: PartitionStatus(open_units=1)}
    last_observed_at: dict[str, datetime | None] = {}
    if study.end is not None and study.observe_until is None:
        with suppress(duckdb.Error, OSError, DamagedRawFile), RawTables(settings.raw) as raw:
            last_observed_at = {entity: read_last_observed(raw, study, entity) for entity in entities}
            days, _ = read_day_status(raw, study, now)
    found = {}
    for entity in entities:
        by_videos = study.depends_on_videos(entity)
        found[entity] = observed_periods(
            study,
            _observed_partitions(settings, study, entity),
            (days or unknown_days) if by_videos else {},
            last_observed_at.get(entity),
            now,
        )
    return found


def read_last_observed(raw: RawTables, study: StudySpec, entity: str, *, before: date | None = None) -> datetime | None:
    """Return the time of the newest attempt at an observed entity, in the partitions `before` a day if it is given."""
    rows = query_raw(
        raw,
        "coverage",
        f"study={study.name}/day=*",
        "SELECT max(last_at) FROM {table} WHERE entity = ? AND partition < ?",
        [entity, before or date.max],
    )
    return rows[0][0] if rows else None


def _observed_partitions(settings: Settings, study: StudySpec, entity: str) -> set[date]:
    """Return the partitions of an entity of which captures or raw tables exist."""
    # A capture is stored under its partition, a raw row under the UTC day on which it was observed.
    folders = [
        *(matching_paths(settings.raw / entity / f"study={study.name}", "day=*")),
        *(matching_paths(settings.captures / entity / f"study={study.name}", "*")),
    ]
    found = set()
    for folder in folders:
        with suppress(ValueError, OSError):
            day = date.fromisoformat(folder.name.removeprefix("day="))
            if next(folder.iterdir(), None) is not None:
                found.add(period_of(study, day))
    return found


def _materialized(materialized: MaterializedPartitions | None, study: str, entity: str) -> Collection[date] | None:
    return None if materialized is None else frozenset(materialized(study, entity))


def _with_materialized(
    statuses: Mapping[date, PartitionStatus], materialized: Collection[date] | None
) -> Mapping[date, PartitionStatus]:
    """Return the statuses with `is_materialized` set; unchanged if the materialized partitions are unknown (None)."""
    if materialized is None:
        return statuses
    return {
        partition: replace(status, is_materialized=partition in materialized) for partition, status in statuses.items()
    }


def open_journal_bytes(captures: Path, study: str, entity: str) -> int:
    """Return the size of the open journals in bytes. It grows with each page, so a change of it shows progress."""
    return sum(path.stat().st_size for path in matching_paths(captures / entity / f"study={study}", "*/*.jsonl"))


def read_day_status(
    raw: RawTables, study: StudySpec, now: datetime
) -> tuple[dict[date, PartitionStatus], dict[date, float]]:
    """Return the status of each day of a study's search with an attempt, and the raw hits of the collected days.

    The hits are also those of days that an earlier study file had. No status is: such a day is no partition any more.
    """
    rows = query_raw(
        raw,
        "coverage",
        f"study={study.name}/day=*",
        f"""
        SELECT partition, max(last_at) FILTER (state = 'complete'),
            arg_max(offered, last_at) FILTER (state = 'complete'),
            arg_max(struct_pack(state := state, next_try := next_try), {ATTEMPT_RECENCY}),
            list(DISTINCT last_at) FILTER (state = 'complete' AND last_at IS NOT NULL)
        FROM {{table}} WHERE entity = 'videos' AND unit_kind = 'day' GROUP BY partition
        """,
    )
    # Only a search in batches of usernames can miss an account; for other searches the units need not be read.
    units = read_unit_status(raw, "videos", study=study.name) if batchable_usernames(study.query) else []
    missing_accounts = days_missing_accounts(study.query, units, now, retry=False)
    statuses, hits_per_day = {}, {}
    for day, last_complete_at, offered, newest, complete_at in rows:
        if last_complete_at is not None:
            hits_per_day[day] = float(offered)
        if not study.has_day(day):
            continue
        is_settled = newest["state"] in SETTLED
        waits = not is_settled and is_waiting(newest["next_try"], now)
        statuses[day] = PartitionStatus(
            open_units=int(not is_settled and not waits),
            waiting_units=int(waits),
            next_try=newest["next_try"] if waits else None,
            last_complete_at=last_complete_at,
            failed_before=not is_settled,
            in_progress=newest["state"] == "partial",
            is_missing_accounts=day in missing_accounts,
            is_repeated=any(later - one <= REPEAT_WITHIN for one, later in pairwise(sorted(complete_at or ()))),
        )
    return statuses, hits_per_day


def read_canary_day(raw: RawTables, study: StudySpec, now: datetime) -> tuple[date | None, datetime | None]:
    """Return the day of the canary check that is due now, and the time of the last check; None if there is none."""
    rows = query_raw(
        raw,
        "coverage",
        f"study={study.name}/day=*",
        f"""
        SELECT
            array_agg(DISTINCT partition) FILTER (
                unit_kind = 'day' AND state = 'complete' AND kept >= {MIN_CANARY_VIDEOS} AND last_at <= ?
            ),
            max(last_at) FILTER (unit_kind = 'canary'),
            arg_max(next_try, last_at) FILTER (unit_kind = 'canary')
        FROM {{table}} WHERE entity = 'videos'
        """,
        [now - CANARY_INTERVAL],
    )
    if not rows:
        return None, None
    [(collected, last_check, next_try)] = rows
    days = [day for day in collected or () if study.has_day(day)]
    return canary_day(study, days, last_check, next_try, now), last_check


class ListStatusReader:
    """Reader of the partition status of one study's lists at one time."""

    def __init__(self, settings: Settings, raw: RawTables, study: StudySpec, now: datetime) -> None:
        self._settings, self._raw, self._study, self._now = settings, raw, study, now

    def comments(self, days: Mapping[date, PartitionStatus]) -> dict[date, PartitionStatus]:
        """Return the status of the comments of each day whose videos are collected."""
        attempts = {
            day: (is_settled, n_unconfirmed, last_at)
            for day, is_settled, n_unconfirmed, last_at in query_raw(
                self._raw,
                "coverage",
                f"study={self._study.name}/day=*",
                f"""
                SELECT partition, bool_and(newest IN {SETTLED_SQL} OR newest = 'too_fresh'),
                    count(*) FILTER (newest = 'too_fresh'), max(last_at)
                FROM (
                    SELECT partition, max(last_at) AS last_at, arg_max(state, {ATTEMPT_RECENCY}) AS newest
                    FROM {{table}} WHERE entity = 'comments' GROUP BY partition, unit_kind, unit
                ) GROUP BY partition
                """,
            )
        }
        statuses, unread = {}, []
        for day, status in days.items():
            if status.last_complete_at is None:
                continue
            is_settled, n_unconfirmed, last_at = attempts.get(day, (False, 0, None))
            is_current = is_settled and last_at is not None and last_at >= status.last_complete_at
            if n_unconfirmed and self._study.comments.videos == "top":
                # After a newer observation other videos may be the most commented ones.
                is_current = False
            if is_current:
                statuses[day] = PartitionStatus(
                    unconfirmed_units=n_unconfirmed,
                    next_try=self._study.counts_confirmed_at(day) if n_unconfirmed else None,
                    last_complete_at=None if n_unconfirmed else last_at,
                )
            else:
                unread.append(day)
        reply_ratio = reply_request_ratio(self._raw, self._study.name) if unread else 0.0
        for day, units, targets in self._comment_units(unread, attempts):
            status = self._status("comments", targets, units, None)
            if status.unconfirmed_units and not status.waiting_units:
                status = replace(status, next_try=self._study.counts_confirmed_at(day))
            if not any(unit.attempt.unit_kind == "comment" for unit in units.values()) and reply_ratio:
                estimate = status.estimate
                status = replace(status, estimate=replace(estimate, requests=estimate.requests * (1 + reply_ratio)))
            statuses[day] = status
        return statuses

    def _comment_units(
        self, days: Sequence[date], attempted: Container[date]
    ) -> Iterator[tuple[date, Mapping[str, UnitStatus], list[Target]]]:
        """Yield for each day the status of its comment units and the units that the study expects."""
        for begin in range(0, len(days), _DAYS_PER_READ):
            chunk = days[begin : begin + _DAYS_PER_READ]
            with_units = [day for day in chunk if day in attempted]
            units_by_day = _by_partition(
                read_unit_status(
                    self._raw,
                    "comments",
                    study=self._study.name,
                    partitions=with_units,
                    captures=self._settings.captures,
                )
                # Days without selected videos stay without units, and each tick reads them.
                if with_units
                else ()
            )
            videos = video_targets_by_day(self._raw, self._study, chunk)
            replies = reply_targets_by_day(self._raw, self._study, chunk)
            for day in chunk:
                units = units_by_day.get(day, {})
                open_replies = [
                    target for target in replies.get(day, []) if has_new_replies(target, units.get(target.unit))
                ]
                yield day, units, [*videos.get(day, []), *open_replies]

    def accounts(self, entity: str, days: Mapping[date, PartitionStatus]) -> dict[date, PartitionStatus]:
        """Return the status of the current period of an observed entity.

        It is empty while no account is known, and once the study has ended.
        """
        study, period = self._study, current_period(self._study, self._now)
        depends_on_videos = study.depends_on_videos(entity)
        if depends_on_videos and not any(day.last_complete_at for day in days.values()):
            return {}
        last_observed_at = read_last_observed(self._raw, study, entity, before=period)
        if not should_observe(study, days if depends_on_videos else {}, last_observed_at, self._now):
            return {}
        of_accounts = list(ENTITIES_OF_ACCOUNTS if entity in ENTITIES_OF_ACCOUNTS else ())
        may_copy_from = page_sources(self._settings, study.name, entity)
        units = {
            record.attempt.unit: record
            for record in read_unit_status(self._raw, entity, partitions=[period], captures=self._settings.captures)
            if record.study == study.name or (record.attempt.state == "complete" and may_copy_from(record.study))
        }
        unavailable = {
            unit
            for (unit,) in query_raw(
                self._raw,
                "coverage",
                "study=*/day=*",
                "SELECT DISTINCT unit FROM {table} WHERE (entity = ? AND state IN ('refused', 'missing') "
                "OR entity IN (SELECT unnest(?::VARCHAR[])) AND state = 'missing') AND next_try > ? AND next_try <= ?",
                [entity, of_accounts, self._now, self._now + MAX_BACKOFF + MAX_CLOCK_SKEW],
            )
        }
        targets = observed_targets(self._raw, study, entity, period)
        mean_pages = mean_requests_per_list(self._raw, entity)
        return {period: self._status(entity, targets, units, mean_pages, unavailable)}

    def _status(
        self,
        entity: str,
        targets: Iterable[Target],
        units: Mapping[str, UnitStatus],
        mean_pages: float | None,
        unavailable: Collection[str] = (),
    ) -> PartitionStatus:
        """Return the status of a partition of lists from its expected units and their status.

        `unavailable` units are closed without a request, so the estimate leaves them out.
        """
        open_targets: list[Target] = []
        next_tries: list[datetime] = []
        n_retries, n_unconfirmed, n_recounted, in_progress = 0, 0, 0, False
        for target in targets:
            unit = units.get(target.unit)
            if unit is None:
                # Without a request, but with a run, a video with a count of zero gets its state. Without the state it
                # would be unknown that the video was selected, and estimates would miss videos without comments.
                open_targets.append(target)
                continue
            attempt = unit.attempt
            if waits_for_confirmation(target, unit):
                n_unconfirmed += 1
                continue
            is_recounted = attempt.state == "too_fresh" or is_reopened(target, unit, self._settings.comment_limit)
            if attempt.state in SETTLED and not is_recounted:
                continue
            in_progress = in_progress or unit.newest_state in ("partial", "not_asked")
            next_try = None if unit.newest_state in ("too_fresh", *SETTLED) else unit.newest_next_try
            if next_try is not None and is_waiting(next_try, self._now):
                next_tries.append(next_try)
            else:
                open_targets.append(target)
                n_retries += 1
                n_recounted += is_recounted
        ended = [unit.attempt.last_at for unit in units.values() if unit.attempt.last_at is not None]
        is_complete = not open_targets and not next_tries and not n_unconfirmed
        return PartitionStatus(
            open_units=len(open_targets),
            waiting_units=len(next_tries),
            unconfirmed_units=n_unconfirmed,
            next_try=min(next_tries, default=None),
            last_complete_at=max(ended, default=None) if is_complete else None,
            failed_before=bool(open_targets) and n_retries == len(open_targets),
            is_recounted=bool(open_targets) and n_recounted == len(open_targets),
            in_progress=in_progress,
            estimate=self._estimate(
                entity, (target for target in open_targets if target.unit not in unavailable), mean_pages
            ),
        )

    def _estimate(self, entity: str, targets: Iterable[Target], mean_pages: float | None) -> Estimate:
        settings = self._settings
        return sum_estimates(
            estimate_list(
                entity, target.expected, mean_pages, page_size=settings.page_size, ceiling=settings.comment_limit
            )
            for target in targets
            if not (target.kind == "video" and target.expected == 0)
        )


def _by_partition(units: Iterable[UnitStatus]) -> dict[date, dict[str, UnitStatus]]:
    found: dict[date, dict[str, UnitStatus]] = {}
    for unit in units:
        found.setdefault(unit.attempt.partition, {})[unit.attempt.unit] = unit
    return found
