"""`new-study`: a script gives flags, a person answers questions; both end with a file and its price, or with none."""

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


def test_flags_write_a_study_and_say_its_price(studies: Path) -> None:
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


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "A study needs a name"),
        (["garden"], 2, "A study needs a condition"),
        (["garden", "--region", "XX"], 1, "`XX` is no region code"),
        (["Garden", "--hashtag", "x"], 1, "must be small letters"),
    ],
)
def test_what_a_script_lacks_is_told_and_nothing_is_written(
    studies: Path, arguments: list[str], code: int, said: str
) -> None:
    result = run(*arguments)
    assert (result.exit_code, said in result.stderr) == (code, True)
    assert list(studies.iterdir()) == []


def test_a_study_is_not_overwritten(studies: Path) -> None:
    assert run("garden", "--hashtag", "garten").exit_code == 0
    before = (studies / "garden" / "defs.yaml").read_text()
    again = run("garden", "--hashtag", "balkon")
    assert again.exit_code == 1
    assert "The study garden is declared in" in again.stderr
    assert (studies / "garden" / "defs.yaml").read_text() == before


ANSWERS = ["Garden", "garden", "2026-02-30", "2026-02-01", "2026-01-01", "2026-02-10", "", "", "", ""]
ANSWERS += ["", "garten, balkon", "", "", "sample:0.1", "a, b", "panel"]


@pytest.fixture
def interactive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_study, "is_interactive", lambda: True)


@pytest.mark.usefixtures("interactive")
def test_questions_are_put_until_the_answer_is_good(studies: Path) -> None:
    result = run(answers="\n".join([*ANSWERS, "y", ""]))
    assert result.exit_code == 0, result.output
    for said in (
        "must be small letters",
        "must be a day of the calendar",
        "is before the start",
        "At least one of these",
    ):
        assert result.output.count(said) == 1
    (declared,) = read_study_file(studies / "garden" / "defs.yaml")
    assert declared.spec.query["and"][0]["field_values"] == ["garten", "balkon"]
    assert (declared.spec.comments.fraction, declared.spec.users.who, declared.spec.panel) == (0.1, "panel", ("a", "b"))


@pytest.mark.usefixtures("interactive")
def test_flags_are_the_defaults_of_the_questions(studies: Path) -> None:
    result = run("garden", "--start", "2026-02-01", "--hashtag", "garten", answers="\n" * 20)
    assert result.exit_code == 0, result.output
    assert "Hashtags [garten]" in result.output
    assert (studies / "garden" / "defs.yaml").exists()


@pytest.mark.usefixtures("interactive")
def test_who_says_no_has_written_nothing(studies: Path) -> None:
    result = run(answers="\n".join([*ANSWERS, "n", ""]))
    assert result.exit_code == 1
    assert "name: garden" in result.output
    assert list(studies.iterdir()) == []


@pytest.mark.usefixtures("interactive")
def test_yes_asks_nothing(studies: Path) -> None:
    assert run("garden", "--hashtag", "garten", "--yes").exit_code == 0
    assert (studies / "garden" / "defs.yaml").exists()
