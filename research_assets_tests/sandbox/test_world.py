from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.sandbox.app import create_app
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.world.ids import DAY, IdLayout
from research_assets.sandbox.world.time_effects import age_at_count, count_at_age
from research_assets.sandbox.world.videos import EPOCH
from research_assets_tests.conftest import FakeClock
from research_assets_tests.sandbox.client import ANYTHING, GARDENING, SandboxClient, condition, ids

FEBRUARY = date(2026, 2, 1).toordinal() - EPOCH
LATER = datetime(2026, 11, 1, tzinfo=UTC)


def test_world_does_not_depend_on_time_or_order_of_access() -> None:
    one, other = create_app(SandboxConfig()).world, create_app(SandboxConfig(), FakeClock()).world
    days = list(range(FEBRUARY, FEBRUARY + 5))
    forward = {day: [video.id for video in one.social.day(day)] for day in days}
    shuffled = days[:]
    Random(1).shuffle(shuffled)
    assert {day: [video.id for video in other.social.day(day)] for day in shuffled} == forward
    assert [video.caption for video in one.social.day(FEBRUARY)] == [v.caption for v in other.social.day(FEBRUARY)]


def test_seed_determines_the_world() -> None:
    one, other = create_app(SandboxConfig(seed=1)).world, create_app(SandboxConfig(seed=2)).world
    assert {v.id for v in one.social.day(FEBRUARY)}.isdisjoint(v.id for v in other.social.day(FEBRUARY))


def test_evicted_days_are_regenerated_identically() -> None:
    world = create_app(SandboxConfig(videos_per_day=3)).world
    before = [video.id for video in world.social.day(FEBRUARY)]
    for day in range(FEBRUARY - 200, FEBRUARY):
        world.social.day(day)
    assert [video.id for video in world.social.day(FEBRUARY)] == before


def test_demo_study_has_about_a_hundred_hits_per_day() -> None:
    sandbox = create_app(SandboxConfig(profile="typical"), FakeClock(LATER))
    days = sandbox.ground_truth.videos(GARDENING, date(2026, 2, 1), date(2026, 2, 14))
    hits = [video_id for day in days.values() for video_id in day.raw]
    assert 1300 <= len(hits) <= 2000
    assert all(60 <= len(day.raw) <= 200 for day in days.values())
    videos = [video for video_id in hits if (video := sandbox.world.video(video_id))]
    assert 250 <= len({video.creator.index for video in videos}) <= 600
    assert sum(video.comments > 0 for video in videos) < len(videos) / 5


def test_world_finds_a_video_by_its_id() -> None:
    world = create_app(SandboxConfig()).world
    videos = world.social.day(FEBRUARY)
    assert len({video.id for video in videos}) == len(videos)
    for video in videos:
        assert world.video(video.id) is video
        assert world.video(video.id + 1) is None
        assert 0 <= video.create_time - (video.id >> 32) <= 2.6 * DAY
        assert video.create_time // DAY == FEBRUARY


