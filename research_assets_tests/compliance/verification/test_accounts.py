"""Verification of accounts by their profiles on a sandbox: two days, controls, renamed and private accounts, quota."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from research_assets.clock import week_of
from research_assets.compliance.forget import remove_items
from research_assets.compliance.verification import lookups
from research_assets.compliance.verification.accounts import held_accounts
from research_assets.compliance.verification.answers import append_answers
from research_assets.compliance.verification.held import count_held
from research_assets.compliance.verification.step import give_word
from research_assets.compliance.verification.tasks import Task, TaskJournal
from research_assets.settings import Settings
from research_assets.storage.withdrawals import hash_handle, load_or_create_key, read_withdrawals, read_withdrawn
from research_assets.study.loader import load_studies
from research_assets.tiktok.pseudonyms import is_pseudonym
from research_assets_tests.collect.harness import Edit, TamperingTransport, error_response, study
from research_assets_tests.compliance.data_folder import contents
from research_assets_tests.compliance.verification.harness import VerificationHarness
from research_assets_tests.study.study_files import write

AUTHORS = study()


def collect_profiles(data: VerificationHarness, **options: Any) -> None:
    """Collect the profiles of all authors in the week of the clock."""
    week = week_of(data.collector.clock.now().date())
    asyncio.run(data.collector.collect("users", [week], AUTHORS, **options))


@pytest.fixture
def data(settings: Settings) -> VerificationHarness:
    """20 videos of as many authors, whose profiles are stored."""
    harness = VerificationHarness(settings, n_videos=20)
    harness.collect()
    collect_profiles(harness)
    assert len(handles(harness)) == 20
    return harness


def handles(data: VerificationHarness) -> list[str]:
    return sorted(name for (name,) in data.collector.sql("SELECT DISTINCT asked_username FROM {users}"))


def profiles(data: VerificationHarness) -> int:
    return data.requests("user/info")


def tasks(data: VerificationHarness) -> list[Task]:
    return [task for task in data.tasks if task.kind == "account"]


def names(data: VerificationHarness, handle: str) -> set[str]:
    """Return the files that contain the display name of an account."""
    ((name,),) = data.collector.sql(f"SELECT DISTINCT display_name FROM {{users}} WHERE asked_username = '{handle}'")
    return {str(path) for path, content in contents(data.settings.root) if str(name).encode() in content}


def refuse(*refused: str, message: str = "API cannot return this user's information") -> Edit:
    """Return a change that refuses the profiles of some accounts, of all if none is given."""

    def edit(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if "user/info" not in request.url.path:
            return None
        if refused and orjson.loads(request.content)["username"] not in refused:
            return None
        return error_response(response, 400, "invalid_params", message)

    return edit


def test_missing_account_loses_its_profile_after_two_days_and_keeps_its_videos(data: VerificationHarness) -> None:
    gone, before = handles(data)[4], profiles(data)
    stored = data.collector.sql(f"SELECT id FROM {{videos}} WHERE username = '{gone}'")
    profile_files = names(data, gone)
    assert profile_files
    data.withdraw(users=[gone])
    data.wait(days=14)
    assert data.step().n_due >= 20
    assert profiles(data) - before == 20
    (task,) = tasks(data)
    assert (task.phase, task.n_open) == ("look up", 1)
    assert not data.withdrawn
    now = data.collector.clock.now()
    assert count_held(data.settings, "account", now - timedelta(days=1), now).n_due == 1
    data.run_until_quiet(1.5)
    assert profiles(data) - before == 22
    key = load_or_create_key(data.settings.state)
    assert [(one.kind, one.id, one.found_by) for one in read_withdrawals(data.settings.state)] == [
        ("account", hash_handle(key, gone), "lookup")
    ]
    # The name of another account may be the same, but its files are others.
    assert gone not in handles(data)
    assert not [
        path
        for path, content in contents(data.settings.root)
        if "/users/" in str(path) and gone.encode() in content and "coverage" not in str(path)
    ]
    # The account was renamed: its videos still exist. They were verified at once and stay.
    assert data.collector.sql(f"SELECT id FROM {{videos}} WHERE username = '{gone}'") == stored
    assert [task.n_valid for task in data.tasks if task.kind == "video"]
    assert gone.encode() not in (data.settings.state / "verification" / "tasks.jsonl").read_bytes()
    data.step()
    assert not list((data.settings.state / "verification").glob("*.txt"))


def test_videos_of_a_deleted_account_are_withdrawn_by_their_ids(settings: Settings) -> None:
    data = VerificationHarness(settings, n_videos=20)
    data.collect()
    data.wait(days=10)
    collect_profiles(data)
    data.collect(recollect=True)
    gone = handles(data)[0]
    ids = [one for (one,) in data.collector.sql(f"SELECT DISTINCT id FROM {{videos}} WHERE username = '{gone}'")]
    data.wait(days=6)
    # The video was seen again, so it falls due later than the profile.
    data.collect(recollect=True)
    data.withdraw(*ids, users=[gone])
    data.wait(days=8)
    data.run_until_quiet(2)
    assert {one.kind for one in read_withdrawals(data.settings.state)} == {"account", "video"}
    assert data.withdrawn >= set(ids)
    assert not [path for path, content in contents(settings.root) if gone.encode() in content]


def test_account_that_returns_is_collected_again(data: VerificationHarness) -> None:
    private = handles(data)[3]
    data.edit = refuse(private)
    data.wait(days=14)
    data.run_until_quiet(1.5)
    assert private not in handles(data)
    # It has not objected, so no request and no answer leaves it out.
    assert not read_withdrawn(data.settings.state).accounts
    data.edit = None
    collect_profiles(data, retry_now=True)
    assert private in handles(data)
    now = data.collector.clock.now()
    assert {one.handle: one.last.date() for one in held_accounts(data.settings)}[private] == now.date()
    # A later request for erasure is logged although the account was withdrawn before, and is final.
    remove_items(data.settings, data.collector.clock.now, handles=[private])
    assert read_withdrawn(data.settings.state).has_account(private)
    data.wait(days=7)
    collect_profiles(data)
    assert private not in handles(data)


def test_account_that_is_lost_twice_is_logged_twice(data: VerificationHarness) -> None:
    private = handles(data)[3]
    for _ in range(2):
        data.edit = refuse(private)
        data.wait(days=14)
        data.run_until_quiet(1.5)
        assert private not in handles(data)
        data.edit = None
        collect_profiles(data, retry_now=True)
        assert private in handles(data)
    assert [one.kind for one in read_withdrawals(data.settings.state)] == ["account"] * 2


def test_profile_that_is_returned_on_the_second_day_stays(data: VerificationHarness) -> None:
    one = handles(data)[0]
    data.edit = refuse(one, message=f"`username: {one}` is invalid: cannot find the user")
    data.wait(days=14)
    data.step()
    data.edit = None
    data.run_until_quiet(1.5)
    assert [(task.is_done, task.n_valid, task.n_withdrawn) for task in tasks(data)] == [(True, 20, 0)]
    assert not data.withdrawn


def test_without_a_control_nothing_is_missing(data: VerificationHarness) -> None:
    before = profiles(data)
    data.edit = refuse()
    data.wait(days=14)
    data.run_until_quiet(12)
    (task,) = tasks(data)
    assert (task.phase, task.reason, task.n_missing) == ("word", "unproven", 20)
    assert profiles(data) - before == 5 * 20
    assert not data.withdrawn
    data.edit = None
    give_word(data.settings, task.name, "rejected", data.collector.clock.now())
    data.run_until_quiet(1)
    assert tasks(data)[-1].is_done
    assert len(handles(data)) == 20


def test_control_is_another_account_if_none_of_the_task_is_returned(settings: Settings) -> None:
    data = VerificationHarness(replace(settings, verify_max_share=60.0), n_videos=4)
    data.collect()
    collect_profiles(data)
    first = handles(data)
    data.wait(days=8)
    remaining = first[2:]
    refusing = TamperingTransport(data.collector, refuse(*first[:2]))
    collect_profiles(data, recollect=True, transport=refusing)
    assert {one.handle for one in held_accounts(data.settings)} == set(first)
    data.withdraw(users=first[:2])
    before = profiles(data)
    data.wait(days=6)
    data.step()
    assert [task.n_sent for task in tasks(data)] == [2]
    assert profiles(data) - before == 3
    data.run_until_quiet(1.5)
    assert handles(data) == remaining


def test_server_errors_of_one_account_prove_nothing(data: VerificationHarness) -> None:
    broken = handles(data)[2]

    def edit(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        is_broken = "user/info" in request.url.path and orjson.loads(request.content)["username"] == broken
        return error_response(response, 500, "internal_error", "x") if is_broken else None

    data.edit = edit
    data.wait(days=14)
    assert not data.step().pause
    assert [(task.n_open, task.phase) for task in tasks(data)] == [(1, "look up")]
    data.edit = None
    data.run_until_quiet(1.5)
    assert [(task.is_done, task.n_valid) for task in tasks(data)] == [(True, 20)]


def test_share_guard_waits_for_a_word(data: VerificationHarness) -> None:
    gone = handles(data)[:3]
    data.withdraw(users=gone)
    data.wait(days=14)
    data.run_until_quiet(1.5)
    (task,) = tasks(data)
    assert (task.phase, task.reason, task.n_missing) == ("word", "share", 3)
    assert len(handles(data)) == 20
    give_word(data.settings, task.name, "confirmed", data.collector.clock.now())
    assert data.step().n_withdrawn == 3
    assert len(handles(data)) == 17
    assert not read_withdrawn(data.settings.state).accounts


def test_profiles_are_spread_over_the_days_before_they_are_due(settings: Settings) -> None:
    data = VerificationHarness(replace(settings, research_cap=100, verify_lookup_share=5.0), n_videos=20)
    data.collect()
    collect_profiles(data)
    start, before = data.collector.clock.now(), profiles(data)
    days: list[int] = []
    for _ in range(15):
        data.wait(days=1)
        data.run_until_quiet(0)
        days.append(profiles(data) - before - sum(days))
        overdue = data.collector.clock.now() - timedelta(days=15)
        assert count_held(data.settings, "account", overdue, overdue).n_overdue == 0
    # Five a day, as late as possible, with a day in reserve.
    assert days == [0] * 9 + [5] * 4 + [0] * 2, days
    assert (data.collector.clock.now() - start).days == 15


class Killed(BaseException):
    """A kill at an event of the journal, or at an answer."""


@pytest.mark.parametrize("is_before", [True, False])
def test_kill_at_any_event_resumes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config, is_before: bool
) -> None:
    # Between two events something happens only once. The default lane kills before the odd events and after the even
    # ones, and the long lane before and after each.
    step = 1 if pytestconfig.option.long else 2
    data = VerificationHarness(replace(settings, verify_max_share=100.0), n_videos=8)
    data.collect()
    collect_profiles(data)
    data.wait(days=7)
    events: list[str] = []
    kill_at = [0]

    def killing(name: str, call: Any) -> Any:
        def append(*args: Any, **facts: Any) -> None:
            if name == "event" and "account" not in args[2]:
                call(*args, **facts)
                return
            events.append(args[1] if name == "event" else name)
            if is_before and len(events) == kill_at[0]:
                raise Killed
            call(*args, **facts)
            if len(events) == kill_at[0]:
                raise Killed

        return append

    monkeypatch.setattr(TaskJournal, "append", killing("event", TaskJournal.append))
    monkeypatch.setattr(lookups, "append_answers", killing("answer", append_answers))
    number = 1 if is_before else step
    while True:
        data.collect(recollect=True)
        data.edit = None
        collect_profiles(data, recollect=True, retry_now=True)
        gone = handles(data)[0]
        data.edit = refuse(gone)
        data.wait(days=14)
        kill_at[0] = number
        events.clear()
        try:
            data.run_until_quiet(1.5)
        except Killed:
            # An answer without proof is not repeated on its day, so a kill may cost a day.
            data.run_until_quiet(3)
            assert gone not in handles(data), (number, events, tasks(data)[-2:])
            assert all(task.is_done for task in tasks(data))
        else:
            break
        number += step
    assert number > 10
    assert events[0] == "planned"
    assert events[-3:] == ["looked_up", "concluded", "done"]


def test_removal_reaches_the_files_of_accounts(data: VerificationHarness) -> None:
    private, other = handles(data)[:2]
    data.edit = refuse(private)
    data.wait(days=14)
    data.step()
    folder = data.settings.state / "verification"

    def texts() -> str:
        return "".join(path.read_text() for path in folder.glob("*.txt"))

    assert private in texts()
    assert other in texts()
    remove_items(data.settings, data.collector.clock.now, handles=[private, other])
    assert private not in texts()
    assert other not in texts()
    data.run_until_quiet(1.5)
    assert all(task.is_done for task in tasks(data))
    assert len(held_accounts(data.settings)) == 18


PSEUDONYMOUS_STUDY = """
name: secret
start: 2026-02-01
end: 2026-02-02
query:
  and:
    - {field: hashtag_name, eq: gardening}
