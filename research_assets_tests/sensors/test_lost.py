"""A run whose process is gone is ended, so that nothing waits for it; one that works is left alone."""

import os
import subprocess
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from research_assets.sensors import lost
from research_assets.sensors.lost import end_lost


@dg.op
def look_from_inside(context: dg.OpExecutionContext) -> None:
    """While the run goes on, in the process that Dagster notes."""
    instance = context.instance
    assert lost.process_of(instance, context.run_id) == os.getpid()
    assert not end_lost(instance)
    asked: list[tuple[int, datetime]] = []

    def gone(pid: int, since: datetime) -> bool:
        asked.append((pid, since))
        return False

    assert end_lost(instance, gone) == [context.run_id]
    run = instance.get_run_by_id(context.run_id)
    assert run is not None
    assert run.status == dg.DagsterRunStatus.FAILURE
    [(pid, since)] = asked
    assert pid == os.getpid()
    assert abs(datetime.now(UTC) - since) < timedelta(minutes=5)


def test_a_run_is_ended_if_its_process_is_gone_and_only_then() -> None:
    job = dg.JobDefinition(
        graph_def=dg.GraphDefinition("look", node_defs=[look_from_inside]), executor_def=dg.in_process_executor
    )
    with dg.instance_for_test() as instance:
        assert job.execute_in_process(instance=instance).success


@pytest.mark.parametrize(("began", "lives"), [(timedelta(0), True), (-timedelta(days=1), False)])
def test_a_process_that_is_younger_than_the_run_is_another(began: timedelta, lives: bool) -> None:
    assert lost._lives(os.getpid(), datetime.now(UTC) + began) == lives


def test_a_process_that_has_ended_is_gone() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert not lost._lives(child.pid, datetime.now(UTC))
