"""Builds, reports and exports whose process is killed, or whose disk fails, at a random operation on the disk."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from itertools import count
from random import Random
from typing import Any

import pytest

from research_assets.export import list_exports
from research_assets.settings import VARIABLES, Settings
from research_assets.storage.raw_sql import sql_identifier
from research_assets.warehouse.reader import connect_read_only, read_marts
from research_assets_tests.report.report_warehouse import garden_rows
from research_assets_tests.report.report_warehouse import publish as write_warehouse
from research_assets_tests.torture.build_jobs import Build, Report, TableExport
from research_assets_tests.torture.oracle import leftovers
from research_assets_tests.torture.shim import CHANGES, KILL, Fault
from research_assets_tests.torture.test_kills import ERRORS
from research_assets_tests.torture.trials import Trials
from research_assets_tests.torture.zygote import Job, Outcome, Zygote
from research_assets_tests.warehouse.raw_data import copy_published, new_settings, write_raw_data
from research_assets_tests.warehouse.test_increment_tests import add_day

pytestmark = [pytest.mark.torture, pytest.mark.timeout(14400)]

NUMBERS = count()
Content = dict[str, list[tuple[Any, ...]]]


def content(settings: Settings) -> Content:
    """Return the rows of every mart as the published warehouse has them, sorted."""
    with closing(connect_read_only(settings.warehouse)) as connection:
        return {
            mart: connection.execute(f"SELECT * FROM {sql_identifier(mart)} ORDER BY ALL").fetchall()
            for mart in read_marts(connection)
        }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, dbt_zygote: Zygote) -> Settings:
    """A data folder with published marts."""
    settings = new_settings(tmp_path_factory.mktemp("builds") / "base")
    write_raw_data(settings.raw)
    outcome = dbt_zygote.run(Job(Build(settings)))
    assert not outcome.error, outcome.error
    return settings


@contextmanager
def folder_with_new_day(built: Settings) -> Iterator[Settings]:
    """Yield a copy of the data folder that has a day which is not in its marts; removed if the trial is survived."""
    settings = copy_published(built, built.root.with_name(str(next(NUMBERS))))
    add_day(settings)
    yield settings
    shutil.rmtree(settings.root)


@pytest.fixture(scope="module")
def states(built: Settings, dbt_zygote: Zygote) -> tuple[Content, Content, dict[str, int]]:
    """The content of the marts before and after the new day, and the operations of an undisturbed build, by kind."""
    before = content(built)
    with folder_with_new_day(built) as settings:
        outcome = dbt_zygote.run(Job(Build(settings), Fault(settings.root, 10**9)))
        assert not outcome.error, outcome.error
        assert outcome.counts
        after = content(settings)
    assert before != after
    return before, after, outcome.counts


def assert_build_recovers(settings: Settings, dbt_zygote: Zygote, before: Content, after: Content) -> str:
    """Assert that readers see one whole build, and that the next build has all data. Returns which one they see."""
    found = content(settings)
    assert found in (before, after), "the published marts are of no build"
    outcome = dbt_zygote.run(Job(Build(settings)))
    assert not outcome.error, outcome.error
    assert content(settings) == after
    assert [path for path in leftovers(settings.root) if ".user" not in path.name] == []
    return "old marts" if found == before else "new marts"


def test_build_killed_at_disk_operation(
    trials: Trials, dbt_zygote: Zygote, built: Settings, states: tuple[Content, Content, dict[str, int]]
) -> None:
    before, after, counts = states
    possible = [(kind, number) for kind, number in counts.items() if kind in CHANGES and number]

    def trial(rng: Random) -> str:
        kind, number = rng.choice(possible)
        # The last renames are those of a publication.
        at = number - 1 if kind == "rename" and rng.random() < 0.5 else rng.randrange(number)
        with folder_with_new_day(built) as settings:
            fault = Fault(settings.root, at, KILL, kinds=(kind,))
            outcome = dbt_zygote.run(Job(Build(settings, full_refresh=rng.random() < 0.2), fault))
            assert not outcome.error, outcome.error
            return assert_build_recovers(settings, dbt_zygote, before, after)

    trials.run(trial, share=0.5)


def test_build_with_disk_error(
    trials: Trials, dbt_zygote: Zygote, built: Settings, states: tuple[Content, Content, dict[str, int]]
) -> None:
    before, after, counts = states

    def trial(rng: Random) -> str:
        action, sticky, kinds = ERRORS[rng.choice(list(ERRORS))]
        if not sticky and rng.random() < 0.5:
            kinds = (rng.choice([kind for kind in kinds if counts[kind]]),)
        at = rng.randrange(sum(counts[kind] for kind in kinds))
        with folder_with_new_day(built) as settings:
            outcome = dbt_zygote.run(Job(Build(settings), Fault(settings.root, at, action, sticky, kinds)))
            assert not outcome.killed
            assert not outcome.hung
            seen = assert_build_recovers(settings, dbt_zygote, before, after)
        return f"{outcome.error_type or 'finished'}, {seen}"

    trials.run(trial, share=0.5)


@pytest.fixture(scope="module")
def readable(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A data folder with the known rows of the tests of the report."""
    root = tmp_path_factory.mktemp("readable") / "base"
    settings = Settings.from_env({VARIABLES["root"].name: str(root), VARIABLES["api_url"].name: "http://127.0.0.1:9"})
    write_warehouse(settings, garden_rows())
    return settings


@pytest.mark.parametrize("job", [Report, TableExport])
def test_report_and_export_with_fault(
    trials: Trials, dbt_zygote: Zygote, readable: Settings, job: Callable[[Settings], Callable[[], None]]
) -> None:
    def run(settings: Settings, fault: Fault | None = None) -> Outcome:
        return dbt_zygote.run(Job(job(settings), fault))

    def copy() -> Settings:
        root = readable.root.with_name(str(next(NUMBERS)))
        shutil.copytree(readable.root, root)
        return new_settings(root)

    def written(settings: Settings) -> dict[str, int]:
        """Return the finished files with their sizes."""
        reports = [path for path in settings.reports.glob("*") if not path.name.startswith(".")]
        for exported in list_exports(settings):
            assert all((exported.folder / file.path).stat().st_size == file.bytes for file in exported.files)
            reports += [exported.folder / file.path for file in exported.files]
        return {path.name: path.stat().st_size for path in reports}

    @cache
    def undisturbed() -> tuple[dict[str, int], dict[str, int]]:
        settings = copy()
        outcome = run(settings, Fault(settings.root, 10**9))
        assert not outcome.error, outcome.error
        return written(settings), outcome.counts or {}

    def trial(rng: Random) -> str:
        expected, counts = undisturbed()
        name = rng.choice(["kill", *ERRORS])
        action, sticky, kinds = (KILL, False, CHANGES) if name == "kill" else ERRORS[name]
        if not sticky:
            kinds = (rng.choice([kind for kind in kinds if counts[kind]]),)
        at = rng.randrange(sum(counts[kind] for kind in kinds))
        settings = copy()
        outcome = run(settings, Fault(settings.root, at, action, sticky, kinds))
        assert not outcome.hung
        assert written(settings).items() <= expected.items(), "an incomplete file has its final name"
        again = run(settings)
        assert not again.error, again.error
        assert written(settings) == expected
        shutil.rmtree(settings.root)
        return "killed" if outcome.killed else outcome.error_type or "finished"

    trials.run(trial)
