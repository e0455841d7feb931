"""What the sandbox lets through: two pools of requests a UTC day, and so many requests a second."""

from dataclasses import dataclass, field
from datetime import date, datetime

from research_assets.clock import midnight
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.responses import ApiFailure


@dataclass(slots=True)
class QuotaDay:
    """Requests of one UTC day: charged, and refused because the cap was reached."""

    spent: int = 0
    refused: int = 0


@dataclass(slots=True)
class QuotaPool:
    """One pool, with its days; a clock that is set back finds the old day as it was."""

    cap: int
    days: dict[date, QuotaDay] = field(default_factory=dict)

    def day(self, now: datetime) -> QuotaDay:
        """The books of the UTC day of a moment."""
        return self.days.setdefault(now.date(), QuotaDay())


@dataclass(slots=True)
class TokenBucket:
    """A token bucket that holds one second's worth of requests."""

    rate: float
    tokens: float = 0.0
    filled: float = field(default=0.0)

    def take(self, at: float) -> bool:
        """Take a token at a moment (Unix seconds); False if there is none."""
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
    """The quotas of one sandbox. A call is charged before anything else can go wrong with it (reference §5)."""

    def __init__(self, config: SandboxConfig) -> None:
        self._delay = config.quota_delay
        self.pools = {"research": QuotaPool(config.research_cap), "follow": QuotaPool(config.follow_cap)}
        self._bucket = TokenBucket(config.rate)

    def charge(self, name: str, now: datetime) -> None:
        """Charge a call. Raises ApiFailure when the day is spent (nothing is charged), or when calls come too fast."""
        pool = self.pools[name]
        day = pool.day(now)
        late = len(pool.days) > 1 and (now - midnight(now.date())).total_seconds() < self._delay
        if late or day.spent >= pool.cap:
            day.refused += 1
            message = "The API daily quota limit exceeded. Please try again later"
            raise ApiFailure(429, "daily_quota_limit_exceeded", message, gateway=True)
        day.spent += 1
        if not self._bucket.take(now.timestamp()):
            raise rate_limited()


def rate_limited() -> ApiFailure:
    """The short 429."""
    message = "The API rate limit was exceeded. Please try again later."
    return ApiFailure(429, "rate_limit_exceeded", message, gateway=True)
