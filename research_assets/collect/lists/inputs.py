"""What the run of a list starts from: which units are wanted, what is held of them, what others know of them.

Reads the raw tables for `lists.py`; sends nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime

import orjson

from research_assets.collect.lists.pager import ListProgress
from research_assets.collect.types import CollectionTask, CollectorContext
from research_assets.fields import ENTITIES
from research_assets.storage.captures import Journal, read_events
from research_assets.units.coverage import (
    Attempt,
    UnitState,
    UnitStatus,
    count_settled_units,
    format_utc,
    read_failed_units,
    read_unit_status,
)
from research_assets.units.targets import Target, account_targets, count_video_targets, video_targets

# JOINED: """Units that need no request: nothing to ask, refused not long ago, or asked by another study in the same period."""


class ListInputs:
    """What is known of an entity when a run begins. Accounts are known across studies and periods."""

    def __init__(self, task: CollectionTask, context: CollectorContext) -> None:
        """Read what all partitions share; what belongs to one is read when its turn comes, to keep memory flat."""
        self._task, self._context, self._settings = task, context, context.settings
        self.is_observation = ENTITIES[task.entity].time_axis == "observation"
        settings = context.settings
        self._days = {
            record.attempt.partition: record.attempt.state
            for record in read_unit_status(settings.raw, "videos", study=task.study.name, captures=settings.captures)
            if record.attempt.unit_kind == "day"
        }
        self._accounts = account_targets(settings.raw, task.study, task.entity) if self.is_observation else []
        self._unanswered = (
            read_failed_units(settings.raw, task.entity, captures=settings.captures) if self.is_observation else {}
        )

    def blocked_reason(self, partition: date) -> str | None:
        """Why a partition cannot be asked yet: comments follow a day's videos, and authors any videos at all."""
        study = self._task.study
        if self._task.entity == "comments" and self._days.get(partition) != "complete":
            state = self._days.get(partition, "not_asked")
            return f"The day's videos are {state}; its comments follow once they are complete."
        by_videos = self._task.entity == "users" and study.users.who in ("authors", "top")
        if by_videos and "complete" not in self._days.values():
            return "No day of videos is held yet; its authors follow once one is."
        return None

    def targets(self, partition: date) -> list[Target]:
        """The units of a partition."""
        return self._accounts if self.is_observation else video_targets(self._settings.raw, self._task.study, partition)

    def unit_status(self, partition: date) -> dict[str, UnitStatus]:
        """What the study holds of a partition, by unit."""
        study = self._task.study.name
        records = self._read(study, [partition])
        return {record.attempt.unit: record for record in records}

    def status_elsewhere(self, partition: date) -> Mapping[str, UnitStatus]:
        """Looks of other studies and periods: accounts whose newest did not succeed, and what this period brought."""
        if not self.is_observation:
            return {}
        others = [record for record in self._read(None, [partition]) if record.study != self._task.study.name]
        complete = {record.attempt.unit: record for record in others if record.attempt.state == "complete"}
        return self._unanswered | complete

    def estimate(self) -> int:
        """About how many requests the run wants: one for each open unit."""
        ready = [partition for partition in self._task.partitions if self.blocked_reason(partition) is None]
        if not ready:
            return 0
        wanted = (
            len(self._accounts)
            if self.is_observation
            else count_video_targets(self._settings.raw, self._task.study, ready)
        )
        if self._task.recollect:
            return wanted
        raw, captures, study = self._settings.raw, self._settings.captures, self._task.study.name
        return max(0, wanted - count_settled_units(raw, self._task.entity, study, ready, captures=captures))

    def _read(self, study: str | None, partitions: list[date]) -> list[UnitStatus]:
        settings = self._settings
        return read_unit_status(
            settings.raw, self._task.entity, study=study, partitions=partitions, captures=settings.captures
        )


def attempt_without_request(
    target: Target, partition: date, state: UnitState, reason: str | None, when: datetime | None, now: datetime
) -> Attempt:
    """A unit's state without a request; `when` is its next try."""
    return ListProgress().attempt(target, partition, now, state, reason, when)


class UnitReuse:
    """What others know of a partition's units."""

    def __init__(
        self,
        context: CollectorContext,
        task: CollectionTask,
        partition: date,
        elsewhere: Mapping[str, UnitStatus],
        visits: dict[str, ListProgress],
    ) -> None:
        """`elsewhere` are looks of other studies and periods, `visits` what is under way in the journal."""
        self._context, self._task, self._partition = context, task, partition
        self._elsewhere, self._visits = elsewhere, visits

    def attempts(self, journal: Journal, targets: Iterable[Target]) -> Iterator[Attempt]:
        """Verdicts of the targets that need no request; pages of other studies are copied into the journal."""
        now = self._context.clock.now()
        taken: dict[str, list[Target]] = {}
        for target in targets:
            record = self._elsewhere.get(target.unit)
            if target.expected == 0 and target.kind == "video":
                yield attempt_without_request(
                    target, self._partition, "complete", "The video has no comments.", None, now
                )
            elif record is None or target.unit in self._visits:
                continue
            elif record.attempt.state == "complete":
                if not self._task.recollect:
                    taken.setdefault(str(record.attempt.capture), []).append(target)
            elif self._is_backing_off(record.attempt, now):
                old = record.attempt
                when = f" Asked again from {format_utc(old.next_try)}." if old.next_try else ""
                yield attempt_without_request(
                    target, self._partition, old.state, f"{old.reason}{when}", old.next_try, now
                )
        for capture, own in taken.items():
            yield from self._copy_pages(journal, capture, {target.unit: target for target in own})

    def _is_backing_off(self, attempt: Attempt, now: datetime) -> bool:
        """Whether a refusal is not to be repeated yet."""
        final = attempt.state in ("refused", "missing") and not self._task.retry_now
        return final and attempt.next_try is not None and attempt.next_try > now

    def _copy_pages(self, journal: Journal, capture: str, targets: Mapping[str, Target]) -> Iterator[Attempt]:
        """Copy the pages that another study's capture holds of these accounts, if it asked for all that is wanted."""
        folder = self._context.settings.captures / self._task.entity
        fields = {unit: set(target.request(self._task.study, 1, None).fields) for unit, target in targets.items()}
        copied: dict[str, ListProgress] = {}
        for path in folder.glob(f"study=*/{self._partition}/{capture}.jsonl.zst"):
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
                facts |= {"taken_from": capture, "requests": 0}
                journal.append("page", facts, answer)
                copied.setdefault(unit, ListProgress()).apply({"event": "page", **facts})
        for unit, progress in copied.items():
            reason = f"Taken over from {self._elsewhere[unit].study}."
            yield progress.attempt(targets[unit], self._partition, self._context.clock.now(), "complete", reason)
