"""The sandbox's request log: requests by endpoint and by outcome, and the newest requests."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One answered request. `ms` is the time that the sandbox needed for it, in milliseconds."""

    at: datetime
    endpoint: str
    status: int
    code: str
    rows: int
    ms: float


class RequestLog:
    """Requests and answers since the start or the last reset."""

    def __init__(self, n_latest: int = 40) -> None:
        self.requests: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.rows = 0
        self._latest: deque[LogEntry] = deque(maxlen=n_latest)

    def add(self, entry: LogEntry) -> None:
        """Add a request."""
        self.requests[entry.endpoint] += 1
        self.outcomes[entry.code] += 1
        self.rows += entry.rows
        self._latest.append(entry)

    def latest(self) -> Iterator[dict[str, Any]]:
        """Yield the newest requests, newest first."""
        for entry in reversed(self._latest):
            yield asdict(entry) | {"at": entry.at.isoformat(timespec="seconds"), "ms": round(entry.ms, 2)}
