"""Shared parts of the property tests of the collector: runs that are killed, cheap harnesses, accounts of the quota.

Not here: the properties (see test_random_faults.py and test_stories.py).
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any
from unittest.mock import patch

import duckdb
import httpx

from research_assets.storage.shared_duckdb import connect_shared
from research_assets.study.spec import StudySpec
from research_assets_tests.collect.harness import CollectorHarness


class KillingTransport(httpx.AsyncBaseTransport):
    """Transport to the sandbox that cancels the run during the n-th data request, answered but not stored.

    `answers` are the bodies of all data responses with status 200 that the run received.
    """

    def __init__(self, harness: CollectorHarness, number: int | None, victim: list[asyncio.Task[Any]]) -> None:
        self._inner, self._remaining, self._victim = httpx.ASGITransport(harness.app), number, victim
        self.answers: list[bytes] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        if "oauth" in request.url.path:
            return response
        if self._remaining is not None:
            self._remaining -= 1
            if not self._remaining:
                self._victim[0].cancel()
                await asyncio.sleep(3600)
        if response.status_code == 200:
            self.answers.append(await response.aread())
        return response


async def collect_or_die(
    harness: CollectorHarness,
    entity: str,
    partitions: tuple[date, ...],
    spec: StudySpec,
    *,
    kill_at: int | None,
    **modes: bool,
) -> tuple[Any, KillingTransport]:
    """Collect, and cancel the run at its n-th data request; return its results, None if it was cancelled."""
    victim: list[asyncio.Task[Any]] = []
    transport = KillingTransport(harness, kill_at, victim)
    victim.append(asyncio.ensure_future(harness.collect(entity, partitions, spec, transport=transport, **modes)))
    await asyncio.gather(*victim, return_exceptions=True)
    return None if victim[0].cancelled() else victim[0].result(), transport


def assert_requests_accounted(harness: CollectorHarness) -> None:
    """Assert that the ledger and the API count the same requests, except those in flight at a kill.

    It is unknown whether the API charged or refused these.
    """
    ledger = list(harness.ledger.iter_requests())
    charged = {day: charges.used for day, charges in harness.app.quota.pools["research"].days.items() if charges.used}
    counted = Counter(row["day"] for row in ledger if row["code"] != "daily_quota_limit_exceeded")
    unknown = Counter(row["day"] for row in ledger if row["code"] is None)
    assert all(0 <= count - charged.get(day, 0) <= unknown[day] for day, count in counted.items())
    assert charged.keys() <= counted.keys()


async def at_once(work: Callable[..., Any], *arguments: Any) -> Any:
    """Replace `asyncio.to_thread`: run the work in this thread.

    With threads, the order in which pages become durable would decide which request the sandbox counts as n-th.
    """
    return work(*arguments)


@contextmanager
def cheap_worlds() -> Iterator[None]:
    """Share one DuckDB between the writers of many small captures, without a change in what they do.

    Opening an instance costs more time than a small capture.
    """
    connect_shared().close()  # Opened before the patch, because it outlives the block.
    shared = duckdb.connect(config={"threads": 1, "preserve_insertion_order": False})
    with (
        patch("duckdb.connect", lambda **_: shared.cursor()),
        patch("asyncio.to_thread", at_once),
    ):
        yield
    shared.close()
