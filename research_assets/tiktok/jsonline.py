"""Bytes of an answer into a value and into one line of JSON, without touching a number.

Numbers in the line stay the bytes that arrived: it is never written anew from parsed values, because ids above 2^53
would not survive every parser. What the values mean is not this module's business.
"""

import re

import orjson

_NUL = re.compile(rb"\\u0000")
_ESCAPE = re.compile(rb"\\(?:u0000|.)", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_BROKEN = re.compile(
    r"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"  # a surrogate pair: whole
    r"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"  # half of one
    r"|(\\.)"  # any other escape, so that an escaped backslash is not taken for the start of one
    r"|([\x00-\x1f])",  # a control character that must be escaped
    re.DOTALL,
)


def parse_json_line(body: bytes) -> tuple[object, bytes]:
    """The value of a JSON text, and the text as one line.

    NUL characters are left out of the value, but not of the line. Single characters that make the text invalid (half a
    surrogate pair, bytes that are not UTF-8, bare control characters inside strings) are replaced or escaped in both,
    since one of them would cost a whole page. Raises ValueError if the text is not JSON beyond that.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        body = _repaired(body)
        value = orjson.loads(body)
    if _NUL.search(body):
        value = orjson.loads(_ESCAPE.sub(lambda found: b"" if found[0] == b"\\u0000" else found[0], body))
    if b"\n" in body or b"\r" in body:
        # Inside strings line ends are invalid, so every one of these stands between tokens.
        body = body.replace(b"\r", b" ").replace(b"\n", b" ")
    return value, body.strip()


def _repaired(body: bytes) -> bytes:
    text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
    return _STRING.sub(lambda string: _BROKEN.sub(_whole, string[0]), text).encode()


def _whole(found: re.Match[str]) -> str:
    if found[2]:
        return "\ufffd"
    return f"\\u{ord(found[4]):04x}" if found[4] else found[0]
