"""A run of this location is marked as failed if its process on this host is gone; every other run is left alone."""

import os
import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from research_assets.clock import SystemClock
from research_assets.sensors.orphaned_runs import REMOTE_LIMIT, fail_orphaned, fail_orphaned_runs, find_orphaned
from research_assets.sensors.run_process import HOST_TAG, RunProcess, noted_process, noting_in_process_executor
from research_assets.settings import Settings
from research_assets.storage.locks import lock_run
from research_assets_tests.postgres import PostgresServer

pytestmark = pytest.mark.integration

LOCATION = "research_assets"
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)

Inspection = Callable[[dg.DagsterInstance, str], None]

INSPECTIONS: list[Inspection] = []
"""Action of the next run. Dagster loads the job again by its name, so the job can have no closure."""


@dg.op
def inside(context: dg.OpExecutionContext) -> None:
    INSPECTIONS.pop()(context.instance, context.run_id)


@dg.job(executor_def=noting_in_process_executor(Path("state")))
def inspection() -> None:
    inside()


def during_run(inspect: Inspection, tags: dict[str, str] | None = None) -> None:
    """Call `inspect` inside a run in progress, executed by the executor of the code location."""
    INSPECTIONS.append(inspect)
    with dg.instance_for_test() as instance:
        assert dg.execute_job(dg.reconstructable(inspection), instance, tags=tags).success


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def process_of(instance: dg.DagsterInstance, run_id: str) -> RunProcess:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    process = noted_process(run)
    assert process is not None
    return process


def note(instance: dg.DagsterInstance, process: RunProcess) -> None:
    instance.add_run_tags(process.run, process.tag)


def ended_process() -> int:
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def test_run_notes_its_process_before_its_first_step() -> None:
    def inspect(instance: dg.DagsterInstance, run_id: str) -> None:
        process = process_of(instance, run_id)
        assert process == RunProcess.of(run_id, os.getpid())
        assert process.host
        assert not process.is_gone
        assert find_orphaned(instance, LOCATION, Path("state"), NOW) == {}

    during_run(inspect)


def test_orphaned_run_is_marked_as_failed_at_the_second_tick(settings: Settings) -> None:
    # At the first tick the server that started the process can still report its death, and it knows the cause.
    def inspect(instance: dg.DagsterInstance, run_id: str) -> None:
        note(instance, replace(process_of(instance, run_id), pid=ended_process()))
        # A person can set any cursor in the UI.
        sensor = fail_orphaned_runs(settings, SystemClock())
        # A person can set any cursor in the UI.
        cursor: str | None = "no list"
        messages: list[str] = []
        for expected in (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.FAILURE):
            context = dg.build_sensor_context(instance, cursor=cursor)
            data = sensor.evaluate_tick(context)
            assert status(instance, run_id) == expected
            cursor, messages = data.cursor, [*messages, str(data.skip_message)]
        assert messages[0] == messages[2] == "Every started run has its process."
        assert run_id in messages[1]

    during_run(inspect)


@pytest.mark.parametrize(
    ("tags", "change", "is_orphaned"),
    [
        ({}, {}, True),
        ({".dagster/repository": "__repository__@research_assets"}, {}, True),
        ({".dagster/repository": "__repository__@models_of_a_colleague"}, {}, False),
        ({}, {"host": "another-machine"}, False),
        ({}, {"namespace": "pid:[1]"}, False),
        ({}, {"boot": "before-the-power-failure", "namespace": "pid:[1]"}, True),
        ({}, {"run": "the-run-that-this-one-retries"}, False),
    ],
    ids=["own", "own-launched", "other-location", "other-host", "other-container", "earlier-boot", "copied-note"],
)
def test_only_runs_of_this_location_on_this_host_are_orphaned(
    tags: dict[str, str], change: dict[str, str], is_orphaned: bool
) -> None:
    def inspect(instance: dg.DagsterInstance, run_id: str) -> None:
        process = replace(process_of(instance, run_id), pid=ended_process(), **change)  # type: ignore[arg-type]
        instance.add_run_tags(run_id, process.tag)
        assert (run_id in find_orphaned(instance, LOCATION, Path("state"), NOW)) == is_orphaned

    during_run(inspect, tags)


