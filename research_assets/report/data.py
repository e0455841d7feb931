"""Contents of a report as plain values. Days and times are UTC.

Not here: the SQL that reads them (see queries.py), the sections that show them (see sections.py and methods.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from research_assets.estimates.survival import Survival
from research_assets.estimates.yields import Yield


@dataclass(frozen=True, slots=True)
class StudyTotals:
    """Totals of a study. Times are None if no request was sent."""

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
    views: float


@dataclass(frozen=True, slots=True)
class StudyDay:
    """A publication day: the state of its search, and the rows in the marts.

    `offered` raw hits were reported and `kept` rows retained at the first complete observation. Neither the newest one
    nor a later attempt returned `not_returned` of the videos again; None without a complete observation.
    """

    day: date
    state: str
    videos: int
    creators: int
    comments: int
    offered: int | None
    kept: int | None
    not_returned: int | None
    views_median: float | None


@dataclass(frozen=True, slots=True)
class UnitGroup:
    """Units of one entity, kind and state, with their rows and requests.

    The rows are those of the attempt that counts; `first_offered` and `first_kept` are those of the first complete one.
    """

    entity: str
    kind: str
    state: str
    units: int
    asked: int
    offered: int
    kept: int
    expected: float | None
    requests: float
    first_at: datetime | None
    last_at: datetime | None
    first_offered: int
    first_kept: int


@dataclass(frozen=True, slots=True)
class MissingUnits:
    """Units that are not complete, by reason. The reason does not contain the name of the unit."""

    entity: str
    kind: str
    state: str
    reason: str
    units: int
    next_try: datetime | None


@dataclass(frozen=True, slots=True)
class FollowedAccounts:
    """Missing panel accounts whose videos were searched for, by the newest result."""

    renamed: int
    present: int
    gone: int
    unknown: int


@dataclass(frozen=True, slots=True)
class CanaryCheck:
    """Previously collected videos that were searched for on one UTC day: found and not found."""

    day: date
    found: int
    not_found: int


@dataclass(frozen=True, slots=True)
class ExcessRows:
    """Units with more retained than expected rows, and how many more they have."""

    units: int
    rows: float


@dataclass(frozen=True, slots=True)
class RejectedElements:
    """Elements of the responses for an entity that are no usable rows, and unusable values of rows, of all requests."""

    entity: str
    elements: int
    values: int


@dataclass(frozen=True, slots=True)
class DistinctMissing:
    """Units that were complete in no period, by state and reason of the newest requested one. An account counts once.

    `videos` and `views` are those of the videos whose comments are missing.
    """

    entity: str
    kind: str
    state: str
    reason: str
    units: int
    videos: int
    views: float


@dataclass(frozen=True, slots=True)
class ObservedAccounts:
    """Accounts whose profile or list was due in at least one wave (a week or day of observation); or playlists.

    `observed` of them were complete in at least one wave, `always_observed` in each wave in which they were due.
    `observations` counts accounts times waves, `complete` those of them that are complete.
    """

    entity: str
    waves: int
    accounts: int
    observed: int
    always_observed: int
    observations: int
    complete: int


@dataclass(frozen=True, slots=True)
class DailyRequests:
    """Requests of one pool on one UTC day, by outcome."""

    day: date
    pool: str
    answered: int
    failed: int
    refused: int


@dataclass(frozen=True, slots=True)
class EndpointRequests:
    """Requests to one endpoint on all days. `latency` is the largest of the daily medians (milliseconds)."""

    pool: str
    endpoint: str
    requests: int
    failed: int
    refused: int
    rows: int
    latency: float | None


@dataclass(frozen=True, slots=True)
class RankedItem:
    """A hashtag or a creator with its videos and views.

    `other` counts the creators who use the hashtag, or the days on which the creator published.
    """

    name: str
    videos: int
    other: int
    views_median: float | None
    views: float | None


@dataclass(frozen=True, slots=True)
class Bin:
    """Number of values, or sum of their sampling weights, from `low` up to, but not including, `high`."""

    low: float
    high: float
    number: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """Distribution of a count over `number` videos or comments.

    On a log scale `zeros` are counted apart from the bins. `absent` is the number of rows without a value. `mean` is
    that of all values, including zeros. If the rows are a sample, the bins and `weighted_zeros` are estimates for all;
    the other numbers are those of the sample.
    """

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
    mean: float | None
    weighted_zeros: float
    is_weighted: bool = False

    @property
    def values(self) -> int:
        """The number of rows with a value."""
        return self.number - self.absent


@dataclass(frozen=True, slots=True)
class DayAges:
    """Days after the end of a day of publication when its first complete observation ended, over the complete days."""

    days: int
    median: float | None
    youngest: float | None
    oldest: float | None


@dataclass(frozen=True, slots=True)
class ObservationAges:
    """Ages of videos in days at their first, second … observation, over the videos that have it."""

    number: int
    videos: int
    median: float
    youngest: float
    oldest: float


@dataclass(frozen=True, slots=True)
class CommentAges:
    """Ages of videos in days when their comments were last requested, over the videos with a complete list."""

    videos: int
    median: float | None
    youngest: float | None
    oldest: float | None


@dataclass(frozen=True, slots=True)
class ObservationRound:
    """The n-th complete observations of the days that have one: sums over these days, and their median age (days).

    The counts are those of the mart `observation_rounds`. `survival` is the estimate for all videos that were known
    before a later observation; None at the first one.
    """

    number: int
    days: int
    age: float
    offered: int
    kept: int
    first_seen: int
    seen_again: int
    reappeared: int
    missed: int
    survival: Survival | None


@dataclass(frozen=True, slots=True)
class DegreeShare:
    """Accounts whose list was read completely with a degree, and the share of them with at least that degree.

    `direction` is `followers` (in-degree) or `following` (out-degree).
    """

    direction: str
    degree: int
    accounts: int
    share: float


@dataclass(frozen=True, slots=True)
class FollowList:
    """A follow list at its newest request: its rows, and the number that the profile or the list announced."""

    entity: str
    account: str
    state: str
    kept: int
    expected: int | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attrition:
    """The collected videos of days with a complete observation.

    The first complete observation of the day did not return `n_added` of them, and `n_gone` were not returned since the
    newest one began.
    """

    n_videos: int
    n_added: int
    n_gone: int


@dataclass(frozen=True, slots=True)
class DailyObservations:
    """Observations of videos on one UTC day, or in the week that begins with it.

    `n_first` counts the videos that were observed for the first time. `views_median` and `age_median` (days) are
    medians of these videos. `n_young` counts the observations of videos younger than 10 days.
    """

    day: date
    n_observations: int
    n_first: int
    views_median: float | None
    age_median: float | None
    n_young: int


@dataclass(frozen=True, slots=True)
class ApiChange:
    """A known change or incident of the API, with its source and the precision of its dates.

    `number` is its position in the mart `api_changes`, ordered by time, from 1. `date_basis` says which date of a row
    decides whether it is affected: `published` or `observed`. `first` is None if the start is unknown, `last` if the
    change is still in force.
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
        """Return whether any day from `first` to `last` lies within the change."""
        return (self.first is None or self.first <= last) and (self.last is None or self.last >= first)


