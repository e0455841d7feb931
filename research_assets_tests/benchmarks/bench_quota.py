"""Eight processes on one ledger: requests sent together, and requests refused at the end of the quota."""

from collections.abc import Iterable
from datetime import date

from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import run_in_thread
from research_assets_tests.benchmarks import Row
from research_assets_tests.benchmarks.environment import collect_together, data_root

PROCESSES, LEDGER = 8, 1000


def run() -> Iterable[Row]:
    """Measure a ledger with the quota of the API, and one with more, of which colleagues used a part."""
    sent, _ = _collect_until_exhausted(api_cap=10_000)
    yield Row("8 processes, one ledger of 1,000: sent", sent, "requests", LEDGER, sense="exactly")
    _, refused = _collect_until_exhausted(api_cap=LEDGER)
    yield Row("8 processes at the end of the quota: refused", refused, "requests", 1)
    _, refused = _collect_until_exhausted(api_cap=400)
    note = "sent before the first refusal arrived; they cost no quota"
    yield Row("... if colleagues used 600 of it: refused", refused, "requests", None, note)


def _collect_until_exhausted(api_cap: int) -> tuple[int, int]:
    """Collect one study per process until the quota is used up. Return the sent and the refused requests."""
    with (
        run_in_thread(SandboxConfig(fixed_volume=950, research_cap=api_cap)) as server,
        data_root(server.url, rate_limit=10**9, research_cap=LEDGER) as settings,
    ):
        names = [f"study{number}" for number in range(PROCESSES)]
        if not any(result["paused"] for result in collect_together(settings, names, "videos", date(2026, 2, 1), 31)):
            raise RuntimeError("The quota was not used up.")
        log = server.app.request_log
        sent = sum(count for endpoint, count in log.requests.items() if not endpoint.startswith("oauth"))
        return sent, log.outcomes["daily_quota_limit_exceeded"]
