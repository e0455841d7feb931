"""One step of verification: everything that can be done now, without waiting for the API.

Each part is durable before the next begins, so a step that was killed is continued by the next one. Not here: when the
next step is due (see schedule.py), the verdict on an answer (see guards.py).
"""

import asyncio
import getpass
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, cast

from research_assets.collect.sender import RequestContext, RequestSender, summarize_error
from research_assets.collect.types import CollectorContext, StopCondition
from research_assets.compliance.audit_log import record_command
from research_assets.compliance.forget import Receipt, remove_items
from research_assets.compliance.verification import due
from research_assets.compliance.verification.guards import EXPLANATIONS, Reason, judge
from research_assets.compliance.verification.held import KINDS, count_held, last_seen, newest_ids, oldest_ids
from research_assets.compliance.verification.results import UnreadableResult, parse_result
from research_assets.compliance.verification.schedule import Schedule
from research_assets.compliance.verification.tasks import Task, TaskJournal, ids_path, result_path
from research_assets.compliance.verification.verified import folder, record_verified
from research_assets.quota.ledger import QuotaExhausted
from research_assets.settings import Settings
from research_assets.storage.files import private_folder, try_lock, write_private
from research_assets.storage.locks import RunInProgress
from research_assets.storage.withdrawals import read_withdrawn
from research_assets.tiktok import compliance
from research_assets.tiktok.errors import RateLimited, RetryableError, UnitError
from research_assets.warehouse.build import BuildInProgress

POOL = "research"
STUDY = "verification"
"""Study of the requests in the quota ledger."""

_REMOVAL_WAIT = timedelta(minutes=15)

_Endpoint = Literal["validation_status", "validation_download"]


class VerificationError(Exception):
    """A word about a task that cannot be carried out; nothing was changed."""


@dataclass(slots=True)
class StepReport:
    """Result of a step: ids that fell due, tasks planned and created, ids verified and withdrawn, and receipts.

    `waiting` are the tasks that wait for a word, and `held_back` those of them that began to wait in this step. `pause`
    is why it stopped, empty if it did not. `is_busy`: another step was running, so nothing was done.
    """

    n_due: int = 0
    n_planned: int = 0
    n_created: int = 0
    n_verified: int = 0
    n_withdrawn: int = 0
    receipts: list[Receipt] = field(default_factory=list)
    waiting: list[Task] = field(default_factory=list)
    held_back: list[Task] = field(default_factory=list)
    pause: str = ""
    is_busy: bool = False


OpenContext = Callable[[], AbstractAsyncContextManager[CollectorContext]]


def take_step(
    settings: Settings, open_context: OpenContext, now: Callable[[], datetime], *, poll_now: bool = False
) -> StepReport:
    """Plan, create, poll, download, conclude and carry out what can be done now.

    `poll_now` requests the status of each open task whether it is due or not, and ends a pause. Raises FatalError and
    the like, which no later step can avoid; a spent quota and an outage are a pause in the report.
    """
    report = StepReport()
    with _step_lock(settings) as is_free:
        if not is_free:
            report.is_busy = True
            return report
        journal, schedule = TaskJournal(settings), Schedule.load(settings)
        _remove_old_files(settings, journal)
        waiting_before = {task.name for task in journal.open_tasks if task.phase == "word"}
        if poll_now or (schedule.paused_until or now()) <= now():
            schedule.paused_until, schedule.pause_reason = None, ""
        # Before any request, so that no failing request delays a removal.
        _finish(settings, journal, schedule, report, now)
        _plan(settings, journal, schedule, report, now())
        if schedule.paused_until is None and any(_needs_request(task, now(), poll_now) for task in journal.open_tasks):
            stop = asyncio.run(_send(journal, settings, open_context, report, poll_now))
            if stop is not None:
                schedule.paused_until, schedule.pause_reason = stop.retry_at, stop.reason
            _finish(settings, journal, schedule, report, now)
        _check(settings, journal, schedule, now())
        schedule.save(settings)
        report.pause = schedule.pause_reason
        report.waiting = [task for task in journal.open_tasks if task.phase == "word"]
        report.held_back = [task for task in report.waiting if task.name not in waiting_before]
    return report


