"""Paging through the search for one batch of video ids, for id lists and for the verification of stored videos.

Not here: which ids are in a batch (see batches.py), sending and storing the pages (see run.py).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from research_assets.clock import Clock
from research_assets.collect.id_lists.batches import IdBatch
from research_assets.collect.search.page import answer_facts
from research_assets.tiktok.errors import RateLimited, RetryableError
from research_assets.tiktok.ids import video_id_of
from research_assets.tiktok.pages import ResponsePage
from research_assets.tiktok.requests import Request, video_query

_MAX_PAGES_WITHOUT_NEWS = 5
"""Limit on consecutive pages without a new id of the batch; one page takes all its ids."""


@dataclass(slots=True)
class BatchPager:
    """Pager of one batch: `found` are its ids that the API returned so far. `fields` are all if it is None.

    `n_unusable` is the number of elements without a usable id.
    """

    batch: IdBatch
    fields: tuple[str, ...] | None
    clock: Clock
    found: set[int] = field(default_factory=set)
    n_unusable: int = 0
    page: ResponsePage | None = None
    _search_id: str | None = None
    _n_pages_without_news: int = 0

    @property
    def has_all(self) -> bool:
        """Return whether all ids are found."""
        return len(self.found) == len(self.batch.ids)

    @property
    def doubt(self) -> str | None:
        """Return why the ids that were not found may exist all the same; None if the answers show that they do not."""
        if self.has_all or self.page is None:
            return None
        if self.n_unusable:
            return f"The API returned {self.n_unusable} element(s) without a usable id"
        if self.page.has_more:
            return f"{_MAX_PAGES_WITHOUT_NEWS} pages in a row had no further video although has_more was true"
        return None

    def next_request(self) -> Request | None:
        """Return the next request; None once all ids are found, at the end, and after pages without a new id."""
        batch, page = self.batch, self.page
        if page is not None and (
            not page.has_more or self.has_all or self._n_pages_without_news >= _MAX_PAGES_WITHOUT_NEWS
        ):
            return None
        condition = {"operation": "IN", "field_name": "video_id", "field_values": [str(one) for one in batch.ids]}
        return video_query(
            {"and": (condition,)},
            batch.first,
            batch.last,
            fields=self.fields,
            cursor=page.cursor if page else None,
            search_id=self._search_id,
        )

    def page_facts(self, page: ResponsePage) -> dict[str, Any]:
        """Return the facts of a page."""
        self.add(page)
        facts = answer_facts(page, self.clock.now())
        return {"unit": str(self.batch), "partition": None, "context": {}, **facts}

    def add(self, page: ResponsePage) -> None:
        """Note the ids of a page, and its position for the next request."""
        n_before = len(self.found)
        self.found |= {one for row in page.rows if (one := video_id_of(row)) is not None} & set(self.batch.ids)
        self.n_unusable += page.offered - len(page.rows)
        self._n_pages_without_news = 0 if len(self.found) > n_before else self._n_pages_without_news + 1
        self.page, self._search_id = page, page.search_id or self._search_id

    async def find(self, read: Callable[["BatchPager"], Awaitable[None]]) -> set[int]:
        """Return the ids that the API returns; `read` requests the pages until there is no next request.

        An empty response may be wrong (reference §7 #10), so a second request checks it.
        """
        for _ in range(2):
            self._begin()
            await read(self)
            if self.found:
                break
        return self.found

    def _begin(self) -> None:
        self.page = self._search_id = None
        self.n_unusable = self._n_pages_without_news = 0

    def max_attempts(self, error: RetryableError) -> int | None:
        """Return 1 for a batch that can be split, else 3; None for rate limiting, which is waited for."""
        if isinstance(error, RateLimited):
            return None
        return 1 if self.batch.first < self.batch.last else 3
