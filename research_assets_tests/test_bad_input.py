"""Invalid input to commands and runs: each fails with a clear error and changes nothing.

Not here: credentials and addresses (see cli/test_check_api.py, cli/test_environment.py,
assets/test_collected_assets.py), every issue of a study file (see study/), past periods (see
assets/test_collected_assets.py), an old Python (see test_setup.py).
"""

import hashlib
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from research_assets.cli import main
from research_assets.definitions import build_definitions
from research_assets.instance import prepare_home
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import run_in_thread
from research_assets.settings import PROJECT_DIR, VARIABLES, Settings, child_environment, prepare_root
from research_assets.study.loader import StudyError
from research_assets.units.coverage import read_unit_status
from research_assets_tests.assets.harness import AssetHarness, failure_message, observations_by_partition
from research_assets_tests.study.study_files import MINIMAL_STUDY, write

DAYS = [f"2026-02-{day:02}" for day in range(1, 11)]


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[AssetHarness]:
    """Yield a harness with a study of ten days of exactly 90 videos and a quota of three requests."""
    with run_in_thread(SandboxConfig(fixed_volume=90, research_cap=3, search_lifetime=10 * 86_400)) as sandbox:
        yield AssetHarness(sandbox, tmp_path / "data")


@pytest.fixture
def dense_harness(tmp_path: Path) -> Iterator[AssetHarness]:
    """Yield a harness with days of 900 videos, of which a quota of three requests collects a part."""
    with run_in_thread(SandboxConfig(fixed_volume=900, research_cap=3, search_lifetime=10 * 86_400)) as sandbox:
        yield AssetHarness(sandbox, tmp_path / "data")


