"""The resources as Dagster's Resources page shows them: described, configured, used, and without secrets."""

import json
import os
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from research_assets.component import study_assets
from research_assets.definitions import build_definitions
from research_assets.resources import CollectorResource, PublishedWarehouse, QuotaLedger, build_resources
from research_assets.settings import DEMO_STUDIES_DIR, Settings, child_environment
from research_assets_tests.assets.harness import NO_COMMENTS
from research_assets_tests.conftest import FakeClock

SECRET = "s3cret-of-the-project"


@pytest.fixture
def configured(settings: Settings) -> Settings:
    return replace(settings, client_key="key-of-the-project", client_secret=SECRET, rate_limit=7.0, timeout=12.0)


def test_each_resource_is_described_and_shows_its_configuration(configured: Settings) -> None:
    resources = build_resources(configured)
    assert resources.keys() == {"research_api", "quota_ledger", "warehouse"}
    shown: dict[str, Any] = {}
    for name, resource in resources.items():
        assert isinstance(resource, dg.ConfigurableResource)
        first = str(type(resource).__doc__).strip().splitlines()[0]
        assert 20 < len(first) <= 110
        assert type(resource).__name__ != "<lambda>"
        for field, info in type(resource).model_fields.items():
            assert info.description or field == "quota_ledger" or name == "warehouse", (name, field)
        shown[name] = resource
    api = shown["research_api"]
    assert (api.address, api.rate_limit, api.timeout) == (configured.api_url, 7.0, 12.0)
    assert shown["quota_ledger"].research_quota == configured.research_cap
    assert isinstance(shown["warehouse"], PublishedWarehouse)


def test_secrets_are_environment_variables_in_the_configuration(configured: Settings) -> None:
    api = build_resources(configured)["research_api"]
    assert isinstance(api, dg.ConfigurableResource)
    definition = dg.Definitions(resources={"research_api": api})
    text = json.dumps(repr([api.client_key, api.client_secret])) + repr(api) + repr(definition)  # type: ignore[attr-defined]
    assert SECRET not in text
    assert api.client_secret == dg.EnvVar("TIKTOK_CLIENT_SECRET")  # type: ignore[attr-defined]
    assert os.environ["TIKTOK_CLIENT_SECRET"] == SECRET


def test_ledger_in_a_database_is_shown_without_its_password_and_handed_over(configured: Settings) -> None:
    url = f"postgresql://lab:{SECRET}@db.example.org:5433/lab?sslmode=require"
    with_database = replace(configured, ledger_url=url, api_url="https://open.tiktokapis.com")
    resources = build_resources(with_database)
    shown = resources["quota_ledger"]
    assert isinstance(shown, QuotaLedger)
    assert shown.database == "postgresql://db.example.org:5433/lab"
    assert (shown.database_url, shown.database_schema) == (dg.EnvVar("RESEARCH_LEDGER"), "research_assets")
    assert SECRET not in repr(shown) + repr(dg.Definitions(resources=resources))
    given: list[CollectorResource] = []
    ledgers: list[str] = []

    @dg.asset
    def one(research_api: dg.ResourceParam[CollectorResource], quota_ledger: QuotaLedger) -> None:
        given.append(research_api)
        ledgers.append(quota_ledger.open(FakeClock()).place)

    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([one], resources=resources, instance=instance).success
    assert [collector.settings for collector in given] == [with_database]
    assert ledgers == [shown.database]
    assert child_environment(with_database)["RESEARCH_LEDGER"] == url


def test_research_api_hands_over_the_collector_with_its_configuration(configured: Settings) -> None:
    clock = FakeClock()
    given: list[CollectorResource] = []

    @dg.asset
    def one(research_api: dg.ResourceParam[CollectorResource]) -> None:
        given.append(research_api)

    resources = build_resources(configured, CollectorResource(configured, clock=clock))
    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([one], resources=resources, instance=instance).success
    [collector] = given
    assert isinstance(collector, CollectorResource)
    assert collector.settings == configured
    assert collector.clock is clock
    assert collector.ledger_path == configured.ledger


def test_collected_assets_declare_the_api() -> None:
    assets = study_assets(NO_COMMENTS)
    assert {key for asset in assets for key in asset.required_resource_keys} == {"research_api", "io_manager"}


@pytest.mark.integration
def test_code_location_uses_every_resource(configured: Settings) -> None:
    repository = build_definitions(replace(configured, studies=(DEMO_STUDIES_DIR,))).get_repository_def()
    assert repository.get_top_level_resources().keys() == {"research_api", "quota_ledger", "warehouse"}
    used = {key for asset in repository.assets_defs_by_key.values() for key in asset.required_resource_keys}
    assert used >= {"research_api", "warehouse"}
