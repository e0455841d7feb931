"""The demo study over HTTP, from the first request to tested marts and the report, compared with the ground truth."""

import os
import signal
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from click import ClickException

from research_assets.definitions import build_definitions
from research_assets.instance import prepare_home
from research_assets.report.queries import read_report_data
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import RunningSandbox, run_in_thread
from research_assets.sandbox.world.accounts import PANEL
from research_assets.settings import Settings, prepare_root
from research_assets.study.loader import find_studies
from research_assets_tests.cli.demo_fixtures import run_demo
from research_assets_tests.end_to_end.faults import inject_after_requests

pytestmark = pytest.mark.timeout(600)

GARDEN = {
    "and": [
        {"operation": "IN", "field_name": "region_code", "field_values": ["DE", "AT"]},
        {"operation": "EQ", "field_name": "hashtag_name", "field_values": ["gardening"]},
    ]
}


def rows(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(settings.warehouse), read_only=True) as warehouse:
        return warehouse.execute(query).fetchall()


def printed_rows(summary: str, mart: str) -> int:
    """Return the number of rows that the summary prints for a mart."""
    pairs = [line.split() for line in summary.splitlines() if len(line.split()) == 2]
    (number,) = (number for name, number in pairs if name == mart and number != "...")
    return int(number.replace(",", ""))


def charged(demo_sandbox: RunningSandbox) -> int:
    """Return the data requests that the sandbox received; none was refused."""
    return sum(
        count for endpoint, count in demo_sandbox.app.request_log.requests.items() if not endpoint.startswith("oauth")
    )


def test_every_file_and_folder_is_readable_by_its_owner_only(demo_summary: str, demo_settings: Settings) -> None:
    assert demo_summary
    found = [demo_settings.root, *demo_settings.root.rglob("*")]
    assert {path.suffix for path in found} >= {".duckdb", ".sqlite", ".parquet", ".zst", ".html", ".db", ".json"}
    assert [str(path) for path in found if path.stat().st_mode & 0o077] == []


def test_videos_equal_those_that_the_sandbox_delivers(
    demo_summary: str, demo_settings: Settings, demo_sandbox: RunningSandbox
) -> None:
    (study,) = (found.spec for found in find_studies(demo_settings))
    assert study.end is not None
    ground_truth = demo_sandbox.ground_truth.videos(GARDEN, study.start, study.end)
    deliverable = {video for hits in ground_truth.values() for video in hits.deliverable}
    assert {row[0] for row in rows(demo_settings, "SELECT video_id FROM marts.videos")} == deliverable
    assert printed_rows(demo_summary, "videos") == len(deliverable)
    assert rows(demo_settings, "SELECT sum(offered), sum(kept) FROM marts.study_days") == [
        (sum(len(hits.raw) for hits in ground_truth.values()), len(deliverable))
    ]


def test_comments_equal_those_that_the_sandbox_delivers(
    demo_summary: str, demo_settings: Settings, demo_sandbox: RunningSandbox
) -> None:
    videos = [row[0] for row in rows(demo_settings, "SELECT video_id FROM marts.videos")]
    top = {comment for video in videos for comment in demo_sandbox.ground_truth.comments(video)}
    replies = {reply for comment in top for reply in demo_sandbox.ground_truth.replies(comment)}
    collected = rows(demo_settings, "SELECT comment_id FROM marts.comments")
    assert {row[0] for row in collected} == top | replies
    assert printed_rows(demo_summary, "comments") == len(collected) == len(top) + len(replies)


def test_every_account_has_its_expected_state(
    demo_summary: str, demo_settings: Settings, demo_sandbox: RunningSandbox
) -> None:
    states = dict(rows(demo_settings, "SELECT unit, state FROM marts.coverage WHERE entity = 'users'"))
    authors = {row[0] for row in rows(demo_settings, "SELECT DISTINCT username FROM marts.videos")}
    assert set(states) == authors | set(PANEL)
    expected = {"open": "complete", "private": "refused", "refused": "refused", "missing": "missing"}
    assert states == {name: expected[demo_sandbox.ground_truth.state(name)] for name in states}
    assert printed_rows(demo_summary, "users") == sum(state == "complete" for state in states.values())


def test_follows_equal_the_lists_of_the_accounts(
    demo_summary: str, demo_settings: Settings, demo_sandbox: RunningSandbox
) -> None:
    pairs = set()
    for name in PANEL:
        lists = demo_sandbox.ground_truth.user(name)
        pairs |= {(other, name) for other in lists.get("followers") or ()}
        pairs |= {(name, other) for other in lists.get("following") or ()}
    collected = set(rows(demo_settings, "SELECT source_username, target_username FROM marts.follows"))
    # Of the star's followers the API lists only the newest 5,000.
    assert collected <= pairs
    assert {pair for pair in pairs - collected if pair[1] != "sandbox_star"} == set()
    assert printed_rows(demo_summary, "follows") == len(collected)


