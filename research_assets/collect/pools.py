"""What is free in the quota's pools now, and who had how much of it today. Looking creates nothing."""

from research_assets.clock import Clock
from research_assets.quota import Ledger, PoolState
from research_assets.settings import Settings


def read_pools(settings: Settings, clock: Clock) -> tuple[dict[str, PoolState], dict[str, dict[str, int]]]:
    """Each pool now, and today's requests by pool and study. Where no ledger is, nothing was spent; none is created."""
    if not settings.ledger.exists():
        today = clock.now().date()
        return {pool: PoolState(pool, today, cap, 0, cap, 0, None) for pool, cap in settings.caps.items()}, {}
    ledger = Ledger(settings.ledger, settings.caps, clock, due_reserve=settings.quota_reserve)
    try:
        return {pool: ledger.pool_state(pool) for pool in settings.caps}, {
            pool: ledger.used_by_study(pool) for pool in settings.caps
        }
    finally:
        ledger.close()
