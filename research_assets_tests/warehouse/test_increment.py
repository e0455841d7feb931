"""A build that takes in what came since the last one ends with the same marts as a build of everything."""

import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import duckdb

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


def build_and_publish(settings: Settings, *, whole: bool = False) -> str | None:
    """Build and publish without Dagster; why it was built whole, None if it was not."""
    with build.build_lock(settings):
        raw_writer.ensure_tables(settings.raw)
        now = datetime(2026, 6, 1, tzinfo=UTC)
        build_input, results = build.build_warehouse(settings, full_refresh=whole, now=now, progress=lambda *_: None)
        assert [f"{result.name}: {result.message}" for result in results if result.failed] == []
        build.publish_warehouse(settings, build_input)
    return build_input.full_refresh_reason


def differences(one: Settings, other: Settings) -> dict[str, int]:
    """Rows that only one of two warehouses has, by mart."""
    with duckdb.connect() as db:
        for name, settings in (("one", one), ("other", other)):
            db.execute(f"attach '{settings.warehouse}' as {name} (read_only)")
        marts = db.execute(
            "select distinct schema_name || '.' || table_name from duckdb_tables() "
            "where database_name in ('one', 'other')"
        ).fetchall()
        found = {}
        for (mart,) in marts:
            # An increment keeps percentiles of days that are no longer among the newest, which nobody reads.
            rows = "select * exclude (numbers, texts)" if mart == "staging.int_codebook__column_fill" else "select *"
            ((n,),) = db.execute(
                f"select count(*) from (({rows} from one.{mart} except all {rows} from other.{mart}) union all "
                f"({rows} from other.{mart} except all {rows} from one.{mart}))"
            ).fetchall()
            found[mart] = n
    return {mart: n for mart, n in found.items() if n}


