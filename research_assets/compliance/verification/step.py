"""One step of verification: everything that can be done now, without waiting for the API.

Each part is durable before the next begins, so a step that was killed is continued by the next one. Not here: what is
verified (see planning.py), when the next step is due (see schedule.py), the requests of look-ups (see lookups.py), the
verdict on an answer (see guards.py).
"""

import asyncio
import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, cast

from research_assets.clock import next_midnight
from research_assets.collect.sender import RequestContext, RequestSender, summarize_error
from research_assets.collect.types import CollectorContext, RequestBudget, StopCondition
from research_assets.compliance.audit_log import record_command
from research_assets.compliance.forget import Receipt, remove_items
from research_assets.compliance.verification import due
from research_assets.compliance.verification.accounts import accounts_last_seen, held_accounts, videos_of
from research_assets.compliance.verification.answers import Answers
from research_assets.compliance.verification.guards import EXPLANATIONS, Reason, judge, judge_lookups
from research_assets.compliance.verification.held import count_part, last_seen
from research_assets.compliance.verification.lookups import STUDY, look_up, record_returned, stored_items
from research_assets.compliance.verification.planning import Planner, lookup_part, verify_first
from research_assets.compliance.verification.results import UnreadableResult, parse_result
from research_assets.compliance.verification.schedule import Schedule, stream_of
from research_assets.compliance.verification.tasks import (
    Task,
    TaskJournal,
    describe_refusal,
    ids_path,
    result_path,
    write_lines,
)
from research_assets.compliance.verification.verified import folder, record_verified
from research_assets.quota.ledger import QuotaExhausted
from research_assets.settings import Settings
from research_assets.storage.file_locks import LOCK_FILE, exclusive
from research_assets.storage.files import private_folder
from research_assets.storage.listing import matching_paths
from research_assets.storage.lock_errors import LockTaken
from research_assets.storage.locks import RunInProgress
from research_assets.storage.sent_by import this_process
from research_assets.storage.withdrawals import read_withdrawn
from research_assets.tiktok import compliance
from research_assets.tiktok.errors import (
    ApiError,
    EndpointNotFound,
    FatalError,
    RateLimited,
    RetryableError,
    ScopeMissing,
    ScopeNotAuthorized,
    UnitError,
)
from research_assets.warehouse.build import BuildInProgress

POOL = "research"
"""Quota pool of the requests."""

_REMOVAL_WAIT = timedelta(minutes=15)


class VerificationError(Exception):
    """A word about a task that cannot be carried out; nothing was changed."""


