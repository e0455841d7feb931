"""The sandbox's own clock: another clock, moved. Quotas, tokens, counts and withdrawals all go by it."""

from datetime import UTC, datetime, timedelta

from research_assets.clock import Clock


class SandboxClock:
    """A clock that can be set, moved and stopped. Waiting is left to the inner clock."""

    def __init__(self, inner: Clock, start: datetime | None = None) -> None:
        self._inner = inner
        self._offset = timedelta(0) if start is None else start - inner.now()
        self._stopped: datetime | None = None

    def now(self) -> datetime:
        """The present moment of the world, UTC."""
        return self._stopped or (self._inner.now() + self._offset).astimezone(UTC)

    @property
    def stopped(self) -> bool:
        """Whether the present moment stands still."""
        return self._stopped is not None

    async def sleep(self, seconds: float) -> None:
        """Wait on the inner clock."""
        await self._inner.sleep(seconds)

    def set(self, moment: datetime) -> None:
        """Jump to a moment; a stopped clock stays stopped there."""
        if self._stopped is not None:
            self._stopped = moment.astimezone(UTC)
        self._offset = moment - self._inner.now()

    def advance(self, seconds: float) -> None:
        """Jump ahead, or back with a negative number."""
        self.set(self.now() + timedelta(seconds=seconds))

    def stop(self) -> None:
        """Let the present moment stand still."""
        self._stopped = self.now()

    def resume(self) -> None:
        """Let time pass again, from the moment shown."""
        if self._stopped is not None:
            moment, self._stopped = self._stopped, None
            self.set(moment)
