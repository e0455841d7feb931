"""What a report tells, as plain values: shapes only. How they are read is `queries`' business, how shown `sections`'.

Days are UTC days, moments are UTC, counts are rows or requests as each line says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class Overall:
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
class Day:
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
class Units:
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
class Gap:
    """Units that are not held, for one reason; the unit's own name is left out of the reason."""

    entity: str
    kind: str
    state: str
    reason: str
    units: int
    next_try: datetime | None


@dataclass(frozen=True, slots=True)
class Spent:
    """Requests of one pool on one UTC day, by how they ended."""

    day: date
    pool: str
    answered: int
    failed: int
    refused: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Requests to one endpoint over all days; `latency` is the largest of the daily medians (milliseconds)."""

    pool: str
    endpoint: str
    requests: int
    failed: int
    refused: int
    rows: int
    latency: float | None


@dataclass(frozen=True, slots=True)
class Ranked:
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
    quartile: float | None
    median: float | None
    upper: float | None
    most: float | None


@dataclass(frozen=True, slots=True)
class Degree:
    """Accounts of a degree, and the share of accounts with at least that degree. `direction`: followers, following."""

    direction: str
    degree: int
    accounts: int
    share: float


@dataclass(frozen=True, slots=True)
class Look:
    """A follow list that was asked, as it stands: rows held, and how many the profile or the list promised."""

    entity: str
    account: str
    state: str
    kept: int
    expected: int | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Observed:
    """Observations of videos on one UTC day, or in the week that begins with it.

    `looks` are all of them, `first_looks` those of videos seen for the first time; of the latter `views_median` and
    `age_median` (days).
    """

    day: date
    looks: int
    first_looks: int
    views_median: float | None
    age_median: float | None


@dataclass(frozen=True, slots=True)
class Epoch:
    """A known break in the API's data, by whom it is told, and how exact its days are.

    `number` is its place in the mart `epochs` by time, from 1. `clock` says which day decides whether a row is touched:
    `published` or `observed`. `first` is None if the beginning is not known, `last` if it goes on.
    """

    number: int
    clock: str
    first: date | None
    last: date | None
    precision: str
    title: str
    description: str
    source: str

    def touches(self, first: date, last: date) -> bool:
        """Whether any of the days from `first` to `last` lies in it."""
        return (self.first is None or self.first <= last) and (self.last is None or self.last >= first)


@dataclass(frozen=True, slots=True)
class Drawn:
    """Units that were drawn with one probability."""

    entity: str
    probability: float
    units: int


@dataclass(frozen=True, slots=True)
class Filled:
    """A column of the mart `videos`: how many of the study's videos fill it, and since when the API has it."""

    column: str
    meaning: str
    filled: int
    since: str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that is read from the warehouse for one report; `built_at` is when the marts were published.

    `observed_step` is the number of days that one of `observed` stands for: 1 or 7.
    """

    built_at: datetime
    overall: Overall
    days: Sequence[Day]
    units: Sequence[Units]
    gaps: Sequence[Gap]
    spent: Sequence[Spent]
    endpoints: Sequence[Endpoint]
    hashtags: Sequence[Ranked]
    n_hashtags: int
    creators: Sequence[Ranked]
    top_share: float | None
    engagement: Sequence[Distribution]
    threads: Sequence[Distribution]
    depths: Sequence[tuple[int, int]]
    degrees: Sequence[Degree]
    looks: Sequence[Look]
    ages: Sequence[Distribution]
    seen: tuple[datetime | None, datetime | None]
    observations: Sequence[tuple[int, int]]
    observed: Sequence[Observed]
    observed_step: int
    epochs: Sequence[Epoch]
    drawn: Sequence[Drawn]
    filled: Sequence[Filled]

    def epochs_of(self, clock: str) -> list[Epoch]:
        """The breaks of one clock, `published` or `observed`."""
        return [epoch for epoch in self.epochs if epoch.clock == clock]
