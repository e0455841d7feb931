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
        ("panel.tsv", "name\tusername\nMoos\tmoosfreund\nFarn\tfarn_fan\n"),
        ("panel.csv", "sep=;\r\n\u200bUSERNAME ;Name\r\n@moosfreund;Moos\r\nfarn_fan;Farn\r\n"),
        ("panel.csv", "username,note\nmoosfreund,one\u2028intruder\nfarn_fan,two\x85intruder\n"),
        ("panel.csv", 'username,note\nmoosfreund,"one\nintruder"\nfarn_fan,\x1cintruder\n'),
        ("panel.csv", '"name; first";username\n"a; b";moosfreund\n"c";farn_fan\n'),
        ("panel.csv", "username,name,\nMoosfreund,,\n farn_fan\u200e,,\n"),
        ("panel.txt", "https://www.tiktok.com/@moosfreund?lang=en\r\n\u202a@Farn_Fan\u202c\r\n"),
        ("panel.txt", "moosfreund\rfarn_fan\r"),
    ],
)
def test_panel_file_contains_its_handles_once(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert [entry.name for entry in read_panel(tmp_path / name)] == ["moosfreund", "farn_fan"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("panel.csv", "name,handle\na,b\n", "has no column 'username' in its first line, only: name, handle"),
        ("panel.csv", "", "only: nothing"),
        ("panel.txt", "# no account\n", "contains no account"),
        ("panel.txt", "a\nb c\n", "panel.txt:2: `b c` has more than one name"),
        ("panel.csv", "username\na\nhttps://x.example/@b\n", "panel.csv:3: `https://x.example/@b` is not a handle"),
        ("panel.csv", "username\nanna,bert\n", "panel.csv:2: `anna,bert` has more than one name"),
        ("panel.csv", "username,note\nanna,a,b\n", "panel.csv:2: has 3 cells, but the first line has 2"),
        ("panel.csv", "username,username\na,b\n", "two columns 'username'"),
        ("panel.csv", 'username,note\nanna,"a\nbert,b\n', "wrong quotes in line 2"),
        ("panel.txt", "a\nb\u2028c\n", "panel.txt:2: contains a line break or a control character: `b\\u2028c`"),
        ("panel.txt", "anna\nanna, bert\n", "panel.txt:2: `anna, bert` has more than one name"),
        ("panel.txt", "a\nhttps://vm.tiktok.com/ZMa/\n", "panel.txt:2: `https://vm.tiktok.com/ZMa/` is a short link"),
        ("panel.xlsx", "a", "must end in .csv, .tsv or .txt"),
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


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig"])
def test_panel_file_in_an_encoding_of_spreadsheets_is_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "panel.csv").write_bytes("username;Name\r\nmoosfreund;M\u00f6\u00f6s\r\n".encode(encoding))
    assert [entry.name for entry in read_panel(tmp_path / "panel.csv")] == ["moosfreund"]


@given(st.text(max_size=30))
def test_handle_is_normalized_or_rejected(text: str) -> None:
    try:
        name = parse_username(text)
    except PanelError:
        return
    assert name
    assert not set(name) & set(" @,;\t\n")
    assert parse_username("@" + name) == name
