"""A run whose connection to the locks is lost: the server restarts, or another machine takes over meanwhile."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import count

import httpx
import pytest

from research_assets.quota.ledger import Ledger
from research_assets.quota.postgres_ledger import PostgresLedger
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.storage.captures import Journal, list_open_journals
from research_assets.storage.locks import PartitionBusy, lock_partitions
from research_assets_tests.collect.harness import CollectorHarness, TamperingTransport, days
from research_assets_tests.postgres import PostgresServer
from research_assets_tests.storage.test_lock_database import another_machine, end_sessions

ENTITIES = ["videos", "comments"]
NUMBERS = count()


@pytest.fixture
def harness(settings: Settings, postgres: PostgresServer) -> Iterator[CollectorHarness]:
    """A harness whose ledger and locks are in the database, with the videos of a day that have comments."""
    shared = replace(settings, ledger_url=postgres.url, page_size=10, concurrency=1)
    built = CollectorHarness(shared, SandboxConfig(fixed_volume=40, fixed_comments=12))
    built.ledger = Ledger(PostgresLedger(postgres.url, f"lost_locks_{next(NUMBERS)}"), shared.caps, built.server_clock)
    built.ledger.sleep = lambda _: None
    yield built
    built.ledger.close()


def at_pages(harness: CollectorHarness, acts: Mapping[int, Callable[[], object]]) -> TamperingTransport:
    """Return a transport that calls a function when the n-th page is ready, before the collector has it."""
    numbers = count(1)

    def edit(_request: httpx.Request, response: httpx.Response) -> httpx.Response:
        acts.get(next(numbers), lambda: None)()
        return response

    return TamperingTransport(harness, edit)


async def prepare(harness: CollectorHarness, entity: str) -> None:
    if entity == "comments":
        await harness.collect("videos", days(1), page_size=100)


async def assert_completes(harness: CollectorHarness, entity: str, n_requests: int) -> None:
    """Assert that the day is complete without duplicate rows after a number of requests."""
    finished, pause = await harness.collect(entity, days(1))
    assert pause is None
    assert {result.state for result in finished.values()} == {"complete"}
    keys = [key for (key,) in harness.sql(f"SELECT id FROM {{{entity}}}")]
    assert len(keys) == len(set(keys)) > 0
    assert list_open_journals(harness.settings.captures, entity, "garden") == []
    assert harness.requests_sent == n_requests


async def requests_of_a_run(harness: CollectorHarness, entity: str) -> int:
    """Return the requests that the day needs, counted on another data folder."""
    alone = replace(harness.settings, ledger_url="", root=harness.settings.root.parent / "other")
    other = CollectorHarness(alone, harness.config)
    await prepare(other, entity)
    await other.collect(entity, days(1))
    return other.requests_sent


@pytest.mark.parametrize("entity", ENTITIES)
async def test_run_takes_its_locks_again_after_the_server_restarted(
    harness: CollectorHarness, postgres: PostgresServer, entity: str
) -> None:
    needed = await requests_of_a_run(harness, entity)
    await prepare(harness, entity)
    is_locked = []

    def restart() -> None:
        postgres.stop("immediate")
        postgres.start()

    def look() -> None:
        with (
            another_machine(),
            pytest.raises(PartitionBusy),
            lock_partitions(harness.settings.state, "garden", entity, days(1)),
        ):
            pass
        is_locked.append(True)

    transport = at_pages(harness, {2: restart, 3: look})
    _, pause = await harness.collect(entity, days(1), transport=transport)
    assert pause is None
    assert is_locked
    await assert_completes(harness, entity, needed)


@pytest.mark.parametrize("entity", ENTITIES)
async def test_run_pauses_after_another_machine_had_its_locks_and_keeps_its_page(
    harness: CollectorHarness, postgres: PostgresServer, entity: str
) -> None:
    needed = await requests_of_a_run(harness, entity)
    await prepare(harness, entity)

    def take_partition() -> None:
        end_sessions(postgres)
        with another_machine(), lock_partitions(harness.settings.state, "garden", entity, days(1)):
            pass

    _, pause = await harness.collect(entity, days(1), transport=at_pages(harness, {2: take_partition}))
    assert pause is not None
    assert "the locks could not be taken again" in pause.reason
    assert pause.remaining == days(1)
    (journal,) = list_open_journals(harness.settings.captures, entity, "garden")
    with Journal.resume(journal) as resumed:
        assert resumed.pages == 2, "the page that arrived without the locks is stored"
    await assert_completes(harness, entity, needed)


async def test_page_of_a_journal_that_another_machine_continues_is_requested_by_that_machine(
    harness: CollectorHarness, postgres: PostgresServer
) -> None:
    needed = await requests_of_a_run(harness, "videos")
    with ExitStack() as other:

        def take_journal() -> None:
            end_sessions(postgres)
            with another_machine():
                other.enter_context(lock_partitions(harness.settings.state, "garden", "videos", days(1)))
                (path,) = list_open_journals(harness.settings.captures, "videos", "garden")
                other.enter_context(Journal.resume(path))

        _, pause = await harness.collect("videos", days(1), transport=at_pages(harness, {3: take_journal}))
        assert pause is not None
    await assert_completes(harness, "videos", needed + 1)
