"""Numbers, dates, states, queries and periods as text for readers of a report.

Not here: `pluralize` (see planning/messages.py), the sentences of a report (see sections.py and methods.py).
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from math import isfinite
from typing import Any

from research_assets.report.data import ApiChange

NO_VALUE = "\N{EN DASH}"
"""Placeholder for a number or date that does not exist."""

UNIT_LABELS: Mapping[tuple[str, str], str] = {
    ("videos", "day"): "Video search",
    ("comments", "video"): "Comments",
    ("comments", "comment"): "Replies",
    ("comments", "day"): "Comments of days not started",
    ("users", "account"): "Profiles",
    ("users", "day"): "Profiles of periods not started",
    ("playlists", "playlist"): "Playlists",
    ("followers", "account"): "Follower lists",
    ("following", "account"): "Lists of followed accounts",
    ("liked_videos", "account"): "Lists of likes",
    ("reposted_videos", "account"): "Lists of reposts",
    ("pinned_videos", "account"): "Pinned videos",
}
"""Labels of units, by entity and unit kind, in the order of a report."""


def unit_label(entity: str, kind: str) -> str:
    """Return the label of a kind of unit, such as `Follower lists`. A pair without a label is named by its parts."""
    return UNIT_LABELS.get((entity, kind), f"{entity.replace('_', ' ').capitalize()} by {kind}")


_UNIT_NOUNS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("videos", "day"): ("day of the search", "days of the search"),
    ("comments", "video"): ("list of comments", "lists of comments"),
    ("comments", "comment"): ("list of replies", "lists of replies"),
    ("comments", "day"): ("day without a started list of comments", "days without a started list of comments"),
    ("users", "account"): ("profile", "profiles"),
    ("users", "day"): ("period without a started profile", "periods without a started profile"),
    ("playlists", "playlist"): ("playlist", "playlists"),
    ("followers", "account"): ("follower list", "follower lists"),
    ("following", "account"): ("list of followed accounts", "lists of followed accounts"),
    ("liked_videos", "account"): ("list of likes", "lists of likes"),
    ("reposted_videos", "account"): ("list of reposts", "lists of reposts"),
    ("pinned_videos", "account"): ("list of pinned videos", "lists of pinned videos"),
}


def unit_nouns(entity: str, kind: str) -> tuple[str, str]:
    """Return the singular and the plural of a kind of unit within a sentence."""
    name = entity.replace("_", " ")
    return _UNIT_NOUNS.get((entity, kind), (f"unit of {name} by {kind}", f"units of {name} by {kind}"))


def format_number(value: float | None) -> str:
    """Return `1,234`, `0.5`, `12.3` or `under 0.1`; a dash without a value or for one that is not finite."""
    if value is None or not isfinite(value):
        return NO_VALUE
    if 0 < abs(value) < 0.05:
        return "under 0.1"
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def round_finite(value: float | None) -> int | None:
    """Return the nearest integer; None without a value or for one that is not finite."""
    return round(value) if value is not None and isfinite(value) else None


def format_percent(share: float | None) -> str:
    """Return `71.4 %`. A share that would be rounded to 0 % or 100 % becomes `under 0.1 %` or `over 99.9 %`."""
    if share is None or not isfinite(share):
        return NO_VALUE
    if 0 < share < 0.001:
        return "under 0.1 %"
    if 0.999 < share < 1:
        return "over 99.9 %"
    return f"{100 * share:.1f} %".replace(".0 %", " %")


def format_share(part: float, whole: float) -> str:
    """Return a share in percent; a dash if the denominator is 0."""
    return format_percent(part / whole) if whole else NO_VALUE


def format_interval(interval: tuple[float, float]) -> str:
    """Return `95 % confidence interval 71.4 % to 80 %` of two shares."""
    low, high = map(format_percent, interval)
    return f"95 % confidence interval {low} to {high}"


def error_text(error: float | None) -> str:
    """Return ` (standard error 12)`, behind an estimate; empty without one or for 0, which shows no certainty."""
    return f" (standard error {format_number(error if error < 10 else round_finite(error))})" if error else ""


def format_time(value: datetime | None) -> str:
    """Return `2026-02-03 10:00 UTC`."""
    return f"{value:%Y-%m-%d %H:%M} UTC" if value else NO_VALUE


def format_minute(value: datetime | None) -> str:
    """Return `2026-02-03 10:00`, for columns whose heading names UTC."""
    return f"{value:%Y-%m-%d %H:%M}" if value else NO_VALUE


def format_day(value: date | None) -> str:
    """Return `3 February 2026`."""
    return f"{value.day} {value:%B %Y}" if value else NO_VALUE


def format_day_and_time(value: datetime | None) -> str:
    """Return `3 February 2026 (10:00 UTC)`, the form of dates and times in prose."""
    return f"{format_day(value)} ({value:%H:%M} UTC)" if value else NO_VALUE


def was_were(value: int) -> str:
    """Return the verb for a number of things: `was` for 1, else `were`."""
    return "was" if value == 1 else "were"


def join_words(parts: list[str]) -> str:
    """Return `a, b and c`."""
    return ", ".join(parts[:-1]) + f" and {parts[-1]}" if len(parts) > 1 else "".join(parts)


_FIELD_LABELS = {
    "create_date": "publication date",
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
"""Values of a condition that a sentence lists."""


def describe_query(query: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return a query of the API as part of a sentence, for readers who do not know the API's field names.

    The groups `and`, `or` and `not` are joined with `and` (reference §3.1.1): `the hashtag is “a”; and it is not the
    case that the creator is “b”`.
    """
    parts = []
    if conditions := query.get("and"):
        parts.append(" and ".join(map(_describe_condition, conditions)))
    if conditions := query.get("or"):
        alternatives = "; or ".join(map(_describe_condition, conditions))
        parts.append(f"at least one of the following applies: {alternatives}" if len(conditions) > 1 else alternatives)
    if conditions := query.get("not"):
        exclusions = "; or ".join(map(_describe_condition, conditions))
        several = "none of the following applies: "
        parts.append(f"{several if len(conditions) > 1 else 'it is not the case that '}{exclusions}")
    return "; and ".join(parts)