def give_word(settings: Settings, name: str, word: Literal["confirmed", "rejected"], now: datetime) -> None:
    """Record the word of a person about a task. The next step carries a confirmed answer out.

    The ids of a rejected task are sent again. Raises VerificationError.
    """
    with _step_lock(settings) as is_free:
        if not is_free:
            raise VerificationError("A step of verification is running. Nothing was changed. Try again in a minute.")
        journal = TaskJournal(settings)
        task = journal.tasks.get(name)
        if task is None or task.phase == "done":
            raise VerificationError(
                f"There is no open task {name}. Nothing was changed. `research-assets verify` lists them."
            )
        if word == "confirmed" and not task.can_be_confirmed:
            cause = EXPLANATIONS[task.reason] if task.reason else "it has no answer that waits for a word"
            raise VerificationError(
                f"The task {name} cannot be confirmed: {cause}. Nothing was changed. With --reject its ids are sent "
                "again."
            )
        if word == "rejected" and task.phase == "apply":
            raise VerificationError(f"The answer of the task {name} is accepted already. Nothing was changed.")
        try:
            user = getpass.getuser()
        except (OSError, KeyError):
            user = "unknown"
        record_command(settings, f"verify --{word.removesuffix('ed')} {name}", now)
        journal.append(word, name, now, user=user)
        if word == "rejected":
            schedule = Schedule.load(settings)
            schedule.next_check.pop(task.kind, None)
            schedule.save(settings)


@contextmanager
def _step_lock(settings: Settings) -> Iterator[bool]:
    with try_lock(private_folder(folder(settings)) / ".lock") as is_free:
        yield is_free


def _remove_old_files(settings: Settings, journal: TaskJournal) -> None:
    """Remove the id files of finished tasks, and of tasks whose planning was interrupted."""
    kept = {
        path
        for task in journal.open_tasks
        for path in (ids_path(settings, task.name), result_path(settings, task.name))
    }
    for path in folder(settings).glob("*.txt"):
        if path not in kept:
            path.unlink()


def _plan(settings: Settings, journal: TaskJournal, schedule: Schedule, report: StepReport, now: datetime) -> None:
    """Plan the tasks of each kind that has no open one and whose ids fall due."""
    for kind in KINDS:
        if journal.open_of(kind) or schedule.next_check.get(kind, now) > now:
            continue
        limit = now - due.interval(settings) + due.lead(settings)
        n_due = count_held(settings, kind, limit, limit).n_due
        if not n_due:
            continue
        report.n_due += n_due
        ids = oldest_ids(settings, kind, due.ids_to_send(n_due))
        tasks = due.split_into_tasks(ids, newest_ids(settings, kind, due.MAX_CANARIES))
        for number, (sent, n_canaries) in enumerate(tasks, 1):
            name = f"{now:%Y%m%dT%H%M%S}-{kind}-{number}"
            write_private(ids_path(settings, name), _lines(sent))
            journal.append("planned", name, now, kind=kind, n_sent=len(sent), n_canaries=n_canaries)
            report.n_planned += 1


def _check(settings: Settings, journal: TaskJournal, schedule: Schedule, now: datetime) -> None:
    """Compute when the ids of the kinds without open tasks fall due, if that is not known or has passed."""
    for kind in KINDS:
        if journal.open_of(kind):
            schedule.next_check.pop(kind, None)
        elif schedule.next_check.get(kind, now) <= now:
            earliest = count_held(settings, kind, now, now).earliest
            schedule.next_check[kind] = due.next_check(earliest, settings, now)


def _needs_request(task: Task, now: datetime, poll_now: bool) -> bool:
    return task.phase in ("create", "download") or (task.phase == "poll" and (poll_now or task.next_poll <= now))


def _finish(
    settings: Settings, journal: TaskJournal, schedule: Schedule, report: StepReport, now: Callable[[], datetime]
) -> None:
    """Judge the downloaded answers and carry out the accepted ones; a run or a build in progress is a pause."""
    for task in journal.open_tasks:
        if task.phase == "conclude":
            _conclude(settings, journal, task, now())
    try:
        for task in journal.open_tasks:
            if task.phase == "apply":
                _carry_out(settings, journal, task, report, now)
    except (RunInProgress, BuildInProgress) as error:
        schedule.paused_until, schedule.pause_reason = now() + _REMOVAL_WAIT, str(error)


async def _send(
    journal: TaskJournal, settings: Settings, open_context: OpenContext, report: StepReport, poll_now: bool
) -> StopCondition | None:
    """Send the requests of all open tasks; returns why no further one may be sent, None if all were."""
    async with open_context() as context:
        sender = RequestSender(
            context.client, context.ledger, context.clock, rate=settings.rate_limit, concurrency=settings.concurrency
        )
        for task in journal.open_tasks:
            try:
                await _advance(journal, task, settings, context, sender, report, poll_now)
            except QuotaExhausted as error:
                return StopCondition.from_quota(error)
            except UnitError as error:
                _hold_back(journal, task, "refused", context.clock.now(), code=error.code)
            except (RateLimited, RetryableError) as error:
                return StopCondition.cool_down(POOL, f"{summarize_error(error)}.", context.clock.now())
    return None


