"""Conversion of a response body into a value and into one line of JSON that has the same value for every reader.

Readers of JSON differ in repeated keys, NUL characters, deep nesting and literals such as `NaN`. The line contains none
of them, so what the client decodes is what DuckDB reads from a capture. The numbers in the line are the bytes of the
body, because some parsers round ids above 2^53. Not here: the structure of the values (see envelope.py).
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import orjson

MAX_DEPTH = 254
"""Levels of objects and lists in a line, the outermost included: the number that `orjson.dumps` can write."""

NOT_JSON = "not JSON, stored as null"
TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels, stored as null"
REPEATED_KEY = "its key is repeated, only the last value is stored"

_NUL = re.compile(rb"\\u0000")
_ESCAPE = re.compile(rb"\\(?:u0000|.)", re.DOTALL)
_KEY_END = re.compile(rb'"\s*:')
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[\w.+-]+', re.DOTALL)
_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]', re.DOTALL)
_INVALID_CHARACTERS = re.compile(
    r"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"  # a complete surrogate pair
    r"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"  # half of a pair
    r"|(\\.)"  # any other escape; without it, an escaped backslash would count as the start of an escape
    r"|([\x00-\x1f])",  # a control character that must be escaped
    re.DOTALL,
)


class ChangedValue(NamedTuple):
    """A value that the line does not contain as received: its keys and indexes, the reason, and its text.

    `reason` is NOT_JSON, TOO_DEEP or REPEATED_KEY; `text` is the part of the body that was replaced or left out.
    """

    path: tuple[str | int, ...]
    reason: str
    text: str


class JsonLine(NamedTuple):
    """A JSON text as a value and as one line of JSON of the same value, and the values that were changed."""

    value: Any
    line: bytes
    changed: tuple[ChangedValue, ...] = ()


def parse_json_line(body: bytes) -> JsonLine:
    """Return the value of a JSON text, the text as one line, and the values that differ from the text.

    Anything that makes a single value invalid would otherwise cost a whole page, so values are repaired: half a
    surrogate pair and bytes that are not UTF-8 are replaced, control characters in strings are escaped, NUL characters
    are removed, literals that are not JSON (`NaN`, `Infinity`, a number that no double can hold) and values nested
    deeper than `MAX_DEPTH` become null, and of a repeated key the last value counts. Raises ValueError if the text is
    not JSON for another reason.
    """
    if _NUL.search(body):
        body = _ESCAPE.sub(lambda escape: b"" if escape[0] == b"\\u0000" else escape[0], body)
    try:
        return _parse(body)
    except ValueError as error:
        try:
            body, changed = _repaired(body)
            value, line, repeated = _parse(body)
        except ValueError:
            raise error from None
        return JsonLine(value, line, (*changed, *repeated))


def _parse(body: bytes) -> JsonLine:
    """Return the value and the line of a JSON text. Raises ValueError if it is not JSON or nested too deep."""
    value = orjson.loads(body)
    if b"\n" in body or b"\r" in body:
        # Line breaks inside strings are invalid JSON, so these are all between tokens.
        body = body.replace(b"\r", b" ").replace(b"\n", b" ")
    body = body.strip()
    try:
        compact = orjson.dumps(value)
        if compact != body and _may_repeat_keys(body, compact) and (repeated := _repeated_keys(body)):
            line, changed = repeated
            return JsonLine(orjson.loads(line), line, changed)
    except (TypeError, RecursionError) as error:  # of the value, or of a value that a repeated key replaces
        raise ValueError(str(error)) from error
    return JsonLine(value, body)


def _may_repeat_keys(body: bytes, compact: bytes) -> bool:
    """Return whether a text may have more keys than its value, whose compact form is given. Parsing takes longer.

    A key ends with a quote and a colon, which a string contains only after a backslash. So the text has at most as many
    keys as it has such ends, and the value at least as many as its form has ends without a backslash.
    """
    return len(_KEY_END.findall(body)) > compact.count(b'":') - compact.count(b'\\":')


class _Repeating(dict[str, Any]):
    """An object whose text has repeated keys; `dropped` are the values that the last one of their key replaces."""

    dropped: Sequence[tuple[str, Any]]


def _repeated_keys(line: bytes) -> tuple[bytes, tuple[ChangedValue, ...]] | None:
    """Return a line without the repeated keys, and their dropped values; None if no object repeats a key."""
    found = False

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        members = dict(pairs)
        if len(members) == len(pairs):
            return members
        found, result = True, _Repeating(members)
        last = {key: number for number, (key, _) in enumerate(pairs)}
        result.dropped = [(key, value) for number, (key, value) in enumerate(pairs) if number != last[key]]
        return result

    # Fragments keep the text of the numbers.
    value = json.loads(line, object_pairs_hook=unique, parse_int=orjson.Fragment, parse_float=orjson.Fragment)
    return (orjson.dumps(value), tuple(_dropped(value, ()))) if found else None


def _dropped(value: Any, path: tuple[str | int, ...]) -> Iterator[ChangedValue]:
    """Yield the dropped values of repeated keys."""
    if isinstance(value, _Repeating):
        for key, dropped in value.dropped:
            yield ChangedValue((*path, key), REPEATED_KEY, orjson.dumps(dropped).decode())
    for name, item in _members(value):
        yield from _dropped(item, (*path, name))


def _members(value: Any) -> Iterator[tuple[str | int, Any]]:
    """Yield the items of an object or a list with their keys or indexes; nothing for any other value."""
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _repaired(body: bytes) -> tuple[bytes, tuple[ChangedValue, ...]]:
    """Return a body without invalid characters, literals that are not JSON, and values that are nested too deep."""
    text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
    marker, replaced = "unreadable", list[tuple[str, str]]()
    while marker in text:
        marker += "_"

    def mark(reason: str, replaced_text: str) -> str:
        replaced.append((reason, replaced_text.replace("\0", "")))
        return f'"{marker}{len(replaced) - 1}"'

    def repair(token: re.Match[str]) -> str:
        if token[0].startswith('"'):
            return _INVALID_CHARACTERS.sub(_valid_escape, token[0])
        return token[0] if _is_json(token[0]) else mark(NOT_JSON, token[0])

    # The values are replaced by marked strings first, to find the records and fields that contain them.
    marked = "".join(
        mark(TOO_DEEP, part) if is_deep else _TOKEN.sub(repair, part) for is_deep, part in _split_deep(text)
    )
    if not replaced:
        return marked.encode(), ()
    marks = {f"{marker}{number}": change for number, change in enumerate(replaced)}
    changed = tuple(
        ChangedValue(path, *marks[value]) for path, value in _strings(orjson.loads(marked), ()) if value in marks
    )
    return re.sub(f'"{marker}[0-9]+"', "null", marked).encode(), changed


def _split_deep(text: str) -> Iterator[tuple[bool, str]]:
    """Yield the parts of a JSON text in order, each with whether it is a value nested deeper than `MAX_DEPTH`."""
    depth = start = 0
    for token in _BRACKET.finditer(text):
        if token[0] in ("[", "{"):
            depth += 1
            if depth == MAX_DEPTH + 1:
                yield False, text[start : token.start()]
                start = token.start()
        elif token[0] in ("]", "}"):
            if depth == MAX_DEPTH + 1:
                yield True, text[start : token.end()]
                start = token.end()
            depth -= 1
    yield False, text[start:]


def _strings(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the strings in a value with their keys and indexes."""
    if isinstance(value, str):
        yield path, value
    for key, item in _members(value):
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
    if match[4] == "\0":
        return ""
    return f"\\u{ord(match[4]):04x}" if match[4] else match[0]
