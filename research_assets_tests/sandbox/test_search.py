from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.world.time_effects import count_at_age
from research_assets_tests.conftest import FakeClock
from research_assets_tests.sandbox.client import ANYTHING, GARDENING, SandboxClient, condition, ids

LATER = datetime(2026, 11, 1, tzinfo=UTC)
FIRST, LAST = date(2026, 2, 1), date(2026, 2, 5)
QUIET: dict[str, Any] = {"p_500": 0.0, "rate": 0.0, "p_fresh_search_id": 0.0}


def refused(answer: Any) -> str:
    body = answer.json()
    assert answer.status_code == 400
    assert set(body) == {"error"}
    assert body["error"]["code"] == "invalid_params"
    return str(body["error"]["message"])


@pytest.mark.parametrize(
    "config",
    [
        SandboxConfig(),
        SandboxConfig(profile="typical", **QUIET),
        SandboxConfig(fixed_volume=333, undeliverable=0.1),
        SandboxConfig(fixed_volume=40, profile="typical", **QUIET),
    ],
)
async def test_search_pages_equal_the_ground_truth(config: SandboxConfig) -> None:
    client = SandboxClient(config, FakeClock(LATER))
    pages = [page async for page in client.pages(GARDENING, "20260201", "20260205")]
    ground_truth = client.sandbox.ground_truth.videos(GARDENING, FIRST, LAST)
    found = [video for page in pages for video in page["videos"]]
    assert sorted(ids(found)) == sorted(i for day in ground_truth.values() for i in day.deliverable)
    assert ids(found) == sorted(set(ids(found)), reverse=True)
    assert pages[-1]["cursor"] == sum(len(day.raw) for day in ground_truth.values())
    assert [page["cursor"] for page in pages[:-1]] == [100 * n for n in range(1, len(pages))]
    for video in found:
        day = datetime.fromtimestamp(video["create_time"], UTC).date()
        assert video["id"] in ground_truth[day].deliverable
        assert None not in video.values()


async def test_seven_days_of_950_videos_take_67_pages() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=950), FakeClock(LATER))
    assert len(await client.videos(ANYTHING, "20260201", "20260207")) == 6650
    assert client.sandbox.quota.pools["research"].day(LATER).used == 67


async def test_window_includes_both_ends() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=100), FakeClock(LATER))
    found = await client.videos(ANYTHING, "20260203", "20260203")
    times = sorted(video["create_time"] for video in found)
    midnight = datetime(2026, 2, 3, tzinfo=UTC)
    assert times[0] == midnight.timestamp()
    assert midnight + timedelta(hours=23) < datetime.fromtimestamp(times[-1], UTC) < midnight + timedelta(days=1)


async def test_counts_grow_with_age_and_lag() -> None:
    found = {}
    for lag in (0.0, 10.0):
        client = SandboxClient(
            SandboxConfig(fixed_volume=50, count_lag_days=lag), FakeClock(datetime(2026, 2, 8, tzinfo=UTC))
        )
        views = []
        for _ in range(3):
            videos = await client.videos(ANYTHING, "20260205", "20260205")
            views.append(sum(video["view_count"] for video in videos))
            client.sandbox.clock.advance(40 * 86400)
            await client.log_in()
        found[lag] = views
    assert found[0.0][0] < found[0.0][1] < found[0.0][2] == found[10.0][2]
    assert found[10.0][0] < found[0.0][0]


async def test_counts_come_from_snapshots_that_are_refreshed_in_steps() -> None:
    lag, comments = 10, 20
    config = SandboxConfig(fixed_volume=60, fixed_comments=comments, count_lag_days=lag)
    client = SandboxClient(config, FakeClock(datetime(2026, 2, 7, tzinfo=UTC)))
    seen: dict[int, list[int]] = {}
    for hours in range(0, 80 * 24, 6):
        client.sandbox.clock.set(datetime(2026, 2, 7, tzinfo=UTC) + timedelta(hours=hours))
        await client.log_in()
        now = client.sandbox.clock.now().timestamp()
        videos = await client.videos(ANYTHING, "20260204", "20260204")
        for video in videos:
            age = now - video["create_time"]
            low, high = count_at_age(comments, age - lag * 86400), count_at_age(comments, age)
            assert low <= video["comment_count"] <= high
            seen.setdefault(video["id"], []).append(video["comment_count"])
        if hours == 0:
            unseen = [video["id"] for video in videos if video["comment_count"] == 0]
            assert 10 < len(unseen) < 50
            assert all(client.sandbox.ground_truth.comments(video_id) for video_id in unseen)
        assert hours < (60 + lag) * 24 or {video["comment_count"] for video in videos} == {comments}
    for counts in seen.values():
        assert counts == sorted(counts)
    at_lag = [counts[lag * 4] for counts in seen.values()]
    assert min(at_lag) > 0