def test_report_equals_the_ground_truth(
    demo_summary: str, demo_settings: Settings, demo_sandbox: RunningSandbox
) -> None:
    (study,) = (found.spec for found in find_studies(demo_settings))
    assert study.end is not None
    ground_truth = demo_sandbox.ground_truth.videos(GARDEN, study.start, study.end)
    data = read_report_data(demo_settings, study.name)
    assert {day.day: day.videos for day in data.days} == {
        day: len(hits.deliverable) for day, hits in ground_truth.items()
    }
    assert data.overall.requests == sum(one.requests for one in data.endpoints) == charged(demo_sandbox)
    assert sum(one.number for one in data.engagement[0].bins) + data.engagement[0].zeros == data.overall.videos
    searched = next(tag for tag in data.hashtags if tag.name == "gardening")
    assert (searched.videos, searched.other) == (data.overall.videos, data.overall.creators)
    report = demo_settings.reports / f"{study.name}.html"
    for page in (report, demo_settings.reports / "marts-codebook.html"):
        assert str(page) in demo_summary
        assert page.exists()
    raw, kept = (sum(len(getattr(hits, kind)) for hits in ground_truth.values()) for kind in ("raw", "deliverable"))
    reported = report.read_text()
    assert f"API reported {raw:,} matching videos, of which {kept:,} (" in reported
    assert f"A total of {charged(demo_sandbox):,} requests were sent;" in reported


def test_summary_contains_requests_and_next_step(demo_summary: str, demo_sandbox: RunningSandbox) -> None:
    assert f"{charged(demo_sandbox):,} requests were sent." in demo_summary
    assert "All available data was collected." in demo_summary
    assert "in Dagster: make ui\n" in demo_summary


def test_second_run_sends_no_request(demo_summary: str, demo_settings: Settings, demo_sandbox: RunningSandbox) -> None:
    assert demo_summary
    before = charged(demo_sandbox)
    second_summary = run_demo(demo_settings)
    assert charged(demo_sandbox) == before
    assert "No request was sent: all data is collected." in second_summary


def test_stopped_demo_keeps_its_page_and_marks_no_stage_as_done(demo_settings: Settings, tmp_path: Path) -> None:
    printed = StringIO()
    with run_in_thread(SandboxConfig(profile="clean", rate=0)) as sandbox:
        settings = replace(demo_settings, root=tmp_path / "stopped", api_url=sandbox.url)
        prepare_root(settings)
        prepare_home(settings)
        inject_after_requests(sandbox, {2: lambda: os.kill(os.getpid(), signal.SIGINT)})
        with pytest.raises(ClickException, match=r"The demo was stopped\. Collected data is stored"):
            run_demo(settings, printed)
    assert "videos ..." in printed.getvalue()
    assert "✓" not in printed.getvalue()
    assert [*settings.captures.glob("videos/*/*/*.jsonl")]
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        [run] = instance.get_runs()
    assert run.status is dg.DagsterRunStatus.CANCELED


def test_data_is_readable_by_its_owner_only(demo_summary: str, demo_settings: Settings) -> None:
    assert demo_summary
    for folder in (
        demo_settings.root,
        demo_settings.captures,
        demo_settings.raw,
        demo_settings.state,
        demo_settings.reports,
        demo_settings.dagster_home,
    ):
        assert folder.stat().st_mode & 0o077 == 0, folder


def test_no_file_contains_credentials(demo_summary: str, demo_settings: Settings) -> None:
    assert demo_summary
    secret = demo_settings.client_secret.encode()
    assert not [path for path in demo_settings.root.rglob("*") if path.is_file() and secret in path.read_bytes()]


def test_graph_is_green_after_the_demo(demo_summary: str, demo_settings: Settings) -> None:
    """Every partition that Dagster shows is materialized, so a click on Materialize all finds nothing to do."""
    assert demo_summary
    location = build_definitions(demo_settings)
    graph = location.resolve_asset_graph()
    with dg.DagsterInstance.from_config(str(demo_settings.dagster_home)) as instance:
        for spec in location.resolve_all_asset_specs():
            if spec.key.path[-1] == "export":
                continue
            partitions = graph.get(spec.key).partitions_def
            if partitions is None:
                assert instance.get_latest_materialization_event(spec.key) is not None, spec.key
            else:
                assert instance.get_materialized_partitions(spec.key) == set(partitions.get_partition_keys()), spec.key
