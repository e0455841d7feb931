"""Text files and tables in the forms in which programs save them."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.text_files import TextFileError, decode_text, read_table, read_text, split_lines


def cells(text: str) -> list[list[str]]:
    return [row for _, row in read_table(text)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_text_is_read_in_each_unicode_encoding(tmp_path: Path, encoding: str) -> None:
    text = "username;note\r\nm\u00f6we;\U0001f331\r\n"
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    assert read_text(tmp_path / "a.csv") == text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"username\nm\xf6we\n", "is not UTF-8 text (line 2). Save it as UTF-8"),
        (b"\xff\xfea", "is not UTF-16 text"),
        (b"PK\x03\x04rest", "an Excel or OpenDocument file"),
        (b"PAR1", "a Parquet file"),
        (b"\x1f\x8b", "a compressed file"),
    ],
)
def test_other_files_are_refused_with_the_reason(data: bytes, message: str) -> None:
    with pytest.raises(TextFileError) as caught:
        decode_text(data)
    assert message in str(caught.value)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("head", ["", "sep={0}\r\n", '"sep={0}"\n', "SEP={0}\n"])
def test_separator_is_found_or_named(separator: str, head: str) -> None:
    table = separator.join(("username", "note")) + "\r\n" + separator.join(("anna", '"a, b; c\td|e"')) + "\r\n"
    text = head.format(separator) + table
    first = 2 if head else 1
    assert read_table(text) == [(first, ["username", "note"]), (first + 1, ["anna", "a, b; c\td|e"])]


def test_separator_within_quotes_of_the_first_line_does_not_count() -> None:
    assert cells('"name, first, last";username\n"A, B, C";anna\n') == [
        ["name, first, last", "username"],
        ["A, B, C", "anna"],
    ]


def test_single_column_is_not_divided() -> None:
    assert cells("username\nanna, bert\n") == [["username"], ["anna, bert"]]


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x00"])
def test_only_line_feeds_and_carriage_returns_end_a_line(character: str) -> None:
    text = f"username,note\nanna,a{character}b\nbert,c\n"
    assert cells(text) == [["username", "note"], ["anna", f"a{character}b"], ["bert", "c"]]
    assert split_lines(f"a{character}b\r\nc\rd\n") == [f"a{character}b", "c", "d", ""]


def test_lines_are_numbered_by_their_first_line_also_after_a_cell_of_several_lines() -> None:
    text = 'username,note\r\nanna,"a\r\nb"\r\n\r\nbert,c\rcarl,d'
    assert [line for line, _ in read_table(text)] == [1, 2, 5, 6]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('username,note\nanna,"a\nbert,b\n', 2),
        ('username,note\nanna,a\nbert,"b"c\ncarl,d\n', 3),
        ('sep=,\nusername,note\nanna,"a\n', 3),
        ('sep="\nusername\n', 1),
    ],
)
def test_wrong_quotes_are_refused_because_they_may_contain_lines(text: str, line: int) -> None:
    with pytest.raises(TextFileError) as caught:
        read_table(text)
    assert caught.value.line == line
    assert f"line {line}" in str(caught.value)


ANY_CELL = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)


@given(
    st.integers(2, 4).flatmap(lambda n: st.lists(st.lists(ANY_CELL, min_size=n, max_size=n), min_size=1, max_size=6)),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_table_written_with_named_separator_is_read_back(
    rows: list[list[str]], separator: str, encoding: str, end: str
) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    data = f"sep={separator}{end}{text.getvalue()}".encode(encoding)
    assert cells(decode_text(data)) == [row for row in rows if any(cell.strip() for cell in row)]