def snapshot(folder: Path) -> dict[str, str]:
    """Return a digest of every file of the captures and the raw tables by path."""
    files = sorted(path for part in ("captures", "raw") for path in (folder / part).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def ui() -> Result:
    return CliRunner().invoke(main, ["ui", "--port", "0"])


def assert_fails_with(result: Result, *texts: str) -> None:
    """Assert that the command failed with an error message that contains the texts and no traceback."""
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("Error: ")
    assert all(text in result.stderr for text in texts), result.stderr
    assert "Traceback" not in result.output


class ForeignServer(BaseHTTPRequestHandler):
    """A server that returns a web page to every request, as a login portal or another program does."""

    status = 200

    def do_POST(self) -> None:
        body = b"<html><body>Welcome</body></html>"
        self.send_response(self.status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Write no log."""


@contextmanager
def foreign_server(status: int) -> Iterator[str]:
    handler = type("Handler", (ForeignServer,), {"status": status})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    ("status", "text"), [(200, "not the Research API"), (404, "404"), (503, "503")], ids=lambda value: str(value)
)
def test_run_reports_a_server_that_is_not_the_api(harness: AssetHarness, status: int, text: str) -> None:
    with foreign_server(status) as address:
        result = harness.run("videos", first="2026-02-03", settings=replace(harness.settings, api_url=address))
    assert not result.success
    assert text in failure_message(result)
    # The error concerns the API, not the day: no request for the day was answered.
    assert not observations_by_partition(result)
    assert {status.attempt.state for status in read_unit_status(harness.settings.raw, "videos")} <= {"partial"}


def test_check_api_reports_a_server_that_is_not_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    with foreign_server(404) as address:
        variables = {"api_url": address, "client_key": "key", "client_secret": "s3cret-word"}
        for name, value in variables.items():
            monkeypatch.setenv(VARIABLES[name].name, value)
        result = CliRunner().invoke(main, ["check-api"])
    assert result.exit_code == 1
    assert "Server       reached" in result.stdout
    assert "Check TIKTOK_API_URL" in result.stderr
    assert "s3cret-word" not in result.output


INVALID_STUDIES = {
    "no YAML": ("name: [", "is not YAML"),
    "an unknown key": (MINIMAL_STUDY + "settel_days: 3", "Do you mean 'settle_days'?"),
    "a missing key": ("name: one\nstart: 2026-02-01", "'query' is missing"),
    "an invalid name": (MINIMAL_STUDY.replace("gardening", "Garden-ing", 1), "lowercase letters"),
    "an invalid day": (MINIMAL_STUDY.replace("2026-02-01", "2026-02-31"), "must be a date such as 2026-02-01"),
    "a start in the future": (MINIMAL_STUDY.replace("2026-02-01", "2999-01-01"), "is in the future"),
    "an end before the start": (MINIMAL_STUDY + "end: 2026-01-01", "is before the start"),
    "an unknown field of a condition": (MINIMAL_STUDY.replace("hashtag_name", "hashtag"), "`hashtag` is unknown"),
    "two values for eq": (MINIMAL_STUDY.replace("eq: gardening", "eq: [a, b]"), "eq"),
    "an unknown region": (MINIMAL_STUDY.replace("hashtag_name, eq: gardening", "region_code, in: [XX]"), "XX"),
    "a missing panel file": (MINIMAL_STUDY + "panel: {file: missing.csv}", "missing.csv"),
}


@pytest.mark.parametrize("issue", INVALID_STUDIES)
def test_command_and_dagster_report_the_same_study_issue(
    issue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attributes, text = INVALID_STUDIES[issue]
    file = write(tmp_path / "studies" / "one", attributes)
    monkeypatch.setenv(VARIABLES["studies"].name, str(tmp_path / "studies"))
    result = ui()
    assert_fails_with(result, f"{file}:", text)
    with pytest.raises(StudyError) as caught:
        build_definitions(Settings.from_env())
    assert result.stderr.strip() == f"Error: {caught.value}".strip()
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("location", ["a file", "/proc/nowhere", "/sys/nowhere"])
def test_ui_rejects_a_data_folder_that_is_not_writable(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(location)
    if location == "a file":
        folder = tmp_path / "data"
        folder.write_text("other notes")
    monkeypatch.setenv(VARIABLES["root"].name, str(folder))
    assert_fails_with(ui(), str(folder), "cannot be written to", "RESEARCH_DATA")
    assert not folder.exists() or folder.read_text() == "other notes"


def test_ui_rejects_a_data_folder_of_another_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = replace(Settings.from_env(), root=tmp_path / "data", api_url="https://open.tiktokapis.com")
    prepare_root(real)
    monkeypatch.setenv(VARIABLES["root"].name, str(real.root))
    assert_fails_with(ui(), "contains data from https://open.tiktokapis.com", "must not mix", "RESEARCH_DATA")
    assert not list(real.captures.iterdir())


def test_dg_launch_rejects_an_unknown_partition(settings: Settings, tmp_path: Path) -> None:
    write(tmp_path / "studies" / "one", MINIMAL_STUDY)
    settings = replace(settings, studies=(tmp_path / "studies",))
    prepare_root(settings)
    prepare_home(settings)
    before = snapshot(settings.root)
    command = ["dg", "launch", "--assets", "gardening/videos", "--partition", "2030-01-01"]
    result = subprocess.run(
        [Path(sys.executable).with_name(command[0]), *command[1:]],
        cwd=PROJECT_DIR,
        env=child_environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "2030-01-01" in result.stderr.splitlines()[-1]
    assert snapshot(settings.root) == before


def test_run_rejects_an_unknown_asset_and_suggests_the_right_one(harness: AssetHarness) -> None:
    with pytest.raises(dg.DagsterInvalidDefinitionError) as caught:
        harness.run("vidoes", first="2026-02-03")
    assert re.search(r"(?s)gardening/vidoes.*did you mean.*videos", str(caught.value.__cause__))
    assert harness.requests_sent("video/query") == 0


def test_run_reports_a_damaged_ledger_and_sends_no_request(harness: AssetHarness) -> None:
    prepare_root(harness.settings)
    harness.settings.ledger.write_text("this is no database")
    result = harness.run("videos", first="2026-02-03")
    assert not result.success
    assert all(
        word in failure_message(result)
        for word in (str(harness.settings.ledger), "No request was sent", "move it aside")
    )
    assert harness.settings.ledger.read_text() == "this is no database"
    assert harness.requests_sent("video/query") == 0


def test_run_resumes_a_damaged_journal_before_the_damage(dense_harness: AssetHarness) -> None:
    harness = dense_harness
    assert harness.run("videos", first=DAYS[0]).success
    [journal] = harness.settings.captures.rglob("*.jsonl")
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) > 3
    damaged = b"".join([*lines[:2], b'{"event": "page", torn\n', *lines[2:]])
    journal.write_bytes(damaged)
    assert harness.run("videos", first=DAYS[0]).success
    assert journal.read_bytes().startswith(b"".join(lines[:2]))
    assert b"torn" not in journal.read_bytes()
    assert journal.with_name(f"{journal.name}.line3.damaged").read_bytes() == damaged


def test_run_reports_a_damaged_capture_that_is_not_loaded(harness: AssetHarness) -> None:
    assert harness.run("videos", first=DAYS[0]).success
    [capture] = harness.settings.captures.rglob("*.jsonl.zst")
    for path in list(harness.settings.raw.rglob("*.parquet")):
        path.unlink()
    capture.write_bytes(capture.read_bytes()[:-5])
    before, n_requests = snapshot(harness.root), harness.requests_sent("video/query")
    result = harness.run("videos", first=DAYS[0])
    assert not result.success
    assert str(capture) in failure_message(result)
    assert "Restore the file" in failure_message(result)
    assert snapshot(harness.root) == before
    assert harness.requests_sent("video/query") == n_requests


ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from types import SimpleNamespace
from research_assets.settings import Settings
from research_assets_tests.assets.harness import AssetHarness, failure_message

class Child(AssetHarness):
    settings = property(lambda self: Settings.from_env())

harness = Child(SimpleNamespace(url=""), Path(sys.argv[1]))
# No file may grow beyond this size, as on a full disk; the journal, the largest file, reaches it first.
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
result = harness.run("videos", first=sys.argv[3], last=sys.argv[4])
print(failure_message(result))
sys.exit(not result.success)
"""


def test_run_resumes_after_the_disk_was_full(dense_harness: AssetHarness) -> None:
    harness = dense_harness
    done = subprocess.run(
        [sys.executable, "-c", ON_A_FULL_DISK, harness.root, "200000", DAYS[0], DAYS[0]],
        cwd=PROJECT_DIR,
        env=child_environment(harness.settings),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    [journal] = harness.settings.captures.rglob("*.jsonl")
    assert all(word in done.stdout for word in (str(journal), "File too large", "Raise the limit")), done.stdout
    n_pages = sum(line.startswith(b'{"event":"page"') for line in journal.read_bytes().splitlines())
    assert n_pages
    # Without the limit, the collection resumes after the last complete page.
    harness.sandbox.clock.set(harness.sandbox.clock.now() + timedelta(days=1))
    assert harness.run("videos", first=DAYS[0]).success
    assert sum(line.startswith(b'{"event":"page"') for line in journal.read_bytes().splitlines()) > n_pages
