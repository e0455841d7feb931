"""Progress of a search window: its position, counts by day and outcome, rebuilt from the events of its journal.

Collecting and resuming apply the same events, so there is no second record of progress.

Not here: reading pages (see pager.py); the facts of a page (see page.py); the state of a day (see evaluation.py).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal

from research_assets.clock import midnight
from research_assets.collect.rejections import describe_rejections
from research_assets.tiktok.ids import upload_time
from research_assets.units.coverage import Attempt, attempt_from_event
from research_assets.units.windows import ONE_DAY, SearchWindow, apportion

PUBLICATION_LAG = timedelta(hours=60)
"""Longest time between the upload time in a video's id and its publication (reference 3.1.3: about 2.5 days)."""

WindowOutcome = Literal["done", "failed", "refused", "lost", "doubtful", "wide", "dropped", "changed"]
"""The end of a window: `done`; `failed` (server errors), `refused` (the API rejects the request), `lost` (the search
id was rejected in every attempt), `doubtful` (pages of another search), `wide` (cheaper as several windows), `dropped`
(a new search costs less than resuming), `changed` (the study's query or fields changed)."""


@dataclass(slots=True)
class SearchProgress:
    """Position, counts and outcome of a window. `asked`, `offered` and `kept` are raw hits and rows by day.

    `rejected` are the elements and values that cannot be used, by day and reason.
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
    distrust_reason: str | None = None
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
        if kind not in ("page", "fail", "canary"):
            return
        self.requests += event.get("requests", 1)
        at = event["observed_at"]
        self.last_at = at if isinstance(at, datetime) else datetime.fromisoformat(at)
        self.first_at = self.first_at or self.last_at
        if kind != "page":
            return
        self.pages += 1
        self.rows += event["rows"]
        self.distrust_reason = event["distrust_reason"]
        if self.distrust_reason is None and event["lowest_id"] is not None:
            self.highest_id = self.highest_id or event["highest_id"]
            self.lowest_id = event["lowest_id"]
        self.cursor = event["cursor"]
        if event["search_id"] != self.search_id:
            self.search_id, self.search_id_issued_at = event["search_id"], self.last_at
        self.has_more = event["has_more"]
        self.n_empty_pages = self.n_empty_pages + 1 if not event["rows"] else 0
        self.has_uppercase_regions = self.has_uppercase_regions or event["has_uppercase_regions"]
        self.n_outside_window += event["n_outside_window"]
        kept = {date.fromisoformat(day): count for day, count in event["kept"].items()}
        self.kept.update(kept)
        self.rejected.update((date.fromisoformat(one["partition"]), one["reason"]) for one in event["rejected"])
        weights = kept or {self.reached_day: 1}
        self.offered.update(apportion(event["offered"], weights))
        self.asked.update(apportion(event["asked"], weights))

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
    def hits_per_day(self) -> float:
        """Raw hits per day in the part of the window that was read; 0 before the first hit."""
        if self.lowest_id is None:
            return 0.0
        passed = midnight(self.window.last + ONE_DAY) - upload_time(self.lowest_id)
        return self.offered.total() / max(passed / ONE_DAY, 1 / 86400)

    def complete_days(self) -> tuple[date, ...]:
        """Return the days whose videos were all read: every day at the end, else those above the lowest id.

        `PUBLICATION_LAG` separates the lowest id from the last complete day.
        """
        if self.outcome == "changed":
            return ()
        if not self.has_more and self.distrust_reason is None and self.pages:
            return self.window.days
        if self.lowest_id is None:
            return ()
        return tuple(day for day in self.window.days if midnight(day) - PUBLICATION_LAG > upload_time(self.lowest_id))

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
