"""When the next step of verification is due: a small file that a sensor reads at each tick.

Not here: the steps (see step.py).
"""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from research_assets.compliance.verification.held import KINDS
from research_assets.compliance.verification.tasks import TaskJournal
from research_assets.compliance.verification.verified import folder
from research_assets.settings import Settings
from research_assets.storage.files import private_folder, write_private


@dataclass(slots=True)
class Schedule:
    """When ids of each kind fall due within the lead time, and until when a pause lasts (UTC), with its reason.

    `settings` are the interval and the lead time (days) for which the times were computed.
    """

    next_check: dict[str, datetime] = field(default_factory=dict)
    paused_until: datetime | None = None
    pause_reason: str = ""
    settings: list[float] = field(default_factory=list)

    @classmethod
    def load(cls, settings: Settings) -> "Schedule":
        """Return the stored schedule; an empty one if there is none, or if the settings have changed since."""
        current = [float(settings.verify_days), float(settings.verify_lead_days)]
        try:
            stored: dict[str, Any] = orjson.loads(_path(settings).read_bytes())
            paused = stored["paused_until"]
            schedule = cls(
                {kind: datetime.fromisoformat(at) for kind, at in stored["next_check"].items()},
                datetime.fromisoformat(paused) if paused else None,
                stored["pause_reason"],
                stored["settings"],
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
        times = []
        for kind in KINDS:
            if not journal.open_of(kind):
                times.append(self.next_check.get(kind, now))
        for task in journal.open_tasks:
            if task.phase != "word":
                times.append(task.next_poll if task.phase == "poll" else now)
        if not times:
            return None
        return max(min(times), now, self.paused_until or now)


def _path(settings: Settings) -> Path:
    return folder(settings) / "schedule.json"
