"""Rejected elements of pages: their facts in the journal, and the sentence about them in the reason of a unit.

Design §5, rule 8: what cannot be used is set aside, counted and reported, and everything else is kept. A unit with
rejected rows can be complete; its reason then says how many and why.

Not here: which elements are rejected (see tiktok/pages.py); the raw table of them (see storage/raw_writer.py).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from research_assets.tiktok.jsonline import NOT_JSON, REPEATED_KEY, TOO_DEEP
from research_assets.tiktok.pages import ResponsePage

NO_USABLE_ROW = "No row of a page could be used."

_CHANGED_VALUES = {
    NOT_JSON: ("value is null: not valid JSON", "values are null: not valid JSON"),
    TOO_DEEP: ("value is null: nested too deep", "values are null: nested too deep"),
    REPEATED_KEY: ("value was dropped: its key is repeated", "values were dropped: their keys are repeated"),
}
"""The reasons that concern a value instead of a row, with the sentences for one value and for several."""


def rejection_facts(page: ResponsePage) -> list[dict[str, Any]]:
    """Return the rejected elements and values of a page as facts of its journal event."""
    return [rejection._asdict() for rejection in page.rejected]


def count_reasons(facts: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Return the number of rejected elements and values by reason."""
    return Counter(str(fact["reason"]) for fact in facts)


def describe_rejections(counts: Mapping[str, int]) -> str | None:
    """Return the sentences about rejected elements and values (`2 rows were rejected: not an object.`), or None."""
    rows = {reason: count for reason, count in counts.items() if reason not in _CHANGED_VALUES and count}
    total = sum(rows.values())
    sentences = []
    if total:
        parts = [reason if len(rows) == 1 else f"{count} {reason}" for reason, count in sorted(rows.items())]
        sentences.append(f"{total} {'row was' if total == 1 else 'rows were'} rejected: {', '.join(parts)}.")
    for reason, (one, several) in _CHANGED_VALUES.items():
        if number := counts.get(reason):
            sentences.append(f"{number} {one if number == 1 else several}.")
    return " ".join(sentences) or None