QUERIES: list[tuple[dict[str, Any], Any]] = [
    ({"and": [condition("region_code", "EQ", "at")]}, lambda v: v["region_code"] == "AT"),
    ({"not": [condition("region_code", "IN", "AT", "DE")]}, lambda v: v["region_code"] not in ("AT", "DE")),
    (
        {"or": [condition("hashtag_name", "EQ", "BALKON"), condition("hashtag_name", "EQ", "tomaten")]},
        lambda v: {"balkon", "tomaten"} & {tag.lower() for tag in v["hashtag_names"]},
    ),
    (
        {"and": [condition("keyword", "EQ", "#garten Chili")]},
        lambda v: all(word in v["video_description"].lower() for word in ("garten", "chili")),
    ),
    ({"and": [condition("video_length", "EQ", "SHORT")]}, lambda v: v["video_duration"] < 15),
    ({"and": [condition("video_length", "IN", "LONG", "EXTRA_LONG")]}, lambda v: v["video_duration"] >= 60),
    ({"and": [condition("view_count", "GTE", "5000")]}, lambda v: v["view_count"] >= 5000),
    ({"and": [condition("comment_count", "GT", "3")]}, lambda v: v["comment_count"] > 3),
    ({"and": [condition("comment_count", "LTE", "1")]}, lambda v: v["comment_count"] <= 1),
    (
        {"and": [condition("username", "IN", "sandbox_beet", "sandbox_star")]},
        lambda v: v["username"] in ("sandbox_beet", "sandbox_star"),
    ),
    ({"and": [condition("effect_id", "EQ", "1")]}, lambda v: v["id"] == 0),
    (
        {"and": [condition("create_date", "LT", "20260202")], "not": [condition("region_code", "EQ", "US")]},
        lambda v: v["create_time"] < datetime(2026, 2, 2, tzinfo=UTC).timestamp() and v["region_code"] != "US",
    ),
]


@pytest.mark.parametrize(("query", "holds"), QUERIES, ids=[str(query) for query, _ in QUERIES])
async def test_query_returns_exactly_the_matching_videos(query: dict[str, Any], holds: Any) -> None:
    client = SandboxClient(SandboxConfig(videos_per_day=300), FakeClock(LATER))
    everything = {"not": [condition("video_id", "EQ", "1")]}
    videos = await client.videos(everything, "20260201", "20260203")
    found = await client.videos(query, "20260201", "20260203")
    assert ids(found) == [video["id"] for video in videos if holds(video)]


@pytest.mark.parametrize("config", [SandboxConfig(), SandboxConfig(fixed_volume=200)])
async def test_search_finds_videos_by_id_and_username(config: SandboxConfig) -> None:
    client = SandboxClient(config, FakeClock(LATER))
    some = (await client.videos(GARDENING, "20260201", "20260202"))[3:40:9]
    named = {"and": [condition("video_id", "IN", *(str(i) for i in ids(some)), "123")]}
    assert ids(await client.videos(named, "20260201", "20260202")) == ids(some)
    assert await client.videos(named, "20260205", "20260206") == []
    by_name = {"and": [condition("username", "EQ", some[0]["username"])]}
    found = await client.videos(by_name, "20260201", "20260202")
    assert {video["username"] for video in found} == {some[0]["username"]}


