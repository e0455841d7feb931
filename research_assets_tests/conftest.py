"""Fixtures for every test: its own environment and data folder, no network but loopback, a clock that stands still.

Also the lanes (`--lane unit`), the order in which parallel workers take the modules, and the profiles of property
tests. Fixtures of one package belong in that package's folder.
"""

import importlib
import ipaddress
import os
import socket
import ssl
import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from httpx._transports import default
from hypothesis import settings as hypothesis_settings

from research_assets.settings import ENV_FILE, VARIABLES, Settings
from research_assets_tests.cli.demo_fixtures import demo_sandbox, demo_settings, demo_summary
from research_assets_tests.postgres import postgres
from research_assets_tests.preloaded import preloaded_processes, use_server
from research_assets_tests.preloaded.dagster_shortcuts import flush_nothing, read_migrations_once
from research_assets_tests.profiles import LONG_EXAMPLES

# Session fixtures that several packages use.
__all__ = ["demo_sandbox", "demo_settings", "demo_summary", "postgres"]

TESTS = Path(__file__).parent
UNREACHABLE_URL = "http://127.0.0.1:9"
"""An address on which no server listens."""

INTEGRATION = (
    "browser/",
    "docs/test_deployment_files.py",
    "docs/test_docs.py",
    "docs/test_lab_databases.py",
    "end_to_end/",
    "meanings/",
    "warehouse/",
    "assets/test_asset_graph.py",
    "assets/test_collected_assets.py",
    "assets/test_definitions.py",
    "assets/test_export_asset.py",
    "benchmarks/",
    "cli/test_child_process.py",
    "cli/test_collect.py",
    "cli/test_demo.py",
    "cli/test_group.py",
    "cli/test_ui.py",
    "collect/test_clock.py",
    "collect/test_comment_counts.py",
    "collect/test_crash.py",
    "collect/test_failing_request.py",
    "collect/test_full_disk.py",
    "collect/test_invalid_responses.py",
    "collect/test_lists.py",
    "collect/test_lost_locks.py",
    "collect/test_missing_accounts.py",
    "collect/test_pseudonymous.py",
    "collect/test_query_parts.py",
    "collect/test_random_faults.py",
    "collect/test_rejected_rows.py",
    "collect/test_resume.py",
    "collect/test_search.py",
    "collect/test_search_history.py",
    "collect/test_stories.py",
    "collect/test_two_hosts.py",
    "collect/test_username_batches.py",
    "collect/test_worst_days.py",
    "compliance/test_exports.py",
    "compliance/test_foreign_files.py",
    "compliance/test_removal.py",
    "compliance/test_reports.py",
    "compliance/verification/test_accounts.py",
    "compliance/verification/test_lookups.py",
    "compliance/verification/test_marts.py",
    "compliance/verification/test_verification.py",
    "export/test_export_identifiers.py",
    "preloaded/",
    "quota/",
    "report/test_codebook.py",
    "report/test_drawing_process.py",
    "report/test_fonts.py",
    "report/test_handles.py",
    "report/test_hostile_report.py",
    "report/test_report.py",
    "report/test_report_asset.py",
    "sandbox/test_profiles.py",
    "sensors/",
    "storage/test_captures_crash.py",
    "storage/test_dead_host.py",
    "storage/test_foreign_file_systems.py",
    "storage/test_lock_database.py",
    "storage/test_raw_refused.py",
    "storage/test_raw_writer_crash.py",
    "study/test_dg.py",
    "test_bad_input.py",
    "test_flipped_bits.py",
    "torture/",
    "test_import_rules.py",
    "test_setup.py",
    "test_written_is_requested.py",
)
"""Modules and folders that `make test-unit` leaves out: they run dbt or Dagster, start processes, open a browser, or
collect for so long that the lane would take more than 90 seconds.

A single test of another module has the marker `integration` instead."""

DURABLE = (
    "collect/test_crash.py",
    "quota/test_sqlite_ledger.py",
    "storage/test_captures_crash.py",
    "storage/test_raw_writer_crash.py",
    "warehouse/",
)
"""Modules and folders whose tests need `fsync`, because they kill processes or assert what is durable."""

GROUPS = {
    # Both need the data of one demo run.
    "cli/test_demo.py": "demo",
    "docs/test_docs.py": "demo",
    "warehouse/test_spark.py": "demo",
    # All of them use one browser.
    "browser/": "browser",
    # All of them use one PostgreSQL server.
    "quota/": "quota",
    # All of them read one moving world.
    "meanings/": "meanings",
    # All of them read one built warehouse.
    "warehouse/test_build.py": "warehouse",
    "warehouse/test_shared_marts.py": "warehouse",
    "warehouse/test_codebook.py": "warehouse",
    "warehouse/test_codebook_page.py": "warehouse",
    "warehouse/test_compare.py": "warehouse",
    "warehouse/test_definitions.py": "warehouse",
    "warehouse/test_export_from_build.py": "warehouse",
    "warehouse/test_marts.py": "warehouse",
    "warehouse/test_notebook.py": "warehouse",
    "warehouse/test_project.py": "warehouse",
}
"""Modules and folders that share a costly session fixture, by the group that keeps them on one worker."""

