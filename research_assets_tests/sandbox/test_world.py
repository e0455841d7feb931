from datetime import UTC, date, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.sandbox.app import create_app
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.world.ids import DAY, IdLayout
from research_assets.sandbox.world.time_effects import age_at_count, count_at_age
from research_assets.sandbox.world.videos import EPOCH
from research_assets_tests.conftest import FakeClock
from research_assets_tests.sandbox.client import GARDENING

FEBRUARY = date(2026, 2, 1).toordinal() - EPOCH
LATER = datetime(2026, 11, 1, tzinfo=UTC)


def test_a_world_is_the_same_whenever_and_in_whatever_order_it_is_asked_about() -> None:
    one, other = create_app(SandboxConfig()).world, create_app(SandboxConfig(), FakeClock()).world
    days = list(range(FEBRUARY, FEBRUARY + 5))
    forward = {day: [video.id for video in one.social.day(day)] for day in days}
    shuffled = days[:]
    Random(1).shuffle(shuffled)
    assert {day: [video.id for video in other.social.day(day)] for day in shuffled} == forward
    assert [video.caption for video in one.social.day(FEBRUARY)] == [v.caption for v in other.social.day(FEBRUARY)]


def test_another_seed_makes_another_world() -> None:
    one, other = create_app(SandboxConfig(seed=1)).world, create_app(SandboxConfig(seed=2)).world
    assert {v.id for v in one.social.day(FEBRUARY)}.isdisjoint(v.id for v in other.social.day(FEBRUARY))


def test_days_are_forgotten_and_come_back_the_same() -> None:
    world = create_app(SandboxConfig(videos_per_day=3)).world
    before = [video.id for video in world.social.day(FEBRUARY)]
    for day in range(FEBRUARY - 200, FEBRUARY):
        world.social.day(day)
    assert [video.id for video in world.social.day(FEBRUARY)] == before


def test_the_demo_study_finds_about_a_hundred_hits_a_day() -> None:
    sandbox = create_app(SandboxConfig(profile="typical"), FakeClock(LATER))
    days = sandbox.truth.videos(GARDENING, date(2026, 2, 1), date(2026, 2, 14))
    hits = [video_id for day in days.values() for video_id in day.raw]
    assert 1300 <= len(hits) <= 2000
    assert all(60 <= len(day.raw) <= 200 for day in days.values())
    videos = [video for video_id in hits if (video := sandbox.world.video(video_id))]
    assert 250 <= len({video.creator.index for video in videos}) <= 600
    assert sum(video.comments > 0 for video in videos) < len(videos) / 5


def test_a_video_is_found_again_by_its_id_alone() -> None:
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
def test_ids_lead_back_to_their_place(bits: int, upload: int, days: int, data: st.DataObject) -> None:
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
def test_the_time_of_a_comment_is_that_at_which_the_count_passes_it(final: int, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, final - 1))
    age = age_at_count(final, number)
    assert count_at_age(final, age) > number
    assert age <= 60 * DAY


@given(final=st.integers(0, 10**7), ages=st.lists(st.floats(-1e6, 1e8), min_size=2, max_size=5))
def test_counts_never_fall_and_end_where_they_should(final: int, ages: list[float]) -> None:
    counts = [count_at_age(final, age) for age in sorted(ages)]
    assert counts == sorted(counts)
    assert count_at_age(final, 61 * DAY) == final


def test_a_thread_and_the_count_of_its_video_agree_at_any_moment() -> None:
    sandbox = create_app(SandboxConfig())
    threads = sandbox.truth._threads
    video = max(sandbox.world.social.day(FEBRUARY), key=lambda video: (video.comments < 800, video.comments))
    assert video.comments > 20
    comments = threads.thread(video)
    for hours in (1, 5, 24, 72, 300, 2000):
        at = video.create_time + hours * 3600
        assert sum(comment.create_time <= at for comment in comments) == count_at_age(video.comments, hours * 3600)
    for comment in comments:
        assert threads.find(comment.id) == (video, comment)
        assert comment.parent is None or comments[comment.parent].create_time <= comment.create_time


