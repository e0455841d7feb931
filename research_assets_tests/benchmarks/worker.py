"""A child process of the benchmarks: it collects and prints its measurements as one line of JSON."""

import asyncio
import json
import resource
import sys
from datetime import date, timedelta
from time import perf_counter
from typing import Any

from research_assets.clock import ServerClock, SystemClock
from research_assets.collect.run import collect
from research_assets.collect.types import CollectionTask, CollectorContext, Paused, RunProgress
from research_assets.quota.ledger import Ledger
from research_assets.settings import Settings
from research_assets.study.spec import CommentRule, StudySpec
from research_assets.tiktok.client import Client

QUERY = {"and": ({"operation": "EQ", "field_name": "hashtag_name", "field_values": ["gardening"]},)}


async def _collect(settings: Settings, name: str, entity: str, first: date, number: int) -> dict[str, Any]:
    clock, latest = ServerClock(SystemClock()), RunProgress(name, entity, "", 0, 0, 0)

    def note(progress: RunProgress) -> None:
        nonlocal latest
        latest = progress

    ledger = Ledger(settings.ledger, settings.caps, clock)
    client = Client(
        key=settings.client_key,
        secret=settings.client_secret,
        base_url=settings.api_url,
        clock=clock,
        connections=settings.concurrency,
    )
    spec = StudySpec(name, first, QUERY, comments=CommentRule(replies="none"))
    partitions = tuple(first + timedelta(days=i) for i in range(number))
    started, states, paused = perf_counter(), set(), False
    async with client:
        async for result in collect(
            CollectionTask(spec, entity, partitions), CollectorContext(client, ledger, clock, settings, note)
        ):
            if isinstance(result, Paused):
                paused = True
            else:
                states.add(result.state)
    return {
        "rows": latest.rows,
        "requests": latest.requests,
        "seconds": perf_counter() - started,
        "states": sorted(states),
        "paused": paused,
        "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    study, which, begin, days = sys.argv[1:]
    found = asyncio.run(_collect(Settings.from_env(), study, which, date.fromisoformat(begin), int(days)))
    sys.stdout.write(json.dumps(found))
