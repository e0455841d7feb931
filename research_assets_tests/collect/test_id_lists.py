"""Id lists on the sandbox: each id has one state, no answered id is requested twice, rates equal the ground truth."""

from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import permutations
from math import exp
from pathlib import Path
from typing import Any, Literal

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.collect.id_lists.audit import (
    ReturnRate,
    design_effect,
    few_clusters_warning,
    interval_note,
    return_rates,
)
from research_assets.collect.id_lists.reader import IdListError, ListedVideo, read_id_list
from research_assets.collect.id_lists.rehydrate import publish_rehydrated
from research_assets.collect.id_lists.run import IdListResult, IdListTask, IdState, fetch_id_list, min_requests
from research_assets.estimates.shares import wilson_interval
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.storage.captures import list_open_journals, list_sealed
from research_assets_tests.collect.harness import (
    START,
    CollectorHarness,
    TamperingTransport,
    change_data,
    days,
    error_response,
    ids_as_text,
    study,
)

INVALID_IDS = (None, "", "abc", "9" * 5000, 10**19, 1.5, {"high": 1})
DAY = (START - date(1970, 1, 1)).days


def make_harness(settings: Settings, **knobs: Any) -> CollectorHarness:
    config: dict[str, Any] = {"fixed_volume": 20, "profile": "clean"} | knobs
    return CollectorHarness(settings, SandboxConfig(**config))


def video_ids(harness: CollectorHarness, number: int) -> list[int]:
    """Return the ids of all videos of the first days."""
    flat = harness.app.world.fixed_volume
    assert flat is not None
    return [identifier for day in range(DAY, DAY + number) for identifier in flat.ids(day)]


def nonexistent_ids(ids: list[int]) -> list[int]:
    """Return ids with the same upload times that no video has."""
    return [identifier ^ 1 for identifier in ids]


def make_task(
    harness: CollectorHarness, ids: list[int], purpose: Literal["audit", "rehydrate"] = "audit", name: str = "donation"
) -> IdListTask:
    folder = harness.settings.captures if purpose == "rehydrate" else harness.settings.audits / "captures"
    fields = ("id", "create_time") if purpose == "audit" else None
    return IdListTask(purpose, name, tuple(map(ListedVideo, ids)), folder, fields)


async def run_task(harness: CollectorHarness, task: IdListTask, **options: Any) -> IdListResult:
    context = harness.tools(**options)

    def on_complete(journal: Any, progress: Any) -> None:
        if task.purpose == "rehydrate":
            publish_rehydrated(harness.settings.raw, journal, task.videos, progress)
        else:
            journal.seal()

    reported: list[int] = []
    async with context.client:
        found = await fetch_id_list(task, context, on_complete, reported.append)
    assert sum(reported) == len(found.progress.states)
    return found


async def test_audit_finds_the_returned_ids_with_one_request_per_hundred(settings: Settings) -> None:
    harness = make_harness(settings)
    real = video_ids(harness, 28)
    task = make_task(harness, [*real, *nonexistent_ids(real[::4])])
    assert min_requests(task, harness.clock.now().date(), 31) == 7
    found = await run_task(harness, task)
    assert found.n_remaining == 0
    assert found.progress.states == dict.fromkeys(real, "returned") | dict.fromkeys(
        nonexistent_ids(real[::4]), "absent"
    )
    assert harness.requests_sent == found.progress.requests == 7
    whole = return_rates(task.videos, found.progress.states)[0]
    assert (whole.listed, whole.answered, whole.returned, whole.rate) == (700, 700, 560, 0.8)
    assert whole.interval is not None
    assert whole.interval[0] < 0.8 < whole.interval[1]
    assert not list(harness.settings.raw.glob("videos/study=donation/**/*")), "an audit stores no rows"


async def test_ids_as_text_count_as_returned_and_rows_without_an_id_are_ignored(settings: Settings) -> None:
    harness = make_harness(settings)
    ids = video_ids(harness, 4)

    def mixed(_: httpx.Request, response: httpx.Response) -> httpx.Response:
        text = ids_as_text(response) or response
        videos = orjson.loads(text.content)["data"]["videos"]
        return change_data(text, videos=[*videos, *({"id": odd} for odd in INVALID_IDS)])

    found = await run_task(harness, make_task(harness, ids), transport=TamperingTransport(harness, mixed))
    assert set(found.progress.states.values()) == {"returned"}
    assert harness.requests_sent == 1


