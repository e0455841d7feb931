"""Units that need no request: nothing to ask, refused not long ago, or asked by another study in the same period."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime

import orjson

from research_assets.captures import read_events
from research_assets.collect.coverage import Attempt, UnitState, UnitStatus, format_utc
from research_assets.collect.model import CollectionTask, CollectorContext
from research_assets.collect.targets import Target
from research_assets.collect.visit import ListProgress
from research_assets.journal import Journal


def attempt_without_request(
    target: Target, partition: date, state: UnitState, reason: str | None, when: datetime | None, now: datetime
) -> Attempt:
    """A unit's state without a request; `when` is its next try."""
    return ListProgress().attempt(target, partition, now, state, reason, when)


class UnitReuse:
    """What others know of a partition's units."""

    def __init__(
        self,
        tools: CollectorContext,
        ask: CollectionTask,
        partition: date,
        elsewhere: Mapping[str, UnitStatus],
        visits: dict[str, ListProgress],
    ) -> None:
        """`elsewhere` are looks of other studies and periods, `visits` what is under way in the journal."""
        self._tools, self._ask, self._partition = tools, ask, partition
        self._elsewhere, self._visits = elsewhere, visits

    def attempts(self, journal: Journal, targets: Iterable[Target]) -> Iterator[Attempt]:
        """Verdicts of the targets that need no request; pages of other studies are copied into the journal."""
        now = self._tools.clock.now()
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
                if not self._ask.recollect:
                    taken.setdefault(str(record.attempt.capture), []).append(target)
            elif self._is_backing_off(record.attempt, now):
                old = record.attempt
                when = f" Asked again from {format_utc(old.next_try)}." if old.next_try else ""
                yield attempt_without_request(
                    target, self._partition, old.state, f"{old.reason}{when}", old.next_try, now
                )
        for capture, own in taken.items():
            yield from self._copy_pages(journal, capture, {target.unit: target for target in own})

    def _is_backing_off(self, verdict: Attempt, now: datetime) -> bool:
        """Whether a refusal is not to be repeated yet."""
        final = verdict.state in ("refused", "missing") and not self._ask.retry_now
        return final and verdict.next_try is not None and verdict.next_try > now

    def _copy_pages(self, journal: Journal, capture: str, targets: Mapping[str, Target]) -> Iterator[Attempt]:
        """Copy the pages that another study's capture holds of these accounts, if it asked for all that is wanted."""
        folder = self._tools.settings.captures / self._ask.entity
        fields = {unit: set(target.request(self._ask.study, 1, None).fields) for unit, target in targets.items()}
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
        for unit, visit in copied.items():
            reason = f"Taken over from {self._elsewhere[unit].study}."
            yield visit.attempt(targets[unit], self._partition, self._tools.clock.now(), "complete", reason)
