"""The days of a break in the API's data in words, as exactly as they are known."""

from datetime import date

from research_assets.report.facts import ApiChange

_FORMS = {"day": "%Y-%m-%d", "about": "about %Y-%m-%d", "month": "%B %Y", "year": "%Y"}


def change_period(epoch: ApiChange) -> str:
    """`March 2021 to July 2022`, `since 2024-07-09`, `until June 2024`."""
    first, last = (_format_precise_day(day, epoch.precision) for day in (epoch.first, epoch.last))
    if epoch.first is None:
        return f"until {last}" if epoch.last else "at unknown times"
    if epoch.last is None:
        return f"since {first}"
    return first if first == last else f"{first} to {last}"


def _format_precise_day(day: date | None, precision: str) -> str:
    if day is None:
        return ""
    if precision == "quarter":
        return f"quarter {(day.month + 2) // 3} of {day.year}"
    return day.strftime(_FORMS.get(precision, "%Y-%m-%d"))
