"""Facts of a search page: the days of its videos, the next cursor, and whether the page can be trusted.

The journal stores the facts beside the bytes of the response; `SearchProgress` is rebuilt from them. `answer_facts`
also serves pages of lists.

Not here: the facts that only pages of lists have (see lists/pager.py).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from research_assets.clock import midnight
from research_assets.collect.rejections import NO_USABLE_ROW, rejection_facts
from research_assets.collect.search.progress import ENDLESS, MAX_EMPTY_PAGES, OVERLAP_HITS, SearchProgress
from research_assets.tiktok.client import ResponsePage
from research_assets.tiktok.ids import upload_time, video_id_of

SPARSE_FACTOR = 8
"""Ratio of the earlier density to that of a page from which the page counts as another search's (reference §7 #7). A
lower value would doubt real pages: nights have up to five times fewer videos than evenings."""

GAP_FACTOR = 8
"""Largest gap between two pages, as a multiple of the usual time between two rows from the gap to the page's end."""

MIN_SAMPLE_HITS = 30
"""Expected hits (or rows) of a time span below which missing ones are no evidence."""

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
    # A repeated row is one row, and does not break the order.
    videos = list({identifier: row for row in page.rows if (identifier := video_id_of(row)) is not None}.items())
    ids = [identifier for identifier, _ in videos]
    relocation = progress.relocation
    before = (relocation.cursor if relocation else progress.cursor) or 0
    after, has_more, search_id = page.cursor, page.has_more, page.search_id or progress.search_id
    advance = max(page.offered, (before if after is None else after) - before)
    if has_more and (after is None or after <= before):
        # The cursor counts raw hits, and a page advances it by its max_count; a page without a video advances it by 0.
        after = before + page_size if page.offered else progress.cursor
        advance = max(advance, (after or before) - before)
    if has_more and not ids and not advance and progress.lowest_id is None:
        # Nothing was read, so a fresh search costs no more than this one, whose next page may be another search's.
        after = search_id = None
    place = _place(ids, has_more=has_more, after=after or 0, progress=progress) if relocation else _Place()
    new = [(identifier, row) for identifier, row in videos if not relocation or identifier < (progress.lowest_id or 0)]
    all_days = _count_by_day(videos)
    days = _count_by_day(new) if relocation else all_days
    first, last = progress.window.first, progress.window.last
    n_outside = sum(n for day, n in all_days.items() if not first <= day <= (progress.window.search_last or last))
    offered = min(advance, max(page_size, page.offered))
    return {
        "unit": str(progress.window),
        "partition": None,
        "context": {},
        **answer_facts(page, now),
        "rejected": _rejections_by_day(page, progress),
        "cursor": after,
        "has_more": has_more,
        "search_id": search_id,
        "highest_id": max(ids, default=None),
        "lowest_id": min(ids, default=None),
        "kept": {day.isoformat(): count for day, count in days.items() if first <= day <= last},
        "n_outside_window": n_outside,
        "asked": page_size,
        "has_uppercase_regions": _has_uppercase_regions(page),
        "offered": round(offered * len(new) / len(videos)) if relocation and videos else offered,
        **place._asdict(),
        "distrust_reason": _distrust_reason(
            page, ids, progress, hits=advance, n_outside=n_outside, has_more=has_more, page_size=page_size
        ),
    }


class _Place(NamedTuple):
    """Where a page of a fresh search lies, and the bounds and the cursor of the next one; `place` None: unknown."""

    place: Literal["found", "above", "below"] | None = None
    low: int = 0
    high: int | None = None
    next_cursor: int = 0


def _place(ids: Sequence[int], *, has_more: bool, after: int, progress: SearchProgress) -> _Place:
    """Return where a page of a fresh search lies relative to the lowest id that was read.

    It is found if the page begins at or above that id and reaches it, or if it follows a page that lies above.
    """
    relocation, lowest = progress.relocation, progress.lowest_id
    assert relocation is not None
    assert lowest is not None
    cursor, low, high = relocation.cursor, relocation.low, relocation.high
    name: Literal["above", "below"]
    if not ids and has_more:
        return _Place()
    if ids and (ids[0] >= lowest >= ids[-1] or (ids[0] < lowest and cursor <= low)):
        return _Place("found")
    if ids and ids[-1] > lowest:
        if not has_more:
            return _Place()
        name, low = "above", after
        hits = int(((ids[-1] >> 32) - (lowest >> 32)) / progress.seconds_per_hit)
        guess = after + max(0, hits - OVERLAP_HITS)
    else:
        name, high = "below", cursor
        hits = int(((lowest >> 32) - (ids[0] >> 32)) / progress.seconds_per_hit) if ids else 0
        guess = cursor - OVERLAP_HITS - max(OVERLAP_HITS, hits)
    if guess < low or (high is not None and guess >= high):
        guess = low if high is None else (low + high) // 2
    return _Place(name, low, high, guess)


