"""The demo study over HTTP, from the first request to tested marts and the report, compared with the ground truth."""

from collections.abc import Iterator
from io import StringIO
from typing import Any

import duckdb
import pytest
from rich.console import Console

from research_assets.cli.demo import Demo
from research_assets.instance import prepare_home
from research_assets.report.queries import read_report_data
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import RunningSandbox, run_in_thread
from research_assets.sandbox.world.accounts import PANEL
from research_assets.settings import DEMO_STUDIES_DIR, Settings, prepare_root
from research_assets.study.loader import find_studies

pytestmark = pytest.mark.timeout(600)

GARDEN = {
    "and": [
        {"operation": "IN", "field_name": "region_code", "field_values": ["DE", "AT"]},
        {"operation": "EQ", "field_name": "hashtag_name", "field_values": ["gardening"]},
    ]
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with run_in_thread(SandboxConfig(profile="typical", rate=0, p_fresh_search_id=0)) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def demo_settings(sandbox: RunningSandbox, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = Settings.from_env(
        {
            "RESEARCH_DATA": str(tmp_path_factory.mktemp("demo")),
            "RESEARCH_STUDIES": str(DEMO_STUDIES_DIR),
            "RESEARCH_RATE_LIMIT": "500",
            "TIKTOK_API_URL": sandbox.url,
            "TIKTOK_CLIENT_KEY": "sandbox-key",
            "TIKTOK_CLIENT_SECRET": "sandbox-secret",
        }
    )
    prepare_root(settings)
    prepare_home(settings)
    return settings


def demo(settings: Settings) -> str:
    """Run the demo and return its output."""
    (study,) = (found.spec for found in find_studies(settings) if found.file.is_relative_to(DEMO_STUDIES_DIR))
    printed = StringIO()
    Demo(settings, study, Console(file=printed, width=200)).run()
    return printed.getvalue()


@pytest.fixture(scope="module")
def summary(demo_settings: Settings) -> str:
    return demo(demo_settings)


def rows(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(settings.warehouse), read_only=True) as warehouse:
        return warehouse.execute(query).fetchall()


def printed_rows(summary: str, mart: str) -> int:
    """Return the number of rows that the summary prints for a mart."""
    pairs = [line.split() for line in summary.splitlines() if len(line.split()) == 2]
    (number,) = (number for name, number in pairs if name == mart and number != "...")
    return int(number.replace(",", ""))


def charged(sandbox: RunningSandbox) -> int:
    """Return the data requests that the sandbox received; none was refused."""
    return sum(
        count for endpoint, count in sandbox.app.request_log.requests.items() if not endpoint.startswith("oauth")
    )


def test_videos_equal_those_that_the_sandbox_delivers(
    summary: str, demo_settings: Settings, sandbox: RunningSandbox
) -> None:
    (study,) = (found.spec for found in find_studies(demo_settings))
    assert study.end is not None
    ground_truth = sandbox.ground_truth.videos(GARDEN, study.start, study.end)
    deliverable = {video for hits in ground_truth.values() for video in hits.deliverable}
    assert {row[0] for row in rows(demo_settings, "SELECT video_id FROM marts.videos")} == deliverable
    assert printed_rows(summary, "videos") == len(deliverable)
    assert rows(demo_settings, "SELECT sum(offered), sum(kept) FROM marts.study_days") == [
        (sum(len(hits.raw) for hits in ground_truth.values()), len(deliverable))
    ]


def test_comments_equal_those_that_the_sandbox_delivers(
    summary: str, demo_settings: Settings, sandbox: RunningSandbox
) -> None:
    videos = [row[0] for row in rows(demo_settings, "SELECT video_id FROM marts.videos")]
    top = {comment for video in videos for comment in sandbox.ground_truth.comments(video)}
    replies = {reply for comment in top for reply in sandbox.ground_truth.replies(comment)}
    collected = rows(demo_settings, "SELECT comment_id FROM marts.comments")
    assert {row[0] for row in collected} == top | replies
    assert printed_rows(summary, "comments") == len(collected) == len(top) + len(replies)


def test_every_account_has_its_expected_state(summary: str, demo_settings: Settings, sandbox: RunningSandbox) -> None:
    states = dict(rows(demo_settings, "SELECT unit, state FROM marts.coverage WHERE entity = 'users'"))
    authors = {row[0] for row in rows(demo_settings, "SELECT DISTINCT username FROM marts.videos")}
    assert set(states) == authors | set(PANEL)
    expected = {"open": "complete", "private": "refused", "refused": "refused", "missing": "missing"}
    assert states == {name: expected[sandbox.ground_truth.state(name)] for name in states}
    assert printed_rows(summary, "users") == sum(state == "complete" for state in states.values())


def test_follows_equal_the_lists_of_the_accounts(
    summary: str, demo_settings: Settings, sandbox: RunningSandbox
) -> None:
    pairs = set()
    for name in PANEL:
        lists = sandbox.ground_truth.user(name)
        pairs |= {(other, name) for other in lists.get("followers") or ()}
        pairs |= {(name, other) for other in lists.get("following") or ()}
    collected = set(rows(demo_settings, "SELECT source_username, target_username FROM marts.follows"))
    # Of the star's followers the API lists only the newest 5,000.
    assert collected <= pairs
    assert {pair for pair in pairs - collected if pair[1] != "sandbox_star"} == set()
    assert printed_rows(summary, "follows") == len(collected)


def test_report_equals_the_ground_truth(summary: str, demo_settings: Settings, sandbox: RunningSandbox) -> None:
    (study,) = (found.spec for found in find_studies(demo_settings))
    assert study.end is not None
    ground_truth = sandbox.ground_truth.videos(GARDEN, study.start, study.end)
    data = read_report_data(demo_settings, study.name)
    assert {day.day: day.videos for day in data.days} == {
        day: len(hits.deliverable) for day, hits in ground_truth.items()
    }
    assert data.overall.requests == sum(one.requests for one in data.endpoints) == charged(sandbox)
    assert sum(one.number for one in data.engagement[0].bins) + data.engagement[0].zeros == data.overall.videos
    searched = next(tag for tag in data.hashtags if tag.name == "gardening")
    assert (searched.videos, searched.other) == (data.overall.videos, data.overall.creators)
    report = demo_settings.reports / f"{study.name}.html"
    for page in (report, demo_settings.reports / "marts-codebook.html"):
        assert str(page) in summary
        assert page.exists()
    raw, kept = (sum(len(getattr(hits, kind)) for hits in ground_truth.values()) for kind in ("raw", "deliverable"))
    reported = report.read_text()
    assert f"API reported {raw:,} matching videos, of which {kept:,} (" in reported
    assert f"A total of {charged(sandbox):,} requests were sent;" in reported


def test_summary_contains_requests_and_next_step(summary: str, sandbox: RunningSandbox) -> None:
    assert f"{charged(sandbox):,} requests were sent." in summary
    assert "All available data was collected." in summary
    assert "make ui" in summary


def test_second_run_sends_no_request(summary: str, demo_settings: Settings, sandbox: RunningSandbox) -> None:
    assert summary
    before = charged(sandbox)
    second_summary = demo(demo_settings)
    assert charged(sandbox) == before
    assert "No request was sent: all data is collected." in second_summary


def test_data_is_readable_by_its_owner_only(summary: str, demo_settings: Settings) -> None:
    assert summary
    for folder in (
        demo_settings.root,
        demo_settings.captures,
        demo_settings.raw,
        demo_settings.state,
        demo_settings.reports,
        demo_settings.dagster_home,
    ):
        assert folder.stat().st_mode & 0o077 == 0, folder


def test_no_file_contains_credentials(summary: str, demo_settings: Settings) -> None:
    assert summary
    secret = demo_settings.client_secret.encode()
    assert not [path for path in demo_settings.root.rglob("*") if path.is_file() and secret in path.read_bytes()]
