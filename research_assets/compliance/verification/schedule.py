"""When the next step of verification is due: a small file that a sensor reads at each tick.

Not here: the steps (see step.py).
"""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from research_assets.compliance.verification.tasks import Method, TaskJournal
from research_assets.compliance.verification.verified import folder
from research_assets.settings import Settings
from research_assets.storage.files import private_folder, write_private

STREAMS: tuple[tuple[str, Method], ...] = (
    ("video", "batch"),
    ("video", "lookup"),
    ("comment", "batch"),
    ("account", "lookup"),
)
"""Kinds of items with the methods that verify them."""


def stream_of(kind: str, method: str) -> str:
    """Return the name of a kind and a method."""
    return f"{kind}-{method}"


@dataclass(slots=True)
class Schedule:
    """When each kind and method is planned next, and until when a pause lasts (UTC), with its reason.

    Look-ups are sent from `lookups_from` on, because the share of the quota for look-ups is used. `settings` are the
    interval and the lead time (days) for which the times were computed, `studies` those that are verified by look-ups.
    """

    next_check: dict[str, datetime] = field(default_factory=dict)
    paused_until: datetime | None = None
    pause_reason: str = ""
    lookups_from: datetime | None = None
    settings: list[float] = field(default_factory=list)
    studies: list[str] = field(default_factory=list)

    @classmethod
    def load(cls, settings: Settings) -> "Schedule":
        """Return the stored schedule; an empty one if there is none, or if the settings have changed since."""
        current = [float(settings.verify_days), float(settings.verify_lead_days)]
        try:
            stored: dict[str, Any] = orjson.loads(_path(settings).read_bytes())
            paused, lookups = (stored[name] for name in ("paused_until", "lookups_from"))
            schedule = cls(
                {stream: datetime.fromisoformat(at) for stream, at in stored["next_check"].items()},
                datetime.fromisoformat(paused) if paused else None,
                stored["pause_reason"],
                datetime.fromisoformat(lookups) if lookups else None,
                stored["settings"],
                stored["studies"],
            )
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return cls(settings=current)
        return schedule if schedule.settings == current else cls(settings=current)

    def save(self, settings: Settings) -> None:
        """Store the schedule durably."""
        private_folder(folder(settings))
        write_private(_path(settings), orjson.dumps(self))

    def next_step(self, journal: TaskJournal, now: datetime) -> datetime | None:
        """Return when the next step can be made, at the earliest `now`; None if all steps wait for a person."""
        times = [
            self.next_check.get(stream_of(kind, method), now)
            for kind, method in STREAMS
            if not self.is_blocked(journal, kind, method)
        ]
        for task in journal.open_tasks:
            if task.phase != "word":
                times.append(task.next_request(self.lookups_from) or now)
        if not times:
            return None
        return max(min(times), now, self.paused_until or now)

    def is_blocked(self, journal: TaskJournal, kind: str, method: Method) -> bool:
        """Return whether open tasks prevent further ones of a kind and a method.

        A file of ids contains all that fall due, so the next one waits for it. Look-ups take days, so others are
        planned meanwhile, but not while a person must decide about some.
        """
        phases = [task.phase for task in journal.open_of(kind, method)]
        return "word" in phases if method == "lookup" else bool(phases)


def _path(settings: Settings) -> Path:
    return folder(settings) / "schedule.json"
