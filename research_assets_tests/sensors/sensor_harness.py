"""A harness for sensors: real runs on an ephemeral instance with a sandbox, and ticks that tests call themselves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import dagster as dg

from research_assets.checks import blocking_check_keys, study_checks
from research_assets.clock import Clock, SystemClock
from research_assets.component import observed_periods_of, study_assets
from research_assets.resources import CollectorResource, warehouse_resource
from research_assets.sandbox.server import RunningSandbox
from research_assets.sensors import CheckKeys, build_automation
from research_assets.settings import Settings
from research_assets.study.spec import StudySpec
from research_assets.warehouse import changes
from research_assets_tests.assets.harness import sandbox_settings

MARTS = dg.AssetKey(["marts", "coverage"])


@dataclass
class SensorHarness:
    """Studies, their sensors, and a replacement of the warehouse that only writes a file."""

    sandbox: RunningSandbox
    root: Path
    studies: Sequence[StudySpec]
    clock: Clock = field(default_factory=SystemClock)
    instance: dg.DagsterInstance = field(default_factory=dg.DagsterInstance.ephemeral)
    build_fails: set[str] = field(default_factory=set)
    cursors: dict[str, str | None] = field(default_factory=dict)
    read_studies: Callable[[], Sequence[StudySpec]] | None = None
    skipped: str | None = None
    builds: int = 0

    @property
    def settings(self) -> Settings:
        return sandbox_settings(self.sandbox, self.root)

    def definitions(self) -> dg.Definitions:
        """Return new definitions each time, as after a restart."""
        settings, harness = self.settings, self
        collector = CollectorResource(settings, clock=self.clock)

        collected = [
            asset for study in self.studies for asset in study_assets(study, observed_periods_of(study, settings))
        ]

        @dg.asset(key=MARTS, deps=[key for asset in collected for key in asset.keys])
        def marts() -> None:
            harness.builds += 1
            if "marts" in harness.build_fails:
                raise dg.Failure("a test of dbt failed", allow_retries=False)
            settings.dbt_target.mkdir(parents=True, exist_ok=True)
            settings.warehouse_build.write_text("")
            raw_files = changes.list_raw_files(settings.raw)
            changes.write_record(settings, changes.BuildInput(raw_files, None), "project")
            settings.warehouse_build.rename(settings.warehouse)

        return dg.Definitions.merge(
            dg.Definitions(
                assets=[marts, *collected],
                # The replacement has no table that a check could read.
                asset_checks=[
                    check
                    for study in self.studies
                    for check in study_checks(study)
                    if all(key.asset_key != MARTS for key in check.check_keys)
                ],
                resources={
                    "research_api": dg.ResourceDefinition.hardcoded_resource(collector),
                    "warehouse": warehouse_resource(settings),
                },
                executor=dg.in_process_executor,
            ),
            build_automation(
                self.studies,
                collector,
                [MARTS],
                CheckKeys(blocking=[key for study in self.studies for key in blocking_check_keys(study)]),
                read_studies=self.read_studies,
            ),
        )

    def at(self, time: datetime) -> None:
        """Move the sandbox's clock."""
        self.sandbox.clock.set(time)

    def tick(self, sensor: str = "quota_window") -> list[dg.RunRequest]:
        """Return the run requests of one tick, without requests whose run key exists, as the daemon does."""
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
        """Execute a run request in the job that the sensor targets."""
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

    def advance(self, max_ticks: int = 20) -> list[dg.ExecuteInProcessResult]:
        """Tick and execute the run requests in order of priority, until a tick requests no run."""
        results: list[dg.ExecuteInProcessResult] = []
        for _ in range(max_ticks):
            requests = self.tick()
            if not requests:
                return results
            for request in sorted(requests, key=lambda request: -int(request.tags["dagster/priority"])):
                results.append(self.launch(request))
        raise AssertionError(f"the sensor still requests runs after {max_ticks} ticks")

    def requests_sent(self) -> int:
        """Return the number of data requests that reached the sandbox."""
        return sum(n for name, n in self.sandbox.state["requests"].items() if not name.startswith("oauth"))

    def materialized(self, study: str, entity: str) -> list[str]:
        """Return the partitions that the UI shows as materialized."""
        return sorted(self.instance.get_materialized_partitions(dg.AssetKey([study, entity])))
