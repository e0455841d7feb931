"""One search window, page by page, on its journal: the only code that pages through the video query.

A page's facts are written into the journal beside it, and the same `Trail` is folded from them while collecting and
while resuming, so that there is no second record of progress. Which windows there are is decided in `plan.py`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, Literal

from research_assets.clock import Clock, midnight
from research_assets.collect.coverage import Verdict
from research_assets.collect.plan import Window, apportion
from research_assets.collect.send import Courier, Errand, in_short
from research_assets.collect.spec import StudySpec
from research_assets.journal import Journal
from research_assets.tiktok.client import Answer
from research_assets.tiktok.errors import RateLimited, SearchIdRejected, ServerError, Unreachable, Wait
from research_assets.tiktok.requests import video_query

LAG = timedelta(hours=60)
"""How long after its id's moment of upload a video may be published (reference 3.1.3: up to about 2.5 days)."""

OLD_SEARCH = timedelta(days=1)
"""A search id whose time bits fall back by more than this belongs to another, older search (reference §7 #6)."""

EMPTY_PAGES = 5
"""Empty pages in a row after which `has_more` is no longer believed (reference §7 #9, #31)."""

THINNER = 10
"""How much sparser than before a page in lower case must be to count as another search's (reference §7 #7): nights
are up to five times quieter than evenings."""

FRESH = timedelta(minutes=10)
"""A younger search id that is refused may not be known everywhere yet, and is tried patiently (reference §7 #5)."""

Outcome = Literal["done", "failed", "lost", "doubtful"]


