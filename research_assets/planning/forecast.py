"""The forecast: the requests that the studies still need, and the day on which they are done. Pure functions.

It uses the same inputs as the agenda, without the limit of the quota. Requests that recur without end (periods of
accounts, new days of a study without end) are given per day, separate from the remaining requests. Not here: what fits
into the quota now (see agenda.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from math import ceil

from research_assets.fields import ENTITIES
from research_assets.planning.inputs import study_entities
from research_assets.planning.types import AgendaInputs
from research_assets.quota.ledger import PoolState
from research_assets.study.spec import StudySpec
from research_assets.tiktok.endpoints import BY_ENTITY
from research_assets.units.estimates import BASIS_BY_CERTAINTY, NO_COST, CommentRequests, Estimate, sum_estimates
from research_assets.units.partition_status import PartitionStatus
from research_assets.units.periods import CANARY_INTERVAL, period_length, remaining_canary_checks
from research_assets.units.windows import ONE_DAY


@dataclass(frozen=True, slots=True)
class EntityForecast:
    """Remaining work of one entity of a study: partitions, requests, and the requests per day that recur.

    `after_reobservation` is the part of `remaining` for re-observations, and for the lists of comments that their newer
    counts are expected to open. `by_partition` has the estimate of each other partition. Its sum may be higher than
    their part of `remaining`, because sparse days share windows. `last_due_at` is when the last observation is due
    (UTC); None for a study without end and for accounts. `is_lower_bound` is true if some requests cannot be estimated
    yet. `label` names work that has no partitions: canary checks, verification.
    """

    study: str
    entity: str
    partitions: int
    remaining: Estimate
    recurring_per_day: float
    by_partition: Mapping[date, Estimate]
    last_due_at: datetime | None
    is_lower_bound: bool = False
    label: str = ""
    after_reobservation: Estimate = NO_COST

    @property
    def unknown(self) -> bool:
        """Whether the true number may be far higher: the estimate has no data, or leaves something out."""
        return self.is_lower_bound or self.remaining.basis == "no data yet"


@dataclass(frozen=True, slots=True)
class PoolForecast:
    """Remaining requests of a pool, the days of full quota that they need, and the day on which they are done.

    Both are None if the recurring requests use the whole quota.
    """

    pool: str
    requests: int
    days: int | None
    finish_day: date | None


def forecast(
    inputs: AgendaInputs, comment_requests: Mapping[str, CommentRequests], now: datetime
) -> list[EntityForecast]:
    """Return one forecast for each entity of each study.

    `comment_requests` are the mean requests for the comments of a day, by study.
    """
    return [
        line
        for study in inputs.studies
        for line in _study_forecast(inputs, study, comment_requests.get(study.name), now)
    ]


def add_recurring(
    lines: Sequence[EntityForecast], studies: Sequence[StudySpec], accounts: Mapping[tuple[str, str], float]
) -> list[EntityForecast]:
    """Return the forecasts with the recurring requests of accounts.

    `accounts` are the requests of one period, by study and entity; they are divided by the days of a period.
    """
    period_days = {study.name: period_length(study) / ONE_DAY for study in studies}
    return [
        replace(
            line,
            recurring_per_day=line.recurring_per_day
            + accounts.get((line.study, line.entity), 0.0) / period_days[line.study],
        )
        if ENTITIES[line.entity].time_axis == "observation"
        else line
        for line in lines
    ]


def days_with_unconfirmed_counts(inputs: AgendaInputs, study: StudySpec, now: datetime) -> list[date]:
    """Return the days whose comment counts of zero no planned observation confirms."""
    if not study.leaves_counts_unconfirmed:
        return []
    return _days_to_reobserve(inputs, study, study.count_confirmation_age, now)


def forecast_canary_checks(inputs: AgendaInputs, now: datetime) -> list[EntityForecast]:
    """Return one forecast for each study with canary checks to come: one request per `CANARY_INTERVAL`."""
    lines = []
    for study in inputs.studies:
        number = remaining_canary_checks(study, inputs.last_canary_check.get(study.name), now)
        recurring = ONE_DAY / CANARY_INTERVAL if number is None else 0.0
        number = int(study.name in inputs.canary_days) if number is None else number
        if number or recurring:
            cost, last_due_at = Estimate(number, "one request each"), study.last_observation_due_at()
            lines.append(
                EntityForecast(study.name, "videos", 0, cost, recurring, {}, last_due_at, label="canary check")
            )
    return lines


def forecast_pool(lines: Sequence[EntityForecast], pool: PoolState, now: datetime) -> PoolForecast:
    """Return when the requests that the forecasts need of a pool are done.

    The requests remaining today are used first, then the quota of whole days without the recurring requests.
    """
    of_pool = [line for line in lines if BY_ENTITY[line.entity].pool == pool.pool]
    requests = ceil(sum_estimates(line.remaining for line in of_pool).requests)
    last_due = max(
        (line.last_due_at.date() for line in of_pool if line.last_due_at and line.remaining.requests),
        default=now.date(),
    )
    after_today = max(0, requests - pool.remaining)
    free_per_day = pool.cap - sum(line.recurring_per_day for line in of_pool)
    if after_today and free_per_day <= 0:
        return PoolForecast(pool.pool, requests, None, None)
    days = ceil(after_today / free_per_day) if after_today else 0
    return PoolForecast(pool.pool, requests, ceil(requests / pool.cap), max(last_due, now.date() + ONE_DAY * days))


# The forecast of one entity.


def _study_forecast(
    inputs: AgendaInputs, study: StudySpec, comment_requests: CommentRequests | None, now: datetime
) -> Iterator[EntityForecast]:
    for entity in study_entities(study):
        if entity == "videos":
            yield _videos(inputs, study, now)
        elif entity == "comments":
            yield _comments(inputs, study, comment_requests, now)
        else:
            yield _accounts(inputs, study, entity, now)


def _study_days(study: StudySpec, now: datetime) -> list[date]:
    """Return all days of a study; for a study without end the days up to today."""
    return [*study.days_to(study.end or now.date())]


def _incomplete_days(inputs: AgendaInputs, study: StudySpec, now: datetime) -> list[date]:
    statuses = inputs.partition_status.get((study.name, "videos"), {})
    return [day for day in _study_days(study, now) if statuses.get(day, PartitionStatus()).last_complete_at is None]


def _videos(inputs: AgendaInputs, study: StudySpec, now: datetime) -> EntityForecast:
    hits_per_day = inputs.hits_per_day.get(study.name, {})
    incomplete = _incomplete_days(inputs, study, now)
    reobservations = sum_estimates(
        inputs.search_cost(study.name, _days_to_reobserve(inputs, study, age, now)) for age in study.reobserve_days
    )
    # A day whose second collection was missed is not repeated later, unless it is observed again.
    repeats = sum_estimates(inputs.search_cost(study.name, [day]) for day in incomplete if study.repeats(day))
    hits_of_new_day = 0.0
    if study.end is None and hits_per_day:
        n_observations = 1 + len(study.reobserve_days) + study.repeat
        hits_of_new_day = study.share_of_days * n_observations * sum(hits_per_day.values()) / len(hits_per_day)
    return EntityForecast(
        study=study.name,
        entity="videos",
        partitions=len(incomplete),
        remaining=inputs.search_cost(study.name, incomplete) + reobservations + repeats,
        recurring_per_day=hits_of_new_day / inputs.page_size,
        by_partition={day: inputs.search_cost(study.name, [day]) for day in incomplete},
        last_due_at=study.last_observation_due_at(),
        after_reobservation=reobservations,
    )


def _days_to_reobserve(inputs: AgendaInputs, study: StudySpec, age: int, now: datetime) -> list[date]:
    """Return the days that still need the observation at an age."""
    statuses = inputs.partition_status.get((study.name, "videos"), {})
    return [
        day
        for day in _study_days(study, now)
        if _needs_observation(study, day, age, statuses.get(day, PartitionStatus()).last_complete_at, now)
    ]


def _needs_observation(study: StudySpec, day: date, age: int, last_complete_at: datetime | None, now: datetime) -> bool:
    """Return whether a day still needs the observation at an age, apart from its first one.

    The first observation of a day that has passed the age already counts for the age.
    """
    due_at = study.observation_due_at(day, age)
    return now < due_at if last_complete_at is None else last_complete_at < due_at


def _comments(
    inputs: AgendaInputs, study: StudySpec, comment_requests: CommentRequests | None, now: datetime
) -> EntityForecast:
    statuses = inputs.partition_status.get((study.name, "comments"), {})
    by_partition = {
        day: status.estimate for day, status in statuses.items() if status.open_units or status.waiting_units
    }
    counted = [estimate.requests for estimate in by_partition.values()]
    if comment_requests is not None:
        per_day = Estimate(comment_requests.first, "observed pages")
    elif counted:
        per_day = Estimate(sum(counted) / len(counted), "observed density")
    else:
        per_day = Estimate(1, "no data yet")
    by_partition |= dict.fromkeys(_incomplete_days(inputs, study, now), per_day)
    reopened = _reopened_comments(inputs, study, comment_requests, per_day, now)
    recurring = 0.0
    if study.end is None and comment_requests is not None:
        later = comment_requests.after_reobservation
        recurring = comment_requests.first
        if study.reobserve_days:
            recurring += comment_requests.first if later is None else later
        recurring *= study.share_of_days
    return EntityForecast(
        study=study.name,
        entity="comments",
        partitions=len(by_partition),
        remaining=sum_estimates([*by_partition.values(), reopened]),
        recurring_per_day=recurring,
        by_partition=dict(sorted(by_partition.items())),
        last_due_at=study.last_observation_due_at(),
        # Without collected comments the number of comments with replies is unknown; each costs a request or more.
        is_lower_bound=bool(by_partition) and comment_requests is None and study.comments.replies != "none",
        after_reobservation=reopened,
    )


def _reopened_comments(
    inputs: AgendaInputs,
    study: StudySpec,
    comment_requests: CommentRequests | None,
    first_collection: Estimate,
    now: datetime,
) -> Estimate:
    """Return the requests for the lists of comments that re-observations are expected to open.

    Each day counts once, at the age at which its counts are confirmed: counts change little later. Until a
    re-observation has opened lists, each list counts as requested again, which is an upper bound if counts do not lag.
    """
    if not study.reobserve_days:
        return NO_COST
    age = study.confirming_reobservation_age() or max(study.reobserve_days)
    days = _days_to_reobserve(inputs, study, age, now)
    if not days:
        return NO_COST
    if comment_requests is not None and comment_requests.after_reobservation is not None:
        return Estimate(len(days) * comment_requests.after_reobservation, "observed pages")
    basis = max("first collection", first_collection.basis, key=BASIS_BY_CERTAINTY.index)
    return Estimate(len(days) * first_collection.requests, basis)


def _accounts(inputs: AgendaInputs, study: StudySpec, entity: str, now: datetime) -> EntityForecast:
    statuses = inputs.partition_status.get((study.name, entity), {})
    by_partition = {period: status.estimate for period, status in statuses.items() if status.open_units}
    remaining = sum_estimates(by_partition.values())
    depends_on_videos = study.depends_on_videos(entity)
    if depends_on_videos and not statuses and not inputs.hits_per_day.get(study.name):
        remaining = Estimate(1, "no data yet")
    return EntityForecast(
        study=study.name,
        entity=entity,
        partitions=len(by_partition),
        remaining=remaining,
        recurring_per_day=0.0,
        by_partition=by_partition,
        last_due_at=None,
        # Videos of days that are not collected yet have authors and playlists that are unknown now.
        is_lower_bound=depends_on_videos
        and (entity == "playlists" or study.users.who == "authors")
        and bool(_incomplete_days(inputs, study, now)),
    )