@given(
    bits=st.integers(10, 20),
    upload=st.integers(1_500_000_000, 1_900_000_000),
    days=st.integers(0, 3),
    data=st.data(),
)
def test_ids_encode_their_position(bits: int, upload: int, days: int, data: st.DataObject) -> None:
    layout = IdLayout(bits)
    index = data.draw(st.integers(0, (1 << bits) - 1))
    video_id = layout.video_id(upload, upload // DAY + days, index, data.draw(st.integers(0, 1 << 20)))
    assert layout.video_place(video_id) == (upload // DAY + days, index)
    assert layout.indexes([video_id]) == [index]
    assert video_id >> 32 == upload
    number, after = data.draw(st.integers(0, layout.comment_limit - 1)), data.draw(st.integers(0, 63))
    comment_id = layout.comment_id(upload, upload // DAY - after, index, number)
    assert layout.comment_place(comment_id) == (upload // DAY - after, index, number)
    assert video_id < 1 << 63
    assert comment_id < 1 << 63


@given(final=st.integers(1, 5000), data=st.data())
def test_comment_time_is_when_the_count_exceeds_its_number(final: int, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, final - 1))
    age = age_at_count(final, number)
    assert count_at_age(final, age) > number
    assert age <= 60 * DAY


@given(final=st.integers(0, 10**7), ages=st.lists(st.floats(-1e6, 1e8), min_size=2, max_size=5))
def test_counts_never_decrease_and_reach_their_final_value(final: int, ages: list[float]) -> None:
    counts = [count_at_age(final, age) for age in sorted(ages)]
    assert counts == sorted(counts)
    assert count_at_age(final, 61 * DAY) == final


def test_thread_and_comment_count_agree_at_any_time() -> None:
    sandbox = create_app(SandboxConfig())
    threads = sandbox.ground_truth.threads
    video = max(sandbox.world.social.day(FEBRUARY), key=lambda video: (video.comments < 800, video.comments))
    assert video.comments > 20
    comments = threads.thread(video)
    for hours in (1, 5, 24, 72, 300, 2000):
        at = video.create_time + hours * 3600
        assert sum(comment.create_time <= at for comment in comments) == count_at_age(video.comments, hours * 3600)
    for comment in comments:
        assert threads.find(comment.id) == (video, comment)
        assert comment.parent is None or comments[comment.parent].create_time <= comment.create_time


def test_followers_and_following_agree() -> None:
    sandbox = create_app(SandboxConfig(), FakeClock(LATER))
    network, at = sandbox.ground_truth.network, LATER.timestamp()
    for creator in sandbox.world.accounts.creators[:40]:
        for followed_at, follower in network.followers(creator, at)[:5]:
            assert (followed_at, creator.index) in network.following(sandbox.world.accounts[follower], at)
    account = sandbox.world.accounts[20_000]
    for followed_at, followed in network.following(account, at):
        assert (followed_at, account.index) in network.followers(sandbox.world.accounts[followed], at) or (
            network.follower_count(sandbox.world.accounts[followed], at) > 5000
        )


def test_graph_grows_and_relations_keep_their_time() -> None:
    sandbox = create_app(SandboxConfig())
    network, account = sandbox.ground_truth.network, sandbox.world.accounts.creators[2]
    early = network.followers(account, (LATER - timedelta(days=200)).timestamp())
    late = network.followers(account, LATER.timestamp())
    assert set(early) < set(late)
    assert late == sorted(late, key=lambda relation: -relation[0])
    assert len({followed_at for followed_at, _ in late}) < len(late), "some share a second"


def test_usernames_identify_their_accounts() -> None:
    accounts = create_app(SandboxConfig()).world.accounts
    for index in (*range(300), 5999, 6000, 39_999, 40_008):
        account = accounts[index]
        assert accounts.named(account.username.upper()) is account or accounts.named(account.username) == account
    for unknown in ("nobody", "moosgarten_99999999", "x7", "sandbox_missing", "", "40009", "²"):
        assert accounts.named(unknown) is None


def test_withdrawn_videos_never_return() -> None:
    sandbox = create_app(SandboxConfig(profile="typical"), FakeClock(LATER))
    day = date(2026, 2, 3)
    before: set[int] = set()
    for months in (8, 5, 3, 0):
        sandbox.clock.set(LATER - timedelta(days=30 * months))
        hits = sandbox.ground_truth.videos(GARDENING, day, day)[day]
        assert not before or set(hits.deliverable) < before
        before = set(hits.deliverable)


def test_new_videos_appear_within_two_days() -> None:
    sandbox = create_app(SandboxConfig(fresh_missing=0.5), FakeClock(datetime(2026, 2, 4, tzinfo=UTC)))
    day = date(2026, 2, 3)
    found = []
    for _ in range(4):
        found.append(len(sandbox.ground_truth.videos(GARDENING, day, day)[day].raw))
        sandbox.clock.advance(DAY)
    assert found[0] < found[1] < found[2] == found[3]


@pytest.mark.parametrize(
    "config", [{}, {"fixed_volume": 400}, {"fixed_volume": 1, "volume_by_day": {date(2026, 2, 3): 400}}]
)
async def test_late_videos_shift_the_positions_of_a_passed_day(config: dict[str, Any]) -> None:
    config = config | {"fresh_missing": 0.3, "fresh_missing_days": 60.0}
    client = SandboxClient(SandboxConfig(**config), FakeClock(datetime(2026, 2, 20, tzinfo=UTC)))
    day, found = date(2026, 2, 3), []
    for _ in range(6):
        await client.log_in()
        raw = client.sandbox.ground_truth.videos(ANYTHING, day, day)[day].raw
        assert tuple(ids(await client.videos(ANYTHING, "20260203", "20260203"))) == raw
        found.append(raw)
        client.sandbox.clock.advance(10 * DAY)
    for one, other in pairwise(found):
        assert set(one) < set(other)
        assert one[100:200] != other[100:200]
    client.sandbox.clock.advance(300 * DAY)
    assert len(found[5]) == len(client.sandbox.ground_truth.videos(ANYTHING, day, day)[day].raw)


async def test_open_search_keeps_its_hits_while_a_new_one_has_more() -> None:
    config = SandboxConfig(fixed_volume=300, fresh_missing=0.5, fresh_missing_days=30.0, search_lifetime=10**7)
    client = SandboxClient(config, FakeClock(datetime(2026, 2, 10, tzinfo=UTC)))
    day = date(2026, 2, 3)
    before = client.sandbox.ground_truth.videos(ANYTHING, day, day)[day].raw
    first = (await client.search(ANYTHING, "20260203", "20260203")).json()["data"]
    client.sandbox.clock.advance(9 * DAY)
    await client.log_in()
    paging = {"cursor": 100, "search_id": first["search_id"]}
    continued = (await client.search(ANYTHING, "20260203", "20260203", **paging)).json()["data"]
    assert tuple(ids(continued["videos"])) == before[100:200]
    after = client.sandbox.ground_truth.videos(ANYTHING, day, day)[day].raw
    moved = (await client.search(ANYTHING, "20260203", "20260203", cursor=100)).json()["data"]
    assert tuple(ids(moved["videos"])) == after[100:200] != before[100:200]
    assert before[99] in after[100:]


@pytest.mark.parametrize("config", [{}, {"fixed_volume": 400}])
@pytest.mark.parametrize("are_hits", [True, False])
def test_withdrawn_videos_remain_raw_hits_unless_configured(config: dict[str, Any], are_hits: bool) -> None:
    config = config | {"withdrawn_per_year": 0.5, "withdrawn_are_hits": are_hits}
    sandbox = create_app(SandboxConfig(**config), FakeClock(datetime(2026, 2, 10, tzinfo=UTC)))
    day = date(2026, 2, 3)
    before = sandbox.ground_truth.videos(ANYTHING, day, day)[day]
    sandbox.clock.advance(100 * DAY)
    sandbox.world.withdrawn.add(before.deliverable[7])
    after = sandbox.ground_truth.videos(ANYTHING, day, day)[day]
    assert set(after.deliverable) < set(before.deliverable) - {before.deliverable[7]}
    assert (after.raw == before.raw) is are_hits
    assert set(after.raw) <= set(before.raw)
    if not are_hits:
        assert before.deliverable[7] not in after.raw


@pytest.mark.parametrize("per_second", [1, 5, 250])
async def test_videos_of_fixed_volume_can_share_a_second(per_second: int) -> None:
    client = SandboxClient(SandboxConfig(fixed_volume=500, videos_per_second=per_second), FakeClock(LATER))
    found = await client.videos(ANYTHING, "20260203", "20260203")
    assert len(set(ids(found))) == 500
    assert ids(found) == sorted(ids(found), reverse=True)
    # One in 97 is uploaded a day and a half earlier, which takes it out of its group.
    uploads = Counter(video["id"] >> 32 for video in found if video["create_time"] - (video["id"] >> 32) < DAY)
    assert len(uploads) == sum(uploads.values()) if per_second == 1 else 500 // per_second
    assert all(per_second - 3 <= number <= per_second for number in uploads.values())
    for record in found[::50]:
        video = client.sandbox.world.video(record["id"])
        assert video
        assert video.create_time == record["create_time"]


def test_no_video_exists_before_its_publication() -> None:
    noon = datetime(2026, 2, 3, 12, tzinfo=UTC)
    for config in (SandboxConfig(), SandboxConfig(fixed_volume=950)):
        sandbox = create_app(config, FakeClock(noon))
        days = sandbox.ground_truth.videos(GARDENING, date(2026, 2, 3), date(2026, 2, 5))
        times = [video.create_time for i in days[date(2026, 2, 3)].raw if (video := sandbox.world.video(i))]
        assert times
        assert max(times) <= noon.timestamp()
        assert not days[date(2026, 2, 4)].raw


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_fixed_volume_is_exact(share: float) -> None:
    sandbox = create_app(SandboxConfig(fixed_volume=950, undeliverable=share), FakeClock(LATER))
    for hits in sandbox.ground_truth.videos(GARDENING, date(2025, 12, 25), date(2026, 1, 5)).values():
        assert len(set(hits.raw)) == 950
        assert len(hits.deliverable) == 950 - 950 // round(1 / share)
    for video_id in hits.raw[:50]:
        video = sandbox.world.video(video_id)
        assert video
        assert video.id == video_id
        assert video.create_time // DAY == date(2026, 1, 5).toordinal() - EPOCH


async def test_volume_by_day_overrides_single_days() -> None:
    volumes = {date(2026, 2, 2): 10, date(2026, 2, 3): 5100, date(2026, 2, 4): 0}
    config = SandboxConfig(fixed_volume=120, undeliverable=0.1, fixed_comments=1, volume_by_day=volumes)
    client = SandboxClient(config, FakeClock(LATER))
    hits = client.sandbox.ground_truth.videos(ANYTHING, date(2026, 2, 1), date(2026, 2, 5))
    assert [len(set(day.raw)) for day in hits.values()] == [120, 10, 5100, 0, 120]
    found = await client.videos(ANYTHING, "20260201", "20260205")
    assert sorted(ids(found)) == sorted(i for day in hits.values() for i in day.deliverable)
    for record in found[::7]:
        video = client.sandbox.world.video(record["id"])
        assert video
        assert (video.create_time, video.creator.username) == (record["create_time"], record["username"])
        assert video.day == record["create_time"] // DAY
    assert client.sandbox.world.video_at(FEBRUARY + 1, 10) is None
    assert client.sandbox.world.video_at(FEBRUARY + 3, 0) is None


def test_volume_by_day_cannot_be_changed_and_is_checked() -> None:
    volumes = {date(2026, 2, 2): 10}
    config = SandboxConfig(fixed_volume=1, volume_by_day=volumes)
    volumes[date(2026, 2, 3)] = 7
    assert dict(config.volume_by_day) == {date(2026, 2, 2): 10}
    with pytest.raises(TypeError):
        config.volume_by_day[date(2026, 2, 2)] = 4  # type: ignore[index]
    assert config == SandboxConfig(fixed_volume=1, volume_by_day={date(2026, 2, 2): 10})
    assert hash(config) == hash(SandboxConfig(fixed_volume=1))
    with pytest.raises(ValueError, match="volume_by_day"):
        SandboxConfig(volume_by_day=volumes)
    with pytest.raises(ValueError, match="volume_by_day"):
        SandboxConfig(fixed_volume=1, volume_by_day={date(2026, 2, 2): -1})


def test_conditions_divide_a_day_of_fixed_volume_exactly() -> None:
    truth = create_app(SandboxConfig(fixed_volume=4000), FakeClock(LATER)).ground_truth
    day = date(2026, 2, 3)

    def raw(**groups: object) -> tuple[int, ...]:
        return truth.videos({"and": [condition("keyword", "EQ", "a")]} | groups, day, day)[day].raw

    whole = raw()
    parts = [
        raw(**{"and": [condition("keyword", "EQ", "a"), condition("video_length", "EQ", length)]})
        for length in ("SHORT", "MID", "LONG", "EXTRA_LONG")
    ]
    assert [len(part) for part in parts] == [630, 2812, 558, 0]
    assert sorted((i for part in parts for i in part), reverse=True) == list(whole)
    assert raw(**{"not": [condition("video_length", "EQ", "SHORT")]}) == tuple(sorted(parts[1] + parts[2])[::-1])
    assert raw(**{"or": [condition("video_length", "EQ", "SHORT"), condition("hashtag_name", "EQ", "b")]}) == whole
    assert raw(**{"not": [condition("video_id", "EQ", str(whole[5]))]}) == whole[:5] + whole[6:]
    names = {video.creator.username for i in whole if (video := truth._world.video(i))}
    author = raw(**{"or": [condition("username", "IN", *sorted(names)[:9])]})
    assert 9 * 60 < len(author) < 9 * 65
    dates = [condition("create_date", operation, "20260203") for operation in ("EQ", "GT")]
    assert raw(**{"and": dates[:1]}) == whole
    assert raw(**{"and": dates[1:]}) == ()
