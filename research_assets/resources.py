"""The resources of the assets and checks, as Dagster's Resources page shows them, with the objects that they hand over.

Their configuration comes from the settings. The credentials are environment variables, so no page shows them.

Not here: the client, the ledger and the collector themselves (see tiktok/, quota/ and collect/), which do not use
Dagster.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import dagster as dg
import duckdb
from dagster_duckdb import DuckDBResource
from pydantic import Field

from research_assets.clock import Clock, ServerClock, SystemClock
from research_assets.collect.types import CollectorContext, PartitionResult, RequestBudget, RunProgress
from research_assets.quota.ledger import Ledger, open_ledger, read_used_by_run
from research_assets.quota.postgres_ledger import PostgresLedger, place_of
from research_assets.quota.server_time import new_clock, server_clock, server_clock_or_local
from research_assets.settings import VARIABLES, Settings, SettingsError, env_file, export_credentials, prepare_root
from research_assets.study.spec import StudySpec
from research_assets.warehouse.reader import connect_read_only

if TYPE_CHECKING:
    import httpx


ASSET_TAG = ".dagster/research_asset"
"""Tag of a planned run with its study and entity. The UI hides tags with this prefix."""

PAUSED_TAG = "paused"
"""Tag of a paused run for readers of the list of runs: what is complete, and when the run resumes."""

_RETRY_TAG = "dagster/retry_number"
"""Dagster's tag of a run that retries a crashed run by itself."""


class MissingCredentials(SettingsError):
    """No request can be sent, because the key or the secret is not set."""


@dataclass(frozen=True, slots=True)
class CollectorResource:
    """Opens the client and the ledger for one run.

    `clock` and `transport` are for tests. `on_progress` is called after each request, in addition to the callback of
    the run, and `on_result` after each partition. `ledger_path` is that of the settings by default.
    """

    settings: Settings
    clock: Clock = field(default_factory=SystemClock)
    transport: "httpx.AsyncBaseTransport | None" = None
    on_progress: Callable[[RunProgress], None] | None = None
    on_result: Callable[[PartitionResult], None] | None = None
    ledger_path: Path | None = None

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
        ledger = open_ledger(settings, clock, path=self.ledger_path)
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
                f"Set them in the environment or in the file {env_file()}, or use the simulated API: "
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