@dataclass(frozen=True, slots=True)
class SampledComments:
    """Comments and replies of the `sampled` of all `videos`, and estimates for all with their standard errors.

    `drawn` counts the videos of the sample, also those without a complete list. `estimate` is the total number of
    comments and replies, `mean` their number per video, `share` the share of videos with at least one. An error is None
    if the sampled videos do not differ.
    """

    drawn: int
    sampled: int
    videos: int
    comments: int
    estimate: float | None
    standard_error: float | None
    mean: float | None
    mean_error: float | None
    share: float | None
    share_error: float | None


@dataclass(frozen=True, slots=True)
class SampledUnits:
    """Sampled units of an entity with the same inclusion probability."""

    entity: str
    inclusion_probability: float
    units: int


@dataclass(frozen=True, slots=True)
class ColumnFill:
    """A column of the mart `videos`: the number of the study's videos with a value, and when the API introduced it."""

    column: str
    description: str
    filled: int
    since: str | None


@dataclass(frozen=True, slots=True)
class VerifiedItems:
    """Stored items of one kind: verified with the API since they were collected, overdue, and times (UTC)."""

    kind: str
    n_items: int
    n_verified: int
    n_overdue: int
    oldest_verified_at: datetime
    first_due_at: datetime


@dataclass(frozen=True, slots=True)
class WithdrawnItems:
    """Withdrawn items of one kind, in all studies, by how they were found, with the first and last day (UTC)."""

    kind: str
    found_by: str
    n_items: int
    first_day: date
    last_day: date


