"""`audit` and `rebuild` as a user runs them, against a sandbox over HTTP."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from research_assets.cli import main
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
    flat = sandbox.world.flat
    assert flat is not None
    return [identifier for day in range(DAY, DAY + 5) for identifier in flat.ids(day)]


def call(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(main, [*arguments], input=answer, terminal_width=200)


def written(path: Path, ids: list[int]) -> str:
    path.write_text("link,how\n" + "".join(f"https://www.tiktok.com/@a/video/{one},liked\n" for one in ids))
    return str(path)


def test_an_audit_says_its_price_first_and_then_the_shares(
    sandbox: RunningSandbox, ids: list[int], tmp_path: Path
) -> None:
    file = written(tmp_path / "Donation 1.csv", ids)
    refused = call("audit", file, answer="n\n")
    assert refused.exit_code == 1
    assert "It takes 2 requests at least; 1,000 of 1,000 are left today" in refused.stdout
    assert sandbox.app.books.asked.get("video_query", 0) == 0
    result = call("audit", file, "--group-by", "how", "--yes")
    assert result.exit_code == 0, result.output
    folder = tmp_path / "data" / "audits" / "donation_1"
    each = pd.read_csv(folder / "ids.csv", dtype={"id": "int64"})
    there = set(sandbox.world.deliverable(ids, sandbox.clock.now().timestamp()))
    assert set(each["id"][each["state"] == "returned"]) == there
    table = pd.read_csv(folder / "shares.csv")
    assert table["share"][0] == pytest.approx(len(there) / len(ids), abs=1e-4)
    assert f"{len(there) / len(ids):.1%}" in result.stdout
    assert (folder / "ids.csv").stat().st_mode & 0o077 == 0


def test_a_list_is_rebuilt_with_its_comments_and_never_asked_for_twice(ids: list[int], tmp_path: Path) -> None:
    file = written(tmp_path / "ids.csv", ids)
    first = call("rehydrate", file, "--name", "colleague", "--yes")
    assert first.exit_code == 0, first.output
    assert "as the study colleague" in first.stdout
    again = call("rehydrate", file, "--name", "colleague", "--yes")
    assert again.exit_code == 0, again.output
    assert "videos are held already" in again.stdout
    export = tmp_path / "export.csv"
    raw = tmp_path / "data" / "raw"
    (video,) = duckdb.execute(f"SELECT min(id) FROM '{raw}/videos/study=colleague/*/*.parquet'").fetchall()[0]
    export.write_text(f"entity,id,video_id,date\nvideos,{video},{video},\ncomments,77,{video},\n")
    only = call("rehydrate", str(export), "--name", "other", "--yes")
    assert "1 comments are left out" in only.stdout
    result = call("rehydrate", str(export), "--name", "other", "--comments", "--yes")
    assert result.exit_code == 0, result.output
    assert "0 of 1 listed comments came back" in result.stdout
    assert duckdb.execute(f"SELECT count(*) FROM '{raw}/comments/study=other/*/*.parquet'").fetchall() == [(4,)]


def test_what_is_wrong_is_told_in_one_line(ids: list[int], tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("id\n7.5E+18\n")
    for arguments, said in (
        (("audit", str(bad)), "rounded"),
        (("audit", written(tmp_path / "a.csv", ids), "--column", "zz"), "no column 'zz'"),
        (("audit", written(tmp_path / "a.csv", ids), "--name", "Ü"), "must begin with a letter"),
    ):
        result = call(*arguments)
        assert result.exit_code in (1, 2)
        assert said in result.stderr
        assert "Traceback" not in result.output
