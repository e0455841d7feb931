"""Accounts of a study that are left out because they are withdrawn: they are never requested again.

Not here: the log of withdrawn accounts (see storage/withdrawals.py).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from research_assets.storage.withdrawals import Withdrawn
from research_assets.study.spec import QueryGroups, StudySpec

_Condition = Mapping[str, Any]


def leave_out_accounts(study: StudySpec, withdrawn: Withdrawn) -> StudySpec:
    """Return a study without the withdrawn accounts of its panel and its query, and the number of them.

    A query that names no other account can find nothing; `all_left_out` is true then, and no request may be sent.
    """
    if not withdrawn.accounts:
        return study
    names = {name.casefold() for name in (*study.panel, *query_names(study.query)) if withdrawn.has_account(name)}
    if not names:
        return study
    query: dict[str, tuple[_Condition, ...]] = {}
    all_left_out = study.all_left_out
    for group, conditions in study.query.items():
        kept = tuple(one for one in (_restricted(one, withdrawn) for one in conditions) if one is not None)
        if kept:
            query[group] = kept
        # All conditions of `and` hold for a video, and at least one of `or`.
        all_left_out = all_left_out or (group == "and" and len(kept) < len(conditions)) or (group == "or" and not kept)
    panel = tuple(name for name in study.panel if not withdrawn.has_account(name))
    return replace(study, query=query, panel=panel, left_out=study.left_out + len(names), all_left_out=all_left_out)


def describe_left_out(study: StudySpec) -> str:
    """Return a sentence about the accounts that a study leaves out; empty if there are none."""
    if not study.left_out:
        return ""
    number = "1 account is" if study.left_out == 1 else f"{study.left_out:,} accounts are"
    rest = " Its query names no other account, so the study is not collected." if study.all_left_out else ""
    return f"{study.name}: {number} left out, because of a request for erasure.{rest}"


def query_names(query: QueryGroups) -> list[str]:
    """Return the accounts in the conditions of a query."""
    return [
        value
        for conditions in query.values()
        for condition in conditions
        if condition["field_name"] == "username"
        for value in condition["field_values"]
    ]


def _restricted(condition: _Condition, withdrawn: Withdrawn) -> _Condition | None:
    """Return a condition without withdrawn accounts; None if it has no other value."""
    if condition["field_name"] != "username":
        return condition
    values = [value for value in condition["field_values"] if not withdrawn.has_account(value)]
    if len(values) == len(condition["field_values"]):
        return condition
    return {**condition, "field_values": values} if values else None
