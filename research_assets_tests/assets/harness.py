"""A harness for tests of the collected assets: a study, a sandbox and a Dagster instance."""

from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import dagster as dg

from research_assets.checks import study_checks
from research_assets.component import observed_periods_of, study_assets
from research_assets.resources import CollectorResource, warehouse_resource
from research_assets.sandbox.server import RunningSandbox
from research_assets.settings import VARIABLES, Settings
from research_assets.study.spec import CommentRule, StudySpec, UserRule
from research_assets_tests.conftest import FakeClock

STUDY = StudySpec(
    name="gardening",
    start=date(2026, 2, 1),
    end=date(2026, 2, 10),
    query={"and": ({"operation": "EQ", "field_name": "hashtag_name", "field_values": ["gardening"]},)},
    users=UserRule("none"),
)

NO_COMMENTS = replace(STUDY, comments=CommentRule("none"))


def sandbox_settings(sandbox: RunningSandbox, root: Path) -> Settings:
    """Return settings with a data folder and the address of a sandbox."""
    return Settings.from_env(
        {
            VARIABLES["root"].name: str(root),
            VARIABLES["api_url"].name: sandbox.url,
            VARIABLES["client_key"].name: sandbox.app.config.client_key,
            VARIABLES["client_secret"].name: sandbox.app.config.client_secret,
            VARIABLES["rate_limit"].name: "10000",
            VARIABLES["research_cap"].name: str(sandbox.app.config.research_cap),
        }
    )


@dataclass
class AssetHarness:
    """Runs assets of a study against a sandbox. Each run loads the definitions again; all runs use one instance."""

    sandbox: RunningSandbox
    root: Path
    study: StudySpec = STUDY
    instance: dg.DagsterInstance = field(default_factory=dg.DagsterInstance.ephemeral)

    @property
    def settings(self) -> Settings:
        """Settings with the data folder and the sandbox's address."""
        return sandbox_settings(self.sandbox, self.root)

    def run(
        self,
        *entities: str,
        first: str,
        last: str | None = None,
        settings: Settings | None = None,
        **config: bool | int,
    ) -> dg.ExecuteInProcessResult:
        """Materialize entities for one partition or a range of partitions."""
        keys = [dg.AssetKey([self.study.name, entity]) for entity in entities]
        assets = study_assets(self.study, observed_periods_of(self.study, self.settings))
        steps = [asset.op.name for asset in assets if asset.keys & set(keys)]
        collector = CollectorResource(settings or self.settings, clock=FakeClock())
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last or first}
        return dg.materialize(
            [*assets, *study_checks(self.study)],
            selection=keys,
            instance=self.instance,
            resources={
                "research_api": dg.ResourceDefinition.hardcoded_resource(collector),
                "warehouse": warehouse_resource(self.settings),
            },
            partition_key=None if last else first,
            tags=tags if last else None,
            run_config={"ops": {step: {"config": config} for step in steps}},
            raise_on_error=False,
        )

    def requests_sent(self, endpoint: str) -> int:
        """Return the number of requests to an endpoint, from the sandbox's request log."""
        return int(self.sandbox.state["requests"].get(endpoint, 0))

    def materialized(self, entity: str) -> list[str]:
        """Return the partitions that the UI shows as materialized."""
        return sorted(self.instance.get_materialized_partitions(dg.AssetKey([self.study.name, entity])))


def observations_by_partition(result: dg.ExecuteInProcessResult) -> dict[str | None, dg.AssetObservation]:
    """Return the observations of a run, by partition."""
    events = [event for event in result.all_events if event.event_type_value == "ASSET_OBSERVATION"]
    return {event.partition: event.asset_observation_data.asset_observation for event in events}


def failure_message(result: dg.ExecuteInProcessResult) -> str:
    """Return the message of the failed step of a run."""
    [event] = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data
    return str(data.user_failure_data.description if data.user_failure_data else data.error)
