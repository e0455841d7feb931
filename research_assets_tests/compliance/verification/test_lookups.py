"""Verification by look-ups of videos on a sandbox: two days, controls, restarts, quota, and a refused endpoint."""

import asyncio
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest

from research_assets.collect.types import RequestBudget
from research_assets.compliance.forget import remove_folder, remove_items
from research_assets.compliance.verification import lookups
from research_assets.compliance.verification.answers import append_answers
from research_assets.compliance.verification.held import count_held
from research_assets.compliance.verification.planning import verify_first
from research_assets.compliance.verification.step import give_word
from research_assets.compliance.verification.tasks import BATCH_RETRY, TaskJournal
from research_assets.settings import Settings
from research_assets.storage.captures import list_open_journals
from research_assets.storage.withdrawals import read_withdrawals
from research_assets_tests.collect.harness import Edit, change_data, error_response, study
from research_assets_tests.compliance.data_folder import find
from research_assets_tests.compliance.verification.harness import VerificationHarness

GARDEN = frozenset({"garden"})


@pytest.fixture
def data(settings: Settings) -> VerificationHarness:
    harness = VerificationHarness(settings, studies=GARDEN)
    harness.collect()
    return harness


def searches(data: VerificationHarness) -> int:
    return data.requests("video/query")


def without(*ids: int) -> Edit:
    """Return a change of the searches by id that leaves out some videos, all of them if none is given."""

    def edit(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if "video/query" not in request.url.path or b'"video_id"' not in request.content:
            return None
        videos = orjson.loads(response.content)["data"].get("videos", [])
        return change_data(response, videos=[one for one in videos if ids and one["id"] not in ids], has_more=False)

    return edit


def test_missing_video_is_withdrawn_after_answers_of_two_days(data: VerificationHarness) -> None:
    gone, before = data.collector.ids()[5], searches(data)
    data.withdraw(gone)
    data.wait(days=14)
    report = data.step()
    assert (report.n_due, report.n_planned) == (30, 1)
    assert searches(data) - before == 1
    assert [(task.phase, task.n_open) for task in data.tasks] == [("look up", 1)]
    assert not data.withdrawn
    # Videos that were returned are verified at once.
    now = data.collector.clock.now()
    assert count_held(data.settings, "video", now - timedelta(days=1), now).n_due == 1
    # No second request on the same day, whatever a person does.
    data.step(poll_now=True)
    assert searches(data) - before == 1
    at = data.next_step()
    assert at is not None
    assert (at.date() - now.date()).days == 1
    assert at.time() == datetime.min.time()
    data.run_until_quiet(1.5)
    assert searches(data) - before == 2
    assert [(one.id, one.found_by) for one in read_withdrawals(data.settings.state)] == [(gone, "lookup")]
    assert find(data.settings.root, (str(gone),)) == []
    assert data.requests() == 0
    assert not list((data.settings.state / "verification").glob("*.txt"))


def test_requests_ask_for_the_id_alone(data: VerificationHarness) -> None:
    sent: list[httpx.Request] = []

    def edit(request: httpx.Request, _: httpx.Response) -> None:
        sent.append(request)

    data.edit = edit
    data.wait(days=14)
    data.step()
    (request,) = sent
    assert request.url.params["fields"] == "id"
    body = orjson.loads(request.content)
    assert len(body["query"]["and"][0]["field_values"]) == 30


def test_video_that_a_later_answer_contains_is_kept(data: VerificationHarness) -> None:
    one = data.collector.ids()[3]
    data.edit = without(one)
    data.wait(days=14)
    data.step()
    data.edit = None
    data.run_until_quiet(1.5)
    assert [(task.is_done, task.n_valid, task.n_withdrawn) for task in data.tasks] == [(True, 30, 0)]
    assert not data.withdrawn


def test_video_beside_an_element_without_an_id_is_kept(data: VerificationHarness) -> None:
    one = data.collector.ids()[3]

    def edit(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if "video/query" not in request.url.path:
            return None
        videos = orjson.loads(response.content)["data"]["videos"]
        return change_data(response, videos=[{} if video["id"] == one else video for video in videos])

    data.edit = edit
    data.wait(days=14)
    data.run_until_quiet(1.5)
    assert [(task.is_done, task.n_valid, task.n_open) for task in data.tasks] == [(False, 0, 1)]
    assert not data.withdrawn


def test_answers_without_their_controls_prove_nothing_and_wait_for_a_word(data: VerificationHarness) -> None:
    ids, start, before = data.collector.ids(), data.collector.clock.now() + timedelta(days=14), searches(data)
    data.withdraw(ids[0])
    data.edit = without()
    data.wait(days=14)
    reports = data.run_until_quiet(12)
    (task,) = reports[-1].waiting
    assert (task.reason, task.n_missing) == ("unproven", 30)
    assert [(day - start.date()).days for day in task.rounds] == [0, 1, 2, 4, 8]
    # An empty answer is repeated at once, and so is that of the request that only has controls, if there are any.
    assert 10 <= searches(data) - before <= 20
    assert not data.withdrawn
    data.edit = None
    give_word(data.settings, task.name, "rejected", data.collector.clock.now())
    data.run_until_quiet()
    assert data.withdrawn == {ids[0]}


def test_request_whose_controls_are_missing_is_proven_by_another_of_the_day(settings: Settings) -> None:
    data = VerificationHarness(settings, studies=GARDEN, n_videos=10)
    data.collect()
    day = data.collector.ids()
    data.wait(days=10)
    data.collect("videos", 60)
    others = sorted(set(data.collector.ids()) - set(day))
    # The videos of the first day are due; nothing of the same 31 days was seen later.
    remove_items(data.settings, data.collector.clock.now, videos=[one for one in others if one < others[400]])
    data.withdraw(*day)
    data.settings = replace(data.settings, verify_max_share=50.0)
    data.wait(days=4)
    before = searches(data)
    data.run_until_quiet(1.5)
    assert data.withdrawn >= set(day)
    # Each day one request for the videos, repeated because it is empty, and one for controls.
    assert searches(data) - before == 6


class Killed(BaseException):
    """A kill at an event of the journal, or at an answer."""


@pytest.mark.parametrize("is_before", [True, False])
def test_kill_at_any_event_resumes(settings: Settings, monkeypatch: pytest.MonkeyPatch, is_before: bool) -> None:
    data = VerificationHarness(settings, n_videos=20, studies=GARDEN)
    data.collect()
    events: list[str] = []
    kill_at = [0]

    def killing(name: str, call: Any) -> Any:
        def append(*args: Any, **facts: Any) -> None:
            events.append(args[1] if name == "event" else name)
            if is_before and len(events) == kill_at[0]:
                raise Killed
            call(*args, **facts)
            if len(events) == kill_at[0]:
                raise Killed

        return append

    monkeypatch.setattr(TaskJournal, "append", killing("event", TaskJournal.append))
    monkeypatch.setattr(lookups, "append_answers", killing("answer", append_answers))
    for number in range(1, 8):
        kill_at[0] = number
        events.clear()
        gone = data.collector.ids()[0]
        data.withdraw(gone)
        data.wait(days=15)
        before = searches(data)
        with pytest.raises(Killed):
            data.run_until_quiet()
        killed_at = events[-1]
        data.run_until_quiet()
        assert gone in data.withdrawn, killed_at
        assert gone not in data.collector.ids()
        assert data.tasks[-1].is_done
        # A kill between the request and its answer is the only one that repeats a request.
        assert searches(data) - before == (3 if is_before and killed_at == "answer" else 2)
    assert [task.n_withdrawn for task in data.tasks] == [1] * 7
    assert events[:7] == ["planned", "answer", "looked_up", "answer", "looked_up", "concluded", "done"]


def test_videos_of_a_study_with_batch_go_by_batch(data: VerificationHarness) -> None:
    asyncio.run(data.collector.collect("videos", [date(2026, 2, 1)], study("kitchen")))
    asyncio.run(data.collector.collect("videos", [date(2026, 2, 2)], study("garden")))
    data.wait(days=15)
    data.run_until_quiet(1)
    # The file has 20 canaries besides the videos of both studies.
    assert [(task.method, task.n_sent, task.n_valid) for task in data.tasks] == [("batch", 50, 50), ("lookup", 30, 30)]


REFUSALS: dict[str, tuple[int, str]] = {
    "scope": (401, "scope_not_authorized"),
    "fields": (400, "scope_permission_missed"),
    "forbidden": (403, ""),
    "unknown path": (404, "unsupported_path"),
}


def refuse(status: int, code: str) -> Edit:
    """Return a change that refuses batch compliance."""

    def edit(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        return error_response(response, status, code, "x") if "validation_task" in request.url.path else None

    return edit


@pytest.mark.parametrize("refusal", REFUSALS)
def test_refused_endpoint_leads_to_lookups(settings: Settings, refusal: str) -> None:
    data = VerificationHarness(settings)
    data.collect()
    data.collect("comments")
    gone = data.collector.ids()[2]
    data.withdraw(gone)
    data.edit = refuse(*REFUSALS[refusal])
    data.wait(days=14)
    reports = data.run_until_quiet(1.5)
    assert [(task.kind, task.method, task.phase) for task in data.tasks] == [
        ("video", "batch", "done"),
        ("comment", "batch", "done"),
        ("video", "lookup", "done"),
    ]
    # The second file is not sent, because the API would refuse it as well.
    assert data.requests() == 1
    assert data.withdrawn == {gone}
    assert not any(report.pause for report in reports)
    # The comments are verified once the API accepts files again.
    now = data.collector.clock.now()
    journal = TaskJournal(data.settings)
    assert journal.refused_at is not None
    assert journal.batch_retry_at(now) == journal.refused_at + BATCH_RETRY
    data.edit = None
    data.wait(days=7)
    data.run_until_quiet(0.5)
    assert [(task.kind, task.method, task.n_valid) for task in data.tasks[3:]] == [("comment", "batch", 58)]
    assert TaskJournal(data.settings).refused_at is None


@pytest.mark.parametrize("status", [500, 503, 302])
def test_outage_of_the_endpoint_leads_to_no_lookups(settings: Settings, status: int) -> None:
    data = VerificationHarness(settings)
    data.collect()
    data.edit = refuse(status, "")
    data.wait(days=14)
    before = searches(data)
    if status == 302:
        with pytest.raises(Exception, match="302"):
            data.step()
    else:
        assert data.step().pause
    assert searches(data) == before
    assert TaskJournal(data.settings).refused_at is None


def test_access_that_ends_after_the_creation_leads_to_lookups(settings: Settings) -> None:
    data = VerificationHarness(settings)
    data.collect()
    data.wait(days=14)
    data.step()
    assert data.tasks[0].phase == "poll"
    data.edit = refuse(401, "scope_not_authorized")
    data.run_until_quiet(1)
    assert [(task.method, task.is_done, task.n_valid) for task in data.tasks] == [
        ("batch", True, 0),
        ("lookup", True, 30),
    ]


def test_unknown_task_waits_for_a_word_and_its_endpoint_stays_in_use(settings: Settings) -> None:
    data = VerificationHarness(settings)
    data.collect()
    data.wait(days=14)
    data.step()
    data.edit = refuse(404, "")
    (task,) = data.run_until_quiet(1)[-1].waiting
    assert task.reason == "refused"
    assert TaskJournal(data.settings).refused_at is None
    data.edit = None
    give_word(data.settings, task.name, "rejected", data.collector.clock.now())
    data.run_until_quiet(1)
    assert [(one.method, one.n_valid) for one in data.tasks] == [("batch", 0), ("batch", 30)]


def test_share_counts_what_lookups_withdrew_in_the_interval(data: VerificationHarness) -> None:
    ids = data.collector.ids()
    data.withdraw(*ids[:3])
    data.wait(days=14)
    data.run_until_quiet()
    assert data.withdrawn == set(ids[:3])
    data.withdraw(*ids[3:5])
    data.wait(days=12)
    (task,) = data.run_until_quiet()[-1].waiting
    assert (task.reason, task.n_missing) == ("share", 2)
    data.wait(days=30)
    assert data.step().n_planned == 0
    give_word(data.settings, task.name, "confirmed", data.collector.clock.now())
    assert data.step().n_withdrawn == 2
    assert data.withdrawn == set(ids[:5])


def test_lookups_use_their_share_of_the_quota(settings: Settings) -> None:
    data = VerificationHarness(
        replace(settings, research_cap=40, verify_lookup_share=10.0), studies=GARDEN, n_videos=600
    )
    data.collect()
    data.collector.clock.advance(days=14)
    before = searches(data)
    reports = [data.step()]
    # 600 videos need 6 requests, of which 4 are allowed on a day.
    assert searches(data) - before == 4
    assert not reports[0].pause
    start = data.collector.clock.now()
    at = data.next_step()
    assert at is not None
    assert at.date() == start.date() + timedelta(days=1)
    data.run_until_quiet()
    assert searches(data) - before == 6
    now = data.collector.clock.now()
    assert count_held(data.settings, "video", now - timedelta(days=14), now - timedelta(days=15)).n_due == 0


def test_used_share_delays_lookups_and_no_file(settings: Settings) -> None:
    limited = replace(settings, research_cap=100, verify_lookup_share=2.0)
    data = VerificationHarness(limited, studies=GARDEN, n_videos=20)
    for day in (date(2026, 1, 1), date(2026, 2, 10), date(2026, 3, 20)):
        asyncio.run(data.collector.collect("videos", [day], study("garden")))
    asyncio.run(data.collector.collect("videos", [date(2026, 5, 10)], study("kitchen")))
    data.wait(days=14)
    before = searches(data)
    report = data.step()
    # The videos of three windows need a request each, and look-ups may use two on a day.
    assert (report.n_created, searches(data) - before, report.pause) == (1, 2, "")
    assert [task.phase for task in data.tasks] == ["poll", "look up"]
    at, now = data.next_step(), data.collector.clock.now()
    assert at is not None
    assert at.date() == now.date()
    data.run_until_quiet(0.5)
    assert [(task.method, task.phase) for task in data.tasks] == [("batch", "done"), ("lookup", "look up")]
    assert searches(data) - before == 2
    at = data.next_step()
    assert at is not None
    assert at.date() == now.date() + timedelta(days=1)
    data.run_until_quiet(1)
    assert searches(data) - before == 3
    assert all(task.is_done for task in data.tasks)


def test_spent_quota_is_a_pause(settings: Settings) -> None:
    data = VerificationHarness(replace(settings, research_cap=5), studies=GARDEN)
    data.collect()
    data.wait(days=14)
    for number in range(5):
        data.collector.ledger.reserve("research", study="x", entity="x", unit=str(number), endpoint="x")
    before = searches(data)
    report = data.step()
    assert "Pool research" in report.pause
    assert searches(data) == before
    data.run_until_quiet()
    assert data.tasks[0].is_done


def test_day_that_fails_leaves_other_videos_verified(settings: Settings) -> None:
    data = VerificationHarness(settings, studies=GARDEN, n_videos=40)
    data.collect(number=3)
    object.__setattr__(data.collector.config, "dead_days", frozenset({date(2026, 2, 2)}))
    data.wait(days=14)
    data.step()
    (task,) = data.tasks
    assert (task.phase, task.n_open) == ("look up", 40)
    now = data.collector.clock.now()
    assert count_held(data.settings, "video", now - timedelta(days=1), now).n_due == 40
    assert not data.withdrawn


def test_removal_reaches_the_files_of_lookups(data: VerificationHarness) -> None:
    missing, other = data.collector.ids()[:2]
    data.edit = without(missing)
    data.wait(days=14)
    data.step()
    folder = data.settings.state / "verification"

    def texts() -> str:
        return "".join(path.read_text() for path in folder.glob("*.txt"))

    assert texts().count(str(missing)) == texts().count(str(other)) == 2
    remove_items(data.settings, data.collector.clock.now, videos=[missing, other])
    assert str(missing) not in texts()
    assert str(other) not in texts()
    data.run_until_quiet(1.5)
    assert data.tasks[0].is_done
    assert data.withdrawn == {missing, other}


@pytest.mark.parametrize("by", ["lookup", "batch"])
def test_removal_of_a_study_reaches_the_files_of_open_tasks(settings: Settings, by: str) -> None:
    data = VerificationHarness(settings, studies=GARDEN if by == "lookup" else frozenset())
    data.collect()
    ids = data.collector.ids()
    data.edit = without(ids[0])
    data.wait(days=14)
    data.step()
    folder = data.settings.state / "verification"
    assert str(ids[0]) in "".join(path.read_text() for path in folder.glob("*.txt"))
    verify_first(data.settings, ids)
    remove_folder(data.settings, data.collector.clock.now, "garden")
    assert find(data.settings.root, tuple(map(str, ids))) == []
    sent = data.collector.requests_sent
    data.run_until_quiet()
    assert all(task.is_done for task in data.tasks)
    assert not data.withdrawn
    assert data.collector.requests_sent == sent


def test_video_in_an_open_journal_counts_as_collected_again(settings: Settings) -> None:
    data = VerificationHarness(settings, studies=GARDEN, n_videos=150)
    data.collect()
    one = max(data.collector.ids())
    data.edit = without(one)
    data.wait(days=14)
    data.step()
    data.wait(minutes=5)
    # A paused collection: the first of two pages has the video, and the day is published later.
    data.collect(recollect=True, budget=RequestBudget(1))
    assert list_open_journals(data.settings.captures, "videos", "garden")
    data.run_until_quiet(1.5)
    (task, *_) = data.tasks
    assert task.is_done
    assert one not in data.withdrawn
