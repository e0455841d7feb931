"""Test harness of the collector: the real client, ledger, journal and tables on a sandbox, with one clock.

Not here: the harness whose sandbox is a real server (see process_harness.py).
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from research_assets.clock import ServerClock
from research_assets.collect import run as collect_run
from research_assets.collect.run import collect
from research_assets.collect.types import CollectionTask, CollectorContext, PartitionResult, Paused
from research_assets.quota.ledger import Ledger
from research_assets.sandbox.app import Sandbox, create_app
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings, prepare_root
from research_assets.storage.locks import lock_partitions
from research_assets.storage.shared_duckdb import connect_shared
from research_assets.study.spec import StudySpec
from research_assets.tiktok.client import Client
from research_assets_tests.conftest import FakeClock, TrueTime

QUERY = {"and": ({"operation": "EQ", "field_name": "hashtag_name", "field_values": ["gardening"]},)}
START = date(2026, 2, 1)
TASK_OPTIONS = ("recollect", "retry_now", "canary_check", "budget")


def study(name: str = "garden", **changes: Any) -> StudySpec:
    """Return a study that starts on `START`; a sandbox with a fixed volume answers any query."""
    return replace(StudySpec(name=name, start=START, query=QUERY), **changes)


def days(number: int, first: date = START) -> tuple[date, ...]:
    return tuple(first + timedelta(days=i) for i in range(number))


def before_next_lock(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Run `act` in another thread between the next run's look at what is stored and the lock of its partitions."""

    @contextmanager
    def act_and_lock(*arguments: Any) -> Iterator[None]:
        monkeypatch.setattr(collect_run, "lock_partitions", lock_partitions)
        with ThreadPoolExecutor(1) as other:
            other.submit(asyncio.run, act()).result()
        with lock_partitions(*arguments):
            yield

    monkeypatch.setattr(collect_run, "lock_partitions", act_and_lock)


@dataclass
class CollectorHarness:
    """A sandbox, a data root and a clock, which advances only when the collector sleeps."""

    settings: Settings
    config: SandboxConfig
    clock: FakeClock = field(default_factory=lambda: FakeClock(datetime(2026, 6, 1, 9, tzinfo=UTC)))
    app: Sandbox = field(init=False)

    def __post_init__(self) -> None:
        self.app = create_app(self.config, TrueTime(self.clock))
        self.settings = replace(self.settings, api_url="http://127.0.0.1:9")
        prepare_root(self.settings)
        self.server_clock = ServerClock(self.clock)
        self.ledger = Ledger(self.settings.ledger, self.settings.caps, self.server_clock)

    def tools(self, **changes: Any) -> CollectorContext:
        client = Client(
            key=self.config.client_key,
            secret=self.config.client_secret,
            base_url=self.settings.api_url,
            clock=self.server_clock,
            transport=changes.pop("transport", None) or httpx.ASGITransport(self.app),
        )
        return CollectorContext(client, self.ledger, self.server_clock, replace(self.settings, **changes))

    async def collect(
        self, entity: str, partitions: Sequence[date], spec: StudySpec | None = None, **options: Any
    ) -> tuple[dict[date, PartitionResult], Paused | None]:
        """Collect; return the results by partition, and the pause if there was one."""
        modes = {name: options.pop(name) for name in TASK_OPTIONS if name in options}
        task = CollectionTask(spec or study(), entity, tuple(partitions), **modes)
        finished: dict[date, PartitionResult] = {}
        pause = None
        context = self.tools(**options)
        async with context.client:
            async for result in collect(task, context):
                if isinstance(result, Paused):
                    pause = result
                else:
                    finished[result.partition] = result
        return finished, pause

    @property
    def requests_sent(self) -> int:
        """Data requests that the sandbox received, including those it refused."""
        return sum(
            count for endpoint, count in self.app.request_log.requests.items() if not endpoint.startswith("oauth")
        )

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """Query the raw tables; `{videos}` stands for the table of that name."""
        with closing(connect_shared()) as connection:
            return connection.execute(query.format_map(_Tables(self.settings.raw))).fetchall()

    def ids(self) -> list[int]:
        """Return every video id in the raw table, including duplicates."""
        return [row[0] for row in self.sql("SELECT id FROM {videos}")]


Edit = Callable[[httpx.Request, httpx.Response], httpx.Response | None]


class TamperingTransport(httpx.AsyncBaseTransport):
    """Transport to a sandbox that may change the responses of data requests: `edit` returns another one, or None."""

    def __init__(self, harness: CollectorHarness, edit: Edit) -> None:
        self._inner, self._edit = httpx.ASGITransport(harness.app), edit

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        if "oauth" in request.url.path:
            return response
        await response.aread()
        return self._edit(request, response) or response


def change_data(response: httpx.Response, **data: Any) -> httpx.Response:
    """Return a response with other values in its `data`; None removes a value."""
    body = orjson.loads(response.content)
    body["data"] = {key: value for key, value in (body["data"] | data).items() if value is not None}
    return httpx.Response(200, json=body, headers={"date": response.headers["date"]})


def ids_as_text(response: httpx.Response) -> httpx.Response | None:
    """Return a response of videos or comments with its ids as text; None if it has none."""
    data = orjson.loads(response.content).get("data", {})
    lists = {
        name: [row | {"id": str(row["id"])} for row in data[name]] for name in ("videos", "comments") if data.get(name)
    }
    return change_data(response, **lists) if lists else None


def error_response(response: httpx.Response, status: int, code: str, message: str) -> httpx.Response:
    """Return an error response instead of a response."""
    body = {"error": {"code": code, "message": message, "log_id": "1"}}
    return httpx.Response(status, json=body, headers={"date": response.headers["date"]})


class _Tables(dict[str, str]):
    def __init__(self, raw: Path) -> None:
        super().__init__()
        self._raw = raw

    def __missing__(self, name: str) -> str:
        return f"read_parquet('{self._raw / name}/*/*/*.parquet', hive_partitioning = true, union_by_name = true)"
