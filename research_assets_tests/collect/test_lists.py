"""Comments, profiles and lists: every available row is stored, every refusal recorded, no unit requested twice."""

from datetime import date, timedelta
from typing import Any

import pytest

from research_assets.clock import week_of
from research_assets.collect.lists.other_periods import PeriodNotCurrent
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.world.accounts import PANEL
from research_assets.settings import Settings
from research_assets.study.spec import CommentRule, StudySpec, UserRule
from research_assets_tests.collect.harness import START, CollectorHarness, TamperingTransport, days, ids_as_text, study

GARDEN = {
    "and": (
        {"operation": "IN", "field_name": "region_code", "field_values": ["DE", "AT"]},
        {"operation": "EQ", "field_name": "hashtag_name", "field_values": ["gardening"]},
    )
}
LISTS = ("followers", "following", "liked_videos", "reposted_videos", "pinned_videos")


def garden_config(**changes: Any) -> StudySpec:
    return study(query=GARDEN, panel=tuple(PANEL), **changes)


def this_week(harness: CollectorHarness) -> date:
    return week_of(harness.clock.now().date())


def expected_comments(harness: CollectorHarness, day: date) -> tuple[set[int], set[int]]:
    """Return the comment ids and the reply ids that the API returns for a day."""
    query = {group: list(conditions) for group, conditions in GARDEN.items()}
    hits = harness.app.ground_truth.videos(query, day, day)[day]
    top = {comment for video in hits.deliverable for comment in harness.app.ground_truth.comments(video)}
    return top, {reply for comment in top for reply in harness.app.ground_truth.replies(comment)}


@pytest.mark.parametrize(("profile", "text"), [("clean", False), ("typical", False), ("clean", True)])
async def test_comments_and_replies_equal_those_that_the_api_returns(
    settings: Settings, profile: str, text: bool
) -> None:
    harness = CollectorHarness(settings, SandboxConfig(profile=profile))
    transport = TamperingTransport(harness, lambda _, response: ids_as_text(response) if text else None)
    await harness.collect("videos", days(2), garden_config(), transport=transport)
    finished, pause = await harness.collect("comments", days(2), garden_config(), transport=transport)
    assert pause is None
    assert {f.state for f in finished.values()} == {"complete"}
    for day in days(2):
        top, replies = expected_comments(harness, day)
        rows = harness.sql(f"SELECT id, asked_comment_id IS NOT NULL FROM {{comments}} WHERE day = DATE '{day}'")
        assert {row[0] for row in rows if not row[1]} == top
        assert {row[0] for row in rows if row[1]} == replies
        assert len(rows) == len(top) + len(replies)
        assert finished[day].kept == len(rows)