@pytest.mark.parametrize(("empty_keys", "shapes"), [(True, 1), (False, 2)])
async def test_search_without_hits_has_no_search_id_and_may_lack_the_list(empty_keys: bool, shapes: int) -> None:
    client = SandboxClient(SandboxConfig(empty_keys=empty_keys), FakeClock(LATER))
    query = {"and": [condition("hashtag_name", "EQ", "nobodyeverusedthis")]}
    seen = set()
    for _ in range(12):
        data = (await client.search(query, "20260201", "20260202")).json()["data"]
        assert data["has_more"] is False
        assert not data.get("videos")
        seen.add(frozenset(data))
    assert len(seen) == shapes
    assert frozenset({"videos", "cursor", "has_more"}) in seen
    assert seen <= {frozenset({"videos", "cursor", "has_more"}), frozenset({"cursor", "has_more"})}


async def test_search_id_is_text_with_a_time_some_minutes_ago() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=10), FakeClock(LATER))
    data = (await client.search(ANYTHING, "20260201", "20260202")).json()["data"]
    assert isinstance(data["search_id"], str)
    assert 7 * 60 <= LATER.timestamp() - (int(data["search_id"]) >> 32) <= 75 * 60


async def test_random_sample_differs_between_calls() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=400), FakeClock(LATER))
    draws = [(await client.search(ANYTHING, "20260201", "20260201", is_random=True)).json() for _ in range(2)]
    one, other = (ids(draw["data"]["videos"]) for draw in draws)
    assert len(one) == len(other) == 100
    assert one != other


async def test_null_and_empty_paging_return_the_first_page() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=150), FakeClock(LATER))
    plain = await client.search(ANYTHING, "20260201", "20260201")
    empty = await client.search(ANYTHING, "20260201", "20260201", cursor=None, search_id="", is_random=None)
    assert ids(plain.json()["data"]["videos"]) == ids(empty.json()["data"]["videos"])


async def test_fresh_search_id_is_refused_once() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=150, fresh_search_id_refusals=1), FakeClock(LATER))
    first = (await client.search(ANYTHING, "20260201", "20260201")).json()["data"]
    paging = {"cursor": first["cursor"], "search_id": first["search_id"]}
    message = refused(await client.search(ANYTHING, "20260201", "20260201", **paging))
    assert message == f"Search Id {first['search_id']} is invalid or expired"
    second = await client.search(ANYTHING, "20260201", "20260201", **paging)
    assert len(second.json()["data"]["videos"]) == 50


async def test_fresh_search_id_works_after_ten_seconds_and_expires() -> None:
    client = SandboxClient(
        SandboxConfig(fixed_volume=150, p_fresh_search_id=1.0, search_lifetime=3600), FakeClock(LATER)
    )
    first = (await client.search(ANYTHING, "20260201", "20260201")).json()["data"]
    paging = {"cursor": first["cursor"], "search_id": first["search_id"]}
    refused(await client.search(ANYTHING, "20260201", "20260201", **paging))
    client.sandbox.clock.advance(10)
    assert (await client.search(ANYTHING, "20260201", "20260201", **paging)).status_code == 200
    client.sandbox.clock.advance(3600)
    refused(await client.search(ANYTHING, "20260201", "20260201", **paging))


async def test_search_id_works_only_for_its_query() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=150), FakeClock(LATER))
    first = (await client.search(ANYTHING, "20260201", "20260201")).json()["data"]
    paging = {"cursor": 100, "search_id": first["search_id"]}
    refused(await client.search(GARDENING, "20260201", "20260201", **paging))
    refused(await client.search(ANYTHING, "20260201", "20260202", **paging))
    refused(await client.search(ANYTHING, "20260201", "20260201", cursor=100, search_id="77"))
    refused(await client.search(ANYTHING, "20260201", "20260201", **(paging | {"cursor": 151})))


async def test_renewed_search_id_continues_the_search() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=350, p_new_search_id=1.0), FakeClock(LATER))
    pages = [page async for page in client.pages(ANYTHING, "20260201", "20260201")]
    assert len({page["search_id"] for page in pages}) == 4
    assert sum(len(page["videos"]) for page in pages) == 350


