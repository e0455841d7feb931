"""An error that ends a run costs no other request: what is in flight at that moment is stored and not sent again."""

import asyncio

import httpx
import pytest

from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.study.spec import CommentRule
from research_assets.tiktok.errors import EndpointNotFound
from research_assets_tests.collect.harness import CollectorHarness, days, study


class OneNotFound(httpx.AsyncBaseTransport):
    """Transport to a sandbox on which the third data request ends with a 404, before those around it are answered."""

    def __init__(self, harness: CollectorHarness) -> None:
        self._inner, self._failed, self._n_sent = httpx.ASGITransport(harness.app), asyncio.Event(), 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        if "oauth" in request.url.path:
            return response
        self._n_sent += 1
        if self._n_sent == 3:
            self._failed.set()
            return httpx.Response(404, headers={"date": response.headers["date"]})
        await self._failed.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        return response


@pytest.mark.parametrize("entity", ["videos", "comments"])
async def test_error_of_one_request_costs_no_other(settings: Settings, entity: str) -> None:
    # Three windows of videos, or the comments of twelve videos on two days.
    config = SandboxConfig(fixed_volume=6, fixed_comments=1, profile="clean")
    harness = CollectorHarness(settings, config)
    spec = study(comments=CommentRule("all", replies="none"))
    partitions = days(2)
    if entity == "comments":
        await harness.collect("videos", partitions, spec)
    else:
        partitions = (*days(1), *days(40)[32:33], *days(80)[65:66])
        # The density is known, so that all windows are searched at a time.
        await harness.collect("videos", days(2)[1:], spec)
    n_before = harness.requests_sent
    with pytest.raises(EndpointNotFound):
        await harness.collect(entity, partitions, spec, transport=OneNotFound(harness))
    assert harness.requests_sent - n_before >= 3
    finished, pause = await harness.collect(entity, partitions, spec)
    assert pause is None
    assert {one.state for one in finished.values()} == {"complete"}
    # One request for each unit, and the one that was answered with 404.
    assert harness.requests_sent - n_before == (12 if entity == "comments" else 3) + 1
    assert harness.ledger.pool_state("research").used == harness.requests_sent
