"""A body becomes one line of JSON whose numbers are the received bytes."""

import json
import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.tiktok.jsonline import parse_json_line

NUMBERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, list):
        return [without_nul(one) for one in value]
    if isinstance(value, dict):
        return {without_nul(key): without_nul(one) for key, one in value.items()}
    return value


@given(VALUES, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_parser_reads_any_json_in_any_layout(value: Any, indent: Any, ascii_only: bool) -> None:
    body = json.dumps(value, indent=indent, ensure_ascii=ascii_only).replace("\n", "\r\n").encode()
    read_value, line, unreadable = parse_json_line(body)
    assert not unreadable
    assert read_value == without_nul(value)
    assert b"\n" not in line
    assert b"\r" not in line
    assert orjson.loads(line) == value


@given(st.lists(st.integers(0, 2**64 * 1000)))
def test_line_keeps_numbers_unchanged(numbers: list[int]) -> None:
    assert re.findall(rb"\d+", parse_json_line(b"[%s]" % b",\n".join(b"%d" % n for n in numbers))[1]) == [
        b"%d" % n for n in numbers
    ]


def test_parser_keeps_numbers_beyond_double_precision() -> None:
    body = b'{"id":7503867840092128259,"x":1.10,"y":1E400}'
    assert parse_json_line(b'{"id":7503867840092128259}')[0] == {"id": 7503867840092128259}
    assert parse_json_line(body.replace(b"1E400", b"1E4"))[1] == body.replace(b"1E400", b"1E4")


def test_parser_keeps_an_escaped_backslash_before_u0000() -> None:
    assert parse_json_line(rb'["\\u0000", "a\u0000b", "\\\u0000"]')[0] == ["\\u0000", "ab", "\\"]


def test_line_keeps_nul_characters() -> None:
    assert parse_json_line(rb'{"username":"a\u0000b"}')[:2] == ({"username": "ab"}, rb'{"username":"a\u0000b"}')


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (b'{"a":"x\ny"}', {"a": "x\ny"}),
        (b'{"a":"x\x00y"}', {"a": "xy"}),
        (b'{"a":"x\xffy"}', {"a": "x\ufffdy"}),
        (rb'{"a":"x\ud83d"}', {"a": "x\ufffd"}),
        (rb'{"a":"\udf45x\ud83c\udf45"}', {"a": "\ufffdx\U0001f345"}),
        (rb'{"a":"\\ud83d \ud83d"}', {"a": "\\ud83d \ufffd"}),
        (b'{\n"a":"\x01",\n"id":7503867840092128259}', {"a": "\x01", "id": 7503867840092128259}),
    ],
)
def test_parser_repairs_single_invalid_characters(body: bytes, value: Any) -> None:
    read_value, line, _ = parse_json_line(body)
    assert read_value == value
    assert b"\n" not in line
    orjson.loads(line)


@pytest.mark.parametrize(
    "literal", ["NaN", "-Infinity", "nan", "undefined", "None", "1E999", "9" * 400, "01", "+1", ".5", "1.", "0x10"]
)
def test_parser_reads_null_for_a_literal_that_is_not_json(literal: str) -> None:
    body = f'\ufeff{{"id":7503867840092128259,"rows":[1,{{"n":{literal}}}],"text":"{literal} \\"{literal}"}}'.encode()
    value, line, unreadable = parse_json_line(body)
    text = f'{literal} "{literal}'
    assert value == {"id": 7503867840092128259, "rows": [1, {"n": None}], "text": text}
    assert orjson.loads(line) == value
    assert unreadable == ((("rows", 1, "n"), literal),)


def test_parser_reports_the_error_of_the_received_text() -> None:
    with pytest.raises(ValueError, match="line 1 column 6"):
        parse_json_line(b'{"a":NaN,b:1}')


@pytest.mark.parametrize("body", [b"", b"  ", b"<html>", b'{"a":', b'{"a":1}}', b"{NaN:1}", b'{"a":"', b"[1,]"])
def test_parser_rejects_what_is_not_json(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json_line(body)


@given(st.binary(max_size=60))
def test_parser_reads_or_rejects_any_bytes(body: bytes) -> None:
    try:
        _, line, _ = parse_json_line(body)
    except ValueError:
        return
    orjson.loads(line)
    assert b"\n" not in line
