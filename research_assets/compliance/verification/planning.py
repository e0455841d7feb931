"""The tasks that verify what falls due: by batch compliance where that is possible, else by look-ups.

Not here: sending them (see step.py, lookups.py), the arithmetic (see due.py).
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from research_assets.collect.id_lists.batches import batch_ids
from research_assets.compliance.verification import due
from research_assets.compliance.verification.held import (
    Part,
    count_by_day,
    count_part,
    list_videos,
    newest_ids,
    oldest_ids,
    unknown_ids,
    videos_in_windows,
)
from research_assets.compliance.verification.schedule import STREAMS, Schedule, stream_of
from research_assets.compliance.verification.tasks import Method, TaskJournal, ids_path, result_path
from research_assets.settings import Settings
from research_assets.storage.files import write_private
from research_assets.study.loader import StudyError, load_studies
from research_assets.study.spec import StudySpec
from research_assets.tiktok.requests import MAX_COUNT


def studies_by_lookup(settings: Settings) -> frozenset[str]:
    """Return the studies whose videos are verified by look-ups; a study file with an error does not count."""
    try:
        studies: Sequence[StudySpec] = load_studies(settings)
    except StudyError as error:
        studies = error.valid_studies
    return frozenset(one.name for one in studies if one.verify_by == "lookup")


def cancel_tasks(settings: Settings, now: datetime) -> None:
    """End the open tasks with an item that is not stored any more, and remove their files; the others fall due again.

    The API may return items that it was sent and that no file names any more.
    """
    journal = TaskJournal(settings)
    for task in journal.open_tasks:
        files = ids_path(settings, task.name), result_path(settings, task.name)
        ids = {int(line.split(",")[0]) for file in files if file.exists() for line in file.read_text().splitlines()}
        if unknown_ids(settings, task.kind, ids):
            journal.append("cancelled", task.name, now)
            for file in files:
                file.unlink(missing_ok=True)


def lookup_part(kind: str, studies: Collection[str], *, is_batch_refused: bool) -> Part | None:
    """Return the part of a kind that is verified by look-ups; None if it is empty."""
    if is_batch_refused:
        return Part(kind)
    return Part(kind, only=True, studies=frozenset(studies)) if studies else None


def part_of(kind: str, method: Method, studies: Collection[str], *, is_batch_refused: bool) -> Part | None:
    """Return the part of a kind that is verified by a method; None if it is empty."""
    if method == "lookup":
        return lookup_part(kind, studies, is_batch_refused=is_batch_refused)
    if is_batch_refused:
        return None
    return Part(kind, only=False, studies=frozenset(studies)) if kind == "video" and studies else Part(kind)


class Planner:
    """The planning of one step. `studies` are those whose videos are verified by look-ups."""

    def __init__(self, settings: Settings, journal: TaskJournal, studies: Collection[str], now: datetime) -> None:
        self._settings, self._journal, self._now = settings, journal, now
        self._studies = frozenset(studies)
        self._retry_at = journal.batch_retry_at(now)
        self.n_due = self.n_planned = 0

    def plan(self, schedule: Schedule) -> None:
        """Write the tasks of what falls due, for each kind and method that has no task in its place."""
        if schedule.studies != sorted(self._studies):
            schedule.studies = sorted(self._studies)
            schedule.next_check.clear()
        for kind, method in STREAMS:
            if schedule.is_blocked(self._journal, kind, method):
                continue
            if schedule.next_check.get(stream_of(kind, method), self._now) > self._now:
                continue
            part = self._part(kind, method)
            if part is None:
                continue
            if method == "batch":
                self._plan_batch(part)
            else:
                self._plan_lookups(part)

    def check(self, schedule: Schedule) -> None:
        """Compute when each kind and method is planned next, if that is not known or has passed."""
        for kind, method in STREAMS:
            stream = stream_of(kind, method)
            if schedule.is_blocked(self._journal, kind, method):
                schedule.next_check.pop(stream, None)
            elif schedule.next_check.get(stream, self._now) <= self._now:
                schedule.next_check[stream] = self._next_check(kind, method)

    def _next_check(self, kind: str, method: Method) -> datetime:
        if method == "batch" and self._retry_at is not None:
            return self._retry_at
        part = self._part(kind, method)
        held = None if part is None else count_part(self._settings, part, self._now, self._now)
        if method == "lookup" and held is not None and held.n_held:
            return self._now + due.PLANNING_INTERVAL
        return due.next_check(held.earliest if held else None, self._settings, self._now)

    def _part(self, kind: str, method: Method) -> Part | None:
        return part_of(kind, method, self._studies, is_batch_refused=self._retry_at is not None)

    def _plan_batch(self, part: Part) -> None:
        settings, limit = self._settings, self._now - due.interval(self._settings) + due.lead(self._settings)
        n_due = count_part(settings, part, limit, limit).n_due
        if not n_due:
            return
        self.n_due += n_due
        ids = oldest_ids(settings, part, due.ids_to_send(n_due))
        tasks = due.split_into_tasks(ids, newest_ids(settings, part.kind, due.MAX_CANARIES))
        for number, (sent, n_canaries) in enumerate(tasks, 1):
            self._write_task(part.kind, "batch", number, sent, n_canaries)

    def _plan_lookups(self, part: Part) -> None:
        settings, now = self._settings, self._now
        open_ids = {
            int(line)
            for task in self._journal.open_of(part.kind, "lookup")
            for line in ids_path(settings, task.name).read_text(encoding="ascii").split()
        }
        by_day = count_by_day(settings, part, now - due.interval(settings) + due.lead(settings), open_ids)
        number = due.items_to_look_up(by_day, due.lookups_per_day(settings) * MAX_COUNT)
        if not number:
            return
        self.n_due += number
        ids = oldest_ids(settings, part, number, open_ids)
        batches = batch_ids(list_videos(settings, ids), now.date(), window_days=settings.window_days)
        windows = [due.search_window(batch, settings.window_days, now.date()) for batch in batches]
        others = videos_in_windows(settings, part, windows, MAX_COUNT, open_ids | set(ids), newest=False)
        self._write_task(part.kind, "lookup", 1, [*ids, *due.fill_batches(batches, others)], 0)

    def _write_task(self, kind: str, method: Method, number: int, ids: Sequence[int], n_canaries: int) -> None:
        by = "-lookup" if method == "lookup" else ""
        name = f"{self._now:%Y%m%dT%H%M%S}-{kind}{by}-{number}"
        write_private(ids_path(self._settings, name), "".join(f"{one}\n" for one in ids).encode())
        facts = {"kind": kind, "method": method, "n_sent": len(ids), "n_canaries": n_canaries}
        self._journal.append("planned", name, self._now, **facts)
        self.n_planned += 1
