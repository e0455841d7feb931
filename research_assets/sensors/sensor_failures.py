"""The sensor `alert_on_sensor_failure`, which alerts on failed ticks of sensors and schedules.

A sensor that fails starts no runs, so no failed run shows the problem. Not here: failed runs (see run_failures.py), and
the delivery of an alert (see alerts.py).
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from research_assets.alerts import append_alert, post_webhook, read_alerts
from research_assets.clock import Clock
from research_assets.sensors.recorded_errors import causes, root_message
from research_assets.sensors.run_history import location_of
from research_assets.settings import Settings
from research_assets.text import log_text

REPEAT_AFTER = timedelta(days=1)
"""Time after which an error that is still present is reported again."""

_UNREACHABLE = "Could not reach user code server"
"""Dagster's message while the code location does not run. A tick that takes too long has another one."""

LOOKBACK = timedelta(hours=1)
"""How far back the sensor reads ticks. It covers the first tick, and the first one after a stop of the daemon."""

DESCRIPTION = """Alerts when a sensor or schedule of this project fails.

A sensor fails for example because it cannot read a file. Until the error is fixed it starts no runs, so no failed run
shows the problem.

Each new error is written to alerts.jsonl in the data folder, posted to RESEARCH_ALERT_WEBHOOK if it is set, and
shown by research-assets status. An error that stays is reported once a day. If the code location itself cannot be
loaded, no sensor runs at all: see Deployment in the UI."""


@dataclass(frozen=True, slots=True)
class TickFailure:
    """A failed tick of a sensor or schedule: its name, its time (UTC), and the error at the root."""

    name: str
    at: datetime
    error: str

    @property
    def key(self) -> str:
        """Digest of name and error, the same for all failures of one kind."""
        return hashlib.blake2b(f"{self.name}: {self.error}".encode(), digest_size=8).hexdigest()


def new_failures(failures: Iterable[TickFailure], reported: Mapping[str, datetime]) -> list[TickFailure]:
    """Return the failures to report, the newest of each kind. `reported` is the time of the last report by key."""
    newest: dict[str, TickFailure] = {}
    for failure in sorted(failures, key=lambda failure: failure.at):
        newest[failure.key] = failure
    # A report of the future was made while the machine's clock was ahead.
    return [
        failure
        for key, failure in newest.items()
        if key not in reported or abs(failure.at - reported[key]) >= REPEAT_AFTER
    ]


def alert_on_sensor_failure(settings: Settings, clock: Clock) -> dg.SensorDefinition:
    """Return the sensor over the ticks of all sensors and schedules."""

    @dg.sensor(
        name="alert_on_sensor_failure",
        minimum_interval_seconds=2 * settings.sensor_interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=DESCRIPTION,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        now = clock.now()
        failures = _failed_ticks(context.instance, now - LOOKBACK, location_of(context))
        for failure in new_failures(failures, _read_reported(settings) if failures else {}):
            _send_alert(settings, failure)
            context.log.warning("Wrote the failure of %s to %s: %s", failure.name, settings.alerts, failure.error)
        names = ", ".join(sorted({failure.name for failure in failures}))
        return dg.SkipReason(
            f"Failed within the last hour: {names}." if names else "No sensor or schedule failed within the last hour."
        )

    return sensor


def _read_reported(settings: Settings) -> dict[str, datetime]:
    """Return the time of the last report by failure key.

    It is read from the file and not from a cursor, because a person can evaluate the sensor in the UI with any cursor.
    """
    reported = {}
    for alert in read_alerts(settings):
        try:
            at = datetime.fromisoformat(alert["at"])
            reported[TickFailure(alert["sensor"], at, alert["message"][0]).key] = at
        # Failed runs, and lines that a person has written.
        except (TypeError, KeyError, ValueError, IndexError):
            continue
    return reported


def _send_alert(settings: Settings, failure: TickFailure) -> None:
    text = (
        f"research-assets: {failure.name} failed and starts no runs until the error is fixed. "
        "See Automation in Dagster's UI."
    )
    webhook = post_webhook(settings, text)
    at = failure.at.isoformat(timespec="seconds")
    append_alert(settings, {"at": at, "sensor": failure.name, "message": [failure.error], "webhook": webhook})


def _failed_ticks(instance: dg.DagsterInstance, since: datetime, location: str | None) -> list[TickFailure]:
    """Return the ticks of the sensors and schedules of a code location that failed after a time."""
    failures = []
    for state in instance.all_instigator_state():
        origin = state.origin.repository_origin.code_location_origin
        if location is not None and origin.location_name != location:
            continue
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, after=since.timestamp()):
            # The code location was restarted or killed. It runs again, because this sensor runs in it.
            if tick.is_failure and not any(_UNREACHABLE in error.message for error in causes(tick.error)):
                message = log_text(root_message(tick.error) or "no error message recorded")
                failures.append(
                    TickFailure(state.instigator_name, datetime.fromtimestamp(tick.timestamp, UTC), message)
                )
    return failures
