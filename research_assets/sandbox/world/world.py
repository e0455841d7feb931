"""The whole world behind the sandbox, as the endpoints and the truth see it at a moment.

It joins the parts: accounts, videos (social or flat), what is withdrawn, what can be delivered. It knows nothing of
requests, pages or faults.
"""

from collections.abc import Iterable, Sequence

from research_assets.sandbox.clock import SandboxClock
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.query import Query
from research_assets.sandbox.world.accounts import Account, Accounts
from research_assets.sandbox.world.fixed_volume import FixedVolumeVideos
from research_assets.sandbox.world.ids import DAY, IdLayout
from research_assets.sandbox.world.randomness import hash_parts, uniform
from research_assets.sandbox.world.render import VideoRenderer
from research_assets.sandbox.world.time_effects import visible_from, withdrawn_at
from research_assets.sandbox.world.videos import EPOCH, SocialVideos, Video


class World:
    """Everything that is the case, whether the API tells it or not. Moments are Unix seconds."""

    def __init__(self, config: SandboxConfig, clock: SandboxClock) -> None:
        self.config = config
        self.clock = clock
        self.accounts = Accounts(config)
        self.flat = FixedVolumeVideos(config, self.accounts) if config.fixed_volume is not None else None
        self.social = SocialVideos(config, self.accounts)
        self._renderer = VideoRenderer(config)
        self._seed = hash_parts(config.seed, 6)
        self.withdrawn: set[int] = set()  # ids that a test withdrew, beside those that fate withdraws
        self.removed: set[str] = set()  # usernames that a test removed

    @property
    def layout(self) -> IdLayout:
        """How this world's ids are made."""
        return self.flat.layout if self.flat else self.social.layout

    def now(self) -> float:
        """The present moment."""
        return self.clock.now().timestamp()

    # Videos

    def video(self, video_id: int) -> Video | None:
        """A video by id, delivered or not; None if there never was one."""
        return self.flat.video(video_id) if self.flat else self.social.video(video_id)

    def video_at(self, day: int, index: int) -> Video | None:
        """A video by its place; None if there never was one."""
        return self.flat.at(day, index) if self.flat else self.social.at(day, index)

    @property
    def typical_volume(self) -> int:
        """So many videos a day has at the least."""
        return self.flat.count if self.flat else int(self.config.videos_per_day * 0.7)

    @property
    def posting_rate(self) -> float:
        """Videos a day of a creator, for each unit of its weight."""
        return self.typical_volume / self.accounts.total_weight

    def posted(self, account: Account, days: Iterable[int]) -> list[Video]:
        """An account's videos of some days, by day; of a flat day only the first few hundred are looked at."""
        if self.flat:
            places = ((day, index) for day in days for index in range(min(self.flat.count, 400)))
            videos = (video for place in places if (video := self.flat.at(*place)))
        else:
            videos = (video for day in days for video in self.social.day(day))
        return [video for video in videos if video.creator is account]

    def hits(self, query: Query, at: float, *, silent: bool = True) -> list[int]:
        """Ids of all raw hits that a search at a moment counts, falling; of silent days none, unless told to."""
        quiet = {day.toordinal() - EPOCH for day in self.config.empty_days} if silent else set()
        first, last = query.start.toordinal() - EPOCH, query.end.toordinal() - EPOCH
        days = [day for day in range(first, min(last, int(at // DAY)) + 1) if day not in quiet]
        found = self._flat_hits(query, days, at) if self.flat else self._social_hits(query, days, at)
        found.sort(reverse=True)
        return found

    def _social_hits(self, query: Query, days: Iterable[int], at: float) -> list[int]:
        test, share, recent = query.test(), self.config.fresh_missing, at - 3 * DAY
        return [
            video.id
            for day in days
            for video in self.social.day(day)
            if test(video) and (video.create_time <= recent or visible_from(video.seed, video.create_time, share) <= at)
        ]

    def _flat_hits(self, query: Query, days: Sequence[int], at: float) -> list[int]:
        flat = self.flat
        assert flat is not None
        named = query.conditions("video_id")
        narrow = any(query.conditions(field) for field in ("video_id", "username", "create_date"))
        if named:
            ids = [int(value) for value in set(named[0].values) if flat.video(int(value))]
            ids = [video_id for video_id in ids if flat.layout.video_place(video_id)[0] in days]
        else:
            ids = [video_id for day in days for video_id in flat.ids(day)]
        if narrow:
            kept = [c for f in ("video_id", "username", "create_date") for c in query.conditions(f)]
            test = Query((("and", tuple(kept)),), query.start, query.end).test()
            ids = [video_id for video_id in ids if (video := flat.video(video_id)) and test(video)]
        if days and days[-1] * DAY > at - 3 * DAY:
            share = self.config.fresh_missing
            ids = [i for i in ids if visible_from(i, self.published(i), share) <= at]
        return ids

    def published(self, video_id: int) -> int:
        """When a video of this world was published."""
        video = self.video(video_id)
        return video.create_time if video else video_id >> 32

    def deliverable(self, ids: Sequence[int], at: float) -> list[int]:
        """Those of the ids that a page delivers at a moment, in the same order."""
        if self.flat:
            delivers, withdrawn, vanish = self.flat.delivers, self.withdrawn, self.config.withdrawn_per_year
            if self.flat.delivers_all:
                kept = list(ids)
            else:
                kept = [i for i, index in zip(ids, self.layout.indexes(ids), strict=True) if delivers[index]]
            if withdrawn:
                kept = [i for i in kept if i not in withdrawn]
            return [i for i in kept if withdrawn_at(i, i >> 32, vanish) > at] if vanish else kept
        return [video_id for video_id in ids if (video := self.video(video_id)) and self.delivers(video, at)]

    def delivers(self, video: Video, at: float) -> bool:
        """Whether a video can be delivered at a moment: it exists, is public, was not withdrawn, and is no mystery."""
        if self.flat:
            return bool(self.deliverable([video.id], at))
        if video.until is None:
            video.until = self._until(video)
        return (
            video.create_time <= at < video.until
            and video.id not in self.withdrawn
            and video.creator.username not in self.removed
        )

    def _until(self, video: Video) -> float:
        config = self.config
        if video.creator.state == "private" or uniform(video.seed, 14) < config.undeliverable:
            return 0.0
        return min(video.creator.gone_at, withdrawn_at(video.seed, video.create_time, config.withdrawn_per_year))

    def render(self, ids: Sequence[int], fields: tuple[str, ...], at: float) -> list[bytes]:
        """One JSON object per video id, with counts as delivered at a moment."""
        if self.flat:
            return self.flat.render(ids, fields, at)
        return self._renderer.fragments([video for i in ids if (video := self.video(i))], fields, at)

    # Accounts

    def gone(self, account: Account, at: float) -> bool:
        """Whether an account has left, by fate or by a test's wish."""
        return account.gone_at <= at or account.username in self.removed

    def account(self, username: str, at: float) -> Account | None:
        """The account with a username that exists at a moment."""
        account = self.accounts.named(username)
        return None if account is None or self.gone(account, at) else account
