"""Eight processes on one ledger: what they send together, and how often they are refused when the day ends."""

from collections.abc import Iterable
from datetime import date

from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import run_in_thread
from research_assets_tests.benchmarks import Row
from research_assets_tests.benchmarks.environment import collect_together, data_root

PROCESSES, LEDGER = 8, 1000


def run() -> Iterable[Row]:
    """A ledger that knows the day's quota, and one that learns from a refusal that colleagues took part of it."""
    sent, _ = _together(api_allows=10_000)
    yield Row("8 processes, one ledger of 1,000: sent", sent, "requests", LEDGER, sense="exactly")
    _, refused = _together(api_allows=LEDGER)
    yield Row("8 processes at the end of the quota: refused", refused, "requests", 1)
    _, refused = _together(api_allows=400)
    note = "these were under way when the first was refused; they cost no quota"
    yield Row("... where colleagues took 600 of it: refused", refused, "requests", None, note)


def _together(api_allows: int) -> tuple[int, int]:
    """Let each process collect a study of its own until none is left; requests that reached the API, and refusals."""
    with (
        run_in_thread(SandboxConfig(fixed_volume=950, research_cap=api_allows)) as server,
        data_root(server.url, rate=10**9, research_cap=LEDGER) as settings,
    ):
        names = [f"study{number}" for number in range(PROCESSES)]
        if not any(found["paused"] for found in collect_together(settings, names, "videos", date(2026, 2, 1), 31)):
            raise RuntimeError("The quota did not end.")
        books = server.app.books
        sent = sum(count for endpoint, count in books.asked.items() if not endpoint.startswith("oauth"))
        return sent, books.outcomes["daily_quota_limit_exceeded"]
