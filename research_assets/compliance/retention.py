"""The end of a study's retention: the day after which its data must be deleted.

Not here: the deletion (see forget.py).
"""

from datetime import date, timedelta
from typing import NamedTuple

from research_assets.planning.messages import pluralize
from research_assets.study.spec import StudySpec

WARNING_TIME = timedelta(days=14)
"""Time before the last day of retention from which the deletion is announced."""


class DeletionNotice(NamedTuple):
    """Announcement of a deletion; `is_overdue` is true if the last day of retention is over."""

    text: str
    is_overdue: bool


def deletion_notice(study: StudySpec, today: date) -> DeletionNotice | None:
    """Return the notice for a study on a UTC day; None without `delete_after` and more than 14 days before it."""
    if study.delete_after is None or today < study.delete_after - WARNING_TIME:
        return None
    days = (study.delete_after - today).days
    when = "today" if days == 0 else f"in {pluralize(days, 'day')}" if days > 0 else f"{pluralize(-days, 'day')} ago"
    state = "ended" if days < 0 else "ends"
    text = (
        f"{study.name}: the retention of its data {state} on {study.delete_after} (UTC), {when}. "
        f"Delete them with: research-assets forget --study {study.name}"
    )
    return DeletionNotice(text, is_overdue=days < 0)
