"""`/v2/research/video/query/`: search, pages, and all that is peculiar about them (reference §3.1, §7)."""

import re
from random import Random

import orjson

from research_assets.sandbox.call import ApiCall
from research_assets.sandbox.chance import hash_parts
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.envelope import ApiResponse, ResponseBuilder, invalid
from research_assets.sandbox.faults import Faults, server_error
from research_assets.sandbox.query import Query, parse
from research_assets.sandbox.search import SearchCache
from research_assets.sandbox.world import World

_REGION = re.compile(rb'"region_code":"[A-Z]{2}"')


class SearchEndpoint:
    """The endpoint."""

    def __init__(self, config: SandboxConfig, world: World, faults: Faults, envelopes: ResponseBuilder) -> None:
        self._config = config
        self._world = world
        self._faults = faults
        self._envelopes = envelopes
        self._searches = SearchCache(config, world)
        self._rng = Random(hash_parts(config.seed, 10))

    def __call__(self, call: ApiCall) -> ApiResponse:
        """Answer one page."""
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
        search = self._searches.resume(search_id, query, at) if search_id else self._searches.open(query, at)
        if not search_id and self._searches.returns_empty():
            return self._empty_page(call)
        hits = self._searches.hits(search)
        if not hits and not search.old:
            return self._empty_page(call)
        if cursor > len(hits) and not search.old:
            raise invalid("Invalid count or cursor")
        # An older search is sparser, and what it holds overlaps the page before (reference §7 #7).
        first = cursor // 2 if search.old else cursor
        page = hits[first : first + size]
        after, has_more = cursor + len(page), first + len(page) < len(hits)
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
            "search_id": b'"%s"' % self._searches.renewed(search, at).id.encode(),
        }
        if fault == "no_cursor":
            del data["cursor"]
        return ApiResponse(200, self._envelopes.success(data, call.now), rows=len(found))

    def _random(self, call: ApiCall, query: Query, size: int) -> ApiResponse:
        search = self._searches.open(query, call.at)
        hits = self._searches.hits(search)
        if not hits:
            return self._empty_page(call)
        drawn = self._rng.sample(range(len(hits)), min(size, len(hits)))
        page = [hits[place] for place in drawn]
        found = self._world.render(self._world.deliverable(page, call.at), call.fields, call.at)
        data = {
            "videos": b"[%s]" % b",".join(found),
            "cursor": b"%d" % len(page),
            "has_more": b"false",
            "search_id": orjson.dumps(search.id),
        }
        return ApiResponse(200, self._envelopes.success(data, call.now), rows=len(found))

    def _empty_page(self, call: ApiCall) -> ApiResponse:
        """No hits: no search id, and the empty list may be missing too."""
        data = {"cursor": b"0", "has_more": b"false"} | ({"videos": b"[]"} if self._rng.random() < 0.5 else {})
        return ApiResponse(200, self._envelopes.success(data, call.now))
