"""One round of look-ups of a task: a request for each group of videos, or for the profile of each account.

Each answer is durable before the next request. An item that is not returned proves nothing by itself, because searches
by `video_id` may return nothing although the videos exist (reference §13): each request contains controls, videos that
were seen recently, and a request whose controls are not returned is repeated on another day. The control of a profile
that is not returned is another one that is returned on that day.
Not here: the verdict on the items (see answers.py), which items a task has (see planning.py).
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from research_assets.collect.id_lists.batches import IdBatch, batch_ids, split_batch
from research_assets.collect.id_lists.pager import BatchPager
from research_assets.collect.id_lists.reader import ListedVideo
from research_assets.collect.sender import RequestContext, RequestSender
from research_assets.collect.types import CollectorContext
from research_assets.compliance.verification import due
from research_assets.compliance.verification.accounts import hashed, held_accounts, listed_pseudonyms
from research_assets.compliance.verification.answers import Answer, Answers, Sign, append_answers
from research_assets.compliance.verification.held import Part, list_videos, newest_ids, unknown_items, videos_in_windows
from research_assets.compliance.verification.tasks import Task, TaskJournal, read_items, result_path
from research_assets.compliance.verification.verified import record_verified
from research_assets.settings import Settings
from research_assets.storage.withdrawals import read_withdrawn
from research_assets.tiktok.errors import AccessDenied, RateLimited, RetryableError, UnitError, UserNotFound
from research_assets.tiktok.pseudonyms import Pseudonyms
from research_assets.tiktok.requests import user_info

STUDY = "verification"
"""Study of the requests in the quota ledger."""

MAX_CONTROLS = 10
"""Controls of a request, in the places that its videos leave free."""

MAX_OTHER_ACCOUNTS = 3
"""Accounts that are requested as controls if no account of the task is returned."""

_FIELDS = ("id",)
_PROFILE_FIELDS = ("is_verified",)
"""A field that pseudonymous studies keep, and that identifies nobody."""


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
        if task.kind == "account":
            await AccountRound(settings, task, items, answers, context, sender).run(due_today)
        else:
            await VideoRound(settings, task, items, answers, context, sender).run(due_today)
    record_returned(settings, task, answers)
    now = context.clock.now()
    n_open = len(answers.open_items(items))
    journal.append("looked_up", task.name, now, day=now.date().isoformat(), n_open=n_open)


def stored_items(settings: Settings, task: Task) -> list[str]:
    """Return the items of a task that are still stored: ids of videos as text, or handles."""
    items = read_items(settings, task)
    unknown = unknown_items(settings, task.kind, items)
    return [one for one in items if one not in unknown]


def record_returned(settings: Settings, task: Task, answers: Answers) -> None:
    """Note that the returned items are verified, at the earliest answer of each UTC day."""
    by_day: dict[object, list[tuple[datetime, str]]] = {}
    for item in answers.by_item:
        if (at := answers.returned_at(item)) is not None:
            by_day.setdefault(at.date(), []).append((at, item))
    for found in by_day.values():
        _record_verified(settings, task.kind, [item for _, item in found], min(at for at, _ in found))


def _record_verified(settings: Settings, kind: str, items: Iterable[str], at: datetime) -> None:
    if kind == "account":
        record_verified(settings, kind, hashed(settings, items).values(), at)
    else:
        record_verified(settings, kind, map(int, items), at)


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
        pager = await self._find(batch)
        returned, now = pager.found, self.context.clock.now()
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
        self._record(signs | dict.fromkeys(missing, "-" if is_proven and not pager.doubt else "?"))

    async def _is_search_working(self) -> bool:
        """Return whether a request of this round returned its controls; if none has any, one is sent for that."""
        if self.is_proven is None:
            self.is_proven = False
            known = list_videos(self.settings, self._recently_seen())
            today = self.context.clock.now().date()
            batches = batch_ids(known, today, window_days=self.settings.window_days)
            if batches:
                batch = max(batches, key=lambda one: len(one.ids))
                returned, now = (await self._find(batch)).found, self.context.clock.now()
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

    async def _find(self, batch: IdBatch) -> BatchPager:
        """Return the pager of a batch after its last page."""
        clock, unit = self.context.clock, RequestContext(STUDY, STUDY, str(batch))

        async def read(pager: BatchPager) -> None:
            while (request := pager.next_request()) is not None:
                pager.add(await self.sender.send(request, unit, lambda _: None, max_attempts=pager.max_attempts))

        pager = BatchPager(batch, _FIELDS, clock)
        await pager.find(read)
        return pager

    def _record(self, signs: Mapping[int, Sign]) -> None:
        """Store the answers durably, without those of videos that were withdrawn meanwhile."""
        now, gone = self.context.clock.now(), read_withdrawn(self.settings.state).videos
        answers = [Answer(str(one), now, sign) for one, sign in signs.items() if one not in gone]
        append_answers(result_path(self.settings, self.task.name), answers)
        for answer in answers:
            self.answers.add(answer)


@dataclass(slots=True)
class AccountRound:
    """A round over the accounts of a task, one request each."""

    settings: Settings
    task: Task
    items: list[str]
    answers: Answers
    context: CollectorContext
    sender: RequestSender
    listed: Mapping[str, Pseudonyms] = field(init=False)

    def __post_init__(self) -> None:
        self.listed = listed_pseudonyms(self.settings)

    async def run(self, handles: Sequence[str]) -> None:
        """Request the profiles. Missing ones are noted without proof first, until another profile is returned."""
        today = self.context.clock.now().date()
        is_proven = any(
            answer.sign == "+" and answer.at.date() == today for one in self.items for answer in self.answers.of(one)
        )
        unproven: list[str] = []
        for handle in handles:
            is_returned = await self._is_returned(handle)
            if is_returned is None:
                self._record([handle], "?")
            elif is_returned:
                self._record([handle], "+")
                is_proven = True
            elif is_proven:
                self._record([handle], "-")
            else:
                self._record([handle], "?")
                unproven.append(handle)
            if is_proven and unproven:
                self._record(unproven, "-")
                unproven = []
        if unproven and await self._is_other_returned():
            self._record(unproven, "-")

    async def _is_other_returned(self) -> bool:
        """Return whether the API returns one of the profiles that were seen most recently."""
        excluded = [one for one in self.items if self.answers.returned_at(one) is None]
        others = [one.handle for one in held_accounts(self.settings, excluded)][-MAX_OTHER_ACCOUNTS:]
        for handle in reversed(others):
            if await self._is_returned(handle):
                _record_verified(self.settings, self.task.kind, [handle], self.context.clock.now())
                return True
        return False

    async def _is_returned(self, handle: str) -> bool | None:
        """Return whether the API returns a profile; None if the answer shows neither.

        The API does not distinguish deleted, renamed and banned accounts, nor private ones from those that it refuses
        for another reason (reference §6.2). In each case the profile is no longer available.
        """
        unit = RequestContext(STUDY, STUDY, "profile")
        try:
            request = user_info(handle, fields=_PROFILE_FIELDS)
            client, pseudonyms = self.context.client, self.listed.get(handle)
            page = await self.sender.send_call(
                request, unit, lambda: client.send(request, pseudonyms), max_attempts=_max_attempts
            )
        except (UserNotFound, AccessDenied):
            return False
        except (UnitError, ValueError):
            return None
        except RetryableError as error:
            if isinstance(error, RateLimited) or not error.sent or self.sender.api_is_down:
                raise
            return None
        return True if page.rows else None

    def _record(self, handles: Iterable[str], sign: Sign) -> None:
        """Store the answers durably, without those of accounts that were withdrawn meanwhile."""
        now, withdrawn = self.context.clock.now(), read_withdrawn(self.settings.state)
        answers = [Answer(one, now, sign) for one in handles if not withdrawn.has_account(one)]
        append_answers(result_path(self.settings, self.task.name), answers)
        for answer in answers:
            self.answers.add(answer)


def _max_attempts(error: RetryableError) -> int | None:
    """Return 3, so that one account that always fails does not pass for an outage; None for rate limiting."""
    return None if isinstance(error, RateLimited) else 3
