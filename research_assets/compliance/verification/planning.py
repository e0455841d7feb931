"""The tasks that verify what falls due: by batch compliance where that is possible, else by look-ups.

Not here: sending them (see step.py, lookups.py), the arithmetic (see due.py).
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from pathlib import Path

from research_assets.collect.id_lists.batches import batch_ids
from research_assets.compliance.verification import due
from research_assets.compliance.verification.accounts import HeldAccount, accounts_by_day, requestable_accounts
from research_assets.compliance.verification.held import (
    Part,
    count_by_day,
    count_part,
    ids_in_part,
    list_videos,
    newest_ids,
    oldest_ids,
    unknown_items,
    videos_in_windows,
)
from research_assets.compliance.verification.schedule import STREAMS, Schedule, stream_of
from research_assets.compliance.verification.tasks import (
    Method,
    TaskJournal,
    ids_path,
    read_items,
    result_path,
    write_lines,
)
from research_assets.compliance.verification.verified import folder
from research_assets.settings import Settings
from research_assets.storage.files import private_folder
from research_assets.study.loader import load_valid_studies
from research_assets.tiktok.ids import parse_id
from research_assets.tiktok.requests import MAX_COUNT


def studies_by_lookup(settings: Settings) -> frozenset[str]:
    """Return the studies whose videos are verified by look-ups; a study file with an error does not count."""
    return frozenset(one.name for one in load_valid_studies(settings) if one.verify_by == "lookup")


def cancel_tasks(settings: Settings, now: datetime) -> None:
    """End the open tasks with an item that is not stored any more, and remove their files; the others fall due again.

    The API may return items that it was sent and that no file names any more.
    """
    journal = TaskJournal(settings)
    for task in journal.open_tasks:
        # After the event, so that no later step needs the files.
        files = ids_path(settings, task.name), result_path(settings, task.name)
        if unknown_items(settings, task.kind, read_items(settings, task)):
            journal.append("cancelled", task.name, now)
            for file in files:
                file.unlink(missing_ok=True)
    drop_first(settings)


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
        self._planned_first: set[int] = set()
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
            if method == "lookup":
                self._plan_lookups(kind)
            elif (part := self._part(kind, method)) is not None:
                self._plan_batch(part)
        # A kill before this plans them twice, which changes nothing.
        drop_first(self._settings, self._planned_first)

    def check(self, schedule: Schedule) -> None:
        """Compute when each kind and method is planned next, if that is not known or has passed."""
        for kind, method in STREAMS:
            stream = stream_of(kind, method)
            if schedule.is_blocked(self._journal, kind, method):
                schedule.next_check.pop(stream, None)
            elif schedule.next_check.get(stream, self._now) <= self._now:
                schedule.next_check[stream] = self._next_check(kind, method)

    def _next_check(self, kind: str, method: Method) -> datetime:
        settings, now = self._settings, self._now
        if method == "batch":
            if self._retry_at is not None:
                return self._retry_at
            part = self._part(kind, method)
            if part is not None and kind == "video" and ids_in_part(settings, part, read_first(settings)):
                return now
            held = None if part is None else count_part(settings, part, now, now)
            return due.next_check(held.earliest if held else None, settings, now)
        lookups = self._lookups(kind)
        if lookups is not None and lookups.first():
            return now
        if lookups is None or not (by_day := lookups.by_day()):
            return due.next_check(None, settings, now)
        days = due.days_until_needed(by_day, lookups.per_day)
        # Not later than that, because items that are collected meanwhile may need an earlier beginning.
        return now + min(max(1, days) * due.PLANNING_INTERVAL, due.interval(settings) / 2)

    def _part(self, kind: str, method: Method) -> Part | None:
        return part_of(kind, method, self._studies, is_batch_refused=self._retry_at is not None)

    def _plan_batch(self, part: Part) -> None:
        settings, limit = self._settings, due.last_due(self._settings, self._now)
        first = ids_in_part(settings, part, read_first(settings)) if part.kind == "video" else []
        n_due = count_part(settings, part, limit, limit, first).n_due + len(first)
        if not n_due:
            return
        self.n_due += n_due
        ids = [*first, *oldest_ids(settings, part, due.ids_to_send(n_due) - len(first), first)]
        tasks = due.split_into_tasks(ids, newest_ids(settings, part.kind, due.MAX_CANARIES))
        for number, (sent, n_canaries) in enumerate(tasks, 1):
            self._write_task(part.kind, "batch", number, list(map(str, sent)), n_canaries)
        self._planned_first |= set(first)

    def _lookups(self, kind: str) -> "_VideoLookups | _AccountLookups | None":
        """Return the look-ups of a kind, without what is in open tasks; None if the kind has none."""
        settings, part = self._settings, self._part("video", "lookup")
        if kind == "video" and part is None:
            return None
        accounts = requestable_accounts(settings)
        # Videos and accounts share the requests if both are looked up.
        per_day = max(1, due.lookups_per_day(settings) // (2 if accounts and part is not None else 1))
        tasks = self._journal.open_of(kind, "lookup")
        excluded = {item for task in tasks for item in read_items(settings, task)}
        if kind == "account" or part is None:
            left = [one for one in accounts if one.handle not in excluded]
            return _AccountLookups(settings, self._now, per_day, left)
        return _VideoLookups(settings, self._now, per_day, part, set(map(int, excluded)))

    def _plan_lookups(self, kind: str) -> None:
        lookups = self._lookups(kind)
        if lookups is None:
            return
        number = due.items_to_look_up(lookups.by_day(), lookups.per_day)
        first = lookups.first()
        self.n_due += max(number, len(first))
        if items := lookups.items(first, number):
            self._write_task(kind, "lookup", 1, items, 0)
            self._planned_first |= set(first)

    def _write_task(self, kind: str, method: Method, number: int, items: Sequence[str], n_canaries: int) -> None:
        by = "-lookup" if method == "lookup" else ""
        name = f"{self._now:%Y%m%dT%H%M%S}-{kind}{by}-{number}"
        write_lines(ids_path(self._settings, name), items)
        facts = {"kind": kind, "method": method, "n_sent": len(items), "n_canaries": n_canaries}
        self._journal.append("planned", name, self._now, **facts)
        self.n_planned += 1


class _VideoLookups:
    """Look-ups of videos; `per_day` is in videos."""

    def __init__(self, settings: Settings, now: datetime, requests: int, part: Part, excluded: set[int]) -> None:
        self._settings, self._now, self._part, self._excluded = settings, now, part, excluded
        self.per_day = requests * MAX_COUNT

    def by_day(self) -> dict[int, int]:
        """Return the number of videos by the days until they must be looked up."""
        return count_by_day(self._settings, self._part, due.last_due(self._settings, self._now), self._excluded)

    def first(self) -> list[int]:
        """Return the videos that must be verified at once."""
        ids = ids_in_part(self._settings, self._part, read_first(self._settings))
        return [one for one in ids if one not in self._excluded]

    def items(self, first: Sequence[int], number: int) -> list[str]:
        """Return the videos of the next task: `first`, the oldest, and those that fill the requests."""
        settings, today = self._settings, self._now.date()
        others = self._excluded | set(first)
        ids = [*first, *oldest_ids(settings, self._part, max(0, number - len(first)), others)]
        batches = batch_ids(list_videos(settings, ids), today, window_days=settings.window_days)
        windows = [due.search_window(batch, settings.window_days, today) for batch in batches]
        filling = videos_in_windows(settings, self._part, windows, MAX_COUNT, others | set(ids), newest=False)
        return list(map(str, [*ids, *due.fill_batches(batches, filling)]))


class _AccountLookups:
    """Look-ups of accounts; `per_day` is in accounts."""

    def __init__(self, settings: Settings, now: datetime, requests: int, accounts: Sequence[HeldAccount]) -> None:
        self._accounts = accounts
        self._start, self.per_day = due.last_due(settings, now), requests

    def by_day(self) -> dict[int, int]:
        """Return the number of accounts by the days until they must be looked up."""
        return accounts_by_day(self._accounts, self._start)

    def first(self) -> list[int]:
        """Return nothing: each account waits until it is due."""
        return []

    def items(self, _: Sequence[int], number: int) -> list[str]:
        """Return the accounts of the next task, the oldest."""
        return [one.handle for one in self._accounts[:number]]


def first_path(settings: Settings) -> Path:
    """Return the file with the ids of videos that are verified before they are due, one per line."""
    return folder(settings) / "first.csv"


def read_first(settings: Settings) -> list[int]:
    """Return the videos that are verified before they are due: those of accounts that were not found."""
    try:
        lines = first_path(settings).read_text(encoding="ascii").split()
    except FileNotFoundError:
        return []
    return sorted({one for line in lines if (one := parse_id(line)) is not None})


def verify_first(settings: Settings, videos: Iterable[int]) -> None:
    """Have videos verified by the next task."""
    _write_first(settings, {*read_first(settings), *videos})


def drop_first(settings: Settings, planned: Collection[int] = ()) -> None:
    """Remove videos that are planned or not stored any more from those that are verified before they are due."""
    if waiting := read_first(settings):
        unknown = unknown_items(settings, "video", map(str, waiting))
        _write_first(settings, [one for one in waiting if one not in planned and str(one) not in unknown])


def _write_first(settings: Settings, ids: Iterable[int]) -> None:
    private_folder(folder(settings))
    write_lines(first_path(settings), sorted(ids))
