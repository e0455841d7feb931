"""Numbers, days and names of things as a reader of the report is told them."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from research_assets.report.data import ApiChange

# JOINED: """A study's query in words, for readers who do not know the API's names."""


# JOINED: """The days of a break in the API's data in words, as exactly as they are known."""


UNIT_LABELS: Mapping[tuple[str, str], str] = {
    ("videos", "day"): "Video search",
    ("comments", "video"): "Comments",
    ("comments", "comment"): "Replies",
    ("comments", "day"): "Comments of days not begun",
    ("users", "account"): "Profiles",
    ("users", "day"): "Profiles of periods not begun",
    ("followers", "account"): "Follower lists",
    ("following", "account"): "Lists of followed accounts",
    ("liked_videos", "account"): "Lists of likes",
    ("reposted_videos", "account"): "Lists of reposts",
    ("pinned_videos", "account"): "Pinned videos",
}
"""What is asked, by entity and kind of unit."""

NO_VALUE = "\N{EN DASH}"
"""Stands where there is no number."""


def unit_label(entity: str, kind: str) -> str:
    """What is asked: `Follower lists`; a combination without a name is told by its parts."""
    return UNIT_LABELS.get((entity, kind), f"{entity.replace('_', ' ').capitalize()} by {kind}")


def format_number(value: float | None) -> str:
    """`1,234`, `0.5`, `12.3`, `under 0.1`; a dash where there is none."""
    if value is None:
        return NO_VALUE
    if 0 < abs(value) < 0.05:
        return "under 0.1"
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def format_percent(share: float | None) -> str:
    """`71.4 %`; shares that would be rounded to none or all are told as such limits."""
    if share is None:
        return NO_VALUE
    if 0 < share < 0.001:
        return "under 0.1 %"
    if 0.999 < share < 1:
        return "over 99.9 %"
    return f"{100 * share:.1f} %".replace(".0 %", " %")


def format_share(part: float, whole: float) -> str:
    """A share in percent; a dash where there is no whole."""
    return format_percent(part / whole) if whole else NO_VALUE


def pluralize(value: int, one: str, many: str | None = None) -> str:
    """`1 video`, `1,132 videos`."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def state_label(state: str) -> str:
    """`not asked` for `not_asked`."""
    return state.replace("_", " ")


def format_time(value: datetime | None) -> str:
    """`2026-02-03 10:00 UTC`."""
    return f"{value:%Y-%m-%d %H:%M} UTC" if value else NO_VALUE


def format_minute(value: datetime | None) -> str:
    """`2026-02-03 10:00`, where a heading says that times are UTC."""
    return f"{value:%Y-%m-%d %H:%M}" if value else NO_VALUE


def format_day(value: date | None) -> str:
    """`3 February 2026`."""
    return f"{value.day} {value:%B %Y}" if value else NO_VALUE


def join_words(parts: list[str]) -> str:
    """`a, b and c`."""
    return ", ".join(parts[:-1]) + f" and {parts[-1]}" if len(parts) > 1 else "".join(parts)


_FIELD_LABELS = {
    "create_date": "day of publication",
    "username": "creator",
    "region_code": "creator's country of registration",
    "video_id": "video id",
    "hashtag_name": "hashtag",
    "keyword": "keyword",
    "music_id": "sound",
    "effect_id": "effect",
    "video_length": "length class",
    "view_count": "number of views",
    "comment_count": "number of comments",
}
_OPERATION_LABELS = {
    "EQ": "is",
    "IN": "is",
    "GT": "is above",
    "GTE": "is at least",
    "LT": "is below",
    "LTE": "is at most",
}
_MAX_VALUES = 12


def describe_query(query: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A query of the API's form as part of a sentence: `hashtag is gardening and none of these holds: ...`."""
    parts = []
    if every := query.get("and"):
        parts.append(" and ".join(map(_describe_condition, every)))
    if some := query.get("or"):
        reported = "; or ".join(map(_describe_condition, some))
        parts.append(f"at least one of these holds: {reported}" if len(some) > 1 else reported)
    if none := query.get("not"):
        parts.append(f"it does not hold that {' or that '.join(map(_describe_condition, none))}")
    return "; and ".join(parts)


def _describe_condition(condition: Mapping[str, Any]) -> str:
    values = [str(value) for value in condition["field_values"]]
    shown = [f"\N{LEFT DOUBLE QUOTATION MARK}{value}\N{RIGHT DOUBLE QUOTATION MARK}" for value in values[:_MAX_VALUES]]
    more = len(values) - len(shown)
    if more:
        shown.append(f"one of {more} more")
    either = f"{', '.join(shown[:-1])} or {shown[-1]}" if len(shown) > 1 else shown[0]
    name = condition["field_name"]
    return f"the {_FIELD_LABELS.get(name, name)} {_OPERATION_LABELS[condition['operation']]} {either}"


_FORMS = {"day": "%Y-%m-%d", "about": "about %Y-%m-%d", "month": "%B %Y", "year": "%Y"}


def change_period(change: ApiChange) -> str:
    """`March 2021 to July 2022`, `since 2024-07-09`, `until June 2024`."""
    first, last = (_format_precise_day(day, change.precision) for day in (change.first, change.last))
    if change.first is None:
        return f"until {last}" if change.last else "at unknown times"
    if change.last is None:
        return f"since {first}"
    return first if first == last else f"{first} to {last}"


def _format_precise_day(day: date | None, precision: str) -> str:
    if day is None:
        return ""
    if precision == "quarter":
        return f"quarter {(day.month + 2) // 3} of {day.year}"
    return day.strftime(_FORMS.get(precision, "%Y-%m-%d"))
