"""A run whose process is gone is ended, so that nothing waits for it; one that works is left alone."""

import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from research_assets.sensors import orphaned_runs
from research_assets.settings import Settings


def during_run(look: Callable[[dg.DagsterInstance, str], None]) -> None:
    """Look at a run that goes on, from inside: in the process that Dagster notes."""

    @dg.op
    def inside(context: dg.OpExecutionContext) -> None:
        look(context.instance, context.run_id)

    graph = dg.GraphDefinition("look", node_defs=[inside])
    job = dg.JobDefinition(graph_def=graph, executor_def=dg.in_process_executor)
    with dg.instance_for_test() as instance:
        assert job.execute_in_process(instance=instance).success


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_run_is_lost_if_its_process_is_gone_and_only_then() -> None:
    def look(instance: dg.DagsterInstance, run_id: str) -> None:
        asked: list[tuple[int, datetime]] = []

        def gone(pid: int, since: datetime) -> bool:
            asked.append((pid, since))
            return False

        assert orphaned_runs.find_orphaned(instance) == {}
        assert orphaned_runs.find_orphaned(instance, gone) == {run_id: os.getpid()}
        [(pid, since)] = asked
        assert pid == os.getpid()
        assert abs(datetime.now(UTC) - since) < timedelta(minutes=5)

    during_run(look)


def test_a_lost_run_is_ended_at_the_second_look(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    # Before that the server that started it may say so, which knows what the process died of.
    monkeypatch.setattr(orphaned_runs, "_process_exists", lambda *_: False)

    def look(instance: dg.DagsterInstance, run_id: str) -> None:
        sensor, cursor = orphaned_runs.fail_orphaned_runs(settings), None
        said: list[str] = []
        for expected in (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.FAILURE):
            context = dg.build_sensor_context(instance, cursor=cursor)
            data = sensor.evaluate_tick(context)
            assert status(instance, run_id) == expected
            cursor, said = data.cursor, [*said, str(data.skip_message)]
        assert said[0] == said[2] == "Every run that goes on has its process."
        assert run_id in said[1]

    during_run(look)


def test_a_run_that_ended_meanwhile_is_left_alone() -> None:
    def look(instance: dg.DagsterInstance, run_id: str) -> None:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        instance.report_run_canceled(run)
        assert orphaned_runs.fail_orphaned(instance, {run_id: os.getpid()}, before=[run_id]) == []
        assert status(instance, run_id) == dg.DagsterRunStatus.CANCELED

    during_run(look)


@pytest.mark.parametrize(("began", "lives"), [(timedelta(0), True), (-timedelta(days=1), False)])
def test_a_process_that_is_younger_than_the_run_is_another(began: timedelta, lives: bool) -> None:
    assert orphaned_runs._process_exists(os.getpid(), datetime.now(UTC) + began) == lives


def test_a_process_that_has_ended_is_gone() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert not orphaned_runs._process_exists(child.pid, datetime.now(UTC))
