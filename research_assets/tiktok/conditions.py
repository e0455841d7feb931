"""Fields of a search condition with their operations and values (reference §§3.1.1 and 4).

The operations and region codes of the API are defined here. Not here: groups of conditions, parsing and formatting of a
query (see query.py).
"""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime

OPERATIONS: dict[str, str] = {
    "eq": "EQ",
    "in": "IN",
    "gt": "GT",
    "gte": "GTE",
    "lt": "LT",
    "lte": "LTE",
}
"""The API's spelling of each operation, by its spelling in study files."""

_SAME = ("eq", "in")
_ORDERED = tuple(OPERATIONS)

_REGIONS = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CD CF
CG CH CI CK CL CM CN CO CR CU CV CW CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH
GI GL GM GN GP GQ GR GT GU GW GY HK HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KR KW KY KZ
LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI
NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SK SL SM SN SO
SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TP TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK
YE YT ZA ZM ZW
"""

REGIONS: frozenset[str] = frozenset(_REGIONS.split())
"""The 245 region codes of the API; they differ from ISO 3166-1."""

LENGTHS = ("SHORT", "MID", "LONG", "EXTRA_LONG")
"""Values of `video_length`: under 15 s, 15 to 60 s, 1 to 5 min, over 5 min."""

# Common codes that the API spells differently.
_REGION_ALIASES = {"UK": "GB", "EL": "GR", "USA": "US"}


def did_you_mean(word: str, allowed: Iterable[str], *, most: int = 1, cutoff: float = 0.6) -> str:
    """Return ` Did you mean ...?` with at most `most` similar allowed words, or an empty text."""
    close = difflib.get_close_matches(word, sorted(allowed), n=most, cutoff=cutoff)
    return f" Did you mean {' or '.join(f'`{match}`' for match in close)}?" if close else ""


def _text(value: object) -> str:
    """Return a text or whole number as text. Raises ValueError for values that YAML converted to another type."""
    if isinstance(value, bool):
        word = "no" if value is False else "yes"
        raise ValueError(f"is {value}: YAML reads words such as {word} as true or false; write the value in quotes")
    if isinstance(value, str | int):
        text = str(value).strip()
        if not text:
            raise ValueError("is empty")
        if any(character < " " for character in text):
            raise ValueError("contains a line break or a control character")
        return text
    if value is None:
        raise ValueError("is empty")
    raise ValueError(f"must be one text or whole number; write {value!r} in quotes if it is a text")


def _day(value: object) -> str:
    if isinstance(value, date):
        return f"{value:%Y%m%d}"
    text = _text(value)
    for form in ("%Y%m%d", "%Y-%m-%d"):
        try:
            return datetime.strptime(text, form).strftime("%Y%m%d")  # noqa: DTZ007 a day has no time zone
        except ValueError:
            continue
    raise ValueError(f"`{text}` is not a day; write it as 2026-02-01")


def _region(value: object) -> str:
    code = _text(value).upper()
    if code in REGIONS:
        return code
    hint = (
        f" Did you mean `{_REGION_ALIASES[code]}`?"
        if code in _REGION_ALIASES
        else did_you_mean(code, (r for r in REGIONS if r[0] == code[0]), most=3, cutoff=0.5)
    )
    raise ValueError(
        f"`{code}` is not a region code of the API, which accepts {len(REGIONS)} two-letter codes "
        f"(ISO 3166, XK, and TP; not CC CX GS HM KP SJ).{hint}"
    )


def _length(value: object) -> str:
    word = _text(value).upper()
    if word not in LENGTHS:
        raise ValueError(f"`{word}` is not a video length; allowed: {', '.join(LENGTHS)}.{did_you_mean(word, LENGTHS)}")
    return word


def _number(value: object) -> str:
    text = str(value).strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) < 2**63):
        raise ValueError(f"`{text[:40]}` is not a whole number from 0 to 2^63 - 1")
    return str(int(text))


def _handle(value: object) -> str:
    name = _text(value).removeprefix("@")
    if not name or any(c.isspace() for c in name):
        raise ValueError(f"`{name}` is not a username: it needs at least one character and no blanks")
    return name


def _hashtag(value: object) -> str:
    name = _text(value).lstrip("#")
    if not name or any(c.isspace() for c in name):
        raise ValueError(
            f"`{name}` is not a hashtag: it needs at least one character and no blanks (use `keyword` for phrases)"
        )
    return name


@dataclass(frozen=True, slots=True)
class Condition:
    """A field of a condition: its operations, and `value`, which returns a valid value as text or raises ValueError."""

    operations: tuple[str, ...]
    value: Callable[[object], str]


CONDITIONS: dict[str, Condition] = {
    "create_date": Condition(_ORDERED, _day),
    "username": Condition(_SAME, _handle),
    "region_code": Condition(_SAME, _region),
    "video_id": Condition(_SAME, _number),
    "hashtag_name": Condition(_SAME, _hashtag),
    "keyword": Condition(_SAME, _text),
    "music_id": Condition(_SAME, _number),
    "effect_id": Condition(_SAME, _number),
    "video_length": Condition(_SAME, _length),
    "view_count": Condition(_ORDERED, _number),
    "comment_count": Condition(_ORDERED, _number),
}
"""Fields of a condition, by the name in the API."""
