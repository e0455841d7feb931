"""The conclusion from a finished window: the state of each of its days, the windows that follow, and whether to stop.

`conclude` is a pure function of the progress, the outcome and what is known about other days.

- A day is complete if the search read it to its end and its hits are plausible (units/plausibility.py).
- A search that found nothing at all proves nothing. It is repeated together with a day whose videos are known, whose
  hits show that the API answers the query. An empty part of a day is confirmed by an attempt on another day.
- Implausible days are requested a second time. If the second search agrees, an empty day is suspicious until an attempt
  on another day has confirmed it, and a day with few hits is complete if previously collected videos are found.
- If no video was ever found for a query, nothing shows that the query works, so no day is complete. If only a username
  batch never found one, its first empty day is complete once an attempt on another day has confirmed it.

Not here: sending requests (see run.py and pager.py); whether days or accounts cause a failure (see bisect.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import NamedTuple

from research_assets.collect.search.canary import CanaryResult
from research_assets.collect.search.history import SearchHistory
from research_assets.collect.search.progress import SearchProgress, WindowOutcome
from research_assets.units.coverage import NO_VIDEO_FOUND, UnitState, backoff_until, join_sentences
from research_assets.units.plausibility import ALPHA, MIN_RELIABLE_HITS, probability_of_at_most
from research_assets.units.windows import SearchWindow, date_ranges

MAX_EMPTY_ATTEMPTS = 3
"""Suspicious attempts without a video, on different days, after which an empty day counts as complete."""

_CANARY_NOT_FOUND = "Previously collected videos are not found either: the API is not answering this query."
_NO_VIDEO_OF_ACCOUNTS = "No video was ever found for these accounts."
_NOTHING_FOUND = "The search returned no video at all."


class Doubt(NamedTuple):
    """Why the hits of a day are questioned, and whether only an attempt on another day can confirm an empty one."""

    reason: str
    needs_other_day: bool = False
    is_empty: bool = True


class DayState(NamedTuple):
    """The state of a day, the reason, and its next try (UTC)."""

    state: UnitState
    reason: str | None = None
    next_try: datetime | None = None


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The state of each day of a window, the windows that follow, and why the run should stop; None if it goes on.

    `stop` is the state of the day that shows that the API does not answer the query.
    """

    states: Mapping[date, DayState]
    next_windows: tuple[SearchWindow, ...] = ()
    stop: DayState | None = None


def conclude(
    progress: SearchProgress,
    outcome: WindowOutcome,
    reason: str | None,
    history: SearchHistory,
    now: datetime,
    *,
    replacements: tuple[SearchWindow, ...] | None,
    canary: CanaryResult | None = None,
) -> Conclusion:
    """Return the conclusion from a window that ended with `outcome`, for `reason`.

    `history` includes the window. `replacements` are windows that collect its open days; None if there are none.
    `canary` is the result of the canary check, if `needs_canary` asked for one.
    """
    complete, found = set(progress.complete_days()), doubts(progress, history)
    states: dict[date, DayState] = {}
    unconfirmed = []
    for day in progress.window.days:
        if day not in complete:
            states[day] = _open_day(day, outcome, reason, history, now, has_replacement=replacements is not None)
        elif (doubt := found.get(day)) is None:
            states[day] = DayState("complete")
        elif _may_repeat(progress, history) and canary != "none":
            states[day] = DayState("partial", join_sentences(doubt.reason, "A second request checks it."))
            unconfirmed.append(day)
        else:
            states[day] = _checked_day(day, doubt, history, now, canary)
        states[day] = states[day]._replace(reason=join_sentences(states[day].reason, progress.rejected_text(day)))
    template = replace(progress.window, n_failures=0, is_recheck=True, search_last=None)
    rechecks = [replace(template, first=first, last=last) for first, last in date_ranges(unconfirmed)]
    if not progress.offered.total() and not progress.window.part:
        rechecks = [history.widened_to_known_day(window) for window in rechecks]
    suspicious = [state for day, state in sorted(states.items()) if state.state == "suspicious" and day in complete]
    return Conclusion(
        states, (*(replacements or ()), *rechecks), suspicious[0] if canary == "none" and suspicious else None
    )


def needs_canary(progress: SearchProgress, history: SearchHistory) -> bool:
    """Return whether the state of a day of the window depends on a canary check."""
    return progress.window.is_recheck and any(
        doubt.needs_other_day or not doubt.is_empty for doubt in doubts(progress, history).values()
    )


