"""What a report tells, as plain values: shapes only. How they are read is `queries`' business, how shown `sections`'.

Days are UTC days, moments are UTC, counts are rows or requests as each line says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class StudyTotals:
    """The study in single numbers. Moments are None while there is nothing."""

    videos: int
    creators: int
    comments: int
    replies: int
    profiles: int
    follows: int
    engagements: int
    requests: int
    failed: int
    refused: int
    first_request: datetime | None
    last_request: datetime | None


@dataclass(frozen=True, slots=True)
class StudyDay:
    """A day of publication: the state of its search, raw hits offered, rows kept, what is held of it."""

    day: date
    state: str
    videos: int
    creators: int
    comments: int
    offered: int | None
    kept: int | None
    views_median: float | None


@dataclass(frozen=True, slots=True)
class UnitGroup:
    """Units of one entity and kind that are in one state, with their rows and requests."""

    entity: str
    kind: str
    state: str
    units: int
    asked: int
    offered: int
    kept: int
    expected: int | None
    requests: float
    first_at: datetime | None
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class MissingUnits:
    """Units that are not held, for one reason; the unit's own name is left out of the reason."""

    entity: str
    kind: str
    state: str
    reason: str
    units: int
    next_try: datetime | None


@dataclass(frozen=True, slots=True)
class DailyRequests:
    """Requests of one pool on one UTC day, by how they ended."""

    day: date
    pool: str
    answered: int
    failed: int
    refused: int


@dataclass(frozen=True, slots=True)
class EndpointRequests:
    """Requests to one endpoint over all days; `latency` is the largest of the daily medians (milliseconds)."""

    pool: str
    endpoint: str
    requests: int
    failed: int
    refused: int
    rows: int
    latency: float | None


@dataclass(frozen=True, slots=True)
class RankedItem:
    """A hashtag or a creator: videos, a second count (creators of the hashtag, days of the creator), median views."""

    name: str
    videos: int
    other: int
    views_median: float | None
    views: int | None


@dataclass(frozen=True, slots=True)
class Bin:
    """Values from `low` up to, not including, `high`."""

    low: float
    high: float
    number: int


@dataclass(frozen=True, slots=True)
class Distribution:
    """How a number is distributed over things: zeros apart, the rest in bins; `absent` are things without it."""

    name: str
    unit: str
    number: int
    absent: int
    zeros: int
    bins: Sequence[Bin]
    lower_quartile: float | None
    median: float | None
    upper_quartile: float | None
    maximum: float | None


@dataclass(frozen=True, slots=True)
class DegreeShare:
    """Accounts of a degree, and the share of accounts with at least that degree. `direction`: followers, following."""

    direction: str
    degree: int
    accounts: int
    share: float


@dataclass(frozen=True, slots=True)
class FollowList:
    """A follow list that was asked, as it stands: rows held, and how many the profile or the list promised."""

    entity: str
    account: str
    state: str
    kept: int
    expected: int | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class DailyObservations:
    """Observations of videos on one UTC day, or in the week that begins with it.

    `looks` are all of them, `first_looks` those of videos seen for the first time; of the latter `views_median` and
    `age_median` (days).
    """

    day: date
    n_observations: int
    n_first: int
    views_median: float | None
    age_median: float | None


@dataclass(frozen=True, slots=True)
class ApiChange:
    """A known break in the API's data, by whom it is told, and how exact its days are.

    `number` is its place in the mart `epochs` by time, from 1. `clock` says which day decides whether a row is touched:
    `published` or `observed`. `first` is None if the beginning is not known, `last` if it goes on.
    """

    number: int
    date_basis: str
    first: date | None
    last: date | None
    precision: str
    title: str
    description: str
    source: str

    def affects(self, first: date, last: date) -> bool:
        """Whether any of the days from `first` to `last` lies in it."""
        return (self.first is None or self.first <= last) and (self.last is None or self.last >= first)


@dataclass(frozen=True, slots=True)
class SampledUnits:
    """Units that were drawn with one probability."""

    entity: str
    inclusion_probability: float
    units: int


@dataclass(frozen=True, slots=True)
class ColumnFill:
    """A column of the mart `videos`: how many of the study's videos fill it, and since when the API has it."""

    column: str
    description: str
    filled: int
    since: str | None


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything that is read from the warehouse for one report; `built_at` is when the marts were published.

    `observed_step` is the number of days that one of `observed` stands for: 1 or 7.
    """

    built_at: datetime
    overall: StudyTotals
    days: Sequence[StudyDay]
    units: Sequence[UnitGroup]
    gaps: Sequence[MissingUnits]
    daily_requests: Sequence[DailyRequests]
    endpoints: Sequence[EndpointRequests]
    hashtags: Sequence[RankedItem]
    n_hashtags: int
    creators: Sequence[RankedItem]
    top_share: float | None
    engagement: Sequence[Distribution]
    threads: Sequence[Distribution]
    depths: Sequence[tuple[int, int]]
    degrees: Sequence[DegreeShare]
    follow_lists: Sequence[FollowList]
    ages: Sequence[Distribution]
    observed_range: tuple[datetime | None, datetime | None]
    observations: Sequence[tuple[int, int]]
    observed: Sequence[DailyObservations]
    observed_step: int
    api_changes: Sequence[ApiChange]
    sampled: Sequence[SampledUnits]
    column_fill: Sequence[ColumnFill]

    def api_changes_of(self, clock: str) -> list[ApiChange]:
        """The breaks of one clock, `published` or `observed`."""
        return [change for change in self.api_changes if change.date_basis == clock]
