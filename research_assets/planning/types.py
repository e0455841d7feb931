"""Values of the agenda: its inputs, planned runs with their reasons, and deferred units.

Not here: the decision (see agenda.py); the texts for people (see messages.py).
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

from research_assets.fields import ENTITIES
from research_assets.quota.ledger import PoolState
from research_assets.study.spec import StudySpec
from research_assets.tiktok.requests import MAX_COUNT, MAX_WINDOW_DAYS
from research_assets.units.estimates import Basis, Estimate, estimate_search
from research_assets.units.partition_status import PartitionStatus

RunReason = Literal[
    "settled",
    "reobserve",
    "repeat",
    "retry",
    "missing_accounts",
    "canary",
    "mark_materialized",
    "resume",
    "new_comments",
    "recounted",
    "period_ending",
    "period",
    "backfill",
]
"""Reason for collecting a partition now; see `REASON_TEXT`."""

REASON_TEXT: Mapping[RunReason, str] = {
    "settled": "days that have just settled",
    "reobserve": "days due for re-observation",
    "repeat": "complete days collected a second time, for the repeatability of searches",
    "retry": "units whose next try is due",
    "missing_accounts": "accounts missing from a search, whose next try is due",
    "canary": "canary check of previously collected videos",
    "mark_materialized": "collected, but not yet shown as materialized",
    "resume": "paused collection that resumes",
    "new_comments": "comments of days that have just settled",
    "recounted": "comments of re-observed videos whose newer counts show more",
    "period_ending": "accounts of a period that ends today",
    "period": "accounts of the current period",
    "backfill": "earlier days",
}
"""Text for each reason, for the terminal and the UI."""

PRIORITY: Mapping[RunReason, int] = {
    "settled": 0,
    "reobserve": 0,
    "repeat": 1,
    "retry": 0,
    "missing_accounts": 0,
    "canary": 0,
    "mark_materialized": 0,
    "resume": 1,
    "new_comments": 1,
    "recounted": 1,
    "period_ending": 0,
    "period": 1,
    "backfill": 2,
}
"""Priority of each reason; 0 comes first."""

NOT_A_DAY_SEARCH: Set[RunReason] = frozenset({"mark_materialized", "missing_accounts"})
"""Reasons that search no whole days: events for collected data, and searches for missing accounts."""

StudyEntity = tuple[str, str]
"""Name of a study, and an entity."""


@dataclass(frozen=True, slots=True)
class AgendaInputs:
    """Inputs of the agenda and of the forecast.

    `partition_status` is by study and entity. A day of videos without a status has no attempt yet; a partition of
    another entity without one has nothing to collect. `hits_per_day` are the raw hits of collected days by study.
    `used_today` are today's requests by pool and study. `running_requests` are the requests that active runs may still
    send: their budgets without what they used. `backing_off_until` is set for a study's entity whose recent runs made
    no progress. `n_username_batches` is the number of batches in which a study's query is searched. `canary_days` is
    the day of each study that is due for a canary check, and `last_canary_check` the time of its last one. `only_days`
    are the first and the last day of content to which the agenda is restricted.
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
    only_days: tuple[date, date] | None = None

    def may_collect(self, entity: str, partition: date) -> bool:
        """Return whether a partition is within `only_days`; a period of an observed entity is no day of content."""
        if self.only_days is None:
            return True
        first, last = self.only_days
        return ENTITIES[entity].time_axis == "content" and first <= partition <= last

    def search_cost(self, study: str, days: Sequence[date]) -> Estimate:
        """Return the cost of a search over some days of a study. A search spans no day that was not sampled."""
        spec = next((one for one in self.studies if one.name == study), None)
        return estimate_search(
            days,
            self.hits_per_day.get(study, {}),
            page_size=self.page_size,
            window_days=self.window_days,
            n_batches=self.n_username_batches.get(study, 1),
            never_searched=spec.days_not_sampled(min(days), max(days)) if spec and days else (),
        )


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """Partitions of one entity that one run collects.

    `units` is the number of open units in them, `requests` the part of the quota that is planned for them. `is_partial`
    is true if the partitions need more requests than that; the rest follows in later runs. `budget` is the number of
    requests that the run may send: at least `requests`, and more if the pool has requests that are not planned.
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
    budget: int = 0

    @property
    def needs_no_run(self) -> bool:
        """Return whether all days only need to be recorded as materialized.

        A run would send no request: the days have no comments, or an earlier run died after it published them. An
        observed period always needs a run, because its rows may belong to another study.
        """
        return self.reasons == ("mark_materialized",) and ENTITIES[self.entity].time_axis == "content"

    @property
    def priority(self) -> int:
        """The priority of its most urgent reason."""
        return min(PRIORITY[reason] for reason in self.reasons)


@dataclass(frozen=True, slots=True)
class DeferredUnits:
    """Units that are not collected now, and the time from which they can be; None if it is unknown.

    `reason` is `quota` (the pool has no request left for them), `backing_off` (the last attempt failed or paused),
    `too_fresh` (the day has not settled), `unconfirmed` (a comment count of 0 is to be confirmed by a re-observation of
    its day; `until` is when it is due), `running` (an active run collects them), or `no_progress` (recent runs
    changed nothing).
    """

    study: str
    entity: str
    units: int
    reason: Literal["quota", "backing_off", "too_fresh", "unconfirmed", "running", "no_progress"]
    until: datetime | None
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Agenda:
    """Planned runs by priority, deferred units, and by pool the requests that active runs may still send."""

    items: tuple[PlannedRun, ...]
    deferred: tuple[DeferredUnits, ...]
    budgeted: Mapping[str, int] = field(default_factory=dict)
