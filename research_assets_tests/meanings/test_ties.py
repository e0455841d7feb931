"""Ties of lists that are longer than the API's reach: listed, no longer listed, or beyond reach."""

from datetime import timedelta

from research_assets_tests.meanings.moving_world import FIRST_OBSERVATION, STAR, WEEKS, MovingWorld

LAST = FIRST_OBSERVATION + timedelta(weeks=WEEKS - 1)


def ties(world: MovingWorld) -> dict[str, tuple[bool | None, bool]]:
    """Return `is_current` and `is_left_censored` of each collected follower of the long list."""
    rows = world.rows(
        "select source_username, is_current, is_left_censored from marts.follows "
        f"where target_username = '{STAR}' and is_in_followers"
    )
    return {name: (is_current, is_left_censored) for name, is_current, is_left_censored in rows}


def test_followers_beyond_the_reach_of_the_api_are_unknown(world: MovingWorld) -> None:
    found, now = ties(world), LAST + timedelta(minutes=5)
    still, listed = set(world.followers(STAR, now)), set(world.harness.app.ground_truth.user(STAR)["followers"])
    beyond = {name for name in found if name in still and name not in listed and not world.is_gone(name)}
    assert len(beyond) > 100
    assert {found[name][0] for name in beyond} == {None}
    assert {found[name][0] for name in found if name in listed} == {True}


def test_follower_that_left_is_no_longer_listed(world: MovingWorld) -> None:
    found = ties(world)
    # A list names accounts by their handles only, so a renamed one is no longer listed under the former.
    renamed = {name for name in world.harness.app.world.renamed if name in found}
    assert {name for name, (is_current, _) in found.items() if is_current is False} == world.gone | renamed
    missed = world.rows(
        "select missed_at, last_seen_at from marts.follows where is_current = false and is_in_followers"
    )
    weeks = {(missed_at.date() - seen_at.date()).days for missed_at, seen_at in missed}
    assert weeks == {7}


def test_start_of_a_tie_is_known_if_an_earlier_list_did_not_contain_it(world: MovingWorld) -> None:
    found = ties(world)
    before = set(world.followers(STAR, FIRST_OBSERVATION))
    assert {name: is_left_censored for name, (_, is_left_censored) in found.items()} == {
        name: name in before for name in found
    }
    assert sum(name not in before for name in found) > 100


def test_engagements_behind_the_end_of_a_list_are_unknown(world: MovingWorld) -> None:
    truth = world.harness.app.ground_truth
    rows = world.rows(
        "select username, kind, video_id, is_current, is_left_censored, first_seen_at from marts.engagements"
    )
    states = set()
    for username, kind, video_id, is_current, is_left_censored, first_seen_at in rows:
        listed = truth.user(username)[
            {"like": "liked_videos", "repost": "reposted_videos", "pin": "pinned_videos"}[kind]
        ]
        assert (is_current is True) == (video_id in listed)
        assert is_left_censored or first_seen_at > FIRST_OBSERVATION + timedelta(days=6)
        # The sandbox lists the likes and reposts of thirteen weeks. What is older is not withdrawn.
        video = world.harness.app.world.video(video_id)
        assert video is not None
        gone = video_id in world.withdrawn or not world.harness.app.world.delivers(video, LAST.timestamp())
        if is_current is not True and kind != "pin" and not gone:
            assert is_current is None
        states.add((kind, is_current))
    assert states >= {("like", True), ("like", None), ("repost", True), ("repost", None), ("pin", True), ("pin", False)}
