"""A world that moves, collected for five weeks: the marts of two studies, and the truth about the world.

Videos are withdrawn, accounts leave, counts lag by up to ten days, new videos appear late, and the list of followers of
one account is longer than the API's reach. The collector runs on a sandbox in this process.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from research_assets.clock import week_of
from research_assets.collect.population import draw_population, write_population_table
from research_assets.planning.expected_units import write_expected_units, write_request_log
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.ground_truth import DayHits
from research_assets.settings import VARIABLES, Settings
from research_assets.study.day_sample import DaySample
from research_assets.study.spec import CommentRule, StudySpec, UserRule
from research_assets.warehouse.reader import connect_read_only
from research_assets_tests.collect.harness import START, CollectorHarness
from research_assets_tests.conftest import FakeClock
from research_assets_tests.warehouse.test_increment import build_and_publish

LISTS = ("followers", "following", "liked_videos", "reposted_videos", "pinned_videos")
STAR = "sandbox_star"
"""The account with more followers than the API lists."""

_QUERY = {"and": ({"operation": "EQ", "field_name": "hashtag_name", "field_values": ["gardening"]},)}
SAMPLE = StudySpec(
    name="sampled",
    start=START,
    end=START + timedelta(days=6),
    query=_QUERY,
    reobserve_days=(10, 30),
    comments=CommentRule("sample", fraction=0.5, seed=3),
    users=UserRule("authors"),
    panel=(STAR, "sandbox_beet", "sandbox_popular", "sandbox_likes", "sandbox_private"),
)
TOP = StudySpec(
    name="top",
    start=START,
    end=START + timedelta(days=2),
    query=_QUERY,
    comments=CommentRule("top", n=3),
    users=UserRule("none"),
)
SAMPLED_DAYS = StudySpec(
    name="sampled_days",
    start=START,
    end=START + timedelta(days=27),
    query=_QUERY,
    day_sample=DaySample(0.25, ("month",), seed=7),
    comments=CommentRule("sample", fraction=0.5, seed=3, replies="none"),
    users=UserRule("none"),
)
STUDIES = (SAMPLE, TOP)
DRAWN_DAY = START + timedelta(days=1)
"""Day of the random draws."""

FIRST_OBSERVATION = datetime(2026, 2, 10, 9, tzinfo=UTC)
"""Time of the first of five weekly observations. The seven days are then 2 to 8 days old."""

WEEKS = 5
CANARY_WEEK = 3
"""Week in which a canary check replaces the observation of videos."""
N_GONE = 5
"""Followers that leave between the second and the third observation."""
N_RENAMED = 3
"""Creators with many videos that get another name at that time; some of their videos are withdrawn at once."""


@dataclass(frozen=True)
class MovingWorld:
    """The data of five weeks, and the truth.

    `gone` are the followers of `STAR` that left, `withdrawn` videos of a test's choice. `hits` are the raw hits and the
    deliverable videos of the first study at each of the four observations of its videos.
    `findable` are the videos that the API returned at the time of the canary check.
    """

    harness: CollectorHarness
    gone: frozenset[str]
    withdrawn: frozenset[int]
    hits: tuple[DayHits, ...]
    findable: frozenset[int]

    @property
    def settings(self) -> Settings:
        return self.harness.settings

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query on the published marts."""
        with connect_read_only(self.settings.published_marts) as db:
            return db.execute(sql).fetchall()

    def followers(self, username: str, at: datetime) -> list[str]:
        """Return all followers of an account at a time, newest first, whether or not the API lists them."""
        world, network = self.harness.app.world, self.harness.app.ground_truth.network
        account = world.accounts.named(username)
        assert account is not None
        relations = network.all_followers(account, at.timestamp())
        return [world.accounts[other].username for _, other in relations]

    def is_gone(self, username: str) -> bool:
        """Return whether an account has left, or is private, now."""
        return self.harness.app.ground_truth.state(username) != "open"


async def _collect(harness: CollectorHarness, entity: str, partitions: Sequence[date], **options: Any) -> None:
    for study in options.pop("studies", STUDIES):
        _, pause = await harness.collect(entity, partitions, study, **options)
        assert pause is None, pause


def _busiest(harness: CollectorHarness) -> list[str]:
    """Return the three creators with the most videos so far."""
    counts = Counter(name for (name,) in harness.sql("SELECT username FROM {videos} GROUP BY id, username"))
    return [name for name, _ in counts.most_common(N_RENAMED)]


