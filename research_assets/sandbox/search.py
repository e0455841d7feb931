"""Cached searches: their ids, how long these are good for, and which hits stand behind them (reference §3.1.3, §7)."""

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from research_assets.sandbox.chance import hash_parts, uniform
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.envelope import invalid
from research_assets.sandbox.query import Query
from research_assets.sandbox.world import World

_KEPT_SEARCHES = 50_000
_KEPT_HITS = 32
_OLD = 240 * 86400  # how much older the time bits of a foreign search are


@dataclass(slots=True)
class CachedSearch:
    """One cached search. `foreign` ones answer continuations from an older search of the same query."""

    id: str
    query: Query
    opened: float  # the moment whose hits it holds, Unix seconds
    expires: float
    usable_from: float
    refusals: int
    serves_foreign_pages: bool
    old: bool = False  # this is the older search itself


class SearchCache:
    """All cached searches of a sandbox."""

    def __init__(self, config: SandboxConfig, world: World) -> None:
        self._config = config
        self._world = world
        self._seed = hash_parts(config.seed, 7)
        self._rng = Random(self._seed)
        self._held: OrderedDict[str, CachedSearch] = OrderedDict()
        self._hits: OrderedDict[tuple[Query, float], array[int]] = OrderedDict()
        self._count = 0

    def open(self, query: Query, at: float) -> CachedSearch:
        """A new search at a moment."""
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
            )
        )

    def returns_empty(self) -> bool:
        """Whether the search opened last finds nothing and says nothing."""
        config = self._config
        return self._count <= config.empty_searches or uniform(self._seed, self._count, 4) < config.p_empty_search

    def resume(self, search_id: object, query: Query, at: float) -> CachedSearch:
        """The search with an id, for the same query. Raises ApiFailure while the id is too fresh, or no longer good."""
        search = self._held.get(search_id) if isinstance(search_id, str) else None
        if search is None or search.query != query or at >= search.expires:
            raise invalid(f"Search Id {search_id} is invalid or expired")
        if search.refusals > 0:
            search.refusals -= 1
            raise invalid(f"Search Id {search_id} is invalid or expired")
        if search.opened <= at < search.usable_from:
            raise invalid(f"Search Id {search_id} is invalid or expired")
        if search.serves_foreign_pages and not search.old:
            search = self._keep(
                CachedSearch(
                    self._new_id(at - _OLD),
                    query,
                    search.opened,
                    search.expires,
                    0.0,
                    0,
                    serves_foreign_pages=True,
                    old=True,
                )
            )
        return search

    def renewed(self, search: CachedSearch, at: float) -> CachedSearch:
        """The search under the id that an answer carries: now and then another one, as good as the first."""
        if self._rng.random() >= self._config.p_new_search_id:
            return search
        return self._keep(
            CachedSearch(
                self._new_id(at),
                search.query,
                search.opened,
                search.expires,
                0.0,
                0,
                search.serves_foreign_pages,
                search.old,
            )
        )

    def hits(self, search: CachedSearch) -> Sequence[int]:
        """The ids of its raw hits, falling; an older search holds about one in six."""
        place = (search.query, search.opened)
        found = self._hits.get(place)
        if found is None:
            # Forgotten hits are found again: the world at that moment has not changed.
            found = self._hits[place] = array("Q", self._world.hits(search.query, search.opened))
            if len(self._hits) > _KEPT_HITS:
                self._hits.popitem(last=False)
        else:
            self._hits.move_to_end(place)
        return [i for i in found if hash_parts(self._seed, i) % 6 == 0] if search.old else found

    def _keep(self, search: CachedSearch) -> CachedSearch:
        self._held[search.id] = search
        if len(self._held) > _KEPT_SEARCHES:
            self._held.popitem(last=False)
        return search

    def _new_id(self, at: float) -> str:
        """Its time bits lie 7 to 37 minutes in the past; searches of the same half hour share them."""
        return str((int(at) // 1800 * 1800 - 420) << 32 | self._rng.getrandbits(32))
