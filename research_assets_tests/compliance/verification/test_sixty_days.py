"""Sixty days of two studies that share their videos, of which a tenth is withdrawn meanwhile: nobody does anything.

The test moves the sandbox's clock and starts what the sensors request. At the end no file of the data folder and of the
Dagster home has a withdrawn item, all others are as before, and the certificate is right to the item. It runs with
`--long`: it builds the warehouse ten times.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from research_assets.compliance.forget import remove_items
from research_assets.compliance.verification import due
from research_assets.compliance.verification.certificate import Certificate, make_certificate
from research_assets.compliance.verification.schedule import Schedule
from research_assets.compliance.verification.tasks import TaskJournal
from research_assets.export import ExportRequest
from research_assets.export.build import export
from research_assets.sandbox.compliance import Compliance
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.responses import ResponseBuilder
from research_assets.sandbox.server import RunningSandbox, run_in_thread
from research_assets.sandbox.world.comments import CommentThreads
from research_assets.sensors.run_history import VERIFICATION_JOB
from research_assets.settings import Settings
from research_assets.storage.raw_reader import query_raw
from research_assets.storage.raw_writer import ensure_tables
from research_assets.storage.withdrawals import read_withdrawals
from research_assets.study.spec import CommentRule
from research_assets.warehouse import build
from research_assets_tests.assets.harness import STUDY, sandbox_settings
from research_assets_tests.compliance.data_folder import find
from research_assets_tests.sensors.sensor_harness import SensorHarness

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
PERIOD = timedelta(days=60)
END = START + PERIOD
GARDEN = replace(STUDY, name="garden", comments=CommentRule("top", n=3))
STUDIES = (GARDEN, replace(GARDEN, name="kitchen"))
TABLES = {"video": "videos", "comment": "comments"}

pytestmark = pytest.mark.long


@dataclass(frozen=True, slots=True)
class Outcome:
    """The data folder after 60 days, a copy of it from before, and what was stored at first."""

    sandbox: RunningSandbox
    settings: Settings
    before: Settings
    stored: dict[str, set[int]]
    verified_at: dict[str, datetime]
    certificate: Certificate

    @property
    def withdrawn(self) -> dict[str, set[int]]:
        log = read_withdrawals(self.settings.state)
        return {kind: {int(one.id) for one in log if one.kind == kind} for kind in TABLES}


def stored(settings: Settings) -> dict[str, set[int]]:
    return {
        kind: {one for (one,) in query_raw(settings.raw, table, "study=*/day=*", "SELECT DISTINCT id FROM {table}")}
        for kind, table in TABLES.items()
    }


def build_marts(settings: Settings, now: datetime) -> None:
    with build.build_lock(settings):
        ensure_tables(settings.raw)
        build_input, results = build.build_warehouse(settings, now=now, progress=lambda *_: None, full_refresh=True)
        assert not [result for result in results if result.failed]
        build.publish_warehouse(settings, build_input)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    root = tmp_path_factory.mktemp("sixty_days") / "data"
    config = SandboxConfig(fixed_volume=40, fixed_comments=12, withdrawn_per_year=0.47, start_time=START)
    with run_in_thread(config) as sandbox:
        settings = sandbox_settings(sandbox, root)
        settings.dagster_home.mkdir(parents=True)
        with dg.DagsterInstance.local_temp(str(settings.dagster_home)) as instance:
            harness = SensorHarness(sandbox, root, STUDIES, instance=instance)
            assert all(result.success for result in harness.advance())
            build_marts(settings, START)
            export(settings, ExportRequest(), STUDIES, START)
            at_first = stored(settings)
            shutil.copytree(root, root.with_name("before"))
            verified_at = live_sixty_days(harness)
        yield Outcome(
            sandbox,
            settings,
            replace(settings, root=root.with_name("before")),
            at_first,
            verified_at,
            make_certificate(settings, END),
        )


def live_sixty_days(harness: SensorHarness) -> dict[str, datetime]:
    """Evaluate both sensors until the end; returns when the last task of each kind was created."""
    while (now := harness.sandbox.clock.now()) < END:
        for _ in harness.advance():
            pass
        for _ in harness.tick("verify_due_items"):
            job = harness.definitions().get_repository_def().get_job(VERIFICATION_JOB)
            assert job.execute_in_process(instance=harness.instance).success
        at = Schedule.load(harness.settings).next_step(TaskJournal(harness.settings), now)
        assert at is not None
        harness.at(min(END, max(at, now + timedelta(minutes=1))))
    tasks = TaskJournal(harness.settings).tasks.values()
    assert all(task.is_done for task in tasks)
    return {task.kind: task.created_at for task in tasks if task.created_at is not None}


def test_what_is_gone_is_withdrawn_and_nothing_else(outcome: Outcome) -> None:
    world = outcome.sandbox.world
    compliance = Compliance(world, CommentThreads(world), ResponseBuilder(0))
    for kind, at in outcome.verified_at.items():
        valid = {one for one in outcome.stored[kind] if compliance.valid(kind, one, at.timestamp())}
        remaining = stored(outcome.settings)[kind]
        assert remaining <= valid
        gone = outcome.stored[kind] - remaining
        assert len(gone) > 0.02 * len(outcome.stored[kind])
        # A comment also goes with its video.
        assert outcome.withdrawn[kind] <= gone
        assert all(not compliance.valid(kind, one, END.timestamp()) for one in gone)


def test_no_file_has_a_withdrawn_item(outcome: Outcome) -> None:
    gone = [str(one) for kind, ids in outcome.stored.items() for one in ids - stored(outcome.settings)[kind]]
    assert len(gone) > 20
    assert any(find(outcome.before.root, tuple(gone[:1])))
    assert find(outcome.settings.root, tuple(gone)) == []


def test_many_removals_leave_what_one_removal_leaves(outcome: Outcome) -> None:
    once, withdrawn = outcome.before, outcome.withdrawn
    # Nothing is compared with the marts of this folder, so they need not be built.
    once.warehouse.unlink()
    remove_items(once, lambda: END, videos=withdrawn["video"], comments=withdrawn["comment"])
    tables = {"captures": ["*"], "raw": ["videos", "comments", "coverage", "rejected"]}

    def contents(settings: Settings) -> dict[str, bytes]:
        root = settings.root
        return {
            str(path.relative_to(root)): path.read_bytes()
            for folder, names in tables.items()
            for name in names
            for path in (root / folder).glob(f"{name}/study=*/**/*")
            # A log of digests has its lines in the order of writing.
            if path.is_file() and path.name != "digests.jsonl"
        }

    after, expected = contents(outcome.settings), contents(once)
    # The canary checks of these days have captures of their own.
    assert expected.keys() <= after.keys()
    assert {name for name, content in expected.items() if after[name] != content} == set()


def test_certificate_is_right_to_the_item(outcome: Outcome) -> None:
    certificate, now_stored = outcome.certificate, stored(outcome.settings)
    assert certificate.findings == []
    numbers = {one.kind: one.n_stored for one in certificate.stored}
    assert numbers == {kind: len(ids) for kind, ids in now_stored.items()} | {"account": 0}
    assert all(one.n_overdue == 0 for one in certificate.stored)
    assert certificate.count_withdrawn() == {
        (kind, "removed"): len(ids) for kind, ids in outcome.withdrawn.items() if ids
    }
    for kind in TABLES:
        sent = [task for task in certificate.tasks if task.kind == kind]
        gone = len(outcome.stored[kind]) - len(now_stored[kind])
        assert sum(task.n_withdrawn for task in sent) <= gone
        assert sent[-1].n_verified == sent[-1].n_sent - sent[-1].n_missing


def test_number_of_tasks_is_within_one_of_the_least(outcome: Outcome) -> None:
    created = outcome.sandbox.app.request_log.requests["validation_task/create"]
    period = due.interval(outcome.settings) - due.lead(outcome.settings)
    rounds = PERIOD // period
    least = sum(rounds * -(-len(ids) // due.CAPACITY) for ids in outcome.stored.values())
    assert least <= created <= least + 1
