"""Random stories: every unit that the collector calls complete is complete by the sandbox's truth.

A story is a sandbox with faults, a small study, and a plan of runs with kills, waits and changed caps. The truth of an
attempt are the items that searches found when it began and that the API still delivered when it ended; the API may
deliver or leave out all others.
"""

import asyncio
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, example, given
from hypothesis import strategies as st

from research_assets.quota.ledger import Ledger
from research_assets.sandbox.config import PROFILES, SandboxConfig
from research_assets.sandbox.query import parse
from research_assets.settings import VARIABLES, Settings
from research_assets.storage.captures import list_open_journals, read_events
from research_assets.storage.shared_duckdb import connect_shared
from research_assets.study.spec import CommentRule, StudySpec
from research_assets.tiktok.requests import MAX_COUNT
from research_assets.units.coverage import USERNAME_SEPARATOR
from research_assets.units.usernames import batchable_usernames
from research_assets_tests.collect.faulty_runs import assert_requests_accounted, cheap_worlds, collect_or_die
from research_assets_tests.collect.harness import START, CollectorHarness, days, study
from research_assets_tests.collect.test_username_batches import panel, usernames_of
from research_assets_tests.conftest import FakeClock
from research_assets_tests.profiles import sized

HOUR = timedelta(hours=1)
MAX_CALM_RUNS = 16
"""Runs within which everything available is complete once the API has no faults; each waits for the next try."""

FEW_FIELDS = {"videos": ("id", "create_time", "username", "region_code", "comment_count")}
"""Fields of a study whose pages are small."""

CALM = {name: 0.0 for name in PROFILES["clean"] if name.startswith("p_")} | {
    "every_429": 0,
    "every_500": 0,
    "quota_delay": 0.0,
    "users_500": 0.0,
    "research_cap": 1000,
    "search_lifetime": 86_400,
}
"""The values of the faults that end before the last runs of a story."""

faults = st.fixed_dictionaries(
    {"profile": st.sampled_from(["typical", "hostile", "dense"]), "seed": st.integers(0, 7)},
    optional={
        "undeliverable": st.sampled_from([0.0, 0.1, 0.34]),
        "withdrawn_per_year": st.sampled_from([0.0, 0.9]),
        "withdrawn_are_hits": st.just(False),
        "count_lag_days": st.sampled_from([0.0, 30.0]),
        "fresh_missing": st.sampled_from([0.0, 0.4, 0.9]),
        "fresh_missing_days": st.sampled_from([4.0, 10.0]),
        "date_header": st.just("absent"),
        "quota_delay": st.sampled_from([60.0, 5400.0]),
        "lower_case_regions": st.booleans(),
        "every_429": st.just(5),
        "every_500": st.just(7),
        "p_500": st.sampled_from([0.05, 0.2]),
        "p_504": st.just(0.05),
        "p_undecodable": st.just(0.05),
        "p_no_cursor": st.just(0.1),
        "p_stuck_cursor": st.just(0.1),
        "p_empty_page": st.just(0.2),
        "p_empty_search": st.sampled_from([0.0, 0.1]),
        "p_fresh_search_id": st.just(0.9),
        "p_foreign_page": st.sampled_from([0.0, 0.6]),
        "p_new_search_id": st.sampled_from([0.3, 0.9]),
        "p_old_search_id": st.sampled_from([0.1, 0.9]),
        "only_newest_search_id": st.just(True),
        "refuse_jumps": st.just(True),
        "search_lifetime": st.sampled_from([4, 60, 6 * 3600, 5 * 86_400]),
    },
)
runs = st.fixed_dictionaries(
    {"first": st.integers(0, 3), "count": st.integers(1, 4)},
    optional={
        "recollect": st.just(True),
        "retry_now": st.just(True),
        "kill_at": st.integers(1, 9),
        "cap": st.sampled_from([3, 6, 12]),
        "wait_hours": st.sampled_from([1, 12, 48, 240]),
    },
)


@dataclass(frozen=True)
class Story:
    """A sandbox, a study of `n_days`, the age of its last day at the first run, and the runs. Ages are in hours."""

    faults: Mapping[str, Any]
    page_size: int
    volumes: tuple[int, ...]  # by day
    plan: tuple[Mapping[str, Any], ...]
    age: int = 3000
    api_cap: int = 1000
    dead: frozenset[int] = frozenset()
    n_names: int = 0
    comments: int = 0


