"""Requests and rows of the collector, by case. Most cases have 950 videos per day; all use a virtual clock."""

import asyncio
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from time import perf_counter
from typing import Any

from research_assets.sandbox.config import SandboxConfig
from research_assets_tests.benchmarks import Row
from research_assets_tests.benchmarks.environment import data_root
from research_assets_tests.collect.harness import START, days, study
from research_assets_tests.collect.process_harness import ServedHarness, serve_harness

DENSE = 950


@contextmanager
def _harness(**fields: Any) -> Iterator[ServedHarness]:
    config = SandboxConfig(**{"fixed_volume": DENSE, "research_cap": 10_000} | fields)
    with data_root(research_cap=10_000) as settings, serve_harness(settings, config) as harness:
        yield harness


def run() -> Iterable[Row]:
    """Measure all cases."""
    yield from _clean()
    yield from _mixed()
    yield from _with_faults()
    yield from _dead_day()
    yield from _across_midnight()
    yield from _sparse()


def _rows(harness: ServedHarness, case: str, deliverable: int) -> Iterator[Row]:
    collected = harness.ids()
    yield Row(f"{case}: lost rows", deliverable - len(set(collected)), "rows", 0, sense="exactly")
    yield Row(f"{case}: duplicate rows", len(collected) - len(set(collected)), "rows", 0, sense="exactly")


def _clean() -> Iterator[Row]:
    with _harness() as harness:
        asyncio.run(harness.collect("videos", days(7)))
        yield Row("7 clean days", harness.requests_sent, "requests", 67)
        yield from _rows(harness, "7 clean days", 7 * DENSE)


def _mixed() -> Iterator[Row]:
    """Measure 60 days, then another 60 with a known density. The bound is the cost of the windows plus 1 %."""
    for volume in (37, 137, DENSE):
        with _harness(fixed_volume=volume) as harness:
            for first in (START, START - timedelta(days=60)):
                before = harness.requests_sent
                spec = study(start=START - timedelta(days=60))
                asyncio.run(harness.collect("videos", days(60, first), spec))
                density = "known" if first < START else "unknown"
                bound = 1.01 * sum(math.ceil(hits / 100) for hits in _windows(harness, first))
                case = f"60 clean days of {volume}, density {density}"
                yield Row(case, harness.requests_sent - before, "requests", bound)


def _windows(harness: ServedHarness, first: date) -> Iterator[int]:
    """Yield the raw hits of each requested window, except those that were split into smaller ones."""
    spans = []
    for folder in (harness.settings.captures / "videos" / "study=garden").iterdir():
        begin, _, end = folder.name.partition("..")
        spans.append((date.fromisoformat(begin), date.fromisoformat(end or begin)))
    for first_day, last_day in spans:
        is_split = any(first_day <= a and b <= last_day and (a, b) != (first_day, last_day) for a, b in spans)
        if first <= first_day <= first + timedelta(days=59) and not is_split:
            yield ((last_day - first_day).days + 1) * (harness.config.fixed_volume or 0)


def _with_faults() -> Iterator[Row]:
    faults = {"fresh_search_id_refusals": 1, "every_500": 17, "every_504": 23, "every_429": 29, "undeliverable": 0.1}
    with _harness(**faults) as harness:
        asyncio.run(harness.collect("videos", days(7)))
        case = "7 days with refusals, 500s, 504s, 429s, 1 in 10 undeliverable"
        yield Row(case, harness.requests_sent, "requests", 77)
        yield from _rows(harness, case, 7 * 855)
        yield Row(f"{case}: waiting time", sum(harness.clock.slept), "virtual s", 60)


def _dead_day() -> Iterator[Row]:
    for number in (0, 4, 13):
        day = START + timedelta(days=number)
        with _harness(dead_days=frozenset({day})) as harness:
            asyncio.run(harness.collect("videos", days(14)))
            case = f"14 days, day {number + 1} always 500"
            yield Row(case, harness.requests_sent, "requests", 130)
            yield Row(f"{case}: rows", len(set(harness.ids())), "rows", 12_350, sense="exactly")
            gaps = harness.sql("SELECT unit, next_try IS NOT NULL FROM {coverage} WHERE state = 'quarantined'")
            is_recorded = gaps == [(day.isoformat(), True)]
            yield Row(f"{case}: quarantined days with a next try", len(gaps) * is_recorded, "days", 1, sense="exactly")


def _across_midnight() -> Iterator[Row]:
    with _harness(research_cap=40) as harness:
        nights, pause = 0, asyncio.run(harness.collect("videos", days(7)))[1]
        while pause is not None and nights < 5:
            nights, harness.clock.moment = nights + 1, pause.retry_at
            pause = asyncio.run(harness.collect("videos", days(7)))[1]
        case = "67 pages, 40 requests per day"
        yield Row(f"{case}: nights", nights, "nights", 1)
        refused = harness.app.request_log.outcomes["daily_quota_limit_exceeded"]
        yield Row(f"{case}: refused calls", refused, "requests", 1)
        yield from _rows(harness, case, 7 * DENSE)


def _sparse() -> Iterator[Row]:
    spec = study(start=date(2025, 4, 1))
    with _harness(fixed_volume=3) as harness:
        started = perf_counter()
        asyncio.run(harness.collect("videos", days(365, spec.start), spec))
        case = "365 days of 3 videos"
        yield Row(case, harness.requests_sent, "requests", 13)
        windows = len(list((harness.settings.captures / "videos" / "study=garden").iterdir()))
        yield Row(f"{case}: windows", windows, "windows", 12)
        yield Row(f"{case}: wall time", perf_counter() - started, "s", 60)
        yield from _rows(harness, case, 365 * 3)
