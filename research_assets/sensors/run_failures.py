"""The sensor that tells of failed runs: a line in a log, and a message to a webhook if one is set.

A pause is no failure and is not told. The message leaves the machine, so it names the run and its assets only: no
error text, which could quote data, and no setting.
"""

import threading
from collections.abc import Mapping, Sequence

import dagster as dg

from research_assets.alerts import append_alert, post_webhook, read_alerts
from research_assets.clock import Clock
from research_assets.sensors.run_history import WILL_RETRY_TAG
from research_assets.settings import Settings

DESCRIPTION = """Writes each failed run into `alerts.jsonl` in the data folder, and posts a short message to the address
in RESEARCH_ALERT_WEBHOOK if it is set. A run that paused at the end of the quota has not failed. A run whose process
died is written down, but not posted as long as it is started once more by itself. Any other red needs a person. Each
run is told once."""

_POLL_SECONDS, _MAX_POLLS = 0.1, 50  # seconds, and how many of them at most


def alert_on_run_failure(settings: Settings, clock: Clock) -> dg.SensorDefinition:
    """The sensor over all runs of the code location."""

    @dg.run_failure_sensor(
        name="alert_on_run_failure",
        minimum_interval_seconds=settings.sensor_interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=DESCRIPTION,
    )
    def sensor(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        # Two that watch over processes may both report the same death.
        if any(line.get("run") == run.run_id for line in read_alerts(settings)):
            return
        facts: dict[str, str | Sequence[str]] = {
            "run": run.run_id,
            "assets": sorted(k.to_user_string() for k in run.asset_selection or ()),
        }
        partitions = _partitions(run)
        if partitions:
            facts["partitions"] = partitions
        if _will_retry(context.instance, run):
            posted = "not told: the run is started once more by itself"
        else:
            posted = post_webhook(settings, alert_text(facts))
        said = [_failure_message(event) for event in context.get_step_failure_events()] or _crash_messages(
            context.instance, run
        )
        line = {
            "at": clock.now().isoformat(timespec="seconds"),
            **facts,
            "message": said or ["no reason is known"],
            "webhook": posted,
        }
        append_alert(settings, line)
        context.log.warning("Run %s failed; noted in %s; webhook: %s", run.run_id, settings.alerts, posted)

    return sensor


def _will_retry(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether Dagster starts a failed run once more. It says so a moment after the failure, which is waited for."""
    tags, moment = run.tags, threading.Event()
    for _ in range(_MAX_POLLS if instance.run_retries_enabled else 0):
        if WILL_RETRY_TAG in tags:
            break
        moment.wait(_POLL_SECONDS)
        now = instance.get_run_by_id(run.run_id)
        tags = now.tags if now is not None else tags
    return tags.get(WILL_RETRY_TAG) == "true"


def _failure_message(event: dg.DagsterEvent) -> str:
    """What a failed step says: the description of a Failure, else the error at the root."""
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else str(event.message)


def _crash_messages(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
    """What Dagster saw of a run that no step ended: the last word before it was called failed, and that one."""
    entries = instance.all_logs(run.run_id, of_type={dg.DagsterEventType.ENGINE_EVENT, dg.DagsterEventType.RUN_FAILURE})
    words: list[str] = []
    for entry in entries:
        words = [*words[-1:], str(entry.dagster_event.message)] if entry.dagster_event else words
        if entry.dagster_event_type == dg.DagsterEventType.RUN_FAILURE:
            break
    return words


def alert_text(facts: Mapping[str, object]) -> str:
    """What is told outside."""
    assets, partitions = facts["assets"], facts.get("partitions")
    what = ", ".join(assets) if isinstance(assets, list) and assets else "a run"
    return (
        f"research-assets: {what} failed{f' for {partitions}' if partitions else ''} (run {facts['run']}). "
        "It needs a person: the reason stands in Dagster's UI under Runs."
    )


def _partitions(run: dg.DagsterRun) -> str | None:
    single = run.tags.get("dagster/partition")
    first = run.tags.get("dagster/asset_partition_range_start")
    return single or (f"{first}..{run.tags.get('dagster/asset_partition_range_end')}" if first else None)
