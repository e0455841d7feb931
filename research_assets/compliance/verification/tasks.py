"""The journal of verification tasks, `state/verification/tasks.jsonl`, and the states that follow from it.

Each line has a checksum, a task and an event, and no id or handle: those are in the files of the task. A task verifies
by one of two methods: `batch` sends all ids in one file (reference §3.11), `lookup` requests them in single requests.
Not here: the steps that cause the events (see step.py), the answers to look-ups (see answers.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import orjson

from research_assets.clock import midnight
from research_assets.compliance.verification.guards import CONFIRMABLE, EXPLANATIONS, Reason
from research_assets.compliance.verification.verified import folder
from research_assets.settings import Settings
from research_assets.storage.checked_lines import add_checksum, append_durably, is_intact
from research_assets.storage.files import private_folder, write_private

Method = Literal["batch", "lookup"]

FIRST_POLL, LONGEST_POLL = timedelta(minutes=5), timedelta(hours=4)
"""Wait before the first request of a task's status. It doubles with each further one, up to the longest."""

ROUND_DAYS = (1, 2, 4, 8)
"""Days from the first round of look-ups to each further one, on which the items without a verdict are requested."""

BATCH_RETRY = timedelta(days=7)
"""Time after which batch compliance is tried again if the API has refused it to the project."""


@dataclass(frozen=True, slots=True)
class Task:
    """The state of a task. `name` is the project's, `task_id` the digits of the API; times are UTC.

    `n_canaries` of the `n_sent` items are canaries. `rounds` are the UTC days of the completed rounds of look-ups, and
    `n_open` the items that need another one. `reason` says why an answer waits for a word. `word` is the one of a
    person: `confirmed` or `rejected`.
    """

    name: str
    kind: str
    n_sent: int
    n_canaries: int
    planned_at: datetime
    method: Method = "batch"
    task_id: str = ""
    created_at: datetime | None = None
    status: str = ""
    n_polls: int = 0
    polled_at: datetime | None = None
    is_downloaded: bool = False
    rounds: tuple[date, ...] = ()
    n_open: int = 0
    outcome: str = ""
    reason: Reason = ""
    n_valid: int = 0
    n_missing: int = 0
    word: str = ""
    is_done: bool = False
    done_at: datetime | None = None
    n_withdrawn: int = 0

    @property
    def phase(self) -> str:
        """Return the next step.

        That is `create`, `poll`, `download` (batch), `look up`, `conclude`, `apply`, a person's `word`, or `done`.
        """
        if self.is_done or self.word == "rejected":
            return "done"
        if self.outcome == "accepted" or self.word == "confirmed":
            return "apply"
        if self.outcome:
            return "word"
        if self.method == "lookup":
            is_last = len(self.rounds) > len(ROUND_DAYS)
            return "conclude" if self.rounds and (not self.n_open or is_last) else "look up"
        if self.is_downloaded:
            return "conclude"
        if self.status == "Completed":
            return "download"
        return "poll" if self.task_id else "create"

    @property
    def can_be_confirmed(self) -> bool:
        """Return whether a person may confirm the answer."""
        return self.phase == "word" and self.reason in CONFIRMABLE

    @property
    def next_poll(self) -> datetime:
        """Return when the status may be requested again."""
        wait = min(FIRST_POLL * (1 << min(self.n_polls, 16)), LONGEST_POLL)
        return (self.polled_at or self.created_at or self.planned_at) + wait

    @property
    def next_round(self) -> datetime:
        """Return when the next round of look-ups may begin: on another UTC day than the one before."""
        if not self.rounds:
            return self.planned_at
        following = self.rounds[0] + timedelta(days=ROUND_DAYS[min(len(self.rounds), len(ROUND_DAYS)) - 1])
        return midnight(max(following, self.rounds[-1] + timedelta(days=1)))

    def next_request(self, lookups_from: datetime | None) -> datetime | None:
        """Return when the next request may be sent; None if the phase needs none. Look-ups begin at `lookups_from`."""
        match self.phase:
            case "create" | "download":
                return self.planned_at
            case "poll":
                return self.next_poll
            case "look up":
                return max(self.next_round, lookups_from or self.next_round)
        return None