def test_followers_and_following_are_one_graph() -> None:
    sandbox = create_app(SandboxConfig(), FakeClock(LATER))
    network, at = sandbox.truth._network, LATER.timestamp()
    for creator in sandbox.world.accounts.creators[:40]:
        for moment, follower in network.followers(creator, at)[:5]:
            assert (moment, creator.index) in network.following(sandbox.world.accounts[follower], at)
    watcher = sandbox.world.accounts[20_000]
    for moment, followed in network.following(watcher, at):
        assert (moment, watcher.index) in network.followers(sandbox.world.accounts[followed], at) or (
            network.follower_count(sandbox.world.accounts[followed], at) > 5000
        )


def test_a_graph_grows_and_relations_keep_their_moment() -> None:
    sandbox = create_app(SandboxConfig())
    network, account = sandbox.truth._network, sandbox.world.accounts.creators[2]
    early = network.followers(account, (LATER - timedelta(days=200)).timestamp())
    late = network.followers(account, LATER.timestamp())
    assert set(early) < set(late)
    assert late == sorted(late, key=lambda relation: -relation[0])
    assert len({moment for moment, _ in late}) < len(late), "some share a second"


def test_names_lead_back_to_their_accounts() -> None:
    accounts = create_app(SandboxConfig()).world.accounts
    for index in (*range(300), 5999, 6000, 39_999, 40_008):
        account = accounts[index]
        assert accounts.named(account.username.upper()) is account or accounts.named(account.username) == account
    for unknown in ("nobody", "moosgarten_99999999", "x7", "sandbox_missing", "", "40009", "²"):
        assert accounts.named(unknown) is None


def test_time_takes_videos_and_never_gives_them_back() -> None:
    sandbox = create_app(SandboxConfig(profile="typical"), FakeClock(LATER))
    day = date(2026, 2, 3)
    before: set[int] = set()
    for months in (8, 5, 3, 0):
        sandbox.clock.set(LATER - timedelta(days=30 * months))
        hits = sandbox.truth.videos(GARDENING, day, day)[day]
        assert not before or set(hits.deliverable) < before
        before = set(hits.deliverable)


def test_new_videos_appear_within_two_days() -> None:
    sandbox = create_app(SandboxConfig(fresh_missing=0.5), FakeClock(datetime(2026, 2, 4, tzinfo=UTC)))
    day = date(2026, 2, 3)
    found = []
    for _ in range(4):
        found.append(len(sandbox.truth.videos(GARDENING, day, day)[day].raw))
        sandbox.clock.advance(DAY)
    assert found[0] < found[1] < found[2] == found[3]


def test_nothing_is_there_before_it_is_published() -> None:
    noon = datetime(2026, 2, 3, 12, tzinfo=UTC)
    for config in (SandboxConfig(), SandboxConfig(fixed_volume=950)):
        sandbox = create_app(config, FakeClock(noon))
        days = sandbox.truth.videos(GARDENING, date(2026, 2, 3), date(2026, 2, 5))
        times = [video.create_time for i in days[date(2026, 2, 3)].raw if (video := sandbox.world.video(i))]
        assert times
        assert max(times) <= noon.timestamp()
        assert not days[date(2026, 2, 4)].raw


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_the_flat_world_is_exact(share: float) -> None:
    sandbox = create_app(SandboxConfig(fixed_volume=950, undeliverable=share), FakeClock(LATER))
    for hits in sandbox.truth.videos(GARDENING, date(2025, 12, 25), date(2026, 1, 5)).values():
        assert len(set(hits.raw)) == 950
        assert len(hits.deliverable) == 950 - 950 // round(1 / share)
    for video_id in hits.raw[:50]:
        video = sandbox.world.video(video_id)
        assert video
        assert video.id == video_id
        assert video.create_time // DAY == date(2026, 1, 5).toordinal() - EPOCH