def test_run_without_a_note_is_never_orphaned() -> None:
    with dg.instance_for_test() as instance:
        run = instance.create_run_for_job(inspection)
        instance.report_run_canceling(run)
        instance.handle_run_event(
            run.run_id, dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name=run.job_name)
        )
        assert status(instance, run.run_id) == dg.DagsterRunStatus.STARTED
        assert find_orphaned(instance, LOCATION, Path("state"), NOW, lambda _: True) == {}


def test_nothing_is_marked_under_another_launcher(settings: Settings) -> None:
    def inspect(instance: dg.DagsterInstance, run_id: str) -> None:
        note(instance, replace(process_of(instance, run_id), pid=ended_process()))
        overrides = {"run_launcher": {"module": "dagster._core.test_utils", "class": "MockedRunLauncher"}}
        with dg.instance_for_test(overrides=overrides) as other:
            data = fail_orphaned_runs(settings, SystemClock()).evaluate_tick(
                dg.build_sensor_context(other, cursor=f'["{run_id}"]')
            )
        assert "another launcher" in str(data.skip_message)

    during_run(inspect)


def test_run_that_ended_since_the_tick_keeps_its_status() -> None:
    def inspect(instance: dg.DagsterInstance, run_id: str) -> None:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        instance.report_run_canceled(run)
        assert fail_orphaned(instance, {run_id: "gone"}, before=[run_id]) == []
        assert status(instance, run_id) == dg.DagsterRunStatus.CANCELED

    INSPECTIONS.append(inspect)
    with dg.instance_for_test() as instance:
        dg.execute_job(dg.reconstructable(inspection), instance)


def test_process_that_is_younger_than_the_noted_one_is_another_one() -> None:
    process = RunProcess.of("run", os.getpid())
    assert not process.is_gone
    assert replace(process, started=process.started - 1).is_gone


def test_ended_process_is_gone() -> None:
    assert replace(RunProcess.of("run", os.getpid()), pid=ended_process()).is_gone


def test_ended_process_that_its_parent_does_not_reap_is_gone() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        process = RunProcess.of("run", child.pid)
        assert not process.is_gone
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert process.is_gone


def test_run_of_a_dead_host_is_marked_after_its_lock_was_free_for_five_minutes(
    settings: Settings, postgres: PostgresServer
) -> None:
    state = replace(settings, ledger_url=postgres.url).state

    def inspect(instance: dg.DagsterInstance, run_id: str) -> None:
        def orphaned(after: timedelta) -> bool:
            return run_id in find_orphaned(instance, "location of another host", state, NOW + after)

        with lock_run(state, run_id) as folder:
            elsewhere = replace(process_of(instance, run_id), host="another-machine", name="lab-2", folder=folder)
            note(instance, elsewhere)
            assert not orphaned(timedelta(0))
            assert not orphaned(2 * REMOTE_LIMIT)
        assert not orphaned(timedelta(0)), "seen for the first time"
        with lock_run(state, run_id):
            assert not orphaned(2 * REMOTE_LIMIT), "the process has taken its lock again"
        assert not orphaned(3 * REMOTE_LIMIT)
        assert not orphaned(4 * REMOTE_LIMIT - timedelta(seconds=1))
        assert orphaned(4 * REMOTE_LIMIT)
        assert "host lab-2" in find_orphaned(instance, None, state, NOW + 4 * REMOTE_LIMIT)[run_id]
        assert not orphaned(-2 * REMOTE_LIMIT), "noted while the clock was ahead"
        assert orphaned(-REMOTE_LIMIT)
        # A run of another data folder, and one without a database.
        for changed in (replace(elsewhere, folder="0123"), replace(elsewhere, folder="")):
            note(instance, changed)
            assert not orphaned(9 * REMOTE_LIMIT)

    during_run(inspect)


def test_run_shows_the_name_of_its_host() -> None:
    def inspect(instance: dg.DagsterInstance, run_id: str) -> None:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert run.tags[HOST_TAG] == socket.gethostname()

    during_run(inspect)
