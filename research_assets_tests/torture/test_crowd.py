"""Eight collectors at the same time, some of them killed, and thirty builds under open readers and a foreign shell."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from research_assets_tests.collect.harness import START, days
from research_assets_tests.collect.process_harness import CollectorProcess, ServedHarness
from research_assets_tests.collect.test_crash import CASES
from research_assets_tests.torture.build_jobs import GrowingBuilds, Readings
from research_assets_tests.torture.jobs import Collection
from research_assets_tests.torture.oracle import assert_recovers
from research_assets_tests.torture.shim import CHANGES, KILL, Fault
from research_assets_tests.torture.test_kills import bases, trial_root
from research_assets_tests.torture.trials import Trials
from research_assets_tests.torture.zygote import Job, Zygote
from research_assets_tests.warehouse.duckdb_shell import duckdb_shell
from research_assets_tests.warehouse.raw_data import new_settings, write_raw_data
from research_assets_tests.warehouse.test_increment import build_and_publish

__all__ = ["bases"]

pytestmark = [pytest.mark.torture, pytest.mark.timeout(7200)]

COLLECTORS = 8
DAYS = 6


def test_eight_collectors(trials: Trials, zygote: Zygote, bases: Callable[[str], ServedHarness]) -> None:
    case = replace(CASES["videos"], partitions=lambda _: days(DAYS))

    def trial(rng: Random) -> str:
        with trial_root(bases("videos")) as harness:
            jobs = []
            for _ in range(COLLECTORS):
                first = rng.randrange(DAYS)
                wanted = days(rng.randint(1, DAYS - first), START + timedelta(days=first))
                process = CollectorProcess(harness.settings, "videos", wanted, harness.clock.moment, case.spec)
                fault = Fault(harness.settings.root, rng.randrange(400), KILL, kinds=CHANGES)
                jobs.append(Job(Collection(process), fault if rng.random() < 0.4 else None))
            outcomes = zygote.run_all(jobs)
            for outcome in outcomes:
                assert not outcome.error, outcome.error
            assert_recovers(harness, case)
        return f"{sum(outcome.killed for outcome in outcomes)} killed"

    trials.run(trial)


def test_builds_under_readers(trials: Trials, dbt_zygote: Zygote, tmp_path: Path) -> None:
    settings = new_settings(tmp_path / "data")
    write_raw_data(settings.raw)
    build_and_publish(settings)
    number = max(3, trials.number // 2)
    with duckdb_shell() as shell:
        # A person has the first warehouse open for writing all the time.
        shell.open(settings.warehouse)
        shell.execute("CREATE TABLE marts.mine AS SELECT 1 AS number")
        end = tmp_path / "end"
        readers = [Job(Readings(settings, end), patience=7000) for _ in range(3)]
        outcomes = dbt_zygote.run_all([Job(GrowingBuilds(settings, number, end), patience=7000), *readers])
        shell.execute("CREATE TABLE marts.more AS SELECT 1 AS number")
    for outcome in outcomes:
        assert not outcome.error, outcome.error
    openings = sum(outcome.result for outcome in outcomes[1:])
    assert openings > number
    trials.record("torture", (trials.kind, number, number, {"openings": openings}))
