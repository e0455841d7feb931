"""Elements of pages that are no rows: the good rows are kept, the others are on record, and the state says so."""

from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest

from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.study.spec import UserRule
from research_assets_tests.collect.harness import (
    START,
    CollectorHarness,
    Edit,
    TamperingTransport,
    change_data,
    days,
    error_response,
    study,
)
from research_assets_tests.collect.test_lists import garden_config, this_week
from research_assets_tests.collect.test_username_batches import make_harness, panel, usernames_of

REJECTED = "SELECT reason, field, value, partition::VARCHAR, unit FROM {rejected} ORDER BY ALL"


def harness_with(settings: Settings, volume: int = 50) -> CollectorHarness:
    return CollectorHarness(settings, SandboxConfig(fixed_volume=volume, profile="clean"))


def edit_videos(change: Callable[[list[Any]], list[Any]], *, only_first: bool = False) -> Edit:
    """Change the list of videos in each response that has videos, or only in the first."""
    count = 0

    def edited(_: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        nonlocal count
        videos = orjson.loads(response.content).get("data", {}).get("videos")
        count += bool(videos)
        return change_data(response, videos=change(videos)) if videos and (count == 1 or not only_first) else None

    return edited


def replace_text(old: bytes, new: bytes) -> Edit:
    """Replace the first occurrence of some bytes in each response."""

    def edited(_: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        headers = {"date": response.headers["date"]}
        return httpx.Response(response.status_code, content=response.content.replace(old, new, 1), headers=headers)

    return edited


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        ("a text", "not an object"),
        (None, "not an object"),
        ([{"id": 5}], "not an object"),
        ({"video": {"id": 5}}, "no id"),
        ({"id": {"high": 1, "low": 2}}, "an invalid id"),
        ({"id": 10**19}, "an invalid id"),
        ({"id": 7601194314273082873.0}, "an invalid id"),
    ],
)
async def test_day_with_an_unusable_element_keeps_the_other_rows_and_says_so(
    settings: Settings, element: Any, reason: str
) -> None:
    harness = harness_with(settings)
    insert = edit_videos(lambda videos: [*videos[:3], element, *videos[3:]], only_first=True)
    finished, pause = await harness.collect("videos", days(2), transport=TamperingTransport(harness, insert))
    assert pause is None
    assert {result.state for result in finished.values()} == {"complete"}
    assert len(harness.ids()) == 100
    assert [result.reason for result in finished.values() if result.reason] == [f"1 row was rejected: {reason}."]
    ((rejected, field, value, day, unit),) = harness.sql(REJECTED)
    assert (rejected, field, day, unit) == (reason, None, "2026-02-02", "2026-02-02")
    assert orjson.loads(value) == element
    reasons = dict(harness.sql("SELECT unit, reason FROM {coverage}"))
    assert reasons == {"2026-02-01": None, "2026-02-02": f"1 row was rejected: {reason}."}


async def test_reason_counts_each_kind_of_rejection(settings: Settings) -> None:
    harness = harness_with(settings)
    insert = edit_videos(lambda videos: [None, "x", *videos[:3], {}, *videos[3:]])
    finished, _ = await harness.collect("videos", days(1), transport=TamperingTransport(harness, insert))
    assert finished[START].reason == "3 rows were rejected: 1 no id, 2 not an object."
    assert finished[START].kept == 50


@pytest.mark.parametrize("element", ["x", None, [], {"video": {"id": 5}}])
async def test_page_without_a_usable_row_is_suspicious(settings: Settings, element: Any) -> None:
    harness = harness_with(settings)
    insert = edit_videos(lambda videos: [element for _ in videos])
    finished, _ = await harness.collect("videos", days(1), transport=TamperingTransport(harness, insert))
    assert finished[START].state == "suspicious"
    assert finished[START].reason == (
        f"No row of a page could be used. 50 rows were rejected: {'no id' if element else 'not an object'}."
        if element != "x"
        else "No row of a page could be used. 50 rows were rejected: not an object."
    )
    assert finished[START].next_try is not None
    assert not list(settings.raw.glob("videos/study=garden/**/*.parquet"))
    assert harness.requests_sent <= 5
    finished, _ = await harness.collect("videos", days(1), retry_now=True)
    assert (finished[START].state, len(harness.ids())) == ("complete", 50)


