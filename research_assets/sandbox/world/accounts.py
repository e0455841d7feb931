"""The accounts of the world: creators, whose posting follows a power law, and accounts that only follow and like.

Creators are generated at start, other accounts on first access. An account's index determines all its properties.
"""

from bisect import bisect
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from random import Random

from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.world import text, vocabulary
from research_assets.sandbox.world.randomness import hash_parts, time_to_event, uniform

CREATORS = 6000
POPULATION = 40_009  # a prime, so that a multiplication permutes the accounts (see `network`)
HORIZON = 1_767_225_600  # 2026-01-01: the time to which `followers` refers
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Account:
    """One account. `state` is open, private (the API delivers nothing) or refused (it delivers videos, no profile)."""

    index: int
    username: str
    display_name: str
    region: str
    topic: str
    weight: float  # of posting, relative
    followers: int  # at HORIZON
    joined: int  # Unix seconds
    state: str = "open"
    gone_at: float = _NEVER  # Unix seconds; renamed, banned or deleted from then on
    likes_public: bool = False
    following_public: bool = True
    pins: int = 0
    is_verified: bool = False

    @property
    def language(self) -> str:
        """The language of its texts."""
        return vocabulary.REGIONS[self.region][1]


PANEL: dict[str, str] = {
    "sandbox_beet": "an ordinary gardener in DE with pins, reposts and a public following list",
    "sandbox_balkon": "an ordinary gardener in AT with a private following list",
    "sandbox_popular": "a gardener in DE with several hundred followers, following several hundred accounts",
    "sandbox_star": "a gardener in AT with more followers than the API lists",
    "sandbox_likes": "an account in DE whose likes are public",
    "sandbox_private": "a private account: all requests for it are refused",
    "sandbox_missing": "an account that does not exist",
}
"""Usernames that exist in every world, for any seed, and the purpose of each."""

_PANEL_ACCOUNTS = (
    Account(0, "sandbox_beet", "Beet 🌱", "DE", "gardening", 30, 140, 1_600_000_000, pins=3),
    Account(1, "sandbox_balkon", "Balkon", "AT", "gardening", 22, 60, 1_650_000_000, following_public=False, pins=1),
    Account(2, "sandbox_popular", "Popular 🌻", "DE", "gardening", 40, 460, 1_580_000_000, pins=2, is_verified=True),
    Account(3, "sandbox_star", "Star ✨", "AT", "gardening", 48, 9_300, 1_560_000_000, pins=3, is_verified=True),
    Account(4, "sandbox_likes", "Likes ❤️", "DE", "gardening", 14, 35, 1_640_000_000, likes_public=True),
    Account(5, "sandbox_private", "Private", "DE", "gardening", 12, 80, 1_620_000_000, state="private"),
)


class Accounts:
    """All accounts of a world, by index and by username; they never change."""

    def __init__(self, seed: int, private: float, refused: float, gone_per_year: float) -> None:
        """`private` and `refused` are shares of the accounts; `gone_per_year` is the yearly rate of leaving."""
        self._private, self._refused, self._gone_per_year = private, refused, gone_per_year
        self._seed = hash_parts(seed, 1)
        self._regions = list(vocabulary.REGIONS), list(accumulate(weight for weight, _ in vocabulary.REGIONS.values()))
        self._topics = list(vocabulary.TOPICS), list(accumulate(topic.weight for topic in vocabulary.TOPICS.values()))
        self.creators = [*_PANEL_ACCOUNTS, *(self._make(index) for index in range(len(_PANEL_ACCOUNTS), CREATORS))]
        self._panel = {account.username: account for account in _PANEL_ACCOUNTS}
        self._cumulated = list(accumulate(account.weight for account in self.creators))
        self._non_creator = lru_cache(maxsize=20_000)(self._make)

    def __getitem__(self, index: int) -> Account:
        """Return the account with an index below POPULATION."""
        return self.creators[index] if index < CREATORS else self._non_creator(index)

    def named(self, username: str) -> Account | None:
        """Return the account with a username; None if it never existed. Like the API, it ignores case."""
        username = username.replace("\0", "").lower()
        if username in self._panel:
            return self._panel[username]
        digits = username[len(username.rstrip("0123456789")) :]
        if not digits or len(digits) > 6 or not len(_PANEL_ACCOUNTS) <= int(digits) < POPULATION:
            return None
        account = self[int(digits)]
        return account if account.username == username else None

    @property
    def total_weight(self) -> float:
        """The sum of all creators' weights."""
        return self._cumulated[-1]

    def posting(self, draw: float) -> Account:
        """Return the creator of a new video for a random number in [0, 1)."""
        return self.creators[bisect(self._cumulated, draw * self._cumulated[-1])]

    def _make(self, index: int) -> Account:
        seed = hash_parts(self._seed, index)
        rng = Random(seed)
        region = self._regions[0][bisect(self._regions[1], rng.random() * self._regions[1][-1])]
        topic = self._topics[0][bisect(self._topics[1], rng.random() * self._topics[1][-1])]
        creator = index < CREATORS
        draw = rng.random()
        state = "private" if draw < self._private else "open"
        if self._private <= draw < self._private + self._refused:
            state = "refused"
        popularity = rng.paretovariate(0.75) if creator else 0.0
        return Account(
            index=index,
            username=text.handle(index),
            display_name=text.display_name(rng),
            region=region,
            topic=topic,
            weight=min(150.0, rng.paretovariate(0.9)) if creator else 0.0,
            followers=min(POPULATION // 3, int(12 * popularity)),
            joined=1_546_300_800 + int(rng.random() * 170_000_000),
            state=state,
            # No account leaves before HORIZON. Otherwise days that studies often request would have few videos.
            gone_at=HORIZON + time_to_event(self._gone_per_year, uniform(seed, 2)),
            likes_public=rng.random() < 0.04,
            following_public=rng.random() < 0.6,
            pins=text.pick(rng, (0, 0, 1, 2, 3)) if creator else 0,
            is_verified=popularity > 200,
        )


@lru_cache(maxsize=8)
def _accounts(seed: int, private: float, refused: float, gone_per_year: float) -> Accounts:
    return Accounts(seed, private, refused, gone_per_year)


def accounts_of(config: SandboxConfig) -> Accounts:
    """Return the accounts of a world; worlds that differ in other settings share them."""
    return _accounts(config.seed, config.account_private, config.account_refused, config.account_gone_per_year)
