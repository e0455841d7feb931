"""The values of the agenda: what it looks at, and what it says. Plain data; the decision is in `agenda.py`."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

from research_assets.quota.ledger import PoolState
from research_assets.study.spec import StudySpec
from research_assets.tiktok.requests import MAX_COUNT, MAX_WINDOW_DAYS
from research_assets.units.estimates import Basis, Estimate, estimate_search
from research_assets.units.partition_status import PartitionStatus

RunReason = Literal[
    "settled",
    "reobserve",
    "retry",
    "missing_accounts",
    "canary",
    "mark_materialized",
    "resume",
    "new_comments",
    "period_ending",
    "period",
    "backfill",
]
"""Why work is asked for now; `MEANING` says it in words."""

REASON_TEXT: Mapping[RunReason, str] = {
    "settled": "days that have just settled",
    "reobserve": "days that have reached an age at which they are asked again",
    "retry": "units whose next try has come",
    "missing_accounts": "accounts that no search was answered for, whose next try has come",
    "canary": "videos known from before that are looked for again",
    "mark_materialized": "held, but not yet shown as materialized",
    "resume": "begun before, and paused",
    "new_comments": "comments of days that have just settled",
    "period_ending": "accounts of a period that ends today",
    "period": "accounts of the running period",
    "backfill": "earlier days",
}
PRIORITY: Mapping[RunReason, int] = {
    "settled": 0,
    "reobserve": 0,
    "retry": 0,
    "missing_accounts": 0,
    "canary": 0,
    "mark_materialized": 0,
    "resume": 1,
    "new_comments": 1,
    "period_ending": 0,
    "period": 1,
    "backfill": 2,
}
"""What comes first."""

NOT_A_DAY_SEARCH: Set[RunReason] = frozenset({"mark_materialized", "missing_accounts"})
"""What is no search over whole days: to show what is held, and to ask accounts that were missing."""

StudyEntity = tuple[str, str]
"""A study's name and an entity."""


@dataclass(frozen=True, slots=True)
class AgendaInputs:
    """All that the decision looks at.

    `standings` by study and entity: for videos a day that is not in it was never asked, for everything else it is
    nothing to ask. `density` are raw hits of held days by study, `used` today's requests by pool and study, `running`
    the requests that active runs are expected to need, `halted` until when nothing is begun after runs in vain. `parts`
    says in how many parts a study's search is asked, where its query names more accounts than go into one, `canaries`
    names the day whose known videos a study is to look for now, `called` when it last looked for any.
    """

    studies: Sequence[StudySpec]
    partition_status: Mapping[StudyEntity, Mapping[date, PartitionStatus]]
    hits_per_day: Mapping[str, Mapping[date, float]]
    pools: Mapping[str, PoolState]
    used_today: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    running_requests: Mapping[StudyEntity, int] = field(default_factory=dict)
    backing_off_until: Mapping[StudyEntity, datetime] = field(default_factory=dict)
    quota_reserve: int = 0
    page_size: int = MAX_COUNT
    window_days: int = MAX_WINDOW_DAYS
    n_username_batches: Mapping[str, int] = field(default_factory=dict)
    canary_days: Mapping[str, date] = field(default_factory=dict)
    last_canary_check: Mapping[str, datetime] = field(default_factory=dict)

    def search_cost(self, study: str, days: Sequence[date]) -> Estimate:
        """What a search over some days of a study will cost."""
        density, parts = self.hits_per_day.get(study, {}), self.n_username_batches.get(study, 1)
        return estimate_search(days, density, page_size=self.page_size, window_days=self.window_days, parts=parts)


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """Neighbouring partitions of one entity to ask in one run. `units` are open in them, `requests` fit the pool.

    `part` says that the whole is more than a day's quota: what fits is done, the rest follows.
    """

    study: str
    entity: str
    partitions: tuple[date, ...]
    recollect: bool
    reasons: tuple[RunReason, ...]
    units: int
    requests: int
    basis: Basis
    is_partial: bool = False

    @property
    def priority(self) -> int:
        """The rank of what is most urgent in it."""
        return min(PRIORITY[why] for why in self.reasons)


@dataclass(frozen=True, slots=True)
class DeferredUnits:
    """Units that are not asked now, and until when.

    `quota` (no request is left for them), `rests` (they failed, or paused), `fresh` (the day has not settled),
    `running` (a run is at it), `in vain` (runs of late changed nothing).
    """

    study: str
    entity: str
    units: int
    reason: Literal["quota", "backing_off", "too_fresh", "running", "no_progress"]
    until: datetime | None
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Agenda:
    """Work in order of its worth, what waits, and what each study wants of each pool, in requests."""

    items: tuple[PlannedRun, ...]
    deferred: tuple[DeferredUnits, ...]
    demand: Mapping[tuple[str, str], int]
