"""Operations on a quota ledger for its tests, and the places where a ledger may be."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from research_assets.quota.ledger import Ledger, QuotaExhausted
from research_assets.quota.ledger_database import LedgerDatabase
from research_assets.quota.sqlite_ledger import SqliteLedger
from research_assets_tests.conftest import FakeClock

MORNING = datetime(2026, 3, 2, 0, 5, tzinfo=UTC)

Place = Callable[[], LedgerDatabase]
"""Opens a ledger in a file or a schema of its own. Each call is like another process."""


def file_in(folder: Path) -> Place:
    """Return the place of a ledger in a file of a folder."""
    return partial(SqliteLedger, folder / "state/quota.sqlite")


def ledger_at(place: Place, clock: FakeClock, cap: int = 10, quota_reserve: int = 0) -> Ledger:
    return Ledger(place(), {"research": cap, "follow": 2 * cap}, clock, quota_reserve=quota_reserve)


def reserve(ledger: Ledger, study: str = "s", pool: str = "research", *, due: bool = True) -> int:
    return ledger.reserve(pool, study=study, entity="videos", unit="2026-03-01", endpoint="video_query", due=due)


def settle(ledger: Ledger, reservation: int, status: int | None = 200, *, sent: bool = True) -> None:
    ledger.settle(
        reservation, status=status, code="ok" if status == 200 else "x", rows=7, latency=0.25, log_id="L", sent=sent
    )


def refused(ledger: Ledger, study: str = "s", *, due: bool = True) -> QuotaExhausted:
    with pytest.raises(QuotaExhausted) as error:
        reserve(ledger, study, due=due)
    return error.value
