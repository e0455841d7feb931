"""How the lists of a study stand: the comments of each day, and the accounts of the running period.

A list is a unit of its own: what is wanted of a partition is drawn up in `targets.py` and compared here with what is
held. Days of the search are no lists; they are read in `standing_days.py`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime

from research_assets.collect.agenda_model import PartitionStatus
from research_assets.collect.coverage import ATTEMPT_RECENCY, SETTLED, SETTLED_SQL, UnitStatus, read_unit_status
from research_assets.collect.estimate import NO_COST, estimate_list, sum_estimates
from research_assets.collect.history import mean_requests_per_list, reply_request_ratio
from research_assets.collect.lookup import RawTables, query_raw
from research_assets.collect.observing import current_period, should_observe
from research_assets.collect.spec import StudySpec
from research_assets.collect.targets import Target, account_targets, reply_targets_by_day, video_targets_by_day
from research_assets.settings import Settings

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
        held = {
            day: standing.last_complete_at for day, standing in days.items() if standing.last_complete_at is not None
        }
        standings, look = {}, []
        for day, looked_at in held.items():
            ended, moment = seen.get(day, (False, None))
            closed = ended and moment is not None and moment >= looked_at
            if closed or (day not in seen and day in shown):
                standings[day] = PartitionStatus(last_complete_at=moment)
            else:
                look.append(day)
        replies = reply_request_ratio(self._raw, self._study.name) if look else 0.0
        for day, units, targets in self._comment_units(look):
            standing = self._status("comments", targets, units, None)
            if not any(unit.attempt.unit_kind == "comment" for unit in units.values()) and replies:
                estimate = standing.estimate
                standing = replace(standing, estimate=replace(estimate, requests=estimate.requests * (1 + replies)))
            standings[day] = standing
        return standings

    def _comment_units(self, days: Sequence[date]) -> Iterator[tuple[date, Mapping[str, UnitStatus], list[Target]]]:
        """The units of comments that are known of each day, and those that are wanted; a month is read at a time."""
        for begin in range(0, len(days), _DAYS_PER_READ):
            some = days[begin : begin + _DAYS_PER_READ]
            held = read_unit_status(
                self._raw, "comments", study=self._study.name, partitions=some, captures=self._settings.captures
            )
            known = _by_partition(held)
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
        held: Mapping[str, UnitStatus],
        pages: float | None,
        refused: Collection[str] = (),
    ) -> PartitionStatus:
        """The standing of a partition of lists, from what is wanted and what is held of it."""
        opened: list[Target] = []
        rests: list[datetime] = []
        again, begun = 0, False
        for target in targets:
            record = held.get(target.unit)
            if record is None:
                if target.expected != 0 or target.kind != "video":
                    opened.append(target)
                continue
            verdict = record.attempt
            if verdict.state in SETTLED and not (target.kind == "comment" and _has_new_replies(held, target)):
                continue
            begun = begun or verdict.state in ("partial", "not_asked")
            if verdict.next_try is not None and verdict.next_try > self._now:
                rests.append(verdict.next_try)
            else:
                opened.append(target)
                again += 1
        moments = [record.attempt.last_at for record in held.values() if record.attempt.last_at is not None]
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


def _has_new_replies(held: Mapping[str, UnitStatus], target: Target) -> bool:
    """Whether a comment has more replies than when they were last asked: the collector's own rule."""
    record = held.get(target.unit)
    if record is None or record.attempt.state not in SETTLED:
        return True
    return (record.attempt.expected or 0) < (target.expected or 0)


def _by_partition(records: Iterable[UnitStatus]) -> dict[date, dict[str, UnitStatus]]:
    found: dict[date, dict[str, UnitStatus]] = {}
    for record in records:
        found.setdefault(record.attempt.partition, {})[record.attempt.unit] = record
    return found
