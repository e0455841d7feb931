"""A full disk wastes no request: none is sent if no response can be stored, and none that is answered is dropped.

Disks that fail at any write are in torture/.
"""

import os
from typing import Any, NoReturn

import pytest

from research_assets.quota.ledger_database import LedgerError
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.storage.captures import MIN_FREE_BYTES, JournalWriteError
from research_assets_tests.collect.harness import CollectorHarness, days


def set_free_bytes(monkeypatch: pytest.MonkeyPatch, free: int, *, n_blocks: int = 1000) -> None:
    values = list(os.statvfs("/"))
    values[1], values[2], values[4] = 4096, n_blocks, free // 4096
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(values))


async def test_no_request_is_sent_if_the_disk_is_full(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = CollectorHarness(settings, SandboxConfig(fixed_volume=20))
    set_free_bytes(monkeypatch, MIN_FREE_BYTES - 4096)
    with pytest.raises(JournalWriteError, match=r"63 MiB free, too little .* No request was sent\. Free space on its"):
        await harness.collect("videos", days(2))
    assert harness.requests_sent == harness.ledger.pool_state("research").used == 0
    # Some network file systems do not report their size.
    set_free_bytes(monkeypatch, 0, n_blocks=0)
    finished, _ = await harness.collect("videos", days(2))
    assert {one.state for one in finished.values()} == {"complete"}


async def test_response_is_stored_if_the_ledger_cannot_be_written(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = CollectorHarness(settings, SandboxConfig(fixed_volume=90))

    def fail(*_: Any, **__: Any) -> NoReturn:
        raise LedgerError("The quota ledger cannot be used: database or disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(harness.ledger, "settle", fail)
        finished, _ = await harness.collect("videos", days(2))
    assert {one.state for one in finished.values()} == {"complete"}
    # The ledger counts the requests, without their responses.
    assert harness.requests_sent == harness.ledger.pool_state("research").used == 2
