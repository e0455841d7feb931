"""Batches of video ids for the search: as many as one request takes, in windows that contain their days.

Pure functions. Not here: requesting a batch (see run.py).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

from research_assets.collect.id_lists.reader import ListedVideo
from research_assets.collect.search.progress import PUBLICATION_LAG
from research_assets.tiktok.ids import upload_time
from research_assets.tiktok.requests import MAX_COUNT, MAX_WINDOW_DAYS


@dataclass(frozen=True, slots=True)
class IdBatch:
    """Ids of one request, and the UTC days, both included, on which they may have been published."""

    ids: tuple[int, ...]
    first: date
    last: date

    def __str__(self) -> str:
        """Return the batch as text, such as `87 ids of 2026-02-01..2026-02-28`."""
        return f"{len(self.ids)} ids of {self.first}..{self.last}"


def batch_ids(listed: Iterable[ListedVideo], today: date, *, window_days: int = MAX_WINDOW_DAYS) -> list[IdBatch]:
    """Return the fewest batches that cover all ids, in the order of their days, each as full as its window allows.

    A batch has at most as many ids as one page takes (reference §8, how to verify cheaply).
    """
    spans = sorted((*_span(one, today), one.id) for one in listed)
    batches: list[IdBatch] = []
    for first, last, identifier in spans:
        current = batches[-1] if batches else None
        if current and len(current.ids) < MAX_COUNT and (max(last, current.last) - current.first).days < window_days:
            batches[-1] = replace(current, ids=(*current.ids, identifier), last=max(last, current.last))
        else:
            batches.append(IdBatch((identifier,), first, last))
    return batches


def split_batch(batch: IdBatch, listed: Mapping[int, ListedVideo], today: date) -> Iterator[IdBatch]:
    """Split a failed batch in two by days; yield nothing if all its ids are of one day, which then is the cause."""
    by_day = {identifier: _span(listed[identifier], today)[0] for identifier in batch.ids}
    days = sorted(set(by_day.values()))
    if len(days) < 2:
        return
    middle = days[len(days) // 2]
    for late in (False, True):
        yield from batch_ids((listed[one] for one in batch.ids if (by_day[one] >= middle) is late), today)


def _span(one: ListedVideo, today: date) -> tuple[date, date]:
    """Return the first and last day on which a video may have been published: the listed day, or those of its id."""
    uploaded_at = upload_time(one.id)
    earliest, latest = uploaded_at.date(), (uploaded_at + PUBLICATION_LAG).date()
    if one.day is not None and earliest <= one.day <= latest + timedelta(days=1):
        return one.day, one.day
    return earliest, max(earliest, min(latest, today))
