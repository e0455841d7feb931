"""An increment ends with the same marts as a full refresh."""

import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest

from research_assets.settings import Settings
from research_assets.storage import raw_writer
from research_assets.warehouse import build
from research_assets_tests.warehouse.raw_data import (
    at,
    make_attempt,
    new_id,
    new_settings,
    seconds,
    video,
    write,
    write_raw_data,
)

STUDY = "story"
FIRST = date(2026, 2, 1)
NAMES = ("anna", "ben", "carl", "dora", "eva")


def build_and_publish(settings: Settings, *, full_refresh: bool = False) -> str | None:
    """Build and publish without Dagster; return the reason for a full refresh, None for an increment."""
    with build.build_lock(settings):
        raw_writer.ensure_tables(settings.raw)
        now = datetime(2026, 6, 1, tzinfo=UTC)
        build_input, results = build.build_warehouse(
            settings, full_refresh=full_refresh, now=now, progress=lambda *_: None
        )
        assert [f"{result.name}: {result.message}" for result in results if result.failed] == []
        build.publish_warehouse(settings, build_input)
    return build_input.full_refresh_reason


def differences(one: Settings, other: Settings) -> dict[str, int]:
    """Return the number of rows that only one of two warehouses has, by mart."""
    with duckdb.connect() as db:
        for name, settings in (("one", one), ("other", other)):
            db.execute(f"attach '{settings.warehouse}' as {name} (read_only)")
        marts = db.execute(
            "select distinct schema_name || '.' || table_name from duckdb_tables() "
            "where database_name in ('one', 'other')"
        ).fetchall()
        counts = {}
        for (mart,) in marts:
            ((n,),) = db.execute(
                f"select count(*) from ((from one.{mart} except all from other.{mart}) union all "
                f"(from other.{mart} except all from one.{mart}))"
            ).fetchall()
            counts[mart] = n
    return {mart: n for mart, n in counts.items() if n}