class TaskJournal:
    """The journal of a data folder, and its tasks by name, oldest first.

    `refused_at` is when the API refused batch compliance to the project, None if a task was created since; `refusal` is
    its answer.
    """

    def __init__(self, settings: Settings) -> None:
        self.path = journal_path(settings)
        self.tasks: dict[str, Task] = {}
        self.refused_at: datetime | None = None
        self.refusal = ""
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            lines = []
        for line in lines:
            # A lost line repeats a step; no step withdraws anything without a complete answer.
            if is_intact(line):
                self._apply(orjson.loads(line))

    def append(self, event: str, task: str, at: datetime, **facts: Any) -> None:
        """Append an event durably and apply it."""
        line = {"task": task, "event": event, "at": at.astimezone(UTC), **facts}
        text = orjson.dumps(line)
        private_folder(self.path.parent)
        append_durably(self.path, add_checksum(text))
        self._apply(orjson.loads(text))

    @property
    def open_tasks(self) -> list[Task]:
        """Return the tasks that are not done, oldest first."""
        return [task for task in self.tasks.values() if task.phase != "done"]

    def open_of(self, kind: str, method: str) -> list[Task]:
        """Return the tasks of a kind and a method that are not done."""
        return [task for task in self.open_tasks if task.kind == kind and task.method == method]

    def batch_retry_at(self, now: datetime) -> datetime | None:
        """Return when batch compliance is tried again after a refusal; None if it may be tried now."""
        if self.refused_at is None or (retry_at := self.refused_at + BATCH_RETRY) <= now:
            return None
        return retry_at

    def _apply(self, line: Mapping[str, Any]) -> None:
        name, event, at = line["task"], line["event"], datetime.fromisoformat(line["at"])
        if event == "planned":
            self.tasks[name] = Task(name, line["kind"], line["n_sent"], line["n_canaries"], at, line["method"])
            return
        if event == "no_access":
            self.refused_at, self.refusal = at, line["reason"]
        elif event == "created":
            self.refused_at = None
        task = self.tasks.get(name)
        if task is None:
            return
        self.tasks[name] = replace(task, **_changes(task, event, at, line))


def _changes(task: Task, event: str, at: datetime, line: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a task that an event changes."""
    match event:
        case "created":
            return {"task_id": line["task_id"], "created_at": datetime.fromisoformat(line["created_at"])}
        case "status":
            return {"status": line["status"], "n_polls": task.n_polls + 1, "polled_at": at}
        case "downloaded":
            return {"is_downloaded": True}
        case "looked_up":
            day = date.fromisoformat(line["day"])
            return {"rounds": (*task.rounds, day), "n_open": line["n_open"]}
        case "concluded":
            return {name: line[name] for name in ("outcome", "reason", "n_valid", "n_missing")}
        case "no_access" | "cancelled":
            # Its items are planned again, after a refusal by another method if there is one.
            return {"is_done": True, "done_at": at}
        case "done":
            return {"is_done": True, "done_at": at, "n_withdrawn": line["n_withdrawn"]}
        case _:
            return {"word": event}


def journal_path(settings: Settings) -> Path:
    """Return the path of the journal."""
    return folder(settings) / "tasks.jsonl"


def ids_path(settings: Settings, task: str) -> Path:
    """Return the file with the ids (or handles) of a task, one per line, in the order in which they are sent."""
    return folder(settings) / f"{task}.ids.txt"


def result_path(settings: Settings, task: str) -> Path:
    """Return the file with the ids that the API returned, one per line; of a look-up, with its answers."""
    return folder(settings) / f"{task}.result.txt"


def write_lines(path: Path, items: Iterable[object]) -> None:
    """Write ids or handles to a file, one per line, so that a removal cleans it."""
    write_private(path, "".join(f"{one}\n" for one in items).encode())


def read_items(settings: Settings, task: Task) -> list[str]:
    """Return the items in the file of a task: ids as text, or handles."""
    return ids_path(settings, task.name).read_text(encoding="utf-8").splitlines()


def describe(task: Task) -> str:
    """Return the state of an open task, and what a person can do."""
    head = f"Task {task.name} ({task.n_sent:,} {task.kind}s{' by look-up' if task.method == 'lookup' else ''})"
    if task.phase != "word":
        again = f"looks up {task.n_open:,} {task.kind}s again from {task.next_round:%Y-%m-%d} (UTC)"
        states = {
            "create": "is not created yet",
            "poll": "is processed by the API",
            "look up": again if task.rounds else "is not looked up yet",
            "apply": "waits for the removal",
        }
        return f"{head} {states.get(task.phase, 'has a result that is not used yet')}."
    items = "accounts" if task.kind == "account" else "ids"
    commands = f"`research-assets verify --reject {task.name}` verifies its {items} again"
    if task.can_be_confirmed:
        commands = f"`research-assets verify --confirm {task.name}` withdraws {task.n_missing:,} {items}, {commands}"
    return (
        f"{head} waits for confirmation: {EXPLANATIONS[task.reason]} ({task.n_missing:,} {items} missing). {commands}."
    )


def describe_refusal(journal: TaskJournal, now: datetime) -> str:
    """Return a sentence on batch compliance that the API refuses to the project; empty if it does not."""
    retry_at = journal.batch_retry_at(now)
    if retry_at is None:
        return ""
    return (
        f"The API refuses batch compliance to this project ({journal.refusal}). Videos are verified by look-ups; "
        "comments cannot be verified unless they are collected again. "
        f"Next attempt: {retry_at:%Y-%m-%d %H:%M} UTC."
    )
