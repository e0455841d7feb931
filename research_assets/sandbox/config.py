"""The configuration of a sandbox, and the profiles that supply values for fields that are not given."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, Literal, get_args

DateHeader = Literal["right", "wrong", "shifted", "absent", "garbage", "double", "year_1970", "year_9999"]
"""The `Date` header. `wrong`: an hour ahead, an hour behind and unreadable in turn. `shifted`: `date_offset` ahead."""

FROM_PROFILE: Any = type("FromProfile", (), {"__repr__": lambda _: "<from the profile>"})()
"""Default of a field whose value comes from the profile."""

_CLEAN: dict[str, Any] = {
    "research_cap": 1000,
    "fixed_volume": None,
    "search_lifetime": 86_400,
    "rate": 0.0,
    "undeliverable": 0.0,
    "withdrawn_per_year": 0.0,
    "count_lag_days": 0.0,
    "fresh_missing": 0.0,
    "account_private": 0.0,
    "account_refused": 0.0,
    "account_gone_per_year": 0.0,
    "comments_closed": 0.0,
    "comment_limit": 0,
    "nul_characters": 0.0,
    "p_500": 0.0,
    "p_504": 0.0,
    "p_undecodable": 0.0,
    "p_token_failure": 0.0,
    "p_no_cursor": 0.0,
    "p_stuck_cursor": 0.0,
    "p_empty_page": 0.0,
    "p_empty_search": 0.0,
    "p_fresh_search_id": 0.0,
    "p_foreign_page": 0.0,
    "p_new_search_id": 0.0,
    "p_old_search_id": 0.0,
    "lower_case_regions": False,
    "empty_keys": True,
    "empty_followers_key": True,
    "playlist_500": False,
    "users_500": 0.0,
    "empty_group_500": False,
    "username_batch": 0,
    "token_error_status": 401,
    "likes_status": 400,
}
_TYPICAL = _CLEAN | {
    "rate": 10.0,
    "undeliverable": 0.20,
    "withdrawn_per_year": 0.10,
    "count_lag_days": 10.0,
    "fresh_missing": 0.4,
    "account_private": 0.01,
    "account_refused": 0.04,
    "account_gone_per_year": 0.04,
    "comments_closed": 0.03,
    "p_500": 0.02,
    "p_fresh_search_id": 0.5,
    "p_new_search_id": 0.1,
    "lower_case_regions": True,
    "empty_keys": False,
    "empty_followers_key": False,
    "playlist_500": True,
}
_HOSTILE = _TYPICAL | {
    "undeliverable": 0.25,
    "withdrawn_per_year": 0.25,
    "account_refused": 0.08,
    "comments_closed": 0.08,
    "comment_limit": 1000,
    "nul_characters": 0.02,
    "p_500": 0.06,
    "p_504": 0.02,
    "p_undecodable": 0.02,
    "p_token_failure": 0.2,
    "p_no_cursor": 0.02,
    "p_stuck_cursor": 0.02,
    "p_empty_page": 0.02,
    "p_empty_search": 0.05,
    "p_fresh_search_id": 0.9,
    "p_foreign_page": 0.3,
    "p_new_search_id": 0.3,
    "p_old_search_id": 0.1,
    "users_500": 0.1,
    "empty_group_500": True,
    "username_batch": 10,
    "token_error_status": 200,
    "likes_status": 403,
}
_DENSE = _CLEAN | {
    "research_cap": 60,
    "fixed_volume": 4000,
    "search_lifetime": 6 * 3600,
    "rate": 10.0,
    "undeliverable": 0.20,
    "p_500": 0.005,
    "p_fresh_search_id": 0.1,
}
PROFILES: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {"clean": _CLEAN, "typical": _TYPICAL, "hostile": _HOSTILE, "dense": _DENSE}
)
"""Field values by profile.

