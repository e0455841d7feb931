"""The video search: `/v2/research/video/query/`, its cached searches and its pages (reference §3.1, §3.1.3, §7).

A cached search is a query with a search id, an expiry time and a snapshot of its hits.

Not here: the check of a query (see query.py).
"""

import re
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

import orjson

from research_assets.sandbox.api_call import ApiCall
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.faults import Faults, server_error
from research_assets.sandbox.query import Query, parse
from research_assets.sandbox.responses import ApiResponse, ResponseBuilder, invalid
from research_assets.sandbox.world.randomness import hash_parts, uniform
from research_assets.sandbox.world.world import World

_MAX_SEARCHES = 50_000
_MAX_HIT_LISTS = 32
_OLD_AGE = 240 * 86400  # seconds by which the time bits of an old id are older (reference §7 #6)


@dataclass(slots=True)
class CachedSearch:
    """One cached search. Times are Unix seconds.

    If `serves_foreign_pages` is set, continuation pages come from an older search of the same query. The ids that
    replace one another share one set of `cursors`.
    """

    id: str
    query: Query
    opened: float  # its hits are those of this time
    expires: float
    usable_from: float
    refusals: int  # continuations that are still refused
    serves_foreign_pages: bool
    old: bool = False  # this is the older search itself
    withdrawn: int = 0  # videos that a test had withdrawn when it was opened
    cursors: set[int] = field(default_factory=lambda: {0})  # handed out so far, by any of its ids