async def test_withdrawn_videos_are_absent(settings: Settings) -> None:
    harness = make_harness(settings, withdrawn_per_year=0.5, fixed_volume=40)
    ids = video_ids(harness, 10)
    found = await run_task(harness, make_task(harness, ids))
    available = set(harness.app.world.deliverable(ids, harness.clock.now().timestamp()))
    assert 0 < len(available) < len(ids)
    assert {one for one, state in found.progress.states.items() if state == "returned"} == available


async def test_empty_response_is_checked_by_a_second_request(settings: Settings) -> None:
    harness = make_harness(settings, empty_searches=1)
    ids = video_ids(harness, 4)
    found = await run_task(harness, make_task(harness, ids))
    assert set(found.progress.states.values()) == {"returned"}
    assert harness.requests_sent == 2


async def test_single_id_is_absent_only_after_a_second_request(settings: Settings) -> None:
    harness = make_harness(settings, empty_searches=1)
    found = await run_task(harness, make_task(harness, video_ids(harness, 1)[:1]))
    assert set(found.progress.states.values()) == {"returned"}
    assert harness.requests_sent == 2


async def test_ids_beside_an_element_without_an_id_are_not_absent(settings: Settings) -> None:
    harness = make_harness(settings)
    ids = video_ids(harness, 2)

    def edit(_: httpx.Request, response: httpx.Response) -> httpx.Response:
        first, *others = orjson.loads(response.content)["data"]["videos"]
        return change_data(response, videos=[first | {"id": None}, *others])

    task = make_task(harness, [*ids, *nonexistent_ids(ids[:1])])
    found = await run_task(harness, task, transport=TamperingTransport(harness, edit))
    unanswered = {one for one, state in found.progress.states.items() if state == "unanswered"}
    assert unanswered == {max(ids), *nonexistent_ids(ids[:1])}
    assert {found.progress.reasons[one] for one in unanswered} == {"The API returned 1 element(s) without a usable id"}
    assert harness.requests_sent == 1


