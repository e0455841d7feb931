"""Accounts and comments are counted as they are in the world: renamed accounts once, replies at their level."""

from collections import Counter, defaultdict
from datetime import date

from research_assets.report.queries import read_report_data
from research_assets_tests.meanings.moving_world import N_RENAMED, SAMPLE, MovingWorld


def test_renamed_accounts_are_one_creator(world: MovingWorld) -> None:
    app = world.harness.app
    videos = [video for (video,) in world.rows(f"select video_id from marts.videos where study = '{SAMPLE.name}'")]
    truth = Counter(app.world.username(video.creator) for i in videos if (video := app.world.video(i)))
    found = dict(world.rows(f"select username, n_videos from marts.creators where study = '{SAMPLE.name}'"))
    assert found == truth
    renamed = world.rows(
        "select username, former_usernames from marts.creators "
        f"where study = '{SAMPLE.name}' and former_usernames is not null"
    )
    assert dict(renamed) == {new: [old] for old, new in app.world.renamed.items()}
    assert len(renamed) == N_RENAMED
    rows = world.rows(
        "select former_username, username, n_videos, former_seen_at < renamed_at, n_videos = (select count(*) from "
        "marts.video_renames as one where one.study = renames.study and one.username = renames.username) "
        f"from marts.renames where study = '{SAMPLE.name}'"
    )
    assert {old: new for old, new, *_ in rows} == app.world.renamed
    assert all(n_videos and in_order and is_counted for *_, n_videos, in_order, is_counted in rows)
    # Some of their videos were withdrawn before, so they have the former name.
    former = ", ".join(f"'{name}'" for name in app.world.renamed)
    assert world.rows(f"select count(*) > 0 from marts.videos where username in ({former})") == [(True,)]


def test_renamed_accounts_are_one_creator_of_a_day_and_of_a_hashtag(world: MovingWorld) -> None:
    app = world.harness.app
    creators = defaultdict[date, set[str]](set)
    for identity, day in world.rows(f"select video_id, day from marts.videos where study = '{SAMPLE.name}'"):
        video = app.world.video(identity)
        assert video is not None
        creators[day].add(app.world.username(video.creator))
    rows = world.rows(f"select day, n_creators from marts.study_days where study = '{SAMPLE.name}'")
    assert dict(rows) == {day: len(names) for day, names in creators.items()}
    data = read_report_data(world.settings, SAMPLE.name)
    # All videos have the hashtag of the query.
    assert data.hashtags[0].videos == data.overall.videos
    assert data.hashtags[0].other == data.overall.creators == len(set().union(*creators.values()))


def test_depth_is_that_of_the_thread(world: MovingWorld) -> None:
    threads = world.harness.app.ground_truth.threads
    for comment_id, parent_comment_id, thread_root_id, depth in world.rows(
        "select comment_id, parent_comment_id, thread_root_id, depth from marts.comments"
    ):
        found = threads.find(thread_root_id)
        assert found is not None
        assert (depth == 0) == (parent_comment_id is None) == (thread_root_id == comment_id)
        assert (depth == 1) == (parent_comment_id == thread_root_id)
