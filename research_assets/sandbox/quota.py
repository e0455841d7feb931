"""The sandbox's limits: two pools of requests per UTC day, and a rate limit in requests per second."""

from dataclasses import dataclass, field
from datetime import date, datetime

from research_assets.clock import midnight
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.responses import ApiFailure


@dataclass(slots=True)
class QuotaDay:
    """Requests of one UTC day: used, and refused because the cap was reached."""

    used: int = 0
    refused: int = 0


@dataclass(slots=True)
class QuotaPool:
    """One pool and its days. A clock that is set back finds the earlier day unchanged."""

    cap: int
    days: dict[date, QuotaDay] = field(default_factory=dict)

    def day(self, now: datetime) -> QuotaDay:
        """Return the counts of the UTC day of `now`."""
        return self.days.setdefault(now.date(), QuotaDay())


@dataclass(slots=True)
class TokenBucket:
    """A token bucket that holds the requests of one second."""

    rate: float
    tokens: float = 0.0
    filled: float = field(default=0.0)

    def take(self, at: float) -> bool:
        """Take a token at a time in Unix seconds. Return False if there is none."""
        if self.rate <= 0:
            return True
        size = max(1.0, self.rate)
        passed = at - self.filled
        self.tokens = size if passed < 0 else min(size, self.tokens + passed * self.rate)
        self.filled = at
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class QuotaLimits:
    """The quotas of one sandbox. A call is charged before any fault occurs (reference §5)."""

    def __init__(self, config: SandboxConfig) -> None:
        self._delay = config.quota_delay
        self.pools = {"research": QuotaPool(config.research_cap), "follow": QuotaPool(config.follow_cap)}
        self._bucket = TokenBucket(config.rate)

    def charge(self, name: str, now: datetime) -> None:
        """Charge a call to a pool.

        Raises ApiFailure if the day's quota is used up; nothing is charged then. Raises ApiFailure also if calls
        exceed the rate limit.
        """
        pool = self.pools[name]
        day = pool.day(now)
        late = len(pool.days) > 1 and (now - midnight(now.date())).total_seconds() < self._delay
        if late or day.used >= pool.cap:
            day.refused += 1
            message = "The API daily quota limit exceeded. Please try again later"
            raise ApiFailure(429, "daily_quota_limit_exceeded", message, gateway=True)
        day.used += 1
        if not self._bucket.take(now.timestamp()):
            raise rate_limited()


def rate_limited() -> ApiFailure:
    """Return the 429 of the rate limit."""
    message = "The API rate limit was exceeded. Please try again later."
    return ApiFailure(429, "rate_limit_exceeded", message, gateway=True)
