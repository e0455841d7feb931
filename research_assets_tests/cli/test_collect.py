"""`research-assets collect` and `build`: the command in this process and as one, against a sandbox over HTTP."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner, Result
from rich.console import Console

from research_assets.cli import main
from research_assets.cli import terminal as cli_terminal
from research_assets.cli.collect_display import CollectDisplay, RequestLimit, _Bars
from research_assets.cli.dagster_runs import RunExecutor, RunStopped, StopRequest
from research_assets.collect.types import PartitionResult
from research_assets.instance import prepare_home
from research_assets.planning.types import PlannedRun
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.request_log import LogEntry
from research_assets.sandbox.server import RunningSandbox, run_in_thread
from research_assets.sensors.run_history import CODE_LOCATION
from research_assets.sensors.run_process import RunProcess
from research_assets.settings import VARIABLES, WORKSPACE_FILE, Settings, prepare_root
from research_assets.storage.captures import list_open_journals
from research_assets.storage.raw_reader import query_raw
from research_assets.study.loader import load_studies
from research_assets.warehouse.dbt_runner import prepare_manifest
from research_assets_tests.sensors.sensor_harness import SensorHarness

pytestmark = pytest.mark.timeout(600)

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
DAYS = [f"2026-02-{day:02}" for day in range(1, 11)]
STUDY = """type: research_assets.Study
attributes:
  name: gardening
  start: 2026-02-01
  end: 2026-02-10
  query:
    and:
      - {field: region_code, in: [DE]}
  comments: {videos: none}
  users: {who: none}
