"""The scenario: sixty days of two studies at 40 requests per day, with injected faults and without any user."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from research_assets.checks import coverage_mart, study_checks
from research_assets.sandbox.config import SandboxConfig
from research_assets.study.loader import find_studies
from research_assets.study.spec import StudySpec
from research_assets_tests.end_to_end.deployment import Deployment, running_deployment
from research_assets_tests.end_to_end.faults import inject_after_requests, kill_run_process

QUOTA = 40
DEAD_DAY = date(2026, 3, 5)
"""A search whose window contains this day always fails."""
EVENING = datetime(2026, 4, 4, 18, tzinfo=UTC)
NIGHTS = tuple(datetime(2026, 4, day, 0, 0, 30, tzinfo=UTC) for day in (5, 6, 7, 8))
"""Start of the scenario, and the times to which the clock is set. In these nights the last days of `garden` settle one
by one. In the last two nights its first days reach the age of their re-observation."""
KILLED_AT, TOKENS_END_AT = 12, 52
"""Data requests after which the faults occur: on the first evening, and in the first night."""

GARDEN = """\
type: research_assets.Study
attributes:
  name: garden
  start: 2026-02-05
  end: 2026-04-05
  reobserve_days: [60]
  query: {and: [{field: hashtag_name, eq: gardening}]}
  comments: {videos: sample, fraction: 0.01, seed: 7}
  users: none
"""
KITCHEN = """\
type: research_assets.Study
attributes:
  name: kitchen
  start: 2026-02-01
  end: 2026-04-01
  query: {and: [{field: region_code, eq: DE}]}
  comments: none
  users: {who: top, n: 3}
  quota_weight: 2
"""


@dataclass(frozen=True)
class ScenarioResult:
    """The deployment at the end, the messages of `quota_window` after each day's work, and the injected faults."""

    deployment: Deployment
    sensor_messages: list[str]
    injected_faults: list[int]

    @property
    def studies(self) -> tuple[StudySpec, StudySpec]:
        """`garden` and `kitchen`."""
        garden, kitchen = sorted(
            (found.spec for found in find_studies(self.deployment.settings)), key=lambda one: one.name
        )
        return garden, kitchen

    def days(self, study: StudySpec) -> list[date]:
        """Return all days of a study."""
        assert study.end is not None
        return [study.start + timedelta(days=number) for number in range((study.end - study.start).days + 1)]

    def failing(self) -> set[str]:
        """Return the checks of the studies whose newest evaluation did not pass."""
        failing = set()
        for spec in (spec for study in self.studies for check in study_checks(study) for spec in check.check_specs):
            record = self.deployment.instance.get_latest_asset_check_evaluation_record(spec.key)
            evaluation = record.event.asset_check_evaluation if record and record.event else None
            if evaluation is None or not evaluation.passed:
                asset = spec.asset_key.to_user_string()
                failing.add(spec.name if spec.asset_key == coverage_mart() else f"{asset}: {spec.name}")
        return failing


@contextmanager
def run_scenario(root: Path, when_paused: Callable[[Deployment], None]) -> Iterator[ScenarioResult]:
    """Run the scenario and yield its result.

    `when_paused` is called on the first evening, when the quota is used up and most data is still missing.
    """
    config = SandboxConfig(
        fixed_volume=50,
        fixed_comments=3,
        undeliverable=0.1,
        research_cap=QUOTA,
        dead_days=frozenset({DEAD_DAY}),
        start_time=EVENING,
    )
    variables = {"research_cap": str(QUOTA), "sensor_interval": "4", "rate_limit": "200"}
    with running_deployment(config, {"garden": GARDEN, "kitchen": KITCHEN}, root, **variables) as deployment:

        def kill_run() -> None:
            # Dagster reports the failures that come after the first tick.
            deployment.wait(lambda: deployment.tick("alert_on_run_failure"), "failures are reported")
            kill_run_process(deployment.instance)

        injected = inject_after_requests(
            deployment.sandbox,
            {
                KILLED_AT: kill_run,
                TOKENS_END_AT: lambda: deployment.sandbox.clock.advance(config.token_lifetime + 1),
            },
        )
        messages = [deployment.wait_until_idle()]
        deployment.wait_for_marts()
        when_paused(deployment)
        for night in NIGHTS:
            deployment.set_clock(night)
            messages.append(deployment.wait_until_idle())
        deployment.wait_for_marts()
        yield ScenarioResult(deployment, messages, injected)
