"""A collected data folder whose verification runs on the sandbox, with a moved clock."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx

from research_assets.collect.types import CollectorContext
from research_assets.compliance.verification.schedule import Schedule
from research_assets.compliance.verification.step import StepReport, take_step
from research_assets.compliance.verification.tasks import Task, TaskJournal
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.storage.withdrawals import read_withdrawals
from research_assets.study.spec import CommentRule
from research_assets_tests.collect.harness import CollectorHarness, Edit, TamperingTransport, days, study

COMMENTED = study(comments=CommentRule(videos="all"))


@dataclass
class VerificationHarness:
    """A sandbox and the data collected from it. `edit` changes the responses of the API from then on.

    `studies` are verified by look-ups. `options` are those of the sandbox.
    """

    settings: Settings
    n_videos: int = 30
    edit: Edit | None = None
    studies: frozenset[str] = frozenset()
    options: dict[str, Any] = field(default_factory=dict)
    collector: CollectorHarness = field(init=False)

    def __post_init__(self) -> None:
        config = SandboxConfig(**{"fixed_volume": self.n_videos, "fixed_comments": 2} | self.options)
        self.collector = CollectorHarness(self.settings, config)
        self.settings = self.collector.settings

    def collect(self, entity: str = "videos", number: int = 1, **options: Any) -> None:
        """Collect the first days of the study."""
        asyncio.run(self.collector.collect(entity, days(number), COMMENTED, **options))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[CollectorContext]:
        transport = None if self.edit is None else TamperingTransport(self.collector, self.edit)
        context = self.collector.tools(transport=transport)
        async with context.client:
            yield context

    def step(self, **options: Any) -> StepReport:
        return take_step(self.settings, self.open, self.collector.clock.now, studies=self.studies, **options)

    def wait(self, **by: float) -> None:
        self.collector.clock.advance(**by)

    def run_until_quiet(self, days: float = 2) -> list[StepReport]:
        """Take steps at the times that the schedule names, for at most some days."""
        end = self.collector.clock.now() + timedelta(days=days)
        reports = [self.step()]
        while (at := self.next_step()) is not None and at <= end and len(reports) < 40:
            self.wait(seconds=max(0.0, (at - self.collector.clock.now()).total_seconds()))
            reports.append(self.step())
        return reports

    def next_step(self) -> Any:
        return Schedule.load(self.settings).next_step(TaskJournal(self.settings), self.collector.clock.now())

    def withdraw(self, *ids: int, users: Sequence[str] = ()) -> None:
        """Make videos or comments unavailable in the sandbox, and accounts."""

        async def post() -> None:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.collector.app), base_url="http://x") as api:
                gone = {"videos": list(ids), "users": list(users)}
                (await api.post("/sandbox/withdraw", json=gone)).raise_for_status()

        asyncio.run(post())

    @property
    def tasks(self) -> list[Task]:
        return list(TaskJournal(self.settings).tasks.values())

    @property
    def withdrawn(self) -> set[Any]:
        return {one.id for one in read_withdrawals(self.settings.state)}

    def requests(self, name: str = "validation_task/create") -> int:
        """Return the requests of an endpoint that the sandbox answered."""
        return self.collector.app.request_log.requests.get(name, 0)


def download(change: Callable[[bytes], bytes]) -> Edit:
    """Return a change of the result files."""

    def edit(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if "validation_task/download" not in request.url.path:
            return None
        return httpx.Response(200, content=change(response.content), headers={"date": response.headers["date"]})

    return edit
