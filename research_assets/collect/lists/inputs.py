"""Inputs of a list run: the targets of a partition, their unit status, and units that need no request.

A unit needs no request if its list is known to be empty, if its refusal is in backoff, or if another study has
collected it in the same period.

Not here: sending requests (see run.py and pager.py).
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime

import orjson

from research_assets.clock import midnight
from research_assets.collect.lists.pager import ListProgress
from research_assets.collect.types import CollectionTask, CollectorContext
from research_assets.fields import ENTITIES, ENTITIES_OF_ACCOUNTS
from research_assets.storage.captures import DamagedCapture, Journal, Manifest, read_events
from research_assets.storage.listing import matching_paths
from research_assets.study.pseudonymous import page_sources
from research_assets.units.comment_counts import zero_count_outcome
from research_assets.units.coverage import (
    MAX_REOBSERVATION_AGE,
    Attempt,
    UnitState,
    UnitStatus,
    format_utc,
    is_waiting,
    join_sentences,
    read_earlier_ends,
    read_failed_units,
    read_recent_units,
    read_unit_status,
)
from research_assets.units.periods import current_period
from research_assets.units.targets import Target, observed_targets, video_targets

_LOGGER = logging.getLogger(__name__)


class ListInputs:
    """Targets and unit status of an entity when a run begins. The status of accounts covers all studies and periods.

    `earlier_ends` are the rows of the newest attempt at each account before today (UTC).
    """

    def __init__(self, task: CollectionTask, context: CollectorContext) -> None:
        """Read what all partitions share; the rest is read per partition to keep memory flat."""
        self._task, self._context, self._settings = task, context, context.settings
        self.is_observation = ENTITIES[task.entity].time_axis == "observation"
        settings = context.settings
        self._days = {
            record.attempt.partition: record.attempt
            for record in read_unit_status(settings.raw, "videos", study=task.study.name, captures=settings.captures)
            if record.attempt.unit_kind == "day"
        }
        period = current_period(task.study, context.clock.now())
        self._accounts = observed_targets(settings.raw, task.study, task.entity, period) if self.is_observation else []
        self._failed_units: dict[str, UnitStatus] = {}
        self.earlier_ends: dict[str, int] = {}
        if self.is_observation:
            captures = settings.captures
            self._failed_units = read_failed_units(settings.raw, task.entity, captures=captures)
            if task.entity in ENTITIES_OF_ACCOUNTS:
                # The API answers for all of them that it cannot find the account (reference §6.2).
                self._failed_units |= read_failed_units(
                    settings.raw, *ENTITIES_OF_ACCOUNTS, captures=captures, only="missing"
                )
            today = midnight(context.clock.now().date())
            self.earlier_ends = read_earlier_ends(settings.raw, task.entity, today, captures=captures)
        # Complete units of other studies, by partition of this study.
        self._recent: dict[date, dict[str, UnitStatus]] = {}
        may_copy_from = page_sources(settings, task.study.name, task.entity)
        since = midnight(period) if self.is_observation else context.clock.now() - MAX_REOBSERVATION_AGE
        for record in read_recent_units(settings.raw, task.entity, since, captures=settings.captures):
            if record.attempt.state == "complete" and may_copy_from(record.study):
                # A study with periods of another length has collected the account in another partition.
                partition = period if self.is_observation else record.attempt.partition
                self._recent.setdefault(partition, {})[record.attempt.unit] = record

    def blocked_reason(self, partition: date) -> str | None:
        """Return why a partition cannot be collected yet; None if it can.

        Comments need the complete videos of the day; profiles of authors and playlists need one complete day of videos.
        """
        study = self._task.study
        state = self._days[partition].state if partition in self._days else "not_asked"
        if self._task.entity == "comments" and state != "complete":
            return f"The day's videos are {state}. Its comments are collected once they are complete."
        by_videos = study.depends_on_videos(self._task.entity)
        if by_videos and not any(day.state == "complete" for day in self._days.values()):
            units = "Playlists" if self._task.entity == "playlists" else "Authors"
            return f"No day of videos is complete yet. {units} are collected once one is."
        return None

    def targets(self, partition: date) -> list[Target]:
        """Return the units of a partition."""
        return self._accounts if self.is_observation else video_targets(self._settings.raw, self._task.study, partition)

    def unit_status(self, partition: date) -> dict[str, UnitStatus]:
        """Return the study's own status of a partition, by unit."""
        settings, task = self._settings, self._task
        records = read_unit_status(
            settings.raw, task.entity, study=task.study.name, partitions=[partition], captures=settings.captures
        )
        return {record.attempt.unit: record for record in records}

    def status_elsewhere(self, partition: date) -> Mapping[str, UnitStatus]:
        """Return the status from other studies and periods, by unit.

        It has the accounts whose newest attempt failed, and those that another study completed in this period; of
        comments those that another study completed within `MAX_REOBSERVATION_AGE`.
        """
        return self._failed_units | self._recent.get(partition, {})


