"""One round of look-ups of a task: a request for each group of videos whose answers are not known yet.

Each answer is durable before the next request. An item that is not returned proves nothing by itself, because searches
by `video_id` may return nothing although the videos exist (reference §13): each request contains controls, videos that
were seen recently, and a request whose controls are not returned is repeated on another day.
Not here: the verdict on the items (see answers.py), which items a task has (see planning.py).
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from research_assets.collect.id_lists.batches import IdBatch, batch_ids, split_batch
from research_assets.collect.id_lists.pager import BatchPager
from research_assets.collect.id_lists.reader import ListedVideo
from research_assets.collect.sender import RequestContext, RequestSender
from research_assets.collect.types import CollectorContext
from research_assets.compliance.verification import due
from research_assets.compliance.verification.answers import Answer, Answers, Sign, append_answers
from research_assets.compliance.verification.held import Part, list_videos, newest_ids, unknown_ids, videos_in_windows
from research_assets.compliance.verification.tasks import Task, TaskJournal, ids_path, result_path
from research_assets.compliance.verification.verified import record_verified
from research_assets.settings import Settings
from research_assets.storage.withdrawals import read_withdrawn
from research_assets.tiktok.errors import RateLimited, RetryableError, UnitError

STUDY = "verification"
"""Study of the requests in the quota ledger."""

MAX_CONTROLS = 10
"""Controls of a request, in the places that its videos leave free."""

_FIELDS = ("id",)


async def look_up(
    journal: TaskJournal, task: Task, settings: Settings, context: CollectorContext, sender: RequestSender
) -> None:
    """Look up the items of a task that need it today, and record the round.

    Raises QuotaExhausted, RateLimited, and RetryableError if the API is down; the round is continued later.
    """
    items = stored_items(settings, task)
    answers = Answers.load(result_path(settings, task.name))
    due_today = answers.due_items(items, context.clock.now().date())
    if due_today:
        await VideoRound(settings, task, items, answers, context, sender).run(due_today)
    record_returned(settings, task, answers)
    now = context.clock.now()
    n_open = len(answers.open_items(items))
    journal.append("looked_up", task.name, now, day=now.date().isoformat(), n_open=n_open)


def stored_items(settings: Settings, task: Task) -> list[str]:
    """Return the items of a task that are still stored: ids of videos, as text."""
    ids = [int(line) for line in ids_path(settings, task.name).read_text(encoding="ascii").split()]
    unknown = unknown_ids(settings, task.kind, ids)
    return [str(one) for one in ids if one not in unknown]


def record_returned(settings: Settings, task: Task, answers: Answers) -> None:
    """Note that the returned items are verified, at the earliest answer of each UTC day."""
    by_day: dict[object, list[tuple[datetime, int]]] = {}
    for item in answers.by_item:
        if (at := answers.returned_at(item)) is not None:
            by_day.setdefault(at.date(), []).append((at, int(item)))
    for found in by_day.values():
        record_verified(settings, task.kind, [item for _, item in found], min(at for at, _ in found))


@dataclass(slots=True)
class VideoRound:
    """A round over the videos of a task. `is_proven` is set once a request of the round returned its controls."""

    settings: Settings
    task: Task
    items: list[str]
    answers: Answers
    context: CollectorContext
    sender: RequestSender
    is_proven: bool | None = None
    controls: dict[int, datetime] = field(default_factory=dict)

    async def run(self, items: Iterable[str]) -> None:
        """Request the videos."""
        settings, today = self.settings, self.context.clock.now().date()
        listed = {one.id: one for one in list_videos(settings, map(int, items))}
        batches = batch_ids(listed.values(), today, window_days=settings.window_days)
        windows = [due.search_window(batch, settings.window_days, today) for batch in batches]
        excluded = {int(one) for one in self.answers.by_item if self.answers.is_suspected(one)} | listed.keys()
        known = videos_in_windows(settings, Part("video"), windows, MAX_CONTROLS, excluded, newest=True)
        queue = deque(zip(batches, windows, known, strict=True))
        while queue:
            batch, window, controls = queue.popleft()
            try:
                await self._request(batch, window, controls)
            except (UnitError, RetryableError) as error:
                if isinstance(error, RateLimited) or not error.sent or self.sender.api_is_down:
                    raise
                own = batch.first, batch.last
                # A day that fails may be one that only the controls need.
                narrower = [batch] if window != own else list(split_batch(batch, listed, today))
                queue.extendleft((one, (one.first, one.last), controls) for one in reversed(narrower))
                if not narrower:
                    self._record(dict.fromkeys(batch.ids, "?"))
        for identifier, at in self.controls.items():
            record_verified(settings, self.task.kind, [identifier], at)

    async def _request(self, batch: IdBatch, window: tuple[date, date], candidates: Iterable[ListedVideo]) -> None:
        """Request one batch with its controls and record its answers."""
        own = batch.ids
        batch, controls = due.add_controls(batch, window, candidates, MAX_CONTROLS)
        returned = await self._find(batch)
        now = self.context.clock.now()
        self.controls.update((one, now) for one in controls if one in returned)
        unsuspected = [one for one in own if not self.answers.is_suspected(str(one))]
        missing = [one for one in own if one not in returned]
        is_proven = due.is_proven(returned, controls, unsuspected)
        if is_proven:
            self.is_proven = True
        elif missing and not controls:
            # Then another request of the same kind and day must show that the search works.
            is_proven = await self._is_search_working()
        signs: dict[int, Sign] = {one: "+" for one in own if one in returned}
        self._record(signs | dict.fromkeys(missing, "-" if is_proven else "?"))

    async def _is_search_working(self) -> bool:
        """Return whether a request of this round returned its controls; if none has any, one is sent for that."""
        if self.is_proven is None:
            self.is_proven = False
            known = list_videos(self.settings, self._recently_seen())
            today = self.context.clock.now().date()
            batches = batch_ids(known, today, window_days=self.settings.window_days)
            if batches:
                batch = max(batches, key=lambda one: len(one.ids))
                returned = await self._find(batch)
                now = self.context.clock.now()
                self.controls.update((one, now) for one in returned)
                self.is_proven = due.is_proven(returned, batch.ids, ())
        return self.is_proven

    def _recently_seen(self) -> list[int]:
        """Return the videos that were seen most recently, without those of the task that have no answer or none."""
        items = set(self.items)
        found = newest_ids(self.settings, "video", MAX_CONTROLS + len(items))
        is_control: Mapping[int, bool] = {
            one: str(one) not in items or self.answers.returned_at(str(one)) is not None for one in found
        }
        return [one for one in found if is_control[one]][:MAX_CONTROLS]

    async def _find(self, batch: IdBatch) -> Collection[int]:
        clock, unit = self.context.clock, RequestContext(STUDY, STUDY, str(batch))

        async def read(pager: BatchPager) -> None:
            while (request := pager.next_request()) is not None:
                pager.add(await self.sender.send(request, unit, lambda _: None, max_attempts=pager.max_attempts))

        return await BatchPager(batch, _FIELDS, clock).find(read)

    def _record(self, signs: Mapping[int, Sign]) -> None:
        """Store the answers durably, without those of videos that were withdrawn meanwhile."""
        now, gone = self.context.clock.now(), read_withdrawn(self.settings.state).videos
        answers = [Answer(str(one), now, sign) for one, sign in signs.items() if one not in gone]
        append_answers(result_path(self.settings, self.task.name), answers)
        for answer in answers:
            self.answers.add(answer)
