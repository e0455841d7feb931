"""Video ids in batches for the search: so many of them as one request takes, in windows that hold their days. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

from research_assets.collect.id_lists.reader import ListedVideo, upload_time
from research_assets.collect.search.progress import PUBLICATION_LAG
from research_assets.tiktok.requests import MAX_COUNT, MAX_WINDOW_DAYS


@dataclass(frozen=True, slots=True)
class IdBatch:
    """Ids asked together, and the UTC days, both included, in which they may have been published."""

    ids: tuple[int, ...]
    first: date
    last: date

    def __str__(self) -> str:
        """The batch as people write it."""
        return f"{len(self.ids)} ids of {self.first}..{self.last}"


def batch_ids(listed: Iterable[ListedVideo], today: date, *, window_days: int = MAX_WINDOW_DAYS) -> list[IdBatch]:
    """The fewest batches that ask for all: in the order of their days, each as full as its window allows.

    A batch has no more ids than one page takes (reference §8, how to verify cheaply).
    """
    spans = sorted((*_span(one, today), one.id) for one in listed)
    found: list[IdBatch] = []
    for first, last, identifier in spans:
        open_ = found[-1] if found else None
        if open_ and len(open_.ids) < MAX_COUNT and (max(last, open_.last) - open_.first).days < window_days:
            found[-1] = replace(open_, ids=(*open_.ids, identifier), last=max(last, open_.last))
        else:
            found.append(IdBatch((identifier,), first, last))
    return found


def split_batch(batch: IdBatch, listed: Mapping[int, ListedVideo], today: date) -> Iterator[IdBatch]:
    """A batch that was not answered in two, by days; nothing if all its ids are of one day, which then is at fault."""
    by_day = {identifier: _span(listed[identifier], today)[0] for identifier in batch.ids}
    days = sorted(set(by_day.values()))
    if len(days) < 2:
        return
    middle = days[len(days) // 2]
    for late in (False, True):
        yield from batch_ids((listed[one] for one in batch.ids if (by_day[one] >= middle) is late), today)


def _span(one: ListedVideo, today: date) -> tuple[date, date]:
    """The days in which a video may have been published: the one that is told, or those that its id leaves open."""
    up = upload_time(one.id)
    earliest, latest = up.date(), (up + PUBLICATION_LAG).date()
    if one.day is not None and earliest <= one.day <= latest + timedelta(days=1):
        return one.day, one.day
    return earliest, max(earliest, min(latest, today))