async def _observe(harness: CollectorHarness) -> MovingWorld:
    """Observe the accounts in five weeks and the videos in four."""
    app, clock = harness.app, harness.clock
    days = SAMPLE.days_until(clock.now())
    gone, withdrawn, hits = frozenset[str](), frozenset[int](), list[DayHits]()
    findable = frozenset[int]()
    for week in range(WEEKS):
        if week:
            clock.moment = FIRST_OBSERVATION + timedelta(weeks=week)
        if week == 2:
            listed = app.ground_truth.user(STAR)["followers"]
            gone = frozenset(listed[1000 : 1000 + N_GONE])
            app.world.removed |= gone
            withdrawn = frozenset(harness.ids()[::10])
            app.world.renamed |= {name: f"new_{name}" for name in _busiest(harness)}
            app.world.withdrawn |= withdrawn
        if week == CANARY_WEEK:
            await _collect(harness, "videos", days[:1], studies=[SAMPLE], canary_check=True)
            findable = frozenset(app.world.deliverable(harness.ids(), clock.now().timestamp()))
        else:
            query = {group: list(conditions) for group, conditions in _QUERY.items()}
            by_day = app.ground_truth.videos(query, days[0], days[-1]).values()
            hits.append(
                DayHits(
                    tuple(video for day in by_day for video in day.raw),
                    tuple(video for day in by_day for video in day.deliverable),
                )
            )
            await _collect(harness, "videos", days, studies=[SAMPLE], recollect=week > 0)
            await _collect(harness, "videos", days[:3], studies=[TOP], recollect=week > 0)
        if week in (0, 2, WEEKS - 1):
            await _collect(harness, "comments", days, studies=[SAMPLE], recollect=week > 0)
            await _collect(harness, "comments", days[:3], studies=[TOP], recollect=week > 0)
        period = [week_of(clock.now().date())]
        for entity in ("users", *LISTS):
            await _collect(harness, entity, period, studies=[SAMPLE])
        write_expected_units(harness.settings.raw, STUDIES, clock.now())
    every_day = SAMPLED_DAYS.days_until(clock.now())
    await _collect(harness, "videos", every_day, studies=[SAMPLED_DAYS])
    await _collect(harness, "comments", every_day, studies=[SAMPLED_DAYS])
    # The first day is collected a second time within a day, after three of its videos were withdrawn.
    of_day = f"study = '{SAMPLED_DAYS.name}' and day = '{every_day[0]}'"
    listed_ids = harness.sql(f"select distinct id from {{videos}} where {of_day} order by id limit 3")
    app.world.withdrawn |= {video for (video,) in listed_ids}
    clock.moment += timedelta(hours=3)
    await _collect(harness, "videos", every_day[:1], studies=[SAMPLED_DAYS], recollect=True)
    clock.moment -= timedelta(hours=3)
    write_expected_units(harness.settings.raw, (*STUDIES, SAMPLED_DAYS), clock.now())
    async with (context := harness.tools()).client:
        drawn = await draw_population(SAMPLE, DRAWN_DAY, 4, context)
    assert drawn.population is not None
    return MovingWorld(harness, gone, withdrawn, tuple(hits), findable)


def build_moving_world(root: Path) -> MovingWorld:
    """Collect the world of five weeks and publish its marts."""
    settings = Settings.from_env(
        {
            VARIABLES["root"].name: str(root),
            VARIABLES["api_url"].name: "http://127.0.0.1:9",
            VARIABLES["client_key"].name: "sandbox-key",
            VARIABLES["client_secret"].name: "sandbox-secret",
        }
    )
    config = SandboxConfig(
        videos_per_day=250,
        undeliverable=0.2,
        withdrawn_per_year=0.5,
        count_lag_days=10.0,
        mixed_lags=True,
        fresh_missing=0.4,
        fresh_missing_days=12.0,
        comments_closed=0.03,
        account_refused=0.04,
    )
    harness = CollectorHarness(settings, config, FakeClock(FIRST_OBSERVATION))
    world = asyncio.run(_observe(harness))
    write_request_log(harness.settings.raw, harness.ledger)
    write_population_table(harness.settings)
    build_and_publish(harness.settings)
    return world
