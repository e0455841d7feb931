"""Conversion of a response body into a value and into one line of JSON with unchanged numbers.

The numbers in the line are the bytes of the body. The line is never serialized from parsed values, because some parsers
round ids above 2^53. Not here: the structure of the values (see envelope.py).
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

_NUL = re.compile(rb"\\u0000")
_ESCAPE = re.compile(rb"\\(?:u0000|.)", re.DOTALL)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[\w.+-]+', re.DOTALL)
_INVALID_CHARACTERS = re.compile(
    r"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"  # a complete surrogate pair
    r"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"  # half of a pair
    r"|(\\.)"  # any other escape; without it, an escaped backslash would count as the start of an escape
    r"|([\x00-\x1f])",  # a control character that must be escaped
    re.DOTALL,
)


class UnreadableValue(NamedTuple):
    """A value that is not JSON, such as `NaN`, `-Infinity` or `1E999`: its keys and indexes, and its text."""

    path: tuple[str | int, ...]
    text: str


class JsonLine(NamedTuple):
    """A JSON text as a value and as one line; both have null instead of the `unreadable` values."""

    value: object
    line: bytes
    unreadable: tuple[UnreadableValue, ...] = ()


def parse_json_line(body: bytes) -> JsonLine:
    """Return the value of a JSON text, the text as one line, and the values that are not JSON.

    The value contains no NUL characters; the line keeps them. Whatever makes a single string or number invalid would
    otherwise cost a whole page, so both are repaired: half a surrogate pair and bytes that are not UTF-8 are replaced,
    control characters in strings are escaped, and literals that are not JSON (`NaN`, `Infinity`, a number that no
    double can hold) become null. Raises ValueError if the text is not JSON for another reason.
    """
    unreadable: tuple[UnreadableValue, ...] = ()
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        try:
            body, unreadable = _repaired(body)
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise error from None
    if _NUL.search(body):
        value = orjson.loads(_ESCAPE.sub(lambda escape: b"" if escape[0] == b"\\u0000" else escape[0], body))
    if b"\n" in body or b"\r" in body:
        # Line breaks inside strings are invalid JSON, so these are all between tokens.
        body = body.replace(b"\r", b" ").replace(b"\n", b" ")
    return JsonLine(value, body.strip(), unreadable)


def _repaired(body: bytes) -> tuple[bytes, tuple[UnreadableValue, ...]]:
    text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
    marker, literals = "unreadable", list[str]()
    while marker in text:
        marker += "_"

    def repair(token: re.Match[str]) -> str:
        if token[0].startswith('"'):
            return _INVALID_CHARACTERS.sub(_valid_escape, token[0])
        if _is_json(token[0]):
            return token[0]
        literals.append(token[0])
        return f'"{marker}{len(literals) - 1}"'

    # The literals are parsed as marked strings first, to find the records and fields that contain them.
    marked = _TOKEN.sub(repair, text)
    if not literals:
        return marked.encode(), ()
    marks = {f"{marker}{number}": literal for number, literal in enumerate(literals)}
    unreadable = tuple(
        UnreadableValue(path, marks[value]) for path, value in _strings(orjson.loads(marked), ()) if value in marks
    )
    return re.sub(f'"{marker}[0-9]+"', "null", marked).encode(), unreadable


def _strings(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the strings in a value with their keys and indexes."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _strings(item, (*path, key))


def _is_json(token: str) -> bool:
    try:
        orjson.loads(token)
    except orjson.JSONDecodeError:
        return False
    return True


def _valid_escape(match: re.Match[str]) -> str:
    if match[2]:
        return "\ufffd"
    return f"\\u{ord(match[4]):04x}" if match[4] else match[0]