LONGEST_FIRST = (
    "end_to_end/",
    "browser",
    "demo",
    "warehouse",
    "meanings",
    "compliance/test_removal.py",
    "collect/test_crash.py",
    "warehouse/test_increment_tests.py",
    "warehouse/test_increment.py",
    "sensors/test_sensor_collection.py",
    "collect/test_random_faults.py",
    "cli/test_collect.py",
    "collect/test_stories.py",
    "collect/test_two_hosts.py",
    "test_flipped_bits.py",
    "warehouse/test_foreign_shell.py",
    "warehouse/test_current_attempt.py",
    "study/test_dg.py",
)
"""The groups that take longest: parallel workers begin with them, so that none is left over at the end."""

# A deadline would be a timed assertion. The default profile repeats the same examples on every run; the long one draws
# others each time.
hypothesis_settings.register_profile("default", deadline=None, print_blob=True, derandomize=True)
hypothesis_settings.register_profile("long", deadline=None, print_blob=True, max_examples=LONG_EXAMPLES)
hypothesis_settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the lanes."""
    group = parser.getgroup("research-assets")
    group.addoption("--lane", choices=("unit", "all"), default="all", help="unit: no dbt, no process, no browser")
    group.addoption("--long", action="store_true", help="large property profiles and all seeds")
    group.addoption("--seed", type=int, default=Random().randrange(10**6), help="seed of the torture tests")
    group.addoption("--trials", type=int, default=12, help="trials of each torture test that takes usual time")
    group.addoption("--trial", type=int, help="the only trial of each torture test to run")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Name the seed with which the torture tests can be repeated."""
    return f"torture seed: {config.option.seed}, trials: {config.option.trials}" if config.option.long else None


def pytest_configure(config: pytest.Config) -> None:
    """Load the large property profile for `--long`."""
    # A .env file beside the checkout may contain credentials of the real API. Processes of tests inherit this variable.
    os.environ[ENV_FILE] = os.devnull
    if getattr(config.option, "numprocesses", None) and config.option.lane == "all" and not config.option.long:
        # The parallel workers inherit it. A single test and the long lane start all processes as users do.
        running = ExitStack()
        running.enter_context(preloaded_processes())
        config.add_cleanup(running.close)
    use_server()
    config.addinivalue_line("markers", "long: runs with `--long` only")
    config.addinivalue_line("markers", "torture: random trials; runs with `--long`, and at length with `make torture`")
    config.addinivalue_line("markers", "integration: starts a process; not in the unit lane")
    if config.option.long:
        hypothesis_settings.load_profile("long")


@cache
def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(path == pattern or (pattern.endswith("/") and path.startswith(pattern)) for pattern in patterns)


@cache
def _group(path: str) -> str:
    return next((group for start, group in GROUPS.items() if path.startswith(start)), path)


def _path(nodeid: str) -> str:
    return nodeid.partition("::")[0].removeprefix(f"{TESTS.name}/")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Keep each module, or group of modules, on one worker of pytest-xdist, whatever `--dist` says.

    The fixtures of a module (servers, a built warehouse) cost more than its tests.
    """
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    # Otherwise the workers would begin with the groups that have most tests, not with those that take longest.
    config.option.loadscopereorder = False

    class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return _group(_path(nodeid))

    return GroupScheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Select the lane, and put the groups that take longest first."""
    lane, long = config.option.lane, config.option.long
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        is_integration = _matches(_path(item.nodeid), INTEGRATION) or item.get_closest_marker("integration") is not None
        is_long = any(item.get_closest_marker(name) is not None for name in ("long", "torture"))
        unwanted = (is_integration and lane == "unit") or (is_long and not long)
        (left_out if unwanted else kept).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = sorted(kept, key=lambda item: _rank(_path(item.nodeid)))


@cache
def _rank(path: str) -> int:
    group = _group(path)
    return next((rank for rank, first in enumerate(LONGEST_FIRST) if _matches(group, (first,))), len(LONGEST_FIRST))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Store a screenshot of the page in the browser when a test fails, and name it in the report."""
    report = yield
    screenshot = getattr(getattr(item, "funcargs", {}).get("page"), "screenshot", None)
    if report.failed and screenshot is not None:
        from selenium.common.exceptions import WebDriverException
        from urllib3.exceptions import HTTPError

        # A browser that shows a dialog takes none, and one that has crashed does not answer.
        with suppress(WebDriverException, HTTPError):
            report.sections.append(("Screenshot", str(screenshot(f"failed-{item.name.partition('[')[0]}"))))
    return report


class FakeClock:
    """A `Clock` that stands still: sleeping advances it at once and is recorded in `slept`, in seconds.

    `moment` is the true time, which a server shows. `error` is what the clock of the machine is ahead of it.
    """

    def __init__(
        self, start: datetime = datetime(2026, 3, 2, 9, 0, tzinfo=UTC), *, error: timedelta = timedelta(0)
    ) -> None:
        self.moment = self._start = start
        self.error = error
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.moment + self.error

    def monotonic(self) -> float:
        return (self.moment - self._start).total_seconds()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds=seconds)

    def advance(self, **by: float) -> None:
        """Advance by the arguments of a `timedelta`."""
        self.moment += timedelta(**by)


class TrueTime:
    """The clock of a server beside a `FakeClock`: the same time without its error."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.moment

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)


