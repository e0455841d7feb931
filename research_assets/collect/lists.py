"""Units of a partition, side by side, on one journal: comments of a day's videos, observations of a period's accounts.

One refusal never stops the rest. A unit that is settled is not asked again, nor is an account that another study has
asked in the same period: its pages are taken over.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from typing import Any

import orjson

from research_assets.captures import read, unfinished
from research_assets.collect.coverage import SETTLED, Held, Verdict, from_event, tally, utc, worst
from research_assets.collect.model import Ask, Finished, Halt, Meter, Paused, Tools, is_backfill, side_by_side
from research_assets.collect.publish import note_open, publish
from research_assets.collect.send import Courier
from research_assets.collect.targets import Target, reply_target, reply_targets
from research_assets.collect.visit import Visit, visit_list
from research_assets.journal import Journal
from research_assets.locks import claim
from research_assets.quota import QuotaSpent

OUTAGE = 20
"""Calls failing one after the other, after which the run waits for a better hour instead of spending more."""

BETTER_HOUR = timedelta(hours=4)


class Partition:
    """One partition's units: what is settled, what is asked now, what came of it."""

    def __init__(
        self,
        ask: Ask,
        tools: Tools,
        courier: Courier,
        meter: Meter,
        partition: date,
        held: Mapping[str, Held],
        elsewhere: Mapping[str, Held],
    ) -> None:
        """`held` are the units of this partition, `elsewhere` what other studies or periods know of the same ones."""
        self._ask, self._tools, self._courier, self._meter = ask, tools, courier, meter
        self._partition, self._held, self._elsewhere = partition, held, elsewhere
        self._visits: dict[str, Visit] = {}
        self._verdicts: dict[str, Verdict] = {}
        self.halt: Halt | None = None

    async def run(self, targets: Sequence[Target]) -> Finished | Paused:
        """Ask what is not settled; gives the partition, or the pause with what is left to do."""
        settings, study = self._tools.settings, self._ask.study
        wanted = {target.unit: target for target in targets}
        with ExitStack() as stack:
            stack.enter_context(claim(settings.state, study.name, self._ask.entity, [self._partition]))
            journal = self._resumed()
            wanted |= {target.unit: target for target in self._replies_left()}
            jobs = deque(target for target in wanted.values() if self._is_open(target))
            if journal is None and not jobs:
                return self._finished(held=True)
            journal = stack.enter_context(journal or self._begin())
            jobs = deque(self._without_known(journal, jobs))
            results = side_by_side(
                jobs, lambda target: self._work(journal, target), settings.concurrency, lambda: self.halt is None
            )
            async for target, verdict in results:
                if verdict is None:
                    continue
                self._settle(journal, verdict)
                more = [reply for reply in self._replies_of(target) if self._is_open(reply)]
                wanted |= {reply.unit: reply for reply in more}
                jobs.extend(more)
            if self.halt is not None:
                left = [self._partial(target, self.halt) for target in wanted.values() if self._is_open(target)]
                note_open(settings.raw, journal, left, self._tools.clock.now())
                return Paused(self.halt.pool, self.halt.reason, self.halt.opens_at, (self._partition,))
            await asyncio.to_thread(publish, settings.raw, journal, ())
        return self._finished(held=False)

    async def _work(self, journal: Journal, target: Target) -> tuple[Target, Verdict | None]:
        settings = self._tools.settings
        visit = self._visits.setdefault(target.unit, Visit())

        def note(event: str, facts: dict[str, Any], answer: bytes | None) -> None:
            journal.append(event, facts, answer)
            self._meter.add(self._partition.isoformat(), facts.get("rows", 0))

        try:
            verdict = await visit_list(
                visit,
                target,
                self._ask.study,
                self._courier,
                self._tools.clock,
                note,
                partition=self._partition,
                page_size=settings.page_size,
                ceiling=settings.comment_ceiling,
                due=not is_backfill(self._ask, self._partition, self._tools.clock.now()),
                before=self._held.get(target.unit) or self._elsewhere.get(target.unit),
            )
        except QuotaSpent as spent:
            self.halt = Halt.of(spent)
            return target, None
        if self._courier.failures >= OUTAGE:
            opens_at = self._tools.clock.now() + BETTER_HOUR
            reason = f"The API answered {self._courier.failures} calls in a row with errors: {verdict.reason}."
            self.halt = Halt("research", reason, opens_at)
        return target, verdict

    def _resumed(self) -> Journal | None:
        """The journal that an earlier run left open, with its visits and verdicts folded."""
        for path in unfinished(self._tools.settings.captures, self._ask.entity, self._ask.study.name):
            if path.parent.name != self._partition.isoformat():
                continue
            journal = Journal.resume(path)
            for event in journal.events():
                if event["event"] == "unit":
                    self._verdicts[event["unit"]] = from_event(event)
                elif event["event"] in ("page", "fail"):
                    self._visits.setdefault(event["unit"], Visit()).take(event)
            return journal
        return None

    def _begin(self) -> Journal:
        return Journal.create(
            self._tools.settings.captures,
            entity=self._ask.entity,
            study=self._ask.study.name,
            first=self._partition,
            last=self._partition,
            now=self._tools.clock.now(),
            origin=self._tools.settings.origin,
            header={},
        )

    def _settle(self, journal: Journal, verdict: Verdict) -> None:
        journal.append("unit", verdict.event() | {"capture": verdict.capture or journal.capture})
        self._verdicts[verdict.unit] = verdict

    def _is_open(self, target: Target) -> bool:
        """Whether a unit is to be asked in this run."""
        if target.unit in self._verdicts:
            return False
        held = self._held.get(target.unit)
        if held is None:
            return True
        old = held.verdict
        if old.state in SETTLED:
            # Comments that did not grow since the last look are not worth a request.
            grown = target.expected is None or old.expected is None or target.expected > old.expected
            return self._ask.again and (grown or self._ask.entity != "comments") and old.state == "complete"
        resting = old.next_try is not None and old.next_try > self._tools.clock.now() and old.state != "partial"
        return self._ask.retry or not resting

    def _without_known(self, journal: Journal, jobs: Iterable[Target]) -> Iterable[Target]:
        """Settle what needs no request: no comments to ask, refused not long ago, or asked by another study."""
        taken: dict[str, list[Target]] = {}
        for target in jobs:
            known = self._elsewhere.get(target.unit)
            if target.expected == 0 and target.kind == "video":
                self._settle(journal, self._unasked(target, "complete", "The video has no comments.", None))
            elif known is None or target.unit in self._visits:
                yield target
            elif known.verdict.partition == self._partition and known.verdict.state == "complete":
                taken.setdefault(str(known.verdict.capture), []).append(target)
            else:
                when = known.verdict.next_try
                again = f" Asked again from {utc(when)}." if when else ""
                self._settle(
                    journal, self._unasked(target, known.verdict.state, f"{known.verdict.reason}{again}", when)
                )
        for capture, targets in taken.items():
            yield from self._taken_over(journal, capture, {target.unit: target for target in targets})

    def _taken_over(self, journal: Journal, capture: str, targets: dict[str, Target]) -> Iterable[Target]:
        """Copy the pages that another study's capture holds of these accounts; gives those that it does not hold."""
        folder = self._tools.settings.captures / self._ask.entity
        found: set[str] = set()
        for path in folder.glob(f"study=*/{self._partition}/{capture}.jsonl.zst"):
            for event in read(path):
                unit = event.get("unit")
                if event["event"] != "page" or unit not in targets:
                    continue
                answer = orjson.dumps(event.pop("answer"))
                facts = {key: value for key, value in event.items() if key not in ("event", "seq")}
                facts |= {"taken_from": capture, "requests": 0}
                journal.append("page", facts, answer)
                self._visits.setdefault(unit, Visit()).take({"event": "page", **facts})
                found.add(unit)
        for unit, target in targets.items():
            if unit not in found:
                yield target
                continue
            visit, old = self._visits[unit], self._elsewhere[unit].verdict
            verdict = self._unasked(target, "complete", f"Taken over from {self._elsewhere[unit].study}.", None)
            counts = {"asked": visit.asked, "offered": visit.offered, "kept": len(visit.seen)}
            self._settle(
                journal, from_event(verdict.event() | counts | {"first_at": old.first_at, "last_at": old.last_at})
            )

    def _unasked(self, target: Target, state: Any, reason: str | None, when: datetime | None) -> Verdict:
        now = self._tools.clock.now()
        return Verdict(
            entity=target.entity,
            partition=self._partition,
            unit_kind=target.kind,
            unit=target.unit,
            state=state,
            first_at=now,
            last_at=now,
            expected=target.expected,
            probability=target.probability,
            reason=reason,
            next_try=when,
        )

    def _partial(self, target: Target, halt: Halt) -> Verdict:
        visit = self._visits.get(target.unit)
        state = "partial" if visit and visit.pages else "not_asked"
        return self._unasked(target, state, f"Paused: {halt.reason}", halt.opens_at)

    def _replies_left(self) -> Iterable[Target]:
        """Replies that earlier runs, or the journal, know of and that are not held."""
        if self._ask.entity != "comments" or self._ask.study.comments.replies == "none":
            return
        for target in reply_targets(self._tools.settings.raw, self._ask.study, self._partition):
            held = self._held.get(target.unit)
            if (
                held is None
                or held.verdict.state not in SETTLED
                or (held.verdict.expected or 0) < (target.expected or 0)
            ):
                yield target
        for unit, visit in self._visits.items():
            if unit in self._verdicts:
                yield from self._threads(int(unit), visit)

    def _replies_of(self, target: Target) -> Iterable[Target]:
        if target.kind == "video" and self._ask.study.comments.replies == "all":
            yield from self._threads(int(target.unit), self._visits[target.unit])

    def _threads(self, video: int, visit: Visit) -> Iterable[Target]:
        for comment, replies in visit.threads.items():
            yield reply_target(video, int(comment), replies)

    def _finished(self, *, held: bool) -> Finished:
        present = list(({unit: record.verdict for unit, record in self._held.items()} | self._verdicts).values())
        states = [verdict.state for verdict in present]
        speaking = worst("complete" if state in SETTLED else state for state in states)
        waiting = [verdict for verdict in present if verdict.state not in SETTLED]
        resting = [verdict.next_try for verdict in waiting if verdict.next_try]
        return Finished(
            partition=self._partition,
            state=speaking,
            asked=sum(verdict.asked for verdict in present),
            offered=sum(verdict.offered for verdict in present),
            kept=sum(verdict.kept for verdict in present),
            requests=sum(verdict.requests for verdict in present),
            units=tally(states),
            reason=f"{len(waiting)} units wait, such as {waiting[0].unit}: {waiting[0].reason}" if waiting else None,
            next_try=min(resting, default=None),
            held=held,
        )
