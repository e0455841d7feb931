"""Time, handed in: what reads the clock or waits takes a `Clock`, so that a test or a simulation can bring its own.

Nothing else in the package asks the system for the time or sleeps. All moments are timezone-aware UTC.
"""

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from email.utils import parsedate_to_datetime
from typing import Protocol


class Clock(Protocol):
    """A source of time."""

    def now(self) -> datetime:
        """The present moment, UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds of this clock."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The present moment, UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class ServerClock:
    """A clock that runs with another one but shows the server's time, learnt from `Date` headers.

    The quota's day ends when it ends for the server. With it a wrong local clock does no harm, and the project follows
    a simulated API whose clock was moved. The header counts whole seconds, so differences below two are ignored.
    """

    def __init__(self, inner: Clock) -> None:
        self._inner = inner
        self.offset = timedelta(0)

    def now(self) -> datetime:
        """The present moment as the server sees it, UTC."""
        return self._inner.now() + self.offset

    async def sleep(self, seconds: float) -> None:
        """Wait on the inner clock."""
        await self._inner.sleep(seconds)

    def synchronize(self, date_header: str | None) -> None:
        """Take over the server's time from an answer's `Date` header; a missing or unreadable one changes nothing."""
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
    """00:00 UTC of a day."""
    return datetime.combine(day, time(0), UTC)


def next_midnight(moment: datetime) -> datetime:
    """The next 00:00 UTC after a moment: when the quota's new day begins."""
    return midnight(moment.astimezone(UTC).date() + timedelta(days=1))


def week_of(day: date) -> date:
    """The Monday of a day's UTC week: the partition of weekly observations."""
    return day - timedelta(days=day.weekday())
