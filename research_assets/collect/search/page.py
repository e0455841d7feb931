"""What a page of a search means: which days its videos are of, where the search goes on, whether it can be believed.

The facts of a page are all that the journal keeps beside its bytes; `window.py` folds them into a trail. What is the
same for pages of lists is here too, the rest of theirs in `visit.py`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from research_assets.clock import midnight
from research_assets.tiktok.client import ResponsePage

if TYPE_CHECKING:
    from research_assets.collect.search.progress import SearchProgress
from research_assets.tiktok.ids import upload_time, video_id_of

STALE_SEARCH_AGE = timedelta(days=1)
"""A search id whose time bits fall back by more than this belongs to another, older search (reference §7 #6)."""

MAX_EMPTY_PAGES = 5
"""Pages in a row without anything new after which `has_more` is no longer believed (reference §7 #9, #31)."""

SPARSE_FACTOR = 8
"""How much sparser than before a page in lower case must be to count as another search's (reference §7 #7): nights
are up to five times quieter than evenings."""

GAP_FACTOR = 8
"""How many of a page's usual distances between hits may lie between it and the page before."""

MIN_SAMPLE_HITS = 30
"""Hits that must be expected of a stretch of time before their lack says anything."""


_EPOCH, _MAX_SECONDS = date(1970, 1, 1), 2**33


def answer_facts(answer: ResponsePage, now: datetime) -> dict[str, Any]:
    """What the journal keeps about any page: what was asked, when, and what the answer says of itself."""
    return {
        "request": answer.request.to_dict,
        "observed_at": now,
        "status": answer.status,
        "log_id": answer.log_id,
        "rows": len(answer.rows),
        "cursor": answer.cursor,
        "has_more": answer.has_more,
        "search_id": answer.search_id,
        "unknown": sorted(answer.unknown),
    }


def page_facts(answer: ResponsePage, progress: "SearchProgress", now: datetime, page_size: int) -> dict[str, Any]:
    """What the journal keeps about a page of a search: enough to fold the trail without reading its bytes again."""
    found = [(identifier, row) for row in answer.rows if (identifier := video_id_of(row)) is not None]
    ids = [identifier for identifier, _ in found]
    days = _count_by_day(found)
    before = progress.cursor or 0
    after, has_more = answer.cursor, answer.has_more
    if progress.pages and not has_more and not answer.rows and (after or 0) < before:
        # The page before promised more, and this one, shaped like the answer of a search without a hit, takes it back.
        has_more = True
    if has_more and (after is None or after <= before):
        # The cursor counts raw hits, of which a page takes as many as were asked for; a page without any took none.
        after = before + page_size if ids else progress.cursor
    advance = max(len(answer.rows), (after or before) - before)
    upper = any(str(row.get("region_code", "")).isupper() for row in answer.rows)
    inside = {day: count for day, count in days.items() if progress.window.first <= day <= progress.window.last}
    strays = len(ids) - sum(inside.values())
    return {
        "unit": str(progress.window),
        "partition": None,
        "context": {},
        **answer_facts(answer, now),
        "cursor": after,
        "has_more": has_more,
        "search_id": answer.search_id or progress.search_id,
        "highest_id": max(ids, default=None),
        "lowest_id": min(ids, default=None),
        "by_day": {day.isoformat(): count for day, count in inside.items()},
        "n_outside_window": strays,
        "asked": page_size,
        "offered": min(advance, max(page_size, len(answer.rows))),
        "has_uppercase_regions": upper,
        "distrust_reason": _distrust_reason(
            answer, ids, progress, upper=upper, hits=advance, strays=strays, more=has_more, size=page_size
        ),
    }


def _distrust_reason(
    answer: ResponsePage,
    ids: Sequence[int],
    progress: "SearchProgress",
    *,
    upper: bool,
    hits: int,
    strays: int,
    more: bool,
    size: int,
) -> str | None:
    """Why a page cannot be trusted to continue this search (reference §7 #6, #7, #9), if it cannot."""
    if len(ids) < len(answer.rows):
        return "a page holds a row without an id"
    if any(later >= earlier for earlier, later in pairwise(ids)):
        return "the ids of a page do not fall"
    if progress.lowest_id is not None and ids and ids[0] >= progress.lowest_id:
        return "a page reaches above the page before it"
    if strays * 2 > len(ids):
        return "most videos of a page are of days that were not asked for"
    if hits > max(size, len(answer.rows)):
        return f"the cursor moves by {hits} where {size} were asked for"
    if _is_older_search(answer.search_id, progress.search_id):
        return "the search was replaced by an older one"
    if progress.has_uppercase_regions and not upper and _is_too_sparse(ids, hits, progress, last=not more):
        return f"a page comes from other data: no region code as before, and {SPARSE_FACTOR} times sparser"
    if progress.has_uppercase_regions and ids and not upper and _skips_hits(ids, hits, progress):
        return "a page comes from other data: no region code as before, and it begins far below the page before it"
    if (
        progress.pages
        and not answer.has_more
        and not answer.rows
        and answer.search_id not in (None, progress.search_id)
    ):
        return "the search ended under another id where more was promised"
    if more and not ids and progress.n_empty_pages + 1 >= MAX_EMPTY_PAGES:
        return f"{MAX_EMPTY_PAGES} empty pages in a row where more were promised"
    return None


def _is_older_search(search_id: str | None, before: str | None) -> bool:
    now, then = (upload_time(int(text)) if text and text.isdecimal() else None for text in (search_id, before))
    return now is not None and then is not None and then - now > STALE_SEARCH_AGE


def _is_too_sparse(ids: Sequence[int], hits: int, progress: "SearchProgress", *, last: bool) -> bool:
    """Whether a page has far fewer hits than the pages before it let expect of the time that it spans.

    The last page spans all that is left of the window. Videos uploaded before the window and published in it come at
    the very end of a search and say nothing about its density.
    """
    if progress.highest_id is None or progress.lowest_id is None or not (ids or last):
        return False
    begin = int(midnight(progress.window.first).timestamp())
    seconds_a_hit = ((progress.highest_id >> 32) - (progress.lowest_id >> 32)) / max(1, sum(progress.offered.values()))
    inside = sum(identifier >> 32 >= begin for identifier in ids)
    span = (progress.lowest_id >> 32) - max(begin, 0 if last else ids[-1] >> 32)
    expected = span / max(1.0, seconds_a_hit)
    return expected >= MIN_SAMPLE_HITS and expected > SPARSE_FACTOR * max(1.0, hits * inside / max(1, len(ids)))


def _skips_hits(ids: Sequence[int], hits: int, progress: "SearchProgress") -> bool:
    """Whether a page begins so far below the one before it that hits must lie between, by its own density too."""
    if (
        progress.highest_id is None
        or progress.lowest_id is None
        or ids[0] >> 32 < midnight(progress.window.first).timestamp()
    ):
        return False
    seconds_a_hit = ((progress.highest_id >> 32) - (progress.lowest_id >> 32)) / max(1, sum(progress.offered.values()))
    inside = ((ids[0] >> 32) - (ids[-1] >> 32)) / max(1, hits)
    gap = (progress.lowest_id >> 32) - (ids[0] >> 32)
    return gap > MIN_SAMPLE_HITS * max(1.0, seconds_a_hit) and gap > GAP_FACTOR * inside


def _count_by_day(found: Sequence[tuple[int, Mapping[str, Any]]]) -> Counter[date]:
    """How many videos of a page are of which day; one whose `create_time` cannot be read is of its id's day."""
    days: Counter[date] = Counter()
    by_number: Counter[int] = Counter()
    for identifier, row in found:
        created = row.get("create_time")
        if type(created) is int and 0 <= created < _MAX_SECONDS:
            by_number[created // 86400] += 1
        else:
            days[_day(identifier, row)] += 1
    return days + Counter({_EPOCH + timedelta(days=number): count for number, count in by_number.items()})


def _day(identifier: int, row: Mapping[str, Any]) -> date:
    try:
        return datetime.fromtimestamp(int(row["create_time"]), UTC).date()
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return upload_time(identifier).date()
