"""A failed run becomes a line in the log and a message to the webhook, which holds neither data nor secrets."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import dagster as dg
import pytest

from research_assets.alerts import append_alert, read_alerts
from research_assets.sensors import run_failures
from research_assets.sensors.run_failures import alert_on_run_failure
from research_assets.sensors.run_history import WILL_RETRY_TAG
from research_assets.settings import Settings
from research_assets_tests.conftest import UNREACHABLE_URL, FakeClock

PARTITIONS = dg.DailyPartitionsDefinition("2026-02-01")


@dg.asset(key=["gardening", "videos"], partitions_def=PARTITIONS)
def broken() -> None:
    raise dg.Failure("The account moosfreund is at fault", allow_retries=False)


@contextmanager
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook's address, and what it hears."""
    heard: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook?token=s3cret", heard
    finally:
        server.shutdown()
        server.server_close()


def fail_and_alert(
    settings: Settings, clock: FakeClock, instance: dg.DagsterInstance | None = None, **tags: str
) -> dict[str, Any]:
    """A run that fails, and the line that the sensor writes about it."""
    instance = instance or dg.DagsterInstance.ephemeral()
    sensor = alert_on_run_failure(settings, clock)
    repository = dg.Definitions(assets=[broken], sensors=[sensor]).get_repository_def()
    job = repository.get_job("__ASSET_JOB")
    result = job.execute_in_process(
        instance=instance,
        asset_selection=[broken.key],
        partition_key="2026-02-03",
        raise_on_error=False,
        tags={name.replace("__", "/"): value for name, value in tags.items()},
    )
    run = result.dagster_run
    if instance.run_retries_enabled:
        # As it was read before Dagster said whether it starts it again.
        run = run.with_tags({name: value for name, value in run.tags.items() if name != WILL_RETRY_TAG})
    context = dg.build_run_status_sensor_context(
        sensor_name=sensor.name,
        dagster_event=_failed(result),
        dagster_instance=instance,
        dagster_run=run,
        context=dg.build_sensor_context(instance, repository_def=repository),
    ).for_run_failure()
    sensor(context)
    # Two that watch over a process may both report its death.
    sensor(context)
    [line] = settings.alerts.read_text().splitlines()
    reported: dict[str, Any] = json.loads(line)
    return reported


def _failed(result: dg.ExecuteInProcessResult) -> dg.DagsterEvent:
    return next(event for event in result.all_events if event.event_type_value == "PIPELINE_FAILURE")


def test_a_failure_is_written_down_and_posted(settings: Settings, clock: FakeClock) -> None:
    with webhook() as (address, heard):
        reported = fail_and_alert(replace(settings, alert_webhook=address), clock)
    assert (reported["assets"], reported["partitions"], reported["webhook"]) == (
        ["gardening/videos"],
        "2026-02-03",
        "HTTP 204",
    )
    assert "moosfreund" in reported["message"][0]
    [message] = heard
    assert "gardening/videos failed for 2026-02-03" in message["text"]
    assert "moosfreund" not in message["text"]
    assert "s3cret" not in settings.alerts.read_text()
    assert settings.alerts.stat().st_mode & 0o777 == 0o600


def test_a_crash_that_is_mended_by_itself_calls_nobody(settings: Settings, clock: FakeClock) -> None:
    with webhook() as (address, heard):
        reported = fail_and_alert(replace(settings, alert_webhook=address), clock, dagster__will_retry="true")
    assert reported["webhook"] == "not told: the run is started once more by itself"
    assert not heard


@pytest.mark.parametrize(("retries", "said"), [(1, "not told: the run"), (0, "no webhook is set")])
def test_the_word_that_a_run_is_started_again_comes_a_moment_later(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, retries: int, said: str
) -> None:
    monkeypatch.setattr(run_failures, "_POLL_SECONDS", 0)
    with dg.instance_for_test(overrides={"run_retries": {"enabled": True, "max_retries": retries}}) as instance:
        assert fail_and_alert(settings, clock, instance)["webhook"].startswith(said)


def test_a_line_that_was_cut_off_takes_no_other_with_it(settings: Settings) -> None:
    append_alert(settings, {"run": "before"})
    with settings.alerts.open("a") as file:
        file.write('{"run": "cut of')
    append_alert(settings, {"run": "after"})
    assert [*read_alerts(settings)] == [{"run": "before"}, {"run": "after"}]


@pytest.mark.parametrize(
    ("address", "said"), [("", "no webhook is set"), (UNREACHABLE_URL, "not reached (ConnectError)")]
)
def test_a_webhook_that_is_not_there_changes_nothing(
    settings: Settings, clock: FakeClock, address: str, said: str
) -> None:
    assert fail_and_alert(replace(settings, alert_webhook=address), clock)["webhook"] == said


def test_the_address_never_shows(settings: Settings) -> None:
    assert "s3cret" not in repr(replace(settings, alert_webhook="https://chat.example/s3cret"))
