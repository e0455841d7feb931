"""The query of a video search: its rules (reference §3.1.1, §4), its check, and a predicate on videos.

Not here: search ids and pages (see search.py).
"""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from operator import eq, ge, gt, le, lt
from typing import Any

from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.responses import ApiFailure, invalid
from research_assets.sandbox.world.videos import Video

_REGION_CODE_TEXT = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
CA CD CF CG CH CI CK CL CM CN CO CR CU CV CW CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA
GB GD GE GF GG GH GI GL GM GN GP GQ GR GT GU GW GY HK HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE
KG KH KI KM KN KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT
MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS
RU RW SA SB SC SD SE SG SH SI SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TP TR TT TV
TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW
"""

REGION_CODES = frozenset(_REGION_CODE_TEXT.split())
"""The 245 region codes of reference §4. The API never delivers content from CA."""

VideoPredicate = Callable[[Video], bool]

_LISTED = frozenset({"EQ", "IN"})
_ORDERED = frozenset({"EQ", "IN", "GT", "GTE", "LT", "LTE"})
_COMPARE = {"GT": gt, "GTE": ge, "LT": lt, "LTE": le, "EQ": eq}
OPERATIONS: dict[str, frozenset[str]] = {
    "create_date": _ORDERED,
    "username": _LISTED,
    "region_code": _LISTED,
    "video_id": _LISTED,
    "hashtag_name": _LISTED,
    "keyword": _LISTED,
    "music_id": _LISTED,
    "effect_id": _LISTED,
    "video_length": _LISTED,
    "view_count": _ORDERED,
    "comment_count": _ORDERED,
}
"""Condition fields and the operations that each accepts."""

_NUMBERS = frozenset({"video_id", "music_id", "effect_id", "view_count", "comment_count"})
_LENGTHS = {"SHORT": (0, 15), "MID": (15, 60), "LONG": (60, 300), "EXTRA_LONG": (300, 10**9)}
MAX_WINDOW = timedelta(days=30)
"""Longest distance from start date to end date."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. Its values are lower-case text, because the API ignores case."""

    field: str
    operation: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A checked query over a window of UTC days, both inclusive."""

    groups: tuple[tuple[str, tuple[Condition, ...]], ...]
    start: date
    end: date

    def conditions(self, field: str) -> tuple[Condition, ...]:
        """Return the conditions on a field in the `and` groups."""
        return tuple(c for name, group in self.groups if name == "and" for c in group if c.field == field)

    def has_condition(self, *names: str) -> bool:
        """Return whether any group contains a condition on one of the fields."""
        return any(condition.field in names for _, group in self.groups for condition in group)

    def restricted_to(self, names: Container[str]) -> "Query":
        """Return the query for videos that match all conditions on fields other than `names`.

        A group `or` with such a condition holds for all videos, so it is left out.
        """
        groups = []
        for name, group in self.groups:
            kept = tuple(condition for condition in group if condition.field in names)
            if kept and (name != "or" or kept == group):
                groups.append((name, kept))
        return Query(tuple(groups), self.start, self.end)

    def predicate(self) -> VideoPredicate:
        """Return a function that checks the conditions on a video. The window is not checked."""
        groups = [(_GROUPS[name], [_predicate(condition) for condition in group]) for name, group in self.groups]
        return lambda video: all(combine(one(video) for one in predicates) for combine, predicates in groups)


_GROUPS: dict[str, Callable[[Any], bool]] = {"and": all, "or": any, "not": lambda results: not any(results)}


def parse_date(value: object, name: str) -> date:
    """Parse a date in the API's form, `YYYYMMDD`. Raises ApiFailure for other text."""
    if isinstance(value, str) and len(value) == 8 and value.isdigit():
        try:
            return date(int(value[:4]), int(value[4:6]), int(value[6:]))
        except ValueError:
            pass
    raise invalid(f"{name} is invalid: expected YYYYMMDD")


