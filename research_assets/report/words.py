"""Numbers, days and names of things as a reader of the report is told them."""

from collections.abc import Mapping
from datetime import date, datetime

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
