"""The verdict on an answer: which of the sent ids are verified and which are missing, or why it may not be used.

Not here: reading the answer (see results.py).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

Reason = Literal["", "failed", "refused", "unreadable", "foreign", "empty", "short", "share", "unproven"]
"""Why an answer is held back; empty if it is accepted."""

CONFIRMABLE: tuple[Reason, ...] = ("empty", "short", "share", "unproven")
"""Reasons of answers that a person may confirm. The others contain nothing that could be carried out."""

EXPLANATIONS: dict[Reason, str] = {
    "failed": "the API reported that the task failed",
    "refused": "the API refused the task",
    "unreadable": "the result file is no list of ids",
    "foreign": "the result file contains ids that were never sent",
    "empty": "the result file is empty",
    "short": "the result file lacks most of the canaries, ids that existed recently",
    "share": "more items are missing than the set share (RESEARCH_VERIFY_MAX_SHARE)",
    "unproven": "some items were not returned, and the look-ups of several days did not return their controls either",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Ids that exist (`verified`) and ids that do not (`missing`), and why a person must decide, if so."""

    verified: frozenset[int]
    missing: frozenset[int]
    reason: Reason = ""


def judge(
    sent: Collection[int],
    canaries: Sequence[Collection[int]],
    returned: Collection[int],
    withdrawn: Collection[int],
    max_share: float,
) -> Verdict:
    """Return the verdict on an answer.

    `canaries` are groups of sent ids that existed recently, at the beginning and at the end of the file, so that a file
    that was cut off lacks one group. `withdrawn` ids may be returned without having been sent, because they leave the
    stored list of sent ids. `max_share` is in percent.
    """
    sent_ids, returned_ids = frozenset(sent), frozenset(returned)
    verified, missing = sent_ids & returned_ids, sent_ids - returned_ids
    reason: Reason = ""
    if returned_ids - sent_ids - frozenset(withdrawn):
        return Verdict(frozenset(), frozenset(), "foreign")
    if sent_ids and not returned_ids:
        reason = "empty"
    elif any(2 * sum(one in verified for one in group) < len(group) for group in canaries):
        reason = "short"
    elif 100 * len(missing) > max_share * len(sent_ids):
        reason = "share"
    return Verdict(verified, missing, reason)


def judge_lookups(n_missing: int, n_open: int, n_withdrawn: int, n_held: int, max_share: float) -> Reason:
    """Return why the missing items of a task of look-ups may not be withdrawn yet; empty if they may.

    `n_open` of its items are without proof. Tasks of look-ups are small, so the share (`max_share`, in percent) is that
    of the `n_held` stored items of the kind, with the `n_withdrawn` items that look-ups withdrew within the interval.
    """
    if n_missing and 100 * (n_missing + n_withdrawn) > max_share * (n_held + n_withdrawn):
        return "share"
    return "unproven" if n_open else ""