@dataclass(slots=True)
class Trail:
    """How far a window has come: the fold of its journal's events."""

    window: Window
    pages: int = 0
    requests: int = 0
    rows: int = 0
    cursor: int | None = None
    search_id: str | None = None
    issued: datetime | None = None
    has_more: bool = True
    highest: int | None = None
    lowest: int | None = None
    empty: int = 0
    upper: bool = False
    strays: int = 0
    doubt: str | None = None
    first_at: datetime | None = None
    last_at: datetime | None = None
    kept: Counter[date] = field(default_factory=Counter)
    offered: Counter[date] = field(default_factory=Counter)
    asked: Counter[date] = field(default_factory=Counter)
    settled: bool = False

    def take(self, event: Mapping[str, Any]) -> None:
        """Fold one event of the journal; events of other kinds change nothing."""
        kind = event["event"]
        if kind == "unit":
            self.settled = True
        if kind not in ("page", "fail"):
            return
        self.requests += event.get("requests", 1)
        moment = event["observed_at"]
        self.last_at = moment if isinstance(moment, datetime) else datetime.fromisoformat(moment)
        self.first_at = self.first_at or self.last_at
        if kind == "fail":
            return
        self.pages += 1
        self.rows += event["rows"]
        self.doubt = event["doubt"]
        if self.doubt is None and event["lowest"] is not None:
            self.highest = self.highest or event["highest"]
            self.lowest = event["lowest"]
        self.cursor = event["cursor"]
        if event["search_id"] != self.search_id:
            self.search_id, self.issued = event["search_id"], self.last_at
        self.has_more = event["has_more"]
        self.empty = self.empty + 1 if not event["rows"] else 0
        self.upper = self.upper or event["upper"]
        self.strays += event["strays"]
        by_day = {date.fromisoformat(day): count for day, count in event["by_day"].items()}
        self.kept.update(by_day)
        weights = by_day or {self._reached(): 1}
        self.offered.update(apportion(event["offered"], weights))
        self.asked.update(apportion(event["asked"], weights))

    def _reached(self) -> date:
        """The day on which the search has arrived, for counts of a page that delivered nothing."""
        if self.lowest is None:
            return self.window.last
        return min(max(_moment(self.lowest).date(), self.window.first), self.window.last)

    def complete_days(self) -> tuple[date, ...]:
        """Days of which every video was passed: all of them at the end, else those well above the lowest id."""
        if not self.has_more and self.doubt is None and self.pages:
            return self.window.days
        if self.lowest is None:
            return ()
        return tuple(day for day in self.window.days if midnight(day) - LAG > _moment(self.lowest))

    def verdicts(self, capture: str) -> list[Verdict]:
        """The counts of each day of the window, as yet `partial`; its requests are shared by raw hits."""
        days = self.window.days
        hits = sum(self.offered.values())
        return [
            Verdict(
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


async def crawl(
    trail: Trail,
    study: StudySpec,
    journal: Journal,
    courier: Courier,
    clock: Clock,
    *,
    page_size: int,
    due: bool,
    on_event: Callable[[int | None], None],
) -> tuple[Outcome, str | None]:
    """Read a window's pages from where its trail ends.

    `on_event` is told the rows of each page, and None for each failure.

    Gives `done`, or what stopped it with the reason: `failed` (the server could not answer), `lost` (the search id was
    refused for good), `doubtful` (pages that cannot belong to this search). Raises QuotaSpent, and
    what is no fault of the window: no server, a throttle that does not end, errors that are final.
    """
    errand = Errand(study.name, "videos", str(trail.window), due)

    def note(event: str, facts: dict[str, Any], answer: bytes | None = None) -> None:
        journal.append(event, facts, answer)
        trail.take({"event": event, **facts})
        on_event(facts.get("rows"))

    while trail.has_more and trail.doubt is None:
        request = video_query(
            study.query,
            trail.window.first,
            trail.window.last,
            fields=study.fields.get("videos"),
            max_count=page_size,
            cursor=trail.cursor,
            search_id=trail.search_id,
        )
        try:
            answer = await courier.send(
                request, errand, lambda facts: note("fail", facts), tries=lambda e: _tries(e, trail, clock)
            )
        except Wait as error:
            if isinstance(error, RateLimited) or (isinstance(error, Unreachable) and not error.sent):
                raise
            return ("lost" if isinstance(error, SearchIdRejected) else "failed"), in_short(error)
        note("page", page_facts(answer, trail, clock.now(), page_size), answer.raw)
    if trail.doubt is not None:
        return "doubtful", trail.doubt
    return "done", None


def _tries(error: Wait, trail: Trail, clock: Clock) -> int | None:
    """How often a call is tried: a window of several days is rather halved, a dead day has failed in wider windows."""
    if isinstance(error, ServerError) and not trail.pages:
        return 1 if len(trail.window.days) > 1 else max(1, 3 - trail.window.failures)
    if isinstance(error, SearchIdRejected) and trail.issued is not None and clock.now() - trail.issued > FRESH:
        return 2
    return None


def page_facts(answer: Answer, trail: Trail, now: datetime, page_size: int) -> dict[str, Any]:
    """What the journal keeps about a page beside its bytes: enough to fold the trail without reading them again."""
    found = [(identifier, row) for row in answer.rows if (identifier := _id(row)) is not None]
    ids = [identifier for identifier, _ in found]
    days = Counter(_day(identifier, row) for identifier, row in found)
    before = trail.cursor or 0
    after, has_more = answer.cursor, answer.has_more
    if has_more and (after is None or after <= before):
        # The cursor counts raw hits, of which a page takes as many as were asked for; a page without any took none.
        after = before + page_size if ids else trail.cursor
    advance = max(len(answer.rows), (after or before) - before)
    upper = any(str(row.get("region_code", "")).isupper() for row in answer.rows)
    inside = {day: count for day, count in days.items() if trail.window.first <= day <= trail.window.last}
    return {
        "unit": str(trail.window),
        "partition": None,
        "request": {
            "endpoint": answer.request.endpoint.name,
            "body": dict(answer.request.body),
            "fields": list(answer.request.fields),
        },
        "context": {},
        "observed_at": now,
        "status": answer.status,
        "log_id": answer.log_id,
        "rows": len(answer.rows),
        "cursor": after,
        "has_more": has_more,
        "search_id": answer.search_id or trail.search_id,
        "unknown": sorted(answer.unknown),
        "highest": max(ids, default=None),
        "lowest": min(ids, default=None),
        "by_day": {day.isoformat(): count for day, count in inside.items()},
        "strays": len(ids) - sum(inside.values()),
        "asked": page_size,
        "offered": advance,
        "upper": upper,
        "doubt": _doubt(answer, ids, trail, upper, advance),
    }


def _doubt(answer: Answer, ids: Sequence[int], trail: Trail, upper: bool, hits: int) -> str | None:
    """Why a page cannot be trusted to continue this search (reference §7 #6, #7, #9), if it cannot."""
    if len(ids) < len(answer.rows):
        return "a page holds a row without an id"
    if any(later >= earlier for earlier, later in pairwise(ids)):
        return "the ids of a page do not fall"
    if trail.lowest is not None and ids and ids[0] >= trail.lowest:
        return "a page reaches above the page before it"
    if trail.search_id and answer.search_id and _moment(trail.search_id) - _moment(answer.search_id) > OLD_SEARCH:
        return "the search was replaced by an older one"
    if trail.upper and ids and not upper and _thinner(ids, hits, trail):
        return f"a page comes from other data: region codes in lower case, and {THINNER} times sparser than before"
    if answer.has_more and not ids and trail.empty + 1 >= EMPTY_PAGES:
        return f"{EMPTY_PAGES} empty pages in a row that claim to have more"
    return None


def _thinner(ids: Sequence[int], hits: int, trail: Trail) -> bool:
    """Whether a page's hits lie much farther apart in time than those of the pages before it."""
    if trail.highest is None or trail.lowest is None:
        return False
    before = (_moment(trail.highest) - _moment(trail.lowest)) / max(1, sum(trail.offered.values()))
    now = (_moment(trail.lowest) - _moment(ids[-1])) / max(1, hits)
    return now > THINNER * before


def _id(row: Mapping[str, Any]) -> int | None:
    try:
        return int(row["id"] if "id" in row else row["video_id"])
    except (KeyError, TypeError, ValueError):
        return None


def _day(identifier: int, row: Mapping[str, Any]) -> date:
    try:
        return datetime.fromtimestamp(int(row["create_time"]), UTC).date()
    except (KeyError, TypeError, ValueError, OverflowError):
        return _moment(identifier).date()


def _moment(identifier: int | str) -> datetime:
    """The moment in an id's upper half (reference 3.1.3, id anatomy)."""
    return datetime.fromtimestamp(int(identifier) >> 32, UTC)
