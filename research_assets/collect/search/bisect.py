"""A search of several accounts that got no answer: whether its days are at fault or its accounts, and how to learn it.

Days fail for everybody, an account fails all who are asked with it (reference §7 #3, #24). Decisions only, drawn from
what was answered in this run. Which accounts make a part, and what parts add up to, is in `accounts.py`.
"""

from collections.abc import Iterable, Set
from dataclasses import replace
from datetime import date

from research_assets.units.windows import SearchWindow, split_at_dead_days, split_window

MAX_PROBES = 2
"""How many accounts of a failing search are asked by themselves to learn whether accounts are at fault or days."""

QUARANTINE_FAILURES = 4
"""Failures with which a day begins that was given up before: it may fail twice more, which caps its cost."""


class AccountBisect:
    """What one run has learned of the days and accounts of a search; of a query without parts, nothing."""

    def __init__(self, names: tuple[str, ...], before: Iterable[SearchWindow]) -> None:
        """`names` are all accounts of the query; `before` are windows that were answered in earlier runs."""
        self._names = names
        self._before = [window for window in before if len(window.usernames) < len(names)]
        self._answered: list[SearchWindow] = []
        self._waiting: list[SearchWindow] = []
        self._whole: dict[SearchWindow, SearchWindow] = {}

    def record_answer(self, window: SearchWindow, doubt: str | None) -> None:
        """A page came for a window: unless it is in doubt, neither days nor accounts keep the API from answering."""
        if self._names and doubt is None and window not in self._answered:
            self._answered.append(window)

    def record_failure(self, window: SearchWindow) -> tuple[SearchWindow, ...] | None:
        """What is asked instead of a window that got no answer; None: nothing can be learned from its accounts.

        While it is open whether accounts or days are at fault, that is nothing, and `resolved` says so later.
        """
        if not self._names or window.bisect_exhausted or (window.days_answer and len(window.usernames) == 1):
            return None
        if self._accounts_at_fault(window):
            return self._halves(window)
        self._waiting.append(window)
        return ()

    def next_windows(self, under_way: Iterable[SearchWindow], dead: Set[date]) -> list[SearchWindow]:
        """Windows instead of those that got no answer, as far as nothing `under_way` can still say what is at fault.

        The narrowest goes ahead: where days are at fault, it finds them for all others.
        """
        going, windows = list(under_way), list[SearchWindow]()
        for window in sorted(self._waiting, key=lambda one: (len(one.days), -one.n_probes)):
            if window in self._waiting and not any(
                one.first <= window.last and window.first <= one.last for one in going
            ):
                self._waiting.remove(window)
                new = self._next(window, dead)
                windows += new
                going += new
        return windows

    def _next(self, window: SearchWindow, dead: Set[date]) -> tuple[SearchWindow, ...]:
        """How to go on with a window that got no answer, now that nothing else can say why."""
        if not dead.isdisjoint(window.days):
            groups = [group for group in split_at_dead_days(window.days, dead) if group[0] not in dead]
            return tuple(replace(window, first=group[0], last=group[-1], n_failures=0) for group in groups)
        if self._accounts_at_fault(window):
            return self._halves(window)
        names = window.usernames or self._names
        elsewhere = any(set(names) <= set(other.usernames or self._names) for other in self._answered)
        if not elsewhere and len(names) > 1 and window.n_probes <= window.n_failures and window.n_probes < MAX_PROBES:
            # An account that was answered before tells for sure: where it fails too, the days are at fault.
            sure = {name for other in (*self._before, *self._answered) for name in other.usernames}
            teller = next((name for name in names if name in sure), names[window.n_probes])
            asked = replace(window, n_probes=MAX_PROBES if teller in sure else window.n_probes + 1)
            rest = replace(asked, usernames=tuple(name for name in names if name != teller))
            self._waiting.append(rest)
            asked = replace(asked, usernames=(teller,))
            self._whole |= {
                asked: replace(window, n_probes=asked.n_probes),
                rest: replace(window, n_probes=asked.n_probes),
            }
            return (asked,)
        whole = self._whole.get(window, window)
        self._waiting = [other for other in self._waiting if self._whole.get(other) != whole]
        return split_window(whole, {}) if len(whole.days) > 1 else (replace(whole, bisect_exhausted=True),)

    def _halves(self, window: SearchWindow) -> tuple[SearchWindow, ...]:
        """The accounts of a window whose days answer, in halves; a single one is to be tried in earnest."""
        names, middle = window.usernames or self._names, len(window.usernames or self._names) // 2
        return tuple(
            replace(window, usernames=part, days_answer=True) for part in (names[:middle], names[middle:]) if part
        )

    def _accounts_at_fault(self, window: SearchWindow) -> bool:
        """Whether each day of a window was answered for other accounts: what fails then are its own."""
        names = set(window.usernames or self._names)
        answered = {
            day
            for other in (*self._before, *self._answered)
            if names.isdisjoint(other.usernames or self._names)
            for day in other.days
        }
        return window.days_answer or answered.issuperset(window.days)
