"""How the days of a study's search stand, and which of them its canary is to call; read from raw/coverage.

A day is one unit here, whatever windows it was asked in. What is asked about its videos afterwards (comments, accounts)
is read in `standing_lists.py`; when a canary is due is decided in `observing.py`.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

from research_assets.fields import ENTITIES
from research_assets.planning.types import AgendaInputs, StudyEntity
from research_assets.quota.ledger import PoolState
from research_assets.settings import Settings
from research_assets.storage.raw_reader import RawTables, query_raw
from research_assets.study.spec import StudySpec
from research_assets.units.coverage import ATTEMPT_RECENCY, SETTLED, SETTLED_SQL, UnitStatus, read_unit_status
from research_assets.units.estimates import (
    NO_COST,
    estimate_list,
    mean_requests_per_list,
    reply_request_ratio,
    sum_estimates,
)
from research_assets.units.partition_status import PartitionStatus
from research_assets.units.periods import CANARY_INTERVAL, MIN_CANARY_VIDEOS, canary_day, current_period, should_observe
from research_assets.units.targets import Target, account_targets, reply_targets_by_day, video_targets_by_day
from research_assets.units.usernames import batch_usernames, batchable_usernames, days_missing_accounts

# JOINED: """How the lists of a study stand: the comments of each day, and the accounts of the running period.
#
# A list is a unit of its own: what is wanted of a partition is drawn up in `targets.py` and compared here with what is
# held. Days of the search are no lists; they are read in `standing_days.py`.
# """


# JOINED: """Where everything stands: what is held of each study, what is open, and what that will cost, read from files alone.
#
# The reading side of the agenda and the plan: here the facts are put together, of all studies and entities. Days of a
# search are read in `standing_days.py`, comments and accounts in `standing_lists.py`. A read that fails raises: it is
# never taken for nothing to do.
# """


def read_day_status(
    raw: RawTables, study: StudySpec, now: datetime
) -> tuple[dict[date, PartitionStatus], dict[date, float]]:
    """The days of the search, and the raw hits of those that are held."""
    rows = query_raw(
        raw,
        "coverage",
        f"study={study.name}/day=*",
        f"""
        SELECT partition, max(last_at) FILTER (state = 'complete'),
            arg_max(offered, last_at) FILTER (state = 'complete'),
            arg_max(struct_pack(state := state, next_try := next_try), {ATTEMPT_RECENCY})
        FROM {{table}} WHERE entity = 'videos' AND unit_kind = 'day' GROUP BY partition
        """,
    )
    # Only a search by accounts can lack one; for others what is held need not be read.
    status = read_unit_status(raw, "videos", study=study.name) if batchable_usernames(study.query) else []
    part = days_missing_accounts(study.query, status, now, retry=False)
    statuses, density = {}, {}
    for day, looked_at, offered, newest in rows:
        ended = newest["state"] in SETTLED
        rests = not ended and newest["next_try"] is not None and newest["next_try"] > now
        statuses[day] = PartitionStatus(
            open_units=int(not ended and not rests),
            waiting_units=int(rests),
            next_try=newest["next_try"] if rests else None,
            last_complete_at=looked_at,
            failed_before=not ended,
            in_progress=newest["state"] == "partial",
            is_missing_accounts=day in part,
        )
        if looked_at is not None:
            density[day] = float(offered)
    return statuses, density


def read_canary_day(raw: RawTables, study: StudySpec, now: datetime) -> tuple[date | None, datetime | None]:
    """The day whose videos are looked for now, if the study's last look is old enough; and when that was."""
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
    [(days, last, waits_until)] = rows
    return canary_day(study, days or (), last, waits_until, now), last


_DAYS_PER_READ = 31
"""Days whose units are in memory together."""


