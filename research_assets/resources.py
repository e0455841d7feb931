"""What the assets work with: ordinary library objects, made from the settings. Dagster hands them over and no more."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import dagster as dg
from dagster_duckdb import DuckDBResource

from research_assets.clock import Clock, ServerClock, SystemClock
from research_assets.collect.types import CollectorContext, RunProgress
from research_assets.quota.ledger import Ledger
from research_assets.quota.server_time import server_clock, server_clock_or_local
from research_assets.settings import VARIABLES, Settings, SettingsError, prepare_root
from research_assets.study.spec import StudySpec

if TYPE_CHECKING:
    import httpx


class MissingCredentials(SettingsError):
    """The API cannot be asked, because no key or secret is set."""


@dataclass(frozen=True, slots=True)
class CollectorResource:
    """Opens the client and the ledger for one run.

    `clock` and `transport` are for tests; `watch` is told of each request beside the run itself.
    """

    settings: Settings
    clock: Clock = field(default_factory=SystemClock)
    transport: "httpx.AsyncBaseTransport | None" = None
    on_progress: Callable[[RunProgress], None] | None = None

    @asynccontextmanager
    async def open(self, progress: Callable[[RunProgress], None] | None = None) -> AsyncIterator[CollectorContext]:
        """The tools of the collector, on a data root that can be written to.

        Raises CredentialsMissing or SettingsError before anything is asked or created, and FinalForAll if the API does
        not take the credentials.
        """
        # Whoever only loads the code location does not pay for the client.
        from research_assets.tiktok.client import Client
        from research_assets.tiktok.errors import RetryableError

        settings = self.settings
        self._check()
        clock = ServerClock(self.clock)
        ledger = Ledger(settings.ledger, settings.caps, clock, due_reserve=settings.quota_reserve)
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
            # The quota's day and the running period are the server's: without its time a run would wait for a midnight
            # that has passed there. Who cannot be reached now may not be needed, if all is held.
            with suppress(RetryableError):
                await client.token()
            yield CollectorContext(client, ledger, clock, settings, progress=self._combined_progress(progress))

    def server_clock(self) -> ServerClock:
        """The server's clock, if collecting could begin now: credentials are set and the data root can be written to.

        Nothing is asked of the real API; of a simulated one its time is, because that may be moved while nobody asks.
        Raises CredentialsMissing, SettingsError or Unready.
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
                f"Nothing was asked of {settings.api_url}: {' and '.join(missing)} not set. Set them in the "
                "environment or in .env beside pyproject.toml, or use the simulated API: research-assets sandbox."
            )
        prepare_root(settings)

    def _combined_progress(self, progress: Callable[[RunProgress], None] | None) -> Callable[[RunProgress], None]:
        listeners = [listener for listener in (progress, self.on_progress) if listener]

        def tell(step: RunProgress) -> None:
            for listener in listeners:
                listener(step)

        return tell


def warehouse_resource(settings: Settings) -> DuckDBResource:
    """The published warehouse for readers: nothing but the dbt build writes it."""
    return DuckDBResource(database=str(settings.warehouse), connection_config={"access_mode": "READ_ONLY"})


def build_resources(settings: Settings, collector: CollectorResource | None = None) -> dict[str, object]:
    """The resources of the code location, by the names that assets and checks ask for them."""
    return {
        "collector": dg.ResourceDefinition.hardcoded_resource(collector or CollectorResource(settings)),
        "warehouse": warehouse_resource(settings),
    }


def write_bookkeeping_tables(settings: Settings, studies: Sequence[StudySpec]) -> None:
    """Bring the raw tables up to date that no collection writes: what is wanted, and what was requested."""
    from research_assets.planning.expected_units import write_expected_units, write_request_log

    clock = server_clock_or_local(settings, SystemClock())
    write_expected_units(settings.raw, studies, clock.now())
    if settings.ledger.exists():
        ledger = Ledger(settings.ledger, settings.caps, clock)
        write_request_log(settings.raw, ledger)
        ledger.close()
