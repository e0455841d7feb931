"""The end of a list or a search is only believed with a reason: empty, cut and jumping pages without an error."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import httpx
import orjson
import pytest

from research_assets.clock import week_of
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.study.spec import CommentRule, UserRule
from research_assets_tests.collect.harness import START, CollectorHarness, days, study

IDS = [7_600_000_000_000_000_000 - i for i in range(250)]
VIDEO = {"id": 7601727843463168001, "create_time": 1769904000, "username": "moosfreund", "comment_count": 250}
"""A video of `START`."""
SPEC = study(panel=("moosfreund",), users=UserRule("panel"), comments=CommentRule("all", replies="none"))

Answer = Callable[[str, dict[str, Any]], Mapping[str, Any] | httpx.Response]


class ScriptedApi(httpx.AsyncBaseTransport):
    """An API whose data come from `answer`, by the name of the endpoint and the body of the request."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.cursors: list[int | None] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if "oauth" in request.url.path:
            return httpx.Response(200, json={"access_token": "clt.example", "expires_in": 7200})
        body = orjson.loads(request.content)
        self.cursors.append(body.get("cursor"))
        answer = self._answer(request.url.path.strip("/").split("/", 2)[-1], body)
        return answer if isinstance(answer, httpx.Response) else _ok(answer)


def _ok(data: Mapping[str, Any]) -> httpx.Response:
    return httpx.Response(200, json={"data": data, "error": {"code": "ok", "message": "", "log_id": "1"}})