class QuotaLedger(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The quota ledger: counts every request before it is sent, so that no process exceeds the daily quota."""

    path: str = Field(description="SQLite file of the ledger; not used if there is a database")
    database: str = Field("", description="PostgreSQL database that several machines share, without user and password")
    database_url: str = Field("", description="Address of the database with user and password, from the environment")
    database_schema: str = Field("research_assets", description="Schema of the ledger in the database")
    research_quota: int = Field(description="Requests per UTC day in the pool `research`: videos, comments, profiles")
    follow_quota: int = Field(description="Requests per UTC day in the pool `follow`: followers and following")
    reserve: int = Field(0, description="Requests of the pool `research` kept for days that are due today")

    def open(self, clock: Clock) -> Ledger:
        """Return the opened ledger. The quota day is that of the `clock`. The caller closes it."""
        caps = {"research": self.research_quota, "follow": self.follow_quota}
        database = PostgresLedger(self.database_url, self.database_schema) if self.database_url else Path(self.path)
        return Ledger(database, caps, clock, quota_reserve=self.reserve)


class ResearchApi(dg.ConfigurableResource):  # type: ignore[type-arg]
    """TikTok's Research API, or a simulated one: opens the client and the quota ledger for one run."""

    address: str = Field(description="Address of the API; a loopback address is the simulated API")
    client_key: str = Field(description="Client key of the approved project, from the environment")
    client_secret: str = Field(description="Client secret of the approved project, from the environment")
    rate_limit: float = Field(description="Maximum number of requests per second")
    concurrency: int = Field(description="Maximum number of concurrent requests")
    timeout: float = Field(description="Time for a complete response (seconds)")
    data_folder: str = Field(description="Folder of captures and raw tables")
    quota_ledger: QuotaLedger

    collector: ClassVar[CollectorResource]
    """The collector whose settings are not part of the configuration; see `of`."""

    @classmethod
    def of(cls, collector: CollectorResource, ledger: QuotaLedger) -> "ResearchApi":
        """Return the resource of a collector.

        The class of the result carries the collector: Dagster creates the resource again from its configuration, which
        cannot hold a clock or a transport.
        """
        settings = collector.settings
        names = {"__module__": cls.__module__, "__doc__": cls.__doc__, "collector": collector}
        bound = type(cls.__name__, (cls,), names)
        resource: ResearchApi = bound(
            address=settings.api_url,
            client_key=dg.EnvVar(VARIABLES["client_key"].name),
            client_secret=dg.EnvVar(VARIABLES["client_secret"].name),
            rate_limit=settings.rate_limit,
            concurrency=settings.concurrency,
            timeout=settings.timeout,
            data_folder=str(settings.root),
            quota_ledger=ledger,
        )
        return resource

    def create_resource(self, context: dg.InitResourceContext) -> CollectorResource:  # noqa: ARG002  Dagster passes it
        """Return the collector with this configuration."""
        settings = replace(
            self.collector.settings,
            api_url=self.address,
            client_key=self.client_key,
            client_secret=self.client_secret,
            rate_limit=self.rate_limit,
            concurrency=self.concurrency,
            timeout=self.timeout,
            root=Path(self.data_folder),
            ledger_url=self.quota_ledger.database_url,
            research_cap=self.quota_ledger.research_quota,
            follow_cap=self.quota_ledger.follow_quota,
            quota_reserve=self.quota_ledger.reserve,
        )
        return replace(self.collector, settings=settings, ledger_path=Path(self.quota_ledger.path))


class PublishedWarehouse(DuckDBResource):
    """The published marts as a DuckDB file, opened read-only: only the dbt build writes it."""

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the warehouse as `connect_read_only` does. Raises WarehouseReadError if it cannot be opened."""
        with connect_read_only(Path(self.database)) as connection:
            yield connection


def warehouse_resource(settings: Settings) -> PublishedWarehouse:
    """Return the published warehouse of these settings."""
    return PublishedWarehouse(database=str(settings.warehouse))


def build_resources(settings: Settings, collector: CollectorResource | None = None) -> dict[str, object]:
    """Return the resources of the code location by key: `research_api`, `quota_ledger` and `warehouse`.

    The credentials of the settings are put into the environment of this process, where Dagster looks for them.
    """
    export_credentials(settings)
    ledger = QuotaLedger(
        path=str(settings.ledger),
        database=place_of(settings.ledger_url) if settings.ledger_url else "",
        database_url=dg.EnvVar(VARIABLES["ledger_url"].name) if settings.ledger_url else "",
        database_schema=settings.ledger_schema,
        research_quota=settings.research_cap,
        follow_quota=settings.follow_cap,
        reserve=settings.quota_reserve,
    )
    return {
        "research_api": ResearchApi.of(collector or CollectorResource(settings), ledger),
        "quota_ledger": ledger,
        "warehouse": warehouse_resource(settings),
    }


def write_bookkeeping_tables(settings: Settings, studies: Sequence[StudySpec]) -> None:
    """Update the raw tables that no collection writes (`fields.WRITTEN_BY_BUILDS`)."""
    from research_assets.collect.population import write_population_table
    from research_assets.compliance.verification.raw_tables import write_verification_tables
    from research_assets.planning.expected_units import write_expected_units, write_request_log

    clock = server_clock_or_local(settings, SystemClock())
    write_expected_units(settings.raw, studies, clock.now())
    with closing(open_ledger(settings, clock)) as ledger:
        if ledger.exists():
            write_request_log(settings.raw, ledger)
    write_population_table(settings)
    write_verification_tables(settings)