def attempt_without_request(
    target: Target, partition: date, state: UnitState, reason: str | None, next_try: datetime | None, now: datetime
) -> Attempt:
    """Return an attempt that sets the state of a unit without a request."""
    return ListProgress().attempt(target, partition, now, state, reason, next_try)


class UnitReuse:
    """Units of a partition that need no request, and the pages that other studies have of them.

    Pages of a list of comments are copied if the study has no newer count of it.
    """

    def __init__(
        self,
        context: CollectorContext,
        task: CollectionTask,
        partition: date,
        elsewhere: Mapping[str, UnitStatus],
        progress_by_unit: dict[str, ListProgress],
    ) -> None:
        """`elsewhere` is the status from other studies and periods, `progress_by_unit` what the journal has begun."""
        self._context, self._task, self._partition = context, task, partition
        self._elsewhere, self._progress_by_unit = elsewhere, progress_by_unit

    def attempts(self, journal: Journal, targets: Iterable[Target]) -> Iterator[Attempt]:
        """Yield attempts for the targets that need no request; pages of other studies are copied to the journal."""
        now = self._context.clock.now()
        by_capture: dict[tuple[date, str], list[Target]] = {}
        for target in targets:
            status = self._elsewhere.get(target.unit)
            if target.expected == 0 and target.kind == "video":
                outcome = zero_count_outcome(target, self._task.study, self._partition)
                yield attempt_without_request(target, self._partition, *outcome, now)
            elif status is None or target.unit in self._progress_by_unit:
                continue
            elif status.attempt.state == "complete":
                is_older = target.kind != "account" and (target.expected or 0) > (status.attempt.expected or 0)
                if not self._task.recollect and not is_older:
                    key = status.attempt.partition, str(status.attempt.capture)
                    by_capture.setdefault(key, []).append(target)
            elif self._is_backing_off(status.attempt, now):
                old = status.attempt
                source = f"This is known from {old.entity}" if old.entity != target.entity else None
                next_try = f"Next try: {format_utc(old.next_try)}." if old.next_try else None
                reason = join_sentences(old.reason, source, next_try)
                yield attempt_without_request(target, self._partition, old.state, reason, old.next_try, now)
        for (partition, capture), copied in by_capture.items():
            yield from self._copy_pages(journal, partition, capture, {target.unit: target for target in copied})

    def _is_backing_off(self, attempt: Attempt, now: datetime) -> bool:
        """Return whether the next try of a refused or missing unit is not due yet."""
        final = attempt.state in ("refused", "missing") and not self._task.retry_now
        return final and is_waiting(attempt.next_try, now)

    def _copy_pages(
        self, journal: Journal, partition: date, capture: str, targets: Mapping[str, Target]
    ) -> Iterator[Attempt]:
        """Copy another study's pages of these units, if they were requested with all needed fields.

        `partition` and `capture` are those of the other study.
        """
        folder = self._context.settings.captures / self._task.entity
        fields = {unit: set(target.request(self._task.study, 1, None).fields) for unit, target in targets.items()}
        copied: dict[str, ListProgress] = {}
        for path in matching_paths(folder, f"study=*/{partition}/{capture}.jsonl.zst"):
            try:
                Manifest.load(path).verify()
            except DamagedCapture as error:
                _LOGGER.warning("%s They are requested again instead.", error)
                continue
            for event in read_events(path):
                unit = str(event.get("unit"))
                if (
                    event["event"] != "page"
                    or unit not in targets
                    or not fields[unit] <= set(event["request"]["fields"])
                ):
                    continue
                answer = orjson.dumps(event.pop("answer"))
                facts = {key: value for key, value in event.items() if key not in ("event", "seq")}
                facts |= {"taken_from": capture, "requests": 0, "partition": self._partition}
                journal.append("page", facts, answer)
                copied.setdefault(unit, ListProgress()).apply({"event": "page", **facts})
        for unit, progress in copied.items():
            source = self._elsewhere[unit]
            reason = join_sentences(f"Copied from the study {source.study}.", source.attempt.reason)
            if targets[unit].kind == "video":
                # The replies to its comments are to be collected too.
                self._progress_by_unit[unit] = progress
            yield progress.attempt(targets[unit], self._partition, self._context.clock.now(), "complete", reason)
