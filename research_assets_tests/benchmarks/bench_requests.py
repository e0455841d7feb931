"""Requests and rows of the collector, by case. Most cases have 950 videos per day; all use a virtual clock."""

import asyncio
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from time import perf_counter
from typing import Any

from research_assets.clock import midnight
from research_assets.sandbox.config import SandboxConfig
from research_assets.storage.captures import list_sealed
from research_assets.study.spec import CommentRule
from research_assets_tests.benchmarks import Row
from research_assets_tests.benchmarks.environment import data_root
from research_assets_tests.collect.harness import QUERY, START, days, study
from research_assets_tests.collect.process_harness import ServedHarness, serve_harness

DENSE = 950


@contextmanager
def _harness(*, cap: int = 10_000, **fields: Any) -> Iterator[ServedHarness]:
    """Yield a harness whose ledger, and whose sandbox unless `fields` says otherwise, has `cap` requests per day."""
    config = SandboxConfig(**{"fixed_volume": DENSE, "research_cap": cap} | fields)
    with data_root(research_cap=cap) as settings, serve_harness(settings, config) as harness:
        yield harness


def _nights(harness: ServedHarness, partitions: Sequence[date], limit: int = 6) -> list[int]:
    """Collect until everything is done; return the number of days that each night completed."""
    completed = []
    for _ in range(limit):
        finished, pause = asyncio.run(harness.collect("videos", partitions))
        completed.append(sum(one.state == "complete" and not one.was_complete for one in finished.values()))
        if pause is None:
            break
        harness.clock.moment = max(pause.retry_at, harness.clock.now())
    return completed


def _lost(harness: ServedHarness, case: str, deliverable: int) -> Row:
    return Row(f"{case}: lost rows", deliverable - len(set(harness.ids())), "rows", 0, sense="exactly")


def run() -> Iterable[Row]:
    """Measure all cases."""
    yield from _clean()
    yield from _mixed()
    yield from _with_faults()
    yield from _dead_day()
    yield from _across_midnight()
    yield from _sparse()
    yield from _very_sparse()
    yield from _depth_before_breadth()
    yield from _denser_than_the_quota()
    yield from _old_search_ids()
    yield from _denser_than_expected()
    yield from _passed_days()
    yield from _lagging_counts()


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
    faults: dict[str, Any] = {
        "fresh_search_id_refusals": 1,
        "every_500": 17,
        "every_504": 23,
        "every_429": 29,
        "undeliverable": 0.1,
    }
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


def _very_sparse() -> Iterator[Row]:
    first = date(2025, 4, 1)
    volumes = {day: int(i % 2 == 0 and i // 7 % 3 != 0) for i, day in enumerate(days(365, first))}
    with _harness(fixed_volume=0, volume_by_day=volumes) as harness:
        asyncio.run(harness.collect("videos", days(365, first), study(start=first)))
        case = "365 days of 0.3 videos, in stretches"
        yield Row(case, harness.requests_sent, "requests", 13)
        yield from _rows(harness, case, sum(volumes.values()))


def _depth_before_breadth() -> Iterator[Row]:
    with _harness(cap=1000, fixed_volume=8000) as harness:
        completed = _nights(harness, days(14))
        case = "14 days of 80 pages, 1,000 requests per day"
        yield Row(f"{case}: days complete after the first", completed[0], "days", 11, sense="at least")
        wasted = 1000 - 80 * completed[0]
        yield Row(f"{case}: requests in days that it did not complete", wasted / 10, "%", 10)
        yield Row(case, harness.requests_sent, "requests", 1.01 * 14 * 80)
        yield _lost(harness, case, 14 * 8000)


def _denser_than_the_quota() -> Iterator[Row]:
    for number in (1, 2, 3):
        with _harness(cap=60, fixed_volume=4000, search_lifetime=6 * 3600) as harness:
            completed = _nights(harness, days(number))
            case = f"{number} x 4,000 videos, 60 requests per day, ids dead overnight"
            yield Row(f"{case}: days of quota", len(completed), "days", number)
            yield Row(case, harness.requests_sent, "requests", 44 * number)
            yield _lost(harness, case, number * 4000)


def _old_search_ids() -> Iterator[Row]:
    for only_newest in (False, True):
        with _harness(p_old_search_id=0.5, only_newest_search_id=only_newest) as harness:
            asyncio.run(harness.collect("videos", days(7)))
            case = "7 days, half of the pages with an old search id" + (
                ", only the newest valid" if only_newest else ""
            )
            yield Row(case, harness.requests_sent, "requests", 67)
            yield from _rows(harness, case, 7 * DENSE)


def _denser_than_expected() -> Iterator[Row]:
    dense = days(20)[:19]
    with _harness(fixed_volume=10, volume_by_day=dict.fromkeys(dense, 5100)) as harness:
        asyncio.run(harness.collect("videos", [days(20)[19]]))
        before = harness.requests_sent
        _nights(harness, days(20))
        case = "19 days of 5,100 videos where 10 were expected"
        yield Row(case, harness.requests_sent - before, "requests", 1.01 * 19 * 51)
        longest = max(capture.pages for capture in list_sealed(harness.settings.captures))
        yield Row(f"{case}: longest search", longest, "pages", 120)
        yield _lost(harness, case, 19 * 5100 + 10)


def _passed_days() -> Iterator[Row]:
    for known in (True, False):
        with _harness(cap=40 if known else 1000, research_cap=40) as harness:
            completed = _nights(harness, days(7), limit=1)
            case = f"67 pages, 40 requests, {'known' if known else 'used by colleagues'}: days published at the pause"
            yield Row(case, completed[0], "days", 4 if known else 1, sense="at least")


def _lagging_counts() -> Iterator[Row]:
    """Collect a week at the age of 2 days and again at 12; count the commented videos without a comment."""
    spec = study(comments=CommentRule("all", replies="none"), reobserve_days=(12,))
    with _harness(fixed_volume=30, fixed_comments=2, count_lag_days=10.0) as harness:
        for age in (2, 12):
            harness.clock.moment = midnight(START + timedelta(days=7 + age)) + timedelta(hours=1)
            asyncio.run(harness.collect("videos", days(7), spec, recollect=age > 2))
            asyncio.run(harness.collect("comments", days(7), spec))
        truth = harness.app.ground_truth
        query = {group: list(conditions) for group, conditions in QUERY.items()}
        videos = truth.videos(query, START, START + timedelta(days=6)).values()
        commented = {video for of_day in videos for video in of_day.deliverable if truth.comments(video)}
        missing = commented - {row[0] for row in harness.sql("SELECT DISTINCT video_id FROM {comments}")}
        complete = {
            int(unit)
            for (unit,) in harness.sql("SELECT unit FROM {coverage} WHERE unit_kind = 'video' AND state = 'complete'")
        }
        case = f"7 days of {len(commented)} commented videos, counts up to 10 days old"
        yield Row(f"{case}: without their comments", len(missing), "videos", 0, sense="exactly")
        yield Row(f"{case}: of them called complete", len(missing & complete), "videos", 0, sense="exactly")