def _page(key: str, body: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a page of `IDS`; a change of None removes the value."""
    before = body.get("cursor") or 0
    rows = [{"id": one} for one in IDS[before : before + body["max_count"]]]
    page = {key: rows, "cursor": before + len(rows), "has_more": before + len(rows) < len(IDS), **changes}
    return {name: value for name, value in page.items() if value is not None}


def _reposts(body: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    return _page("reposted_videos", body, **changes)


async def _attempt(
    harness: CollectorHarness, entity: str, answer: Answer
) -> tuple[str, str | None, int, list[int | None]]:
    """Collect the list of the account or of the video; return state, reason and rows, and the requested cursors."""
    api = ScriptedApi(answer)
    partition: date = START if entity == "comments" else week_of(harness.clock.now().date())
    await harness.collect(entity, [partition], SPEC, transport=api)
    state, reason, kept = harness.sql(
        f"SELECT state, reason, kept FROM {{coverage}} WHERE entity = '{entity}' ORDER BY last_at DESC LIMIT 1"
    )[0]
    return state, reason, kept, api.cursors


@pytest.mark.parametrize("case", ["too far ahead", "without has_more"])
async def test_no_row_of_a_list_is_skipped(settings: Settings, case: str) -> None:
    harness = CollectorHarness(settings, SandboxConfig())

    def answer(_: str, body: dict[str, Any]) -> Mapping[str, Any]:
        if case == "without has_more":
            return _reposts(body, has_more=None)
        page = _reposts(body)
        return page | {"cursor": page["cursor"] + 90}

    assert await _attempt(harness, "reposted_videos", answer) == ("complete", None, 250, [None, 100, 200])


async def test_list_that_ends_with_an_empty_page_is_complete_if_it_does_so_on_another_day(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())

    def cut(_: str, body: dict[str, Any]) -> Mapping[str, Any]:
        return {} if body.get("cursor") else _reposts(body)

    reason = "The list ended although has_more was true on the page before."
    assert await _attempt(harness, "reposted_videos", cut) == ("suspicious", reason, 100, [None, 100])
    harness.clock.advance(days=1, hours=1)
    expected = ("complete", f"{reason} An attempt on another day ended alike.", 100, [None, 100])
    assert await _attempt(harness, "reposted_videos", cut) == expected


async def test_endless_list_is_never_complete(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    for _ in range(2):
        state, reason, kept, cursors = await _attempt(
            harness, "reposted_videos", lambda _, body: _reposts(body, has_more=True)
        )
        assert (state, kept, cursors) == ("suspicious", 250, [None, 100, 200, 250])
        assert reason == "A page had no rows although has_more was true."
        harness.clock.advance(days=3)


@pytest.mark.parametrize("answered_later", [False, True])
async def test_empty_list_of_an_account_with_followers_is_requested_on_another_day(
    settings: Settings, answered_later: bool
) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    empty: Answer = lambda *_: {}  # noqa: E731
    followers = {"user_followers": [{"username": f"f{i}"} for i in range(90)], "cursor": 1, "has_more": False}
    await _attempt(harness, "users", lambda *_: {"display_name": "Moos", "follower_count": 90})
    found = await _attempt(harness, "followers", empty)
    assert found == ("suspicious", "The list is empty, but 90 rows are expected.", 0, [None])
    harness.clock.advance(days=1, hours=1)
    state, _, kept, cursors = await _attempt(harness, "followers", (lambda *_: followers) if answered_later else empty)
    assert (state, kept, cursors) == ("complete", 90 if answered_later else 0, [None])


async def test_time_cursor_of_0_does_not_end_a_list(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    page = {"user_followers": [{"username": "beet"}], "cursor": 0, "has_more": True}
    state, reason, *_ = await _attempt(harness, "followers", lambda *_: page)
    assert (state, reason) == ("suspicious", "The response has has_more true but no cursor.")


@pytest.mark.parametrize(("limit", "state"), [(100, "quarantined"), (200, "complete")])
async def test_rejected_cursor_ends_comments_only_where_they_may_end(
    settings: Settings, limit: int, state: str
) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    rejected = {"error": {"code": "invalid_params", "message": "Invalid count or cursor", "log_id": "1"}}

    def answer(endpoint: str, body: dict[str, Any]) -> Mapping[str, Any] | httpx.Response:
        if endpoint == "video/query":
            return {"videos": [VIDEO | {"comment_count": 200}], "cursor": 1, "has_more": False}
        return httpx.Response(400, json=rejected) if body.get("cursor") == limit else _page("comments", body)

    await harness.collect("videos", days(1), SPEC, transport=ScriptedApi(answer))
    found, reason, kept, _ = await _attempt(harness, "comments", answer)
    assert (found, kept) == (state, limit)
    assert f"position {limit}" in str(reason)


async def test_search_whose_last_pages_are_empty_costs_few_requests(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())

    async def collect(videos: list[dict[str, Any]]) -> tuple[dict[str, int], int]:
        def answer(_: str, body: dict[str, Any]) -> Mapping[str, Any]:
            rows = videos[body.get("cursor") or 0 :]
            return {"videos": rows, "cursor": len(videos), "has_more": True, "search_id": "7601727843463168009"}

        api = ScriptedApi(answer)
        finished, _ = await harness.collect("videos", days(31), transport=api, retry_now=True)
        return dict(Counter(result.state for result in finished.values())), len(api.cursors)

    assert await collect([]) == ({"suspicious": 31}, 5)
    # The search has passed the days above the video. A fresh search, and one of the other days, end in the same way.
    assert await collect([VIDEO]) == ({"complete": 28, "suspicious": 3}, 24)


async def test_repeated_row_of_a_page_is_one_row(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    page = {"videos": [VIDEO, VIDEO], "cursor": 1, "has_more": False}
    api = ScriptedApi(lambda *_: page)
    finished, _ = await harness.collect("videos", days(1), transport=api)
    assert (finished[START].state, finished[START].kept, len(api.cursors)) == ("complete", 1, 1)


async def test_few_expected_rows_that_no_cursor_counts_are_requested_on_another_day(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    await _attempt(harness, "users", lambda *_: {"display_name": "Moos", "follower_count": 1})
    state, reason, *_ = await _attempt(harness, "followers", lambda *_: {})
    assert (state, str(reason)[:40]) == ("suspicious", "The list is empty, but 1 row is expected")
    harness.clock.advance(days=1, hours=1)
    assert (await _attempt(harness, "followers", lambda *_: {}))[0] == "complete"


async def test_empty_list_of_unknown_length_is_complete_if_another_list_has_rows(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    two = replace(SPEC, panel=("beet", "moosfreund"))

    def pins(body: Mapping[str, Any], *names: str) -> dict[str, Any]:
        return {"pinned_videos_list": [{"id": IDS[0]}] if body["username"] in names else []}

    async def collect(*names: str) -> tuple[list[str], int]:
        api = ScriptedApi(lambda _, body: pins(body, *names))
        week = week_of(harness.clock.now().date())
        await harness.collect("pinned_videos", [week], two, transport=api)
        newest = "SELECT arg_max(state, last_at) FROM {coverage} WHERE partition = '%s' GROUP BY unit ORDER BY unit"
        return [state for (state,) in harness.sql(newest % week)], len(api.cursors)

    assert await collect() == (["suspicious"] * 2, 2)
    assert await collect() == (["suspicious"] * 2, 0)
    harness.clock.advance(days=1, hours=1)
    assert await collect("beet") == (["complete"] * 2, 2)
    # An earlier day has shown that one list is empty, and that the other is not.
    harness.clock.advance(days=7)
    assert await collect() == (["suspicious", "complete"], 2)
    harness.clock.advance(days=1, hours=1)
    assert await collect() == (["complete", "complete"], 1)


async def test_single_empty_page_does_not_end_a_list_with_times_as_cursors(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    pages = [
        {"user_followers": [{"username": "beet"}], "cursor": 9, "has_more": True},
        {},
        {"user_followers": [{"username": "balkon"}], "cursor": 8, "has_more": True},
        {},
        {},
    ]
    found = await _attempt(harness, "followers", lambda *_: pages.pop(0))
    assert found == ("complete", None, 2, [None, 9, 9, 8, 8])


@pytest.mark.parametrize("message", ["Invalid count or cursor", "Search Id 1 is invalid or expired"])
async def test_rejection_that_a_first_request_cannot_cause_counts_as_an_outage(
    settings: Settings, message: str
) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    body = {"error": {"code": "invalid_params", "message": message, "log_id": "1"}}
    api = ScriptedApi(lambda *_: httpx.Response(400, json=body))
    await harness.collect("videos", days(31), transport=api)
    assert len(api.cursors) < 20