class RandomCollection:
    """Raw files as a collector may write them: new days, late days, re-observed days, pauses, lists, second studies."""

    def __init__(self, raw: Path, seed: int) -> None:
        self.raw, self.random, self.captures = raw, Random(seed), 0
        self.days = 0
        self.open_journals: list[tuple[date, str]] = []

    def events(self) -> list[Callable[[], None]]:
        """Return the possible events in a fixed order, so that a seed always yields the same events."""
        return [self.new_day, self.new_day, self.reobserve, self.comments, self.profiles, self.lists, self.likes,
                self.pause, self.requests, self.rejected, self.expected_units]  # fmt: skip

    def new_day(self) -> None:
        """Write the videos of the next day."""
        self.days += 1
        self._videos(self.days, age=3)

    def reobserve(self) -> None:
        """Write another observation of an earlier day."""
        if self.days:
            self._videos(self.random.randint(1, self.days), age=self.random.randint(4, 30))

    def comments(self) -> None:
        """Write the comments of some videos of a day, with replies; sampled or not."""
        day = FIRST + timedelta(days=self.random.randint(0, 6))
        capture, observed_at = self._capture(), self._time(day, self.random.randint(3, 30))
        probability = self.random.choice([0.1, 0.5, 1.0])
        rows, attempts = [], []
        for number in self.random.sample(range(8), 3):
            video_id = self._id(day, number)
            comment_ids: list[int] = []
            for position in range(self.random.randint(0, 3)):
                parent = self.random.choice([video_id, *comment_ids])
                identity = (seconds(self._time(day, 1)) << 32) | number * 10 + position
                comment_ids.append(identity)
                rows.append({
                    "id": identity, "video_id": video_id, "asked_video_id": video_id, "parent_comment_id": parent,
                    "asked_comment_id": None if parent == video_id else comment_ids[0], "position": position,
                    "text": "x", "observed_at": observed_at,
                    "create_time": identity >> 32, "like_count": self.random.randint(0, 9),
                })  # fmt: skip
            state = self.random.choice(["complete", "complete", "partial"])
            attempt = make_attempt("comments", day, "video", str(video_id), state, observed_at, kept=len(rows))
            selected = {"inclusion_probability": probability, "selection": "sample", "selected_at": observed_at}
            if self.random.random() < 0.3:
                rank = self.random.randint(1, 3)
                selected |= {"inclusion_probability": None, "selection": "top", "selection_rank": rank}
            attempts.append(attempt | selected)
        if rows:
            write(self.raw, "comments", STUDY, day, capture, rows)
        self._write_attempts(capture, observed_at, attempts)

    def profiles(self) -> None:
        """Write profiles of a period, which may be older than the stored ones."""
        day = FIRST + timedelta(days=self.random.randint(0, 40))
        capture, observed_at = self._capture(), self._time(day, 0)
        names = self.random.sample(NAMES, 3)
        rows = [
            {"asked_username": name, "follower_count": self.random.randint(0, 99), "observed_at": observed_at}
            for name in names
        ]
        write(self.raw, "users", STUDY, day, capture, rows)
        attempts = [make_attempt("users", day, "account", name, "complete", observed_at) for name in names]
        self._write_attempts(capture, observed_at, attempts)

    def lists(self) -> None:
        """Write a list of followers or of followed accounts, complete or partial."""
        self._list(self.random.choice(["followers", "following"]), lambda name: {"username": name})

    def likes(self) -> None:
        """Write the liked, reposted or pinned videos of an account."""
        self._list(
            self.random.choice(["liked_videos", "reposted_videos", "pinned_videos"]),
            lambda name: video(self._id(FIRST, len(name)), name, at(1), view_count=self.random.randint(0, 99)),
        )

    def pause(self) -> None:
        """Write the coverage of an open journal; the next call seals the journal and removes that file."""
        if self.open_journals:
            day, capture = self.open_journals.pop()
            for path in (self.raw / "coverage").glob(f"study=*/day=*/{capture}-open.parquet"):
                path.unlink()
            state = "complete"
        else:
            day, capture, state = FIRST + timedelta(days=self.random.randint(0, 9)), self._capture(), "partial"
            self.open_journals.append((day, capture))
        suffix = "" if state == "complete" else "-open"
        observed_at = self._time(day, 5)
        attempt = make_attempt("videos", day, "day", str(day), state, observed_at)
        self._write_attempts(f"{capture}{suffix}", observed_at, [attempt])

    def requests(self) -> None:
        """Rewrite the requests of a day with another number of them."""
        rows = [
            {"pool": "research", "endpoint": "video_query", "code": "ok", "rows": n, "sent_at": at(20), "latency_ms": n}
            for n in range(self.random.randint(1, 9))
        ]
        write(self.raw, "requests", STUDY, date(2026, 2, self.random.randint(20, 22)), "requests", rows)

    def rejected(self) -> None:
        """Add rejected elements of two units on one collection day."""
        rows = [
            {"entity": "videos", "unit": f"2026-02-0{n % 2 + 1}", "reason": "no id", "observed_at": at(21)}
            for n in range(self.random.randint(1, 9))
        ]
        write(self.raw, "rejected", STUDY, date(2026, 2, self.random.randint(20, 22)), self._capture(), rows)

    def expected_units(self) -> None:
        """Replace the expected units of some days: the day, and comments of single videos."""
        for day in (FIRST + timedelta(days=n) for n in self.random.sample(range(12), 4)):
            shutil.rmtree(self.raw / "expected_units" / f"study={STUDY}" / f"day={day}", ignore_errors=True)
            due = at(self.random.randint(1, 28), month=self.random.choice([5, 6]))
            rows = [{"entity": "videos", "partition": day, "unit_kind": "day", "unit": str(day), "due_at": due}]
            rows += [
                {
                    "entity": "comments",
                    "partition": day,
                    "unit_kind": "video",
                    "unit": str(self._id(day, n)),
                    "due_at": due,
                }
                for n in self.random.sample(range(8), self.random.randint(0, 3))
            ]
            write(self.raw, "expected_units", STUDY, day, f"day-{self.random.randint(1, 999)}", rows)

    def _videos(self, number: int, age: int) -> None:
        day = FIRST + timedelta(days=number - 1)
        capture, observed_at = self._capture(), self._time(day, age)
        rows = [
            video(
                self._id(day, index), self._creator(), observed_at, hashtag_names=self.random.sample("abcdE", 2),
                view_count=self.random.randint(0, 999), like_count=self.random.randint(0, 99), comment_count=index,
            )
            for index in self.random.sample(range(14), self.random.randint(1, 14))
        ]  # fmt: skip
        write(self.raw, "videos", STUDY, day, capture, rows)
        attempt = make_attempt("videos", day, "day", str(day), "complete", observed_at, kept=len(rows))
        self._write_attempts(capture, observed_at, [attempt])

    def _creator(self) -> str:
        """Return the creator at this observation; some names disappear again with their only video."""
        return self.random.choice([*NAMES, f"rare{self.random.randint(1, 20)}"])

    def _list(self, entity: str, record: Callable[[str], dict[str, Any]]) -> None:
        account, day = self.random.choice(NAMES), FIRST + timedelta(days=7 * self.random.randint(0, 4))
        capture, observed_at = self._capture(), self._time(day, 0)
        listed = self.random.sample(NAMES, self.random.randint(0, 3))
        rows = [
            record(name) | {"asked_username": account, "observed_at": observed_at, "position": position}
            for position, name in enumerate(listed)
        ]
        if rows:
            write(self.raw, entity, STUDY, day, capture, rows)
        state = self.random.choice(["complete", "partial"])
        started_at = observed_at - timedelta(minutes=5)
        attempt = make_attempt(entity, day, "account", account, state, started_at, kept=len(rows), expected=4)
        self._write_attempts(capture, observed_at, [attempt])

    def _write_attempts(self, capture: str, ended_at: datetime, rows: list[dict[str, Any]]) -> None:
        write(self.raw, "coverage", STUDY, ended_at.date(), capture, [row | {"capture": capture} for row in rows])

    def _capture(self) -> str:
        self.captures += 1
        return f"c{self.captures:03}"

    def _time(self, day: date, later: int) -> datetime:
        """Return a time that no other capture has, as with a real clock."""
        return datetime(day.year, day.month, day.day, 10, tzinfo=UTC) + timedelta(days=later, seconds=self.captures)

    def _id(self, day: date, number: int) -> int:
        return new_id(datetime(day.year, day.month, day.day, 8, tzinfo=UTC), number)