@pytest.mark.parametrize("ends", [True, False])
async def test_all_short_pages_of_a_batch_are_read(settings: Settings, ends: bool) -> None:
    harness = make_harness(settings)
    ids = video_ids(harness, 2)
    n_answered = 40 if ends else 24

    def edit(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        start = orjson.loads(request.content).get("cursor") or 0
        rows = [{"id": one, "create_time": 1} for one in sorted(ids, reverse=True)[start : start + 4]]
        rows = rows if start < n_answered else []
        return change_data(response, videos=rows, cursor=start + len(rows), has_more=not ends or start + 4 < 40)

    task = make_task(harness, [*ids, *nonexistent_ids(ids[:1])])
    found = await run_task(harness, task, transport=TamperingTransport(harness, edit))
    states = [*found.progress.states.values()]
    assert states.count("returned") == n_answered
    # If has_more stays true, nothing shows that the others do not exist.
    assert states.count("absent" if ends else "unanswered") == 41 - n_answered
    assert harness.requests_sent == (10 if ends else 6 + 5)


async def test_dead_day_leaves_only_its_own_ids_unanswered_with_the_reason(settings: Settings) -> None:
    dead = START.replace(day=9)
    harness = make_harness(settings, dead_days=frozenset({dead}))
    ids = video_ids(harness, 20)
    listed = tuple(
        ListedVideo(identifier, START.fromordinal(START.toordinal() + i // 20)) for i, identifier in enumerate(ids)
    )
    found = await run_task(harness, replace(make_task(harness, []), videos=listed))
    unanswered = {one for one, state in found.progress.states.items() if state == "unanswered"}
    assert unanswered == {one.id for one in listed if one.day == dead}
    assert {found.progress.reasons[one][:8] for one in unanswered} == {"HTTP 500"}
    assert harness.requests_sent <= 4 + 12
    (whole, *_) = return_rates(listed, found.progress.states)
    assert (whole.answered, whole.rate) == (380, 1.0), "unanswered ids are not part of the rate"


async def test_id_list_resumes_when_the_quota_is_available_again(settings: Settings) -> None:
    harness = make_harness(settings, research_cap=3)
    task = make_task(harness, video_ids(harness, 28))
    nights = []
    while True:
        found = await run_task(harness, task, concurrency=1)
        nights.append(found.n_remaining)
        if found.stop is None:
            break
        assert found.stop.retry_at > harness.clock.now()
        harness.clock.moment = found.stop.retry_at
    assert nights[-1] == 0
    assert len(nights) == 2
    assert set(found.progress.states.values()) == {"returned"}
    assert harness.app.request_log.outcomes["ok"] - harness.app.request_log.requests.get("oauth", 0) <= 6 + 2
    assert list_open_journals(task.captures, "videos", task.name) == []


async def test_another_list_under_the_same_name_is_refused(settings: Settings) -> None:
    harness = make_harness(settings, research_cap=1)
    ids = video_ids(harness, 28)
    assert (await run_task(harness, make_task(harness, ids), concurrency=1)).stop is not None
    with pytest.raises(IdListError, match="choose another name"):
        await run_task(harness, make_task(harness, ids[1:]))


async def test_rehydrated_rows_equal_the_collected_rows(settings: Settings) -> None:
    harness = make_harness(settings, undeliverable=0.1)
    await harness.collect("videos", days(6), study())
    collected = "SELECT * EXCLUDE (observed_at, capture, study) FROM {videos} WHERE study = 'garden' ORDER BY id"
    before = harness.sql(collected)
    ids = [row[0] for row in harness.sql("SELECT id FROM {videos} WHERE study = 'garden'")]
    task = make_task(harness, [*ids, *nonexistent_ids(ids[:5])], "rehydrate", "colleague")
    found = await run_task(harness, task)
    assert found.n_remaining == 0
    assert harness.sql(collected.replace("garden", "colleague")) == before
    states = dict(harness.sql("SELECT state, count(*) FROM {coverage} WHERE study = 'colleague' GROUP BY ALL"))
    assert states == {"complete": len(ids), "missing": 5}
    assert len(list(list_sealed(harness.settings.captures, study="colleague"))) == 1


async def test_outage_stops_the_id_list_within_40_requests(settings: Settings) -> None:
    harness = make_harness(settings)
    task = make_task(harness, video_ids(harness, 400 // 20))

    def down(_: httpx.Request, response: httpx.Response) -> httpx.Response:
        return error_response(response, 500, "internal_error", "Try again.")

    found = await run_task(harness, task, transport=TamperingTransport(harness, down))
    assert found.stop is not None or set(found.progress.states.values()) == {"unanswered"}
    assert harness.requests_sent <= 40


@given(st.integers(0, 200), st.integers(0, 200))
def test_interval_contains_the_share_and_narrows_with_the_number(hits: int, others: int) -> None:
    number = hits + others
    interval = wilson_interval(hits, number)
    if not number:
        assert interval is None
        return
    assert interval is not None
    low, high = interval
    assert 0 <= low <= hits / number <= high <= 1
    larger = wilson_interval(10 * hits, 10 * number)
    assert larger is not None
    assert larger[1] - larger[0] < high - low


def test_interval_equals_the_published_one() -> None:
    # 81 of 263: 0.255 to 0.366 (Newcombe 1998, table I).
    interval = wilson_interval(81, 263)
    assert interval is not None
    assert [round(bound, 4) for bound in interval] == [0.2553, 0.3662]


def test_return_rates_are_by_group_and_month() -> None:
    january, february = 1_767_900_000 << 32, 1_770_900_000 << 32
    listed = [
        ListedVideo(january, None, ("liked",)),
        ListedVideo(february, None, ("liked",)),
        ListedVideo(february + 1, None, ("watched",)),
    ]
    found = return_rates(listed, {january: "returned", february: "absent", february + 1: "unanswered"})
    assert [(one.group, one.month, one.answered, one.returned) for one in found] == [
        *(("all", "all", 2, 1), ("all", "2026-01", 1, 1), ("all", "2026-02", 1, 0)),
        *(("liked", "all", 2, 1), ("watched", "all", 0, 0)),
        *(("liked", "2026-01", 1, 1), ("liked", "2026-02", 1, 0), ("watched", "2026-02", 0, 0)),
    ]


def test_ids_of_several_classes_count_in_each_in_any_order_of_lines(tmp_path: Path) -> None:
    one, other = nonexistent_ids([7_602_000_000_000_000_000, 7_602_000_100_000_000_000])
    lines = [f"{one},feed,anna", f"{one},liked,ben", f"{other},liked,ben", f"{one},,", f"{other},feed,anna"]
    states: dict[int, IdState] = {one: "returned", other: "absent"}
    found = set()
    for number, order in enumerate(permutations(lines)):
        path = tmp_path / f"{number}.csv"
        path.write_text("\n".join(["id,class,donor", *order]))
        listed = read_id_list(
            path, datetime(2026, 6, 1, tzinfo=UTC), group="class", cluster="donor", ids_are_exact=True
        )
        rates = return_rates(sorted(listed.videos, key=lambda video: video.id), states)
        found.add((tuple(sorted(listed.videos, key=lambda video: video.id)), tuple(rates)))
    [(videos, expected)] = found
    assert [video.groups for video in videos] == [("feed", "liked")] * 2
    assert [(rate.group, rate.listed, rate.returned) for rate in expected if rate.month == "all"] == [
        ("all", 2, 1),
        ("feed", 2, 1),
        ("liked", 2, 1),
    ]


def test_share_of_clusters_is_a_ratio_with_a_design_effect() -> None:
    alike = ReturnRate("all", "all", 100, 100, 50, ((10, 10), (10, 0)) * 5)
    mixed = ReturnRate("all", "all", 100, 100, 50, ((10, 5),) * 10)
    independent = ReturnRate("all", "all", 100, 100, 50)
    # Ten clusters of equal videos have the variance of nine videos: 1/4/9. The quantile is t(9) = 2.2622.
    assert design_effect(alike) == pytest.approx(100 / 9)
    half = 2.262157 * (0.25 / 9) ** 0.5 / 0.25
    assert alike.interval == pytest.approx((1 / (1 + exp(half)), 1 / (1 + exp(-half))), rel=1e-6)
    # Clusters that do not differ count as one video each.
    assert mixed.interval == wilson_interval(50, 100, effective=10)
    assert design_effect(mixed) is design_effect(independent) is None
    assert ReturnRate("all", "all", 9, 9, 9, ((9, 9),)).interval is None
    assert "10 clusters were drawn independently" in interval_note([alike])
    assert "the videos were drawn independently of each other" in interval_note([independent])
    assert few_clusters_warning([alike, mixed, independent]) is None
    few = few_clusters_warning([alike, ReturnRate("feed", "all", 4, 4, 2, ((2, 1), (2, 1)))])
    assert few is not None
    assert few.startswith("1 of 2 shares rest on fewer than 10 clusters (at least 2)")


def test_exposures_count_in_each_cluster_and_class(tmp_path: Path) -> None:
    one, other = nonexistent_ids([7_602_000_000_000_000_000, 7_602_000_100_000_000_000])
    path = tmp_path / "a.csv"
    lines = [
        f"{one},feed,anna,3",
        f"{one},liked,ben,1",
        f"{other},feed,ben,4",
        f"{other},feed,ben,2",
        f"{one},feed,cy,x",
    ]
    path.write_text("\n".join(["id,class,donor,views", *lines, f"{other},feed,,1", f"{other},feed,dan,0"]))
    listed = read_id_list(
        path, datetime(2026, 6, 1, tzinfo=UTC), group="class", cluster="donor", exposures="views", ids_are_exact=True
    )
    assert listed.invalid == (("line 6", "'x' in the column 'views' is no number"),)
    rates = {rate.group: rate for rate in return_rates(listed.videos, {one: "returned", other: "absent"})}
    assert sorted(rates["all"].clusters) == [(1, 0), (3, 3), (7, 1)]
    assert rates["all"].rate == pytest.approx(4 / 11)
    assert (rates["all"].listed, rates["all"].answered, rates["all"].returned) == (2, 2, 1)
    assert sorted(rates["feed"].clusters) == [(1, 0), (3, 3), (6, 0)]
    assert rates["liked"].clusters == ((1, 1),)
    assert "A video may have any number of exposures" in interval_note([rates["all"]], clusters_are_videos=True)
