"""What the sandbox lets through: two pools of requests a UTC day, and so many requests a second."""

from dataclasses import dataclass, field
from datetime import datetime

from research_assets.clock import midnight
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.envelope import ApiFailure


@dataclass(slots=True)
class Pool:
    """One pool on its current UTC day: requests charged, and requests refused because the cap was reached."""

    cap: int
    day: str = ""
    spent: int = 0
    refused: int = 0


@dataclass(slots=True)
class Bucket:
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


class Quota:
    """The quotas of one sandbox. A call is charged before anything else can go wrong with it (reference §5)."""

    def __init__(self, config: SandboxConfig) -> None:
        self._delay = config.quota_delay
        self.pools = {"research": Pool(config.research_cap), "follow": Pool(config.follow_cap)}
        self._bucket = Bucket(config.rate)

    def charge(self, name: str, now: datetime) -> None:
        """Charge a call. Raises ApiFailure when the day is spent (nothing is charged), or when calls come too fast."""
        pool, day = self.pools[name], f"{now:%Y-%m-%d}"
        if day != pool.day:
            if pool.day and self._delay and (now - midnight(now.date())).total_seconds() < self._delay:
                self._refuse(pool)
            pool.day, pool.spent, pool.refused = day, 0, 0
        if pool.spent >= pool.cap:
            self._refuse(pool)
        pool.spent += 1
        if not self._bucket.take(now.timestamp()):
            raise too_fast()

    def _refuse(self, pool: Pool) -> None:
        pool.refused += 1
        message = "The API daily quota limit exceeded. Please try again later"
        raise ApiFailure(429, "daily_quota_limit_exceeded", message, gateway=True)


def too_fast() -> ApiFailure:
    """The short 429."""
    message = "The API rate limit was exceeded. Please try again later."
    return ApiFailure(429, "rate_limit_exceeded", message, gateway=True)
