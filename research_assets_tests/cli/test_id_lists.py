"""The commands `audit` and `rehydrate` against a sandbox over HTTP."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from research_assets.cli import main
from research_assets.collect.id_lists import audit
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import RunningSandbox, run_in_thread

DAY = 20_485


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with run_in_thread(
        SandboxConfig(profile="clean", fixed_volume=30, fixed_comments=4, withdrawn_per_year=0.4)
    ) as server:
        yield server


@pytest.fixture
def ids(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setenv("TIKTOK_API_URL", sandbox.url)
    monkeypatch.setenv("TIKTOK_CLIENT_KEY", "sandbox-key")
    monkeypatch.setenv("TIKTOK_CLIENT_SECRET", "sandbox-secret")
    monkeypatch.setenv("RESEARCH_RATE_LIMIT", "100")
    videos = sandbox.world.fixed_volume
    assert videos is not None
    return [identifier for day in range(DAY, DAY + 5) for identifier in videos.ids(day)]


def run(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(main, [*arguments], input=answer, terminal_width=200)


def write_list(path: Path, ids: list[int]) -> str:
    path.write_text("link,how\n" + "".join(f"https://www.tiktok.com/@a/video/{one},liked\n" for one in ids))
    return str(path)


def test_audit_prints_its_cost_and_the_shares(sandbox: RunningSandbox, ids: list[int], tmp_path: Path) -> None:
    file = write_list(tmp_path / "Donation 1.csv", ids)
    declined = run("audit", file, answer="n\n")
    assert declined.exit_code == 1
    assert "Cost: at least 2 requests; 1,000 of 1,000 remaining today" in declined.stdout
    assert sandbox.app.request_log.requests.get("video/query", 0) == 0
    result = run("audit", file, "--group-by", "how", "--yes")
    assert result.exit_code == 0, result.output
    folder = tmp_path / "data" / "audits" / "donation_1"
    states = pd.read_csv(folder / "ids.csv", dtype={"id": "int64"})
    assert result.stdout.startswith("Simulated data, not from TikTok: ")
    assert all(pd.read_csv(folder / name)["simulated"].all() for name in ("ids.csv", "shares.csv"))
    deliverable = set(sandbox.world.deliverable(ids, sandbox.clock.now().timestamp()))
    assert set(states["id"][states["state"] == "returned"]) == deliverable
    table = pd.read_csv(folder / "shares.csv")
    assert table["share"][0] == pytest.approx(len(deliverable) / len(ids), abs=1e-4)
    assert f"{len(deliverable) / len(ids):.1%}" in result.stdout
    assert (folder / "ids.csv").stat().st_mode & 0o077 == 0
    assert "The intervals assume that the videos were drawn independently" in " ".join(result.stdout.split())


def test_audit_that_cannot_write_its_results_requests_no_id_again(
    sandbox: RunningSandbox, ids: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_list(tmp_path / "full.csv", ids)
    with monkeypatch.context() as patch:
        patch.setattr(audit, "write_results", lambda *_, **__: 1 / 0)
        assert isinstance(run("audit", file, "--yes").exception, ZeroDivisionError)
    before = sandbox.app.request_log.requests["video/query"]
    result = run("audit", file, "--yes")
    assert result.exit_code == 0, result.output
    assert sandbox.app.request_log.requests["video/query"] == before
    states = pd.read_csv(tmp_path / "data" / "audits" / "full" / "ids.csv")["state"]
    assert set(states) == {"returned", "absent"}


def test_audit_of_donors_counts_their_exposures(sandbox: RunningSandbox, ids: list[int], tmp_path: Path) -> None:
    file = tmp_path / "donors.csv"
    file.write_text("id,donor,views\n" + "".join(f"{one},d{one % 7},{1 + one % 3}\n" for one in ids))
    result = run("audit", str(file), "--cluster", "donor", "--exposures", "views", "--ids-are-exact", "--yes")
    assert result.exit_code == 0, result.output
    deliverable = set(sandbox.world.deliverable(ids, sandbox.clock.now().timestamp()))
    share = sum(1 + one % 3 for one in deliverable) / sum(1 + one % 3 for one in ids)
    table = pd.read_csv(tmp_path / "data" / "audits" / "donors" / "shares.csv")
    assert table["share"][0] == pytest.approx(share, abs=1e-4)
    assert table["clusters"][0] == 7
    assert table["low"][0] < share < table["high"][0]
    assert "all shares rest on fewer than 10 clusters" in " ".join((result.stdout + result.stderr).split())


def test_audit_of_a_data_download_reports_its_lists(sandbox: RunningSandbox, ids: list[int], tmp_path: Path) -> None:
    rows = [{"Date": "2026-03-01 10:00:00", "Link": f"https://www.tiktokv.com/share/video/{one}/"} for one in ids]
    data = {
        "Your Activity": {"Watch History": {"VideoList": rows[:100]}},
        "Likes and Favorites": {"Like List": {"ItemFavoriteList": rows[90:]}},
    }
    file = tmp_path / "user_data_tiktok.json"
    file.write_text(json.dumps(data))
    result = run("audit", str(file), "--yes")
    assert result.exit_code == 0, result.output
    assert "  browsing history: 100 videos" in result.stdout
    assert f"  likes: {len(ids) - 90} videos" in result.stdout
    table = pd.read_csv(tmp_path / "data" / "audits" / "user_data_tiktok" / "shares.csv")
    listed = table[table["month"] == "all"].set_index("class")["listed"]
    assert dict(listed) == {"all": len(ids), "browsing history": 100, "likes": len(ids) - 90}
    deliverable = set(sandbox.world.deliverable(ids, sandbox.clock.now().timestamp()))
    assert table["returned"][0] == len(deliverable)


def test_rehydrate_fetches_comments_and_requests_no_video_twice(
    sandbox: RunningSandbox, ids: list[int], tmp_path: Path
) -> None:
    file = write_list(tmp_path / "ids.csv", ids)
    first = run("rehydrate", file, "--name", "colleague", "--yes")
    assert first.exit_code == 0, first.output
    assert "as the study colleague" in first.stdout
    assert first.stdout.startswith("Simulated data, not from TikTok: ")
    assert pd.read_csv(tmp_path / "data" / "rehydrated" / "colleague" / "ids.csv")["simulated"].all()
    second = run("rehydrate", file, "--name", "colleague", "--yes")
    assert second.exit_code == 0, second.output
    assert "Already collected: " in second.stdout
    # As if the first command had been killed between its capture and the raw tables.
    for path in (tmp_path / "data" / "raw").glob("*/study=colleague/*/*.parquet"):
        path.unlink()
    third = run("rehydrate", file, "--name", "colleague", "--yes")
    assert third.exit_code == 0, third.output
    assert re.search("Already collected: .*", third.stdout)[0] == re.search("Already collected: .*", second.stdout)[0]  # type: ignore[index]
    export = tmp_path / "export.csv"
    raw = tmp_path / "data" / "raw"
    (video,) = duckdb.execute(f"SELECT min(id) FROM '{raw}/videos/study=colleague/*/*.parquet'").fetchall()[0]
    export.write_text(f"entity,id,video_id,date\nvideos,{video},{video},\ncomments,77,{video},\n")
    videos_only = run("rehydrate", str(export), "--name", "other", "--yes")
    assert "Skipped 1 comment" in videos_only.stdout
    result = run("rehydrate", str(export), "--name", "other", "--comments", "--yes")
    assert result.exit_code == 0, result.output
    assert "0 of 1 listed comments were returned" in result.stdout
    for path in raw.glob("comments/study=other/*/*.parquet"):
        path.unlink()
    for path in raw.glob("coverage/study=other/*/*.parquet"):
        path.unlink()
    before = sandbox.app.request_log.requests["video/comment/list"]
    assert run("rehydrate", str(export), "--name", "other", "--comments", "--yes").exit_code == 0
    assert sandbox.app.request_log.requests["video/comment/list"] == before > 0
    assert duckdb.execute(f"SELECT count(*) FROM '{raw}/comments/study=other/*/*.parquet'").fetchall() == [(4,)]


def test_invalid_list_is_reported_in_one_message(ids: list[int], tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("id\n7.5E+18\n")
    by_value = tmp_path / "by_value.csv"
    by_value.write_text("id\n" + "".join(f"{int(float(one))}\n" for one in ids))
    for arguments, message in (
        (("audit", str(bad)), "rounded"),
        (("rehydrate", str(by_value)), "ids as text"),
        (("audit", write_list(tmp_path / "a.csv", ids), "--column", "zz"), "no column 'zz'"),
        (("audit", write_list(tmp_path / "a.csv", ids), "--name", "Ü"), "must begin with a letter"),
    ):
        result = run(*arguments)
        assert result.exit_code in (1, 2)
        assert message in result.stderr
        assert "Traceback" not in result.output
