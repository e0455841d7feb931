"""The sensor `alert_on_run_failure`, which alerts on failed runs with a line in `alerts.jsonl` and a webhook message.

A paused run has not failed and causes no alert. The message leaves the machine, so it names the run and its assets
only: no error text, which could quote data, and no setting. Not here: failed ticks of sensors (see sensor_failures.py),
and the delivery of an alert (see alerts.py).
"""

import threading
from collections.abc import Mapping, Sequence

import dagster as dg

from research_assets.alerts import append_alert, post_webhook, read_alerts
from research_assets.clock import Clock
from research_assets.sensors.recorded_errors import root_message
from research_assets.sensors.run_history import WILL_RETRY_TAG
from research_assets.settings import Settings
from research_assets.text import log_text

DESCRIPTION = """Writes each failed run to alerts.jsonl in the data folder.

It also posts a short message to RESEARCH_ALERT_WEBHOOK if that is set.

Each run is reported once. A run that paused at the end of the quota has not failed. A run whose process died is
written to the file, but not posted while Dagster retries it. Any other failed run needs a person."""

_POLL_SECONDS, _MAX_POLLS = 0.1, 50


def alert_on_run_failure(settings: Settings, clock: Clock) -> dg.SensorDefinition:
    """Return the sensor over all runs of the code location."""

    @dg.run_failure_sensor(
        name="alert_on_run_failure",
        minimum_interval_seconds=settings.sensor_interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=DESCRIPTION,
    )
    def sensor(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        # Two processes that monitor runs may both report the same death.
        if any(alert.get("run") == run.run_id for alert in read_alerts(settings)):
            return
        alert: dict[str, str | Sequence[str]] = {
            "run": run.run_id,
            "assets": sorted(key.to_user_string() for key in run.asset_selection or ()),
        }
        partitions = _partitions(run)
        if partitions:
            alert["partitions"] = partitions
        if _will_retry(context.instance, run):
            webhook = "not posted: Dagster retries the run"
        else:
            webhook = post_webhook(settings, alert_text(alert))
        messages = [_failure_message(event) for event in context.get_step_failure_events()] or _crash_messages(
            context.instance, run
        )
        line = {
            "at": clock.now().isoformat(timespec="seconds"),
            **alert,
            "message": [log_text(message) for message in messages] or ["no error message recorded"],
            "webhook": webhook,
        }
        append_alert(settings, line)
        context.log.warning("Wrote the failure of run %s to %s; webhook: %s", run.run_id, settings.alerts, webhook)

    return sensor


def alert_text(alert: Mapping[str, object]) -> str:
    """Return the message that leaves the machine, from the run, assets and partitions of an alert."""
    assets, partitions = alert["assets"], alert.get("partitions")
    names = ", ".join(assets) if isinstance(assets, list) and assets else "a run"
    return (
        f"research-assets: {names} failed{f' for {partitions}' if partitions else ''} (run {alert['run']}). "
        "A person must fix the cause. See Runs in Dagster's UI."
    )


def _will_retry(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether Dagster retries a failed run. Waits for the tag that Dagster sets shortly after the failure."""
    tags, never_set = run.tags, threading.Event()
    for _ in range(_MAX_POLLS if instance.run_retries_enabled else 0):
        if WILL_RETRY_TAG in tags:
            break
        never_set.wait(_POLL_SECONDS)
        current = instance.get_run_by_id(run.run_id)
        tags = current.tags if current is not None else tags
    return tags.get(WILL_RETRY_TAG) == "true"


def _failure_message(event: dg.DagsterEvent) -> str:
    """Return the message of a failed step: the description of a Failure, otherwise the error at the root."""
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    return root_message(data.error) or str(event.message)


def _crash_messages(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
    """Return Dagster's messages about a run without a failed step: the failure event and the event before it.

    The event before it may have an error: then also that at the root, such as that of an invalid study file.
    """
    entries = instance.all_logs(run.run_id, of_type={dg.DagsterEventType.ENGINE_EVENT, dg.DagsterEventType.RUN_FAILURE})
    before: list[str] = []
    messages: list[str] = []
    for entry in entries:
        if (event := entry.dagster_event) is None:
            continue
        messages = [*before, str(event.message)]
        error = event.engine_event_data.error if event.is_engine_event else None
        before = [str(event.message), *filter(None, [root_message(error)])]
        if entry.dagster_event_type == dg.DagsterEventType.RUN_FAILURE:
            break
    return messages


def _partitions(run: dg.DagsterRun) -> str | None:
    single = run.tags.get("dagster/partition")
    first = run.tags.get("dagster/asset_partition_range_start")
    return single or (f"{first}..{run.tags.get('dagster/asset_partition_range_end')}" if first else None)
