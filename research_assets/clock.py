"""Clocks and calendar functions. All times are timezone-aware UTC.

Code that reads the time or waits takes a `Clock` as an argument, so tests and the sandbox can replace it. No other
module reads the system time or sleeps.
"""

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from email.utils import parsedate_to_datetime
from typing import Protocol


class Clock(Protocol):
    """A source of time."""

    def now(self) -> datetime:
        """Return the current time, UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds of this clock."""
        ...


class SystemClock:
    """The local clock of the machine."""

    def now(self) -> datetime:
        """Return the current time, UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds."""
        await asyncio.sleep(seconds)


class ServerClock:
    """A clock that adds an offset to another clock to show the server time, known from `Date` headers.

    The quota day ends by server time. So a wrong local clock does no harm, and the project follows the changed clock of
    a sandbox. The header counts whole seconds, so differences below 2 seconds are ignored.
    """

    def __init__(self, inner: Clock) -> None:
        self._inner = inner
        self.offset = timedelta(0)

    def now(self) -> datetime:
        """Return the current server time, UTC."""
        return self._inner.now() + self.offset

    async def sleep(self, seconds: float) -> None:
        """Wait on the inner clock."""
        await self._inner.sleep(seconds)

    def synchronize(self, date_header: str | None) -> None:
        """Adopt the server time from a `Date` header; a missing or invalid header changes nothing."""
        if not date_header:
            return
        try:
            reported = parsedate_to_datetime(date_header)
        except ValueError:
            return
        if reported.tzinfo is None:
            reported = reported.replace(tzinfo=UTC)
        if abs(reported - self.now()) >= timedelta(seconds=2):
            self.offset = reported - self._inner.now()


def midnight(day: date) -> datetime:
    """Return 00:00 UTC of a day."""
    return datetime.combine(day, time(0), UTC)


def next_midnight(at: datetime) -> datetime:
    """Return the next 00:00 UTC after a time, the beginning of the next quota day."""
    return midnight(at.astimezone(UTC).date() + timedelta(days=1))


def week_of(day: date) -> date:
    """Return the Monday of the UTC week of a day, the partition of weekly observations."""
    return day - timedelta(days=day.weekday())
