"""A run whose process no longer exists is marked as failed; a run with a process is not."""

import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from research_assets.sensors import orphaned_runs
from research_assets.settings import Settings


def during_run(inspect: Callable[[dg.DagsterInstance, str], None]) -> None:
    """Call `inspect` inside a run in progress, in the process that Dagster records for it."""

    @dg.op
    def inside(context: dg.OpExecutionContext) -> None:
        inspect(context.instance, context.run_id)

    graph = dg.GraphDefinition("inspection", node_defs=[inside])
    job = dg.JobDefinition(graph_def=graph, executor_def=dg.in_process_executor)
    with dg.instance_for_test() as instance:
        assert job.execute_in_process(instance=instance).success


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_run_is_orphaned_if_and_only_if_its_process_is_gone() -> None:
    def inspect(instance: dg.DagsterInstance, run_id: str) -> None:
        calls: list[tuple[int, datetime]] = []

        def never_exists(pid: int, since: datetime) -> bool:
            calls.append((pid, since))
            return False

        assert orphaned_runs.find_orphaned(instance) == {}
        assert orphaned_runs.find_orphaned(instance, never_exists) == {run_id: os.getpid()}
        [(pid, since)] = calls
        assert pid == os.getpid()
        assert abs(datetime.now(UTC) - since) < timedelta(minutes=5)

    during_run(inspect)


def test_orphaned_run_is_marked_as_failed_at_the_second_tick(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At the first tick the server that started the process can still report its death, and it knows the cause.
    monkeypatch.setattr(orphaned_runs, "_process_exists", lambda *_: False)

    def inspect(instance: dg.DagsterInstance, run_id: str) -> None:
        sensor, cursor = orphaned_runs.fail_orphaned_runs(settings), None
        messages: list[str] = []
        for expected in (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.FAILURE):
            context = dg.build_sensor_context(instance, cursor=cursor)
            data = sensor.evaluate_tick(context)
            assert status(instance, run_id) == expected
            cursor, messages = data.cursor, [*messages, str(data.skip_message)]
        assert messages[0] == messages[2] == "Every started run has its process."
        assert run_id in messages[1]

    during_run(inspect)


def test_run_that_ended_since_the_tick_keeps_its_status() -> None:
    def inspect(instance: dg.DagsterInstance, run_id: str) -> None:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        instance.report_run_canceled(run)
        assert orphaned_runs.fail_orphaned(instance, {run_id: os.getpid()}, before=[run_id]) == []
        assert status(instance, run_id) == dg.DagsterRunStatus.CANCELED

    during_run(inspect)


@pytest.mark.parametrize(("age", "exists"), [(timedelta(0), True), (-timedelta(days=1), False)])
def test_process_that_is_younger_than_the_run_is_another_one(age: timedelta, exists: bool) -> None:
    assert orphaned_runs._process_exists(os.getpid(), datetime.now(UTC) + age) == exists


@pytest.mark.integration
def test_ended_process_does_not_exist() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert not orphaned_runs._process_exists(child.pid, datetime.now(UTC))
