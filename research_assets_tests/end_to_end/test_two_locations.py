"""Two code locations of a lab on one Dagster instance, whose storage is a real PostgreSQL.

Each location has its own studies, data and simulated API. One of them is killed with all its processes while it
collects, and starts again. The other one is not disturbed.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from research_assets.instance import missing_settings, prepare_home
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import RunningSandbox, run_in_thread
from research_assets.sensors.run_history import VERIFICATION_JOB
from research_assets.settings import VARIABLES, Settings, child_environment, prepare_root
from research_assets_tests.end_to_end.faults import inject_after_requests
from research_assets_tests.postgres import running_postgres

pytestmark = [pytest.mark.timeout(900), pytest.mark.long]

WAIT_TIMEOUT = 600.0
"""Seconds after which waiting for a state fails. The limit is generous and measures nothing."""

STUDY = """\
type: research_assets.Study
attributes:
  name: {name}
  start: 2026-02-01
  end: 2026-02-03
  query: {{and: [{{field: hashtag_name, eq: gardening}}]}}
  comments: none
  users: none
"""

DAGSTER_YAML = """\
storage:
  postgres:
    postgres_url: {url}
concurrency:
  runs: {{max_concurrent_runs: 4}}
  pools: {{default_limit: 1, granularity: run}}