@pytest.mark.parametrize("seed", [23, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(12))])
def test_increment_equals_full_refresh(tmp_path: Path, seed: int, request: pytest.FixtureRequest) -> None:
    incremental, refreshed = new_settings(tmp_path / "incremental"), new_settings(tmp_path / "refreshed")
    write_raw_data(incremental.raw)
    collection = RandomCollection(incremental.raw, seed)
    for event in collection.events():
        event()
    assert build_and_publish(incremental) == "no published warehouse matches this dbt project"
    # The long lane compares after each of three increments, otherwise the second one is compared. Both have 24 events.
    long = request.config.option.long
    n_increments, n_events = (3, 8) if long else (2, 12)
    for number in range(1, n_increments + 1):
        for event in collection.random.choices(collection.events(), k=n_events):
            event()
        assert build_and_publish(incremental) is None
        if not long and number < n_increments:
            continue
        shutil.rmtree(refreshed.raw, ignore_errors=True)
        shutil.copytree(incremental.raw, refreshed.raw)
        build_and_publish(refreshed, full_refresh=True)
        assert differences(incremental, refreshed) == {}
    removed = max((incremental.raw / "videos").glob(f"study={STUDY}/day=*/*.parquet"))
    removed.unlink()
    (refreshed.raw / removed.relative_to(incremental.raw)).unlink()
    assert build_and_publish(incremental) == f"raw/{removed.relative_to(incremental.raw)} was removed"
    assert differences(incremental, refreshed)["marts.videos"] > 0
    build_and_publish(refreshed)
    assert differences(incremental, refreshed) == {}


def test_increment_removes_renamed_creators_and_updates_examples_and_missed_videos(tmp_path: Path) -> None:
    incremental, refreshed = new_settings(tmp_path / "incremental"), new_settings(tmp_path / "refreshed")

    def write_videos(raw: Path, capture: str, day: date, age: int, creator: str, likes: int) -> None:
        published_at = datetime(day.year, day.month, day.day, 9, tzinfo=UTC)
        rows = [
            video(new_id(published_at, n), creator, published_at + timedelta(days=age), like_count=likes, share_count=n)
            for n in range(12)
        ]
        write(raw, "videos", STUDY, day, capture, rows)

    quiet = FIRST + timedelta(days=5)
    write_videos(incremental.raw, "c0", quiet, 3, "quiet", 2)
    write_videos(incremental.raw, "c1", FIRST, 3, "renamed_later", 1)
    build_and_publish(incremental)
    # A complete observation that returns nothing writes no file of the day.
    empty = make_attempt("videos", quiet, "day", str(quiet), "complete", at(20))
    write(incremental.raw, "coverage", STUDY, date(2026, 2, 20), "c4", [empty])
    write_videos(incremental.raw, "c2", FIRST, 30, "renamed", 2)
    write_videos(incremental.raw, "c3", FIRST + timedelta(days=10), 3, "newcomer", 3)
    assert build_and_publish(incremental) is None
    with duckdb.connect(str(incremental.warehouse), read_only=True) as db:
        assert db.execute("select username, n_videos from marts.creators order by 1").fetchall() == [
            ("newcomer", 12),
            ("quiet", 12),
            ("renamed", 12),
        ]
        missed = "select count(*), min(missed_at) from marts.videos where not is_delivered and n_rounds_missed = 1"
        assert db.execute(missed).fetchall() == [(12, at(20))]
        examples = db.execute(
            "select column_name, examples from marts.codebook "
            "where mart = 'videos' and column_name in ('day', 'like_count', 'share_count') order by 1"
        ).fetchall()
    assert examples == [
        ("day", "2026-02-01, 2026-02-11"),
        ("like_count", "2, 2, 3"),
        ("share_count", "1, 5, 10"),
    ]
    shutil.copytree(incremental.raw, refreshed.raw)
    build_and_publish(refreshed, full_refresh=True)
    assert differences(incremental, refreshed) == {}


def test_video_of_another_day_is_one_row_of_a_full_refresh(tmp_path: Path) -> None:
    settings = new_settings(tmp_path / "data")
    identity = new_id(datetime(2026, 2, 1, 9, tzinfo=UTC), 1)
    others = [video(identity + n, "anna", at(4)) for n in (1, 2)]
    write(settings.raw, "videos", STUDY, FIRST, "c1", [video(identity, "anna", at(4)), *others])
    build_and_publish(settings)
    write(settings.raw, "videos", STUDY, FIRST + timedelta(days=1), "c2", [video(identity, "anna", at(12))])
    assert "videos_grain" in str(build_and_publish(settings))
    with duckdb.connect(str(settings.warehouse), read_only=True) as db:
        rows = db.execute("select day, n_observations from marts.videos where video_id = ?", [identity]).fetchall()
    assert rows == [(FIRST + timedelta(days=1), 2)]
