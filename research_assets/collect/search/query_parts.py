"""Days that are collected in parts of the query: when a day is cut, which parts are missing, and what they add up to.

A day is cut if its search is lost, the API refuses to jump to the place where it stopped, and the day needs more
requests than one day's quota or was lost before. A part that is lost in the same way is cut further.

Not here: the conditions of the parts (see units/query_parts.py); batches of usernames, which are not cut (see
username_batches.py).
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from datetime import date, datetime

from research_assets.clock import midnight
from research_assets.collect.search.pager import JUMP_ATTEMPTS
from research_assets.collect.search.progress import SearchProgress
from research_assets.study.spec import QueryGroups
from research_assets.tiktok.ids import upload_time
from research_assets.units.coverage import (
    STATES_WORST_FIRST,
    Attempt,
    UnitStatus,
    backoff_until,
    is_newer_observation,
    sum_counts,
)
from research_assets.units.plausibility import lost_known_videos
from research_assets.units.query_parts import cut_query, enclosing_parts
from research_assets.units.usernames import batchable_usernames
from research_assets.units.windows import ONE_DAY, SearchWindow, requests_for_hits

LOST_SEARCH_REQUESTS = 1 + JUMP_ATTEMPTS
"""Requests that show that a search id has expired and that a jump is refused."""

MIN_READ_SHARE = 0.25
"""Share of one day's quota that a search must have read before it is cut. A search that is lost earlier is not too
large, and its parts would be lost too."""


class QueryParts:
    """The parts of one study's search in one run. A part that is empty text stands for the whole query.

    `jumps_refused` is true if a day was ever cut, so that the API is known to refuse jumps.
    """

    def __init__(
        self,
        query: QueryGroups,
        records: Sequence[UnitStatus],
        now: datetime,
        *,
        page_size: int,
        recollect: bool,
        has_same_query: Callable[[Attempt], bool],
    ) -> None:
        """`records` are the unit status of the study's videos.

        `has_same_query` returns whether an attempt was collected with the study's current query and fields.
        """
        self._query, self._now, self._page_size = query, now, page_size
        self._can_cut = not batchable_usernames(query)
        self._days = {r.attempt.partition: r for r in records if r.attempt.unit_kind == "day"}
        self._status: dict[str, dict[date, UnitStatus]] = defaultdict(dict)
        self._cut: dict[date, set[str]] = defaultdict(set)
        self._complete: dict[date, dict[str, Attempt]] = defaultdict(dict)
        self._failed: dict[date, dict[str, Attempt]] = defaultdict(dict)
        self._estimates: dict[tuple[date, str], float] = {}
        self._found: dict[date, int] = {}
        for record in records if self._can_cut else ():
            attempt = record.attempt
            if attempt.unit_kind != "part":
                continue
            day = self._days.get(attempt.partition)
            complete = day.attempt if day and day.attempt.state == "complete" else None
            self._status[attempt.unit][attempt.partition] = record
            is_current = is_newer_observation(attempt, complete, now, recollect=recollect)
            if is_current and has_same_query(attempt):
                self.mark_cut(attempt.partition, attempt.unit)
                if attempt.state == "complete":
                    self._complete[attempt.partition][attempt.unit] = attempt
        self.jumps_refused = bool(self._status)

    def mark_cut(self, day: date, part: str) -> None:
        """Record that a day is collected in parts of which `part` is one; the whole query changes nothing."""
        if part:
            self._cut[day].update(enclosing_parts(part))

    def history(self, part: str) -> Mapping[date, UnitStatus]:
        """Return the status of a part by day."""
        return self._status[part]

    def is_complete(self, window: SearchWindow) -> bool:
        """Return whether the part of a window is collected, or its day without parts."""
        day = window.first
        return bool(window.part) and (day not in self._cut or window.part in self._complete[day])

    def missing(self, day: date, running: Set[str]) -> list[SearchWindow]:
        """Return windows for the parts of a day that are not collected; none if the day is not cut.

        `running` are parts in other windows.
        """
        if day not in self._cut:
            return []
        leaves = self._leaves(day)
        missing = [part for part in leaves if part not in self._complete[day] and part not in running]
        if not missing and not running:
            # Every part is complete, but the day is not: one part that is read again brings it to its end.
            missing = leaves[:1]
        return self._windows(day, missing)

    def cut_lost(self, progress: SearchProgress, day_requests: int) -> tuple[SearchWindow, ...]:
        """Return the windows of the parts that replace a lost search; none if it is repeated as a whole.

        `day_requests` are the requests of one day's quota.
        """
        window, open_days = progress.window, progress.open_days()
        if not progress.jumps_refused or len(open_days) != 1 or progress.lowest_id is None or not self._can_cut:
            return ()
        self.jumps_refused = True
        day = open_days[0]
        end, reached = midnight(day + ONE_DAY), max(upload_time(progress.lowest_id), midnight(day))
        read = max((end - reached) / ONE_DAY, 1 / 86400)
        hits = self._estimates[day, window.part] = progress.offered[day] / read
        fits = requests_for_hits(hits, self._page_size) <= day_requests - LOST_SEARCH_REQUESTS
        read_requests = requests_for_hits(progress.offered[day], self._page_size)
        if (fits and not window.n_failures) or read_requests < MIN_READ_SHARE * day_requests:
            return ()
        if not window.part:
            self._found[day] = progress.kept[day]
        return self._cut_now(day, window.part)

    def cut_planned(self, window: SearchWindow, expected: float | None, day_requests: int) -> tuple[SearchWindow, ...]:
        """Return the windows of the parts that replace a planned search; none if it is sent as it is.

        A day that needs more requests than one day's quota cannot be read to its end where jumps are refused.
        `expected` are the raw hits by the collected days; what other parts leave is too uncertain to cut a part.
        """
        if not (self.jumps_refused and self._can_cut and len(window.days) == 1):
            return ()
        day = window.first
        if window.part:
            expected = self._estimates.get((day, window.part), expected)
        elif expected is None:
            others = [hits for (_, part), hits in self._estimates.items() if not part]
            expected = sum(others) / len(others) if others else None
        if expected is None or requests_for_hits(expected, self._page_size) <= day_requests:
            return ()
        self._estimates[day, window.part] = expected
        return self._cut_now(day, window.part)

    def expected_hits(self, window: SearchWindow, on_other_days: float | None) -> float | None:
        """Return the raw hits expected for the part of a window; None if nothing is known.

        A search of the part that was lost shows it best, then the part on other days; else the part has an equal share
        of what the collected parts leave.
        """
        day = window.first
        own = self._estimates.get((day, window.part))
        if own is not None or on_other_days is not None:
            return own if own is not None else on_other_days
        parent = enclosing_parts(window.part)[0]
        whole = self._estimates.get((day, parent))
        if whole is None and day in self._days and not parent:
            whole = float(self._days[day].max_kept) or None
        if whole is None:
            return None
        known = {
            part: float(self._complete[day][part].offered)
            if part in self._complete[day]
            else self._estimates.get((day, part))
            for part in cut_query(self._query, parent)
        }
        left = whole - sum(hits for hits in known.values() if hits is not None)
        return max(0.0, left) / max(1, sum(hits is None for hits in known.values()))

    def record_attempt(self, window: SearchWindow, attempt: Attempt) -> tuple[list[Attempt], Attempt | None]:
        """Record the result of a window for one of its days; return the attempts at parts to store and the day's own.

        The day's own is None if the day needs this part no more.
        """
        day, part = attempt.partition, window.part
        if not part:
            if attempt.state == "complete":
                self._cut.pop(day, None)
            return [], attempt
        own = replace(attempt, unit_kind="part", unit=part, requests=0.0)
        self._failed[day].pop(part, None)
        if day not in self._cut:
            return [own], None
        stored = []
        if own.state == "complete":
            self._complete[day][part] = own
            whole = self.combine(window, attempt)
            if whole.state == "suspicious":
                # This part is read again on another day; if the day then has as few videos, it is complete.
                self._complete[day].pop(part)
                own = replace(own, state=whole.state, reason=whole.reason, next_try=whole.next_try)
            stored = [own, *self._completed_enclosing(day, part)]
        elif own.state != "partial":
            self._failed[day][part] = own
            stored = [own]
            whole = self.combine(window, attempt)
        else:
            whole = self.combine(window, attempt)
        return stored, whole

    def combine(self, window: SearchWindow, attempt: Attempt) -> Attempt:
        """Return the attempt of the whole day: the counts of its collected parts, and the state that follows."""
        day = attempt.partition
        if not window.part or day not in self._cut:
            return attempt
        leaves = self._leaves(day)
        done = [self._complete[day][part] for part in leaves if part in self._complete[day]]
        whole = sum_counts(attempt, done if attempt.state == "complete" else [*done, attempt])
        failed = [self._failed[day][part] for part in leaves if part in self._failed[day]]
        if len(done) + len(failed) < len(leaves) or attempt.state == "partial":
            reason = f"Collected in {len(done)} of {len(leaves)} parts."
            if attempt.state == "partial" and attempt.reason:
                reason = f"{reason} {window.part}: {attempt.reason}"
            return replace(whole, state="partial", reason=reason, next_try=None)
        if failed:
            worst = min(failed, key=lambda one: STATES_WORST_FIRST.index(one.state))
            reason = f"Collected in {len(done)} of {len(leaves)} parts. {worst.unit}: {worst.reason}"
            return replace(whole, state=worst.state, reason=reason, next_try=worst.next_try)
        return self._completed_day(whole, len(leaves))

    def _completed_day(self, whole: Attempt, n_parts: int) -> Attempt:
        """Return the attempt of a day whose parts are all collected, compared with the searches of the whole day."""
        status = self._days.get(whole.partition)
        reason = f"Collected in {n_parts} parts."
        # A complete earlier observation may be old, and conclude.py compares with it.
        earlier = status.max_kept if status and status.attempt.state != "complete" else 0
        earlier = max(earlier, self._found.get(whole.partition, 0))
        if not lost_known_videos(whole.kept, earlier):
            return replace(whole, state="complete", reason=reason, next_try=None)
        reason = f"{reason} They have {whole.kept} videos, but an earlier search of the day found {earlier}."
        n_suspicious = status.n_suspicious if status else 0
        if n_suspicious:
            return replace(whole, state="complete", reason=f"{reason} Confirmed on another day.", next_try=None)
        return replace(whole, state="suspicious", reason=reason, next_try=backoff_until(self._now, 1))

    def _completed_enclosing(self, day: date, part: str) -> list[Attempt]:
        """Return attempts at the parts that were cut and are complete now, because all their parts are."""
        attempts = []
        for parent in enclosing_parts(part)[:-1]:
            children = [self._complete[day].get(child) for child in cut_query(self._query, parent)]
            done = [child for child in children if child is not None]
            if len(done) < len(children):
                break
            whole = replace(done[-1], unit=parent, reason=f"Collected in {len(children)} parts.")
            self._complete[day][parent] = sum_counts(whole, done)
            attempts.append(self._complete[day][parent])
        return attempts

    def _cut_now(self, day: date, part: str) -> tuple[SearchWindow, ...]:
        parts = cut_query(self._query, part)
        for one in parts:
            self.mark_cut(day, one)
        return tuple(self._windows(day, [one for one in parts if one not in self._complete[day]]))

    def _windows(self, day: date, parts: Sequence[str]) -> list[SearchWindow]:
        """Return the windows of some parts of a day, those that take most of a day's quota first if that is known."""
        windows = [SearchWindow(day, day, part=part) for part in parts]
        known = {part: self._known_hits(part) for part in parts}
        if any(hits is None for hits in known.values()):
            return windows
        return sorted(windows, key=lambda window: -(known[window.part] or 0.0))

    def _known_hits(self, part: str) -> float | None:
        """Return the raw hits of a part on the newest day for which it was collected; None if there is none."""
        offered = {day: parts[part].offered for day, parts in self._complete.items() if part in parts}
        offered |= {d: r.attempt.offered for d, r in self._status[part].items() if r.attempt.state == "complete"}
        return float(offered[max(offered)]) if offered else None

    def _leaves(self, day: date, part: str = "") -> list[str]:
        """Return the parts of a day that are not cut further, in the order in which they are collected."""
        if part not in self._cut[day]:
            return [part]
        return [leaf for child in cut_query(self._query, part) for leaf in self._leaves(day, child)]
