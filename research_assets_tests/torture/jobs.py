"""Jobs of the children: collections. Not here: builds and what reads the marts (see build_jobs.py)."""

import asyncio
from dataclasses import dataclass

from research_assets.clock import ServerClock, SystemClock
from research_assets.collect.run import collect
from research_assets.collect.types import CollectionTask
from research_assets.storage.locks import PartitionBusy
from research_assets_tests.collect.process_harness import CollectorProcess, open_tools
from research_assets_tests.conftest import FakeClock


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection, by the harness's clock or by the clock of the machine. Its result is whether it was admitted."""

    process: CollectorProcess
    system_clock: bool = False

    def __call__(self) -> bool:
        try:
            asyncio.run(self._collect())
        except PartitionBusy:
            return False
        return True

    async def _collect(self) -> None:
        process = self.process
        clock = ServerClock(SystemClock() if self.system_clock else FakeClock(process.moment))
        context = open_tools(process.settings, clock)
        async with context.client:
            async for _ in collect(CollectionTask(process.spec, process.entity, process.partitions), context):
                pass
        context.ledger.close()
