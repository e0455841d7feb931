"""`plan` says what is still to be paid, and a probe asks only what was agreed to."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from research_assets.cli import main
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import RunningSandbox, run_in_thread
from research_assets_tests.study.study_files import MINIMAL_STUDY, write

STUDY = MINIMAL_STUDY + "comments: none\nend: 2026-02-10\n"


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[RunningSandbox]:
    with ExitStack() as stack:
        one = stack.enter_context(run_in_thread(SandboxConfig(fixed_volume=250)))
        write(tmp_path / "studies" / "one", STUDY)
        config = one.app.config
        values = {
            "TIKTOK_API_URL": one.url,
            "TIKTOK_CLIENT_KEY": config.client_key,
            "TIKTOK_CLIENT_SECRET": config.client_secret,
            "RESEARCH_STUDIES": str(tmp_path / "studies"),
            "RESEARCH_RATE_LIMIT": "10000",
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        yield one


def plan(*arguments: str, answer: str = "") -> Result:
    return CliRunner().invoke(main, ["plan", *arguments], input=answer, terminal_width=200)


def asked(sandbox: RunningSandbox) -> int:
    return int(sandbox.state["requests"].get("video/query", 0))


def test_a_study_not_begun_offers_a_probe_and_asks_nothing(sandbox: RunningSandbox) -> None:
    result = plan()
    assert result.exit_code == 0, result.output
    assert "gardening: nothing is held" in result.stdout
    assert "1 or more" in result.stdout
    assert "research-assets plan gardening --probe" in result.stdout
    assert asked(sandbox) == 0


def test_a_probe_says_its_price_and_can_be_refused(sandbox: RunningSandbox) -> None:
    result = plan("--probe", answer="n\n")
    assert result.exit_code == 1
    assert "Price: 3 requests at least" in result.stdout
    assert asked(sandbox) == 0


def test_a_probe_is_kept_and_founds_the_plan(sandbox: RunningSandbox) -> None:
    result = plan("--probe", answer="y\n")
    assert result.exit_code == 0, result.output
    spent = asked(sandbox)
    assert 9 <= spent <= 12
    assert "gardening 2026-02-01: 250 videos, complete" in result.stdout
    assert "observed density" in result.stdout
    # Seven days of 250 videos are left, before and after the day in the middle: 1,750 videos in all.
    assert ["gardening", "videos", "7", "18", "observed", "density"] in [
        line.split() for line in result.stdout.splitlines()
    ]
    assert ["gardening", "known", "videos", "1", "one", "request", "each"] in [line.split() for line in result.stdout.splitlines()]
    again = plan("--probe", "--yes")
    assert "No probe is needed" in again.stdout
    assert asked(sandbox) == spent


def test_a_probe_of_a_dense_study_stops_at_its_bound(sandbox: RunningSandbox) -> None:
    sandbox.app.config = SandboxConfig(fixed_volume=250)
    result = CliRunner().invoke(main, ["plan", "--probe", "--yes"], env={"RESEARCH_PAGE_SIZE": "10"})
    assert result.exit_code == 0, result.output
    assert "more than was agreed to" in result.stdout
    assert asked(sandbox) == 15


def test_each_day_is_told(sandbox: RunningSandbox) -> None:
    result = plan("--by-partition")
    assert all(f"2026-02-{day:02}" in result.stdout for day in range(1, 11))
    assert asked(sandbox) == 0


def test_the_time_is_that_of_a_simulated_api(sandbox: RunningSandbox) -> None:
    sandbox.clock.set(datetime(2026, 2, 20, 9, tzinfo=UTC))
    assert "Done on 2026-02-20" in plan().stdout
    assert asked(sandbox) == 0


def test_an_unknown_study_is_named(sandbox: RunningSandbox) -> None:
    result = plan("gardenning")
    assert result.exit_code == 2
    assert "There is no study gardenning" in result.stderr
    assert asked(sandbox) == 0


def test_without_a_study_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    monkeypatch.setenv("RESEARCH_STUDIES", str(tmp_path / "none"))
    assert "no study yet" in plan().stdout