class ListStatusReader:
    """Reads the standings of one study's lists at one moment."""

    def __init__(self, settings: Settings, raw: RawTables, study: StudySpec, now: datetime) -> None:
        self._settings, self._raw, self._study, self._now = settings, raw, study, now

    def comments(self, days: Mapping[date, PartitionStatus], shown: Collection[date]) -> dict[date, PartitionStatus]:
        """The comments of each day whose videos are held. A day that is `shown` and has no row had nothing to ask."""
        seen = {
            day: (ended, moment)
            for day, ended, moment in query_raw(
                self._raw,
                "coverage",
                f"study={self._study.name}/day=*",
                f"""
                SELECT partition, bool_and(ended), max(moment) FROM (
                    SELECT partition, bool_or(state = 'complete') OR arg_max(state, {ATTEMPT_RECENCY}) IN {SETTLED_SQL} AS ended,
                        max(last_at) AS moment
                    FROM {{table}} WHERE entity = 'comments' GROUP BY partition, unit_kind, unit
                ) GROUP BY partition
                """,
            )
        }
        held = {day: status.last_complete_at for day, status in days.items() if status.last_complete_at is not None}
        statuses, look = {}, []
        for day, looked_at in held.items():
            ended, moment = seen.get(day, (False, None))
            closed = ended and moment is not None and moment >= looked_at
            if closed or (day not in seen and day in shown):
                statuses[day] = PartitionStatus(last_complete_at=moment)
            else:
                look.append(day)
        replies = reply_request_ratio(self._raw, self._study.name) if look else 0.0
        for day, units, targets in self._comment_units(look):
            status = self._status("comments", targets, units, None)
            if not any(unit.attempt.unit_kind == "comment" for unit in units.values()) and replies:
                estimate = status.estimate
                status = replace(status, estimate=replace(estimate, requests=estimate.requests * (1 + replies)))
            statuses[day] = status
        return statuses

    def _comment_units(self, days: Sequence[date]) -> Iterator[tuple[date, Mapping[str, UnitStatus], list[Target]]]:
        """The units of comments that are known of each day, and those that are wanted; a month is read at a time."""
        for begin in range(0, len(days), _DAYS_PER_READ):
            some = days[begin : begin + _DAYS_PER_READ]
            status = read_unit_status(
                self._raw, "comments", study=self._study.name, partitions=some, captures=self._settings.captures
            )
            known = _by_partition(status)
            videos = video_targets_by_day(self._raw, self._study, some)
            replies = reply_targets_by_day(self._raw, self._study, some)
            for day in some:
                units = known.get(day, {})
                more = [one for one in replies.get(day, []) if _has_new_replies(units, one)]
                yield day, units, [*videos.get(day, []), *more]

    def accounts(self, entity: str, days: Mapping[date, PartitionStatus]) -> dict[date, PartitionStatus]:
        """The running period of an observed entity; nothing while no account is known, or once the study is over."""
        study, period = self._study, current_period(self._study, self._now)
        if entity == "users" and study.users.who != "panel" and not any(day.last_complete_at for day in days.values()):
            return {}
        earlier = query_raw(
            self._raw,
            "coverage",
            f"study={study.name}/day=*",
            "SELECT max(last_at) FROM {table} WHERE entity = ? AND partition < ?",
            [entity, period],
        )
        found = days if entity == "users" and study.users.who != "panel" else {}
        if not should_observe(study, found, earlier[0][0] if earlier else None, self._now):
            return {}
        units = {
            record.attempt.unit: record
            for record in read_unit_status(self._raw, entity, partitions=[period], captures=self._settings.captures)
            if record.study == study.name or record.attempt.state == "complete"
        }
        refused = {
            unit
            for (unit,) in query_raw(
                self._raw,
                "coverage",
                "study=*/day=*",
                "SELECT DISTINCT unit FROM {table} WHERE entity = ? "
                "AND state IN ('refused', 'missing') AND next_try > ?",
                [entity, self._now],
            )
        }
        targets, pages = account_targets(self._raw, study, entity), mean_requests_per_list(self._raw, entity)
        return {period: self._status(entity, targets, units, pages, refused)}

    def _status(
        self,
        entity: str,
        targets: Iterable[Target],
        status: Mapping[str, UnitStatus],
        pages: float | None,
        refused: Collection[str] = (),
    ) -> PartitionStatus:
        """The standing of a partition of lists, from what is wanted and what is held of it."""
        opened: list[Target] = []
        rests: list[datetime] = []
        again, begun = 0, False
        for target in targets:
            record = status.get(target.unit)
            if record is None:
                if target.expected != 0 or target.kind != "video":
                    opened.append(target)
                continue
            attempt = record.attempt
            if attempt.state in SETTLED and not (target.kind == "comment" and _has_new_replies(status, target)):
                continue
            begun = begun or attempt.state in ("partial", "not_asked")
            if attempt.next_try is not None and attempt.next_try > self._now:
                rests.append(attempt.next_try)
            else:
                opened.append(target)
                again += 1
        moments = [record.attempt.last_at for record in status.values() if record.attempt.last_at is not None]
        paid = [target for target in opened if target.unit not in refused]
        settings = self._settings
        return PartitionStatus(
            open_units=len(opened),
            waiting_units=len(rests),
            next_try=min(rests, default=None),
            last_complete_at=max(moments, default=None) if not opened and not rests else None,
            failed_before=bool(opened) and again == len(opened),
            in_progress=begun,
            estimate=sum_estimates(
                estimate_list(entity, t.expected, pages, page_size=settings.page_size, ceiling=settings.comment_limit)
                for t in paid
            )
            if paid
            else NO_COST,
        )


