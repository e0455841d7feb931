"""The resources of the assets and checks: they are built from the settings and hand over ordinary library objects.

Not here: the client, the ledger and the collector themselves (see tiktok/, quota/ and collect/), which do not use
Dagster.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import duckdb
from dagster_duckdb import DuckDBResource

from research_assets.clock import Clock, ServerClock, SystemClock
from research_assets.collect.types import CollectorContext, RequestBudget, RunProgress
from research_assets.quota.ledger import Ledger, read_used_by_run
from research_assets.quota.server_time import new_clock, server_clock, server_clock_or_local
from research_assets.settings import VARIABLES, Settings, SettingsError, prepare_root
from research_assets.study.spec import StudySpec
from research_assets.warehouse.reader import connect_read_only

if TYPE_CHECKING:
    import httpx


_RETRY_TAG = "dagster/retry_number"
"""Dagster's tag of a run that retries a crashed run by itself."""


class MissingCredentials(SettingsError):
    """No request can be sent, because the key or the secret is not set."""


@dataclass(frozen=True, slots=True)
class CollectorResource:
    """Opens the client and the ledger for one run.

    `clock` and `transport` are for tests. `on_progress` is called after each request, in addition to the callback of
    the run.
    """

    settings: Settings
    clock: Clock = field(default_factory=SystemClock)
    transport: "httpx.AsyncBaseTransport | None" = None
    on_progress: Callable[[RunProgress], None] | None = None

    @asynccontextmanager
    async def open(self, progress: Callable[[RunProgress], None] | None = None) -> AsyncIterator[CollectorContext]:
        """Yield the context of the collector, on a data folder that is writable.

        Raises MissingCredentials or SettingsError before any request is sent or file created, FatalError if the API
        rejects the credentials, and ClocksDiffer if the quota day is unknown (see clock.py).
        """
        # Imported here, so that loading the code location does not load the client.
        from research_assets.tiktok.client import Client
        from research_assets.tiktok.errors import RetryableError

        settings = self.settings
        self._check()
        clock = new_clock(settings, self.clock)
        ledger = Ledger(settings.ledger, settings.caps, clock, quota_reserve=settings.quota_reserve)
        client = Client(
            key=settings.client_key,
            secret=settings.client_secret,
            base_url=settings.api_url,
            clock=clock,
            timeout=settings.timeout,
            connections=settings.concurrency,
            transport=self.transport,
        )
        async with client:
            # The quota day and the running period follow server time. The token response reports it; without it a run
            # could wait for a midnight that has already passed on the server. An API that cannot be reached is no error
            # here, because a run over complete units sends no request.
            with suppress(RetryableError):
                await client.token()
            yield CollectorContext(client, ledger, clock, settings, progress=self._combined_progress(progress))

    def request_budget(
        self, max_requests: int | None, run: str, study: str, entities: Collection[str]
    ) -> RequestBudget | None:
        """Return the budget of a run for some entities, without what a crashed attempt of it used; None if unlimited.

        `run` is the id that `budget_run_id` returns.
        """
        if max_requests is None:
            return None
        used = sum(
            n
            for (name, entity), n in read_used_by_run(self.settings, self.clock, [run])[run].items()
            if name == study and entity in entities
        )
        return RequestBudget(max(0, max_requests - used), run)

    def server_clock(self) -> ServerClock:
        """Return the server's clock if a collection could start now.

        That is the case if credentials are set and the data folder is writable. Sends no request to the real API. Reads
        the time of a simulated API, because its clock can be moved while no request is sent.
        Raises MissingCredentials, SettingsError or SandboxUnreachable.
        """
        self._check()
        return server_clock(self.settings, self.clock)

    def _check(self) -> None:
        settings = self.settings
        missing = [
            VARIABLES[name].name for name in ("client_key", "client_secret") if not getattr(settings, name).strip()
        ]
        if missing:
            raise MissingCredentials(
                f"Cannot collect from {settings.api_url}: {' and '.join(missing)} not set. No request was sent. "
                "Set them in the environment or in .env next to pyproject.toml, or use the simulated API: "
                "research-assets sandbox."
            )
        prepare_root(settings)

    def _combined_progress(self, progress: Callable[[RunProgress], None] | None) -> Callable[[RunProgress], None]:
        callbacks = [callback for callback in (progress, self.on_progress) if callback]

        def report(run_progress: RunProgress) -> None:
            for callback in callbacks:
                callback(run_progress)

        return report


def budget_run_id(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Return the id under which the ledger counts the budget of a run: that of the run that this one retries, if any.

    A retry after a crash continues the budget. A run that a person starts again has its own.
    """
    while _RETRY_TAG in run.tags and run.parent_run_id is not None:
        parent = instance.get_run_by_id(run.parent_run_id)
        if parent is None:
            return run.parent_run_id
        run = parent
    return run.run_id


class PublishedWarehouse(DuckDBResource):
    """The published warehouse, read-only: only the dbt build writes it."""

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the warehouse as `connect_read_only` does. Raises WarehouseReadError if it cannot be opened."""
        with connect_read_only(Path(self.database)) as connection:
            yield connection


def warehouse_resource(settings: Settings) -> PublishedWarehouse:
    """Return the published warehouse of these settings."""
    return PublishedWarehouse(database=str(settings.warehouse))


def build_resources(settings: Settings, collector: CollectorResource | None = None) -> dict[str, object]:
    """Return the resources of the code location by key: `collector` and `warehouse`."""
    return {
        "collector": dg.ResourceDefinition.hardcoded_resource(collector or CollectorResource(settings)),
        "warehouse": warehouse_resource(settings),
    }


def write_bookkeeping_tables(settings: Settings, studies: Sequence[StudySpec]) -> None:
    """Update the raw tables that no collection writes: the expected units and the log of requests."""
    from research_assets.planning.expected_units import write_expected_units, write_request_log

    clock = server_clock_or_local(settings, SystemClock())
    write_expected_units(settings.raw, studies, clock.now())
    if settings.ledger.exists():
        ledger = Ledger(settings.ledger, settings.caps, clock)
        write_request_log(settings.raw, ledger)
        ledger.close()
