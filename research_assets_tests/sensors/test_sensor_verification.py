"""The sensor verify_due_items and its job: a run for each possible step, never two at once."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

from research_assets.alerts import read_alerts
from research_assets.cli import main
from research_assets.compliance.verification.tasks import Task, TaskJournal
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import run_in_thread
from research_assets.sensors.run_history import VERIFICATION_JOB, active_runs
from research_assets.settings import VARIABLES, prepare_root
from research_assets.storage.raw_reader import query_raw
from research_assets.storage.withdrawals import read_withdrawn
from research_assets_tests.assets.harness import NO_COMMENTS
from research_assets_tests.sensors.sensor_harness import SensorHarness

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[SensorHarness]:
    """A harness with ten days of data, 40 videos in all."""
    config = SandboxConfig(fixed_volume=4, start_time=NOW)
    with run_in_thread(config) as sandbox:
        built = SensorHarness(sandbox, tmp_path / "data", (NO_COMMENTS,))
        # As `make ui` does.
        prepare_root(built.settings)
        assert built.tick("verify_due_items") == []
        assert built.skipped == "No data collected yet."
        assert all(result.success for result in built.advance())
        yield built


def run_job(harness: SensorHarness, **config: Any) -> dg.ExecuteInProcessResult:
    job = harness.definitions().get_repository_def().get_job(VERIFICATION_JOB)
    run_config = {"ops": {"take_verification_step": {"config": config}}} if config else {}
    return job.execute_in_process(instance=harness.instance, run_config=run_config, raise_on_error=False)


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = (event for event in result.all_events if event.event_type == dg.DagsterEventType.STEP_OUTPUT)
    return {name: value.value for name, value in event.step_output_data.metadata.items()}


def run_until_quiet(harness: SensorHarness) -> list[dict[str, Any]]:
    """Tick every 10 minutes for an hour and run what is requested; returns the metadata of the runs."""
    found = []
    for _ in range(6):
        for _ in harness.tick("verify_due_items"):
            result = run_job(harness)
            assert result.success
            found.append(metadata(result))
        harness.at(harness.sandbox.clock.now() + timedelta(minutes=10))
    return found


def videos(harness: SensorHarness) -> list[int]:
    rows = query_raw(harness.settings.raw, "videos", "study=*/day=*", "SELECT DISTINCT id FROM {table} ORDER BY id")
    return [one for (one,) in rows]


def tasks(harness: SensorHarness) -> list[Task]:
    return list(TaskJournal(harness.settings).tasks.values())


def test_sensor_verifies_what_falls_due(harness: SensorHarness) -> None:
    # The first run only learns when the first id falls due.
    (report,) = run_until_quiet(harness)
    assert report == {"due": 0, "tasks created": 0, "verified": 0, "withdrawn": 0, "held back": 0}
    assert "Next step: 2026-03-16" in str(harness.skipped)
    gone = videos(harness)[11]
    harness.sandbox.world.withdrawn.add(gone)
    harness.at(NOW + timedelta(days=14, hours=1))
    reports = run_until_quiet(harness)
    assert [report["tasks created"] for report in reports] == [1, 0], reports
    assert (reports[0]["due"], reports[1]["verified"], reports[1]["withdrawn"]) == (40, 39, 1)
    assert read_withdrawn(harness.settings.state).videos == {gone}
    assert gone not in videos(harness)
    assert "Next step: 2026-03-30" in str(harness.skipped)


def test_job_takes_the_word_of_a_person(harness: SensorHarness) -> None:
    harness.sandbox.world.withdrawn.update(gone := set(videos(harness)[3:13]))
    harness.at(NOW + timedelta(days=15))
    reports = run_until_quiet(harness)
    assert reports[-1]["held back"] == 1
    (task,) = tasks(harness)
    assert task.reason == "share"
    assert f"verify --confirm {task.name}` withdraws 10 ids" in str(harness.skipped)
    (alert,) = read_alerts(harness.settings)
    assert task.name in alert["message"][0]
    assert metadata(run_job(harness, confirm=[task.name]))["withdrawn"] == 10
    assert not gone & set(videos(harness))


def test_sensor_waits_for_an_active_run_and_after_failed_ones(harness: SensorHarness) -> None:
    job = harness.definitions().get_repository_def().get_job(VERIFICATION_JOB)
    run = harness.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert harness.tick("verify_due_items") == []
    assert harness.skipped == "A step of verification is running."
    # Such a run selects no asset, but it does not collect all of them.
    assert active_runs(harness.instance, harness.clock.now()) == []
    harness.instance.report_run_canceled(run)
    assert not run_job(harness, reject=["no-such-task"]).success
    assert harness.tick("verify_due_items") == []
    assert "The last 1 runs failed. Next attempt" in str(harness.skipped)


def test_command_verifies_and_takes_the_word_of_a_person(
    harness: SensorHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = harness.settings
    for name in ("root", "api_url", "client_key", "client_secret"):
        monkeypatch.setenv(VARIABLES[name].name, str(getattr(settings, name)))

    def verify(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["verify", *arguments])
        assert result.exit_code == (1 if "nothing" in arguments else 0), result.output
        return result.output

    assert "videos    40 stored, 0 due, 0 overdue; the oldest falls due at 2026-03-17" in verify("--status")
    harness.sandbox.world.withdrawn.update(videos(harness)[3:13])
    harness.at(NOW + timedelta(days=16))
    assert "40 stored, 40 due, 40 overdue" in verify("--status")
    assert "Planned 1 tasks, created 1." in verify()
    harness.at(NOW + timedelta(days=16, minutes=1))
    assert "waits for confirmation: more items are missing than the set share" in verify()
    (task,) = tasks(harness)
    assert "There is no open task nothing" in verify("--confirm", "nothing")
    assert "Verified 30 items, withdrew 10." in verify("--confirm", task.name)
    assert "videos    30 stored, 0 due, 0 overdue" in verify("--status")
