"""What keeps the UI from starting is said before anything is started. The running UI has its tests in `browser`."""

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from research_assets.cli import main


@pytest.fixture
def studies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No API and no credentials, as on a first day; one study of the test's own."""
    folder = tmp_path / "studies" / "one"
    folder.mkdir(parents=True)
    for name, value in {
        "TIKTOK_API_URL": "",
        "RESEARCH_DATA": str(tmp_path / "data"),
        "RESEARCH_STUDIES": str(folder.parent),
    }.items():
        monkeypatch.setenv(name, value)
    return folder / "defs.yaml"


GOOD = """\
type: research_assets.Study
attributes:
  name: one
  start: 2026-02-01
  end: 2026-02-02
  query: {and: [{field: hashtag_name, eq: gardening}]}
"""


def ui(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["ui", *arguments])


def told(result: Result, *texts: str) -> None:
    assert result.exit_code == 1, result.output
    assert all(text in result.stderr for text in texts), result.stderr
    assert "Traceback" not in result.output


def test_a_port_that_is_taken(studies: Path) -> None:
    studies.write_text(GOOD)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told(ui("--port", port), f"Port {port} cannot be used", "--port 0")


def test_a_study_with_a_mistake(studies: Path) -> None:
    studies.write_text(GOOD.replace("hashtag_name", "hash_tag"))
    told(ui("--port", "0"), f"{studies}:6", "hash_tag", "hashtag_name")
    assert not (studies.parents[2] / "data").exists()


def test_a_data_folder_that_cannot_be_written_to(studies: Path) -> None:
    studies.write_text(GOOD)
    (studies.parents[2] / "data").write_text("a file, where a folder should be")
    told(ui("--port", "0"), "cannot be written to", "RESEARCH_DATA")


def test_half_of_the_credentials(studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studies.write_text(GOOD)
    monkeypatch.setenv("TIKTOK_CLIENT_KEY", "key")
    told(ui("--port", "0"), "TIKTOK_CLIENT_SECRET is not")
