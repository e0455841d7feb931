"""Removal of handles from the contents of a report: accounts get numbers, the same in every section.

A report is shared and printed, and a handle identifies a person, so it has handles only if the user wants them.
Not here: the sections that show accounts (see sections.py); pseudonyms of exports and studies (see export/ and study/).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from research_assets.report.data import ReportData
from research_assets.study.spec import StudySpec
from research_assets.tiktok.names import fold_handle

WORD = re.compile(r"\w(?:[\w.]{0,62}\w)?")
"""A word of a reason that could be a handle."""

_MASK = "…"


def without_handles(data: ReportData, study: StudySpec) -> tuple[ReportData, StudySpec]:
    """Return the contents of a report and its study with `account 1`, `account 2` … in place of handles.

    The creators have their rank. Then the accounts of follow lists and of the query are numbered, in this order. In
    reasons of missing units a handle becomes `…`. A keyword is a handle if it begins with `@`.
    """
    numbers: dict[str, int] = {}

    def label(handle: str) -> str:
        return f"account {numbers.setdefault(fold_handle(handle.removeprefix('@')), len(numbers) + 1)}"

    def masked(reason: str) -> str:
        return WORD.sub(lambda word: _MASK if fold_handle(word[0]) in data.handles_in_reasons else word[0], reason)

    hidden = replace(
        data,
        has_handles=False,
        creators=[replace(one, name=label(one.name)) for one in data.creators],
        follow_lists=[replace(one, account=label(one.account)) for one in data.follow_lists],
        gaps=[replace(one, reason=masked(one.reason)) for one in data.gaps],
        missing=[replace(one, reason=masked(one.reason)) for one in data.missing],
        handles_in_reasons=frozenset(),
    )

    def shown(condition: Mapping[str, Any]) -> Mapping[str, Any]:
        values: Sequence[Any] = condition["field_values"]
        if condition["field_name"] == "username":
            return {**condition, "field_values": [label(str(value)) for value in values]}
        if condition["field_name"] == "keyword":
            return {**condition, "field_values": [label(v) if str(v).startswith("@") else v for v in values]}
        return condition

    query = {group: tuple(map(shown, conditions)) for group, conditions in study.query.items()}
    return hidden, replace(study, query=query)


def words_of(reasons: Sequence[str]) -> list[str]:
    """Return the distinct words of reasons, in lower case, among which handles are looked for."""
    return sorted({fold_handle(word) for reason in reasons for word in WORD.findall(reason)})
