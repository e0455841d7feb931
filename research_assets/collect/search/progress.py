"""Progress of a search window: its position, counts by day and outcome, rebuilt from the events of its journal.

Collecting and resuming apply the same events, so there is no second record of progress.

A search that breaks is continued. Its cursor counts raw hits, and ids fall as it grows, so a fresh search that begins
a little before the cursor shows by the ids it returns whether it is at the place, above or below it (`Relocation`).

Not here: reading pages (see pager.py); the facts of a page (see page.py); the state of a day (see conclude.py).
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from math import inf
from typing import Any, Literal

from research_assets.clock import midnight
from research_assets.collect.rejections import describe_rejections
from research_assets.tiktok.ids import upload_time
from research_assets.units.coverage import Attempt, attempt_from_event
from research_assets.units.windows import ONE_DAY, SearchWindow, apportion

PUBLICATION_LAG = timedelta(hours=60)
"""Longest time between the upload time in a video's id and its publication (reference 3.1.3: about 2.5 days)."""

WindowOutcome = Literal["done", "failed", "refused", "lost", "doubtful", "wide", "paused", "dropped", "changed"]
"""The end of a window: `done`; `failed` (server errors), `refused` (the API rejects the request), `lost` (the search
cannot be continued anywhere), `doubtful` (pages of another search), `wide` (cheaper as several windows), `paused` (its
complete days are published, and another journal continues with the rest), `dropped` (a new search costs less than
resuming), `changed` (the study's query or fields changed)."""

OVERLAP_HITS = 10
"""Raw hits before the place of a search with which a fresh search begins, so that known ids show the place."""

MAX_RELOCATION_REQUESTS = 8
"""Requests after which the place of a search is abandoned; halving 10,000 hits takes seven."""

MAX_RELOCATIONS = 3
"""Relocations without a new row after which a search cannot be continued."""

MAX_EMPTY_PAGES = 5
"""Consecutive pages without new rows after which `has_more` is no longer trusted (reference §7 #9, #31)."""

ENDLESS = f"{MAX_EMPTY_PAGES} empty pages in a row although has_more was true"
"""Doubt about a search whose last pages have no row."""

RECENT_PAGES = 3
"""Pages that give the density at the position of a search."""


@dataclass(slots=True)
class Relocation:
    """The search, in fresh searches, for the place at which an earlier search stopped.

    `cursor` is the next one to request. Pages that end at `low` lie above the place, pages that begin at `high` below.
    """

    cursor: int
    low: int = 0
    high: int | None = None
    requests: int = 0


