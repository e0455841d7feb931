"""Clocks and calendar functions. All times are timezone-aware UTC.

Code that reads the time or waits takes a `Clock` as an argument, so tests and the sandbox can replace it. No other
module of the collector reads the system time or sleeps. `now` is for dates, `monotonic` for intervals: a wall clock may
be set while an interval is measured.
"""

import asyncio
import logging
import re
import time as system_time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from email.utils import parsedate_to_datetime
from typing import Protocol

_LOGGER = logging.getLogger(__name__)

_ISO_DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")

LAST_SECOND = 253_402_300_799
"""End of the year 9999 in Unix seconds; the models take no later time either (macro `time_of_api`)."""

MIN_AGREEING = 3
"""Answers that must agree before their time replaces the machine's clock."""

NEWEST_ANSWERS = 9
"""Answers that are compared. More than half of them must agree, so that a few wrong ones have no effect."""

CONFIRMATIONS = 4
"""Additional answers that a client may request before its first data request, until the time is known."""

TOLERANCE_SECONDS = 2.0
"""Difference that counts as agreement: the clocks of the servers of one API differ a little."""

MAX_ROUND_TRIP_SECONDS = 30.0
"""Duration of an answer from which its `Date` header is too imprecise to compare. Some answers take minutes."""

PLAUSIBLE_YEARS = range(2016, 2100)
"""Years that a `Date` header may state. TikTok exists since 2016; a server that has lost its clock shows 1970."""

MAX_CLOCK_SKEW = timedelta(minutes=10)
"""Difference between the clocks of two processes that has no consequence: times of the other one are believed."""

# RFC 9110 §5.6.7. `parsedate_to_datetime` alone also accepts dates without a zone, with words or with other zones.
_HTTP_DATE = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) "
    r"[1-9]\d{3} \d{2}:\d{2}:\d{2} GMT",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SET_THE_CLOCK = "Set the clock of this machine, for example with `timedatectl set-ntp true`"


class Clock(Protocol):
    """A source of time."""

    def now(self) -> datetime:
        """Return the current time, UTC. It may jump, because the clock of a machine can be set."""
        ...

    def monotonic(self) -> float:
        """Return seconds since any fixed time. They never jump, so only their differences are meaningful."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds of this clock."""
        ...


class SystemClock:
    """The local clock of the machine."""

    def now(self) -> datetime:
        """Return the current time, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that also count while the machine is suspended: on the server they pass as well."""
        # On Linux CLOCK_MONOTONIC stops during suspension; on macOS it counts, and there is no CLOCK_BOOTTIME.
        return system_time.clock_gettime(getattr(system_time, "CLOCK_BOOTTIME", system_time.CLOCK_MONOTONIC))

    async def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds."""
        await asyncio.sleep(seconds)


class ClocksDiffer(Exception):
    """The clocks of this machine and of the API differ by more than the limit, so the quota day is unknown."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """The range of the server time minus the monotonic time (seconds) that one answer proves."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2

    def contains(self, offset: float) -> bool:
        return self.low - TOLERANCE_SECONDS <= offset <= self.high + TOLERANCE_SECONDS

    def agrees(self, other: "_Answer") -> bool:
        return self.low - TOLERANCE_SECONDS <= other.high and other.low - TOLERANCE_SECONDS <= self.high


