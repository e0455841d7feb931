"""The word list finds its phrases in every kind of text, and `make lint` fails on errors only."""

from pathlib import Path

import pytest

from research_assets_tests import word_list


@pytest.mark.parametrize(
    ("line", "levels"),
    [
        ("# The day is collected anew.", ["error"]),
        ('"""What a unit costs."""', ["error"]),
        ("Videos that were asked and given up", ["error", "error"]),
        ("-- rows that are held", ["warning"]),
        ("# Return the stored rows.", []),
        ("test_known_videos = threshold(household)", []),
    ],
)
def test_findings_name_line_and_level(tmp_path: Path, line: str, levels: list[str]) -> None:
    path = tmp_path / "text.py"
    path.write_text(f"\n{line}\n")
    found = list(word_list.findings(path, warnings=True))
    assert [finding.split(": ")[1] for finding in found] == levels
    assert all(finding.startswith(f"{path}:2: ") for finding in found)
    assert [finding for finding in word_list.findings(path) if ": warning: " in finding] == []


def test_lint_fails_on_errors_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "text.md"
    monkeypatch.setattr(word_list, "tracked_files", lambda: [path])
    for text, code in (("The day is held.", 0), ("The day is told of.", 1)):
        path.write_text(text)
        assert word_list.main(["--warnings"]) == code