@dataclass(slots=True)
class SearchProgress:
    """Position, counts and outcome of a window. `asked`, `offered` and `kept` are raw hits and rows by day.

    `recent_pages` are the newest pages: the id above each, and its raw hits. `density_from` is the id and the number of
    raw hits from which `seconds_per_hit` counts. `doubt` is the reason why the newest page does not belong to this
    search. While `relocation` is set, fresh searches look for the place at which this search stopped; `jumps_refused`
    is true if the API does not allow that. `rejected` are the elements and values that cannot be used, by day and
    reason.
    """

    window: SearchWindow
    pages: int = 0
    requests: int = 0
    rows: int = 0
    cursor: int | None = None
    search_id: str | None = None
    search_id_issued_at: datetime | None = None
    has_more: bool = True
    highest_id: int | None = None
    lowest_id: int | None = None
    n_empty_pages: int = 0
    has_uppercase_regions: bool = False
    n_outside_window: int = 0
    doubt: str | None = None
    relocation: Relocation | None = None
    n_relocations: int = 0
    jumps_refused: bool = False
    density_from: tuple[int, int] | None = None
    recent_pages: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=RECENT_PAGES))
    first_at: datetime | None = None
    last_at: datetime | None = None
    kept: Counter[date] = field(default_factory=Counter)
    offered: Counter[date] = field(default_factory=Counter)
    asked: Counter[date] = field(default_factory=Counter)
    rejected: Counter[tuple[date, str]] = field(default_factory=Counter)
    outcome: WindowOutcome | None = None
    reason: str | None = None
    recorded_attempts: dict[tuple[str, date], Attempt] = field(default_factory=dict)

    def apply(self, event: Mapping[str, Any]) -> None:
        """Apply one event of the journal; other kinds of events change nothing."""
        kind = event["event"]
        if kind == "end":
            self.outcome, self.reason = event["outcome"], event["reason"]
        elif kind == "unit":
            attempt = attempt_from_event(event)
            self.recorded_attempts[attempt.unit, attempt.partition] = attempt
        elif kind == "relocate":
            self.relocation, self.search_id, self.doubt = Relocation(event["cursor"]), None, None
            self.n_relocations += 1
        elif kind == "jump_refused":
            self.jumps_refused, self.relocation = True, None
        if kind in ("page", "fail", "canary"):
            self.requests += event.get("requests", 1)
            self.last_at = _time(event["observed_at"])
            self.first_at = self.first_at or self.last_at
        if kind == "page":
            self._apply_page(event)

    def _apply_page(self, event: Mapping[str, Any]) -> None:
        self.pages += 1
        self.rows += event["rows"]
        self.doubt = event["distrust_reason"]
        self.n_outside_window += event["n_outside_window"]
        kept = {date.fromisoformat(day): count for day, count in event["kept"].items()}
        self.asked.update(apportion(event["asked"], kept or {self.reached_day: 1}))
        relocation, place = self.relocation, event["place"]
        if relocation is not None:
            relocation.requests += 1
            if place == "found":
                self.relocation = None
            elif place is not None:
                relocation.low, relocation.high, relocation.cursor = event["low"], event["high"], event["next_cursor"]
        if self.relocation is None:
            # Pages of fresh searches that are above or below the place repeat or precede what is counted elsewhere.
            self.rejected.update((date.fromisoformat(one["partition"]), one["reason"]) for one in event["rejected"])
        if self.doubt is not None or self.relocation is not None:
            return
        n_hits_before = self.offered.total()
        self.kept.update(kept)
        self.offered.update(apportion(event["offered"], kept or {self.reached_day: 1}))
        if event["lowest_id"] is not None and (self.lowest_id is None or event["lowest_id"] < self.lowest_id):
            if place == "found" or self.density_from is None:
                # After a relocation, the density counts from here: the pages before may be denser or sparser.
                self.density_from = event["highest_id"], n_hits_before
            self.highest_id = self.highest_id or event["highest_id"]
            self.recent_pages.append((self.lowest_id or self.highest_id, event["offered"]))
            self.lowest_id = event["lowest_id"]
            self.n_relocations = 0
        self.cursor, self.has_more = event["cursor"], event["has_more"]
        if event["search_id"] != self.search_id:
            self.search_id, self.search_id_issued_at = event["search_id"], self.last_at
        self.n_empty_pages = self.n_empty_pages + 1 if not event["rows"] else 0
        self.has_uppercase_regions = self.has_uppercase_regions or event["has_uppercase_regions"]

    @property
    def done(self) -> bool:
        """Return whether the search was read to its end, page by page."""
        return not self.has_more and self.doubt is None and self.relocation is None and self.pages > 0

    @property
    def can_relocate(self) -> bool:
        """Return whether a fresh search may look for the place at which this one stopped."""
        return (
            bool(self.cursor)
            and self.lowest_id is not None
            and self.relocation is None
            and not self.jumps_refused
            # If a second search ends with empty pages at the same place, a third one would too.
            and self.n_relocations < (1 if self.doubt == ENDLESS else MAX_RELOCATIONS)
        )

    def rejected_text(self, day: date) -> str | None:
        """Return the sentences about the rejected elements and values of a day; None if there are none."""
        return describe_rejections({reason: count for (of, reason), count in self.rejected.items() if of == day})

    @property
    def reached_day(self) -> date:
        """The day that the search has reached; counts of a page without a row go to it."""
        if self.lowest_id is None:
            return self.window.last
        return min(max(upload_time(self.lowest_id).date(), self.window.first), self.window.last)

    @property
    def seconds_per_hit(self) -> float:
        """Usual time between two raw hits of this search, by the ids read since its last relocation; at least 1.

        The ids span one interval less than there are rows. With a single row nothing is known: infinity.
        """
        if self.density_from is None or self.lowest_id is None:
            return 1.0
        top, n_before = self.density_from
        n_hits = max(1, self.offered.total() - n_before)
        n_rows = n_hits / self._hits_per_row
        if n_rows <= 1 and top != self.lowest_id:
            n_rows = 2.0
        seconds = (top >> 32) - (self.lowest_id >> 32)
        return max(1.0, seconds / n_hits * n_rows / (n_rows - 1)) if n_rows > 1 else inf

    @property
    def seconds_per_row(self) -> float:
        """Usual time between two rows of this search; longer than that between hits, which are not all delivered."""
        return self.seconds_per_hit * self._hits_per_row

    @property
    def _hits_per_row(self) -> float:
        return max(1.0, self.offered.total() / max(1, self.kept.total()))

    @property
    def hits_per_day(self) -> float:
        """Raw hits per day at the position of the search, by its newest pages; 0 before the first hit."""
        if self.lowest_id is None or not self.recent_pages:
            return 0.0
        top = self.recent_pages[0][0]
        start = self.window.search_end if top == self.highest_id else upload_time(top)
        hits = sum(offered for _, offered in self.recent_pages)
        return hits / max((start - upload_time(self.lowest_id)) / ONE_DAY, 1 / 86400)

    def complete_days(self) -> tuple[date, ...]:
        """Return the days whose videos were all read: every day at the end, else those above the lowest id.

        `PUBLICATION_LAG` separates the lowest id from the last complete day.
        """
        if self.outcome == "changed":
            return ()
        if self.done:
            return self.window.days
        if self.lowest_id is None:
            return ()
        return tuple(day for day in self.window.days if midnight(day) - PUBLICATION_LAG > upload_time(self.lowest_id))

    def open_days(self) -> tuple[date, ...]:
        """Return the days of the window that are not complete."""
        complete = set(self.complete_days())
        return tuple(day for day in self.window.days if day not in complete)

    def wasted_requests(self, page_size: int) -> float:
        """Return the pages that would be read again if other searches collected the open days."""
        return sum(self.offered[day] for day in self.open_days()) / page_size

    def rest(self) -> dict[str, Any]:
        """Return the position and the counts of the open days, from which another journal continues this search."""
        days = self.open_days()
        return {
            "cursor": self.cursor,
            "search_id": self.search_id,
            "search_id_issued_at": self.search_id_issued_at,
            "highest_id": self.highest_id,
            "lowest_id": self.lowest_id,
            "has_uppercase_regions": self.has_uppercase_regions,
            "jumps_refused": self.jumps_refused,
            "first_at": self.first_at,
            **{
                name: {day.isoformat(): counts[day] for day in days if counts[day]}
                for name, counts in (("kept", self.kept), ("offered", self.offered), ("asked", self.asked))
            },
        }

    @classmethod
    def continued(cls, window: SearchWindow, rest: Mapping[str, Any]) -> "SearchProgress":
        """Return the progress of a journal that continues another one; `rest` is its `rest`."""
        progress = cls(window)
        for name in ("cursor", "search_id", "highest_id", "lowest_id", "has_uppercase_regions", "jumps_refused"):
            setattr(progress, name, rest[name])
        for name in ("search_id_issued_at", "first_at"):
            setattr(progress, name, _time(rest[name]) if rest[name] else None)
        for name in ("kept", "offered", "asked"):
            getattr(progress, name).update({date.fromisoformat(day): count for day, count in rest[name].items()})
        if progress.highest_id is not None and progress.lowest_id is not None:
            progress.density_from = progress.highest_id, 0
        return progress

    def day_attempts(self, capture: str) -> list[Attempt]:
        """Return a `partial` attempt for each day of the window; requests are divided by raw hits."""
        days = self.window.days
        hits = sum(self.offered.values())
        return [
            Attempt(
                entity="videos",
                partition=day,
                unit_kind="day",
                unit=day.isoformat(),
                state="partial",
                first_at=self.first_at,
                last_at=self.last_at,
                asked=self.asked[day],
                offered=self.offered[day],
                kept=self.kept[day],
                requests=self.requests * (self.offered[day] / hits if hits else 1 / len(days)),
                capture=capture,
            )
            for day in days
        ]


def _time(value: datetime | str) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)