"""
PANEL = STUDY.replace("name: gardening", "name: people") + "  panel: {usernames: [sandbox_popular]}\n"


@dataclass(frozen=True)
class Terminal:
    """A person's environment: studies, a data folder and a sandbox."""

    sandbox: RunningSandbox
    settings: Settings
    environment: dict[str, str]

    def run(self, *words: str, code: int) -> Result:
        """Run a command of the project in this process; fails unless it ends with an exit code."""
        result = CliRunner().invoke(main, words, env=self.environment, catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command of the project as a process."""
        script = Path(sys.executable).with_name("research-assets")
        return subprocess.Popen(
            [script, *words],
            env=os.environ | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def at(self, time: datetime) -> None:
        self.sandbox.clock.set(time)

    def requests_sent(self) -> int:
        """Return the number of data requests that reached the sandbox."""
        return sum(n for name, n in self.sandbox.state["requests"].items() if not name.startswith("oauth"))

    def at_request(self, number: int, act: Callable[[], object]) -> None:
        """Call `act` when the n-th data request has its response, before the response is sent."""
        log = self.sandbox.app.request_log
        add, remaining = log.add, [number]

        def add_and_act(entry: LogEntry) -> None:
            add(entry)
            if not entry.endpoint.startswith("oauth"):
                remaining[0] -= 1
                if remaining[0] == 0:
                    act()

        log.add = add_and_act  # type: ignore[method-assign]

    def runs(self) -> list[dg.DagsterRun]:
        """Return the runs that the UI would show, oldest first."""
        with dg.DagsterInstance.from_config(str(self.settings.dagster_home)) as instance:
            return [*reversed(instance.get_runs())]

    def materialized(self, study: str, entity: str) -> list[str]:
        with dg.DagsterInstance.from_config(str(self.settings.dagster_home)) as instance:
            return sorted(instance.get_materialized_partitions(dg.AssetKey([study, entity])))


Open = Callable[..., Terminal]


@pytest.fixture(scope="module")
def parsed_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the parsed dbt project, because parsing takes seconds."""
    settings = Settings.from_env({VARIABLES["root"].name: str(tmp_path_factory.mktemp("parsed") / "data")})
    prepare_root(settings)
    prepare_manifest(settings)
    return settings.dbt_target


@pytest.fixture
def open_terminal(tmp_path: Path, parsed_project: Path) -> Iterator[Open]:
    """Return a function that prepares a terminal; its sandbox has 90 videos every day, changed by keywords."""
    sandboxes: list[Any] = []

    def build(*studies: str, **options: Any) -> Terminal:
        number = len(sandboxes)
        config = SandboxConfig(**{"fixed_volume": 90, "start_time": NOW, "search_lifetime": 40 * 86_400, **options})
        running = run_in_thread(config)
        sandboxes.append(running)
        sandbox = running.__enter__()
        folder = tmp_path / f"studies-{number}"
        for text in studies or (STUDY,):
            name = yaml.safe_load(text)["attributes"]["name"]
            (folder / name).mkdir(parents=True)
            (folder / name / "defs.yaml").write_text(text)
        environment = {
            VARIABLES["root"].name: str(tmp_path / f"data-{number}"),
            VARIABLES["studies"].name: str(folder),
            VARIABLES["api_url"].name: sandbox.url,
            VARIABLES["client_key"].name: config.client_key,
            VARIABLES["client_secret"].name: config.client_secret,
            VARIABLES["rate_limit"].name: "10000",
            VARIABLES["research_cap"].name: str(config.research_cap),
        }
        settings = Settings.from_env(environment)
        prepare_root(settings)
        shutil.copytree(parsed_project, settings.dbt_target, dirs_exist_ok=True)
        return Terminal(sandbox, settings, environment)

    yield build
    for running in sandboxes:
        running.__exit__(None, None, None)


def held(settings: Settings) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Return the collected videos and the states of the units."""
    videos = query_raw(settings.raw, "videos", "study=*/day=*", "SELECT id, day FROM {table} ORDER BY ALL")
    units = query_raw(
        settings.raw, "coverage", "study=*/day=*", "SELECT DISTINCT entity, unit, state, kept FROM {table} ORDER BY ALL"
    )
    return videos, units


def test_collect_pauses_and_continues_to_the_rows_of_the_sensor(open_terminal: Open, tmp_path: Path) -> None:
    terminal, other = open_terminal(research_cap=4), open_terminal(research_cap=4)
    by_sensor = SensorHarness(other.sandbox, tmp_path / "sensor", load_studies(terminal.settings))
    for day, code in ((2, 3), (3, 3), (4, 0)):
        time = datetime(2026, 3, day, 9, tzinfo=UTC)
        terminal.at(time)
        by_sensor.at(time)
        result = terminal.run("collect", "--no-build", code=code)
        by_sensor.advance()
        # The words of the sensor, with the time at which the quota is available.
        assert f"{'Paused' if code else 'Done'}: " in result.stdout
        assert str(by_sensor.skipped) in result.stdout
        assert code == 0 or "available at 00:00 UTC" in result.stdout
    assert terminal.materialized("gardening", "videos") == by_sensor.materialized("gardening", "videos") == DAYS
    assert held(terminal.settings) == held(by_sensor.settings)
    assert terminal.requests_sent() == by_sensor.requests_sent() <= 11
    assert terminal.sandbox.state["pools"]["research"]["refused"] == 0


def test_runs_have_the_tags_config_and_events_of_the_sensor(open_terminal: Open, tmp_path: Path) -> None:
    terminal, other = open_terminal(), open_terminal()
    by_sensor = SensorHarness(other.sandbox, tmp_path / "sensor", load_studies(terminal.settings))
    terminal.run("collect", "--no-build", code=0)
    [request] = by_sensor.tick()
    result = by_sensor.launch(request)
    [run] = terminal.runs()
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert run.job_name == request.job_name == "__ASSET_JOB"
    assert [*(run.asset_selection or ())] == request.asset_selection
    assert run.run_config["ops"] == request.run_config["ops"]
    own = {".dagster/research_tick", "dagster/sensor_name", "dagster/run_key", "dagster/tick"}
    assert run.tags.items() >= {key: value for key, value in request.tags.items() if key not in own}.items()
    assert run.run_op_concurrency is not None
    assert run.run_op_concurrency.all_pools == {"tiktok_research"}
    with dg.DagsterInstance.from_config(str(terminal.settings.dagster_home)) as instance:
        events = [
            str(record.event_log_entry.get_dagster_event().event_type_value)
            for record in instance.get_records_for_run(run.run_id).records
            if record.event_log_entry.dagster_event
        ]
    kinds = ("ASSET_MATERIALIZATION", "ASSET_OBSERVATION", "ASSET_CHECK_EVALUATION", "STEP_SUCCESS")
    of_sensor = [event.event_type_value for event in result.all_events]
    assert {kind: events.count(kind) for kind in kinds} == {kind: of_sensor.count(kind) for kind in kinds}
    assert events.count("ASSET_MATERIALIZATION") == len(DAYS)


def test_dry_run_prints_the_plan_of_the_sensor_and_sends_nothing(open_terminal: Open) -> None:
    terminal = open_terminal(STUDY, PANEL)
    result = terminal.run("collect", "--dry-run", code=0)
    assert terminal.requests_sent() == 0
    assert not terminal.sandbox.state["requests"]
    assert not terminal.runs()
    by_sensor = SensorHarness(terminal.sandbox, terminal.settings.root, load_studies(terminal.settings))
    by_sensor.tick()
    cursor = str(by_sensor.cursors["quota_window"])
    table = [
        line.replace("\N{NO-BREAK SPACE}", " ").replace("\N{WORD JOINER}", "").rstrip()
        for line in cursor.split(" \N{NO-BREAK SPACE}", 1)[1].split(" ")
    ]
    assert [line for line in table if line.strip()] == [line for line in result.stdout.splitlines()[1:] if line][:-1]
    assert "runs would start now: " in result.stdout
    assert "No request was sent." in result.stdout


def test_days_restrict_videos_and_leave_observed_lists_alone(open_terminal: Open) -> None:
    terminal = open_terminal(PANEL)
    terminal.run("collect", "--days", "2026-02-03..2026-02-05", "--no-build", code=0)
    terminal.run("collect", "people", "--days", "2026-02-08", "--no-build", code=0)
    assert terminal.materialized("people", "videos") == [f"2026-02-0{day}" for day in (3, 4, 5, 8)]
    assert {key.path[-1] for run in terminal.runs() for key in run.asset_selection or ()} == {"videos"}


def test_budget_is_never_exceeded_over_all_pools_and_collection_continues(open_terminal: Open) -> None:
    terminal = open_terminal(PANEL)
    sent = 0
    for _ in range(6):
        result = CliRunner().invoke(main, ["collect", "--budget", "15", "--no-build"], env=terminal.environment)
        assert 0 <= terminal.requests_sent() - sent <= 15
        sent = terminal.requests_sent()
        if result.exit_code == 0:
            break
        assert result.exit_code == 3, result.output
        assert "The budget allows no further run. Another call can send about" in result.stdout
    assert result.exit_code == 0, result.output
    assert terminal.materialized("people", "videos") == DAYS
    assert {key.path[-1] for run in terminal.runs() for key in run.asset_selection or ()} > {"videos", "followers"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("collect", "gardenin"), "There is no study gardenin. Do you mean gardening? No request was sent."),
        (("collect", "--days", "2026-02-30"), "'2026-02-30' is no day."),
        (("collect", "--days", "2026-W06-1"), "'2026-W06-1' is no day."),
        (("collect", "--days", "2026-02-05..2026-02-03"), "contains no day"),
        (("collect", "--budget", "0"), "A budget of 0 allows no request."),
    ],
)
def test_wrong_argument_is_an_error_before_any_request(
    open_terminal: Open, words: tuple[str, ...], message: str
) -> None:
    terminal = open_terminal()
    assert message in " ".join(terminal.run(*words, code=2).stderr.split())
    assert not terminal.sandbox.state["requests"]


def test_second_collect_waits_for_no_one_and_repeats_nothing(open_terminal: Open) -> None:
    terminal = open_terminal()
    outputs: list[tuple[int, str]] = []

    def collect_beside() -> None:
        process = terminal.start("collect")
        output, _ = process.communicate(timeout=120)
        outputs.append((process.returncode, output))

    terminal.at_request(2, collect_beside)
    terminal.run("collect", "--no-build", code=0)
    [(code, output)] = outputs
    assert code == 3
    assert "Another `research-assets collect` is running" in output
    assert "No request was sent." in output
    assert terminal.materialized("gardening", "videos") == DAYS
    assert len(terminal.runs()) == 1


def test_work_of_an_active_run_is_left_to_it(open_terminal: Open) -> None:
    terminal = open_terminal()
    prepare_home(terminal.settings)

    @dg.asset(key=["gardening", "videos"])
    def videos() -> None: ...

    job = dg.Definitions(assets=[videos]).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.from_config(str(terminal.settings.dagster_home)) as instance:
        selection = frozenset({videos.key})
        run = instance.create_run_for_job(job, asset_selection=selection, status=dg.DagsterRunStatus.STARTED)
        result = terminal.run("collect", "--no-build", code=3)
        assert "10 units are being collected" in result.stdout
        assert terminal.requests_sent() == 0
        # A run whose process no longer exists would block collection for ever: without the daemon nothing else ends it.
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        process = replace(RunProcess.of(run.run_id, os.getpid()), pid=ended.pid)
        instance.add_run_tags(run.run_id, process.tag | {"dagster/max_retries": "0"})
        terminal.run("collect", "--no-build", code=0)
        assert [one.status.value for one in reversed(instance.get_runs())] == ["FAILURE", "SUCCESS"]
    assert terminal.materialized("gardening", "videos") == DAYS


def test_terminated_collect_keeps_its_page_and_the_next_one_continues(open_terminal: Open) -> None:
    clean = open_terminal()
    clean.run("collect", "--no-build", code=0)
    terminal = open_terminal()
    begun, process = threading.Event(), list["subprocess.Popen[str]"]()

    def terminate() -> None:
        begun.wait()
        process[0].send_signal(signal.SIGTERM)
        while [run.status for run in terminal.runs()] != [dg.DagsterRunStatus.CANCELING]:
            assert process[0].poll() is None
            threading.Event().wait(0.05)

    terminal.at_request(3, terminate)
    process.append(terminal.start("collect", "--no-build"))
    begun.set()
    output, _ = process[0].communicate(timeout=120)
    assert process[0].returncode == 3, output
    assert "Every page that was received is stored. Continue with: research-assets collect" in output
    [stopped] = terminal.runs()
    assert stopped.status is dg.DagsterRunStatus.CANCELED
    # The page that was under way when the signal came is stored.
    assert terminal.requests_sent() == 3
    assert [*list_open_journals(terminal.settings.captures, "videos", "gardening")]
    terminal.run("collect", "--no-build", code=0)
    assert [run.status.value for run in terminal.runs()] == ["CANCELED", "SUCCESS"]
    assert terminal.requests_sent() <= clean.requests_sent() + 1
    assert held(terminal.settings) == held(clean.settings)


def test_failed_run_is_exit_code_1_and_names_the_reason(open_terminal: Open) -> None:
    terminal = open_terminal()
    terminal.run("collect", "--dry-run", code=0)
    (terminal.settings.state / "locks").write_text("not a folder")
    result = terminal.run("collect", "--quiet", "--no-build", code=1)
    assert "Failed: 1 run of 1" in result.stderr
    assert str(terminal.settings.state / "locks") in result.stderr
    assert terminal.requests_sent() == 0


def test_quiet_collect_prints_only_that_data_is_simulated(open_terminal: Open) -> None:
    terminal = open_terminal()
    result = terminal.run("collect", "--quiet", "--no-build", code=0)
    assert result.output == f"Simulated data, not from TikTok: {terminal.settings.root}\n"
    assert terminal.materialized("gardening", "videos") == DAYS


def test_new_data_is_built_once(open_terminal: Open) -> None:
    terminal = open_terminal()
    assert "✓ marts: " in terminal.run("collect", code=0).stdout
    again = terminal.run("collect", code=0).stdout
    assert "Done: 0 runs, 0 requests. All available data was collected." in again
    assert "Marts: The marts contain all data collected until" in again
    (built,) = (run for run in terminal.runs() if dg.AssetKey(["marts", "videos"]) in (run.asset_selection or ()))
    with dg.DagsterInstance.from_config(str(terminal.settings.dagster_home)) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(["marts", "videos"]))
        assert event is not None
        assert event.run_id == built.run_id
        assert instance.get_latest_materialization_event(dg.AssetKey(["gardening", "report"])) is not None


def test_build_that_cannot_publish_is_exit_code_1_and_a_failed_run(open_terminal: Open) -> None:
    terminal = open_terminal()
    # The file of the build cannot be created: a folder is in its place.
    (terminal.settings.warehouse_build / "folder").mkdir(parents=True)
    result = terminal.run("build", "--quiet", code=1)
    assert "Failed: " in result.stderr
    assert str(terminal.settings.warehouse_build) in result.stderr
    assert not terminal.settings.warehouse.exists()
    [run] = terminal.runs()
    assert run.status is dg.DagsterRunStatus.FAILURE


@pytest.mark.parametrize("width", [80, 40])
def test_bars_fit_and_cut_no_number(width: int) -> None:
    days = tuple(date(2026, 2, day) for day in range(1, 15))
    run = PlannedRun("a_study_with_a_long_name", "reposted_videos", days, False, ("settled",), 14, 12, "known counts")
    bars = _Bars(run, RequestLimit("quota research", 0, 1_000))
    bars.update(9, 987, "2026-02-01..2026-02-14: 987 requests, 98,765 rows")
    output = StringIO()
    Console(file=output, width=width, force_terminal=True, color_system=None).print(bars)
    lines = output.getvalue().splitlines()
    assert [len(line) <= width for line in lines] == [True] * 3
    assert "9 of 14 periods" in lines[0]
    assert "987 of 1,000 requests" in lines[1]
    assert lines[2].strip().endswith("98,765 rows") == (width == 80)


def test_days_that_were_complete_before_are_not_counted_with_the_planned_ones() -> None:
    planned = tuple(date(2026, 2, day) for day in (1, 2, 4))
    run = PlannedRun("garden", "comments", planned, False, ("settled",), 3, 3, "known counts")
    display = CollectDisplay(cli_terminal.Terminal(file=StringIO()))
    with display.run(run, RequestLimit("quota research", 0, 1_000)) as counts:
        # One run takes an unbroken range of partitions.
        for day in range(1, 5):
            display.on_result(PartitionResult(date(2026, 2, day), "complete", was_complete=day == 3))
    assert counts.complete == 3


def test_location_of_the_commands_is_that_of_the_workspace() -> None:
    [location] = yaml.safe_load(WORKSPACE_FILE.read_text())["load_from"]
    assert location["python_module"]["location_name"] == CODE_LOCATION


def test_signal_ends_a_run_that_sends_no_request_at_once(tmp_path: Path) -> None:
    stop = StopRequest()
    stop.n_signals = 1
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.ephemeral() as instance:
        executor = RunExecutor(Settings.from_env({"RESEARCH_DATA": str(tmp_path), "DAGSTER_HOME": str(tmp_path)}), stop)
        executor.instance = instance

        @dg.job
        def empty_job() -> None:
            pass

        run = instance.create_run_for_job(empty_job, status=dg.DagsterRunStatus.STARTED)
        thread = threading.Thread(target=threading.Event().wait, args=(60,), daemon=True)
        thread.start()
        with pytest.raises(RunStopped):
            executor._wait(thread, run.run_id, lambda: None, stop_at_once=True)
        ended = instance.get_run_by_id(run.run_id)
        assert ended is not None
        assert ended.status is dg.DagsterRunStatus.CANCELED