async def test_day_without_a_usable_row_beside_a_good_day_is_suspicious(settings: Settings) -> None:
    harness = harness_with(settings, 20)
    first_day = 1_769_904_000

    def spoil(videos: list[Any]) -> list[Any]:
        return [row if row["create_time"] >= first_day + 86_400 else {"row": row} for row in videos]

    transport = TamperingTransport(harness, edit_videos(spoil))
    finished, _ = await harness.collect("videos", days(2), transport=transport)
    # Elements without an id count on the day of the row before them. The empty day is requested a second time alone.
    assert (finished[days(2)[1]].state, finished[days(2)[1]].reason) == ("complete", "20 rows were rejected: no id.")
    assert finished[START].state == "suspicious"
    assert finished[START].reason == "No row of a page could be used. 20 rows were rejected: no id."
    assert len(harness.ids()) == 20


async def test_page_with_nan_keeps_all_rows_and_the_value_is_on_record(settings: Settings) -> None:
    harness = harness_with(settings, 30)
    body = replace_text(b'"view_count":', b'"view_count":NaN,"was":')
    finished, pause = await harness.collect("videos", days(1), transport=TamperingTransport(harness, body))
    assert pause is None
    assert (finished[START].state, finished[START].kept) == ("complete", 30)
    assert finished[START].reason == "1 value is null: not valid JSON."
    assert harness.requests_sent == 1
    assert len(harness.ids()) == 30
    assert harness.sql("SELECT count(*) FROM {videos} WHERE view_count IS NULL") == [(1,)]
    assert harness.sql(REJECTED) == [
        ("not JSON, stored as null", "view_count", '"NaN"', "2026-02-01", "2026-02-01"),
    ]


async def test_id_that_is_nan_costs_only_its_row(settings: Settings) -> None:
    harness = harness_with(settings, 30)
    body = replace_text(b'"id":', b'"id":-Infinity,"was":')
    finished, _ = await harness.collect("videos", days(1), transport=TamperingTransport(harness, body))
    assert (finished[START].state, finished[START].kept) == ("complete", 29)
    assert finished[START].reason == "1 row was rejected: no id. 1 value is null: not valid JSON."
    assert [row[:3] for row in harness.sql(REJECTED)][1] == ("not JSON, stored as null", "id", '"-Infinity"')


