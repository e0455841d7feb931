"""Who follows whom, who likes, reposts and pins what, and which videos make a playlist.

The follow graph is one rule read in two directions: the k-th follower of X is account (a·k + b) mod P with a and b
drawn for X, and P prime. So the followers of X are listed by counting k up, and whether Y follows X is one inversion:
both lists always agree, and no edge is stored.
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
Relation = tuple[int, int]  # moment of following in Unix seconds, number of the other account


class Network:
    """The relations of a world. Lists of relations run from the newest to the oldest."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seed = hash_parts(world.config.seed, 40)
        self._lines = lru_cache(maxsize=CREATORS)(self._line)

    def _line(self, index: int) -> tuple[int, int, int]:
        """The a, its inverse and the b of an account's followers."""
        a = 1 + hash_parts(self._seed, index) % (POPULATION - 1)
        return a, pow(a, -1, POPULATION), hash_parts(self._seed, index, 1) % POPULATION

    def _when(self, account: Account, k: int) -> int:
        """When the k-th follower came, more and more of them as time goes on; every other three in the same second."""
        k -= k % 3 if k // 3 % 2 else 0
        span = HORIZON - account.joined
        return account.joined + int(span * ((k + 1) / max(1, account.followers)) ** 0.5)

    def follower_count(self, account: Account, at: float) -> int:
        """All followers of an account at a moment, listed or not."""
        return len(self._draw_indexes(account, at))

    def _draw_indexes(self, account: Account, at: float) -> range:
        if not account.followers or at <= account.joined:
            return range(0)
        share = ((at - account.joined) / (HORIZON - account.joined)) ** 2
        count = min(POPULATION // 2, int(account.followers * share) + 3)
        while count and self._when(account, count - 1) > at:
            count -= 1
        return range(count)

    def followers(self, account: Account, at: float) -> list[Relation]:
        """The followers of an account that the API reaches at a moment: the newest 5,000, self excluded."""
        a, _, b = self._lines(account.index)
        found = [
            (self._when(account, k), (a * k + b) % POPULATION)
            for k in reversed(self._draw_indexes(account, at)[-MAX_RELATIONS:])
        ]
        return [relation for relation in found if relation[1] != account.index]

    def following(self, account: Account, at: float) -> list[Relation]:
        """The accounts that an account follows at a moment."""
        index = account.index
        near = [
            (other, k)
            for other, inverse, b, most in self._followed
            if (k := (index - b) * inverse % POPULATION) < most and other != index
        ]
        creators = self._world.accounts.creators
        found = [(self._when(creators[o], k), o) for o, k in near if k in self._draw_indexes(creators[o], at)]
        return sorted(found, reverse=True)

    @cached_property
    def _followed(self) -> list[tuple[int, int, int, int]]:
        """Of each account that anybody follows: number, inverse and b of its followers, how many at most."""
        creators = (account for account in self._world.accounts.creators if account.followers)
        return [(c.index, *self._lines(c.index)[1:], 4 * c.followers + 10) for c in creators]

    def listed(self, relation: Relation, at: float) -> bool:
        """Whether the other account of a relation shows on a list: it is public and still there."""
        account = self._world.accounts[relation[1]]
        return account.state == "open" and not self._world.gone(account, at)

    def liked(self, account: Account, at: float) -> list[tuple[int, Video]]:
        """Videos that an account liked, with the moment, the newest first: some each week of the past three months."""
        return self._picked(account, at, kind=1, most=30)

    def reposted(self, account: Account, at: float) -> list[tuple[int, Video]]:
        """Videos that an account reposted, with the moment, the newest first; many accounts never do."""
        never = account.index >= len(PANEL) and hash_parts(self._seed, account.index, 5) % 3 == 0
        return [] if never else self._picked(account, at, kind=2, most=3)

    def _picked(self, account: Account, at: float, *, kind: int, most: int) -> list[tuple[int, Video]]:
        """Each week an account picks some videos of one day; a pick does not depend on when it is asked about."""
        found = []
        this = int(at // (7 * DAY))
        for week in range(this - 12, this + 1):
            rng = Random(hash_parts(self._seed, account.index, kind, week))
            for _ in range(rng.randrange(most + 1)):
                moment = week * 7 * DAY + rng.randrange(7 * DAY)
                # All pick from one day, so that few days of the world need to be made.
                video = self._world.video_at(week * 7 - 3, int(self._world.typical_volume * rng.random()))
                if video and moment <= at:
                    found.append((moment, video))
        newest = sorted(found, key=lambda pick: (-pick[0], pick[1].id))
        return list({video.id: (moment, video) for moment, video in reversed(newest)}.values())[::-1]

    def pinned(self, account: Account, at: float) -> list[Video]:
        """An account's pinned videos: its most seen of the two weeks before the month began."""
        first = int(at // DAY) // 30 * 30 - 14
        videos = self._world.posted(account, range(first, first + 14))
        return sorted(videos, key=lambda video: (-video.views, video.id))[: account.pins]

    def playlist(self, identity: int) -> tuple[Account, int, list[Video]] | None:
        """The playlist with an id: its owner, its week (since 1970), its videos; None if there never was one."""
        index, week, number = playlist_parts(identity)
        if index >= CREATORS or not 1400 <= week <= 5700 or playlist_id(index, week, number) != identity:
            return None
        account = self._world.accounts[index]
        posted = self._world.posted(account, range(week * 7, week * 7 + 7))
        videos = [video for video in posted if video.playlist == number]
        return (account, week, videos) if videos else None
