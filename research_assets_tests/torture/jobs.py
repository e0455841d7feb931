"""Jobs of the children: collections. Not here: builds and what reads the marts (see build_jobs.py)."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from research_assets.clock import ServerClock, SystemClock
from research_assets.collect.run import collect
from research_assets.collect.types import CollectionTask
from research_assets.quota.server_time import server_clock
from research_assets.storage.locks import PartitionBusy
from research_assets_tests.collect.process_harness import CollectorProcess, open_tools
from research_assets_tests.conftest import FakeClock


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection, by the harness's clock or by the clock of the machine. Its result is whether it was admitted.

    `clock_moves` are the values that the file of the moved clock gets just before the n-th request is reserved.
    """

    process: CollectorProcess
    system_clock: bool = False
    clock_file: Path | None = None
    clock_moves: Mapping[int, bytes] = field(default_factory=dict)

    def __call__(self) -> bool:
        try:
            asyncio.run(self._collect())
        except PartitionBusy:
            return False
        return True

    def _move_clock_before(self, reserve: Callable[..., int]) -> Callable[..., int]:
        numbers = count(1)

        def move_and_reserve(*arguments: Any, **options: Any) -> int:
            number = next(numbers)
            if number in self.clock_moves and self.clock_file is not None:
                with self.clock_file.open("r+b") as file:
                    file.write(self.clock_moves[number])
            return reserve(*arguments, **options)

        return move_and_reserve

    async def _collect(self) -> None:
        process = self.process
        moment = FakeClock(process.moment)
        clock = server_clock(process.settings, SystemClock()) if self.system_clock else ServerClock(moment)
        context = open_tools(process.settings, clock)
        context.ledger.reserve = self._move_clock_before(context.ledger.reserve)  # type: ignore[method-assign]
        async with context.client:
            async for _ in collect(CollectionTask(process.spec, process.entity, process.partitions), context):
                pass
        context.ledger.close()
