"""The sandbox's clock: another clock with an offset. Quota, tokens, counts and withdrawals use this clock."""

from datetime import UTC, datetime, timedelta

from research_assets.clock import Clock


class SandboxClock:
    """A clock that can be set, advanced and stopped. `sleep` waits on the inner clock."""

    def __init__(self, inner: Clock, start: datetime | None = None) -> None:
        self._inner = inner
        self._offset = timedelta(0) if start is None else start - inner.now()
        self._stopped: datetime | None = None

    def now(self) -> datetime:
        """Return the sandbox's current time, UTC."""
        return self._stopped or (self._inner.now() + self._offset).astimezone(UTC)

    def monotonic(self) -> float:
        """Return the monotonic seconds of the inner clock, which setting this clock does not change."""
        return self._inner.monotonic()

    @property
    def stopped(self) -> bool:
        """Whether the clock is stopped."""
        return self._stopped is not None

    async def sleep(self, seconds: float) -> None:
        """Wait on the inner clock."""
        await self._inner.sleep(seconds)

    def set(self, time: datetime) -> None:
        """Set the clock; a stopped clock stays stopped."""
        if self._stopped is not None:
            self._stopped = time.astimezone(UTC)
        self._offset = time - self._inner.now()

    def advance(self, seconds: float) -> None:
        """Set the clock forward, or back if `seconds` is negative."""
        self.set(self.now() + timedelta(seconds=seconds))

    def stop(self) -> None:
        """Stop the clock."""
        self._stopped = self.now()

    def resume(self) -> None:
        """Start a stopped clock again from the time that it shows."""
        if self._stopped is not None:
            time, self._stopped = self._stopped, None
            self.set(time)
