"""Verification on a sandbox, from due ids to removed ones, with restarts and wrong answers."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from research_assets.compliance.forget import remove_folder, remove_items
from research_assets.compliance.verification import step as steps
from research_assets.compliance.verification.step import VerificationError, give_word
from research_assets.compliance.verification.tasks import TaskJournal
from research_assets.compliance.verification.verified import verified_path
from research_assets.settings import Settings
from research_assets.storage.locks import lock_partitions
from research_assets.storage.withdrawals import read_withdrawals
from research_assets_tests.collect.harness import days, error_response
from research_assets_tests.compliance.data_folder import find
from research_assets_tests.compliance.verification.harness import VerificationHarness, download


@pytest.fixture
def data(settings: Settings) -> VerificationHarness:
    harness = VerificationHarness(settings)
    harness.collect()
    return harness


def test_missing_ids_are_withdrawn_and_removed(data: VerificationHarness) -> None:
    data.collect("comments")
    videos = data.collector.ids()
    ((comment,),) = data.collector.sql(f"SELECT min(id) FROM {{comments}} WHERE video_id = {videos[7]}")
    assert not data.step().n_planned
    data.withdraw(videos[5], comment)
    data.wait(days=14)
    reports = data.run_until_quiet()
    # Of the comments, two are missing because they go with the video.
    assert [(task.kind, task.n_sent, task.n_withdrawn) for task in data.tasks] == [("video", 30, 1), ("comment", 60, 3)]
    assert sum(report.n_withdrawn for report in reports) == 2
    assert {(one.id, one.found_by) for one in read_withdrawals(data.settings.state)} == {
        (videos[5], "compliance"),
        (comment, "compliance"),
    }
    assert find(data.settings.root, (str(videos[5]), str(comment))) == []
    assert sorted(data.collector.ids()) == sorted(set(videos) - {videos[5]})
    # Nothing else is due for almost an interval, and no file of ids stays behind.
    at = data.next_step()
    assert at is not None
    assert (at - data.collector.clock.now()).days >= 12
    data.step()
    assert not list((data.settings.state / "verification").glob("*.txt"))
    assert data.requests() == 2


def test_ids_are_sent_only_when_they_fall_due(data: VerificationHarness) -> None:
    data.step()
    data.wait(days=13, hours=23)
    assert data.step().n_planned == 0
    data.wait(hours=2)
    assert data.step().n_created == 1


def test_ids_collected_again_count_as_verified(data: VerificationHarness) -> None:
    data.wait(days=10)
    data.collect(recollect=True)
    data.wait(days=5)
    assert data.step().n_planned == 0
    assert data.requests() == 0


def test_missing_id_that_is_collected_after_the_task_was_created_is_kept(data: VerificationHarness) -> None:
    gone = str(data.collector.ids()[3]).encode()
    data.edit = download(lambda content: content.replace(gone + b"\n", b""))
    data.wait(days=15)
    data.step()
    data.wait(minutes=1)
    data.collect(recollect=True)
    data.run_until_quiet()
    (task,) = data.tasks
    assert (task.n_missing, task.n_withdrawn, task.is_done) == (1, 0, True)
    assert not data.withdrawn


class Killed(BaseException):
    """A kill at an event of the journal."""


@pytest.mark.parametrize("is_before", [True, False])
def test_kill_at_any_event_resumes_without_a_second_task(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, is_before: bool
) -> None:
    append = TaskJournal.append
    data = VerificationHarness(settings, n_videos=15)
    data.collect()
    counts: list[str] = []
    kill_at = [0]

    def killing(self: TaskJournal, event: str, *args: Any, **facts: Any) -> None:
        counts.append(event)
        if is_before and len(counts) == kill_at[0]:
            raise Killed
        append(self, event, *args, **facts)
        if len(counts) == kill_at[0]:
            raise Killed

    monkeypatch.setattr(TaskJournal, "append", killing)
    for number in range(1, 7):
        kill_at[0] = number
        counts.clear()
        gone = data.collector.ids()[0]
        data.withdraw(gone)
        data.wait(days=15)
        before = data.requests()
        with pytest.raises(Killed):
            data.run_until_quiet()
        killed_at = counts[-1]
        data.run_until_quiet()
        assert gone in data.withdrawn, killed_at
        assert gone not in data.collector.ids()
        assert data.tasks[-1].is_done
        # A kill between the request and its event is the only one that repeats a request.
        assert data.requests() - before == (2 if is_before and killed_at == "created" else 1)
    assert [task.n_withdrawn for task in data.tasks] == [1] * 6
    assert counts[:6] == ["planned", "created", "status", "downloaded", "concluded", "done"]


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "short": lambda content: b"".join(content.splitlines(keepends=True)[:15]),
    "unreadable": lambda _: b"<html>7503867840092128259</html>",
    "foreign": lambda content: content + b"7503867840092128259\n",
    "share": lambda content: b"".join(
        line for at, line in enumerate(content.splitlines(keepends=True)) if at % 6 or at > 24
    ),
}


@pytest.mark.parametrize("reason", CHANGES)
def test_wrong_answer_withdraws_nothing_and_waits_for_a_word(data: VerificationHarness, reason: str) -> None:
    ids = data.collector.ids()
    data.edit = download(CHANGES[reason])
    data.wait(days=15)
    reports = data.run_until_quiet()
    assert [task.reason for task in reports[-1].waiting] == [reason]
    assert not data.withdrawn
    assert data.collector.ids() == ids
    # No further task is planned until a person decides.
    data.wait(days=30)
    assert data.step().n_planned == 0
    (task,) = data.tasks
    if reason in ("unreadable", "foreign"):
        with pytest.raises(VerificationError, match="cannot be confirmed"):
            give_word(data.settings, task.name, "confirmed", data.collector.clock.now())
    data.edit = None
    give_word(data.settings, task.name, "rejected", data.collector.clock.now())
    data.run_until_quiet()
    assert [(one.word, one.is_done) for one in data.tasks] == [("rejected", False), ("", True)]
    assert data.collector.ids() == ids
    assert not data.withdrawn


def test_confirmed_answer_is_carried_out(data: VerificationHarness) -> None:
    gone = set(data.collector.ids()[:4])
    data.withdraw(*gone)
    data.wait(days=15)
    (task,) = data.run_until_quiet()[-1].waiting
    assert (task.reason, task.n_missing) == ("share", 4)
    assert not data.withdrawn
    give_word(data.settings, task.name, "confirmed", data.collector.clock.now())
    assert data.step().n_withdrawn == 4
    assert data.withdrawn == gone
    assert not gone & set(data.collector.ids())
    with pytest.raises(VerificationError, match="no open task"):
        give_word(data.settings, task.name, "confirmed", data.collector.clock.now())


def test_removal_waits_for_a_collecting_run(data: VerificationHarness) -> None:
    data.withdraw(data.collector.ids()[0])
    data.wait(days=15)
    data.step()
    data.wait(minutes=5)
    with lock_partitions(data.settings.state, "garden", "videos", days(1)):
        report = data.step()
        assert "in progress" in report.pause
    assert not data.withdrawn
    assert [task.phase for task in data.tasks] == ["apply"]
    assert (data.next_step() - data.collector.clock.now()).total_seconds() == 15 * 60
    sent = data.collector.requests_sent
    data.run_until_quiet()
    assert len(data.withdrawn) == 1
    assert data.collector.requests_sent == sent


def test_unreachable_api_is_a_pause_and_delays_no_removal(data: VerificationHarness) -> None:
    def unreachable(request: httpx.Request, _: httpx.Response) -> httpx.Response | None:
        raise httpx.ConnectError("no route", request=request)

    data.edit = unreachable
    data.wait(days=15)
    assert "No response" in data.step().pause
    assert data.tasks[0].phase == "create"
    data.edit = None
    data.run_until_quiet()
    assert data.tasks[0].is_done


def test_share_is_a_setting(data: VerificationHarness) -> None:
    data.settings = replace(data.settings, verify_max_share=20.0)
    data.withdraw(*data.collector.ids()[:4])
    data.wait(days=15)
    assert sum(report.n_withdrawn for report in data.run_until_quiet()) == 4


def test_slow_task_is_polled_rarely_and_changes_nothing(data: VerificationHarness) -> None:
    def slow(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if "validation_task_status" not in request.url.path:
            return None
        body = {"data": {"task_status": "Processing"}, "error": {"code": "ok"}}
        return httpx.Response(200, json=body, headers={"date": response.headers["date"]})

    data.edit = slow
    data.withdraw(data.collector.ids()[0])
    data.wait(days=15)
    data.run_until_quiet()
    assert data.tasks[0].phase == "poll"
    assert not data.withdrawn
    assert data.requests("validation_task_status/get") <= 20
    data.edit = None
    data.wait(days=3)
    data.run_until_quiet()
    assert len(data.withdrawn) == 1
    assert data.requests() == 1


@pytest.mark.parametrize("endpoint", ["create", "status", "download"])
def test_outage_is_a_pause(data: VerificationHarness, endpoint: str) -> None:
    def fail(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        return error_response(response, 500, "internal_error", "x") if endpoint in request.url.path else None

    data.edit = fail
    data.withdraw(data.collector.ids()[0])
    data.wait(days=15)
    reports = [data.step()]
    while not reports[-1].pause:
        data.wait(hours=1)
        reports.append(data.step())
    assert "internal_error" in reports[-1].pause
    sent = data.collector.requests_sent
    assert data.step().pause
    assert data.collector.requests_sent == sent
    assert not data.withdrawn
    data.edit = None
    data.run_until_quiet()
    assert len(data.withdrawn) == 1


def test_failed_and_refused_tasks_wait_for_a_word(data: VerificationHarness) -> None:
    def failed(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if "validation_task_status" not in request.url.path:
            return None
        body = {"data": {"task_status": "Failed"}, "error": {"code": "ok"}}
        return httpx.Response(200, json=body, headers={"date": response.headers["date"]})

    data.edit = failed
    data.wait(days=15)
    (task,) = data.run_until_quiet()[-1].waiting
    assert task.reason == "failed"
    give_word(data.settings, task.name, "rejected", data.collector.clock.now())
    data.edit = lambda request, response: (
        error_response(response, 400, "invalid_params", "no such task") if "download" in request.url.path else None
    )
    (task,) = data.run_until_quiet()[-1].waiting
    assert task.reason == "refused"
    assert not data.withdrawn


def test_spent_quota_is_a_pause_and_loses_nothing(settings: Settings) -> None:
    data = VerificationHarness(replace(settings, research_cap=2))
    data.collect()
    data.wait(days=15)
    reports = data.run_until_quiet()
    assert any("Pool research" in report.pause for report in reports)
    assert data.tasks[0].is_done
    assert data.requests() == 1


def test_removal_reaches_the_files_of_verification(data: VerificationHarness) -> None:
    gone, other = data.collector.ids()[:2]
    data.wait(days=15)
    data.run_until_quiet()
    data.wait(days=15)
    data.step()
    folder = data.settings.state / "verification"
    assert str(gone) in "".join(path.read_text() for path in folder.glob("*.txt"))
    journal = (folder / "tasks.jsonl").read_bytes()
    remove_items(data.settings, data.collector.clock.now, videos=[gone])
    assert str(gone) not in "".join(path.read_text() for path in folder.glob("*.txt"))
    assert stored_as_verified(data) == set(data.collector.ids())
    assert (folder / "tasks.jsonl").read_bytes() == journal
    # The API returns the id, which is neither sent nor foreign now.
    data.run_until_quiet()
    assert [(task.is_done, task.n_withdrawn) for task in data.tasks] == [(True, 0), (True, 0)]
    assert stored_as_verified(data) == set(data.collector.ids()) >= {other}


def test_removal_of_a_study_reaches_the_verified_ids(data: VerificationHarness) -> None:
    data.wait(days=15)
    data.run_until_quiet()
    assert stored_as_verified(data)
    remove_folder(data.settings, data.collector.clock.now, "garden")
    assert stored_as_verified(data) == set()


def stored_as_verified(data: VerificationHarness) -> set[int]:
    path = verified_path(data.settings, "video")
    return {one for (one,) in data.collector.sql(f"SELECT id FROM read_parquet('{path}')")}


def test_only_one_step_runs_at_once(data: VerificationHarness) -> None:
    with steps._step_lock(data.settings) as is_free:
        assert is_free
        assert data.step().is_busy
