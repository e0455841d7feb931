"""The table of expected units: every unit that is known without a request, and no other."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from research_assets.planning.expected_units import write_expected_units
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.study.spec import CommentRule, StudySpec, UserRule
from research_assets_tests.collect.harness import START, CollectorHarness, days
from research_assets_tests.collect.test_lists import garden_config, this_week
from research_assets_tests.conftest import FakeClock

ExpectedUnits = list[tuple[str, date, str, str]]


def expected_units(harness: CollectorHarness, spec: StudySpec) -> ExpectedUnits:
    """Return the units that a study expects now: entity, partition, kind and unit."""
    write_expected_units(harness.settings.raw, [spec], harness.clock.now())
    return [
        (*row,) for row in harness.sql("SELECT entity, partition, unit_kind, unit FROM {expected_units} ORDER BY ALL")
    ]


def files(harness: CollectorHarness) -> dict[Path, int]:
    """Return the files of the table with the time at which each was written."""
    return {
        path: path.stat().st_mtime_ns
        for path in (harness.settings.raw / "expected_units").glob("study=*/day=*/*.parquet")
    }


def folders(paths: Iterable[Path]) -> set[str]:
    return {path.parent.name.removeprefix("day=") for path in paths}


async def test_study_expects_known_days_videos_and_accounts(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    spec = garden_config(end=START + timedelta(days=40), users=UserRule("panel"))
    await harness.collect("videos", days(2, START + timedelta(days=27)), spec)
    await harness.collect("users", [this_week(harness)], spec)
    harness.clock.advance(days=7)
    rows = expected_units(harness, spec)
    found = Counter((entity, kind) for entity, _, kind, _ in rows)
    assert found["videos", "day"] == 41
    assert found["comments", "day"] == 39
    assert found["comments", "video"] == harness.sql("SELECT count(*) FROM {videos}")[0][0]
    assert {day for _, day, kind, _ in rows if kind == "video"} == set(days(2, START + timedelta(days=27)))
    # The study has ended. Entities that were observed after its end have no further period.
    assert found["users", "account"] == len(spec.panel)
    assert found["followers", "account"] == len(spec.panel)
    assert len(rows) == len(set(rows))


async def test_videos_with_a_count_of_zero_are_expected(settings: Settings) -> None:
    clock = FakeClock(datetime(2026, 2, 4, 1, tzinfo=UTC))
    harness = CollectorHarness(settings, SandboxConfig(fixed_volume=4), clock)
    spec = replace(garden_config(end=START, users=UserRule("none")), panel=())
    await harness.collect("videos", [START], spec)
    assert [kind for _, _, kind, _ in expected_units(harness, spec)] == ["video"] * 4 + ["day"]
    # A count that is confirmed settles the video with a run, so that it has a state.
    clock.advance(days=10)
    await harness.collect("videos", [START], spec, recollect=True)
    assert [kind for _, _, kind, _ in expected_units(harness, spec)] == ["video"] * 4 + ["day"]


async def test_videos_that_are_selected_for_comments_have_their_probability(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig(fixed_volume=4))
    for rule, probability in ((CommentRule("sample", fraction=0.75), 0.75), (CommentRule("top", n=2), None)):
        spec = replace(garden_config(end=START, users=UserRule("none")), panel=(), comments=rule)
        await harness.collect("videos", [START], spec)
        write_expected_units(harness.settings.raw, [spec], harness.clock.now())
        found = "SELECT DISTINCT inclusion_probability FROM {expected_units} WHERE unit_kind = 'video'"
        assert harness.sql(found) == [(probability,)]


async def test_ended_study_expects_no_period_after_its_last_observation(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    spec = garden_config(end=START + timedelta(days=1), users=UserRule("panel"))
    await harness.collect("users", [this_week(harness)], spec)
    observed = this_week(harness)
    harness.clock.advance(days=21)
    assert {day for entity, day, _, _ in expected_units(harness, spec) if entity == "users"} == {observed}
    without_end = expected_units(harness, replace(spec, end=None))
    assert len({day for entity, day, _, _ in without_end if entity == "users"}) == 4


async def test_only_changed_files_are_written_again(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    spec = garden_config(end=START + timedelta(days=9))
    await harness.collect("videos", days(3), spec)
    first = expected_units(harness, spec)
    before = files(harness)
    assert expected_units(harness, spec) == first
    assert files(harness) == before

    await harness.collect("videos", [START + timedelta(days=3)], spec)
    second = expected_units(harness, spec)
    assert folders(before.keys() ^ files(harness).keys()) == {str(START + timedelta(days=3)), str(this_week(harness))}
    assert {day for _, day, kind, _ in set(second) - set(first) if kind == "video"} == {START + timedelta(days=3)}

    # With an earlier end the study expects fewer days, and with another rule fewer videos.
    fewer = replace(spec, end=START + timedelta(days=2), comments=CommentRule("top", n=1))
    assert Counter(kind for _, _, kind, _ in expected_units(harness, fewer))["video"] == 3
    assert folders(files(harness)) == {str(day) for day in days(3)} | {str(this_week(harness))}


async def test_past_period_expects_the_accounts_that_were_known_while_it_ran(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig())
    spec = replace(garden_config(end=None, users=UserRule("panel")), panel=("anna", "ben"))
    await harness.collect("users", [this_week(harness)], spec)
    past = this_week(harness)
    expected_units(harness, spec)
    harness.clock.advance(days=7)
    rows = expected_units(harness, replace(spec, panel=("anna", "ben", "carl")))
    users = {(day, unit) for entity, day, _, unit in rows if entity == "users"}
    assert {unit for day, unit in users if day == past} == {"anna", "ben"}
    assert {unit for day, unit in users if day == this_week(harness)} == {"anna", "ben", "carl"}