run_queue: {{dequeue_interval_seconds: 1}}
run_monitoring: {{enabled: true}}
run_retries: {{enabled: true, max_retries: 1, retry_on_asset_or_op_failure: false}}
telemetry: {{enabled: false}}
"""


def program(name: str) -> str:
    """Return the path of a command of the environment."""
    return str(Path(sys.executable).with_name(name))


@dataclass
class Location:
    """A code location: its settings, its simulated API, and its server, which is also the parent of its runs."""

    name: str
    settings: Settings
    sandbox: RunningSandbox
    port: int
    log: Path
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def start(self) -> None:
        """Start the server of the location in a group of processes of its own."""
        with self.log.open("ab") as log:
            address = ("-h", "127.0.0.1", "-p", str(self.port))
            location = ("-m", "research_assets.definitions", "--location-name", self.name)
            self.process = subprocess.Popen(
                [program("dagster"), "code-server", "start", *address, *location],
                env=child_environment(self.settings),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kill the server and all runs that it started."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    @property
    def mart(self) -> dg.AssetKey:
        """The key of the mart `videos`."""
        return dg.AssetKey([*self.settings.warehouse_prefix, "marts", "videos"])


@dataclass
class Lab:
    """Two locations, the instance that they share, and the file with its settings."""

    one: Location
    two: Location
    instance: dg.DagsterInstance
    file: Path
    restarted: threading.Event

    def runs(self, location: Location) -> list[dg.DagsterRun]:
        """Return all runs of a location."""
        runs = self.instance.get_runs()
        return [run for run in runs if run.remote_job_origin and run.remote_job_origin.location_name == location.name]

    def is_complete(self, location: Location) -> bool:
        """Return whether all days of a location are materialized and its marts were built afterwards."""
        study = dg.AssetKey([location.name, "videos"])
        if len(self.instance.get_materialized_partitions(study)) < 3 or not location.settings.warehouse.exists():
            return False
        return self.instance.get_latest_materialization_event(location.mart) is not None and not any(
            not run.is_finished for run in self.runs(location)
        )

    def wait(self, condition: Callable[[], bool], description: str) -> None:
        """Wait until a condition is true. Fails with the output of all processes after `WAIT_TIMEOUT`."""
        started, pause = time.monotonic(), threading.Event()
        while not condition():
            if time.monotonic() - started > WAIT_TIMEOUT:
                runs = [f"{run.run_id[:8]} {run.status.value}" for run in self.instance.get_runs()]
                logs = [path.read_text()[-5000:] for path in sorted(self.file.parent.parent.glob("*.log"))]
                pytest.fail("\n".join([f"Not reached: {description}.", *runs, *logs]))
            pause.wait(0.5)


@contextmanager
def running(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[None]:
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            finally:
                process.kill()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    root = tmp_path_factory.mktemp("lab")
    with ExitStack() as stack:
        home = root / "home"
        home.mkdir()
        server = stack.enter_context(running_postgres())
        (home / "dagster.yaml").write_text(DAGSTER_YAML.format(url=server.url))
        locations = []
        for name, prefix in (("one", ""), ("two", "second")):
            config = SandboxConfig(client_key=f"key-of-{name}", fixed_volume=250, latency=0.05)
            sandbox = stack.enter_context(run_in_thread(config))
            folder = root / name / "studies" / name
            folder.mkdir(parents=True)
            (folder / "defs.yaml").write_text(STUDY.format(name=name))
            values = {
                "root": str(root / name / "data"),
                "studies": str(folder.parent),
                "instance_home": str(home),
                "api_url": sandbox.url,
                "client_key": config.client_key,
                "client_secret": config.client_secret,
                "sensor_interval": "2",
                "key_prefix": prefix,
            }
            settings = Settings.from_env({variable.name: values.get(at, "") for at, variable in VARIABLES.items()})
            prepare_root(settings)
            locations.append(Location(name, settings, sandbox, free_port(), root / f"{name}.log"))
        one, two = locations
        assert prepare_home(one.settings) == prepare_home(two.settings) == home
        workspace = root / "workspace.yaml"
        entries = [
            f"  - grpc_server: {{host: 127.0.0.1, port: {location.port}, location_name: {location.name}}}\n"
            for location in locations
        ]
        workspace.write_text("load_from:\n" + "".join(entries))
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(home)))
        lab = Lab(one, two, instance, home / "dagster.yaml", threading.Event())

        def kill_and_restart() -> None:
            """Kill the location and its run in the middle of a request, and start the location again."""
            one.kill()
            one.start()
            lab.restarted.set()

        inject_after_requests(one.sandbox, {3: kill_and_restart})
        for location in locations:
            stack.callback(location.kill)
            location.start()
        environment = {**child_environment(one.settings), "PYTHONUNBUFFERED": "1"}
        daemon = [program("dagster-daemon"), "run", "-w", str(workspace)]
        stack.enter_context(running(daemon, environment, root / "daemon.log"))
        yield lab


def test_killed_location_completes_and_the_other_is_not_disturbed(lab: Lab) -> None:
    lab.wait(lab.restarted.is_set, "the first location was killed")
    lab.wait(lambda: lab.is_complete(lab.one) and lab.is_complete(lab.two), "both locations are complete")
    assert {run.status for run in lab.runs(lab.two)} == {dg.DagsterRunStatus.SUCCESS}
    failed = [
        run
        for run in lab.runs(lab.one)
        # The kill may also hit a step of verification, which the sensor starts again.
        if run.status == dg.DagsterRunStatus.FAILURE and run.job_name != VERIFICATION_JOB
    ]
    assert len(failed) == 1
    # The sensor may have started the same days before Dagster's daemon does.
    lab.wait(
        lambda: failed[0].run_id in {run.parent_run_id for run in lab.runs(lab.one)}, "Dagster retries the killed run"
    )


def test_each_location_holds_its_own_videos_only(lab: Lab) -> None:
    for location in (lab.one, lab.two):
        with duckdb.connect(str(location.settings.warehouse), read_only=True) as warehouse:
            days = warehouse.execute(
                "SELECT study, day, count(*) FROM marts.videos GROUP BY ALL ORDER BY day"
            ).fetchall()
        assert {study for study, _, _ in days} == {location.name}
        assert len(days) == 3
    assert lab.instance.get_latest_materialization_event(dg.AssetKey(["second", "marts", "videos"])) is not None


def test_kill_repeats_at_most_one_request(lab: Lab) -> None:
    def n_requests(location: Location) -> int:
        by_endpoint = location.sandbox.app.request_log.requests
        return sum(number for endpoint, number in by_endpoint.items() if not endpoint.startswith("oauth"))

    assert n_requests(lab.two) <= n_requests(lab.one) <= n_requests(lab.two) + 1


def test_settings_of_the_instance_are_unchanged_and_what_they_lack_is_known(lab: Lab) -> None:
    assert lab.file.read_text().startswith("storage:\n  postgres:")
    assert {setting.path for setting in missing_settings(lab.file.parent)} >= {"nux.enabled"}
    assert type(lab.instance.run_storage).__name__ == "PostgresRunStorage"
