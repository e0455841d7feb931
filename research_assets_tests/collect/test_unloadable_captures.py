"""A capture that is damaged or that DuckDB refuses costs no other capture, no later run and no request."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import httpx
import orjson
import pytest

from research_assets.collect.publish import recover_unpublished
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.storage.captures import DamagedCapture, Journal, Manifest, list_open_journals, list_sealed_files
from research_assets.storage.replay import replay
from research_assets.study.spec import UserRule
from research_assets_tests.collect.harness import (
    START,
    CollectorHarness,
    TamperingTransport,
    before_next_lock,
    days,
    study,
)
from research_assets_tests.collect.test_lists import garden_config, this_week
from research_assets_tests.storage.capture_factory import make_answer, make_video

BAD_BODIES = {
    "an empty list as data": b'{"data":[],"error":{"code":"ok"}}',
    "a key of data twice": b'{"data":{"videos":[],"videos":null},"error":{"code":"ok"}}',
    "data twice": b'{"data":{},"data":{"videos":5},"error":{"code":"ok"}}',
}


def sealed_capture(harness: CollectorHarness, day: date) -> Path:
    (path,) = [path for path in list_sealed_files(harness.settings.captures) if path.parent.name == day.isoformat()]
    return path


def remove_raw_rows(settings: Settings) -> None:
    for path in settings.raw.rglob("*.parquet"):
        path.unlink()


def record_days(harness: CollectorHarness) -> tuple[TamperingTransport, list[str]]:
    """Return a transport, and the list of the first days of the searches that it sends."""
    sent: list[str] = []

    def note(request: httpx.Request, _: httpx.Response) -> None:
        sent.append(orjson.loads(request.content)["start_date"])

    return TamperingTransport(harness, note), sent


async def test_damaged_capture_blocks_only_its_own_day(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig(fixed_volume=20, profile="clean"))
    for day in days(3):
        await harness.collect("videos", [day])
    bad = sealed_capture(harness, days(3)[1])
    content = bad.read_bytes()
    bad.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    remove_raw_rows(settings)
    before = harness.requests_sent
    transport, sent = record_days(harness)
    with pytest.raises(DamagedCapture, match="Restore the file from a backup"):
        await harness.collect("videos", days(5), transport=transport)
    # The other captures were loaded, the days that were new were collected, and the day of the capture waits.
    assert sorted(harness.sql("SELECT DISTINCT day::VARCHAR FROM {videos}")) == [
        (day.isoformat(),) for day in days(5) if day.day != 2
    ]
    assert set(sent) <= {"20260204", "20260205"}
    # A run for other days is not affected.
    finished, pause = await harness.collect("videos", [START + timedelta(days=5)])
    assert (pause, {result.state for result in finished.values()}) == (None, {"complete"})
    # Once it is restored, its rows are loaded without a request.
    bad.write_bytes(content)
    before = harness.requests_sent
    finished, _ = await harness.collect("videos", days(6))
    assert [result.was_complete for result in finished.values()] == [True] * 6
    assert (harness.requests_sent, len(harness.ids())) == (before, 120)


@pytest.mark.parametrize("case", BAD_BODIES)
async def test_capture_that_duckdb_refuses_blocks_no_later_run(settings: Settings, case: str) -> None:
    harness = CollectorHarness(settings, SandboxConfig(fixed_volume=20, profile="clean"))
    journal = Journal.create(
        settings.captures,
        entity="videos",
        study="garden",
        first=START,
        last=START,
        now=harness.clock.now(),
        origin="sandbox",
        header={},
    )
    facts = {"unit": "2026-02-01", "observed_at": harness.clock.now(), "context": {}, "unknown": []}
    journal.append("page", facts | {"rows": 1}, make_answer("videos", [make_video(1)]))
    journal.append("page", facts | {"rows": 0}, BAD_BODIES[case])
    journal.append("unit", {"entity": "videos", "partition": START, "unit_kind": "day", "unit": "2026-02-01"})
    journal.seal()
    for day in days(3)[1:]:
        finished, pause = await harness.collect("videos", [day])
        assert (finished[day].state, pause) == ("complete", None)
    assert len(harness.ids()) == 41
    assert len(replay(settings.captures, settings.raw).written) == 3
    assert len(harness.ids()) == 41


async def test_catching_up_returns_the_error_of_each_damaged_capture_and_loads_the_rest(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig(fixed_volume=20, profile="clean"))
    for day in days(4):
        await harness.collect("videos", [day])
    bad = [sealed_capture(harness, day) for day in days(4)[:2]]
    bad[0].write_bytes(b"")
    bad[1].unlink()
    remove_raw_rows(settings)
    errors = recover_unpublished(settings.captures, settings.raw, "videos", "garden")
    assert {error.path for error in errors} == set(bad)
    assert len(harness.ids()) == 40


@pytest.mark.parametrize("entity", ["videos", "users"])
async def test_capture_that_a_killed_run_sealed_before_the_lock_is_loaded_and_not_requested_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, entity: str
) -> None:
    harness = CollectorHarness(settings, SandboxConfig(fixed_volume=20, profile="clean"))
    partition, spec = (
        (START, study()) if entity == "videos" else (this_week(harness), garden_config(users=UserRule("panel")))
    )

    async def seal() -> None:
        await harness.collect(entity, [partition], spec)
        remove_raw_rows(settings)

    before_next_lock(monkeypatch, seal)
    finished, pause = await harness.collect(entity, [partition], spec)
    assert (finished[partition].state, pause) == ("complete", None)
    (capture,) = list_sealed_files(settings.captures, entity=entity)
    assert harness.requests_sent == Manifest.load(capture).requests


async def test_capture_that_is_damaged_before_the_lock_blocks_only_its_day(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = CollectorHarness(settings, SandboxConfig(fixed_volume=20, profile="clean"))

    async def seal_and_damage() -> None:
        await harness.collect("videos", days(1))
        sealed_capture(harness, START).write_bytes(b"")
        remove_raw_rows(settings)

    before_next_lock(monkeypatch, seal_and_damage)
    with pytest.raises(DamagedCapture):
        await harness.collect("videos", days(2))
    assert harness.requests_sent == 2
    assert harness.sql("SELECT partition, state FROM {coverage}") == [(days(2)[1], "complete")]


async def test_period_whose_capture_is_damaged_before_the_lock_keeps_its_open_journal(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = CollectorHarness(settings, SandboxConfig(fixed_volume=20, profile="clean"))
    week, spec = this_week(harness), garden_config(users=UserRule("panel"))
    header = {"recollect": False}
    now = harness.clock.now()

    async def seal_damage_and_begin() -> None:
        await harness.collect("users", [week], spec)
        (capture,) = list_sealed_files(settings.captures, entity="users")
        capture.write_bytes(b"")
        remove_raw_rows(settings)
        Journal.create(
            settings.captures,
            entity="users",
            study=spec.name,
            first=week,
            last=week,
            now=now,
            origin="sandbox",
            header=header,
        ).close()

    before_next_lock(monkeypatch, seal_damage_and_begin)
    with pytest.raises(DamagedCapture):
        await harness.collect("users", [week], spec)
    assert len(list_open_journals(settings.captures, "users", spec.name)) == 1


async def test_accounts_are_requested_if_the_capture_of_another_study_is_damaged(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    week, spec = this_week(harness), garden_config(users=UserRule("panel"))
    await harness.collect("users", [week], spec)
    (capture,) = list_sealed_files(settings.captures, entity="users")
    content = capture.read_bytes()
    capture.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    before = harness.requests_sent
    finished, _ = await harness.collect("users", [week], replace(spec, name="colleague"))
    assert harness.requests_sent > before
    assert finished[week].units["complete"] > 0
    assert not harness.sql("SELECT * FROM {coverage} WHERE study = 'colleague' AND reason LIKE 'Copied%'")
