"""A grammar of answers: bodies that are nearly JSON and nearly pages, for the tests of the way from socket to table.

It makes the text, not its value, so keys may be repeated and numbers may have any length. An answer is a function of
the generator of random numbers alone.
"""

from random import Random

from research_assets.fields import ENTITIES
from research_assets.tiktok.endpoints import BY_ENTITY

SECOND = 1769950800
"""Upload time of the ids: 2026-02-01 13:00 UTC."""

NUMBERS = (
    *("0", "-0", "7", "-5", "1.10", "1e3", "1E-400", "1e308", "1e999", "-1e999", "2.0", "01", "+1", ".5", "1."),
    *(str(number) for number in (2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), -(2**63) - 1)),
    *("9" * 30, "9" * 400, "9" * 5000, "7503867840092128259", "1769950800", "1769950800000", "1e300"),
)
LITERALS = ("true", "false", "null", "null", "NaN", "Infinity", "-Infinity", "undefined", "None", "x", "")
STRINGS = (
    *("", " ", "a", "beet", "US", "5", "7503867840092128259", "true", "2026-02-01", "[]", "{}", "null", "ok"),
    *(r"\u0000", r"a\u0000b", r"\\u0000", r"\ud83d", r"\udf45\ud83c", r"\ud83c\udf45", r"\"", r"\\", r"\":", r"\/"),
    *("\x00", "\x01", "\n", "\t", "\x7f", "\u2028", "\ufffe", "\ufeff", "\u202e", "é", "e\u0301", "\U0001f345", "İ"),
    *("<script>alert(1)</script>", "\x1b[31m", "' OR 1=1 --", "{{ x }}", "x" * 3000, "unreadable0"),
)
KEYS = (
    *("", " ", "new", "New", "NEW", "a.b", "/~", "~1", "it's", r"a\"b", r"a\\b", r"a\nb", "$", "*", "x[]", "k" * 300),
    *(r"\u0000", r"new\u0000", r"\ud83d", r"\u006eew", "data", "error", "data.x", "answer.x", "event", "é", "İ", "ß"),
    *("rejected", "capture", "observed_at", "unknown_fields", "position", "_day", "item_index", "r", "raw", "part"),
)
DEPTHS = (1, 2, 60, 124, 127, 128, 248, 249, 250, 251, 252, 253, 254, 255, 300, 999, 1000, 1018, 1021, 1024, 3000)


def any_answer(random: Random, entity: str, first_id: int) -> bytes:
    """Return the body of an answer for an entity; the ids of its records begin at `first_id`."""
    if random.random() < 0.03:
        return random.choice([b"", b"[]", b"null", b"5", b'"x"', b"<html>", b"{", b"{}{}", b'{"data":{}}\x00'])
    data = _data(random, entity, first_id)
    if random.random() < 0.06:
        data = _value(random)
    error = '{"code":"ok","message":"","log_id":"x"}' if random.random() < 0.9 else _value(random)
    members = [("data", data), ("error", error)]
    body = _object(random, _disturbed(random, members, 0.08)).encode("utf-8", "replace")
    if random.random() < 0.03:
        at = random.randrange(len(body) + 1)
        body = body[:at] + random.choice([b"\xff", b"\xed\xa0\x80", b" ", b"\r\n", b",", b'"', b"}"]) + body[at:]
    return b"\xef\xbb\xbf" + body if random.random() < 0.02 else body


def _data(random: Random, entity: str, first_id: int) -> str:
    """Return `data`: one record, or a list of records with paging."""
    endpoint = BY_ENTITY[entity]
    if endpoint.flat:
        return _record(random, entity, first_id)
    elements = [_record(random, entity, first_id + number) for number in range(random.randrange(6))]
    if random.random() < 0.2:
        elements.insert(random.randrange(len(elements) + 1), _value(random))
    key = random.choice(endpoint.payload_keys)
    members = [(key, f"[{_join(random, elements)}]")]
    members += [("cursor", random.choice(["100", _number(random), _string(random)]))]
    members += [("has_more", random.choice(["true", "false", _value(random)]))]
    if random.random() < 0.3:
        members += [("search_id", random.choice(['"7201388525814961198"', _value(random)]))]
    if len(endpoint.payload_keys) > 1 and random.random() < 0.1:
        members += [(endpoint.payload_keys[1], random.choice(["null", "[]", _value(random)]))]
    return _object(random, _disturbed(random, members, 0.06))


