"""The world as the endpoints and the ground truth read it at a given time.

It combines accounts, videos (social or of fixed volume), withdrawals and the rules of delivery.
"""

from collections.abc import Iterable, Sequence

from research_assets.sandbox.clock import SandboxClock
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.query import Query
from research_assets.sandbox.world.accounts import Account, accounts_of
from research_assets.sandbox.world.fixed_volume import EFFECTIVE, FixedVolumeVideos
from research_assets.sandbox.world.ids import DAY, IdLayout
from research_assets.sandbox.world.randomness import hash_parts, uniform
from research_assets.sandbox.world.render import VideoRenderer
from research_assets.sandbox.world.time_effects import visible_from, withdrawn_at
from research_assets.sandbox.world.videos import EPOCH, SocialVideos, Video


class World:
    """All accounts and videos, including those that the API does not return. Times are Unix seconds."""

    def __init__(self, config: SandboxConfig, clock: SandboxClock) -> None:
        self.config = config
        self.clock = clock
        self.accounts = accounts_of(config)
        self.fixed_volume = FixedVolumeVideos(config, self.accounts) if config.fixed_volume is not None else None
        self.social = SocialVideos(config, self.accounts)
        self._renderer = VideoRenderer(config, self.username)
        self._seed = hash_parts(config.seed, 6)
        self.withdrawn: set[int] = set()  # ids that a test withdrew, in addition to those that the seed withdraws
        self.removed: set[str] = set()  # usernames that a test removed
        # New usernames by the original ones, which a test renamed. Conditions of searches know only the original ones.
        self.renamed: dict[str, str] = {}

    @property
    def layout(self) -> IdLayout:
        """The layout of this world's ids."""
        return self.fixed_volume.layout if self.fixed_volume else self.social.layout

    def now(self) -> float:
        """Return the current time."""
        return self.clock.now().timestamp()

    # Videos

    def video(self, video_id: int) -> Video | None:
        """Return the video with an id, delivered or not; None if it never existed."""
        return self.fixed_volume.video(video_id) if self.fixed_volume else self.social.video(video_id)

    def video_at(self, day: int, index: int) -> Video | None:
        """Return the video with an index of a day; None if it never existed."""
        return self.fixed_volume.at(day, index) if self.fixed_volume else self.social.at(day, index)

    @property
    def typical_volume(self) -> int:
        """A number of videos that most days have at least."""
        return self.fixed_volume.usual_count if self.fixed_volume else int(self.config.videos_per_day * 0.7)

    @property
    def posting_rate(self) -> float:
        """Videos per day of a creator, for each unit of its weight."""
        return self.typical_volume / self.accounts.total_weight

    def posted(self, account: Account, days: Iterable[int]) -> list[Video]:
        """Return an account's videos of some days, by day. With a fixed volume only the first 400 of a day are read."""
        if self.fixed_volume:
            positions = ((day, index) for day in days for index in range(min(self.fixed_volume.count(day), 400)))
            videos = (video for position in positions if (video := self.fixed_volume.at(*position)))
        else:
            videos = (video for day in days for video in self.social.day(day))
        return [video for video in videos if video.creator is account]

    def hits(self, query: Query, at: float, *, skip_empty_days: bool = True) -> list[int]:
        """Return the ids of all raw hits of a search at a time, in descending order.

        Hits of the configured `empty_days` are left out unless `skip_empty_days` is False.
        """
        skipped = {day.toordinal() - EPOCH for day in self.config.empty_days} if skip_empty_days else set()
        first, last = query.start.toordinal() - EPOCH, query.end.toordinal() - EPOCH
        days = [day for day in range(first, min(last, int(at // DAY)) + 1) if day not in skipped]
        found = self._fixed_volume_hits(query, days, at) if self.fixed_volume else self._social_hits(query, days, at)
        if not self.config.withdrawn_are_hits:
            found = [video_id for video_id in found if not self._is_withdrawn(video_id, at)]
        found.sort(reverse=True)
        return found

    def _social_hits(self, query: Query, days: Iterable[int], at: float) -> list[int]:
        matches = query.predicate()
        return [
            video.id
            for day in days
            for video in self.social.day(day)
            if matches(video) and self._is_visible(video.seed, video.create_time, at)
        ]

    def _is_visible(self, seed: int, create_time: int, at: float) -> bool:
        """Return whether searches find a video at a time."""
        days = self.config.fresh_missing_days
        if create_time <= at - days * DAY:
            return True
        return visible_from(seed, create_time, self.config.fresh_missing, days) <= at

    def _fixed_volume_hits(self, query: Query, days: Sequence[int], at: float) -> list[int]:
        fixed = self.fixed_volume
        assert fixed is not None
        matches = query.restricted_to(EFFECTIVE).predicate()
        id_conditions = query.conditions("video_id")
        if id_conditions:
            videos = [fixed.video(int(value)) for value in set(id_conditions[0].values)]
            ids = [video.id for video in videos if video and video.day in days and matches(video)]
        elif query.has_condition("create_date", "video_id"):
            positions = ((day, index) for day in days for index in range(fixed.count(day)))
            ids = [video.id for position in positions if (video := fixed.at(*position)) and matches(video)]
        elif query.has_condition(*EFFECTIVE):
            ids = [video_id for day in days for video_id in fixed.matching(day, matches)]
        else:
            ids = [video_id for day in days for video_id in fixed.ids(day)]
        if days and (days[-1] + 1) * DAY > at - self.config.fresh_missing_days * DAY:
            created = zip(ids, fixed.create_times(ids), strict=True)
            ids = [video_id for video_id, create_time in created if self._is_visible(video_id, create_time, at)]
        return ids

    def _is_withdrawn(self, video_id: int, at: float) -> bool:
        """Return whether a video was withdrawn, by the seed or by a test."""
        if video_id in self.withdrawn:
            return True
        per_year = self.config.withdrawn_per_year
        if self.fixed_volume:
            return withdrawn_at(video_id, video_id >> 32, per_year) <= at
        video = self.video(video_id)
        return video is not None and withdrawn_at(video.seed, video.create_time, per_year) <= at

    def deliverable(self, ids: Sequence[int], at: float) -> list[int]:
        """Return those of the ids that a page delivers at a time, in the same order."""
        if self.fixed_volume:
            delivers, withdrawn, per_year = self.fixed_volume.delivers, self.withdrawn, self.config.withdrawn_per_year
            if self.fixed_volume.delivers_all:
                kept = list(ids)
            else:
                kept = [i for i, index in zip(ids, self.layout.indexes(ids), strict=True) if delivers[index]]
            if withdrawn:
                kept = [i for i in kept if i not in withdrawn]
            return [i for i in kept if withdrawn_at(i, i >> 32, per_year) > at] if per_year else kept
        return [video_id for video_id in ids if (video := self.video(video_id)) and self.delivers(video, at)]

    def delivers(self, video: Video, at: float) -> bool:
        """Return whether a page can deliver a video at a time: it is public, not withdrawn and not undeliverable."""
        if self.fixed_volume:
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
        """Return one JSON object per video id, with counts as delivered at a time."""
        if self.fixed_volume:
            return self.fixed_volume.render(ids, fields, at)
        return self._renderer.fragments([video for i in ids if (video := self.video(i))], fields, at)

    # Accounts

    def gone(self, account: Account, at: float) -> bool:
        """Return whether an account has left, by the seed or because a test removed it."""
        return account.gone_at <= at or account.username in self.removed

    def username(self, account: Account) -> str:
        """Return the present username of an account."""
        return self.renamed.get(account.username, account.username)

    def account(self, username: str, at: float) -> Account | None:
        """Return the account with a username if it exists at a time; otherwise None."""
        if username in self.renamed:
            return None
        original = {new: old for old, new in self.renamed.items()}.get(username, username)
        account = self.accounts.named(original)
        return None if account is None or self.gone(account, at) else account
