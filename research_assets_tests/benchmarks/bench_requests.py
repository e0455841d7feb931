"""What collecting costs in requests, and what it brings, case by case. 950 videos a day, on a virtual clock."""

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
def _harness(**knobs: Any) -> Iterator[ServedHarness]:
    config = SandboxConfig(**{"fixed_volume": DENSE, "research_cap": 10_000} | knobs)
    with data_root(research_cap=10_000) as settings, serve_harness(settings, config) as harness:
        yield harness


def run() -> Iterable[Row]:
    """The cases of the collector's table of figures that are counted in requests."""
    yield from _clean()
    yield from _mixed()
    yield from _with_faults()
    yield from _dead()
    yield from _across_midnight()
    yield from _sparse()


def _rows(harness: ServedHarness, case: str, deliverable: int) -> Iterator[Row]:
    held = harness.ids()
    yield Row(f"{case}: rows lost", deliverable - len(set(held)), "rows", 0, sense="exactly")
    yield Row(f"{case}: rows twice", len(held) - len(set(held)), "rows", 0, sense="exactly")


def _clean() -> Iterator[Row]:
    with _harness() as harness:
        asyncio.run(harness.collect("videos", days(7)))
        yield Row("7 clean days", harness.requests_sent, "requests", 67)
        yield from _rows(harness, "7 clean days", 7 * DENSE)


def _mixed() -> Iterator[Row]:
    """A range of 60 days, then another 60 whose density is known: the cost of what windows hold, and 1 % more."""
    for flat in (37, 137, DENSE):
        with _harness(fixed_volume=flat) as harness:
            for first in (START, START - timedelta(days=60)):
                before = harness.requests_sent
                spec = study(start=START - timedelta(days=60))
                asyncio.run(harness.collect("videos", days(60, first), spec))
                known = "known" if first < START else "unknown"
                bound = 1.01 * sum(math.ceil(hits / 100) for hits in _windows(harness, first))
                yield Row(
                    f"60 clean days of {flat}, density {known}", harness.requests_sent - before, "requests", bound
                )


def _windows(harness: ServedHarness, first: date) -> Iterator[int]:
    """Raw hits of each window that was asked, less those that were given up for smaller ones."""
    spans = []
    for folder in (harness.settings.captures / "videos" / "study=garden").iterdir():
        begin, _, end = folder.name.partition("..")
        spans.append((date.fromisoformat(begin), date.fromisoformat(end or begin)))
    for one, other in spans:
        given_up = any(one <= a and b <= other and (a, b) != (one, other) for a, b in spans)
        if first <= one <= first + timedelta(days=59) and not given_up:
            yield ((other - one).days + 1) * (harness.config.fixed_volume or 0)


def _with_faults() -> Iterator[Row]:
    trouble = {"fresh_search_id_refusals": 1, "every_500": 17, "every_504": 23, "every_429": 29, "undeliverable": 0.1}
    with _harness(**trouble) as harness:
        asyncio.run(harness.collect("videos", days(7)))
        case = "7 days with refusals, 500s, 504s, 429s, 1 in 10 undeliverable"
        yield Row(case, harness.requests_sent, "requests", 77)
        yield from _rows(harness, case, 7 * 855)
        yield Row(f"{case}: waited", sum(harness.clock.slept), "virtual s", 60)


def _dead() -> Iterator[Row]:
    for dead in (0, 4, 13):
        day = START + timedelta(days=dead)
        with _harness(dead_days=frozenset({day})) as harness:
            asyncio.run(harness.collect("videos", days(14)))
            case = f"14 days, day {dead + 1} always 500"
            yield Row(case, harness.requests_sent, "requests", 130)
            yield Row(f"{case}: rows", len(set(harness.ids())), "rows", 12_350, sense="exactly")
            gaps = harness.sql("SELECT unit, next_try IS NOT NULL FROM {coverage} WHERE state = 'quarantined'")
            reported = gaps == [(day.isoformat(), True)]
            yield Row(f"{case}: gaps on record with their next try", len(gaps) * reported, "days", 1, sense="exactly")


def _across_midnight() -> Iterator[Row]:
    with _harness(research_cap=40) as harness:
        nights, pause = 0, asyncio.run(harness.collect("videos", days(7)))[1]
        while pause is not None and nights < 5:
            nights, harness.clock.moment = nights + 1, pause.retry_at
            pause = asyncio.run(harness.collect("videos", days(7)))[1]
        case = "67 pages, 40 requests a day"
        yield Row(f"{case}: nights", nights, "nights", 1)
        yield Row(f"{case}: refused calls", harness.app.books.outcomes["daily_quota_limit_exceeded"], "requests", 1)
        yield from _rows(harness, case, 7 * DENSE)


def _sparse() -> Iterator[Row]:
    spec = study(start=date(2025, 4, 1))
    with _harness(fixed_volume=3) as harness:
        began = perf_counter()
        asyncio.run(harness.collect("videos", days(365, spec.start), spec))
        case = "365 days of 3 videos"
        yield Row(case, harness.requests_sent, "requests", 13)
        windows = len(list((harness.settings.captures / "videos" / "study=garden").iterdir()))
        yield Row(f"{case}: windows", windows, "windows", 12)
        yield Row(f"{case}: wall time", perf_counter() - began, "s", 60)
        yield from _rows(harness, case, 365 * 3)