@pytest.fixture(autouse=True)
def isolated_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Hide the developer's credentials and data: a test sees only what it sets. The umask admits everyone."""
    umask = os.umask(0)
    for variable in VARIABLES.values():
        # Set before it is deleted: otherwise a value that the test leaves behind would reach the next one.
        monkeypatch.setenv(variable.name, "")
        monkeypatch.delenv(variable.name)
    monkeypatch.setenv(VARIABLES["root"].name, str(tmp_path / "data"))
    monkeypatch.setenv(VARIABLES["api_url"].name, UNREACHABLE_URL)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    yield
    os.umask(umask)


@pytest.fixture(autouse=True, scope="session")
def block_network() -> None:
    """Refuse every connection of this process that would leave the machine."""

    def guarded(connect: Callable[..., Any]) -> Callable[..., Any]:
        def checked(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6):
                host = str(address[0])
                if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
                    raise AssertionError(f"A test tried to reach {host}; tests stay on loopback.")
            return connect(self, address)

        return checked

    patch = pytest.MonkeyPatch()
    for name in ("connect", "connect_ex"):
        patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))


@pytest.fixture(autouse=True, scope="module")
def no_fsync(request: pytest.FixtureRequest) -> Iterator[None]:
    """Do not wait for the disk, except in tests of what is durable: no test cuts the power."""
    patch = pytest.MonkeyPatch()
    if not _matches(request.path.relative_to(TESTS).as_posix(), DURABLE):
        flush_nothing(patch)
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def certificates_read_once() -> None:
    """Share the certificates of httpx, which it reads for each client: 20 ms, also for an address on loopback.

    Not for a client whose certificates the environment or the caller names.
    """
    create: Callable[..., ssl.SSLContext] = default.create_ssl_context  # type: ignore[attr-defined]
    shared = cache(partial(create, verify=True, cert=None, trust_env=False))

    def create_or_share(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        if verify is True and cert is None and not trust_env and "SSLKEYLOGFILE" not in os.environ:
            return shared()
        return create(verify=verify, cert=cert, trust_env=trust_env)

    pytest.MonkeyPatch().setattr(default, "create_ssl_context", create_or_share)


@pytest.fixture(autouse=True, scope="session")
def migrations_read_once() -> None:
    """Run the migration scripts of Dagster's databases once."""
    read_migrations_once()


@pytest.fixture(autouse=True, scope="session")
def no_processes_in_unit_lane(request: pytest.FixtureRequest) -> None:
    """In the unit lane, fail a test that starts a process: it belongs in `INTEGRATION`."""
    if request.config.option.lane == "unit":
        # A library of Dagster asks a program about the interpreter when it is imported.
        importlib.import_module("research_assets.definitions")

        def refused(*_: object, **__: object) -> None:
            raise AssertionError("The unit lane starts no process. Mark the test with pytest.mark.integration.")

        patch = pytest.MonkeyPatch()
        patch.setattr(subprocess.Popen, "_execute_child", refused)
        patch.setattr(os, "fork", refused)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still on a Monday morning."""
    return FakeClock()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings for a data root of the test's own."""
    return settings_in(tmp_path)


def settings_in(folder: Path) -> Settings:
    """Return settings for a data root in a folder; nothing is created, and no server listens at the address."""
    return Settings.from_env(
        {
            VARIABLES["root"].name: str(folder / "data"),
            VARIABLES["api_url"].name: UNREACHABLE_URL,
            VARIABLES["client_key"].name: "sandbox-key",
            VARIABLES["client_secret"].name: "sandbox-secret",
        }
    )


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how many torture trials of each kind were tried and survived."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    calls = [report for report in reports if getattr(report, "when", "") == "call"]
    rows = [value for call in calls for name, value in call.user_properties if name == "torture"]
    if rows:
        terminalreporter.section("torture: kind, tried, survived, what happened")
    for kind, tried, survived, notes in rows:
        counts = ", ".join(f"{text}: {count}" for text, count in sorted(notes.items()))
        terminalreporter.write_line(f"{kind:<45} {tried:>6} {survived:>6}  {counts}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a session in which every test was skipped, like one that found no test."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if exitstatus or reporter is None or hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    if not any(reporter.stats.get(outcome) for outcome in ("passed", "xfailed")):
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
