"""The sensors with real runs on an ephemeral instance and a sandbox: a daemon without processes, ticked by hand."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import dagster as dg

from research_assets.checks import blocking_check_keys, study_checks
from research_assets.clock import SystemClock
from research_assets.component import study_assets
from research_assets.resources import CollectorResource, warehouse_resource
from research_assets.sandbox.server import RunningSandbox
from research_assets.sensors import CheckKeys, build_automation
from research_assets.settings import Settings
from research_assets.study.spec import StudySpec
from research_assets_tests.assets.harness import AssetHarness

MARTS = dg.AssetKey(["marts", "coverage"])


@dataclass
class SensorHarness:
    """Studies, their sensors, and a stand-in for the warehouse that only leaves a file."""

    sandbox: RunningSandbox
    root: Path
    studies: Sequence[StudySpec]
    instance: dg.DagsterInstance = field(default_factory=dg.DagsterInstance.ephemeral)
    build_fails: set[str] = field(default_factory=set)
    cursors: dict[str, str | None] = field(default_factory=dict)
    skipped: str | None = None
    builds: int = 0

    @property
    def settings(self) -> Settings:
        return AssetHarness(self.sandbox, self.root).settings

    def definitions(self) -> dg.Definitions:
        """Built anew each time, as after a restart."""
        settings, harness = self.settings, self
        collector = CollectorResource(settings, clock=SystemClock())

        collected = [asset for study in self.studies for asset in study_assets(study)]

        @dg.asset(key=MARTS, deps=[key for asset in collected for key in asset.keys])
        def marts() -> None:
            harness.builds += 1
            if "marts" in harness.build_fails:
                raise dg.Failure("a test of dbt failed", allow_retries=False)
            settings.warehouse.write_text("")

        return dg.Definitions.merge(
            dg.Definitions(
                assets=[marts, *collected],
                # The stand-in holds no table that a check could read.
                asset_checks=[
                    check
                    for study in self.studies
                    for check in study_checks(study)
                    if all(key.asset_key != MARTS for key in check.check_keys)
                ],
                resources={
                    "collector": dg.ResourceDefinition.hardcoded_resource(collector),
                    "warehouse": warehouse_resource(settings),
                },
                executor=dg.in_process_executor,
            ),
            build_automation(
                self.studies,
                collector,
                [MARTS],
                CheckKeys(blocking=[key for study in self.studies for key in blocking_check_keys(study)]),
            ),
        )

    def at(self, moment: datetime) -> None:
        """Move the sandbox's clock."""
        self.sandbox.clock.set(moment)

    def tick(self, sensor: str = "quota_window") -> list[dg.RunRequest]:
        """One tick of the real evaluator; runs that were asked for before are left out, as the daemon does."""
        definitions = self.definitions()
        repository = definitions.get_repository_def()
        context = dg.build_sensor_context(
            self.instance, cursor=self.cursors.get(sensor), repository_def=repository, sensor_name=sensor
        )
        data = repository.get_sensor_def(sensor).evaluate_tick(context)
        self.cursors[sensor], self.skipped = data.cursor, data.skip_message
        for event in data.asset_events:
            self.instance.report_runless_asset_event(event)
        return [
            request
            for request in data.run_requests or []
            if not self.instance.get_runs(filters=dg.RunsFilter(tags={"dagster/run_key": str(request.run_key)}))
        ]

    def launch(self, request: dg.RunRequest, sensor: str = "quota_window") -> dg.ExecuteInProcessResult:
        """Run what a tick asked for, in the job that the sensor targets."""
        repository = self.definitions().get_repository_def()
        job = repository.get_job(str(request.job_name))
        if request.asset_check_keys:
            job = job.get_subset(
                asset_selection=set(request.asset_selection or ()),
                asset_check_selection=set(request.asset_check_keys),
            )
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=None if request.asset_check_keys else list(request.asset_selection or ()),
            run_config=dict(request.run_config),
            tags={**request.tags, "dagster/run_key": str(request.run_key), "dagster/sensor_name": sensor},
            raise_on_error=False,
        )

    def advance(self, most: int = 20) -> list[dg.ExecuteInProcessResult]:
        """Tick, and run what is asked for, the most urgent first, until a tick asks for nothing."""
        results: list[dg.ExecuteInProcessResult] = []
        for _ in range(most):
            requests = self.tick()
            if not requests:
                return results
            for request in sorted(requests, key=lambda one: -int(one.tags["dagster/priority"])):
                results.append(self.launch(request))
        raise AssertionError("the sensor does not come to rest")

    def requests_sent(self) -> int:
        """Data requests that reached the sandbox."""
        return sum(n for name, n in self.sandbox.state["requests"].items() if not name.startswith("oauth"))

    def materialized(self, study: str, entity: str) -> list[str]:
        return sorted(self.instance.get_materialized_partitions(dg.AssetKey([study, entity])))
