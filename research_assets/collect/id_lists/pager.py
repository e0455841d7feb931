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

_MAX_PAGES = 5
"""Limit on the pages of a batch; one page takes all its ids."""


@dataclass(slots=True)
class BatchPager:
    """Pager of one batch: `found` are its ids that the API returned so far. `fields` are all if it is None."""

    batch: IdBatch
    fields: tuple[str, ...] | None
    clock: Clock
    found: set[int] = field(default_factory=set)
    n_pages: int = 0
    page: ResponsePage | None = None

    def next_request(self) -> Request | None:
        """Return the next request; None once all ids are found, at the end, and after `_MAX_PAGES`."""
        batch, page = self.batch, self.page
        if page is not None and (
            not page.has_more or len(self.found) == len(batch.ids) or self.n_pages % _MAX_PAGES == 0
        ):
            return None
        condition = {"operation": "IN", "field_name": "video_id", "field_values": [str(one) for one in batch.ids]}
        return video_query(
            {"and": (condition,)},
            batch.first,
            batch.last,
            fields=self.fields,
            cursor=page.cursor if page else None,
            search_id=page.search_id if page else None,
        )

    def page_facts(self, page: ResponsePage) -> dict[str, Any]:
        """Return the facts of a page."""
        self.add(page)
        facts = answer_facts(page, self.clock.now())
        return {"unit": str(self.batch), "partition": None, "context": {}, **facts}

    def add(self, page: ResponsePage) -> None:
        """Note the ids of a page, and its position for the next request."""
        self.page, self.n_pages = page, self.n_pages + 1
        self.found |= {one for row in page.rows if (one := video_id_of(row)) is not None} & set(self.batch.ids)

    async def find(self, read: Callable[["BatchPager"], Awaitable[None]]) -> set[int]:
        """Return the ids that the API returns; `read` requests the pages until there is no next request.

        An empty response may be wrong (reference §7 #10), so a second request checks it.
        """
        for _ in range(2):
            await read(self)
            if self.found or len(self.batch.ids) == 1:
                break
            self.page = None
        return self.found

    def max_attempts(self, error: RetryableError) -> int | None:
        """Return 1 for a batch that can be split, else 3; None for rate limiting, which is waited for."""
        if isinstance(error, RateLimited):
            return None
        return 1 if self.batch.first < self.batch.last else 3
