"""The services of a lab as plain processes, with the commands and settings of the folder `docs/deploy`.

A real PostgreSQL with the roles of the lab, and a simulated API. Only folders and ports differ from those of a server.
"""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

import research_assets as ra
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import run_in_thread
from research_assets_tests.docs.deployment_files import DEPLOY, SERVICES, Unit, create_databases, settings
from research_assets_tests.end_to_end.test_two_locations import STUDY, free_port, program
from research_assets_tests.postgres import PostgresServer, running_postgres

pytestmark = [pytest.mark.timeout(900), pytest.mark.long]

WAIT_ATTEMPTS = 1200
"""Number of tries, half a second apart, after which waiting for a state fails. It measures nothing."""


@dataclass(frozen=True)
class Lab:
    """The running services: the ports of the webservers by service, the folder in place of `/`, and PostgreSQL."""

    ports: Mapping[str, int]
    root: Path
    server: PostgresServer
    environment: Mapping[str, str]

    def graphql(self, service: str, query: str) -> dict[str, Any]:
        """Return the data of a query to a webserver; empty if it does not answer."""
        try:
            answer = httpx.post(f"http://127.0.0.1:{self.ports[service]}/graphql", json={"query": query}, timeout=60)
            data: dict[str, Any] = answer.json()["data"] or {}
        except (httpx.HTTPError, ValueError, KeyError):
            return {}
        return data

    def rows(self, database: str, role: str, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query on a database of the lab."""
        engine = create_engine(f"postgresql+psycopg2://{role}@127.0.0.1:{self.server.port}/{database}")
        with engine.connect() as db:
            return [tuple(row) for row in db.execute(text(query))]

    def wait(self, query: str, is_reached: Callable[[dict[str, Any]], bool], service: str = "webserver") -> None:
        """Wait until the answer to a query fulfils a condition. Fails with the logs of the services."""
        pause = threading.Event()
        for _ in range(WAIT_ATTEMPTS):
            if (data := self.graphql(service, query)) and is_reached(data):
                return
            pause.wait(0.5)
        logs = [f"{path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.root.glob("*.log"))]
        pytest.fail("\n".join(["Not reached.", query, *logs]))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with ExitStack() as stack:
        # A short path: the name of a socket has at most 107 bytes.
        root = Path(stack.enter_context(TemporaryDirectory(prefix="lab-")))
        server = stack.enter_context(running_postgres())
        create_databases(server)
        sandbox = stack.enter_context(run_in_thread(SandboxConfig(fixed_volume=250)))

        def moved(text: str) -> str:
            for folder in ("/srv", "/etc/research-assets", "/var/lib/research-assets"):
                text = text.replace(folder, f"{root}{folder}")
            return text

        values = {name: moved(value) for name, value in settings().items()}
        for folder in (values["RESEARCH_SHARED_MARTS"], values["DAGSTER_HOME"], moved("/etc/research-assets")):
            Path(folder).mkdir(parents=True)
        home = Path(moved("/var/lib/research-assets"))
        home.mkdir(parents=True)
        study = Path(values["RESEARCH_STUDIES"], "garden", "defs.yaml")
        study.parent.mkdir(parents=True)
        study.write_text(STUDY.format(name="garden"))
        working_folder = Path(moved("/etc/research-assets"))
        (working_folder / "workspace.yaml").write_text(moved((DEPLOY / "workspace.yaml").read_text()))
        shutil.copy(DEPLOY / "dagster.yaml", values["DAGSTER_HOME"])
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            **dict(one.split("=") for one in Unit.read("code").service["Environment"].split()),
            **values,
            "TIKTOK_API_URL": sandbox.url,
            "TIKTOK_CLIENT_KEY": SandboxConfig().client_key,
            "TIKTOK_CLIENT_SECRET": SandboxConfig().client_secret,
            "RESEARCH_SENSOR_INTERVAL": "2",
            # The addresses of the databases name no port.
            "PGPORT": str(server.port),
            "PYTHONUNBUFFERED": "1",
        }
        ports = {}
        for name in SERVICES:
            command = [moved(word) for word in Unit.read(name).command]
            if "-p" in command:
                ports[name] = free_port()
                command[command.index("-p") + 1] = str(ports[name])
            command = [program(command[0]), *command[1:]]
            stack.enter_context(_running(command, environment, working_folder, root / f"{name}.log"))
        yield Lab(ports, root, server, environment)


@contextmanager
def _running(command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> Iterator[None]:
    """Run a service, and end it as systemd does: SIGTERM to all of its processes, and SIGKILL if they do not end."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=output, stderr=output, start_new_session=True, umask=0o077
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(float(Unit.read("code").service["TimeoutStopSec"]))
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_services_load_the_code_location_and_are_healthy(lab: Lab) -> None:
    query = """{version workspaceOrError {... on Workspace {locationEntries {name loadStatus}}}
        instance {daemonHealth {allDaemonStatuses {daemonType healthy}}}}"""
    loaded = [{"name": "research_assets", "loadStatus": "LOADED"}]

    def is_healthy(data: dict[str, Any]) -> bool:
        daemons = data["instance"]["daemonHealth"]["allDaemonStatuses"]
        entries = data["workspaceOrError"].get("locationEntries")
        return entries == loaded and all(daemon["healthy"] for daemon in daemons)

    for service in lab.ports:
        lab.wait(query, is_healthy, service)


def test_daemon_materializes_the_days_and_the_marts(lab: Lab) -> None:
    videos = """{assetNodeOrError(assetKey: {path: ["garden", "videos"]}) {
        __typename ... on AssetNode {partitionStats {numMaterialized}}}}"""
    lab.wait(videos, lambda data: data["assetNodeOrError"].get("partitionStats") == {"numMaterialized": 3})
    marts = """{assetOrError(assetKey: {path: ["marts", "videos"]}) {
        ... on Asset {assetMaterializations(limit: 1) {runId}}}
        runsOrError(filter: {statuses: [QUEUED, STARTING, STARTED]}) {... on Runs {results {runId}}}}"""
    lab.wait(
        marts,
        lambda data: bool(data["assetOrError"].get("assetMaterializations")) and not data["runsOrError"]["results"],
    )
    with ra.open(lab.environment["RESEARCH_SHARED_MARTS"]) as shared:
        assert len(shared.study_days()) == 3
        assert shared.simulated


def test_runs_and_requests_are_in_postgresql(lab: Lab) -> None:
    [(n_runs,)] = lab.rows("dagster", "dagster", "SELECT count(*) FROM runs WHERE status = 'SUCCESS'")
    assert n_runs > 0
    [(n_requests,)] = lab.rows("ledger", "ledger", "SELECT count(*) FROM research_assets_sandbox.requests")
    assert n_requests >= 3
    for database, role in (("dagster", "ledger"), ("ledger", "dagster")):
        with pytest.raises(OperationalError, match="permission denied for database"):
            lab.rows(database, role, "SELECT 1")


def test_study_that_is_added_is_named_and_collected_after_a_reload(lab: Lab) -> None:
    file = Path(lab.environment["RESEARCH_STUDIES"], "birds", "defs.yaml")
    file.parent.mkdir()
    file.write_text(STUDY.format(name="birds"))
    tick = """{sensorOrError(sensorSelector: {repositoryName: "__repository__", sensorName: "quota_window",
        repositoryLocationName: "research_assets"}) {... on Sensor {sensorState {ticks(limit: 1) {skipReason}}}}}"""
    lab.wait(tick, lambda data: "birds (added). Reload the code location" in str(data["sensorOrError"]))
    reload = 'mutation {reloadRepositoryLocation(repositoryLocationName: "research_assets") {__typename}}'
    assert lab.graphql("readonly", reload) == {"reloadRepositoryLocation": {"__typename": "UnauthorizedError"}}
    assert lab.graphql("webserver", reload) == {"reloadRepositoryLocation": {"__typename": "WorkspaceLocationEntry"}}
    videos = """{assetNodeOrError(assetKey: {path: ["birds", "videos"]}) {
        __typename ... on AssetNode {partitionStats {numMaterialized}}}}"""
    lab.wait(videos, lambda data: data["assetNodeOrError"].get("partitionStats") == {"numMaterialized": 3})


def test_webserver_for_readers_starts_no_run(lab: Lab) -> None:
    # No such job exists, so nothing starts.
    launch = """mutation {launchRun(executionParams: {mode: "default", selector: {jobName: "none",
        repositoryLocationName: "research_assets", repositoryName: "__repository__"}}) {__typename}}"""
    assert lab.graphql("readonly", launch) == {"launchRun": {"__typename": "UnauthorizedError"}}
    assert lab.graphql("webserver", launch) == {"launchRun": {"__typename": "PipelineNotFoundError"}}