class Story:
    """Raw files as a collector may leave them: new days, late ones, days seen again, pauses, lists, second studies."""

    def __init__(self, raw: Path, seed: int) -> None:
        self.raw, self.random, self.captures = raw, Random(seed), 0
        self.days = 0
        self.noted: list[tuple[date, str]] = []

    def events(self) -> list[Callable[[], None]]:
        """What may happen; a list, so that a seed always tells the same story."""
        return [self.new_day, self.new_day, self.see_again, self.comments, self.profiles, self.lists, self.likes,
                self.pause, self.quota, self.want]  # fmt: skip

    def new_day(self) -> None:
        self.days += 1
        self._videos(self.days, age=3)

    def see_again(self) -> None:
        if self.days:
            self._videos(self.random.randint(1, self.days), age=self.random.randint(4, 30))

    def comments(self) -> None:
        """The comments of some videos of a day, with replies; sampled or not."""
        day = FIRST + timedelta(days=self.random.randint(0, 6))
        capture, seen = self._capture(), self._moment(day, self.random.randint(3, 30))
        chance = self.random.choice([0.1, 0.5, 1.0])
        rows, results = [], []
        for number in self.random.sample(range(8), 3):
            of = self._id(day, number)
            known: list[int] = []
            for place in range(self.random.randint(0, 3)):
                parent = self.random.choice([of, *known])
                identity = (seconds(self._moment(day, 1)) << 32) | number * 10 + place
                known.append(identity)
                rows.append({
                    "id": identity, "video_id": of, "asked_video_id": of, "parent_comment_id": parent, "text": "x",
                    "asked_comment_id": None if parent == of else known[0], "position": place, "observed_at": seen,
                    "create_time": identity >> 32, "like_count": self.random.randint(0, 9),
                })  # fmt: skip
            state = self.random.choice(["complete", "complete", "partial"])
            results.append(
                make_attempt(
                    "comments", day, "video", str(of), state, seen, inclusion_probability=chance, kept=len(rows)
                )
            )
        if rows:
            write(self.raw, "comments", STUDY, day, capture, rows)
        self._verdicts(capture, seen, results)

    def profiles(self) -> None:
        """Profiles of a period, which may be older than what is held."""
        day = FIRST + timedelta(days=self.random.randint(0, 40))
        capture, seen = self._capture(), self._moment(day, 0)
        chosen = self.random.sample(NAMES, 3)
        rows = [
            {"asked_username": name, "follower_count": self.random.randint(0, 99), "observed_at": seen}
            for name in chosen
        ]
        write(self.raw, "users", STUDY, day, capture, rows)
        self._verdicts(
            capture, seen, [make_attempt("users", day, "account", name, "complete", seen) for name in chosen]
        )

    def lists(self) -> None:
        """A list of followers or of followed accounts, whole or cut short."""
        self._list(self.random.choice(["followers", "following"]), lambda name: {"username": name})

    def likes(self) -> None:
        """Liked, reposted or pinned videos of an account."""
        self._list(
            self.random.choice(["liked_videos", "reposted_videos", "pinned_videos"]),
            lambda name: video(self._id(FIRST, len(name)), name, at(1), view_count=self.random.randint(0, 99)),
        )

    def pause(self) -> None:
        """A journal that stays open leaves a note; the next time it is sealed, and the note goes."""
        if self.noted:
            day, capture = self.noted.pop()
            for note in (self.raw / "coverage").glob(f"study=*/day=*/{capture}-open.parquet"):
                note.unlink()
            state = "complete"
        else:
            day, capture, state = FIRST + timedelta(days=self.random.randint(0, 9)), self._capture(), "partial"
            self.noted.append((day, capture))
        suffix = "" if state == "complete" else "-open"
        seen = self._moment(day, 5)
        self._verdicts(f"{capture}{suffix}", seen, [make_attempt("videos", day, "day", str(day), state, seen)])

    def quota(self) -> None:
        """The requests of the running day, written again with more of them."""
        rows = [
            {"pool": "research", "endpoint": "video_query", "code": "ok", "rows": n, "sent_at": at(20), "latency_ms": n}
            for n in range(self.random.randint(1, 9))
        ]
        write(self.raw, "requests", STUDY, date(2026, 2, self.random.randint(20, 22)), "requests", rows)

    def want(self) -> None:
        """What the study wants of some days: as days or video by video, in place of what it wanted of them before."""
        for day in (FIRST + timedelta(days=n) for n in self.random.sample(range(12), 4)):
            shutil.rmtree(self.raw / "wanted" / f"study={STUDY}" / f"day={day}", ignore_errors=True)
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
            write(self.raw, "wanted", STUDY, day, f"day-{self.random.randint(1, 999)}", rows)

    def _videos(self, number: int, age: int) -> None:
        day = FIRST + timedelta(days=number - 1)
        capture, seen = self._capture(), self._moment(day, age)
        rows = [
            video(
                self._id(day, place), self._creator(), seen, hashtag_names=self.random.sample("abcdE", 2),
                view_count=self.random.randint(0, 999), like_count=self.random.randint(0, 99), comment_count=place,
            )
            for place in self.random.sample(range(14), self.random.randint(1, 14))
        ]  # fmt: skip
        write(self.raw, "videos", STUDY, day, capture, rows)
        self._verdicts(capture, seen, [make_attempt("videos", day, "day", str(day), "complete", seen, kept=len(rows))])

    def _creator(self) -> str:
        """Whose video it is at this sight; some names go again with the only video that they had."""
        return self.random.choice([*NAMES, f"rare{self.random.randint(1, 20)}"])

    def _list(self, entity: str, record: Callable[[str], dict[str, Any]]) -> None:
        asked, day = self.random.choice(NAMES), FIRST + timedelta(days=7 * self.random.randint(0, 4))
        capture, seen = self._capture(), self._moment(day, 0)
        shown = self.random.sample(NAMES, self.random.randint(0, 3))
        rows = [
            record(name) | {"asked_username": asked, "observed_at": seen, "position": place}
            for place, name in enumerate(shown)
        ]
        if rows:
            write(self.raw, entity, STUDY, day, capture, rows)
        state = self.random.choice(["complete", "partial"])
        looked = make_attempt(
            entity, day, "account", asked, state, seen - timedelta(minutes=5), kept=len(rows), expected=4
        )
        self._verdicts(capture, seen, [looked])

    def _verdicts(self, capture: str, seen: datetime, rows: list[dict[str, Any]]) -> None:
        write(self.raw, "coverage", STUDY, seen.date(), capture, [row | {"capture": capture} for row in rows])

    def _capture(self) -> str:
        self.captures += 1
        return f"c{self.captures:03}"

    def _moment(self, day: date, later: int) -> datetime:
        """No two captures are of one moment, as with a real clock."""
        return datetime(day.year, day.month, day.day, 10, tzinfo=UTC) + timedelta(days=later, seconds=self.captures)

    def _id(self, day: date, number: int) -> int:
        return new_id(datetime(day.year, day.month, day.day, 8, tzinfo=UTC), number)


