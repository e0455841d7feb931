"""Panel files in the forms in which people save them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.study.panel import PanelError, parse_username, read_panel


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("panel.txt", "# our panel\n@moosfreund\n\n  farn_fan \nmoosfreund\n"),
        ("panel.csv", "username\nmoosfreund\nfarn_fan\n"),
        ("panel.csv", "\ufeffUsername;Name\n@moosfreund;Moos\nfarn_fan;Farn\n;\n"),
        ("panel.CSV", 'name,username\n"Moos, der Freund",moosfreund\r\nFarn,farn_fan\r\nshort\r\n'),
        ("panel.csv", "name\tusername\nMoos\tmoosfreund\nFarn\tfarn_fan\n"),
    ],
)
def test_panel_file_contains_its_handles_once(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_panel(tmp_path / name) == ("moosfreund", "farn_fan")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("panel.csv", "name,handle\na,b\n", "has no column 'username' in its first line, only: name, handle"),
        ("panel.csv", "", "only: nothing"),
        ("panel.txt", "# no account\n", "contains no account"),
        ("panel.txt", "a\nb c\n", "panel.txt:2: 'b c' is not a handle"),
        ("panel.csv", "username\na\nhttps://x.example/@b\n", "panel.csv:3: 'https://x.example/@b' is not a handle"),
        ("panel.xlsx", "a", "must end in .csv or .txt"),
    ],
)
def test_invalid_panel_file_is_rejected_with_its_error(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(PanelError) as caught:
        read_panel(tmp_path / name)
    assert message in str(caught.value)


def test_panel_file_in_another_encoding_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "panel.txt").write_bytes("m\u00f6we".encode("latin-1"))
    with pytest.raises(PanelError, match="not UTF-8"):
        read_panel(tmp_path / "panel.txt")


@given(st.text(max_size=30))
def test_handle_is_normalized_or_rejected(text: str) -> None:
    try:
        name = parse_username(text)
    except PanelError:
        return
    assert name
    assert not set(name) & set(" @,;\t\n")
    assert parse_username("@" + name) == name