@dataclass(slots=True)
class StepReport:
    """Result of a step: ids that fell due, tasks planned and created, ids verified and withdrawn, and receipts.

    `waiting` are the tasks that wait for a word, and `held_back` those of them that began to wait in this step. `pause`
    is why it stopped, empty if it did not. `refusal` is a sentence on batch compliance that the API refuses. `is_busy`:
    another step was running, so nothing was done.
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
    refusal: str = ""
    is_busy: bool = False


OpenContext = Callable[[], AbstractAsyncContextManager[CollectorContext]]


def take_step(
    settings: Settings,
    open_context: OpenContext,
    now: Callable[[], datetime],
    *,
    studies: Collection[str] = (),
    poll_now: bool = False,
) -> StepReport:
    """Plan, create, poll, look up, download, conclude and carry out what can be done now.

    `studies` are those whose videos are verified by look-ups. `poll_now` requests the status of each open task whether
    it is due or not, and ends a pause. Raises FatalError and the like, which no later step can avoid; a spent quota and
    an outage are a pause in the report.
    """
    report = StepReport()
    with _step_lock(settings) as is_free:
        if not is_free:
            report.is_busy = True
            return report
        journal, schedule = TaskJournal(settings), Schedule.load(settings)
        _remove_old_files(settings, journal)
        refused_before = journal.refused_at
        waiting_before = {task.name for task in journal.open_tasks if task.phase == "word"}
        if poll_now or (schedule.paused_until or now()) <= now():
            schedule.paused_until, schedule.pause_reason = None, ""
        # Before any request, so that no failing request delays a removal.
        _finish(settings, journal, schedule, report, now)
        planner = Planner(settings, journal, studies, now())
        planner.plan(schedule)
        report.n_due, report.n_planned = planner.n_due, planner.n_planned
        if schedule.paused_until is None and _to_send(journal, schedule, now(), poll_now):
            stop = asyncio.run(_send(journal, schedule, settings, open_context, report, poll_now))
            if stop is not None:
                schedule.paused_until, schedule.pause_reason = stop.retry_at, stop.reason
            _finish(settings, journal, schedule, report, now)
        _remove_old_files(settings, journal)
        # If the API has refused batch compliance in this step, the next one plans look-ups at once.
        if journal.refused_at in (None, refused_before):
            planner.check(schedule)
        schedule.save(settings)
        report.pause, report.refusal = schedule.pause_reason, describe_refusal(journal, now())
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
        record_command(settings, f"verify --{word.removesuffix('ed')} {name}", now)
        journal.append(word, name, now, user=this_process().user)
        if word == "rejected":
            schedule = Schedule.load(settings)
            schedule.next_check.pop(stream_of(task.kind, task.method), None)
            schedule.save(settings)


@contextmanager
def _step_lock(settings: Settings) -> Iterator[bool]:
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(private_folder(folder(settings)) / LOCK_FILE))
        except LockTaken:
            yield False
            return
        yield True


def _remove_old_files(settings: Settings, journal: TaskJournal) -> None:
    """Remove the id files of finished tasks, and of tasks whose planning was interrupted."""
    kept = {
        path
        for task in journal.open_tasks
        for path in (ids_path(settings, task.name), result_path(settings, task.name))
    }
    for path in matching_paths(folder(settings), "*.txt"):
        if path not in kept:
            path.unlink()


def _to_send(journal: TaskJournal, schedule: Schedule, now: datetime, poll_now: bool) -> list[Task]:
    """Return the tasks that need a request now, those by look-ups last, because their requests may use up the quota."""
    found = []
    for task in journal.open_tasks:
        at = task.next_request(schedule.lookups_from)
        if at is not None and (at <= now or (poll_now and task.phase == "poll")):
            found.append(task)
    return sorted(found, key=lambda task: task.method == "lookup")


def _finish(
    settings: Settings, journal: TaskJournal, schedule: Schedule, report: StepReport, now: Callable[[], datetime]
) -> None:
    """Judge the downloaded answers and carry out the accepted ones; a run or a build in progress is a pause."""
    for task in journal.open_tasks:
        if task.phase == "conclude":
            _conclude(settings, journal, task, schedule, now())
    try:
        for task in journal.open_tasks:
            if task.phase == "apply":
                _carry_out(settings, journal, task, schedule, report, now)
    except (RunInProgress, BuildInProgress) as error:
        schedule.paused_until, schedule.pause_reason = now() + _REMOVAL_WAIT, str(error)


async def _send(
    journal: TaskJournal,
    schedule: Schedule,
    settings: Settings,
    open_context: OpenContext,
    report: StepReport,
    poll_now: bool,
) -> StopCondition | None:
    """Send the requests of all open tasks; returns why no further one may be sent, None if all were."""
    async with open_context() as context:
        budget = _lookup_budget(settings, context)
        sender, lookup_sender = (
            RequestSender(
                context.client,
                context.ledger,
                context.clock,
                rate=settings.rate_limit,
                concurrency=settings.concurrency,
                budget=limit,
            )
            for limit in (None, budget)
        )
        for task in _to_send(journal, schedule, context.clock.now(), poll_now):
            if journal.tasks[task.name].phase == "done":
                continue
            try:
                if task.method == "lookup":
                    await look_up(journal, task, settings, context, lookup_sender)
                else:
                    await _advance(journal, task, settings, context, sender, report, poll_now)
            except QuotaExhausted as error:
                if error.reason != "budget":
                    return StopCondition.from_quota(error)
                schedule.lookups_from = next_midnight(context.clock.now())
                return None
            except FatalError as error:
                if _is_task_lost(error):
                    _hold_back(journal, task, "refused", context.clock.now(), code=error.code)
                elif _denies_access(error):
                    _close_batch_tasks(journal, schedule, task, summarize_error(error), context.clock.now())
                else:
                    raise
            except UnitError as error:
                _hold_back(journal, task, "refused", context.clock.now(), code=error.code)
            except (RateLimited, RetryableError) as error:
                return StopCondition.cool_down(POOL, f"{summarize_error(error)}.", context.clock.now())
    return None


def _lookup_budget(settings: Settings, context: CollectorContext) -> RequestBudget:
    """Return the requests that look-ups may still use today."""
    used = context.ledger.used_by_study(POOL).get(STUDY, 0)
    return RequestBudget(max(0, due.lookups_per_day(settings) - used))


def _denies_access(error: ApiError) -> bool:
    """Return whether an error of batch compliance shows that the project may not use it, or that it does not exist."""
    if not error.endpoint.startswith("validation_"):
        return False
    return _is_not_found(error) or isinstance(error, ScopeNotAuthorized | ScopeMissing)


def _is_task_lost(error: ApiError) -> bool:
    """Return whether an answer about a created task may concern the task alone, which the API may not keep for long."""
    return error.endpoint in ("validation_status", "validation_download") and _is_not_found(error)


def _is_not_found(error: ApiError) -> bool:
    # A redirect, which is the same error, may be the page of a network that requires a login.
    return isinstance(error, EndpointNotFound) and error.status in (404, 405, 410)


def _close_batch_tasks(journal: TaskJournal, schedule: Schedule, refused: Task, reason: str, now: datetime) -> None:
    """End a task that the API refuses to the project, and all that are not created; their ids are planned again."""
    for task in journal.open_tasks:
        if task.name == refused.name or task.phase == "create":
            journal.append("no_access", task.name, now, reason=reason)
    schedule.next_check.clear()


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
        ids, kind = _read_ids(ids_path(settings, name)), cast(Literal["video", "comment"], task.kind)
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
        write_lines(result_path(settings, name), returned)
        journal.append("downloaded", name, clock.now(), **digest)


def _hold_back(journal: TaskJournal, task: Task, reason: Reason, now: datetime, **facts: object) -> None:
    journal.append("concluded", task.name, now, outcome="held", reason=reason, n_valid=0, n_missing=0, **facts)


def _conclude(settings: Settings, journal: TaskJournal, task: Task, schedule: Schedule, now: datetime) -> None:
    """Judge the answers of a task."""
    if task.method == "lookup":
        n_valid, n_missing, reason = _judge_lookups(settings, journal, task, schedule, now)
    else:
        sent, returned = (_read_ids(path(settings, task.name)) for path in (ids_path, result_path))
        withdrawn = read_withdrawn(settings.state)
        gone = withdrawn.videos if task.kind == "video" else withdrawn.comments
        # The groups lose members only if canaries were withdrawn meanwhile, which moves a few other ids into them.
        groups = due.canary_groups(sent, min(task.n_canaries, len(sent)))
        verdict = judge(sent, groups, returned, gone, settings.verify_max_share)
        n_valid, n_missing, reason = len(verdict.verified), len(verdict.missing), verdict.reason
    outcome = "held" if reason else "accepted"
    journal.append("concluded", task.name, now, outcome=outcome, reason=reason, n_valid=n_valid, n_missing=n_missing)


def _judge_lookups(
    settings: Settings, journal: TaskJournal, task: Task, schedule: Schedule, now: datetime
) -> tuple[int, int, Reason]:
    """Return the numbers of returned and missing items of look-ups, and why a person must decide, if so."""
    items, answers = stored_items(settings, task), Answers.load(result_path(settings, task.name))
    n_open = len(answers.open_items(items))
    n_missing = sum(answers.missing_since(one) is not None for one in items)
    n_held = _n_held(settings, task.kind, schedule, journal, now)
    n_withdrawn = sum(
        one.n_withdrawn
        for one in journal.tasks.values()
        if (one.kind, one.method) == (task.kind, task.method)
        # What a person confirmed needs no guard.
        and one.word != "confirmed"
        and one.done_at is not None
        and one.done_at > now - due.interval(settings)
    )
    reason = judge_lookups(n_missing, n_open, n_withdrawn, max(n_held, len(items)), settings.verify_max_share)
    # A person decides about all that were not returned.
    return len(items) - n_missing - n_open, n_missing + n_open, reason


def _n_held(settings: Settings, kind: str, schedule: Schedule, journal: TaskJournal, now: datetime) -> int:
    """Return the number of stored items of a kind that look-ups verify."""
    if kind == "account":
        return len(held_accounts(settings))
    part = lookup_part(kind, schedule.studies, is_batch_refused=journal.batch_retry_at(now) is not None)
    return 0 if part is None else count_part(settings, part, now, now).n_held


def _carry_out(
    settings: Settings,
    journal: TaskJournal,
    task: Task,
    schedule: Schedule,
    report: StepReport,
    now: Callable[[], datetime],
) -> None:
    """Note the verified items, and withdraw and remove the missing ones. Raises RunInProgress or BuildInProgress."""
    command = f"verify {task.name}"
    if task.kind == "account":
        handles_at = _missing_items(settings, task)
        seen = accounts_last_seen(settings, handles_at)
        handles = [one for one, at in sorted(seen.items()) if at <= handles_at[one]]
        # Whether they are gone too, or the account was only renamed, is known from the videos themselves.
        if videos := videos_of(settings, handles):
            verify_first(settings, videos)
            for method in ("batch", "lookup"):
                schedule.next_check.pop(stream_of("video", method), None)
        receipts = remove_items(settings, now, handles=handles, found_by="lookup", command=command)
        n_missing, n_collected = len(handles), len(seen) - len(handles)
    else:
        missing_at = _missing_ids(settings, task)
        collected = last_seen(settings, task.kind, missing_at)
        ids = [one for one, at in sorted(collected.items()) if at <= missing_at[one]]
        receipts = remove_items(
            settings,
            now,
            videos=ids if task.kind == "video" else (),
            comments=ids if task.kind == "comment" else (),
            found_by="lookup" if task.method == "lookup" else "compliance",
            command=command,
        )
        n_missing, n_collected = len(ids), len(collected) - len(ids)
    report.n_verified += task.n_valid
    report.receipts += receipts
    report.n_withdrawn += n_missing
    # Not the number of the missing: after a kill, some of them may be withdrawn already.
    journal.append("done", task.name, now(), n_withdrawn=task.n_missing - n_collected)


def _missing_ids(settings: Settings, task: Task) -> dict[int, datetime]:
    """Return the missing ids with the time from which a newer observation shows that they exist; note the others."""
    if task.method == "lookup":
        return {int(item): at for item, at in _missing_items(settings, task).items()}
    sent, returned = (set(_read_ids(path(settings, task.name))) for path in (ids_path, result_path))
    created_at = task.created_at or task.planned_at
    record_verified(settings, task.kind, sent & returned, created_at)
    return dict.fromkeys(sent - returned, created_at)


def _missing_items(settings: Settings, task: Task) -> dict[str, datetime]:
    """Return the missing items of look-ups as `_missing_ids` does: all that were not returned if a person confirmed."""
    answers = Answers.load(result_path(settings, task.name))
    record_returned(settings, task, answers)
    missing = {}
    for item in stored_items(settings, task):
        since = answers.missing_since(item)
        if since is None and task.word == "confirmed" and answers.returned_at(item) is None:
            since = task.planned_at
        if since is not None:
            missing[item] = since
    return missing


def _read_ids(path: Path) -> list[int]:
    return [int(line) for line in path.read_text(encoding="ascii").split()]