async def test_search_that_starts_at_a_cursor_continues_from_there() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=350), FakeClock(LATER))
    raw = client.sandbox.ground_truth.videos(ANYTHING, FIRST, FIRST)[FIRST].raw
    first = (await client.search(ANYTHING, "20260201", "20260201", cursor=130)).json()["data"]
    assert tuple(ids(first["videos"])) == raw[130:230]
    assert (first["cursor"], first["has_more"]) == (230, True)
    paging = {"cursor": first["cursor"], "search_id": first["search_id"]}
    second = (await client.search(ANYTHING, "20260201", "20260201", **paging)).json()["data"]
    assert tuple(ids(second["videos"])) == raw[230:330]
    jump = (await client.search(ANYTHING, "20260201", "20260201", **(paging | {"cursor": 7}))).json()["data"]
    assert tuple(ids(jump["videos"])) == raw[7:107]
    refused(await client.search(ANYTHING, "20260201", "20260201", cursor=351))


async def test_withdrawal_moves_the_positions_of_a_new_search_only() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=350, withdrawn_are_hits=False), FakeClock(LATER))
    raw = client.sandbox.ground_truth.videos(ANYTHING, FIRST, FIRST)[FIRST].raw
    first = (await client.search(ANYTHING, "20260201", "20260201")).json()["data"]
    await client.http.post("/sandbox/withdraw", json={"videos": raw[10:13]})
    paging = {"cursor": 100, "search_id": first["search_id"]}
    continued = (await client.search(ANYTHING, "20260201", "20260201", **paging)).json()["data"]
    assert tuple(ids(continued["videos"])) == raw[100:200]
    moved = (await client.search(ANYTHING, "20260201", "20260201", cursor=100)).json()["data"]
    assert tuple(ids(moved["videos"])) == raw[103:203]
    assert client.sandbox.ground_truth.videos(ANYTHING, FIRST, FIRST)[FIRST].raw == raw[:10] + raw[13:]


@pytest.mark.parametrize("replaced_by", [{}, {"p_old_search_id": 1.0}, {"p_new_search_id": 1.0}])
async def test_jumps_are_refused_if_configured(replaced_by: dict[str, float]) -> None:
    config = SandboxConfig(fixed_volume=350, refuse_jumps=True, **replaced_by)  # type: ignore[arg-type]
    client = SandboxClient(config, FakeClock(LATER))

    async def search(**paging: Any) -> Any:
        return await client.search(ANYTHING, "20260201", "20260201", **paging)

    assert refused(await search(cursor=100)) == "Invalid count or cursor"
    pages = [page async for page in client.pages(ANYTHING, "20260201", "20260201")]
    assert sum(len(page["videos"]) for page in pages) == 350
    first = (await search()).json()["data"]
    assert refused(await search(cursor=200, search_id=first["search_id"])) == "Invalid count or cursor"
    assert refused(await search(cursor=50, search_id=first["search_id"])) == "Invalid count or cursor"
    second = (await search(cursor=100, search_id=first["search_id"])).json()["data"]
    assert (await search(cursor=100, search_id=first["search_id"])).json()["data"]["cursor"] == 200
    assert (await search(cursor=200, search_id=second["search_id"])).status_code == 200


async def test_old_search_id_continues_the_same_search() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=350, p_old_search_id=1.0), FakeClock(LATER))
    pages = [page async for page in client.pages(ANYTHING, "20260201", "20260201")]
    ages = [(LATER.timestamp() - (int(page["search_id"]) >> 32)) / 86400 for page in pages]
    assert ages[0] < 1
    assert all(239 < age < 242 for age in ages[1:])
    found = [video for page in pages for video in page["videos"]]
    expected = client.sandbox.ground_truth.videos(ANYTHING, FIRST, FIRST)[FIRST].deliverable
    assert tuple(ids(found)) == expected
    assert {video["region_code"] for video in found} == {"DE"}