@pytest.mark.parametrize("has_more", ["perhaps", {"more": True}, 2])
async def test_odd_has_more_does_not_end_a_search(settings: Settings, has_more: Any) -> None:
    harness = harness_with(settings, 250)

    def edited(_: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        data = orjson.loads(response.content)["data"]
        return change_data(response, has_more=has_more, cursor=float(data["cursor"])) if data.get("has_more") else None

    finished, _ = await harness.collect("videos", days(1), transport=TamperingTransport(harness, edited))
    assert (finished[START].state, len(set(harness.ids()))) == ("complete", 250)
    assert harness.requests_sent == 3


@pytest.mark.parametrize("data", [{}, {"user": {"display_name": "Beet"}}, {"display_name": None}])
async def test_nested_or_empty_profile_is_no_complete_unit(settings: Settings, data: Any) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    week, spec = this_week(harness), garden_config(users=UserRule("panel"))

    def nest(request: httpx.Request, _: httpx.Response) -> httpx.Response | None:
        star = orjson.loads(request.content)["username"] == "sandbox_star"
        return httpx.Response(200, json={"data": data, "error": {"code": "ok"}}) if star else None

    await harness.collect("users", [week], spec, transport=TamperingTransport(harness, nest))
    state, reason, kept = harness.sql("SELECT state, reason, kept FROM {coverage} WHERE unit = 'sandbox_star'")[0]
    assert (state, kept) == ("suspicious", 0)
    assert harness.sql("SELECT count(*) FROM {users} WHERE asked_username = 'sandbox_star'") == [(0,)]
    if data:
        assert reason.endswith("1 row was rejected: none of the fields of a profile.")
        ((rejected, _, value, _, unit),) = harness.sql(REJECTED)
        assert (rejected, unit, orjson.loads(value)) == ("none of the fields of a profile", "sandbox_star", data)


LISTS = {
    "followers": "user_followers",
    "following": "user_following",
    "pinned_videos": "pinned_videos_list",
    "reposted_videos": "reposted_videos",
}


@pytest.mark.parametrize("entity", LISTS)
async def test_list_keeps_good_rows_and_reports_the_others(settings: Settings, entity: str) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    week, spec = this_week(harness), garden_config(users=UserRule("panel"))
    spoilt = set()

    def spoil(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        rows = orjson.loads(response.content).get("data", {}).get(LISTS[entity])
        if response.status_code != 200 or not rows:
            return None
        spoilt.add(orjson.loads(request.content)["username"])
        return change_data(response, **{LISTS[entity]: [7, *rows, {"other": 1}]})

    await harness.collect(entity, [week], spec, transport=TamperingTransport(harness, spoil))
    assert spoilt
    coverage = harness.sql("SELECT unit, state, kept, reason FROM {coverage} WHERE state = 'complete' AND kept > 0")
    assert {unit for unit, *_ in coverage} == spoilt
    assert all("rows were rejected: " in reason and reason.endswith("not an object.") for *_, reason in coverage)
    assert sum(kept for _, _, kept, _ in coverage) == harness.sql(f"SELECT count(*) FROM {{{entity}}}")[0][0]
    assert harness.sql("SELECT count(DISTINCT unit) FROM {rejected}") == [(len(spoilt),)]


async def test_list_page_without_a_usable_row_is_suspicious(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    week, spec = this_week(harness), garden_config(users=UserRule("panel"))

    def spoil(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if response.status_code != 200 or orjson.loads(request.content)["username"] != "sandbox_star":
            return None
        return change_data(response, user_followers=["a", {"username": {"a": 1}}, {}], has_more=False)

    await harness.collect("followers", [week], spec, transport=TamperingTransport(harness, spoil))
    ((state, reason),) = harness.sql("SELECT state, reason FROM {coverage} WHERE unit = 'sandbox_star'")
    assert state == "suspicious"
    assert reason == (
        "No row of a page could be used. 3 rows were rejected: 1 an invalid username, 1 no username, 1 not an object."
    )


async def test_sentences_of_a_reason_end_with_a_full_stop(settings: Settings) -> None:
    harness = harness_with(settings, 250)
    count = 0

    def fail_late(_: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        nonlocal count
        count += 1
        # The third page, and the fresh search that looks for its place.
        return error_response(response, 400, "invalid_params", "start_date is odd") if count in (3, 4) else None

    await harness.collect("videos", days(2), transport=TamperingTransport(harness, fail_late))
    reasons = [reason for (reason,) in harness.sql("SELECT reason FROM {coverage} WHERE reason IS NOT NULL")]
    assert (
        "The search could not be continued at position 200: HTTP 400 invalid_params: start_date is odd. The rest is "
        "requested in other windows."
    ) in reasons


async def test_day_in_username_batches_reports_rejected_rows(settings: Settings) -> None:
    harness = make_harness(settings)
    spec = usernames_of(panel(harness, 12))
    transport = TamperingTransport(harness, edit_videos(lambda videos: ["x", *videos]))
    finished, _ = await harness.collect("videos", days(1), spec, transport=transport)
    assert finished[START].state == "complete"
    assert finished[START].reason == "In each of 2 searches: 1 row was rejected: not an object."


async def test_copied_unit_reports_its_rejected_rows_too(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    week, spec = this_week(harness), study("first", panel=("sandbox_star",), users=UserRule("panel"))

    def spoil(_: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        rows = orjson.loads(response.content).get("data", {}).get("user_followers")
        return change_data(response, user_followers=[*rows, 7], has_more=False) if rows else None

    await harness.collect("followers", [week], spec, transport=TamperingTransport(harness, spoil))
    await harness.collect("followers", [week], study("second", panel=("sandbox_star",), users=UserRule("panel")))
    reasons = dict(harness.sql("SELECT study, reason FROM {coverage}"))
    assert reasons == {
        "first": "1 row was rejected: not an object.",
        "second": "Copied from the study first. 1 row was rejected: not an object.",
    }
    assert harness.sql("SELECT study, count(*) FROM {rejected} GROUP BY study ORDER BY study") == [
        ("first", 1),
        ("second", 1),
    ]


async def test_pause_of_lists_during_an_outage_has_one_full_stop(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    names = tuple(f"somebody{number}" for number in range(30))
    down = TamperingTransport(harness, lambda _, r: error_response(r, 500, "internal_error", "Server Internal Error"))
    spec = study(panel=names, users=UserRule("panel"))
    _, pause = await harness.collect("users", [this_week(harness)], spec, transport=down)
    assert pause is not None
    assert pause.reason.endswith("calls in a row with errors: HTTP 500 internal_error: Server Internal Error.")
