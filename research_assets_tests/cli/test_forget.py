"""The command `forget`: a preview, a removal with a receipt, and refusals."""

import json
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from research_assets.cli import main
from research_assets.collect.id_lists.reader import IdList, ListedVideo, leave_out_withdrawn
from research_assets.settings import Settings
from research_assets.storage.raw_reader import query_raw
from research_assets.storage.raw_writer import write_capture
from research_assets.storage.withdrawals import log_path, read_withdrawn
from research_assets_tests.storage.capture_factory import make_answer, make_capture

VIDEO = 7602014558564353972


@pytest.fixture
def data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    monkeypatch.setenv("TIKTOK_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path))
    settings = Settings.from_env()
    for study in ("garden", "kitchen"):
        videos = [
            {"id": VIDEO + number, "create_time": 1769900400, "username": name}
            for number, name in enumerate(("anna_k", "bob", "cleo"))
        ]
        write_capture(settings.raw, make_capture(tmp_path, "videos", [make_answer("videos", videos)], study=study))
    return settings


def forget(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["forget", *arguments])


def stored(settings: Settings, study: str) -> set[str]:
    rows = query_raw(settings.raw, "videos", f"study={study}/day=*", "SELECT username FROM {table}")
    return {name for (name,) in rows}


def test_forget_shows_what_would_go_and_changes_nothing(data_folder: Settings) -> None:
    result = forget("--username", "@Anna_K", "--video", str(VIDEO + 1))
    assert result.exit_code == 0, result.output
    assert "To remove: 1 account, 2 videos, 0 comments." in result.stdout
    assert "Nothing was changed. Repeat the command with --yes" in result.stdout
    assert stored(data_folder, "garden") == {"anna_k", "bob", "cleo"}
    assert not read_withdrawn(data_folder.state)


def test_forget_says_that_no_file_contains_a_misspelled_name(data_folder: Settings) -> None:
    message = "No file contains them. If they were collected, check the spelling."
    assert message in forget("--username", "ana.k").output
    assert message not in forget("--username", "anna_k").output
    assert len(stored(data_folder, "garden")) == 3


def test_forget_removes_and_writes_a_receipt_without_content(data_folder: Settings) -> None:
    result = forget("--username", "anna_k", "--yes")
    assert result.exit_code == 0, result.output
    assert stored(data_folder, "garden") == stored(data_folder, "kitchen") == {"bob", "cleo"}
    (receipt,) = (data_folder.state / "receipts").iterdir()
    content = json.loads(receipt.read_text())
    assert content["complete"]
    assert content["items"] == {"account": 1, "video": 1}
    assert content["files"]["captures"] == {"rewritten": 2}
    assert "anna" not in receipt.read_text()
    assert str(VIDEO) not in receipt.read_text()
    (line,) = (data_folder.state / "audit_log.jsonl").read_text().splitlines()
    assert json.loads(line)["receipt"] == content["receipt"]
    assert "anna" not in line


def test_forget_removes_a_study_and_no_other(data_folder: Settings) -> None:
    result = forget("--study", "garden", "--yes")
    assert result.exit_code == 0, result.output
    assert not [path for path in data_folder.root.rglob("*") if path.name == "study=garden"]
    assert stored(data_folder, "kitchen") == {"anna_k", "bob", "cleo"}


def test_forget_removes_all_data_but_logs_and_receipts(data_folder: Settings) -> None:
    assert forget("--video", str(VIDEO), "--yes").exit_code == 0
    data_folder.alerts.write_text("{}\n")
    result = forget("--all", "--yes")
    assert result.exit_code == 0, result.output
    files = {str(path.relative_to(data_folder.root)) for path in data_folder.root.rglob("*") if path.is_file()}
    assert not [name for name in files if not name.startswith("state/")]
    assert {"state/withdrawals.jsonl", "state/audit_log.jsonl"} <= files
    assert read_withdrawn(data_folder.state).videos == {VIDEO}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Name an account, a video, a comment or a study."),
        (("--video", "12x"), "is not an id"),
        (("--video", "99999999999999999999"), "is not an id"),
        (("--username", "not a handle"), "Nothing was changed"),
        (("--study", "garden", "--all"), "Name either items"),
        (("--study", "unknown"), "has no data of a study unknown"),
        (("--study", "*"), "is not the name of a study"),
    ],
)
def test_forget_refuses_unclear_requests(data_folder: Settings, arguments: tuple[str, ...], message: str) -> None:
    result = forget(*arguments, "--yes")
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert stored(data_folder, "kitchen") == {"anna_k", "bob", "cleo"}


def test_verify_files_names_a_damaged_log_of_withdrawals(data_folder: Settings) -> None:
    assert forget("--video", str(VIDEO), "--video", str(VIDEO + 1), "--yes").exit_code == 0
    assert CliRunner().invoke(main, ["verify-files"]).exit_code == 0
    log = log_path(data_folder.state)
    log.write_bytes(log.read_bytes().replace(b'"video"', b'"vide0"', 1))
    result = CliRunner().invoke(main, ["verify-files"])
    assert result.exit_code == 1
    assert "1 line of the log" in result.stdout
    assert "be collected again" in result.stdout


def test_listed_ids_that_are_withdrawn_are_left_out(data_folder: Settings) -> None:
    assert forget("--video", str(VIDEO), "--yes").exit_code == 0
    listed = IdList(
        Path("ids.csv"),
        tuple(ListedVideo(VIDEO + number, date(2026, 2, 1)) for number in range(3)),
        {VIDEO: {1}, VIDEO + 1: {2}},
        0,
        (),
    )
    kept, number = leave_out_withdrawn(listed, read_withdrawn(data_folder.state))
    assert [one.id for one in kept.videos] == [VIDEO + 1, VIDEO + 2]
    assert kept.comments == {VIDEO + 1: {2}}
    assert number == 2
