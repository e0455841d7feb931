"""Commands on terminals of any encoding and width: no command fails, and no number is cut off."""

import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from research_assets.cli import main
from research_assets.settings import VARIABLES, Settings, prepare_root
from research_assets.storage.raw_writer import write_rows
from research_assets_tests.conftest import UNREACHABLE_URL
from research_assets_tests.report.report_warehouse import garden_rows, publish
from research_assets_tests.study.study_files import MINIMAL_STUDY, write

STATES = ("complete", "partial", "quarantined", "suspicious", "too_fresh", "refused", "missing")
REASON = "größe … “x” 🍅 \u200b\u2028 \udcff"
COMMANDS = (
    ("--help",),
    ("status",),
    ("plan", "--by-partition"),
    ("report",),
    ("export", "--pseudonymous"),
    ("export", "nö 🍅"),
    ("audit", "LIST", "--yes"),
    ("audit", "nö.csv"),
    ("audit", "LIST", "--yes", "--name", "ü" * 300),
    ("rehydrate", "LIST", "--yes", "--name", "x" * 300),
    ("new-study", "größe", "--hashtag", "x", "--yes"),
    ("new-study", "x" * 300, "--hashtag", "x", "--yes"),
    ("verify-files",),
    ("replay", "ü" * 300),
    ("check-api",),
    ("demo",),
    ("ü" * 300,),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `datä` with marts, units in every state and a failure, and a study and a list of ids beside it."""
    root = tmp_path_factory.mktemp("terminal")
    settings = Settings.from_env({"RESEARCH_DATA": str(root / "datä"), "TIKTOK_API_URL": UNREACHABLE_URL})
    prepare_root(settings)
    publish(settings, garden_rows())
    rows = [
        {
            "entity": "videos",
            "partition": date(2026, 2, 1 + number),
            "unit_kind": "day",
            "state": state,
            "unit": f"2026-02-0{1 + number}",
            "kept": 3,
            "offered": 3,
            "asked": 3,
            "requests": 1.0,
            "reason": REASON.replace("\udcff", ""),
            "next_try": datetime(2026, 3, 3, tzinfo=UTC),
            "capture": "c1",
            "first_at": datetime(2026, 3, 2, 9, tzinfo=UTC),
            "last_at": datetime(2026, 3, 2, 9, tzinfo=UTC),
        }
        for number, state in enumerate(STATES)
    ]
    write_rows(settings.raw, "coverage", study="gardening", day=date(2026, 3, 2), name="c1", rows=rows)
    settings.alerts.write_text('{"at": "2999-01-01T00:00:00+00:00", "assets": ["gärten"], "message": ["größe 🍅"]}\n')
    write(root / "studies" / "one", MINIMAL_STUDY + "end: 2026-02-08\n")
    (root / "list.csv").write_text("id\n7602399228894800784\nwröng\n", encoding="utf-8")
    return root


def environment(folder: Path) -> dict[str, str]:
    values = {"root": folder / "datä", "studies": folder / "studies", "client_key": "key", "client_secret": "secret"}
    texts = {VARIABLES[name].name: str(value) for name, value in values.items()}
    return texts | {VARIABLES["api_url"].name: UNREACHABLE_URL}


@pytest.mark.parametrize(
    ("encoding", "columns"), [("ascii", "40"), ("latin-1", "0"), ("cp437", "1"), ("utf-8", "-5"), ("cp1252", "99999")]
)
def test_no_command_fails_on_a_terminal(
    folder: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for name, value in environment(folder).items():
        monkeypatch.setenv(name, value)
    for words in COMMANDS:
        result = CliRunner(charset=encoding).invoke(
            main, [word.replace("LIST", str(folder / "list.csv")) for word in words]
        )
        assert result.exception is None or isinstance(result.exception, SystemExit), (words, result.exception)
        result.stdout_bytes.decode(encoding)
        assert "Traceback" not in result.output


@pytest.mark.integration
@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "ascii", "COLUMNS": "40"},
        {"LC_ALL": "C", "LANG": "C", "TERM": "dumb"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=lambda variables: " ".join(f"{name}={value}" for name, value in variables.items()),
)
@pytest.mark.parametrize("words", [("status",), ("report",), ("audit", "LIST", "--yes")], ids=lambda words: words[0])
def test_process_in_a_plain_environment_prints_no_traceback(
    folder: Path, variables: dict[str, str], words: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("research-assets"), *(word.replace("LIST", "list.csv") for word in words)],
        env=os.environ | environment(folder) | variables,
        cwd=folder,
        capture_output=True,
        check=False,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
    if "PYTHONIOENCODING" in variables:
        assert (done.stdout + done.stderr).isascii()


def test_no_number_is_cut_off_in_40_columns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    for name, value in environment(folder).items():
        monkeypatch.setenv(name, value)
    text = CliRunner(charset="ascii").invoke(main, ["status"]).stdout
    assert ["research", "0", "1,000", "1,000", "0", "now"] in [line.split() for line in text.splitlines()]
    assert "..." not in text.replace(" ... ", "").partition("Coverage")[0]
    # The states stay distinguishable: the days are in the order of STATES.
    lines = iter(text.splitlines())
    assert "  videos: 8 days" in lines
    first, bar, last = next(lines).split()
    assert (first, bar, last) == ("2026-02-01", "#%!?:x-.", "2026-02-08")