SAMPLED_COUNTS: Mapping[str, str] = {
    "n_videos": "videos",
    "view_count_sum": "views",
    "like_count_sum": "likes",
    "comment_count_sum": "comments by the count of the videos",
    "share_count_sum": "shares",
}
"""Labels of the counts of a sampled day by column of the mart `study_days`."""


@dataclass(frozen=True, slots=True)
class SampledDay:
    """A drawn day of a study with a sample of days: whether it is complete, and its counts.

    The counts are in the order of `SAMPLED_COUNTS`, None if one is unknown because no video of the day has it.
    """

    day: date
    is_complete: bool
    counts: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class RepeatedDay:
    """A row of the mart `repeatability`."""

    day: date
    first_ended_at: datetime
    second_ended_at: datetime
    n_first: int
    n_second: int
    n_both: int
    chapman_estimate: float
    chapman_standard_error: float

    @property
    def n_either(self) -> int:
        """Videos that either collection returned."""
        return self.n_first + self.n_second - self.n_both


@dataclass(frozen=True, slots=True)
class EstimatedDay:
    """A row of the mart `population`: the numbers are of videos.

    `least_p_value` is the smallest of the tests of equal probability. `n_videos_held` is None unless the day is
    complete, as is `n_still_returned`: those that the newest complete observation or a later attempt returned.
    """

    day: date
    ended_at: datetime
    n_draws: int
    n_distinct: int
    n_shared: int
    estimate: float | None
    estimate_low: float
    estimate_high: float | None
    least_p_value: float | None
    n_videos_held: int | None
    n_still_returned: int | None


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything that one report reads from the warehouse. `built_at` is the time at which the marts were published.

    `n_young` counts the videos that were younger than 10 days at their newest observation, so that their counts may be
    those of any time since publication. `observed_step` is the number of days that each item of `observed` covers: 1
    or 7. `first_yield` is the yield of the first complete observations of the days. Without `has_handles` the accounts
    have numbers (see handles.py). `handles_in_reasons` are the words of reasons that are accounts of the study.
    """

    built_at: datetime
    overall: StudyTotals
    days: Sequence[StudyDay]
    units: Sequence[UnitGroup]
    gaps: Sequence[MissingUnits]
    canaries: Sequence[CanaryCheck]
    followed: FollowedAccounts
    excess: ExcessRows
    rejected: Sequence[RejectedElements]
    n_distinct_units: int
    missing: Sequence[DistinctMissing]
    accounts: Sequence[ObservedAccounts]
    daily_requests: Sequence[DailyRequests]
    endpoints: Sequence[EndpointRequests]
    hashtags: Sequence[RankedItem]
    n_hashtags: int
    creators: Sequence[RankedItem]
    top_share: float | None
    engagement: Sequence[Distribution]
    threads: Sequence[Distribution]
    depths: Sequence[tuple[int | None, int]]
    degrees: Sequence[DegreeShare]
    follow_lists: Sequence[FollowList]
    ages: Sequence[Distribution]
    n_young: int
    day_ages: DayAges
    observation_ages: Sequence[ObservationAges]
    comment_ages: CommentAges
    first_yield: Yield | None
    attrition: Attrition
    rounds: Sequence[ObservationRound]
    observed_range: tuple[datetime | None, datetime | None]
    observations: Sequence[tuple[int, int]]
    observed: Sequence[DailyObservations]
    observed_step: int
    api_changes: Sequence[ApiChange]
    sampled_comments: SampledComments
    sampled: Sequence[SampledUnits]
    column_fill: Sequence[ColumnFill]
    verified: Sequence[VerifiedItems]
    withdrawn: Sequence[WithdrawnItems]
    sampled_days: Sequence[SampledDay]
    repeated_days: Sequence[RepeatedDay]
    estimated_days: Sequence[EstimatedDay]
    handles_in_reasons: frozenset[str]
    has_handles: bool = True

    def days_outside(self, first: date, last: date | None) -> list[StudyDay]:
        """Return the days before `first` or after `last`, such as those of a study whose period was shortened."""
        return [one for one in self.days if one.day < first or (last is not None and one.day > last)]

    def api_changes_of(self, date_basis: str) -> list[ApiChange]:
        """Return the API changes of one date basis, `published` or `observed`."""
        return [change for change in self.api_changes if change.date_basis == date_basis]
