"""Playlists: those of the collected videos, all their pages, least recently observed first, each once per period."""

from datetime import date
from typing import Any

import httpx
import orjson

from research_assets.clock import week_of
from research_assets.collect.types import RequestBudget
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.world.render import playlist_parts
from research_assets.settings import Settings
from research_assets.storage.withdrawals import Withdrawn
from research_assets.storage.withheld import withhold
from research_assets.study.spec import StudySpec
from research_assets.units.targets import observed_targets
from research_assets_tests.collect.harness import (
    CollectorHarness,
    TamperingTransport,
    change_data,
    days,
    error_response,
    study,
)

LISTS = {71: [1, 2, 3, 4, 5], 72: [6], 73: []}
"""Videos of the scripted playlists; 74 does not exist."""


def spec(**changes: Any) -> StudySpec:
    return study(playlists=True, **changes)


def this_week(harness: CollectorHarness) -> date:
    return week_of(harness.clock.now().date())


class Playlists:
    """Playlists of the first four videos of each answer, and the requests for them in order."""

    def __init__(self, harness: CollectorHarness, *, with_cursor: bool = True) -> None:
        self.requested: list[tuple[int, int]] = []
        self._with_cursor = with_cursor
        self.transport = TamperingTransport(harness, self._edit)

    def _edit(self, request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        body = orjson.loads(request.content)
        if "playlist_id" in body:
            identity, cursor = body["playlist_id"], body.get("cursor", 0)
            self.requested.append((identity, cursor))
            if identity not in LISTS:
                return error_response(response, 400, "invalid_params", f"`playlist_id: {identity}` is not found")
            videos = LISTS[identity]
            end = cursor + body["max_count"]
            data = {"playlist_id": identity, "playlist_name": f"List {identity}", "playlist_item_total": len(videos)}
            data |= {
                "playlist_last_updated": 5,
                "playlist_video_ids": videos[cursor:end],
                "has_more": end < len(videos),
            }
            data |= {"cursor": end} if self._with_cursor else {}
            content = {"data": data, "error": {"code": "ok", "message": "ok", "log_id": "1"}}
            return httpx.Response(200, json=content, headers={"date": response.headers["date"]})
        videos = orjson.loads(response.content)["data"].get("videos", [])
        named = dict(enumerate((71, 72, 73, 74)))
        return change_data(
            response, videos=[row | {"playlist_id": named.get(index)} for index, row in enumerate(videos)]
        )


async def test_playlists_of_the_sandbox_contain_the_videos_that_name_them(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig(profile="typical"))
    await harness.collect("videos", days(8), spec())
    expected = {row[0] for row in harness.sql("SELECT DISTINCT playlist_id FROM {videos} WHERE playlist_id > 0")}
    assert expected
    finished, pause = await harness.collect("playlists", [this_week(harness)], spec())
    assert pause is None
    assert finished[this_week(harness)].state == "complete"
    listed = dict(harness.sql("SELECT asked_playlist_id, playlist_video_ids FROM {playlists}"))
    assert listed.keys() == expected
    for identity, video in harness.sql("SELECT playlist_id, id FROM {videos} WHERE playlist_id > 0"):
        assert video in listed[identity]
        assert playlist_parts(identity)[2] > 0


async def test_all_pages_are_read_and_a_playlist_that_is_not_found_is_missing(settings: Settings) -> None:
    for with_cursor in (True, False):
        harness = CollectorHarness(settings, SandboxConfig())
        name = f"cursor_{with_cursor}".lower()
        playlists = Playlists(harness, with_cursor=with_cursor)
        await harness.collect("videos", days(1), spec(name=name), transport=playlists.transport)
        options = {"transport": playlists.transport, "page_size": 2, "recollect": True}
        finished, _ = await harness.collect("playlists", [this_week(harness)], spec(name=name), **options)
        assert finished[this_week(harness)].units == {"complete": 3, "missing": 1}
        rows = harness.sql(
            "SELECT asked_playlist_id, position, playlist_video_ids, playlist_item_total FROM {playlists} "
            f"WHERE study = '{name}' ORDER BY ALL"
        )
        assert rows == [(71, 0, [1, 2], 5), (71, 2, [3, 4], 5), (71, 4, [5], 5), (72, 0, [6], 1), (73, 0, [], 0)]
        units = harness.sql(
            "SELECT unit, unit_kind, state, kept, expected, requests FROM {coverage} "
            f"WHERE entity = 'playlists' AND study = '{name}' ORDER BY unit"
        )
        assert units[:3] == [
            ("71", "playlist", "complete", 5, 5, 3.0),
            ("72", "playlist", "complete", 1, 1, 1.0),
            ("73", "playlist", "complete", 0, 0, 1.0),
        ]
        assert units[3][:3] == ("74", "playlist", "missing")


async def test_a_paused_run_resumes_inside_a_playlist_and_repeats_none_in_the_period(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    playlists = Playlists(harness)
    options: dict[str, Any] = {"transport": playlists.transport, "page_size": 2, "concurrency": 1}
    await harness.collect("videos", days(1), spec(), transport=playlists.transport)
    _, pause = await harness.collect("playlists", [this_week(harness)], spec(), budget=RequestBudget(2), **options)
    assert pause is not None
    assert playlists.requested == [(71, 0), (71, 2)]
    finished, pause = await harness.collect("playlists", [this_week(harness)], spec(), **options)
    assert pause is None
    assert playlists.requested[2:] == [(71, 4), (72, 0), (73, 0), (74, 0)]
    await harness.collect("playlists", [this_week(harness)], spec(), **options)
    # Another study with the same playlists copies the pages.
    await harness.collect("videos", days(1), spec(name="other"), transport=playlists.transport)
    await harness.collect("playlists", [this_week(harness)], spec(name="other"), **options)
    assert len(playlists.requested) == 6
    assert finished[this_week(harness)].kept == 6
    counts = harness.sql("SELECT study, count(*) FROM {playlists} GROUP BY 1 ORDER BY 1")
    assert counts == [("garden", 5), ("other", 5)]


async def test_the_least_recently_observed_playlist_is_first(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    playlists = Playlists(harness)
    await harness.collect("videos", days(1), spec(), transport=playlists.transport)
    assert [one.unit for one in observed_targets(settings.raw, spec(), "playlists")] == ["71", "72", "73", "74"]
    assert not observed_targets(settings.raw, study(), "playlists")
    options: dict[str, Any] = {"transport": playlists.transport, "concurrency": 1}
    await harness.collect("playlists", [this_week(harness)], spec(), budget=RequestBudget(1), **options)
    harness.clock.advance(days=7)
    await harness.collect("playlists", [this_week(harness)], spec(), **options)
    assert [identity for identity, _ in playlists.requested] == [71, 72, 73, 74, 71]
    expected = {one.unit: one.expected for one in observed_targets(settings.raw, spec(), "playlists")}
    assert expected == {"71": 5, "72": 1, "73": 0, "74": None}


async def test_playlists_wait_for_a_complete_day_of_videos(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    finished, _ = await harness.collect("playlists", [this_week(harness)], spec())
    assert "Playlists are collected once one is" in str(finished[this_week(harness)].reason)
    assert harness.requests_sent == 0


def test_a_withdrawn_video_leaves_the_list_and_the_last_one_takes_the_playlist_with_it() -> None:
    data = {"playlist_id": 71, "playlist_name": "Best of", "playlist_video_ids": [7**20, 7**21], "has_more": False}
    event = {"event": "page", "unit": "71", "context": {"asked_playlist_id": 71}, "seen": [7**20, 7**21], "rows": 1}
    answer = orjson.dumps({"data": data})
    one = Withdrawn(frozenset({7**20}), frozenset(), frozenset(), b"", 0)
    facts, cleaned = withhold("playlists", event, answer, one)
    assert cleaned is not None
    assert orjson.loads(cleaned)["data"] == data | {"playlist_video_ids": [7**21]}
    assert facts["seen"] == [7**21]
    both = Withdrawn(frozenset({7**20, 7**21}), frozenset(), frozenset(), b"", 0)
    facts, cleaned = withhold("playlists", event, answer, both)
    assert cleaned is not None
    assert b"Best of" not in cleaned
    assert (facts["seen"], facts["rows"]) == ([], 0)