def _has_new_replies(status: Mapping[str, UnitStatus], target: Target) -> bool:
    """Whether a comment has more replies than when they were last asked: the collector's own rule."""
    record = status.get(target.unit)
    if record is None or record.attempt.state not in SETTLED:
        return True
    return (record.attempt.expected or 0) < (target.expected or 0)


def _by_partition(records: Iterable[UnitStatus]) -> dict[date, dict[str, UnitStatus]]:
    found: dict[date, dict[str, UnitStatus]] = {}
    for record in records:
        found.setdefault(record.attempt.partition, {})[record.attempt.unit] = record
    return found


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
    statuses: dict[StudyEntity, Mapping[date, PartitionStatus]] = {}
    density: dict[str, Mapping[date, float]] = {}
    canaries: dict[str, date] = {}
    called: dict[str, datetime] = {}
    with nullcontext(raw) if raw else RawTables(settings.raw) as tables:
        for study in studies:
            days, density[study.name] = read_day_status(tables, study, now)
            statuses[study.name, "videos"] = _with_materialized(days, _materialized(shown, study.name, "videos"))
            day, last = read_canary_day(tables, study, now)
            if day is not None:
                canaries[study.name] = day
            if last is not None:
                called[study.name] = last
            lists = ListStatusReader(settings, tables, study, now)
            for entity in study_entities(study):
                if entity == "comments":
                    seen = _materialized(shown, study.name, entity)
                    statuses[study.name, entity] = _with_materialized(lists.comments(days, seen or ()), seen)
                elif entity != "videos":
                    periods = lists.accounts(entity, days)
                    statuses[study.name, entity] = (
                        _with_materialized(periods, _materialized(shown, study.name, entity)) if periods else {}
                    )
    return AgendaInputs(
        studies=tuple(studies),
        partition_status=statuses,
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
    statuses: Mapping[date, PartitionStatus], seen: Collection[date] | None
) -> Mapping[date, PartitionStatus]:
    """The standings with what the UI has `seen` of them; None where nobody has to be shown anything."""
    if seen is None:
        return statuses
    return {partition: replace(status, is_materialized=partition in seen) for partition, status in statuses.items()}


def open_journal_bytes(captures: Path, study: str, entity: str) -> int:
    """The size of the open journals: grows with each page, so that two looks tell whether a run got anywhere."""
    return sum(path.stat().st_size for path in (captures / entity / f"study={study}").glob("*/*.jsonl"))
