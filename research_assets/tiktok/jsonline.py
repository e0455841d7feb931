"""Conversion of a response body into a value and into one line of JSON with unchanged numbers.

The numbers in the line are the bytes of the body. The line is never serialized from parsed values, because some parsers
round ids above 2^53. Not here: the structure of the values (see envelope.py).
"""

import re

import orjson

_NUL = re.compile(rb"\\u0000")
_ESCAPE = re.compile(rb"\\(?:u0000|.)", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_INVALID_CHARACTERS = re.compile(
    r"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"  # a complete surrogate pair
    r"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"  # half of a pair
    r"|(\\.)"  # any other escape; without it, an escaped backslash would count as the start of an escape
    r"|([\x00-\x1f])",  # a control character that must be escaped
    re.DOTALL,
)


def parse_json_line(body: bytes) -> tuple[object, bytes]:
    """Return the value of a JSON text, and the text as one line.

    The value contains no NUL characters; the line keeps them. Single characters that make the text invalid (half a
    surrogate pair, bytes that are not UTF-8, unescaped control characters in strings) are replaced or escaped in both,
    because otherwise one of them would cost a whole page. Raises ValueError if the text is not JSON for another reason.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        body = _repaired(body)
        value = orjson.loads(body)
    if _NUL.search(body):
        value = orjson.loads(_ESCAPE.sub(lambda escape: b"" if escape[0] == b"\\u0000" else escape[0], body))
    if b"\n" in body or b"\r" in body:
        # Line breaks inside strings are invalid JSON, so these are all between tokens.
        body = body.replace(b"\r", b" ").replace(b"\n", b" ")
    return value, body.strip()


def _repaired(body: bytes) -> bytes:
    text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
    return _STRING.sub(lambda string: _INVALID_CHARACTERS.sub(_valid_escape, string[0]), text).encode()


def _valid_escape(match: re.Match[str]) -> str:
    if match[2]:
        return "\ufffd"
    return f"\\u{ord(match[4]):04x}" if match[4] else match[0]
