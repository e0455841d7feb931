"""The values of the agenda: what it looks at, and what it says. Plain data; the decision is in `agenda.py`."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

from research_assets.collect.estimate import NO_COST, Basis, Estimate, estimate_search
from research_assets.collect.spec import StudySpec
from research_assets.quota import PoolState
from research_assets.tiktok.requests import MAX_COUNT, MAX_WINDOW_DAYS

Why = Literal[
    "settled", "reobserve", "retry", "accounts", "canary", "show", "goes_on", "new", "last_day", "period", "backfill"
]
"""Why work is asked for now; `MEANING` says it in words."""

MEANING: Mapping[Why, str] = {
    "settled": "days that have just settled",
    "reobserve": "days that have reached an age at which they are asked again",
    "retry": "units whose next try has come",
    "accounts": "accounts that no search was answered for, whose next try has come",
    "canary": "videos known from before that are looked for again",
    "show": "held, but not yet shown as materialized",
    "goes_on": "begun before, and paused",
    "new": "comments of days that have just settled",
    "last_day": "accounts of a period that ends today",
    "period": "accounts of the running period",
    "backfill": "earlier days",
}
RANK: Mapping[Why, int] = {
    "settled": 0,
    "reobserve": 0,
    "retry": 0,
    "accounts": 0,
    "canary": 0,
    "show": 0,
    "goes_on": 1,
    "new": 1,
    "last_day": 0,
    "period": 1,
    "backfill": 2,
}
"""What comes first."""

BESIDE_THE_SEARCH: Set[Why] = frozenset({"show", "accounts"})
"""What is no search over whole days: to show what is held, and to ask accounts that were missing."""

Key = tuple[str, str]
"""A study's name and an entity."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one partition stands. `open` units can be asked now, `resting` ones from `wakes` on.

    `looked_at` is when all of it was seen complete, `tried` says that what is open failed before, `begun` that a pause
    interrupted it, `shown` that the UI has it as materialized, `lacks` that a day is held but for accounts that can be
    tried again. `estimate` is for the open units.
    """

    open: int = 0
    resting: int = 0
    wakes: datetime | None = None
    looked_at: datetime | None = None
    tried: bool = False
    begun: bool = False
    shown: bool = True
    lacks: bool = False
    estimate: Estimate = NO_COST


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the decision looks at.

    `standings` by study and entity: for videos a day that is not in it was never asked, for everything else it is
    nothing to ask. `density` are raw hits of held days by study, `used` today's requests by pool and study, `running`
    the requests that active runs are expected to need, `halted` until when nothing is begun after runs in vain. `parts`
    says in how many parts a study's search is asked, where its query names more accounts than go into one, `canaries`
    names the day whose known videos a study is to look for now, `called` when it last looked for any.
    """

    studies: Sequence[StudySpec]
    standings: Mapping[Key, Mapping[date, Standing]]
    density: Mapping[str, Mapping[date, float]]
    pools: Mapping[str, PoolState]
    used: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    running: Mapping[Key, int] = field(default_factory=dict)
    halted: Mapping[Key, datetime] = field(default_factory=dict)
    due_reserve: int = 0
    page_size: int = MAX_COUNT
    window_days: int = MAX_WINDOW_DAYS
    parts: Mapping[str, int] = field(default_factory=dict)
    canaries: Mapping[str, date] = field(default_factory=dict)
    called: Mapping[str, datetime] = field(default_factory=dict)

    def search_cost(self, study: str, days: Sequence[date]) -> Estimate:
        """What a search over some days of a study will cost."""
        density, parts = self.density.get(study, {}), self.parts.get(study, 1)
        return estimate_search(days, density, page_size=self.page_size, window_days=self.window_days, parts=parts)


@dataclass(frozen=True, slots=True)
class Item:
    """Neighbouring partitions of one entity to ask in one run. `units` are open in them, `requests` fit the pool.

    `part` says that the whole is more than a day's quota: what fits is done, the rest follows.
    """

    study: str
    entity: str
    partitions: tuple[date, ...]
    again: bool
    why: tuple[Why, ...]
    units: int
    requests: int
    basis: Basis
    part: bool = False

    @property
    def rank(self) -> int:
        """The rank of what is most urgent in it."""
        return min(RANK[why] for why in self.why)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Units that are not asked now, and until when.

    `quota` (no request is left for them), `rests` (they failed, or paused), `fresh` (the day has not settled),
    `running` (a run is at it), `in vain` (runs of late changed nothing).
    """

    study: str
    entity: str
    units: int
    why: Literal["quota", "rests", "fresh", "running", "in vain"]
    until: datetime | None
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Agenda:
    """Work in order of its worth, what waits, and what each study wants of each pool, in requests."""

    items: tuple[Item, ...]
    waiting: tuple[Waiting, ...]
    wants: Mapping[tuple[str, str], int]
