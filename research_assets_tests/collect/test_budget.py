"""The budget of a run limits all its requests; no request is sent after the API has refused one."""

from dataclasses import replace
from datetime import UTC, datetime

import httpx

from research_assets.clock import ServerClock, SystemClock
from research_assets.collect.run import collect
from research_assets.collect.types import CollectionTask, CollectorContext, Paused, RequestBudget
from research_assets.quota.ledger import Ledger
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import run_in_thread
from research_assets.settings import Settings, prepare_root
from research_assets.tiktok.client import Client
from research_assets_tests.collect.harness import START, CollectorHarness, days, study

RUN = "run-1"


async def test_one_budget_limits_all_partitions_and_entities_of_a_run(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig(fixed_volume=90, fixed_comments=3))
    budget = RequestBudget(20, RUN)
    finished, pause = await harness.collect("videos", days(5), budget=budget)
    n_videos = harness.requests_sent
    assert pause is None
    assert {one.state for one in finished.values()} == {"complete"}
    assert budget.remaining == 20 - n_videos > 0
    began = harness.clock.now()
    finished, pause = await harness.collect("comments", days(5), budget=budget)
    assert finished == {}
    assert pause is not None
    assert harness.requests_sent == 20
    assert harness.ledger.used_by_run(RUN) == {("garden", "videos"): n_videos, ("garden", "comments"): 20 - n_videos}
    assert pause.remaining == days(5)
    assert "the run has used its budget (20 of 1000 requests of the day are used)" in pause.reason
    # The pool has free requests, so another run may start from the time of the pause. It requests no unit again.
    # Requests that were in flight at the pause may have advanced the clock since.
    assert began < pause.retry_at <= harness.clock.now()
    finished, pause = await harness.collect("comments", days(5))
    assert pause is None
    assert {one.state for one in finished.values()} == {"complete"}
    [(n_lists,)] = harness.sql("SELECT count(DISTINCT (unit_kind, unit)) FROM {coverage} WHERE entity = 'comments'")
    assert harness.requests_sent == n_videos + n_lists


async def test_run_at_the_end_of_budget_and_quota_resumes_on_the_next_day(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig(fixed_volume=950))
    _, pause = await harness.collect("videos", days(14), budget=RequestBudget(settings.research_cap), research_cap=5)
    assert pause is None
    harness.ledger.caps["research"] = harness.requests_sent + 5
    _, pause = await harness.collect("videos", days(14), recollect=True, budget=RequestBudget(5))
    assert pause is not None
    assert "all" in pause.reason
    assert pause.retry_at == datetime(2026, 6, 2, tzinfo=UTC)


async def test_requests_that_were_not_sent_return_to_the_budget(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig(fixed_volume=90))
    inner, failures = httpx.ASGITransport(harness.app), 3

    class FailingConnections(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal failures
            if "oauth" not in request.url.path and failures:
                failures -= 1
                raise httpx.ConnectError("refused", request=request)
            return await inner.handle_async_request(request)

    budget = RequestBudget(1, RUN)
    await harness.collect("videos", days(3), budget=budget, transport=FailingConnections())
    assert failures == 0
    assert (harness.requests_sent, budget.remaining) == (1, 0)
    assert harness.ledger.used_by_run(RUN) == {("garden", "videos"): 1}


async def test_no_request_is_sent_after_the_first_refusal(settings: Settings) -> None:
    events: list[str] = []

    class RecordingLedger(Ledger):
        def mark_exhausted(self, pool: str, reservation: int | None = None) -> datetime:
            events.append("refused")
            return super().mark_exhausted(pool, reservation)

    class RecordingTransport(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            events.append("sent")
            return await super().handle_async_request(request)

    # Colleagues have used all but 45 requests of the day; the ledger does not know it.
    config = SandboxConfig(fixed_volume=90, fixed_comments=3, latency=0.02, research_cap=45)
    with run_in_thread(config) as sandbox:
        clock = ServerClock(SystemClock())
        prepare_root(settings)
        ledger = RecordingLedger(settings.ledger, settings.caps, clock)
        client = Client(
            key=config.client_key,
            secret=config.client_secret,
            base_url=sandbox.url,
            clock=clock,
            connections=10,
            transport=RecordingTransport(),
        )
        pauses = []
        async with client:
            context = CollectorContext(client, ledger, clock, replace(settings, rate_limit=10_000, concurrency=10))
            for entity in ("videos", "comments"):
                async for result in collect(CollectionTask(study(), entity, (START,)), context):
                    if isinstance(result, Paused):
                        pauses.append(result)
        refused = sandbox.app.quota.pools["research"].day(clock.now()).refused
        ledger.close()
    [pause] = pauses
    assert "the API reports that the daily quota is used up (the ledger counts" in pause.reason
    assert "sent" not in events[events.index("refused") :]
    assert 1 <= refused == events.count("refused") <= 10
