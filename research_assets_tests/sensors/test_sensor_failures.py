"""A failing sensor causes one alert, not one per tick, and another one when the error stays or changes."""

import json
from dataclasses import replace
from datetime import timedelta

import dagster as dg
import pytest

# The only public way to create ticks is a daemon with a code server, which takes ten seconds.
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster_shared.error import SerializableErrorInfo

from research_assets.sensors import sensor_failures
from research_assets.sensors.sensor_failures import REPEAT_AFTER, alert_on_sensor_failure
from research_assets.settings import Settings, prepare_root
from research_assets_tests.conftest import FakeClock
from research_assets_tests.sensors.test_sensor_run_failures import webhook


class TickHistory:
    """An instance with ticks of the sensor `quota_window`, and the sensor that alerts on their failures."""

    def __init__(self, settings: Settings, clock: FakeClock) -> None:
        prepare_root(settings)
        self.instance = dg.DagsterInstance.local_temp(str(settings.dagster_home))
        self.clock, self.settings = clock, settings
        origin = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="anything"), location_name="research")
        self.state = InstigatorState(
            RemoteInstigatorOrigin(RemoteRepositoryOrigin(origin, "repository"), "quota_window"),
            InstigatorType.SENSOR,
            InstigatorStatus.DECLARED_IN_CODE,
            SensorInstigatorData(min_interval=30),
        )
        self.instance.add_instigator_state(self.state)
        self.cursor: str | None = None

    def tick(self, error: str | None = None) -> None:
        """Record a tick of the sensor. With an error it failed, with that error as the root of another one."""
        self.clock.advance(seconds=30)
        root = SerializableErrorInfo(f"{error}\n", [], "IOException")
        self.instance.create_tick(
            TickData(
                self.state.instigator_origin_id,
                "quota_window",
                InstigatorType.SENSOR,
                TickStatus.FAILURE if error else TickStatus.SKIPPED,
                self.clock.now().timestamp(),
                error=SerializableErrorInfo("the tick failed", [], "Error", cause=root) if error else None,
                selector_id=self.state.selector_id,
            )
        )

    def watch(self) -> str:
        """Tick the alerting sensor and return its skip message."""
        sensor = alert_on_sensor_failure(self.settings, self.clock)
        repository = dg.Definitions(sensors=[sensor]).get_repository_def()
        context = dg.build_sensor_context(self.instance, cursor=self.cursor, repository_def=repository)
        data = sensor.evaluate_tick(context)
        self.cursor = data.cursor
        return str(data.skip_message)

    @property
    def alerts(self) -> list[str]:
        """The errors in `alerts.jsonl` so far."""
        if not self.settings.alerts.exists():
            return []
        return [json.loads(line)["message"][0] for line in self.settings.alerts.read_text().splitlines()]


def test_error_causes_one_alert_and_a_message_without_its_text(settings: Settings, clock: FakeClock) -> None:
    with webhook() as (address, received):
        ticks = TickHistory(replace(settings, alert_webhook=address), clock)
        assert ticks.watch() == "No sensor or schedule failed within the last hour."
        for _ in range(3):
            ticks.tick("moosfreund.parquet is torn")
            assert ticks.watch() == "Failed within the last hour: quota_window."
        ticks.tick()
        ticks.tick("moosfreund.parquet is torn")
        ticks.watch()
    assert ticks.alerts == ["moosfreund.parquet is torn"]
    [message] = received
    assert "quota_window failed" in message["text"]
    assert "moosfreund" not in message["text"]


@pytest.mark.parametrize("after", [timedelta(minutes=1), REPEAT_AFTER])
def test_another_error_and_one_that_stays_cause_an_alert(
    settings: Settings, clock: FakeClock, after: timedelta
) -> None:
    ticks = TickHistory(settings, clock)
    ticks.tick("torn")
    ticks.watch()
    clock.moment += after
    ticks.tick("torn" if after == REPEAT_AFTER else "full")
    ticks.watch()
    assert ticks.alerts == (["torn", "torn"] if after == REPEAT_AFTER else ["torn", "full"])
    assert json.loads(settings.alerts.read_text().splitlines()[0])["sensor"] == "quota_window"


def test_alert_from_a_clock_that_was_ahead_hides_no_later_one(settings: Settings, clock: FakeClock) -> None:
    ticks = TickHistory(settings, clock)
    now = clock.moment
    clock.moment = now + timedelta(days=365)
    ticks.tick("torn")
    ticks.watch()
    clock.moment = now
    # An instance without the tick of the future.
    ticks = TickHistory(replace(settings, instance_home=settings.root / "other"), clock)
    ticks.tick("torn")
    ticks.watch()
    assert ticks.alerts == ["torn", "torn"]


def test_sensor_that_a_person_evaluates_in_the_ui_with_any_cursor_writes_no_second_alert(
    settings: Settings, clock: FakeClock
) -> None:
    ticks = TickHistory(settings, clock)
    ticks.tick("torn")
    ticks.watch()
    with settings.alerts.open("a") as file:
        file.write('{"at": 3, "sensor": "quota_window", "message": []}\n{"run": "a"}\n[]\n')
    for cursor in ("", "x", None):
        ticks.cursor = cursor
        ticks.watch()
    assert len(settings.alerts.read_text().splitlines()) == 4


def test_restart_of_the_code_location_causes_no_alert(settings: Settings, clock: FakeClock) -> None:
    ticks = TickHistory(settings, clock)
    ticks.tick("Could not reach user code server. gRPC Error code: UNAVAILABLE")
    ticks.tick("User code server request timed out due to taking longer than 60 seconds to complete.")
    ticks.watch()
    assert [text.partition(" timed")[0] for text in ticks.alerts] == ["User code server request"]


def test_failure_before_the_lookback_causes_no_alert(settings: Settings, clock: FakeClock) -> None:
    ticks = TickHistory(settings, clock)
    ticks.tick("torn")
    clock.advance(hours=2)
    ticks.watch()
    assert ticks.alerts == []


def test_failure_of_another_location_causes_no_alert(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = TickHistory(settings, clock)
    ticks.tick("torn")
    monkeypatch.setattr(sensor_failures, "location_of", lambda _: "models_of_a_colleague")
    assert ticks.watch() == "No sensor or schedule failed within the last hour."
    monkeypatch.setattr(sensor_failures, "location_of", lambda _: "research")
    assert ticks.watch() == "Failed within the last hour: quota_window."