def parse(body: Mapping[str, Any], config: SandboxConfig) -> Query:
    """Check the body of a search and return its query. Raises ApiFailure with the API's own error."""
    start, end = parse_date(body.get("start_date"), "start_date"), parse_date(body.get("end_date"), "end_date")
    if end < start:
        raise invalid("end_date is before start_date")
    if end - start > MAX_WINDOW:
        raise invalid("the window between start_date and end_date is longer than 30 days")
    query = body.get("query")
    if not isinstance(query, dict):
        raise invalid("query is missing")
    groups = []
    for name, conditions in query.items():
        if name not in _GROUPS or not isinstance(conditions, list):
            raise invalid(f"query has no group {name!r}")
        if conditions:
            groups.append((name, tuple(_condition(entry, config) for entry in conditions)))
        elif config.empty_group_500:
            raise ApiFailure(500, "internal_error", "Server Internal Error")
    if not groups:
        raise invalid("query has no condition")
    return Query(tuple(groups), start, end)


def _condition(entry: object, config: SandboxConfig) -> Condition:
    if not isinstance(entry, dict) or set(entry) != {"operation", "field_name", "field_values"}:
        raise invalid("a condition needs operation, field_name and field_values")
    field, operation, values = entry["field_name"], entry["operation"], entry["field_values"]
    if not isinstance(field, str) or field not in OPERATIONS:
        raise invalid(f"field_name {field!r} is invalid")
    if operation not in OPERATIONS[field]:
        raise invalid(f"operation {operation!r} is invalid for {field}")
    if isinstance(values, list) and config.integer_values and field in _NUMBERS:
        values = [str(value) if type(value) is int else value for value in values]
    if not isinstance(values, list) or not values or not all(isinstance(value, str) and value for value in values):
        raise invalid(f"field_values of {field} must be strings, one at least")
    if operation != "IN" and len(values) > 1:
        raise invalid(f"operation {operation} takes one value")
    for value in values:
        if field in _NUMBERS and not value.isdecimal():
            raise invalid(f"{field} {value!r} is not a number")
        if field == "region_code" and value.upper() not in REGION_CODES:
            raise invalid(f"region_code {value!r} is invalid")
        if field == "video_length" and value not in _LENGTHS:
            raise invalid(f"video_length {value!r} is invalid")
        if field == "create_date":
            parse_date(value, field)
    if field == "username":
        _check_usernames(values, config)
    return Condition(field, operation, tuple(value.lower() for value in values))


def _check_usernames(values: list[str], config: SandboxConfig) -> None:
    """Raise the 500 of a list of usernames that is too long or contains a breaking one."""
    batch = config.username_batch
    breaks = len(values) > 1 and not config.breaking_usernames.isdisjoint(values)
    if breaks or (batch and len(values) > batch):
        raise ApiFailure(500, "internal_error", "Something is wrong. Please try again later.")


def _predicate(condition: Condition) -> VideoPredicate:
    field, values = condition.field, condition.values
    accepted = frozenset(values)
    match field:
        case "username":
            return lambda video: video.creator.username in accepted
        case "region_code":
            return lambda video: video.creator.region.lower() in accepted
        case "hashtag_name":
            return lambda video: any(tag.lower() in accepted for tag in video.tags)
        case "video_id":
            return lambda video: str(video.id) in accepted
        case "music_id":
            return lambda video: str(video.music_id) in accepted
        case "effect_id":
            return lambda _: False
        case "video_length":
            spans = [_LENGTHS[value.upper()] for value in values]
            return lambda video: any(low <= video.duration < high for low, high in spans)
        case "keyword":
            phrases = [value.replace("#", " ").split() for value in values]
            return lambda video: any(_contains(video.caption.lower(), phrase) for phrase in phrases)
        case "create_date":
            return _ordered(condition, lambda video: int(f"{datetime.fromtimestamp(video.create_time, UTC):%Y%m%d}"))
        case "view_count":
            return _ordered(condition, lambda video: video.views)
        case _:
            return _ordered(condition, lambda video: video.comments)


def _contains(caption: str, phrase: list[str]) -> bool:
    """Return whether a caption contains all words of a phrase, in any position.

    Assumption: the API documents an approximate match and does not define it.
    """
    return all(word in caption for word in phrase)


def _ordered(condition: Condition, value: Callable[[Video], int]) -> VideoPredicate:
    if condition.operation == "IN":
        numbers = frozenset(int(text) for text in condition.values)
        return lambda video: value(video) in numbers
    compare, bound = _COMPARE[condition.operation], int(condition.values[0])
    return lambda video: compare(value(video), bound)
