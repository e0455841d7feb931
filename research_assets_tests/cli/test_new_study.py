"""The command `new-study`, with options and with prompts: it writes a file and prints its cost, or writes nothing."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from research_assets.cli import main, new_study
from research_assets.study.loader import read_study_file


@pytest.fixture
def studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "studies"
    folder.mkdir()
    monkeypatch.setenv("RESEARCH_STUDIES", str(folder))
    return folder


def run(*arguments: str, answers: str = "") -> Result:
    return CliRunner().invoke(main, ["new-study", *arguments], input=answers, terminal_width=200)


def test_options_write_a_study_and_print_its_cost(studies: Path) -> None:
    result = run(
        "garden", "--start", "2026-02-01", "--end", "2026-02-10", "--hashtag", "garten,balkon", "--region", "DE"
    )
    assert result.exit_code == 0, result.output
    file = studies / "garden" / "defs.yaml"
    (declared,) = read_study_file(file)
    assert [condition["field_values"] for condition in declared.spec.query["and"]] == [["DE"], ["garten", "balkon"]]
    assert f"Written: {file}" in result.stdout
    assert ["garden", "videos", "10"] in [line.split()[:3] for line in result.stdout.splitlines()]
    assert "research-assets plan garden --probe" in result.stdout


def test_answer_in_another_spelling_is_noted(studies: Path) -> None:
    result = run(
        "garden", "--start", "2026-02-01", "--end", "2026-02-10", "--username", "https://tiktok.com/@Anna,bert"
    )
    assert result.exit_code == 0, result.output
    (declared,) = read_study_file(studies / "garden" / "defs.yaml")
    assert declared.spec.query["and"][0]["field_values"] == ["anna", "bert"]
    assert "'https://tiktok.com/@Anna' is requested as 'anna'" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "A study needs a name"),
        (["garden"], 2, "A study needs a condition"),
        (["garden", "--region", "XX"], 1, "`XX` is not a region code"),
        (["Garden", "--hashtag", "x"], 1, "must be lowercase letters"),
        (["a" * 300, "--hashtag", "x"], 1, "name: must have at most 30 characters, not 300"),
        (["../../escape", "--hashtag", "x"], 1, "must be lowercase letters"),
        (["\x1b[31mred", "--hashtag", "x"], 1, "must be lowercase letters"),
        (["con", "--hashtag", "x"], 1, "no name that Windows reserves"),
        (["", "--hashtag", "x"], 2, "A study needs a name"),
    ],
)
def test_missing_option_is_reported_and_nothing_is_written(
    studies: Path, arguments: list[str], code: int, message: str
) -> None:
    result = run(*arguments)
    assert (result.exit_code, message in result.stderr) == (code, True), result.output
    assert "\x1b" not in result.stderr
    assert list(studies.iterdir()) == []


def test_existing_study_is_not_overwritten(studies: Path) -> None:
    assert run("garden", "--hashtag", "garten").exit_code == 0
    before = (studies / "garden" / "defs.yaml").read_text()
    second = run("garden", "--hashtag", "balkon")
    assert second.exit_code == 1
    assert "The study garden is declared in" in second.stderr
    assert (studies / "garden" / "defs.yaml").read_text() == before


ANSWERS = ["Garden", "garden", "2026-02-30", "2026-02-01", "2026-01-01", "2026-02-10", "", "", "", ""]
ANSWERS += ["", "garten, balkon", "", "", "sample:0.1", "a, b", "panel"]


@pytest.fixture
def interactive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_study, "is_interactive", lambda: True)


@pytest.mark.usefixtures("interactive")
def test_prompts_repeat_until_the_answer_is_valid(studies: Path) -> None:
    result = run(answers="\n".join([*ANSWERS, "y", ""]))
    assert result.exit_code == 0, result.output
    for message in (
        "must be lowercase letters",
        "must be a date such as 2026-02-01",
        "is before the start",
        "At least one of these",
    ):
        assert result.output.count(message) == 1
    (declared,) = read_study_file(studies / "garden" / "defs.yaml")
    assert declared.spec.query["and"][0]["field_values"] == ["garten", "balkon"]
    assert (declared.spec.comments.fraction, declared.spec.users.who, declared.spec.panel) == (0.1, "panel", ("a", "b"))


@pytest.mark.usefixtures("interactive")
def test_options_are_the_defaults_of_the_prompts(studies: Path) -> None:
    result = run("garden", "--start", "2026-02-01", "--hashtag", "garten", answers="\n" * 20)
    assert result.exit_code == 0, result.output
    assert "Hashtags [garten]" in result.output
    assert (studies / "garden" / "defs.yaml").exists()


@pytest.mark.usefixtures("interactive")
def test_declined_confirmation_writes_nothing(studies: Path) -> None:
    result = run(answers="\n".join([*ANSWERS, "n", ""]))
    assert result.exit_code == 1
    assert "name: garden" in result.output
    assert list(studies.iterdir()) == []


@pytest.mark.usefixtures("interactive")
def test_yes_option_prompts_for_nothing(studies: Path) -> None:
    assert run("garden", "--hashtag", "garten", "--yes").exit_code == 0
    assert (studies / "garden" / "defs.yaml").exists()
