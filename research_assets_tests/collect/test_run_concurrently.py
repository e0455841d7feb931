"""Concurrent jobs: if several raise at once, one error is raised and Python logs no unretrieved one."""

import asyncio
import gc
from collections import deque

import pytest

from research_assets.collect.types import run_concurrently


async def test_jobs_that_fail_together_log_no_unretrieved_error(caplog: pytest.LogCaptureFixture) -> None:
    gate = asyncio.Event()

    async def fails(job: int) -> int:
        await gate.wait()
        raise ValueError(job)

    async def run() -> None:
        asyncio.get_running_loop().call_soon(gate.set)
        async for _ in run_concurrently(deque(range(5)), fails, 5, lambda: True):
            raise AssertionError("nothing succeeds")

    with pytest.raises(ValueError, match=r"[0-4]"):
        await run()
    gc.collect()
    assert caplog.records == []