comments: none
pseudonymous: true
users: panel
panel: {usernames: [sandbox_beet, sandbox_balkon, sandbox_likes]}
"""


def test_profiles_of_a_pseudonymous_study_are_requested_by_their_handles(settings: Settings, tmp_path: Path) -> None:
    write(tmp_path / "studies" / "secret", PSEUDONYMOUS_STUDY)
    settings = replace(settings, studies=(tmp_path / "studies",), pseudonym_key="6b" * 32)
    data = VerificationHarness(settings)
    (spec,) = load_studies(data.settings)
    week = week_of(data.collector.clock.now().date())
    asyncio.run(data.collector.collect("users", [week], spec))
    assert handles(data) == sorted(spec.panel)
    assert all(is_pseudonym(handle) for handle in handles(data))
    lost = next(iter(spec.panel))
    assert spec.pseudonyms is not None
    data.edit = refuse(spec.pseudonyms.handle_of(lost))
    data.settings = replace(data.settings, verify_max_share=50.0)
    data.wait(days=12)
    for _ in range(4):
        data.run_until_quiet()
        data.wait(days=1)
    (task, *_) = tasks(data)
    assert (task.is_done, task.n_withdrawn) == (True, 1)
    assert handles(data) == sorted(set(spec.panel) - {lost})
    for path, content in contents(data.settings.root):
        assert b"sandbox_" not in content, path
    # Without the key, nothing is requested and nothing is taken for missing.
    sent = data.collector.requests_sent
    data.settings = replace(data.settings, pseudonym_key="")
    data.wait(days=16)
    data.run_until_quiet()
    assert data.collector.requests_sent == sent
    now = data.collector.clock.now()
    assert count_held(data.settings, "account", now, now - timedelta(days=15)).n_overdue == 2