class ServerClock:
    """The server time, learned from the `Date` headers of several answers; until then the time of another clock.

    The quota day ends by server time. So a wrong local clock does no harm, and the project follows the changed clock of
    a sandbox. One header has no effect: at least `MIN_AGREEING` answers, and more than half of the newest
    `NEWEST_ANSWERS`, must agree. From then on the time follows the monotonic clock, so that setting the machine's clock
    has no effect either, and a server time that jumps is ignored, unless the machine's clock confirms it.

    `limit` is the largest difference from the machine's clock that is accepted. None accepts any, for the clock of a
    sandbox, which is set deliberately; 0 ignores all headers.
    """

    def __init__(self, inner: Clock, *, limit: timedelta | None = None) -> None:
        self._inner = inner
        self._limit = limit
        self._answers: deque[_Answer] = deque(maxlen=NEWEST_ANSWERS)
        self._has_answer = False
        self._learned: tuple[datetime, float] | None = None
        self._conflict: str | None = None
        self._logged: set[str] = set()

    def now(self) -> datetime:
        """Return the current server time, UTC."""
        if self._learned is None:
            return self._inner.now()
        server_time, at = self._learned
        return server_time + timedelta(seconds=self._inner.monotonic() - at)

    def monotonic(self) -> float:
        """Return the monotonic seconds of the inner clock."""
        return self._inner.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait on the inner clock."""
        await self._inner.sleep(seconds)

    def observe(self, date_header: str | None, sent: float, received: float) -> None:
        """Learn from an answer: its `Date` header, and the monotonic times of its request and of its arrival."""
        if self._limit == timedelta(0):
            return
        self._has_answer = True
        reported = parse_http_date(date_header or "")
        if reported is None or reported.year not in PLAUSIBLE_YEARS:
            # Foreign text is not logged: it may contain a secret that the server returned.
            seen = "no" if date_header is None else "an unreadable"
            if reported is not None:
                seen = f"an impossible ({date_header})"
            self._warn_once(
                "unusable", f"The API sent {seen} Date header. Without one, the quota day follows this machine's clock."
            )
            return
        if received - sent > MAX_ROUND_TRIP_SECONDS:
            return
        second = (reported - _EPOCH).total_seconds()
        answer = _Answer(second - received, second + 1 - sent)
        self._answers.append(answer)
        if self._learned is not None:
            if answer.contains(self._offset):
                return
            self._warn_once(
                "jump",
                f"Ignored the time of an answer: its Date header is {date_header}, but earlier answers say "
                f"{self.now():%Y-%m-%d %H:%M} UTC. If this repeats, ask the operator of the network or of its proxy.",
            )
        self._learn()

    @property
    def needs_answers(self) -> bool:
        """Return whether the answers so far agree neither with each other nor with the machine's clock."""
        if self._learned or self._conflict or not self._has_answer:
            return False
        return not any(answer.contains(self._machine_offset) for answer in self._answers)

    def check(self) -> None:
        """Raise ClocksDiffer if several answers agree on a time that differs from the machine's by more than `limit`.

        It is unknown which of the two clocks is wrong, so requests could be counted on the wrong day.
        """
        if self._conflict is not None:
            raise ClocksDiffer(self._conflict)

    @property
    def summary(self) -> str:
        """Return one line about the agreement of the two clocks."""
        if self._limit == timedelta(0):
            return "not compared: the clock of this machine is used alone"
        if self._learned is None and not any(answer.contains(self._machine_offset) for answer in self._answers):
            return "not compared: no usable time from the API, the clock of this machine is used"
        difference = self.now() - self._inner.now()
        if abs(difference.total_seconds()) <= TOLERANCE_SECONDS:
            return "agrees with the API"
        return f"{_difference(difference)} the API, whose time is used"

    @property
    def _machine_offset(self) -> float:
        return (self._inner.now() - _EPOCH).total_seconds() - self._inner.monotonic()

    @property
    def _offset(self) -> float:
        return (self.now() - _EPOCH).total_seconds() - self._inner.monotonic()

    def _learn(self) -> None:
        """Adopt the time that most of the newest answers agree on."""
        agreeing = max(([b for b in self._answers if a.agrees(b)] for a in self._answers), key=len)
        if len(agreeing) < MIN_AGREEING or 2 * len(agreeing) <= len(self._answers):
            if len(self._answers) > CONFIRMATIONS and self._learned is None:
                self._warn_once(
                    "contradiction",
                    "The Date headers of the API contradict each other. The quota day follows this machine's clock.",
                )
            return
        best = min(agreeing, key=lambda answer: answer.high - answer.low)
        machine = self._machine_offset
        machine_agrees = best.contains(machine)
        if self._learned is not None and (best.contains(self._offset) or not machine_agrees):
            return
        difference = timedelta(0) if machine_agrees else timedelta(seconds=best.middle - machine)
        local = self._inner.now()
        if self._limit is not None and abs(difference) > self._limit:
            self._conflict = (
                f"Cannot tell the quota day: this machine shows {local:%Y-%m-%d %H:%M} UTC, but "
                f"{len(agreeing)} answers of the API state {local + difference:%Y-%m-%d %H:%M} UTC. No further request "
                f"was sent, because it could be counted on the wrong day. {_SET_THE_CLOCK}. If the API's time is "
                "wrong, set RESEARCH_MAX_CLOCK_OFFSET=0 to use the clock of this machine alone."
            )
            return
        self._conflict = None
        self._learned = (local + difference, self._inner.monotonic())
        if difference:
            # The clock of a sandbox is set deliberately.
            level = logging.INFO if self._limit is None else logging.WARNING
            _LOGGER.log(
                level,
                "The clock of this machine is %s the API, whose time is used for days and the quota. %s.",
                _difference(difference),
                _SET_THE_CLOCK,
            )

    def _warn_once(self, kind: str, message: str) -> None:
        if kind not in self._logged:
            self._logged.add(kind)
            _LOGGER.warning("%s", message)


def _difference(ahead: timedelta) -> str:
    """Return how far the machine's clock is from the server's, such as `3:00:00 behind`."""
    return f"{timedelta(seconds=round(abs(ahead).total_seconds()))} {'behind' if ahead > timedelta(0) else 'ahead of'}"


def parse_http_date(text: str) -> datetime | None:
    """Return the time of an HTTP date such as `Sun, 01 Mar 2026 12:00:00 GMT`; None for any other text."""
    if not _HTTP_DATE.fullmatch(text):
        return None
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return None


def parse_iso_day(text: str) -> date | None:
    """Return a day that is written as 2026-02-01; None for any other text.

    `date.fromisoformat` also reads 20260201 and weeks, such as 2026-W06-1.
    """
    with suppress(ValueError):
        return date.fromisoformat(text) if _ISO_DAY.fullmatch(text) else None
    return None


def midnight(day: date) -> datetime:
    """Return 00:00 UTC of a day."""
    return datetime.combine(day, time(0), UTC)


def next_midnight(at: datetime) -> datetime:
    """Return the next 00:00 UTC after a time, the beginning of the next quota day."""
    return midnight(at.astimezone(UTC).date() + timedelta(days=1))


def week_of(day: date) -> date:
    """Return the Monday of the UTC week of a day, the partition of weekly observations."""
    return day - timedelta(days=day.weekday())
