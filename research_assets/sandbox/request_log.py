"""The sandbox's own books: how often each endpoint was asked, and the newest requests. For its page and for tests."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One request as it was answered; `ms` is the sandbox's own time for it."""

    at: datetime
    endpoint: str
    status: int
    code: str
    rows: int
    ms: float


class RequestLog:
    """What was asked and answered since the start or the last reset."""

    def __init__(self, kept: int = 40) -> None:
        self.asked: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.rows = 0
        self._latest: deque[LogEntry] = deque(maxlen=kept)

    def add(self, entry: LogEntry) -> None:
        """Note a request."""
        self.asked[entry.endpoint] += 1
        self.outcomes[entry.code] += 1
        self.rows += entry.rows
        self._latest.append(entry)

    def latest(self) -> Iterator[dict[str, Any]]:
        """The newest requests, newest first."""
        for entry in reversed(self._latest):
            yield asdict(entry) | {"at": entry.at.isoformat(timespec="seconds"), "ms": round(entry.ms, 2)}