def _describe_condition(condition: Mapping[str, Any]) -> str:
    values = [str(value) for value in condition["field_values"]]
    listed = [f"\N{LEFT DOUBLE QUOTATION MARK}{value}\N{RIGHT DOUBLE QUOTATION MARK}" for value in values[:_MAX_VALUES]]
    more = len(values) - len(listed)
    if more:
        listed.append(f"one of {more} more")
    either = f"{', '.join(listed[:-1])} or {listed[-1]}" if len(listed) > 1 else listed[0]
    name = condition["field_name"]
    return f"the {_FIELD_LABELS.get(name, name)} {_OPERATION_LABELS[condition['operation']]} {either}"


_PERIOD_FORMATS = {"month": "%B %Y", "year": "%Y"}


def change_period(change: ApiChange) -> str:
    """Return the period of an API change at the precision of its dates.

    Examples: `March 2021 to July 2022`, `since 9 July 2024`, `until June 2024`.
    """
    first, last = (_format_precise_day(day, change.precision) for day in (change.first, change.last))
    if change.first is None:
        return f"until {last}" if change.last else "at an unknown time"
    if change.last is None:
        return f"since {first}"
    return first if first == last else f"{first} to {last}"


def _format_precise_day(day: date | None, precision: str) -> str:
    if day is None:
        return ""
    if precision == "quarter":
        return f"quarter {(day.month + 2) // 3} of {day.year}"
    if precision in _PERIOD_FORMATS:
        return day.strftime(_PERIOD_FORMATS[precision])
    return f"about {format_day(day)}" if precision == "about" else format_day(day)
