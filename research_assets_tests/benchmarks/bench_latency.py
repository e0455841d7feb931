"""Wall time of 1,000 requests to a slow server that allows ten per second. The benchmark takes four minutes."""

from collections.abc import Iterable
from datetime import date

from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import run_in_thread
from research_assets_tests.benchmarks import Row
from research_assets_tests.benchmarks.environment import collect, data_root

START = date(2026, 1, 1)


def run() -> Iterable[Row]:
    """Measure the comments of 1,000 videos, one request each, and 100 days of videos without earlier data."""
    slow = SandboxConfig(fixed_volume=1000, fixed_comments=50, latency=1, rate=10, research_cap=10_000)
    with run_in_thread(slow) as server, data_root(server.url, research_cap=10_000) as settings:
        collect(settings, "one", "videos", START, 1)
        yield _row("1,000 lists of comments", collect(settings, "one", "comments", START, 1))
        yield _row("100 days of 1,000 videos, without earlier data", collect(settings, "two", "videos", START, 100))


def _row(case: str, result: dict[str, float]) -> Row:
    note = f"{result['requests']:.0f} requests for {result['rows']:,.0f} rows"
    return Row(f"{case}, 1 s latency, limit 10/s", result["seconds"], "s", 120, note)
