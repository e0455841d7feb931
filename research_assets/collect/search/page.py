"""Facts of a search page: the days of its videos, the next cursor, and whether the page can be trusted.

The journal stores the facts beside the bytes of the response; `SearchProgress` is rebuilt from them. `answer_facts` and
`MAX_EMPTY_PAGES` also serve pages of lists.

Not here: the facts that only pages of lists have (see lists/pager.py).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

from research_assets.clock import midnight
from research_assets.collect.rejections import NO_USABLE_ROW, rejection_facts
from research_assets.collect.search.progress import SearchProgress
from research_assets.tiktok.client import ResponsePage
from research_assets.tiktok.ids import upload_time, video_id_of

STALE_SEARCH_AGE = timedelta(days=1)
"""Age difference of search ids, by their time bits, from which the new id is of an older search (reference §7 #6)."""

MAX_EMPTY_PAGES = 5
"""Consecutive pages without new rows after which `has_more` is no longer trusted (reference §7 #9, #31)."""

SPARSE_FACTOR = 8
"""Ratio of the earlier density to that of a page with lower-case region codes from which the page counts as another
search's (reference §7 #7). A lower value would reject real pages: nights have up to five times fewer videos than
evenings."""

GAP_FACTOR = 8
"""Largest gap between two pages, as a multiple of the usual time between two hits of the page."""

MIN_SAMPLE_HITS = 30
"""Expected hits of a time span below which missing hits are no evidence."""

_EPOCH, _MAX_SECONDS = date(1970, 1, 1), 2**33


def answer_facts(page: ResponsePage, now: datetime) -> dict[str, Any]:
    """Return the facts of any page: its request, the time, and the counts and cursors of the response."""
    return {
        "request": page.request.to_dict,
        "observed_at": now,
        "status": page.status,
        "log_id": page.log_id,
        "rows": len(page.rows),
        "rejected": rejection_facts(page),
        "cursor": page.cursor,
        "has_more": page.has_more,
        "search_id": page.search_id,
        "unknown": sorted(page.unknown),
    }


def page_facts(page: ResponsePage, progress: SearchProgress, now: datetime, page_size: int) -> dict[str, Any]:
    """Return the facts of a search page, from which `SearchProgress` is rebuilt without the bytes of the response."""
    videos = [(identifier, row) for row in page.rows if (identifier := video_id_of(row)) is not None]
    ids = [identifier for identifier, _ in videos]
    days = _count_by_day(videos)
    before = progress.cursor or 0
    after, has_more = page.cursor, page.has_more
    if progress.pages and not has_more and not page.rows and (after or 0) < before:
        # The previous page had has_more true; this one looks like the response of a search without a hit.
        has_more = True
    if has_more and (after is None or after <= before):
        # The cursor counts raw hits, and a page advances it by its max_count; a page without a video advances it by 0.
        after = before + page_size if page.offered else progress.cursor
    advance = max(page.offered, (after or before) - before)
    has_uppercase = any(str(row.get("region_code", "")).isupper() for row in page.rows)
    inside = {day: count for day, count in days.items() if progress.window.first <= day <= progress.window.last}
    n_outside = len(ids) - sum(inside.values())
    return {
        "unit": str(progress.window),
        "partition": None,
        "context": {},
        **answer_facts(page, now),
        "rejected": _rejections_by_day(page, progress),
        "cursor": after,
        "has_more": has_more,
        "search_id": page.search_id or progress.search_id,
        "highest_id": max(ids, default=None),
        "lowest_id": min(ids, default=None),
        "kept": {day.isoformat(): count for day, count in inside.items()},
        "n_outside_window": n_outside,
        "asked": page_size,
        "offered": min(advance, max(page_size, page.offered)),
        "has_uppercase_regions": has_uppercase,
        "distrust_reason": _distrust_reason(
            page,
            ids,
            progress,
            has_uppercase=has_uppercase,
            hits=advance,
            n_outside=n_outside,
            has_more=has_more,
            page_size=page_size,
        ),
    }


def _distrust_reason(
    page: ResponsePage,
    ids: Sequence[int],
    progress: SearchProgress,
    *,
    has_uppercase: bool,
    hits: int,
    n_outside: int,
    has_more: bool,
    page_size: int,
) -> str | None:
    """Return the reason why a page does not continue this search (reference §7 #6, #7, #9); None if it does."""
    if page.offered and not page.rows:
        return NO_USABLE_ROW
    if any(later >= earlier for earlier, later in pairwise(ids)):
        return "the ids of a page do not decrease"
    if progress.lowest_id is not None and ids and ids[0] >= progress.lowest_id:
        return "a page starts above the lowest id of the page before it"
    if n_outside * 2 > len(ids):
        return "most videos of a page are outside the window"
    if hits > max(page_size, page.offered):
        return f"the cursor advanced by {hits} although {page_size} rows were requested"
    if _is_older_search(page.search_id, progress.search_id):
        return "the search was replaced by an older one"
    if progress.has_uppercase_regions and not has_uppercase and _is_too_sparse(ids, hits, progress, last=not has_more):
        return f"a page comes from other data: no upper-case region code, and {SPARSE_FACTOR} times sparser"
    if progress.has_uppercase_regions and ids and not has_uppercase and _skips_hits(ids, hits, progress):
        return "a page comes from other data: no upper-case region code, and a large gap to the page before it"
    if progress.pages and not page.has_more and not page.rows and page.search_id not in (None, progress.search_id):
        return "the search ended with another search id although has_more was true"
    if has_more and not ids and progress.n_empty_pages + 1 >= MAX_EMPTY_PAGES:
        return f"{MAX_EMPTY_PAGES} empty pages in a row although has_more was true"
    return None


def _rejections_by_day(page: ResponsePage, progress: SearchProgress) -> list[dict[str, Any]]:
    """Return the rejected elements and values of a page, each with the day of its search that it belongs to.

    Pages are in descending order, so an element without a usable id or time has the day of the row before it.
    """
    facts = rejection_facts(page)
    if not facts:
        return []
    window, rows = progress.window, iter(page.rows)
    whole = {fact["position"] for fact in facts if fact["field"] is None}
    days, day = [], progress.reached_day
    for position in range(page.offered):
        if position not in whole:
            row = next(rows)
            day = min(max(_day(video_id_of(row) or 0, row), window.first), window.last)
        days.append(day)
    return [
        {**fact, "partition": (days[fact["position"]] if fact["position"] is not None else day).isoformat()}
        for fact in facts
    ]


def _is_older_search(search_id: str | None, previous: str | None) -> bool:
    new, old = (upload_time(int(text)) if text and text.isdecimal() else None for text in (search_id, previous))
    return new is not None and old is not None and old - new > STALE_SEARCH_AGE


def _is_too_sparse(ids: Sequence[int], hits: int, progress: SearchProgress, *, last: bool) -> bool:
    """Return whether a page has far fewer hits than expected for its time span from the pages before it.

    The last page spans the rest of the window. Videos that were uploaded before the window and published in it come at
    the end of a search and are no evidence about its density.
    """
    if progress.highest_id is None or progress.lowest_id is None or not (ids or last):
        return False
    start = int(midnight(progress.window.first).timestamp())
    seconds_per_hit = ((progress.highest_id >> 32) - (progress.lowest_id >> 32)) / max(
        1, sum(progress.offered.values())
    )
    inside = sum(identifier >> 32 >= start for identifier in ids)
    span = (progress.lowest_id >> 32) - max(start, 0 if last else ids[-1] >> 32)
    expected = span / max(1.0, seconds_per_hit)
    return expected >= MIN_SAMPLE_HITS and expected > SPARSE_FACTOR * max(1.0, hits * inside / max(1, len(ids)))


def _skips_hits(ids: Sequence[int], hits: int, progress: SearchProgress) -> bool:
    """Return whether the gap to the page before is so long that hits are missing, by the page's own density too."""
    if (
        progress.highest_id is None
        or progress.lowest_id is None
        or ids[0] >> 32 < midnight(progress.window.first).timestamp()
    ):
        return False
    seconds_per_hit = ((progress.highest_id >> 32) - (progress.lowest_id >> 32)) / max(
        1, sum(progress.offered.values())
    )
    own_seconds_per_hit = ((ids[0] >> 32) - (ids[-1] >> 32)) / max(1, hits)
    gap = (progress.lowest_id >> 32) - (ids[0] >> 32)
    return gap > MIN_SAMPLE_HITS * max(1.0, seconds_per_hit) and gap > GAP_FACTOR * own_seconds_per_hit


def _count_by_day(videos: Sequence[tuple[int, Mapping[str, Any]]]) -> Counter[date]:
    """Return the number of videos per day; a video with an invalid `create_time` counts on the day of its id."""
    days: Counter[date] = Counter()
    by_day_number: Counter[int] = Counter()
    for identifier, row in videos:
        created = row.get("create_time")
        if type(created) is int and 0 <= created < _MAX_SECONDS:
            by_day_number[created // 86400] += 1
        else:
            days[_day(identifier, row)] += 1
    return days + Counter({_EPOCH + timedelta(days=number): count for number, count in by_day_number.items()})


def _day(identifier: int, row: Mapping[str, Any]) -> date:
    try:
        return datetime.fromtimestamp(int(row["create_time"]), UTC).date()
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return upload_time(identifier).date()