def _record(random: Random, entity: str, number: int) -> str:
    fields = ENTITIES[entity].fields
    names = [name for field in fields for name in (field.name, *field.aliases)]
    members = []
    key = ENTITIES[entity].key[-1]
    if key == "id":
        members.append((key, str((SECOND << 32) + number)))
    else:
        members.append(("username" if key == "username" else "display_name", f'"account{number}"'))
    for field in random.sample(fields, random.randrange(min(5, len(fields)))):
        if field.name != key:
            members.append((field.name, _field_value(random, field.type)))
    if random.random() < 0.3:
        members.append((random.choice(names), _value(random)))
    if random.random() < 0.3:
        members.append((random.choice(KEYS), _value(random)))
    if random.random() < 0.02:
        members += [(f"wide{index}", "1") for index in range(random.choice([51, 60, 1500]))]
    random.shuffle(members)
    return _object(random, _disturbed(random, members, 0.1))


def _field_value(random: Random, kind: str) -> str:
    """Return a value of the type that a field has, or any value."""
    if random.random() < 0.2:
        return _value(random)
    if kind == "BIGINT":
        return _number(random)
    if kind == "BOOLEAN":
        return random.choice(["true", "false"])
    if kind.startswith("STRUCT"):
        names = [part.split()[0].strip('"') for part in kind.removeprefix("STRUCT(").removesuffix(")[]").split(", ")]
        members = [(name, _scalar(random)) for name in names]
        return f"[{_object(random, _disturbed(random, members, 0.2))}]"
    if kind.endswith("[]"):
        return f"[{_join(random, [_string(random) for _ in range(random.randrange(3))])}]"
    return _string(random)


def _disturbed(random: Random, members: list[tuple[str, str]], share: float) -> list[tuple[str, str]]:
    """Return members with another one, a repeated key, a key in another case or spelling, or without one of them."""
    if members and random.random() < share:
        key, value = random.choice(members)
        change = random.randrange(5)
        if change == 0:
            members.append((random.choice(KEYS), _value(random)))
        elif change == 1:
            members.insert(random.randrange(len(members) + 1), (key, random.choice([value, _value(random), "null"])))
        elif change == 2:
            members.append((key.swapcase(), _value(random)))
        elif change == 3:
            first = f"\\u{ord(key[0]):04x}" if key and key[0] != "\\" else key[:1]
            members.append((random.choice([rf"{key}\u0000", f"{first}{key[1:]}"]), value))
        else:
            members.remove((key, value))
    return members


def _value(random: Random, levels: int = 3) -> str:
    choice = random.random()
    if levels and choice < 0.1:
        return f"[{_join(random, [_value(random, levels - 1) for _ in range(random.randrange(4))])}]"
    if levels and choice < 0.25:
        members = [(random.choice(KEYS), _value(random, levels - 1)) for _ in range(random.randrange(4))]
        return _object(random, _disturbed(random, members, 0.2))
    if levels == 3 and choice < 0.29:
        depth = random.choice(DEPTHS)
        opening, closing = random.choice([("[", "]"), ('{"a":', "}")])
        return f"{opening * depth}{_scalar(random) or '1'}{closing * depth}"
    return _scalar(random)


def _scalar(random: Random) -> str:
    choice = random.random()
    if choice < 0.4:
        return _number(random)
    return _string(random) if choice < 0.85 else random.choice(LITERALS)


def _number(random: Random) -> str:
    return random.choice(NUMBERS) if random.random() < 0.3 else str(random.randrange(100_000))


def _string(random: Random) -> str:
    return f'"{"".join(random.choice(STRINGS) for _ in range(random.choice([1, 1, 1, 2, 3])))}"'


def _object(random: Random, members: list[tuple[str, str]]) -> str:
    colon = random.choice([":", ":", ":", ":", " :", ": ", "\n:\t"])
    return "{" + _join(random, [f'"{key}"{colon}{value}' for key, value in members]) + "}"


def _join(random: Random, parts: list[str]) -> str:
    return random.choice([",", ",", ",", ", ", ",\n", "\t,\r\n"]).join(parts)