async def test_settled_comments_and_videos_without_comments_cost_no_request(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    await harness.collect("videos", days(1), garden_config())
    without_comments = harness.sql("SELECT count(*) FROM {videos} WHERE comment_count = 0")[0][0]
    assert without_comments > 0
    await harness.collect("comments", days(1), garden_config())
    requested = harness.sql("SELECT count(*) FROM {coverage} WHERE unit_kind = 'video' AND requests > 0")[0][0]
    videos = harness.sql("SELECT count(*) FROM {videos}")[0][0]
    assert requested == videos - without_comments
    before = harness.requests_sent
    finished, _ = await harness.collect("comments", days(1), garden_config())
    assert harness.requests_sent == before
    assert finished[START].was_complete


async def test_comments_wait_for_their_videos(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    finished, _ = await harness.collect("comments", days(1), garden_config())
    assert finished[START].state == "not_asked"
    assert harness.requests_sent == 0


async def test_sample_stores_its_inclusion_probability_and_top_takes_the_most_commented(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    await harness.collect("videos", days(1), garden_config())
    sample = garden_config(comments=CommentRule("sample", fraction=0.25, seed=3, replies="none"))
    await harness.collect("comments", days(1), sample)
    videos = harness.sql("SELECT count(*) FROM {videos}")[0][0]
    units = harness.sql("SELECT unit, inclusion_probability FROM {coverage} WHERE entity = 'comments'")
    assert {row[1] for row in units} == {0.25}
    assert 0.1 * videos < len(units) < 0.4 * videos
    top = garden_config(comments=CommentRule("top", n=3, replies="none"))
    await harness.collect("comments", days(1), top)
    ranked = harness.sql("SELECT id::VARCHAR, comment_count FROM {videos} ORDER BY 2 DESC, id DESC LIMIT 3")
    collected = harness.sql(
        "SELECT selection_rank, unit, inclusion_probability, selected_at = (SELECT max(observed_at) FROM {videos}) "
        "FROM {coverage} WHERE entity = 'comments' AND selection = 'top' ORDER BY 1"
    )
    # Videos of the sample are settled already.
    sampled = {unit for unit, _ in units}
    expected = [(rank, video, None, True) for rank, (video, _) in enumerate(ranked, 1) if video not in sampled]
    assert expected
    assert collected == expected


async def test_lists_of_the_panel_equal_those_of_the_accounts(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig(profile="typical"))
    week = this_week(harness)
    for entity in LISTS:
        finished, _ = await harness.collect(entity, [week], garden_config())
        assert finished[week].state == "complete"
        for name in PANEL:
            expected = harness.app.ground_truth.user(name).get(entity)
            key = "username" if entity in ("followers", "following") else "id"
            stored = [row[0] for row in harness.sql(f"SELECT {key} FROM {{{entity}}} WHERE asked_username = '{name}'")]
            state = harness.sql(f"SELECT state FROM {{coverage}} WHERE entity = '{entity}' AND unit = '{name}'")[0][0]
            if expected is None:
                assert state in ("refused", "missing"), (entity, name)
                assert stored == []
            else:
                assert state == "complete", (entity, name)
                assert len(stored) == len(set(stored))
                assert set(stored) <= set(expected)
                assert len(stored) == min(len(expected), len(stored) if name == "sandbox_star" else len(expected))


async def test_profiles_cover_authors_and_panel_with_refusals(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig(profile="typical"))
    await harness.collect("videos", days(1), garden_config())
    week = this_week(harness)
    finished, _ = await harness.collect("users", [week], garden_config())
    authors = {row[0] for row in harness.sql("SELECT DISTINCT username FROM {videos}")} | set(PANEL)
    states = dict(harness.sql("SELECT unit, state FROM {coverage} WHERE entity = 'users'"))
    assert set(states) == authors
    assert states["sandbox_missing"] == "missing"
    assert states["sandbox_private"] == "refused"
    stored = {row[0] for row in harness.sql("SELECT asked_username FROM {users}")}
    assert stored == {name for name, state in states.items() if state == "complete"}
    assert finished[week].units["complete"] == len(stored)


async def test_account_is_requested_once_per_period_for_all_studies(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    week = this_week(harness)
    await harness.collect("users", [week], garden_config(name="one", users=UserRule("panel")))
    before = harness.requests_sent
    await harness.collect("users", [week], garden_config(name="two", users=UserRule("panel")))
    assert harness.requests_sent == before
    counts = harness.sql("SELECT study, count(*) FROM {users} GROUP BY 1 ORDER BY 1")
    assert counts[0][1] == counts[1][1] > 0
    states = harness.sql("SELECT unit, count(DISTINCT state) FROM {coverage} WHERE entity = 'users' GROUP BY 1")
    assert {row[1] for row in states} == {1}


async def test_a_refusal_is_not_repeated_next_period(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    spec = garden_config(users=UserRule("panel"))
    await harness.collect("users", [this_week(harness)], spec)
    harness.clock.advance(days=7)
    before = harness.requests_sent
    finished, _ = await harness.collect("users", [this_week(harness)], spec)
    assert harness.requests_sent - before == len(PANEL) - 2
    assert finished[this_week(harness)].units["missing"] == 1


async def test_profile_of_a_study_with_longer_periods_is_copied_on_its_day(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    weekly = garden_config(name="weekly", users=UserRule("panel"))
    daily = garden_config(name="daily", users=UserRule("panel"), observe="daily")
    harness.clock.advance(days=2)
    await harness.collect("users", [this_week(harness)], weekly)
    sent = [harness.requests_sent]
    for _ in range(2):
        today = harness.clock.now().date()
        finished, _ = await harness.collect("users", [today], daily)
        assert finished[today].state == "complete"
        sent.append(harness.requests_sent)
        harness.clock.advance(days=1)
    # The accounts that are missing or refused are not requested on either day.
    assert (sent[1] - sent[0], sent[2] - sent[1]) == (0, len(PANEL) - 2)
    rows = harness.sql("SELECT day, count(*) FROM {users} WHERE study = 'daily' GROUP BY day ORDER BY day")
    assert rows[0][1] == rows[1][1] > 0


async def test_comments_that_another_study_has_just_collected_are_copied(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    sent = []
    for name in ("one", "two", "late"):
        spec = garden_config(name=name)
        if name == "late":
            harness.clock.advance(days=2, minutes=1)
        await harness.collect("videos", days(1), spec)
        before = harness.requests_sent
        for _ in range(2):
            finished, _ = await harness.collect("comments", days(1), spec)
            assert finished[START].state == "complete"
        sent.append(harness.requests_sent - before)
    assert (sent[1], sent[2]) == (0, sent[0])
    rows = harness.sql("SELECT study, id, asked_comment_id FROM {comments}")
    stored = {name: {row[1:] for row in rows if row[0] == name} for name in ("one", "two", "late")}
    assert stored["one"] == stored["two"] == stored["late"]
    assert any(comment for _, comment in stored["one"])
    reasons = harness.sql(
        "SELECT DISTINCT left(reason, 26), requests FROM {coverage} WHERE study = 'two' AND kept > 0 "
        "AND entity = 'comments'"
    )
    assert reasons == [("Copied from the study one.", 0)]


async def test_account_that_is_not_found_is_not_requested_for_other_entities(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    spec = study(users=UserRule("panel"), panel=("sandbox_missing", "sandbox_private"))
    sent = []
    for entity in ("users", "followers", "pinned_videos"):
        before = harness.requests_sent
        await harness.collect(entity, [this_week(harness)], spec)
        sent.append(harness.requests_sent - before)
    # A refused profile does not show that the lists are refused.
    assert sent == [2, 1, 1]
    states = harness.sql("SELECT state, reason FROM {coverage} WHERE unit = 'sandbox_missing' AND entity <> 'users'")
    assert {state for state, _ in states} == {"missing"}
    assert all("This is known from users." in reason for _, reason in states)


async def test_past_period_raises_without_a_request(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    with pytest.raises(PeriodNotCurrent, match="returns only current values of followers"):
        await harness.collect("followers", [this_week(harness) - timedelta(days=7)], garden_config())
    assert harness.requests_sent == 0


async def test_range_with_past_periods_collects_the_current_one_and_returns_the_stored_ones(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    spec = garden_config(users=UserRule("panel"))
    first = this_week(harness)
    stored, _ = await harness.collect("users", [first], spec)
    harness.clock.advance(days=14)
    never, running = first + timedelta(days=7), this_week(harness)
    before = harness.requests_sent
    finished, pause = await harness.collect("users", [first, never, running], spec)
    assert pause is None
    assert {week: result.state for week, result in finished.items()} == {
        first: "complete",
        never: "not_asked",
        running: "complete",
    }
    assert finished[first].kept == stored[first].kept > 0
    assert "over and was not observed" in str(finished[never].reason)
    assert harness.requests_sent > before
    before = harness.requests_sent
    only_past, _ = await harness.collect("users", [first, never], spec)
    assert only_past[first].state == "complete"
    assert harness.requests_sent == before


async def test_past_period_without_all_accounts_is_not_complete(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig(research_cap=2))
    spec = garden_config(users=UserRule("panel"))
    first = this_week(harness)
    _, pause = await harness.collect("users", [first], spec)
    assert pause is not None
    harness.clock.advance(days=7)
    finished, _ = await harness.collect("users", [first], spec)
    assert finished[first].state != "complete"
    assert f"of {len(PANEL)} accounts were not collected and no longer can be" in str(finished[first].reason)


async def test_paused_comments_resume_with_the_open_units(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig(research_cap=30))
    await harness.collect("videos", days(1), garden_config())
    finished, pause = await harness.collect("comments", days(1), garden_config())
    while pause is not None:
        assert pause.remaining == (START,)
        assert finished == {}
        n_open = harness.sql("SELECT count(*) FROM {coverage} WHERE state IN ('not_asked', 'partial')")[0][0]
        assert n_open > 0
        harness.clock.moment = pause.retry_at
        finished, pause = await harness.collect("comments", days(1), garden_config())
    assert finished[START].state == "complete"
    top, _ = expected_comments(harness, START)
    ids = [row[0] for row in harness.sql("SELECT id FROM {comments}")]
    assert len(ids) == len(set(ids))
    assert set(ids) >= top


async def test_follow_list_states_its_missing_rows(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    week, spec = this_week(harness), garden_config(users=UserRule("panel"))
    await harness.collect("users", [week], spec)
    await harness.collect("followers", [week], spec)
    kept, expected, reason = harness.sql(
        "SELECT kept, expected, reason FROM {coverage} WHERE entity = 'followers' AND unit = 'sandbox_star'"
    )[0]
    assert kept < expected
    assert reason == f"{expected - kept} of {expected} were not returned."


async def test_follow_lists_out_of_scope_stop_the_run_with_the_reason(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig(follow_scope=False))
    with pytest.raises(Exception, match="scope"):
        await harness.collect("followers", [this_week(harness)], garden_config())
