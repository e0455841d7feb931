"""A body becomes one line of JSON whose numbers are the received bytes."""

import json
import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.tiktok.jsonline import MAX_DEPTH, NOT_JSON, REPEATED_KEY, TOO_DEEP, parse_json_line

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
    read_value, line, changed = parse_json_line(body)
    # Two keys may differ in a NUL character alone.
    assert {change.reason for change in changed} <= {REPEATED_KEY}
    assert read_value == without_nul(value)
    assert b"\n" not in line
    assert b"\r" not in line
    assert orjson.loads(line) == read_value


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


def test_value_and_line_have_no_nul_characters() -> None:
    assert parse_json_line(rb'{"user\u0000name":"a\u0000b"}') == ({"username": "ab"}, b'{"username":"ab"}', ())


def nested(levels: int) -> str:
    return '[{"a":' * (levels // 2) + "[" * (levels % 2) + "0" + "]" * (levels % 2) + "}]" * (levels // 2)


@pytest.mark.parametrize("levels", [MAX_DEPTH - 1, MAX_DEPTH - 2, 3])
def test_line_keeps_values_up_to_the_maximum_depth(levels: int) -> None:
    body = f'{{"x":{nested(levels)}}}'.encode()
    assert parse_json_line(body) == (orjson.loads(body), body, ())


@pytest.mark.parametrize("levels", [MAX_DEPTH, 500, 1_000, 1_022, 1_023, 50_000])
def test_parser_reads_null_for_a_value_that_is_nested_too_deep(levels: int) -> None:
    body = f'{{"x":["[{{",7503867840092128259,{nested(levels)},{nested(3)}],"y":NaN,"z":1.10}}'.encode()
    value, line, changed = parse_json_line(body)
    assert (value["x"][:2], value["x"][3], value["z"]) == (["[{", 7503867840092128259], [{"a": [0]}], 1.10)
    assert orjson.loads(line) == value
    assert b"1.10" in line
    # A journal stores the line one level deeper, and `orjson` must be able to write and to read that event.
    assert orjson.loads(b'{"answer":%s}' % line)["answer"] == value
    assert orjson.dumps(value)
    deep, literal = changed
    assert (deep.path[:2], deep.reason, literal) == (("x", 2), TOO_DEEP, (("y",), NOT_JSON, "NaN"))
    assert len(deep.path) == MAX_DEPTH
    assert deep.text in nested(levels)


REPEATED: dict[bytes, tuple[bytes, list[tuple[tuple[str | int, ...], str]]]] = {
    b'{"a":1,"a":2}': (b'{"a":2}', [(("a",), "1")]),
    b'{"a":1.10,"b":[{"c":1,"c":null,"c":12345678901234567890123}],"a":1.20}': (
        b'{"a":1.20,"b":[{"c":12345678901234567890123}]}',
        [(("a",), "1.10"), (("b", 0, "c"), "1"), (("b", 0, "c"), "null")],
    ),
    rb'{"a":1,"\u0061":2}': (b'{"a":2}', [(("a",), "1")]),
    rb'{"a":1,"a\u0000":2}': (b'{"a":2}', [(("a",), "1")]),
    b'{"":1,"":{"x":1,"x":2}}': (b'{"":{"x":2}}', [(("",), "1"), (("", "x"), "1")]),
    b'{"a":{"x":1,"x":2},"a":3}': (b'{"a":3}', [(("a",), '{"x":2}')]),
    b'{ "a" :1, \n"b":"\\":", "a"\t: 2}': (b'{"a":2,"b":"\\":"}', [(("a",), "1")]),
}


@pytest.mark.parametrize("body", REPEATED)
def test_last_value_of_a_repeated_key_counts(body: bytes) -> None:
    line, dropped = REPEATED[body]
    assert parse_json_line(body) == (
        orjson.loads(line),
        line,
        tuple((path, REPEATED_KEY, text) for path, text in dropped),
    )


@pytest.mark.parametrize("levels", [MAX_DEPTH, 900, 1_000, 3_000])
def test_deep_value_of_a_repeated_key_is_dropped(levels: int) -> None:
    value, line, changed = parse_json_line(f'{{"a":{nested(levels)},"a":5}}'.encode())
    assert (value, line) == ({"a": 5}, b'{"a":5}')
    assert [(change.path, change.reason) for change in changed] == [(("a",), REPEATED_KEY)]


def test_keys_that_differ_in_case_are_not_repeated() -> None:
    body = b'{"Id":1, "id":2, "nested":{"id":3}, "list":[{"id":4},{"id":4}]}'
    assert parse_json_line(body) == (orjson.loads(body), body, ())


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
    value, line, changed = parse_json_line(body)
    text = f'{literal} "{literal}'
    assert value == {"id": 7503867840092128259, "rows": [1, {"n": None}], "text": text}
    assert orjson.loads(line) == value
    assert changed == ((("rows", 1, "n"), NOT_JSON, literal),)


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
