"""Fields of a search condition with their operations and values (reference §§3.1.1 and 4).

The operations and region codes of the API are defined here. Not here: the spellings of names and ids (see names.py);
groups of conditions, parsing and formatting of a query (see query.py).
"""

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date

from research_assets.tiktok.names import (
    parse_handle,
    parse_hashtag,
    parse_keyword,
    parse_number,
    parse_numbered_link,
    parse_text,
    parse_video_id,
)

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
        return str(value)
    if value is None:
        raise ValueError("is empty; write a text in quotes if it begins with # or &, or is a word such as null")
    raise ValueError(f"must be one text or whole number; write {value!r} in quotes if it is a text")


def _from_text(parse: Callable[[str], str]) -> Callable[[object], str]:
    def value(value: object) -> str:
        if isinstance(value, float):
            raise ValueError(f"`{value}` is not a whole number; write it in quotes if it is a text")
        return parse(_text(value))

    return value


_DAY = re.compile("([0-9]{4})(-?)([0-9]{2})\\2([0-9]{2})")


def _parse_day(value: str) -> str:
    text = parse_text(value)
    if found := _DAY.fullmatch(text):
        try:
            return f"{date(int(found[1]), int(found[3]), int(found[4])):%Y%m%d}"
        except ValueError:
            pass
    raise ValueError(f"`{text[:40]}` is not a day; write it as 2026-02-01")


def _day(value: object) -> str:
    return f"{value:%Y%m%d}" if isinstance(value, date) else _parse_day(_text(value))


def _parse_region(value: str) -> str:
    code = parse_text(value).upper()
    if code in REGIONS:
        return code
    parts = re.split(r"[\s,;|/+]+", code)
    if len(parts) > 1 and all(part in REGIONS for part in parts):
        raise ValueError(f"`{code}` has more than one code. Write each as a value of its own: [{', '.join(parts)}]")
    hint = (
        f" Did you mean `{_REGION_ALIASES[code]}`?"
        if code in _REGION_ALIASES
        else did_you_mean(code, (r for r in REGIONS if r[0] == code[0]), most=3, cutoff=0.5)
    )
    raise ValueError(
        f"`{code[:40]}` is not a region code of the API, which accepts {len(REGIONS)} two-letter codes "
        f"(ISO 3166, XK, and TP; not CC CX GS HM KP SJ).{hint}"
    )


def _parse_length(value: str) -> str:
    word = parse_text(value).upper()
    if word not in LENGTHS:
        raise ValueError(
            f"`{word[:40]}` is not a video length; allowed: {', '.join(LENGTHS)}.{did_you_mean(word, LENGTHS)}"
        )
    return word


@dataclass(frozen=True, slots=True)
class Condition:
    """A field of a condition: its operations, and `value`, which returns a valid value as text or raises ValueError."""

    operations: tuple[str, ...]
    value: Callable[[object], str]


CONDITIONS: dict[str, Condition] = {
    "create_date": Condition(_ORDERED, _day),
    "username": Condition(_SAME, _from_text(parse_handle)),
    "region_code": Condition(_SAME, _from_text(_parse_region)),
    "video_id": Condition(_SAME, _from_text(parse_video_id)),
    "hashtag_name": Condition(_SAME, _from_text(parse_hashtag)),
    "keyword": Condition(_SAME, _from_text(parse_keyword)),
    "music_id": Condition(_SAME, _from_text(parse_numbered_link)),
    "effect_id": Condition(_SAME, _from_text(parse_numbered_link)),
    "video_length": Condition(_SAME, _from_text(_parse_length)),
    "view_count": Condition(_ORDERED, _from_text(parse_number)),
    "comment_count": Condition(_ORDERED, _from_text(parse_number)),
}
"""Fields of a condition, by the name in the API."""