@pytest.mark.parametrize("only_newest", [False, True])
@pytest.mark.parametrize("replaced_by", ["p_old_search_id", "p_new_search_id"])
async def test_replaced_search_id_works_unless_only_the_newest_does(replaced_by: str, only_newest: bool) -> None:
    config = SandboxConfig(fixed_volume=350, only_newest_search_id=only_newest, **{replaced_by: 1.0})  # type: ignore[arg-type]
    client = SandboxClient(config, FakeClock(LATER))
    first = (await client.search(ANYTHING, "20260201", "20260201")).json()["data"]
    paging = {"cursor": 100, "search_id": first["search_id"]}
    second = (await client.search(ANYTHING, "20260201", "20260201", **paging)).json()["data"]
    again = await client.search(ANYTHING, "20260201", "20260201", **paging)
    if only_newest:
        assert refused(again) == f"Search Id {first['search_id']} is invalid or expired"
    else:
        assert ids(again.json()["data"]["videos"]) == ids(second["videos"])
    newest = {"cursor": 200, "search_id": second["search_id"]}
    third = await client.search(ANYTHING, "20260201", "20260201", **newest)
    assert len(third.json()["data"]["videos"]) == 100


async def test_foreign_page_is_sparse_lower_case_and_overlaps() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=600, foreign_page_searches=1), FakeClock(LATER))
    pages = [page async for page in client.pages(ANYTHING, "20260201", "20260201")]
    assert len(pages) == 2
    first, second = pages
    assert int(first["search_id"]) >> 32 > (int(second["search_id"]) >> 32) + 200 * 86400
    assert {video["region_code"] for video in first["videos"]} == {"DE"}
    assert {video["region_code"] for video in second["videos"]} == {"de"}
    assert len(second["videos"]) < 100
    assert max(ids(second["videos"])) > min(ids(first["videos"])) or len(ids(second["videos"])) < 60
    again = [page async for page in client.pages(ANYTHING, "20260201", "20260201")]
    assert sum(len(page["videos"]) for page in again) == 600


async def test_only_windows_with_a_dead_day_fail() -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=10, dead_days=frozenset({date(2026, 2, 3)})), FakeClock(LATER))
    for start, end in (("20260201", "20260214"), ("20260203", "20260203"), ("20260202", "20260203")):
        answer = await client.search(ANYTHING, start, end)
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "internal_error"
    assert len(await client.videos(ANYTHING, "20260204", "20260214")) == 110


async def test_empty_searches_and_days_return_no_error() -> None:
    config = SandboxConfig(fixed_volume=10, empty_days=frozenset({date(2026, 2, 3)}), empty_searches=1)
    client = SandboxClient(config, FakeClock(LATER))
    assert await client.videos(ANYTHING, "20260201", "20260205") == []
    assert len(await client.videos(ANYTHING, "20260201", "20260205")) == 40
    assert len(client.sandbox.ground_truth.videos(ANYTHING, FIRST, LAST)[date(2026, 2, 3)].raw) == 10


async def test_paging_faults_lose_no_row() -> None:
    config = SandboxConfig(fixed_volume=950, p_no_cursor=0.2, p_stuck_cursor=0.3, p_empty_page=0.4)
    client = SandboxClient(config, FakeClock(LATER))
    seen: set[int] = set()
    outcomes = set()
    paging: dict[str, Any] = {}
    for _ in range(200):
        data = (await client.search(ANYTHING, "20260201", "20260202", **paging)).json()["data"]
        seen.update(ids(data["videos"]))
        if not data["has_more"]:
            break
        before = paging.get("cursor", 0)
        outcomes.add("no cursor" if "cursor" not in data else "stuck" if data["cursor"] == before else "fine")
        outcomes.add("rows" if data["videos"] else "empty")
        paging = {"cursor": max(len(seen) // 100 * 100, before), "search_id": data["search_id"]}
    assert outcomes == {"no cursor", "stuck", "fine", "rows", "empty"}
    assert len(seen) == 1900


@pytest.mark.parametrize("username_batch", [0, 3])
async def test_breaking_username_and_large_batch_fail(username_batch: int) -> None:
    config = SandboxConfig(breaking_usernames=frozenset({"sandbox_star"}), username_batch=username_batch)
    client = SandboxClient(config, FakeClock(LATER))

    async def status(*names: str) -> int:
        query = {"and": [condition("username", "IN", *names)]}
        return (await client.search(query, "20260201", "20260202")).status_code

    assert await status("sandbox_star", "sandbox_beet") == 500
    assert await status("sandbox_star") == 200
    assert await status("sandbox_beet", "sandbox_balkon") == 200
    assert await status("a", "b", "c", "d") == (500 if username_batch else 200)
