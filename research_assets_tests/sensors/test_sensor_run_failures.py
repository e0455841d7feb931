"""A failed run causes a line in `alerts.jsonl` and a webhook message that contains neither data nor secrets."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import dagster as dg
import pytest

# Dagster reports an error of loading with it; the only public way is a run that is launched in a process.
from dagster._core.events import EngineEventData
from dagster_shared.error import SerializableErrorInfo

from research_assets.alerts import append_alert, read_alerts
from research_assets.sensors import run_failures
from research_assets.sensors.run_failures import alert_on_run_failure
from research_assets.sensors.run_history import WILL_RETRY_TAG
from research_assets.settings import Settings
from research_assets_tests.conftest import UNREACHABLE_URL, FakeClock

PARTITIONS = dg.DailyPartitionsDefinition("2026-02-01")


@dg.asset(key=["gardening", "videos"], partitions_def=PARTITIONS)
def failing_asset() -> None:
    raise dg.Failure("The account moosfreund is at fault", allow_retries=False)


@contextmanager
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Run a webhook, and yield its address and the messages that it receives."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook?token=s3cret", received
    finally:
        server.shutdown()
        server.server_close()


def fail_and_alert(
    settings: Settings, clock: FakeClock, instance: dg.DagsterInstance | None = None, **tags: str
) -> dict[str, Any]:
    """Run a failing asset and the sensor, and return the line that the sensor writes."""
    instance = instance or dg.DagsterInstance.ephemeral()
    sensor = alert_on_run_failure(settings, clock)
    repository = dg.Definitions(assets=[failing_asset], sensors=[sensor]).get_repository_def()
    job = repository.get_job("__ASSET_JOB")
    result = job.execute_in_process(
        instance=instance,
        asset_selection=[failing_asset.key],
        partition_key="2026-02-03",
        raise_on_error=False,
        tags={name.replace("__", "/"): value for name, value in tags.items()},
    )
    run = result.dagster_run
    if instance.run_retries_enabled:
        # The run as it was before Dagster tagged it with its decision to retry.
        run = run.with_tags({name: value for name, value in run.tags.items() if name != WILL_RETRY_TAG})
    context = dg.build_run_status_sensor_context(
        sensor_name=sensor.name,
        dagster_event=_failed(result),
        dagster_instance=instance,
        dagster_run=run,
        context=dg.build_sensor_context(instance, repository_def=repository),
    ).for_run_failure()
    sensor(context)
    # Two processes that monitor a run may both report its death.
    sensor(context)
    [line] = settings.alerts.read_text().splitlines()
    alert: dict[str, Any] = json.loads(line)
    return alert


def _failed(result: dg.ExecuteInProcessResult) -> dg.DagsterEvent:
    return next(event for event in result.all_events if event.event_type_value == "PIPELINE_FAILURE")


def test_failed_run_is_written_and_posted(settings: Settings, clock: FakeClock) -> None:
    with webhook() as (address, received):
        alert = fail_and_alert(replace(settings, alert_webhook=address), clock)
    assert (alert["assets"], alert["partitions"], alert["webhook"]) == (
        ["gardening/videos"],
        "2026-02-03",
        "HTTP 204",
    )
    assert "moosfreund" in alert["message"][0]
    [message] = received
    assert "gardening/videos failed for 2026-02-03" in message["text"]
    assert "moosfreund" not in message["text"]
    assert "s3cret" not in settings.alerts.read_text()
    assert settings.alerts.stat().st_mode & 0o777 == 0o600


def test_crashed_run_that_dagster_retries_is_not_posted(settings: Settings, clock: FakeClock) -> None:
    with webhook() as (address, received):
        alert = fail_and_alert(replace(settings, alert_webhook=address), clock, dagster__will_retry="true")
    assert alert["webhook"] == "not posted: Dagster retries the run"
    assert not received


def test_alert_of_a_run_that_could_not_be_loaded_names_the_cause(settings: Settings, clock: FakeClock) -> None:
    instance, sensor = dg.DagsterInstance.ephemeral(), alert_on_run_failure(settings, clock)
    repository = dg.Definitions(assets=[failing_asset], sensors=[sensor]).get_repository_def()
    run = instance.create_run_for_job(repository.get_job("__ASSET_JOB"))
    root = SerializableErrorInfo("StudyError: defs.yaml:3: name: is missing\n", [], "StudyError")
    error = SerializableErrorInfo("Error occurred during the loading of Dagster definitions", [], "Error", cause=root)
    instance.report_engine_event("Could not load job definition.", run, EngineEventData.engine_error(error))
    event = instance.report_run_failed(run)
    context = dg.build_run_status_sensor_context(
        sensor_name=sensor.name,
        dagster_event=event,
        dagster_instance=instance,
        dagster_run=run,
        context=dg.build_sensor_context(instance, repository_def=repository),
    ).for_run_failure()
    sensor(context)
    [alert] = read_alerts(settings)
    assert alert["message"][:2] == ["Could not load job definition.", "StudyError: defs.yaml:3: name: is missing"]


@pytest.mark.parametrize(("retries", "webhook_result"), [(1, "not posted: Dagster"), (0, "no webhook is set")])
def test_sensor_waits_for_the_retry_tag(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, retries: int, webhook_result: str
) -> None:
    monkeypatch.setattr(run_failures, "_POLL_SECONDS", 0)
    with dg.instance_for_test(overrides={"run_retries": {"enabled": True, "max_retries": retries}}) as instance:
        assert fail_and_alert(settings, clock, instance)["webhook"].startswith(webhook_result)


def test_line_after_a_cut_off_line_is_readable(settings: Settings) -> None:
    append_alert(settings, {"run": "before"})
    with settings.alerts.open("a") as file:
        file.write('{"run": "cut of')
    append_alert(settings, {"run": "after"})
    assert [*read_alerts(settings)] == [{"run": "before"}, {"run": "after"}]


@pytest.mark.parametrize(
    ("address", "webhook_result"),
    [
        ("", "no webhook is set"),
        (UNREACHABLE_URL, "not reached (ConnectError)"),
        ("http://127.0.0.1:port/x", "not reached (InvalidURL)"),
        ("ftp://127.0.0.1/x", "not reached (UnsupportedProtocol)"),
        ("http://127.0.0.1:9/\ud800", "not reached (UnicodeEncodeError)"),
    ],
)
def test_unreachable_webhook_does_not_prevent_the_alert(
    settings: Settings, clock: FakeClock, address: str, webhook_result: str
) -> None:
    assert fail_and_alert(replace(settings, alert_webhook=address), clock)["webhook"] == webhook_result


def test_settings_hide_the_webhook_address(settings: Settings) -> None:
    assert "s3cret" not in repr(replace(settings, alert_webhook="https://chat.example/s3cret"))
