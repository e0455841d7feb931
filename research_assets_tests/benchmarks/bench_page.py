"""Time of a page from the socket to the durable journal, compared with a plain httpx loop over the same pages.

Both run in this process, in turns, against one sandbox in another process. The median times of a page in each turn are
compared. The collector reserves, sends, checks, journals and settles each page; the loop only reads it.
"""

import asyncio
import os
from collections.abc import Iterable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import httpx

from research_assets.clock import ServerClock, SystemClock
from research_assets.collect.run import collect
from research_assets.collect.types import CollectionTask, RunProgress
from research_assets.fields import ENTITIES
from research_assets.settings import Settings
from research_assets_tests.benchmarks import Row
from research_assets_tests.benchmarks.environment import data_root, sandbox
from research_assets_tests.collect.harness import QUERY, START, study
from research_assets_tests.collect.process_harness import open_tools

ROUNDS, PAGES = 12, 60


def run() -> Iterable[Row]:
    """Measure the median page of both in the median turn, and the median ratio of two consecutive turns."""
    with (
        sandbox("--fixed-volume", str(PAGES * 100)) as url,
        data_root(url, rate_limit=1e9, research_cap=10**9) as settings,
    ):
        peer, ours, flushes = asyncio.run(_in_turns(settings))
    note = f"{ROUNDS} x {PAGES} pages of 100 videos, in turns"
    yield Row("a page in a plain httpx loop", 1000 * median(peer), "ms", None, note)
    yield Row("a flush of the disk; each page needs two", 1000 * median(flushes), "ms", None, "100 KB, fdatasync")
    yield Row("a page from socket to durable journal", 1000 * median(ours), "ms", None, note)
    ratio = median(after / before for before, after in zip(peer, ours, strict=True))
    yield Row("a page to the journal, relative to the plain loop", ratio, "times", 2.0, "median of the rounds")


def _flush(path: Path) -> float:
    """Return the seconds of a flush such as those of journal and ledger. It varies with all other writes."""
    seconds = []
    with path.open("ab", buffering=0) as file:
        for _ in range(20):
            file.write(b"x" * 100_000)
            before = perf_counter()
            os.fdatasync(file.fileno())
            seconds.append(perf_counter() - before)
    return median(seconds)


async def _in_turns(settings: Settings) -> tuple[list[float], list[float], list[float]]:
    """Return the seconds of the median page of the loop and of the collector, and of the median flush, by turn."""
    peer: list[float] = []
    ours: list[float] = []
    flushes: list[float] = []
    async with httpx.AsyncClient(base_url=settings.api_url, timeout=60) as client:
        form = {"client_key": settings.client_key, "client_secret": settings.client_secret}
        answer = await client.post("/v2/oauth/token/", data=form | {"grant_type": "client_credentials"})
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        for number in range(ROUNDS):
            peer.append(median(await _plain_loop(client, number)))
            ours.append(median(await _collector(settings, number)))
            flushes.append(_flush(settings.root / "flushed"))
    return peer, ours, flushes


async def _plain_loop(client: httpx.AsyncClient, number: int) -> list[float]:
    """Return the seconds of each page except the first, for which the sandbox runs the search."""
    day = f"{START + timedelta(days=number):%Y%m%d}"
    body: dict[str, Any] = {
        "query": {group: list(conditions) for group, conditions in QUERY.items()},
        "start_date": day,
        "end_date": day,
        "max_count": 100,
    }
    params = {"fields": ",".join(ENTITIES["videos"].requested)}
    seconds = []
    before = perf_counter()
    while True:
        answer = await client.post("/v2/research/video/query/", params=params, json=body)
        data = answer.json()["data"]
        now = perf_counter()
        seconds.append(now - before)
        before = now
        if not data["has_more"]:
            return seconds[1:]
        body |= {"cursor": data["cursor"], "search_id": data["search_id"]}


async def _collector(settings: Settings, number: int) -> list[float]:
    """Return the seconds between the times at which consecutive pages are durable."""
    times: list[float] = []

    def note_time(_: RunProgress) -> None:
        times.append(perf_counter())

    context = open_tools(settings, ServerClock(SystemClock()), progress=note_time)
    async with context.client:
        async for _ in collect(CollectionTask(study(), "videos", (START + timedelta(days=number),)), context):
            pass
    return [after - before for before, after in pairwise(times)]
