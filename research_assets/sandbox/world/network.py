"""The relations of the world: follows, likes, reposts, pins and playlists.

One rule defines the follow graph in both directions: the k-th follower of X is account (a·k + b) mod P, with a and b
drawn for X, and P prime. Counting k up lists the followers of X. Inverting the rule shows whether Y follows X. Both
lists always agree, and no edge is stored. By this rule an account follows some fifty others. `sandbox_popular` also
follows one in 25 creators, so that a following list of several pages exists.
"""

from functools import cached_property, lru_cache
from random import Random

from research_assets.sandbox.world.accounts import CREATORS, HORIZON, PANEL, POPULATION, Account
from research_assets.sandbox.world.ids import DAY
from research_assets.sandbox.world.randomness import hash_parts
from research_assets.sandbox.world.render import playlist_id, playlist_parts
from research_assets.sandbox.world.videos import Video
from research_assets.sandbox.world.world import World

MAX_RELATIONS = 5000  # followers that the API lists at most (reference §7 #20)
_POPULAR = list(PANEL).index("sandbox_popular")
Relation = tuple[int, int]  # time of the follow in Unix seconds, index of the other account


class Network:
    """The relations of a world. Lists are sorted from newest to oldest."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seed = hash_parts(world.config.seed, 40)
        self._coefficients = lru_cache(maxsize=CREATORS)(self._draw_coefficients)

    def _draw_coefficients(self, index: int) -> tuple[int, int, int]:
        """Return a, its inverse, and b of an account's followers."""
        a = 1 + hash_parts(self._seed, index) % (POPULATION - 1)
        return a, pow(a, -1, POPULATION), hash_parts(self._seed, index, 1) % POPULATION

    def _followed_at(self, account: Account, k: int) -> int:
        """Return the time of the k-th follow. The rate grows with time; every second group of three shares a second."""
        k -= k % 3 if k // 3 % 2 else 0
        span = HORIZON - account.joined
        return account.joined + int(span * ((k + 1) / max(1, account.followers)) ** 0.5)

    def _popular_since(self, account: Account) -> int | None:
        """Return the time since which `sandbox_popular` follows an account apart from the rule; None if it does not."""
        draw, (_, inverse, b) = hash_parts(self._seed, account.index, 6), self._coefficients(account.index)
        in_rule = (_POPULAR - b) * inverse % POPULATION < 4 * account.followers + 10
        if account.index == _POPULAR or account.index >= CREATORS or draw % 25 or in_rule:
            return None
        return account.joined + draw // 25 % (HORIZON - account.joined)

    def follower_count(self, account: Account, at: float) -> int:
        """Return the number of all followers of an account at a time, listed or not."""
        since = self._popular_since(account)
        return len(self._draw_indexes(account, at)) + (since is not None and since <= at)

    def _draw_indexes(self, account: Account, at: float) -> range:
        if not account.followers or at <= account.joined:
            return range(0)
        share = ((at - account.joined) / (HORIZON - account.joined)) ** 2
        count = min(POPULATION // 2, int(account.followers * share) + 3)
        while count and self._followed_at(account, count - 1) > at:
            count -= 1
        return range(count)

    def followers(self, account: Account, at: float) -> list[Relation]:
        """Return the followers of an account that the API lists at a time: the newest 5,000, without itself."""
        return self._followers(account, at, MAX_RELATIONS)

    def all_followers(self, account: Account, at: float) -> list[Relation]:
        """Return all followers of an account at a time, listed or not, without itself."""
        return self._followers(account, at, POPULATION)

    def _followers(self, account: Account, at: float, most: int) -> list[Relation]:
        a, _, b = self._coefficients(account.index)
        found = [
            (self._followed_at(account, k), (a * k + b) % POPULATION)
            for k in reversed(self._draw_indexes(account, at)[-most:])
        ]
        found = [relation for relation in found if relation[1] != account.index]
        since = self._popular_since(account)
        if since is None or since > at:
            return found
        return sorted([*found, (since, _POPULAR)], key=lambda relation: -relation[0])[:most]

    def following(self, account: Account, at: float) -> list[Relation]:
        """Return the accounts that an account follows at a time."""
        index = account.index
        candidates = [
            (other, k)
            for other, inverse, b, max_followers in self._followed
            if (k := (index - b) * inverse % POPULATION) < max_followers and other != index
        ]
        creators = self._world.accounts.creators
        found: list[Relation] = [
            (self._followed_at(creators[o], k), o) for o, k in candidates if k in self._draw_indexes(creators[o], at)
        ]
        if index == _POPULAR:
            others = ((self._popular_since(creator), creator.index) for creator in creators)
            found += [(since, other) for since, other in others if since is not None and since <= at]
        return sorted(found, reverse=True)

    @cached_property
    def _followed(self) -> list[tuple[int, int, int, int]]:
        """Index, inverse, b and maximum number of followers of each account that has followers."""
        creators = (account for account in self._world.accounts.creators if account.followers)
        return [(c.index, *self._coefficients(c.index)[1:], 4 * c.followers + 10) for c in creators]

    def listed(self, relation: Relation, at: float) -> bool:
        """Return whether a list contains the other account of a relation: it is open and exists."""
        account = self._world.accounts[relation[1]]
        return account.state == "open" and not self._world.gone(account, at)

    def liked(self, account: Account, at: float) -> list[tuple[int, Video]]:
        """Return the videos that an account liked, with the time: up to 30 in each of the past 13 weeks."""
        return self._picked(account, at, kind=1, max_per_week=30)

    def reposted(self, account: Account, at: float) -> list[tuple[int, Video]]:
        """Return the videos that an account reposted, with the time; a third of the accounts repost none."""
        never = account.index >= len(PANEL) and hash_parts(self._seed, account.index, 5) % 3 == 0
        return [] if never else self._picked(account, at, kind=2, max_per_week=3)

    def _picked(self, account: Account, at: float, *, kind: int, max_per_week: int) -> list[tuple[int, Video]]:
        """Return videos that an account picked, each with its time. A pick does not depend on `at`."""
        found = []
        current_week = int(at // (7 * DAY))
        for week in range(current_week - 12, current_week + 1):
            rng = Random(hash_parts(self._seed, account.index, kind, week))
            for _ in range(rng.randrange(max_per_week + 1)):
                picked_at = week * 7 * DAY + rng.randrange(7 * DAY)
                # All picks of a week come from one day, so that few days of the world must be generated.
                video = self._world.video_at(week * 7 - 3, int(self._world.typical_volume * rng.random()))
                if video and picked_at <= at:
                    found.append((picked_at, video))
        newest = sorted(found, key=lambda pick: (-pick[0], pick[1].id))
        return list({video.id: (picked_at, video) for picked_at, video in reversed(newest)}.values())[::-1]

    def pinned(self, account: Account, at: float) -> list[Video]:
        """Return an account's pinned videos: those with most views of the 14 days before the current 30-day period."""
        first = int(at // DAY) // 30 * 30 - 14
        videos = self._world.posted(account, range(first, first + 14))
        return sorted(videos, key=lambda video: (-video.views, video.id))[: account.pins]

    def playlist(self, identity: int) -> tuple[Account, int, list[Video]] | None:
        """Return the owner, week (since 1970) and videos of a playlist; None if it never existed."""
        index, week, number = playlist_parts(identity)
        if index >= CREATORS or not 1400 <= week <= 5700 or playlist_id(index, week, number) != identity:
            return None
        account = self._world.accounts[index]
        posted = self._world.posted(account, range(week * 7, week * 7 + 7))
        videos = [video for video in posted if video.playlist == number]
        return (account, week, videos) if videos else None