def test_increments_end_where_a_whole_build_ends(tmp_path: Path) -> None:
    held, fresh = new_settings(tmp_path / "held"), new_settings(tmp_path / "fresh")
    write_raw_data(held.raw)
    story = Story(held.raw, seed=23)
    for what in story.events():
        what()
    assert build_and_publish(held) == "no warehouse that fits this project is held"
    for _ in range(3):
        for what in story.random.choices(story.events(), k=8):
            what()
        assert build_and_publish(held) is None
        shutil.rmtree(fresh.raw, ignore_errors=True)
        shutil.copytree(held.raw, fresh.raw)
        build_and_publish(fresh, whole=True)
        assert differences(held, fresh) == {}
    gone = max((held.raw / "videos").glob(f"study={STUDY}/day=*/*.parquet"))
    gone.unlink()
    (fresh.raw / gone.relative_to(held.raw)).unlink()
    assert build_and_publish(held) == f"raw/{gone.relative_to(held.raw)} is gone"
    assert differences(held, fresh)["marts.videos"] > 0
    build_and_publish(fresh)
    assert differences(held, fresh) == {}


def test_a_creator_goes_with_the_only_videos_and_examples_are_of_the_newest_days(tmp_path: Path) -> None:
    held, fresh = new_settings(tmp_path / "held"), new_settings(tmp_path / "fresh")

    def seen(raw: Path, capture: str, day: date, age: int, creator: str, likes: int) -> None:
        moment = datetime(day.year, day.month, day.day, 9, tzinfo=UTC)
        rows = [
            video(new_id(moment, n), creator, moment + timedelta(days=age), like_count=likes, share_count=n)
            for n in range(12)
        ]
        write(raw, "videos", STUDY, day, capture, rows)

    seen(held.raw, "c1", FIRST, 3, "renamed_later", 1)
    build_and_publish(held)
    seen(held.raw, "c2", FIRST, 30, "renamed", 2)
    seen(held.raw, "c3", FIRST + timedelta(days=10), 3, "newcomer", 3)
    assert build_and_publish(held) is None
    with duckdb.connect(str(held.warehouse), read_only=True) as db:
        assert db.execute("select username, n_videos from marts.creators order by 1").fetchall() == [
            ("newcomer", 12),
            ("renamed", 12),
        ]
        examples = db.execute(
            "select column_name, examples from marts.codebook "
            "where mart = 'videos' and column_name in ('day', 'like_count', 'share_count') order by 1"
        ).fetchall()
    assert examples == [("day", "2026-02-01, 2026-02-11"), ("like_count", "3, 3, 3"), ("share_count", "1, 5, 10")]
    shutil.copytree(held.raw, fresh.raw)
    build_and_publish(fresh, whole=True)
    assert differences(held, fresh) == {}
