"""The sensor that tells when a sensor or schedule itself fails: then nothing is asked, and no run turns red for it."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from research_assets.alerts import append_alert, post_webhook
from research_assets.clock import Clock
from research_assets.settings import Settings

REPEAT_AFTER = timedelta(days=1)
"""After which the same error is told once more, if it is still there."""

LOOKBACK = timedelta(hours=1)
"""How far back is looked for failed looks at first, and after the daemon stood still."""

DESCRIPTION = """Tells when a sensor or schedule could not look at how things stand: a file that cannot be read, say. As
long as that lasts it starts no run, so no run turns red. Each new error is written into `alerts.jsonl` in the data
folder, posted to RESEARCH_ALERT_WEBHOOK if that is set, and shown by `research-assets status`; one that lasts is told
once a day. If the code location itself cannot be loaded, no sensor runs at all: the UI says so under Deployment."""


@dataclass(frozen=True, slots=True)
class TickFailure:
    """A tick of a sensor or schedule that failed: which, when (UTC), and the error at its root."""

    name: str
    at: datetime
    error: str

    @property
    def key(self) -> str:
        """The same for two failures of one kind."""
        return hashlib.blake2b(f"{self.name}: {self.error}".encode(), digest_size=8).hexdigest()


def new_failures(
    looks: Iterable[TickFailure], reported: Mapping[str, datetime]
) -> tuple[list[TickFailure], dict[str, datetime]]:
    """The failed looks to tell of, the newest of each kind, and by mark when each was told; old marks are forgotten."""
    newest: dict[str, TickFailure] = {}
    for look in sorted(looks, key=lambda one: one.at):
        newest[look.key] = look
    fresh = [look for mark, look in newest.items() if mark not in reported or look.at - reported[mark] >= REPEAT_AFTER]
    last = max((look.at for look in newest.values()), default=None)
    kept = {mark: at for mark, at in reported.items() if last is None or last - at < 2 * REPEAT_AFTER}
    return fresh, kept | {look.key: look.at for look in fresh}


def alert_on_sensor_failure(settings: Settings, clock: Clock) -> dg.SensorDefinition:
    """The sensor over the ticks of all others."""

    @dg.sensor(
        name="alert_on_sensor_failure",
        minimum_interval_seconds=2 * settings.sensor_interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=DESCRIPTION,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        now = clock.now()
        state = json.loads(context.cursor or "{}")
        reported = {mark: datetime.fromisoformat(at) for mark, at in state.get("reported", {}).items()}
        looks = _failed_ticks(context.instance, now - LOOKBACK)
        fresh, reported = new_failures(looks, reported)
        for look in fresh:
            _send_alert(settings, look)
            context.log.warning("%s could not look: %s; noted in %s", look.name, look.error, settings.alerts)
        context.update_cursor(json.dumps({"reported": {mark: at.isoformat() for mark, at in reported.items()}}))
        names = ", ".join(sorted({look.name for look in looks}))
        return dg.SkipReason(f"Could not look within the last hour: {names}." if names else "All could look.")

    return sensor


def _send_alert(settings: Settings, look: TickFailure) -> None:
    text = (
        f"research-assets: {look.name} could not look at how things stand, so it starts nothing. "
        "It needs a person: the reason stands in Dagster's UI under Automation."
    )
    posted = post_webhook(settings, text)
    at = look.at.isoformat(timespec="seconds")
    append_alert(settings, {"at": at, "sensor": look.name, "message": [look.error], "webhook": posted})


def _failed_ticks(instance: dg.DagsterInstance, since: datetime) -> list[TickFailure]:
    """Ticks that failed since then, of whatever sensor and schedule."""
    looks = []
    for state in instance.all_instigator_state():
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, after=since.timestamp()):
            if tick.is_failure:
                error = tick.error
                while error is not None and error.cause is not None:
                    error = error.cause
                reason = error.message.strip() if error is not None else "no reason is known"
                looks.append(TickFailure(state.instigator_name, datetime.fromtimestamp(tick.timestamp, UTC), reason))
    return looks
