"""The command `population` against a sandbox over HTTP."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from research_assets.cli import main
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import RunningSandbox, run_in_thread
from research_assets_tests.study.study_files import MINIMAL_STUDY, write

DAY = "2026-02-03"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with run_in_thread(SandboxConfig(profile="clean", fixed_volume=300)) as server:
        yield server


@pytest.fixture(autouse=True)
def _study(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write(tmp_path / "studies" / "gardening", MINIMAL_STUDY)
    monkeypatch.setenv("RESEARCH_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("TIKTOK_API_URL", sandbox.url)
    monkeypatch.setenv("TIKTOK_CLIENT_KEY", "sandbox-key")
    monkeypatch.setenv("TIKTOK_CLIENT_SECRET", "sandbox-secret")
    monkeypatch.setenv("RESEARCH_RATE_LIMIT", "100")


def run(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(main, ["population", *arguments], input=answer, terminal_width=200)


def test_cost_is_stated_before_a_request_is_sent(sandbox: RunningSandbox) -> None:
    planned = run("gardening", DAY, "--dry-run")
    assert planned.exit_code == 0, planned.output
    text = " ".join(planned.stdout.split())
    assert "gardening 2026-02-03: 13 random draws. Planned for 2,000 videos, because no day" in text
    assert "Cost: at least 13 requests; 1,000 of 1,000 remaining today (UTC). No request was sent." in text
    declined = run("gardening", DAY, "--expected", "300", answer="n\n")
    assert declined.exit_code == 1
    assert "6 random draws. Planned for 300 videos, as stated." in " ".join(declined.stdout.split())
    assert sandbox.app.request_log.requests.get("video/query", 0) == 0


def test_estimate_is_printed_as_a_lower_bound(sandbox: RunningSandbox, tmp_path: Path) -> None:
    result = run("gardening", DAY, "--draws", "8", "--yes")
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert "Estimate: at least " in text
    assert "It is a lower bound" in text
    assert "Tests of equal probability by hour of upload, region and length: hour: " in text
    assert sandbox.app.request_log.requests["video/query"] == 8
    assert len([*(tmp_path / "data" / "population").rglob("*.jsonl.zst")]) == 1


def test_errors_name_the_cause_and_what_to_do() -> None:
    for arguments, message in (
        (("unknown", DAY), "There is no study unknown. Known studies: gardening."),
        (("gardening", "2099-01-01"), "settles at 2099-01-04"),
        (("gardening", "yesterday"), "is no day. Write a day as 2026-02-01"),
        (("gardening", DAY, "--expected", "9000000"), "Choose a larger --precision"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2
        assert message in " ".join(result.output.split())
