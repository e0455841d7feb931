"""`plan` prints the remaining requests, and a probe sends no more requests than it announces."""

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
        server = stack.enter_context(run_in_thread(SandboxConfig(fixed_volume=250)))
        set_up(monkeypatch, tmp_path, server, STUDY)
        yield server


def set_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: RunningSandbox, study: str) -> None:
    write(tmp_path / "studies" / "one", study)
    config = server.app.config
    values = {
        "TIKTOK_API_URL": server.url,
        "TIKTOK_CLIENT_KEY": config.client_key,
        "TIKTOK_CLIENT_SECRET": config.client_secret,
        "RESEARCH_STUDIES": str(tmp_path / "studies"),
        "RESEARCH_RATE_LIMIT": "10000",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def plan(*arguments: str, answer: str = "") -> Result:
    return CliRunner().invoke(main, ["plan", *arguments], input=answer, terminal_width=200)


def requests_sent(sandbox: RunningSandbox) -> int:
    return int(sandbox.state["requests"].get("video/query", 0))


def test_plan_of_a_new_study_suggests_a_probe_and_sends_no_request(sandbox: RunningSandbox) -> None:
    result = plan()
    assert result.exit_code == 0, result.output
    assert "gardening: no data yet" in result.stdout
    assert "1 or more" in result.stdout
    assert "research-assets plan gardening --probe" in result.stdout
    assert requests_sent(sandbox) == 0


@pytest.mark.usefixtures("sandbox")
def test_plan_shows_what_reobservations_cost_and_which_counts_stay_unconfirmed(tmp_path: Path) -> None:
    write(tmp_path / "studies" / "one", MINIMAL_STUDY)
    result = plan()
    assert result.exit_code == 0, result.output
    assert "gardening: re-observation at an age of 12 days is included:" in result.stdout
    assert "for searches (no data yet)" in result.stdout
    assert "for comments that newer counts show (no data yet)" in result.stdout
    assert "cannot be confirmed" not in result.stdout
    write(tmp_path / "studies" / "one", MINIMAL_STUDY + "reobserve_days: []\n")
    result = plan()
    assert "re-observation" not in result.stdout
    # The days that are younger than 12 days, and today.
    assert "gardening: comment counts of 0 on 13 days cannot be confirmed" in result.stdout
    write(tmp_path / "studies" / "one", MINIMAL_STUDY + "reobserve_days: []\nend: 2026-02-10\n")
    assert "cannot be confirmed" not in plan().stdout


def test_plan_says_which_values_are_requested_in_another_spelling(sandbox: RunningSandbox, tmp_path: Path) -> None:
    write(
        tmp_path / "studies" / "one",
        STUDY.replace("gardening}", '"#gar\\u200bdening"}') + "panel: {usernames: [Anna]}\n",
    )
    result = plan()
    assert result.exit_code == 0, result.output
    assert r"defs.yaml:7: attributes.query.and.0.eq: '#gar\u200bdening' is requested as 'gardening'" in result.stdout
    assert "attributes.panel.usernames.0: 'Anna' is requested as 'anna'" in result.stdout
    assert requests_sent(sandbox) == 0


def test_probe_prints_its_cost_and_can_be_declined(sandbox: RunningSandbox) -> None:
    result = plan("--probe", answer="n\n")
    assert result.exit_code == 1
    assert "Cost: at least 3 requests" in result.stdout
    assert requests_sent(sandbox) == 0


def test_probe_is_stored_and_is_the_basis_of_the_plan(sandbox: RunningSandbox) -> None:
    result = plan("--probe", answer="y\n")
    assert result.exit_code == 0, result.output
    sent = requests_sent(sandbox)
    assert 9 <= sent <= 12
    assert "gardening 2026-02-01: 250 videos, complete" in result.stdout
    assert "observed density" in result.stdout
    # Seven days of 250 videos remain, before and after the middle day: 1,750 videos in all.
    assert ["gardening", "videos", "7", "18", "observed", "density"] in [
        line.split() for line in result.stdout.splitlines()
    ]
    assert ["gardening", "canary", "check", "1", "one", "request", "each"] in [
        line.split() for line in result.stdout.splitlines()
    ]
    # The videos of the probe must be verified every 15 days, with at least three requests.
    assert ["all", "studies", "verification", "0", "0.2", "nothing", "to", "request"] in [
        line.split() for line in result.stdout.splitlines()
    ]
    second = plan("--probe", "--yes")
    assert "No probe is needed" in second.stdout
    assert requests_sent(sandbox) == sent


def test_probe_says_that_the_query_finds_nothing_and_plan_repeats_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with run_in_thread(SandboxConfig()) as server:
        set_up(monkeypatch, tmp_path, server, STUDY.replace("eq: gardening", "eq: gardenning"))
        result = plan("--probe", "--yes")
        assert result.exit_code == 0, result.output
        sent = requests_sent(server)
        assert f"gardening, 3 days: no video was found for this query; {sent} requests." in result.stdout
        sentence = "gardening: No video was ever found for this query. Searched: 3 days."
        assert sentence in " ".join(result.stdout.split())
        assert sent <= 15
        again = plan()
        assert sentence in " ".join(again.stdout.split())
        assert requests_sent(server) == sent
        # As long as nothing was found, another probe is offered.
        assert "The probe collects 3 single days" in plan("--probe", answer="n\n").stdout


def test_probe_prints_what_it_found_and_what_it_cost(sandbox: RunningSandbox) -> None:
    result = plan("--probe", "--yes")
    assert f"gardening, 3 days: 750 videos; {requests_sent(sandbox)} requests." in result.stdout


def test_probe_of_a_dense_study_stops_at_its_limit(sandbox: RunningSandbox) -> None:
    sandbox.app.config = SandboxConfig(fixed_volume=250)
    result = CliRunner().invoke(main, ["plan", "--probe", "--yes"], env={"RESEARCH_PAGE_SIZE": "10"})
    assert result.exit_code == 0, result.output
    assert "paused at the limit of 15 requests" in result.stdout
    assert requests_sent(sandbox) == 15


def test_by_partition_prints_each_day(sandbox: RunningSandbox) -> None:
    result = plan("--by-partition")
    assert all(f"2026-02-{day:02}" in result.stdout for day in range(1, 11))
    assert requests_sent(sandbox) == 0


def test_plan_uses_the_time_of_a_simulated_api(sandbox: RunningSandbox) -> None:
    sandbox.clock.set(datetime(2026, 2, 20, 9, tzinfo=UTC))
    assert "Estimated completion: 2026-02-20" in plan().stdout
    assert requests_sent(sandbox) == 0


def test_unknown_study_is_named(sandbox: RunningSandbox) -> None:
    result = plan("gardenning")
    assert result.exit_code == 2
    assert "There is no study gardenning" in result.stderr
    assert requests_sent(sandbox) == 0


def test_plan_without_studies_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    monkeypatch.setenv("RESEARCH_STUDIES", str(tmp_path / "none"))
    assert "no study yet" in plan().stdout


def test_plan_of_many_studies_has_one_line_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("RESEARCH_STUDIES", str(tmp_path / "studies"))
    for number in range(20):
        text = STUDY.replace("name: gardening", f"name: study_{number:02}") + "panel: {usernames: [beet]}\n"
        write(tmp_path / "studies" / str(number), text)
    lines = CliRunner().invoke(main, ["plan"]).stdout.splitlines()
    assert sum(line.startswith("study_07 ") for line in lines) == 1
    assert len(lines) < 60
    # The first line has the path of the data folder.
    assert max(map(len, lines[1:])) <= 80