def doubts(progress: SearchProgress, history: SearchHistory) -> dict[date, Doubt]:
    """Return the complete days whose hits are implausible, with the reason."""
    complete = progress.complete_days()
    result: dict[date, Doubt] = {}
    if complete and not history.found_anything and not any(progress.offered.values()):
        if not history.others_found():
            return dict.fromkeys(complete, Doubt(NO_VIDEO_FOUND))
        if not history.has_complete_day:
            return dict.fromkeys(complete, Doubt(_NO_VIDEO_OF_ACCOUNTS, needs_other_day=True))
    # Hits that are not delivered show that the API answers the query for that day, so the day is not empty.
    empty = [day for day in complete if not progress.kept[day] and not progress.offered[day]]
    for first, last in date_ranges(empty):
        days = SearchWindow(first, last).days
        known = history.nearby_hits(first, last)
        needs_other_day = probability_of_at_most(0, len(days), known) < ALPHA
        if needs_other_day:
            mean = sum(known) / len(known)
            span = f" in {len(days)} days" if len(days) > 1 else ""
            doubt = Doubt(f"No video{span}; {len(known)} nearby days have {mean:.0f} hits on average.", True)
            result |= dict.fromkeys(days, doubt)
        elif not progress.offered.total():
            # No neighbouring day shows that a part is answered, so an empty one is requested again on another day.
            result |= dict.fromkeys(days, Doubt(_NOTHING_FOUND, needs_other_day=bool(progress.window.part)))
        for day in days:
            if earlier := history.earlier_max(day):
                result[day] = Doubt(f"No video; an earlier attempt found {earlier}.", earlier >= MIN_RELIABLE_HITS)
    for day in [day for day in complete if day not in empty]:
        known, hits, earlier = history.nearby_hits(day, day), progress.offered[day], history.earlier_max(day)
        lost = (earlier >= MIN_RELIABLE_HITS and hits * 2 < earlier) or (earlier and not progress.kept[day])
        if lost or probability_of_at_most(hits, 1, known) < ALPHA:
            usual = max(sum(known) / max(1, len(known)), float(earlier))
            result[day] = Doubt(f"Only {hits} hits; {usual:.0f} are usual.", is_empty=False)
    return result


def _may_repeat(progress: SearchProgress, history: SearchHistory) -> bool:
    """Return whether a second request checks the doubtful days of a window.

    For a query that never found a video, one second request of the run suffices.
    """
    return not progress.window.is_recheck and (history.found_anything or not history.empty_query_checked)


def _open_day(
    day: date,
    outcome: WindowOutcome,
    reason: str | None,
    history: SearchHistory,
    now: datetime,
    *,
    has_replacement: bool,
) -> DayState:
    """Return the state of a day that the search did not read to its end."""
    if has_replacement:
        return DayState("partial", join_sentences(reason, "The rest is requested in other windows."))
    if outcome in ("paused", "dropped", "changed"):
        return DayState("partial", reason)
    if outcome == "doubtful":
        return _suspicious(day, str(reason), history, now)
    n_quarantined = history.status[day].n_quarantined if day in history.status else 0
    return DayState("quarantined", reason, backoff_until(now, n_quarantined + 1))


def _checked_day(
    day: date, doubt: Doubt, history: SearchHistory, now: datetime, canary: CanaryResult | None
) -> DayState:
    """Return the state of a questioned day for which a second search found the same."""
    reason = f"{doubt.reason} {_CANARY_NOT_FOUND}" if canary == "none" else doubt.reason
    if doubt.reason == NO_VIDEO_FOUND:
        return _suspicious(day, reason, history, now)
    if not doubt.is_empty:
        return _suspicious(day, reason, history, now) if canary == "none" else DayState("complete", reason)
    if not doubt.needs_other_day and canary != "none":
        return DayState("complete")
    n_empty = history.status[day].n_empty if day in history.status else 0
    if n_empty >= MAX_EMPTY_ATTEMPTS or (n_empty and canary != "none" and history.earlier_max(day) < MIN_RELIABLE_HITS):
        return DayState("complete", "Empty in every attempt, on different days.")
    return _suspicious(day, reason, history, now)


def _suspicious(day: date, reason: str, history: SearchHistory, now: datetime) -> DayState:
    n_suspicious = history.status[day].n_suspicious if day in history.status else 0
    return DayState("suspicious", reason, backoff_until(now, n_suspicious + 1))