`clean` behaves as documented, without faults. `typical` has faults that users often report. `hostile` has all of them.
`dense` has few faults, and days that need 40 requests under a quota of 60 a day, with search ids that expire overnight:
no search of several days can be finished within a day.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """The configuration of a sandbox. Fields with the default FROM_PROFILE take the value of `profile` (reference §10).

    Shares and probabilities are in [0, 1]. `every_…` makes each n-th data call fail; 0 means never.
    """

    profile: str = "clean"
    seed: int = 7
    client_key: str = "sandbox-key"
    client_secret: str = "sandbox-secret"

    # Time. Without `start_time` (UTC) the clock shows the time of the clock that it was given.
    start_time: datetime | None = None
    token_lifetime: int = 7200  # seconds
    single_token: bool = False  # a new token revokes the old one

    # Quota: requests per UTC day by pool. Requests are refused until `quota_delay` seconds after midnight.
    research_cap: int = FROM_PROFILE
    follow_cap: int = 20_000
    quota_delay: float = 0.0
    rate: float = FROM_PROFILE  # requests per second, 0 for no limit
    latency: float = 0.0  # seconds before each data answer
    date_header: DateHeader = "right"
    date_offset: int = 0  # seconds; negative for a server whose clock is behind
    date_answers: frozenset[int] = frozenset()  # the answers, from 1, with that header; all others: right. Empty: all
    follow_scope: bool = True  # False: followers and following answer scope_not_authorized

    # The world. `fixed_volume` replaces its videos by exactly this number per day. Of a query, only conditions on
    # video_id, username, create_date, video_length and music_id then have an effect; all videos match all others.
    videos_per_day: int = 1100
    fixed_volume: int | None = FROM_PROFILE
    volume_by_day: Mapping[date, int] = field(default_factory=dict, hash=False)  # instead of `fixed_volume`, by UTC day
    videos_per_second: int = 1  # fixed volume: number of successive videos that share one upload second
    fixed_comments: int = 0  # comments of each video if `fixed_volume` is set
    undeliverable: float = FROM_PROFILE  # share of raw hits never delivered; fixed volume: each round(1/share)-th
    withdrawn_per_year: float = FROM_PROFILE  # share of videos and comments withdrawn within a year
    count_lag_days: float = FROM_PROFILE  # counts are refreshed in steps, video by video: 0 to this old
    mixed_lags: bool = False  # each count of each answer has an age of its own, so that later counts can be older
    fresh_missing: float = FROM_PROFILE  # share of videos that searches find late
    fresh_missing_days: float = 2.0  # these appear evenly within this number of days after their publication
    withdrawn_are_hits: bool = True  # False: searches opened after a withdrawal do not count the video as a raw hit
    account_private: float = FROM_PROFILE
    account_refused: float = FROM_PROFILE  # the API delivers the videos and refuses the profile
    account_gone_per_year: float = FROM_PROFILE
    comments_closed: float = FROM_PROFILE
    comment_limit: int = FROM_PROFILE  # cursor + max_count at most, 0 for no limit
    nul_characters: float = FROM_PROFILE  # share of captions and handles with U+0000 inside

    # Faults by count, by day and by username.
    every_500: int = 0
    every_504: int = 0
    every_429: int = 0
    dead_days: frozenset[date] = frozenset()  # a search whose window holds one always fails with 500
    empty_days: frozenset[date] = frozenset()  # a search returns no hits of these days and no error
    empty_searches: int = 0  # the first N searches return no hits and no error
    breaking_usernames: frozenset[str] = frozenset()  # a search with one among several names fails with 500
    username_batch: int = FROM_PROFILE  # more names in one condition fail with 500, 0 for any number
    empty_group_500: bool = FROM_PROFILE

    # Faults by probability, drawn from the seed and the number of the call.
    p_500: float = FROM_PROFILE
    p_504: float = FROM_PROFILE
    p_undecodable: float = FROM_PROFILE  # status 200, body cut off
    p_token_failure: float = FROM_PROFILE
    p_no_cursor: float = FROM_PROFILE  # has_more without cursor
    p_stuck_cursor: float = FROM_PROFILE  # rows, has_more, and the cursor that was sent
    p_empty_page: float = FROM_PROFILE  # no rows, has_more, and the cursor that was sent
    p_empty_search: float = FROM_PROFILE  # a new search returns no hits and no error
    playlist_500: bool = FROM_PROFILE  # status 500 with the result in the body and no `message`
    users_500: float = FROM_PROFILE  # the same for user/*
    likes_status: int = FROM_PROFILE
    token_error_status: int = FROM_PROFILE

    # Forms of answers and requests that differ between reports (reference §13).
    empty_keys: bool = FROM_PROFILE  # False: answers without rows may lack `videos`, or `comments` or `cursor`
    empty_followers_key: bool = FROM_PROFILE  # False: accounts without followers have no key `user_followers`
    integer_values: bool = True  # conditions on numbers accept integers besides text

    # Searches.
    fresh_search_id_refusals: int = 0  # each search id is refused this number of times before it works
    p_fresh_search_id: float = FROM_PROFILE  # a search id is refused for 3 to 10 seconds after its issue
    search_lifetime: int = FROM_PROFILE  # seconds until a search id expires
    p_foreign_page: float = FROM_PROFILE  # continuation pages come from an older cached search
    foreign_page_searches: int = 0  # the same for the first N searches
    p_new_search_id: float = FROM_PROFILE  # a page carries another, equivalent id
    p_old_search_id: float = FROM_PROFILE  # the same, on continuation pages, with an id that looks eight months old
    only_newest_search_id: bool = False  # an id that was replaced by another is refused
    refuse_jumps: bool = False  # only cursors that the search has handed out are accepted; a new search begins at 0
    lower_case_regions: bool = FROM_PROFILE  # on continuation pages

    def __post_init__(self) -> None:
        """Fill in the profile's values. Raises ValueError with the name of an invalid field and its allowed values."""
        if self.profile not in PROFILES:
            raise ValueError(f"Sandbox profile {self.profile!r} is not known. Known profiles: {', '.join(PROFILES)}.")
        for name, value in PROFILES[self.profile].items():
            if getattr(self, name) is FROM_PROFILE:
                object.__setattr__(self, name, value)
        object.__setattr__(self, "volume_by_day", MappingProxyType(dict(self.volume_by_day)))
        for option in fields(self):
            value = getattr(self, option.name)
            if option.type is float and value < 0:
                raise ValueError(f"Sandbox field {option.name}={value} must not be below 0.")
            if option.name.startswith(("p_", "account_", "undeliverable", "users_500")) and value > 1:
                raise ValueError(f"Sandbox field {option.name}={value} is a share and must be between 0 and 1.")
        if not 1 <= self.videos_per_day <= 5000:
            raise ValueError(f"Sandbox field videos_per_day={self.videos_per_day} must be between 1 and 5000.")
        if self.fixed_volume is not None and not 0 <= self.fixed_volume <= 1_000_000:
            raise ValueError(f"Sandbox field fixed_volume={self.fixed_volume} must be between 0 and 1,000,000.")
        if self.date_header not in (allowed := get_args(DateHeader)):
            raise ValueError(f"Sandbox field date_header={self.date_header!r} must be one of {', '.join(allowed)}.")
        if self.videos_per_second < 1:
            raise ValueError(f"Sandbox field videos_per_second={self.videos_per_second} must be 1 or more.")
        if self.volume_by_day and self.fixed_volume is None:
            raise ValueError("Sandbox field volume_by_day needs fixed_volume, the volume of all other days.")
        for day, volume in self.volume_by_day.items():
            if not 0 <= volume <= 1_000_000:
                raise ValueError(f"Sandbox field volume_by_day={volume} of {day} must be between 0 and 1,000,000.")
        if self.start_time is not None and self.start_time.tzinfo is None:
            raise ValueError("Sandbox field start_time needs a time zone, such as datetime(2026, 3, 1, tzinfo=UTC).")
