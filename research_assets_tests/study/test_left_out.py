"""Accounts that a study leaves out, because they are withdrawn."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from research_assets.storage.withdrawals import Withdrawn, hash_handle
from research_assets.study.left_out import describe_left_out, leave_out_accounts
from research_assets.study.spec import StudySpec

KEY = b"k" * 32
WITHDRAWN = Withdrawn(accounts=frozenset({hash_handle(KEY, "anna")}), key=KEY)


def names(*values: str) -> dict[str, Any]:
    return {"operation": "IN", "field_name": "username", "field_values": list(values)}


OTHER = {"operation": "EQ", "field_name": "keyword", "field_values": ["anna"]}


@pytest.mark.parametrize(
    ("query", "expected", "nothing"),
    [
        ({"and": (OTHER,)}, {"and": (OTHER,)}, False),
        ({"and": (names("anna", "bob"), OTHER)}, {"and": (names("bob"), OTHER)}, False),
        ({"and": (names("Anna"), OTHER)}, {"and": (OTHER,)}, True),
        ({"or": (names("anna"), OTHER)}, {"or": (OTHER,)}, False),
        ({"or": (names("anna"),)}, {}, True),
        ({"and": (OTHER,), "not": (names("anna"),)}, {"and": (OTHER,)}, False),
    ],
)
def test_query_is_requested_without_withdrawn_accounts(
    query: dict[str, Any], expected: dict[str, Any], nothing: bool
) -> None:
    study = StudySpec("garden", date(2026, 2, 1), query, panel=("bob", "anna"))
    left = leave_out_accounts(study, WITHDRAWN)
    assert left == replace(study, query=expected, panel=("bob",), left_out=1, all_left_out=nothing)
    assert describe_left_out(left).startswith("garden: 1 account is left out")
    assert leave_out_accounts(left, WITHDRAWN) == left
    assert leave_out_accounts(study, Withdrawn()) is study
