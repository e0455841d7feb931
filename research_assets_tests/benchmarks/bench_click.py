"""Time from a click on "Materialize" in Dagster's UI to the first request of the run, with daemon and webserver."""

import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from research_assets.sandbox.config import SandboxConfig
from research_assets_tests.benchmarks import Row
from research_assets_tests.end_to_end.deployment import WAIT_TIMEOUT, Deployment, running_deployment

STUDY = """\
type: research_assets.Study
attributes:
  name: garden
  start: 2026-02-01
  end: 2026-02-02
  query: {and: [{field: hashtag_name, eq: gardening}]}
  comments: none
  users: none
"""
CLICKS = 5

LAUNCH = """
mutation Launch($executionParams: ExecutionParams!) {
  launchRun(executionParams: $executionParams) { __typename ... on LaunchRunSuccess { run { runId } } }
}
"""
"""The request that the dialog "Materialize" sends."""


def run() -> Iterable[Row]:
    """Measure runs that collect one day again, after the sensor has collected all."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_deployment(
            SandboxConfig(fixed_volume=20), {"garden": STUDY}, Path(folder), sensor_interval="5"
        ) as deployment,
    ):
        deployment.wait_for_marts()
        seconds = [_seconds_to_first_request(deployment) for _ in range(CLICKS)]
    note = f"median of {CLICKS} clicks; on idle cores"
    yield Row("from a click to the first request", median(seconds), "s", 6, note)


def _seconds_to_first_request(deployment: Deployment) -> float:
    deployment.wait(lambda: not deployment.active(), "no run is active")
    before, began = _data_requests(deployment), time.monotonic()
    params: dict[str, Any] = {
        "selector": {
            "repositoryLocationName": "research_assets",
            "repositoryName": "__repository__",
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": ["garden", "videos"]}],
            "assetCheckSelection": [],
        },
        "mode": "default",
        "runConfigData": {"ops": {"garden__content": {"config": {"recollect": True}}}},
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": "2026-02-01"}]},
    }
    answer = httpx.post(
        f"{deployment.url}/graphql", json={"query": LAUNCH, "variables": {"executionParams": params}}, timeout=60
    ).json()
    if answer.get("data", {}).get("launchRun", {}).get("__typename") != "LaunchRunSuccess":
        raise RuntimeError(f"Dagster did not accept the run: {answer}")
    pause = threading.Event()
    while _data_requests(deployment) == before:
        if time.monotonic() - began > WAIT_TIMEOUT:
            raise RuntimeError(f"The run sent no request.\n{deployment.event_log()}")
        pause.wait(0.01)
    return time.monotonic() - began


def _data_requests(deployment: Deployment) -> int:
    counts = deployment.sandbox.app.request_log.requests
    return sum(number for endpoint, number in counts.items() if not endpoint.startswith("oauth"))
