"""The plain form of a study, and the rules for when its days can be collected.

A `StudySpec` is the input of planning and collection. `study/loader.py` builds it from a study file; tests build one
by hand. Not here: the keys of a study file and their validation (see model.py); the periods in which accounts are
observed (see units/periods.py).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal

from research_assets.clock import midnight
from research_assets.study.day_sample import DaySample, realised_share
from research_assets.tiktok.pseudonyms import Pseudonyms

QueryGroups = Mapping[str, tuple[Mapping[str, Any], ...]]
"""The API's query (reference 3.1.1): groups `and`, `or`, `not` of conditions in the API's own form. No empty group."""


@dataclass(frozen=True, slots=True)
class CommentRule:
    """Rule for whose comments are collected: all videos, the `n` most commented of a day, or a random share of a day.

    `replies` states whether the replies of a comment are collected too. They cost one request or more per comment that
    has replies.
    """

    videos: Literal["all", "top", "sample", "none"] = "all"
    n: int = 0
    fraction: float = 1.0
    seed: int = 0
    replies: Literal["all", "none"] = "all"

    @property
    def described_videos(self) -> str:
        """The videos whose comments are collected, as text."""
        return {
            "all": "all videos",
            "top": f"the {self.n:,} most commented videos of each day",
            "sample": f"a random sample of each day's videos (fraction {self.fraction:g}, seed {self.seed})",
            "none": "no videos",
        }[self.videos]


@dataclass(frozen=True, slots=True)
class UserRule:
    """Rule for whose profiles are observed: all authors of videos, the `n` with most videos, the panel, or none."""

    who: Literal["authors", "top", "panel", "none"] = "authors"
    n: int = 0


@dataclass(frozen=True, slots=True)
class StudySpec:
    """One study.

    The share `repeat` of its days is collected twice within a day.
    With a `day_sample` only the drawn days between `start` and `end` are collected and expected.
    A day is collected once it is `settle_days` old, and again at the ages in `reobserve_days`. `count_lag_days` is
    the highest assumed age of a count when the API returns it, in days (reference §7 #14). `fields` narrows the
    requested fields by entity; for an entity without an entry all fields are requested. Accounts are observed in
    each period up to the one that contains `observe_until`; without it until the study ends (see units/periods.py).
    `delete_after` is the last UTC day of retention of the data (see compliance/retention.py). `verify_by` is
    how videos that no other study has are verified (see compliance/verification/). `owners` are shown in
    Dagster: addresses, or `team:<name>`. `title` is for readers; empty without one. `left_out` is the number of
    withdrawn accounts that panel and query no longer contain; with `all_left_out` the query named no other one. A
    `pseudonymous` study stores no handle. Loaded with its key it has `pseudonyms`, and its query and panel name
    accounts by them (see pseudonymous.py). With `follow_renames` renamed panel accounts are observed under their new
    handle (see units/renames.py). `declared` is what the study file declares, with withdrawn accounts counted
    (see provenance.py); None for a study that was not loaded from a file.
    """

    name: str
    start: date
    query: QueryGroups
    end: date | None = None
    day_sample: DaySample | None = None
    settle_days: int = 2
    reobserve_days: tuple[int, ...] = ()
    repeat: float = 0.0
    count_lag_days: int = 10
    comments: CommentRule = CommentRule()
    users: UserRule = UserRule()
    playlists: bool = False
    panel: tuple[str, ...] = ()
    follow_renames: bool = False
    observe: Literal["weekly", "daily"] = "weekly"
    observe_until: date | None = None
    delete_after: date | None = None
    verify_by: Literal["batch", "lookup"] = "batch"
    owners: tuple[str, ...] = ()
    title: str = ""
    quota_weight: float = 1.0
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: int = 0
    all_left_out: bool = False
    pseudonymous: bool = False
    pseudonyms: Pseudonyms | None = field(default=None, repr=False, compare=False)
    declared: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)

    def depends_on_videos(self, entity: str) -> bool:
        """Return whether the units of an observed entity follow from the collected videos, not from the panel."""
        return entity == "playlists" or (entity == "users" and self.users.who in ("authors", "top"))

    @property
    def heading(self) -> str:
        """The title, or the name of a study without one."""
        return self.title or self.name

    def observation_due_at(self, day: date, age: int) -> datetime:
        """Return the time (UTC) at which a day is `age` days old, counted from the midnight that ends the day."""
        return midnight(day) + timedelta(days=1 + age)

    def settles_at(self, day: date) -> datetime:
        """Return the time (UTC) from which a day can be collected; new videos appear up to 48 hours late."""
        return self.observation_due_at(day, self.settle_days)

    def is_too_fresh(self, day: date, now: datetime) -> bool:
        """Return whether a day has not settled at `now`, so that no request may be sent for it."""
        return now < self.settles_at(day)

    def last_settled_day(self, now: datetime) -> date:
        """Return the newest day of the study that has settled at `now`; it is before `start` if none has."""
        settled = now.date() - timedelta(days=1 + self.settle_days)
        return settled if self.end is None else min(self.end, settled)

    def is_sampled(self, day: date) -> bool:
        """Return whether a day is in the sample of days; every day is without one."""
        return self.day_sample is None or self.day_sample.contains(day)

    def has_day(self, day: date) -> bool:
        """Return whether a day is in the study. Data may be of other days too, if the study file was changed."""
        return self.start <= day and (self.end is None or day <= self.end) and self.is_sampled(day)

    def days_to(self, last: date) -> tuple[date, ...]:
        """Return the days of the study from its start to a day, oldest first, without days that were not drawn."""
        days = (self.start + timedelta(days=n) for n in range((last - self.start).days + 1))
        return tuple(day for day in days if self.is_sampled(day))

    def days_not_sampled(self, first: date, last: date) -> tuple[date, ...]:
        """Return the days between two days, both included, that were not drawn; none without a sample of days."""
        if self.day_sample is None:
            return ()
        days = (first + timedelta(days=n) for n in range((last - first).days + 1))
        return tuple(day for day in days if not self.is_sampled(day))

    def days_until(self, now: datetime) -> tuple[date, ...]:
        """Return the days of the study up to its end or today, oldest first, whether they have settled or not."""
        return self.days_to(now.date() if self.end is None else min(self.end, now.date()))

    @property
    def share_of_days(self) -> float:
        """Drawn days as a share of all: the mean probability of the days of the first year; 1 without a sample."""
        if self.day_sample is None:
            return 1.0
        return realised_share(self.day_sample, [self.start + timedelta(days=n) for n in range(365)])

    def repeats(self, day: date) -> bool:
        """Return whether a complete day is collected twice within a day: a hash of study and day decides.

        The share of such days is `repeat` on average.
        """
        digest = hashlib.blake2b(f"repeat:{self.name}:{day}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64 < self.repeat

    def reobservation_due_at(self, day: date, now: datetime) -> datetime | None:
        """Return when the latest re-observation that is due at `now` became due; None if none is due yet.

        An observation after that time counts for all ages that the day had reached.
        """
        due = [self.observation_due_at(day, age) for age in self.reobserve_days]
        return max((time for time in due if time <= now), default=None)

    @property
    def count_confirmation_age(self) -> int:
        """Age of a day in days from which its counts show it at an age of `settle_days` or more, whatever their lag."""
        return self.settle_days + self.count_lag_days

    def confirms_counts(self, day: date, observed_at: datetime) -> bool:
        """Return whether a count observed at that time is certainly of a settled day.

        A count of zero observed earlier may be older than the first comment, so it does not show that there is none.
        """
        return observed_at >= self.observation_due_at(day, self.count_confirmation_age)

    def confirming_reobservation_age(self) -> int | None:
        """Return the first of `reobserve_days` at which counts are confirmed; None if the study has no such age."""
        return min((age for age in self.reobserve_days if age >= self.count_confirmation_age), default=None)

    def counts_confirmed_at(self, day: date) -> datetime | None:
        """Return when the re-observation that confirms the counts of a day is due; None if the study plans none."""
        age = self.confirming_reobservation_age()
        return None if age is None else self.observation_due_at(day, age)

    @property
    def leaves_counts_unconfirmed(self) -> bool:
        """Whether the study collects comments but re-observes no day at an age at which its counts are confirmed.

        A day whose first observation is at `settle_days` then keeps its counts of zero unconfirmed.
        """
        return (
            self.comments.videos != "none" and self.count_lag_days > 0 and self.confirming_reobservation_age() is None
        )

    def last_observation_due_at(self) -> datetime | None:
        """Return when the last day of the study reaches the last of its ages; None for a study without end."""
        if self.end is None:
            return None
        return self.observation_due_at(self.end, max((self.settle_days, *self.reobserve_days)))
