"""Reservations of requests: one process on each ledger in turn, and eight processes at once.

Both ledgers flush each reservation to the same disk. PostgreSQL is reached over the loopback interface.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory, TemporaryFile
from time import perf_counter

from research_assets.clock import SystemClock
from research_assets.quota.ledger import Ledger, QuotaExhausted
from research_assets.quota.ledger_database import LedgerDatabase
from research_assets.quota.postgres_ledger import PostgresLedger
from research_assets.quota.sqlite_ledger import SqliteLedger
from research_assets_tests.benchmarks import Row
from research_assets_tests.postgres import find_programs, running_postgres

PROCESSES, CAP, REQUESTS = 8, 1000, 500
MOST_MILLISECONDS = 5
"""Time that a reservation may add to a request."""


def run() -> Iterable[Row]:
    """Measure each ledger; without PostgreSQL, the SQLite file alone."""
    yield Row("flush 4 KiB to the same disk: median", median(_flushes()), "ms", note="part of each reservation")
    with _places() as places:
        reserving, settling = _in_turn(places)
        for name in places:
            bound = MOST_MILLISECONDS if name == "PostgreSQL" else None
            yield Row(f"reserve a request, {name}: median", median(reserving[name]), "ms", bound)
            yield Row(f"... 95th percentile, {name}", quantiles(reserving[name], n=20)[-1], "ms")
            yield Row(f"... settle it, {name}: median", median(settling[name]), "ms")
        for name, place in places.items():
            seconds, latencies = _together(place)
            yield Row(f"8 processes reserve {CAP:,}, {name}: granted", len(latencies), "requests", CAP, sense="exactly")
            yield Row(f"... together, {name}", CAP / seconds, "requests/s", note="with the settling of each")
            yield Row(f"... one of them, {name}: median", median(latencies), "ms", note="with waits for the others")


def _flushes() -> Iterator[float]:
    with TemporaryFile() as file:
        for _ in range(100):
            started = perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fdatasync(file.fileno())
            yield (perf_counter() - started) * 1000


@contextmanager
def _places() -> Iterator[dict[str, Callable[[], LedgerDatabase]]]:
    """Yield a function for each database that opens its ledger."""
    with TemporaryDirectory() as folder:
        places: dict[str, Callable[[], LedgerDatabase]] = {"SQLite": partial(SqliteLedger, Path(folder) / "q.sqlite")}
        if find_programs() is None:
            yield places
            return
        with running_postgres(durable=True) as server:
            yield places | {"PostgreSQL": partial(PostgresLedger, server.url)}


def _in_turn(places: dict[str, Callable[[], LedgerDatabase]]) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Reserve and settle requests on each ledger in turn; return the times of both by ledger, in milliseconds."""
    ledgers = {name: Ledger(place(), {"follow": 10 * REQUESTS}, SystemClock()) for name, place in places.items()}
    reserving: dict[str, list[float]] = {name: [] for name in places}
    settling: dict[str, list[float]] = {name: [] for name in places}
    for number in range(REQUESTS + 10):
        for name, ledger in ledgers.items():
            started = perf_counter()
            reservation = ledger.reserve("follow", study="s", entity="followers", unit="u", endpoint="followers")
            reserved = perf_counter()
            ledger.settle(reservation, status=200, code="ok", rows=100, latency=0.5, log_id="x")
            settled = perf_counter()
            if number >= 10:  # The first ones open the ledger and compile the statements.
                reserving[name].append((reserved - started) * 1000)
                settling[name].append((settled - reserved) * 1000)
    for ledger in ledgers.values():
        ledger.close()
    return reserving, settling


def _together(place: Callable[[], LedgerDatabase]) -> tuple[float, list[float]]:
    """Reserve all requests of a pool from several processes; return seconds, and the time of each in milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    start, results = context.Barrier(PROCESSES + 1), context.Queue()
    workers = [context.Process(target=_reserve_all, args=(place, start, results)) for _ in range(PROCESSES)]
    for worker in workers:
        worker.start()
    start.wait()
    started = perf_counter()
    latencies = [latency for _ in workers for latency in results.get()]
    seconds = perf_counter() - started
    for worker in workers:
        worker.join()
    return seconds, latencies


def _reserve_all(
    place: Callable[[], LedgerDatabase], start: Barrier, results: "multiprocessing.Queue[list[float]]"
) -> None:
    ledger = Ledger(place(), {"research": CAP}, SystemClock())
    ledger.pool_state("research")
    start.wait()
    latencies = []
    while True:
        started = perf_counter()
        try:
            reservation = ledger.reserve("research", study="s", entity="videos", unit="u", endpoint="video_query")
        except QuotaExhausted:
            break
        latencies.append((perf_counter() - started) * 1000)
        ledger.settle(reservation, status=200, code="ok", rows=100, latency=0.5, log_id="x")
    results.put(latencies)