def volumes(page_size: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Days of very different sizes whose searches take few pages."""
    usual = [page_size // 3, page_size, 3 * page_size // 2]
    one = st.one_of(st.sampled_from(usual), st.sampled_from([0, 1, 3, page_size // 3, 3 * page_size]))
    equal = st.tuples(st.integers(2, 5), st.sampled_from(usual)).map(lambda pair: (pair[1],) * pair[0])
    return st.one_of(equal, st.lists(one, min_size=2, max_size=4).map(tuple))


def stories_of(page_size: int) -> st.SearchStrategy[Story]:
    # The collector recognizes pages of another search by their density, which takes pages of usual size.
    fixed = {} if page_size == MAX_COUNT else {"p_foreign_page": 0.0}
    per_second = st.sampled_from([1, page_size // 5])
    return st.builds(
        Story,
        faults=st.builds(lambda some, n: some | fixed | {"videos_per_second": n}, faults, per_second),
        page_size=st.just(page_size),
        volumes=volumes(page_size),
        plan=st.lists(runs, min_size=1, max_size=3).map(tuple),
        age=st.sampled_from([3000, 3000, 49, 73, 150]),
        api_cap=st.sampled_from([1000, 5, 12, 30]),
        dead=st.one_of(st.just(frozenset[int]()), st.integers(0, 3).map(lambda day: frozenset({day}))),
        n_names=st.sampled_from([0, 0, 0, 0, 0, 9]),
    )


stories = st.sampled_from([10, 20, MAX_COUNT]).flatmap(stories_of)
comment_stories = st.builds(
    Story,
    faults=faults,
    page_size=st.just(10),
    volumes=st.lists(st.integers(1, 2), min_size=1, max_size=2).map(tuple),
    plan=st.lists(runs, min_size=1, max_size=3).map(tuple),
    age=st.sampled_from([3000, 49, 150]),
    api_cap=st.sampled_from([1000, 12]),
    comments=st.sampled_from([3, 14, 25]),
)


@dataclass
class Teller:
    """A story in progress: its harness, and what its raw tables held after the run before."""

    harness: CollectorHarness
    story: Story
    spec: StudySpec
    ids: dict[tuple[str, date], set[int]] = field(default_factory=lambda: defaultdict(set))
    without: dict[date, set[str]] = field(default_factory=lambda: defaultdict(set))
    seen: set[Path] = field(default_factory=set)
    received: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, story: Story, folder: Path) -> "Teller":
        settings = Settings.from_env(
            {
                VARIABLES["root"].name: str(folder),
                VARIABLES["api_url"].name: "http://127.0.0.1:9",
                VARIABLES["page_size"].name: str(story.page_size),
                VARIABLES["username_batch"].name: "4",
            }
        )
        settings = replace(settings, client_key="sandbox-key", client_secret="sandbox-secret")
        config = SandboxConfig(
            **{
                **story.faults,
                "fixed_volume": 64,  # of other days; each of the 64 authors has one video
                "volume_by_day": {START + timedelta(days=n): volume for n, volume in enumerate(story.volumes)},
                "fixed_comments": story.comments,
                "research_cap": story.api_cap,
                "username_batch": 4,
                # One world of accounts per seed is enough.
                "account_private": 0.0,
                "account_refused": 0.0,
                "account_gone_per_year": 0.0,
                "dead_days": frozenset(START + timedelta(days=n) for n in story.dead if n < len(story.volumes)),
            }
        )
        if story.n_names:
            # Two empty searches in a row for a few accounts cannot be distinguished from a day without videos.
            config = replace(config, p_empty_search=0.0)
        clock = FakeClock(datetime(2026, 2, 1, 9, tzinfo=UTC) + timedelta(days=len(story.volumes), hours=story.age - 9))
        harness = CollectorHarness(settings, config, clock)
        spec = study(fields=FEW_FIELDS, comments=CommentRule("all" if story.comments else "none"))
        if story.n_names:
            spec = replace(spec, query=usernames_of(panel(harness, story.n_names)).query)
        return cls(harness, story, spec)

    @property
    def days(self) -> tuple[date, ...]:
        return days(len(self.story.volumes))

    async def tell(self) -> None:
        harness = self.harness
        for run in self.story.plan:
            partitions = self.days[run["first"] % len(self.days) :][: run["count"]]
            await self._run(partitions, run)
            harness.clock.advance(hours=run.get("wait_hours", 0))
        for name, value in CALM.items():
            object.__setattr__(harness.config, name, value)
        harness.app.quota.pools["research"].cap = 1000
        await self._calm()
        self._check_nothing_lost()

    async def _run(
        self, partitions: tuple[date, ...], run: Mapping[str, Any]
    ) -> tuple[dict[str, Any], datetime | None]:
        """Collect the videos, then their comments; return the results by entity, and when a pause ends."""
        harness, finished, pause = self.harness, {}, None
        cap = run.get("cap", 1000)
        before = Counter(row["day"] for row in harness.ledger.iter_requests())
        harness.ledger.close()
        harness.ledger = Ledger(harness.settings.ledger, {"research": cap, "follow": 1000}, harness.server_clock)
        for entity in ("videos", "comments") if self.story.comments else ("videos",):
            results, transport = await collect_or_die(
                harness,
                entity,
                partitions,
                self.spec,
                kill_at=run.get("kill_at"),
                recollect=run.get("recollect", False),
                retry_now=run.get("retry_now", False),
            )
            if results is not None:
                finished[entity], pause = results
                self.received |= _ids_of(transport.answers)
        after = Counter(row["day"] for row in harness.ledger.iter_requests())
        assert all(count <= max(cap, before[day]) for day, count in after.items()), f"ledger above {cap}: {after}"
        assert_requests_accounted(harness)
        self._check_complete()
        return finished, pause.retry_at if pause else None

    async def _calm(self) -> None:
        """Run until everything that is available is complete."""
        clock = self.harness.clock
        start = max(self.spec.settles_at(self.days[-1]) + 2 * HOUR, clock.now() + HOUR)
        clock.advance(seconds=(start - clock.now()).total_seconds())
        for _ in range(MAX_CALM_RUNS):
            finished, retry_at = await self._run(self.days, {})
            results = [result for by_day in finished.values() for result in by_day.values()]
            wrong = [result for result in results if result.state not in self._allowed(result.partition)]
            if retry_at is None and not wrong and finished["videos"].keys() == set(self.days):
                return
            tries = [result.next_try for result in wrong if result.next_try] + ([retry_at] if retry_at else [])
            wait = max(min(tries, default=clock.now()) - clock.now(), timedelta(0)) + 3 * HOUR
            clock.advance(seconds=wait.total_seconds())
        states = {f"{result.partition}": (result.state, result.reason) for result in results}
        raise AssertionError(f"no progress in {MAX_CALM_RUNS} runs without faults: {states}")

    def _allowed(self, day: date) -> set[str]:
        """The states that a day may keep."""
        if day in self.harness.config.dead_days:
            return {"quarantined", "not_asked"}
        # Without a single video nothing shows that the query works.
        found = any(ids for (entity, _), ids in self.ids.items() if entity == "videos")
        # A comment count of 0 stays open until a re-observation, which no run here makes.
        confirmed = {"complete"} | ({"too_fresh"} if self.story.comments else set())
        return confirmed if found else {*confirmed, "suspicious", "not_asked"}

    # Truth

    def _expected(self, kind: str, unit: str, partition: date, begun: datetime, ended: datetime) -> set[int]:
        """Return the ids that a complete unit has: found at the beginning, and still delivered at the end."""
        world, threads = self.harness.app.world, self.harness.app.ground_truth.threads
        since, until = begun.timestamp() - 1, ended.timestamp() + 1
        if kind == "day":
            body = {"start_date": f"{partition:%Y%m%d}", "end_date": f"{partition:%Y%m%d}"}
            query = {name: [dict(one) for one in group] for name, group in study().query.items()}
            hits = world.hits(parse({"query": query, **body}, world.config), since)
            names = set(batchable_usernames(self.spec.query))
            if names:
                names -= self.without[partition]
                hits = [i for i in hits if (video := world.video(i)) and video.creator.username in names]
            return set(world.deliverable(hits, until))
        if kind == "video":
            video = world.video(int(unit))
            assert video is not None
            comments = [] if threads.closed(video) else threads.top_level(video, since)
        else:
            found = threads.find(int(unit))
            assert found is not None
            video, comments = found[0], threads.replies(*found, since)
        return {comment.id for comment in comments if threads.delivers(video, comment, until)}

    def _check_complete(self) -> None:
        """Read the raw files of the newest run, and compare its complete units with the truth."""
        for entity in ("videos", "comments"):
            rows = self._new_rows(entity, "day, id, capture")
            assert len(rows) == len({(identifier, capture) for _, identifier, capture in rows}), "an id twice"
            for day, identifier, _ in rows:
                self.ids[entity, day].add(identifier)
        columns = "entity, partition, unit_kind, unit, first_at, last_at, state, reason"
        attempts = sorted(
            self._new_rows("coverage", columns), key=lambda row: row[5] or datetime.min.replace(tzinfo=UTC)
        )
        # A day is complete without the accounts whose searches fail; each of them has a row that says so.
        for _, partition, kind, unit, *_, state, _ in attempts:
            if kind == "account":
                change = (
                    self.without[partition].difference_update if state == "complete" else self.without[partition].update
                )
                change(unit.split(USERNAME_SEPARATOR))
        for entity, partition, kind, unit, begun, ended, state, reason in attempts:
            if state != "complete" or kind not in ("day", "video", "comment"):
                continue
            now = self.harness.clock.now()
            expected = self._expected(kind, unit, partition, begun or ended or now, ended or now)
            missing = expected - self.ids[entity, partition]
            assert not missing, (
                f"{kind} of {partition} is called complete without {len(missing)} of {len(expected)} ids "
                f"(begun {begun}, ended {ended}, reason: {reason})"
            )

    def _new_rows(self, table: str, columns: str) -> list[tuple[Any, ...]]:
        paths = [p for p in (self.harness.settings.raw / table).glob("*/*/*.parquet") if p not in self.seen]
        if not paths:
            return []
        self.seen.update(path for path in paths if not path.stem.endswith("-open"))
        files = ", ".join(f"'{path}'" for path in paths)
        with closing(connect_shared()) as db:
            source = f"read_parquet([{files}], hive_partitioning = true, hive_types = {{'day': DATE}})"
            return db.execute(f"SELECT {columns} FROM {source}").fetchall()

    def _check_nothing_lost(self) -> None:
        """Assert that all ids that runs received are in the raw tables, or in a journal that is still open."""
        captures, waiting = self.harness.settings.captures, list[bytes]()
        for entity in ("videos", "comments"):
            for path in list_open_journals(captures, entity, self.spec.name):
                waiting += [orjson.dumps(event["answer"]) for event in read_events(path) if event.get("answer")]
        lost = self.received.difference(*self.ids.values(), _ids_of(waiting))
        assert not lost, f"{len(lost)} received rows are in no raw table"


def _ids_of(answers: Iterable[bytes]) -> set[int]:
    """Return the ids in the responses that can be read."""
    ids = set[int]()
    for answer in answers:
        try:
            data = orjson.loads(answer).get("data") or {}
        except orjson.JSONDecodeError:
            continue
        ids.update(row["id"] for name in ("videos", "comments") for row in data.get(name) or ())
    return ids


def run_story(story: Story) -> None:
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        asyncio.run(Teller.of(story, folder / "data").tell())
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module", autouse=True)
def cheap() -> Iterator[None]:
    with cheap_worlds():
        yield


OPTIONS: dict[str, Any] = {
    "phases": (Phase.explicit, Phase.generate),
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}


LATE_VIDEOS = Story(
    faults={"profile": "typical", "seed": 0, "fresh_missing": 0.9, "fresh_missing_days": 10.0, "every_429": 5}
    | {"p_undecodable": 0.05, "only_newest_search_id": True, "undeliverable": 0.34, "videos_per_second": 20}
    | {"lower_case_regions": True, "count_lag_days": 30.0},
    page_size=100,
    volumes=(100,) * 5,
    plan=(
        {"first": 0, "count": 4, "retry_now": True, "wait_hours": 240},
        {"first": 1, "count": 2, "cap": 3, "retry_now": True, "recollect": True, "kill_at": 7, "wait_hours": 240},
        {"first": 2, "count": 4, "cap": 3, "retry_now": True, "recollect": True, "kill_at": 1},
    ),
    age=49,
    api_cap=5,
    dead=frozenset({3}),
    n_names=0,
    comments=0,
)
"""A search is continued days later by a fresh one, whose pages also show videos that the API did not have before: they
lie above the place at which the search stopped, among those that were read."""


UNDELIVERED_DAY = Story(
    faults={"profile": "dense", "seed": 1, "undeliverable": 0.34, "count_lag_days": 30.0, "withdrawn_per_year": 0.9}
    | {"p_undecodable": 0.05, "p_fresh_search_id": 0.9, "search_lifetime": 4, "p_foreign_page": 0.6}
    | {"p_empty_search": 0.0, "date_header": "absent", "p_new_search_id": 0.9, "videos_per_second": 1},
    page_size=100,
    volumes=(300, 1, 300, 1),
    plan=({"first": 1, "count": 4, "retry_now": True},),
    age=3000,
    api_cap=1000,
    dead=frozenset({1}),
    n_names=0,
    comments=0,
)
"""The API counts the only video of the last day, but never delivers it: the day is not empty, and ends complete."""


EARLY_UPLOAD_ON_FOREIGN_PAGE = Story(
    faults={"profile": "dense", "seed": 1, "p_foreign_page": 0.6, "p_504": 0.05, "every_500": 7}
    | {"videos_per_second": 20},
    page_size=100,
    volumes=(300, 33),
    plan=({"first": 0, "count": 3},),
    age=49,
    api_cap=1000,
    dead=frozenset(),
    n_names=0,
    comments=0,
)
"""The last page is of another search: it skips 14 hours, and one of its videos was uploaded before the window."""


@given(story=stories)
@example(story=LATE_VIDEOS)
@example(story=EARLY_UPLOAD_ON_FOREIGN_PAGE)
@example(story=UNDELIVERED_DAY)
@sized(255, 8_500, **OPTIONS)
def test_complete_days_are_complete_in_random_stories(story: Story) -> None:
    run_story(story)


@given(story=comment_stories)
@sized(45, 1_500, **OPTIONS)
def test_complete_comments_are_complete_in_random_stories(story: Story) -> None:
    run_story(story)
