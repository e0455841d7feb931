"""The conditions after a trial: nothing lost, nothing twice, nothing complete that is not, nothing left to clean up.

The truth is that of the sandbox: its world, its request log and its counts of the quota.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from research_assets.storage.captures import list_open_journals, list_sealed
from research_assets.storage.file_locks import LOCK_FILE
from research_assets.storage.raw_writer import ensure_tables
from research_assets_tests.collect.process_harness import ServedHarness
from research_assets_tests.collect.test_crash import Case, expected_keys, stored_keys

MAX_RUNS = 3
"""Undisturbed runs after which everything is complete. A run may end with a unit that waits for its next try."""


def assert_recovers(harness: ServedHarness, case: Case, *, repeated: int | None = None, late: int = 0) -> int:
    """Assert that a next run completes what the disturbed ones began, with at most `repeated` requests more.

    No person helps: the run is an ordinary one. Returns the number of requests above those of the case. None allows
    any number, for collections whose windows depend on each other. `late` requests may be counted on the next day.
    """
    assert_quota_accounted(harness, case.entity, late)
    for _ in range(MAX_RUNS):
        finished, pause = asyncio.run(harness.collect(case.entity, case.partitions(harness), case.spec))
        assert_quota_accounted(harness, case.entity, late)
        if pause is None and {result.state for result in finished.values()} == {"complete"}:
            break
        waits = [result.next_try for result in finished.values() if result.next_try]
        harness.clock.moment = max([harness.clock.moment, *([pause.retry_at] if pause else []), *waits])
    else:
        raise AssertionError(f"not complete after {MAX_RUNS} undisturbed runs: {finished}, {pause}")
    assert stored_keys(harness, case) == expected_keys(harness, case)
    assert harness.sql("SELECT count(*) FROM {coverage} WHERE state <> 'complete'") == [(0,)]
    assert list_open_journals(harness.settings.captures, case.entity, case.spec.name) == []
    for manifest in list_sealed(harness.settings.captures):
        manifest.verify()
    # The next build begins with it, and removes the working folders of killed processes.
    ensure_tables(harness.settings.raw)
    assert list(leftovers(harness.settings.root)) == []
    more = harness.requests_sent - case.pages
    assert repeated is None or 0 <= more <= repeated, f"{more} requests were repeated"
    return more


def assert_quota_accounted(harness: ServedHarness, entity: str, late: int = 0) -> None:
    """Assert that the ledger is never below what the server counted on any day, nor above it by more than was lost.

    Of a request without a result it is unknown whether it reached the server. `entity` is the only one of the trial. A
    request that is on its way at midnight is one of the old day here and of the new day there: `late` of them.
    """
    requests = [request for request in harness.ledger.iter_requests() if request["entity"] == entity]
    counted = Counter((row["pool"], row["day"]) for row in requests)
    unknown = Counter((row["pool"], row["day"]) for row in requests if row["code"] is None)
    assert (
        sum(unknown.values())
        >= sum(counted.values())
        - sum(charges.used for days in harness.app.quota.pools.values() for charges in days.days.values())
        >= 0
    )
    for pool, days in harness.app.quota.pools.items():
        charged: dict[date, int] = {day: charges.used for day, charges in days.days.items() if charges.used}
        for day in charged.keys() | {day for name, day in counted if name == pool}:
            difference = counted[pool, day] - charged.get(day, 0)
            assert -late <= difference <= unknown[pool, day] + late, (
                f"{day}: the ledger has {counted[pool, day]} requests, the server {charged.get(day, 0)}, "
                f"and {unknown[pool, day]} have no result"
            )


def leftovers(root: Path) -> Iterator[Path]:
    """Yield the temporary files below a folder, and the files in temporary folders, except lock files, which stay."""
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        is_temporary = any(part.startswith(".") and part not in (".user.yml", LOCK_FILE) for part in parts)
        if is_temporary and path.is_file():
            yield path