async def _advance(
    journal: TaskJournal,
    task: Task,
    settings: Settings,
    context: CollectorContext,
    sender: RequestSender,
    report: StepReport,
    poll_now: bool,
) -> None:
    """Create a task, or request its status and its result, as far as it goes now."""
    client, clock, name = context.client, context.clock, task.name
    unit = RequestContext(STUDY, STUDY, name)
    if task.phase == "create":
        ids, kind = _read_ids(settings, name), cast(Literal["video", "comment"], task.kind)
        if not ids:
            journal.append("done", name, clock.now(), n_withdrawn=0)
            return
        request, _ = compliance.creation_request(ids, kind)
        # What is collected after this time is newer than the answer.
        created_at = clock.now()
        created = await sender.send_call(
            request,
            unit,
            lambda: client.validate(ids, kind),
            # A creation without an answer may have started a task, so it is tried again once only.
            max_attempts=lambda error: None if isinstance(error, RateLimited) else 2,
        )
        journal.append("created", name, clock.now(), task_id=created.value, created_at=created_at)
        report.n_created += 1
        return
    task_id = task.task_id
    if task.phase == "poll" and (poll_now or task.next_poll <= clock.now()):
        request = compliance.task_request("validation_status", task_id)
        reported = await sender.send_call(request, unit, lambda: client.validation_status(task_id))
        status = reported.value if reported.value in compliance.STATES else "Processing"
        journal.append("status", name, clock.now(), status=status)
        if status == "Failed":
            _hold_back(journal, task, "failed", clock.now())
    if journal.tasks[name].phase == "download":
        request = compliance.task_request("validation_download", task_id)
        content = (await sender.send_call(request, unit, lambda: client.validation_result(task_id))).value
        digest = {"sha256": hashlib.sha256(content).hexdigest(), "n_bytes": len(content)}
        try:
            returned = parse_result(content)
        except UnreadableResult:
            # Its text is not stored, because no removal could clean it.
            _hold_back(journal, task, "unreadable", clock.now(), **digest)
            return
        # One id per line, so that a removal cleans it.
        write_private(result_path(settings, name), _lines(returned))
        journal.append("downloaded", name, clock.now(), **digest)


def _hold_back(journal: TaskJournal, task: Task, reason: Reason, now: datetime, **facts: object) -> None:
    journal.append("concluded", task.name, now, outcome="held", reason=reason, n_valid=0, n_missing=0, **facts)


def _conclude(settings: Settings, journal: TaskJournal, task: Task, now: datetime) -> None:
    """Judge a downloaded answer."""
    sent, returned = _read_ids(settings, task.name), _read_result(settings, task.name)
    withdrawn = read_withdrawn(settings.state)
    gone = withdrawn.videos if task.kind == "video" else withdrawn.comments
    # The groups lose members only if canaries were withdrawn meanwhile, which moves a few other ids into them.
    groups = due.canary_groups(sent, min(task.n_canaries, len(sent)))
    verdict = judge(sent, groups, returned, gone, settings.verify_max_share)
    journal.append(
        "concluded",
        task.name,
        now,
        outcome="held" if verdict.reason else "accepted",
        reason=verdict.reason,
        n_valid=len(verdict.verified),
        n_missing=len(verdict.missing),
    )


def _carry_out(
    settings: Settings, journal: TaskJournal, task: Task, report: StepReport, now: Callable[[], datetime]
) -> None:
    """Note the verified ids, and withdraw and remove the missing ones. Raises RunInProgress or BuildInProgress."""
    sent, returned = set(_read_ids(settings, task.name)), set(_read_result(settings, task.name))
    created_at = task.created_at or task.planned_at
    record_verified(settings, task.kind, sent & returned, created_at)
    collected = last_seen(settings, task.kind, sent - returned)
    missing = [one for one, at in sorted(collected.items()) if at <= created_at]
    videos, comments = (missing, []) if task.kind == "video" else ([], missing)
    receipts = remove_items(
        settings, now, videos=videos, comments=comments, found_by="compliance", command=f"verify {task.name}"
    )
    report.receipts += receipts
    report.n_verified += len(sent & returned)
    report.n_withdrawn += len(missing)
    # Not the number of `missing`: after a kill, some of them may be withdrawn already.
    n_collected = sum(at > created_at for at in collected.values())
    journal.append("done", task.name, now(), n_withdrawn=task.n_missing - n_collected)


def _lines(ids: Sequence[int]) -> bytes:
    return "".join(f"{one}\n" for one in ids).encode()


def _read_ids(settings: Settings, name: str) -> list[int]:
    return [int(line) for line in ids_path(settings, name).read_text(encoding="ascii").split()]


def _read_result(settings: Settings, name: str) -> list[int]:
    return [int(line) for line in result_path(settings, name).read_text(encoding="ascii").split()]