def _distrust_reason(
    page: ResponsePage,
    ids: Sequence[int],
    progress: SearchProgress,
    *,
    hits: int,
    n_outside: int,
    has_more: bool,
    page_size: int,
) -> str | None:
    """Return the reason why a page does not continue this search (reference §7 #6, #7, #9); None if it does.

    A search id alone is no reason: the API hands out new ones, and some carry an old time (reference §3.1.3). Only
    order, overlap and density show that a page comes from other data. The number of videos may also change for good,
    so density counts only if the page has another search id, or lower-case region codes after upper-case ones.
    """
    if page.offered and not page.rows:
        return NO_USABLE_ROW
    if any(later >= earlier for earlier, later in pairwise(ids)):
        return "the ids of a page do not decrease"
    if n_outside * 2 > len(ids):
        return "most videos of a page are outside the window"
    if hits > max(page_size, page.offered):
        return f"the cursor advanced by {hits} although {page_size} rows were requested"
    if has_more and not ids and progress.n_empty_pages + 1 >= MAX_EMPTY_PAGES:
        return ENDLESS
    if progress.relocation is not None or progress.lowest_id is None:
        return None
    if ids and ids[0] >= progress.lowest_id:
        return "a page starts above the lowest id of the page before it"
    if not has_more and not page.offered and hits <= 0:
        return "the search ended although has_more was true on the page before"
    is_other = page.search_id not in (None, progress.search_id)
    if not is_other and not (progress.has_uppercase_regions and not _has_uppercase_regions(page)):
        return None
    if _is_too_sparse(ids, hits, progress, last=not has_more):
        return f"a page is {SPARSE_FACTOR} times sparser than the pages before it"
    if ids and _skips_rows(ids, progress):
        return "there is a large gap between a page and the page before it"
    return None


def _has_uppercase_regions(page: ResponsePage) -> bool:
    return any(str(row.get("region_code", "")).isupper() for row in page.rows)


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


def _is_too_sparse(ids: Sequence[int], hits: int, progress: SearchProgress, *, last: bool) -> bool:
    """Return whether a page has far fewer hits than expected for its time span from the pages before it.

    The last page spans the rest of the window. Videos that were uploaded before the window and published in it come at
    the end of a search and are no evidence about its density.
    """
    if progress.lowest_id is None or not (ids or last):
        return False
    start = int(midnight(progress.window.first).timestamp())
    inside = sum(identifier >> 32 >= start for identifier in ids)
    span = (progress.lowest_id >> 32) - max(start, 0 if last else ids[-1] >> 32)
    expected = span / progress.seconds_per_hit
    return expected >= MIN_SAMPLE_HITS and expected > SPARSE_FACTOR * max(1.0, hits * inside / max(1, len(ids)))


def _skips_rows(ids: Sequence[int], progress: SearchProgress) -> bool:
    """Return whether the gap to the page before is so long that rows are missing, by the page's own density too.

    It counts rows, not raw hits: of a page of 20 hits with 3 rows, the other 17 may lie in the gap. Videos that were
    uploaded before the window are no evidence, as in `_is_too_sparse`.
    """
    start = int(midnight(progress.window.first).timestamp())
    inside = [identifier for identifier in ids if identifier >> 32 >= start]
    if progress.lowest_id is None or not inside:
        return False
    gap = (progress.lowest_id >> 32) - (inside[0] >> 32)
    end = inside[-1] >> 32 if len(inside) == len(ids) else start
    own_seconds_per_row = ((progress.lowest_id >> 32) - end) / len(inside)
    return gap > MIN_SAMPLE_HITS * progress.seconds_per_row and gap > GAP_FACTOR * own_seconds_per_row


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
