"""Errors that `ui` reports before it starts a process. Not here: the running UI (see browser/)."""

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import research_assets.cli.ui as ui_command
from research_assets.cli import main
from research_assets_tests.conftest import UNREACHABLE_URL


@pytest.fixture
def studies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Set the address of an API and no credentials. Return the file of a test study."""
    folder = tmp_path / "studies" / "one"
    folder.mkdir(parents=True)
    for name, value in {
        "TIKTOK_API_URL": UNREACHABLE_URL,
        "RESEARCH_DATA": str(tmp_path / "data"),
        "RESEARCH_STUDIES": str(folder.parent),
    }.items():
        monkeypatch.setenv(name, value)
    return folder / "defs.yaml"


VALID_STUDY = """\
type: research_assets.Study
attributes:
  name: one
  start: 2026-02-01
  end: 2026-02-02
  query: {and: [{field: hashtag_name, eq: gardening}]}
"""


def ui(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["ui", *arguments])


def assert_fails_with(result: Result, *texts: str) -> None:
    assert result.exit_code == 1, result.output
    assert all(text in result.stderr for text in texts), result.stderr
    assert "Traceback" not in result.output


def test_ui_reports_a_port_in_use(studies: Path) -> None:
    studies.write_text(VALID_STUDY)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert_fails_with(ui("--port", port), f"Port {port} cannot be used", "--port 0")


def test_ui_reports_an_invalid_study(studies: Path) -> None:
    studies.write_text(VALID_STUDY.replace("hashtag_name", "hash_tag"))
    assert_fails_with(ui("--port", "0"), f"{studies}:6", "hash_tag", "hashtag_name")
    assert not (studies.parents[2] / "data").exists()


def test_ui_reports_a_data_folder_that_is_not_writable(studies: Path) -> None:
    studies.write_text(VALID_STUDY)
    (studies.parents[2] / "data").write_text("a file, where a folder should be")
    assert_fails_with(ui("--port", "0"), "cannot be written to", "RESEARCH_DATA")


def test_ui_reports_incomplete_credentials(studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studies.write_text(VALID_STUDY)
    monkeypatch.setenv("TIKTOK_CLIENT_KEY", "key")
    assert_fails_with(ui("--port", "0"), "TIKTOK_CLIENT_SECRET is not")


DAEMON_KILLED = """\
Traceback (most recent call last):
Exception: dagster-daemon process shut down unexpectedly with return code -9
2026-02-01 10:00:00 +0000 - dagster - DEBUG - the last line of a run
"""


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (DAEMON_KILLED, "dagster-daemon process shut down unexpectedly with return code -9"),
        ("something else\n", "The last lines of"),
    ],
    ids=["daemon-killed", "unknown"],
)
def test_ui_fails_if_dagster_ends_by_itself_with_exit_code_0(
    studies: Path, monkeypatch: pytest.MonkeyPatch, log: str, expected: str
) -> None:
    studies.write_text(VALID_STUDY)
    for name in ("TIKTOK_CLIENT_KEY", "TIKTOK_CLIENT_SECRET"):
        monkeypatch.setenv(name, "test")

    def end(*_: object, log: Path, **__: object) -> int:
        log.write_text(text)
        return 0

    text = log
    monkeypatch.setattr(ui_command, "run_until_stopped", end)
    result = ui("--port", "0")
    assert_fails_with(result, "exit code 0, although nobody stopped it", expected)
    assert "the last line of a run" not in result.stderr
