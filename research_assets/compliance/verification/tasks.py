"""The journal of verification tasks, `state/verification/tasks.jsonl`, and the states that follow from it.

Each line has a checksum, a task and an event, and no id of a video or comment: those are in the file of the task.
Not here: the steps that cause the events (see step.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from research_assets.compliance.verification.guards import CONFIRMABLE, EXPLANATIONS, Reason
from research_assets.compliance.verification.verified import folder
from research_assets.settings import Settings
from research_assets.storage.checked_lines import add_checksum, append_durably, is_intact
from research_assets.storage.files import private_folder

FIRST_POLL, LONGEST_POLL = timedelta(minutes=5), timedelta(hours=4)
"""Wait before the first request of a task's status. It doubles with each further one, up to the longest."""


@dataclass(frozen=True, slots=True)
class Task:
    """The state of a task. `name` is the project's, `task_id` the digits of the API; times are UTC.

    `n_canaries` of the `n_sent` ids are canaries. `reason` says why an answer waits for a word. `word` is the one of a
    person: `confirmed` or `rejected`.
    """

    name: str
    kind: str
    n_sent: int
    n_canaries: int
    planned_at: datetime
    task_id: str = ""
    created_at: datetime | None = None
    status: str = ""
    n_polls: int = 0
    polled_at: datetime | None = None
    is_downloaded: bool = False
    outcome: str = ""
    reason: Reason = ""
    n_valid: int = 0
    n_missing: int = 0
    word: str = ""
    is_done: bool = False
    n_withdrawn: int = 0

    @property
    def phase(self) -> str:
        """Return the next step: `create`, `poll`, `download`, `conclude`, `apply`, a person's `word`, or `done`."""
        if self.is_done or self.word == "rejected":
            return "done"
        if self.outcome == "accepted" or self.word == "confirmed":
            return "apply"
        if self.outcome:
            return "word"
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


class TaskJournal:
    """The journal of a data folder, and its tasks by name, oldest first."""

    def __init__(self, settings: Settings) -> None:
        self.path = journal_path(settings)
        self.tasks: dict[str, Task] = {}
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

    def open_of(self, kind: str) -> list[Task]:
        """Return the tasks of a kind that are not done."""
        return [task for task in self.open_tasks if task.kind == kind]

    def _apply(self, line: Mapping[str, Any]) -> None:
        name, event, at = line["task"], line["event"], datetime.fromisoformat(line["at"])
        if event == "planned":
            self.tasks[name] = Task(name, line["kind"], line["n_sent"], line["n_canaries"], at)
            return
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
        case "concluded":
            return {name: line[name] for name in ("outcome", "reason", "n_valid", "n_missing")}
        case "done":
            return {"is_done": True, "n_withdrawn": line["n_withdrawn"]}
        case _:
            return {"word": event}


def journal_path(settings: Settings) -> Path:
    """Return the path of the journal."""
    return folder(settings) / "tasks.jsonl"


def ids_path(settings: Settings, task: str) -> Path:
    """Return the file with the ids of a task, one per line, in the order in which they are sent."""
    return folder(settings) / f"{task}.ids.txt"


def result_path(settings: Settings, task: str) -> Path:
    """Return the file with the ids that the API returned, one per line."""
    return folder(settings) / f"{task}.result.txt"


def describe(task: Task) -> str:
    """Return the state of an open task, and what a person can do."""
    head = f"Task {task.name} ({task.n_sent:,} {task.kind}s)"
    if task.phase != "word":
        states = {"create": "is not created yet", "poll": "is processed by the API", "apply": "waits for the removal"}
        return f"{head} {states.get(task.phase, 'has a result that is not used yet')}."
    commands = f"`research-assets verify --reject {task.name}` sends its ids again"
    if task.can_be_confirmed:
        commands = f"`research-assets verify --confirm {task.name}` withdraws {task.n_missing:,} ids, {commands}"
    return f"{head} waits for confirmation: {EXPLANATIONS[task.reason]} ({task.n_missing:,} ids missing). {commands}."
