"""Two UIs and eight collectors on one data folder; a planted secret is in nothing that any of them writes."""

import os
from datetime import UTC, date, datetime
from pathlib import Path
from random import Random

import pytest

from research_assets.clock import SystemClock
from research_assets.export import ExportRequest, export
from research_assets.quota.ledger import Ledger
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import VARIABLES
from research_assets.study.loader import find_studies
from research_assets_tests.browser.processes import ui_process
from research_assets_tests.collect.harness import days
from research_assets_tests.collect.process_harness import CollectorProcess
from research_assets_tests.end_to_end.deployment import running_deployment
from research_assets_tests.torture.jobs import Collection
from research_assets_tests.torture.secrets import find_texts
from research_assets_tests.torture.shim import CHANGES, KILL, Fault
from research_assets_tests.torture.trials import Trials
from research_assets_tests.torture.zygote import Job, Zygote

pytestmark = [pytest.mark.torture, pytest.mark.timeout(3600)]

NUMBER_OF_DAYS = 12
STUDY = f"""\
type: research_assets.Study
attributes:
  name: garden
  start: 2026-02-01
  end: 2026-02-{NUMBER_OF_DAYS:02}
  query: {{and: [{{field: hashtag_name, eq: gardening}}]}}
  comments: none
  users: none
"""
QUERY = {"and": [{"operation": "EQ", "field_name": "hashtag_name", "field_values": ["gardening"]}]}
SECRET = "planted-e02fb6f1c87a4d0b"


def test_two_uis_and_eight_collectors(trials: Trials, zygote: Zygote, tmp_path: Path) -> None:
    rng = Random(f"{trials.seed} {trials.kind}")
    config = SandboxConfig(fixed_volume=120, client_secret=SECRET, start_time=datetime(2026, 4, 4, 18, tzinfo=UTC))
    variables = {"sensor_interval": "2", "rate_limit": "200", "page_size": "20"}
    umask = os.umask(0)
    with running_deployment(config, {"garden": STUDY}, tmp_path, **variables) as deployment:
        settings = deployment.settings
        names = {variable.name: "" for variable in VARIABLES.values()}
        texts = {
            VARIABLES["root"].name: str(settings.root),
            VARIABLES["studies"].name: str(settings.studies[0]),
            VARIABLES["api_url"].name: settings.api_url,
            VARIABLES["client_key"].name: settings.client_key,
            VARIABLES["client_secret"].name: settings.client_secret,
            VARIABLES["sensor_interval"].name: "2",
            VARIABLES["rate_limit"].name: "200",
            VARIABLES["page_size"].name: "20",
        }
        (study,) = (found.spec for found in find_studies(settings))
        with ui_process({**os.environ, **names, **texts}, tmp_path / "second.log"):
            jobs = []
            for _ in range(8):
                process = CollectorProcess(settings, "videos", days(NUMBER_OF_DAYS), datetime.now(UTC), study)
                fault = Fault(settings.root, rng.randrange(60), KILL, kinds=CHANGES)
                jobs.append(Job(Collection(process, system_clock=True), fault if rng.random() < 0.5 else None))
            outcomes = zygote.run_all(jobs)
            for outcome in outcomes:
                assert not outcome.error, outcome.error
            deployment.wait_until_idle()
            deployment.wait_for_marts()
            truth = deployment.sandbox.ground_truth.videos(QUERY, date(2026, 2, 1), date(2026, 2, NUMBER_OF_DAYS))
            rows = [row[0] for row in deployment.rows("SELECT video_id FROM marts.videos")]
            assert sorted(rows) == sorted(video for hits in truth.values() for video in hits.deliverable)
            assert deployment.rows("SELECT count(*) FROM marts.coverage WHERE state <> 'complete'") == [(0,)]
            ledger = Ledger(settings.ledger, settings.caps, SystemClock())
            server = sum(day.used for day in deployment.sandbox.app.quota.pools["research"].days.values())
            requests = list(ledger.iter_requests())
            assert server <= len(requests) <= server + sum(request["code"] is None for request in requests)
            export(settings, ExportRequest(formats=("csv", "parquet")), [study], datetime.now(UTC))
            failed = [run.run_id for run in deployment.runs() if run.status.value == "FAILURE"]
    os.umask(umask)
    open_to_others = [path for path in settings.root.rglob("*") if path.stat().st_mode & 0o077]
    assert open_to_others == []
    assert find_texts(tmp_path, [SECRET]) == {}
    killed = sum(outcome.killed for outcome in outcomes)
    trials.record("torture", (trials.kind, 1, 1, {"killed": killed, "failed runs": len(failed)}))
