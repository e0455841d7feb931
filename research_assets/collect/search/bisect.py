"""Bisection of failing searches by username: find out whether the days or the accounts of a search cause the failure.

A dead day fails for every account, and a breaking account fails every search that names it (reference §7 #3, #24).
Here are decisions only, based on the searches that were answered in this run.

Not here: how usernames are batched and how batches combine to a day (see username_batches.py).
"""

from collections.abc import Iterable, Set
from dataclasses import replace
from datetime import date

from research_assets.units.windows import SearchWindow, split_at_dead_days, split_window

MAX_PROBES = 2
"""Accounts of a failing search that are searched separately to find out whether the accounts or the days cause it."""

QUARANTINE_FAILURES = 4
"""Failure count at which a quarantined day starts: it may fail twice more, which limits its cost."""


class AccountBisect:
    """Answered and failed windows of one run, by days and accounts; without effect for a query that is not batched."""

    def __init__(self, names: tuple[str, ...], answered_before: Iterable[SearchWindow]) -> None:
        """`names` are all accounts of the query; `answered_before` are windows that earlier runs collected."""
        self._names = names
        self._answered_before = [window for window in answered_before if len(window.usernames) < len(names)]
        self._answered: list[SearchWindow] = []
        self._undecided: list[SearchWindow] = []
        self._probed: dict[SearchWindow, SearchWindow] = {}

    def record_answer(self, window: SearchWindow, distrust_reason: str | None) -> None:
        """Record that the API answered a window; a distrusted page does not count."""
        if self._names and distrust_reason is None and window not in self._answered:
            self._answered.append(window)

    def record_failure(self, window: SearchWindow) -> tuple[SearchWindow, ...] | None:
        """Return the windows that replace a failed one; None if its accounts cannot explain the failure.

        While the cause is undecided, the result is empty, and `next_windows` returns the replacement later.
        """
        if not self._names or window.bisect_exhausted or (window.days_answer and len(window.usernames) == 1):
            return None
        if self._accounts_at_fault(window):
            return self._split_usernames(window)
        self._undecided.append(window)
        return ()

    def next_windows(self, running: Iterable[SearchWindow], dead: Set[date]) -> list[SearchWindow]:
        """Return replacements for undecided windows whose days no `running` window overlaps.

        An overlapping window may still show the cause. The narrowest window comes first: if a day is dead, it finds
        the day for all others.
        """
        overlapping, windows = list(running), list[SearchWindow]()
        for window in sorted(self._undecided, key=lambda one: (len(one.days), -one.n_probes)):
            if window in self._undecided and not any(
                one.first <= window.last and window.first <= one.last for one in overlapping
            ):
                self._undecided.remove(window)
                replacements = self._replace(window, dead)
                windows += replacements
                overlapping += replacements
        return windows

    def _replace(self, window: SearchWindow, dead: Set[date]) -> tuple[SearchWindow, ...]:
        """Return the windows that replace a failed one that no running window can explain."""
        if not dead.isdisjoint(window.days):
            groups = [group for group in split_at_dead_days(window.days, dead) if group[0] not in dead]
            return tuple(replace(window, first=group[0], last=group[-1], n_failures=0) for group in groups)
        if self._accounts_at_fault(window):
            return self._split_usernames(window)
        names = window.usernames or self._names
        answered = any(set(names) <= set(other.usernames or self._names) for other in self._answered)
        if not answered and len(names) > 1 and window.n_probes <= window.n_failures and window.n_probes < MAX_PROBES:
            # If an account fails that was answered before, the days cause the failure: one probe is enough.
            reliable = {name for other in (*self._answered_before, *self._answered) for name in other.usernames}
            chosen = next((name for name in names if name in reliable), names[window.n_probes])
            probe = replace(window, n_probes=MAX_PROBES if chosen in reliable else window.n_probes + 1)
            rest = replace(probe, usernames=tuple(name for name in names if name != chosen))
            self._undecided.append(rest)
            probe = replace(probe, usernames=(chosen,))
            self._probed |= {
                probe: replace(window, n_probes=probe.n_probes),
                rest: replace(window, n_probes=probe.n_probes),
            }
            return (probe,)
        whole = self._probed.get(window, window)
        self._undecided = [other for other in self._undecided if self._probed.get(other) != whole]
        return split_window(whole, {}) if len(whole.days) > 1 else (replace(whole, bisect_exhausted=True),)

    def _split_usernames(self, window: SearchWindow) -> tuple[SearchWindow, ...]:
        """Split the accounts of a window whose days are answered in two; a single account stays as it is."""
        names, middle = window.usernames or self._names, len(window.usernames or self._names) // 2
        return tuple(
            replace(window, usernames=half, days_answer=True) for half in (names[:middle], names[middle:]) if half
        )

    def _accounts_at_fault(self, window: SearchWindow) -> bool:
        """Return whether every day of a window was answered for other accounts, so that its own accounts fail."""
        names = set(window.usernames or self._names)
        answered = {
            day
            for other in (*self._answered_before, *self._answered)
            if names.isdisjoint(other.usernames or self._names)
            for day in other.days
        }
        return window.days_answer or answered.issuperset(window.days)