class SearchCache:
    """The cached searches of a sandbox."""

    def __init__(self, config: SandboxConfig, world: World) -> None:
        self._config = config
        self._world = world
        self._seed = hash_parts(config.seed, 7)
        self._rng = Random(self._seed)
        self._searches: OrderedDict[str, CachedSearch] = OrderedDict()
        self._hits: OrderedDict[tuple[Query, float, int], array[int]] = OrderedDict()
        self._count = 0

    def open(self, query: Query, at: float) -> CachedSearch:
        """Open a new search at `at` (Unix seconds)."""
        self._count += 1
        config, number = self._config, self._count
        delay = (
            3 + 7 * uniform(self._seed, number, 1) if uniform(self._seed, number, 2) < config.p_fresh_search_id else 0.0
        )
        foreign = number <= config.foreign_page_searches or uniform(self._seed, number, 3) < config.p_foreign_page
        return self._keep(
            CachedSearch(
                self._new_id(at),
                query,
                at,
                at + config.search_lifetime,
                at + delay,
                config.fresh_search_id_refusals,
                foreign,
                withdrawn=len(self._world.withdrawn),
            )
        )

    def returns_empty(self) -> bool:
        """Return whether the newest search returns no hits and no error."""
        config = self._config
        return self._count <= config.empty_searches or uniform(self._seed, self._count, 4) < config.p_empty_search

    def resume(self, search_id: object, query: Query, at: float) -> CachedSearch:
        """Return the search with an id and the same query.

        Raises ApiFailure if the id is unknown, too fresh or expired.
        """
        search = self._searches.get(search_id) if isinstance(search_id, str) else None
        if search is None or search.query != query or at >= search.expires:
            raise invalid(f"Search Id {search_id} is invalid or expired")
        if search.refusals > 0:
            search.refusals -= 1
            raise invalid(f"Search Id {search_id} is invalid or expired")
        if search.opened <= at < search.usable_from:
            raise invalid(f"Search Id {search_id} is invalid or expired")
        if search.serves_foreign_pages and not search.old:
            self._forget_replaced(search)
            search = self._keep(
                CachedSearch(
                    self._new_id(at - _OLD_AGE),
                    query,
                    search.opened,
                    search.expires,
                    0.0,
                    0,
                    serves_foreign_pages=True,
                    old=True,
                    withdrawn=search.withdrawn,
                    cursors=search.cursors,
                )
            )
        return search

    def renewed(self, search: CachedSearch, at: float, *, continues: bool) -> CachedSearch:
        """Return the search whose id the answer contains: usually the same, sometimes an equivalent with another id.

        On pages that continue a search, the time bits of the other id may be months old although its hits are not.
        """
        config = self._config
        if continues and config.p_old_search_id and self._rng.random() < config.p_old_search_id:
            new_id = self._new_id(at - _OLD_AGE)
        elif self._rng.random() < config.p_new_search_id:
            new_id = self._new_id(at)
        else:
            return search
        self._forget_replaced(search)
        return self._keep(replace(search, id=new_id, usable_from=0.0, refusals=0))

    def hits(self, search: CachedSearch) -> Sequence[int]:
        """Return the ids of the raw hits in descending order; an older search has about one in six of them."""
        key = (search.query, search.opened, search.withdrawn)
        found = self._hits.get(key)
        if found is None:
            # Evicted hits can be recomputed: the world at a past time does not change, unless a test withdraws videos.
            found = self._hits[key] = array("Q", self._world.hits(search.query, search.opened))
            if len(self._hits) > _MAX_HIT_LISTS:
                self._hits.popitem(last=False)
        else:
            self._hits.move_to_end(key)
        return [i for i in found if hash_parts(self._seed, i) % 6 == 0] if search.old else found

    def _keep(self, search: CachedSearch) -> CachedSearch:
        self._searches[search.id] = search
        if len(self._searches) > _MAX_SEARCHES:
            self._searches.popitem(last=False)
        return search

    def _forget_replaced(self, search: CachedSearch) -> None:
        """Forget an id that an answer replaces by another, if only the newest id works."""
        if self._config.only_newest_search_id:
            self._searches.pop(search.id, None)

    def _new_id(self, at: float) -> str:
        """Return an id whose time bits are 7 to 37 minutes old; searches of the same half hour share them."""
        return str((int(at) // 1800 * 1800 - 420) << 32 | self._rng.getrandbits(32))


_REGION = re.compile(rb'"region_code":"[A-Z]{2}"')


class SearchEndpoint:
    """The endpoint of the video search."""

    def __init__(self, config: SandboxConfig, world: World, faults: Faults, responses: ResponseBuilder) -> None:
        self._config = config
        self._world = world
        self._faults = faults
        self._responses = responses
        self._searches = SearchCache(config, world)
        self._rng = Random(hash_parts(config.seed, 10))

    def __call__(self, call: ApiCall) -> ApiResponse:
        """Return one page."""
        query = parse(call.body, self._config)
        size, cursor = call.count(20), call.integer("cursor", 0)
        is_random = call.body.get("is_random") or False
        if not isinstance(is_random, bool):
            raise invalid("is_random must be true or false")
        if any(query.start <= day <= query.end for day in self._config.dead_days):
            raise server_error(self._faults.calls)
        if is_random:
            return self._random(call, query, size)
        search_id, at = call.body.get("search_id"), call.at
        if cursor and not search_id and self._config.refuse_jumps:
            raise invalid("Invalid count or cursor")
        search = self._searches.resume(search_id, query, at) if search_id else self._searches.open(query, at)
        if self._config.refuse_jumps and cursor not in search.cursors:
            raise invalid("Invalid count or cursor")
        if not search_id and self._searches.returns_empty():
            return self._empty_page(call)
        hits = self._searches.hits(search)
        if not hits and not search.old:
            return self._empty_page(call)
        if cursor > len(hits) and not search.old:
            raise invalid("Invalid count or cursor")
        # An older search is sparser, and its page overlaps the previous page (reference §7 #7).
        first = cursor // 2 if search.old else cursor
        page = hits[first : first + size]
        after, has_more = cursor + len(page), first + len(page) < len(hits)
        search.cursors.add(after)
        fault = self._faults.page() if has_more else None
        if fault == "empty_page":
            page, after = page[:0], cursor
        elif fault == "stuck_cursor":
            after = cursor
        found = self._world.render(self._world.deliverable(page, at), call.fields, at)
        videos = b"[%s]" % b",".join(found)
        if search.old or (search_id and self._config.lower_case_regions):
            videos = _REGION.sub(lambda match: b'"region_code":"' + match[0][15:].lower(), videos)
        data = {
            "videos": videos,
            "cursor": b"%d" % after,
            "has_more": b"true" if has_more else b"false",
            "search_id": b'"%s"' % self._searches.renewed(search, at, continues=bool(search_id)).id.encode(),
        }
        if fault == "no_cursor":
            del data["cursor"]
        return ApiResponse(200, self._responses.success(data, call.now), rows=len(found))

    def _random(self, call: ApiCall, query: Query, size: int) -> ApiResponse:
        search = self._searches.open(query, call.at)
        hits = self._searches.hits(search)
        if not hits:
            return self._empty_page(call)
        indexes = self._rng.sample(range(len(hits)), min(size, len(hits)))
        page = [hits[index] for index in indexes]
        found = self._world.render(self._world.deliverable(page, call.at), call.fields, call.at)
        data = {
            "videos": b"[%s]" % b",".join(found),
            "cursor": b"%d" % len(page),
            "has_more": b"false",
            "search_id": orjson.dumps(search.id),
        }
        return ApiResponse(200, self._responses.success(data, call.now), rows=len(found))

    def _empty_page(self, call: ApiCall) -> ApiResponse:
        """Return a page without hits. It has no search id; the empty list may be absent too, as configured."""
        data = {"cursor": b"0", "has_more": b"false"}
        if self._config.empty_keys or self._rng.random() < 0.5:
            data["videos"] = b"[]"
        return ApiResponse(200, self._responses.success(data, call.now))
