"""The checks of a study: silent without data and on whole data, and clear about what is not whole."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from research_assets.checks import RULES, broken, not_complete
from research_assets.resources import warehouse
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import running
from research_assets.settings import Settings, prepare_root
from research_assets_tests.assets.world import Bench

BY_NAME = {rule.name: rule for rule in RULES}

# 2026-02-03T12:00:00Z
NOON = 1_770_120_000


def put(raw: Path, day: str, rows: str, capture: str = "a") -> None:
    """Write rows `(id, create_time)` into a day of the study's raw videos."""
    folder = raw / "videos" / "study=gardening" / f"day={day}"
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute(
            f"copy (select id::bigint as id, create_time::bigint as create_time, '{capture}' as capture"
            f" from (values {rows}) as v(id, create_time)) to '{folder / f'{capture}.parquet'}' (format parquet)"
        )


def video(seconds: int, number: int = 0) -> int:
    """An id whose upload lies so many seconds from noon."""
    return (NOON + seconds) << 32 | number


@pytest.mark.parametrize("name", BY_NAME)
def test_without_data_nothing_is_wrong(tmp_path: Path, name: str) -> None:
    assert broken(tmp_path, "gardening", BY_NAME[name]).passed


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (f"({video(0)}, {NOON}), ({video(-90, 1)}, {NOON})", {}),
        (f"({video(0)}, {NOON + 86_400})", {"videos_lie_in_their_day": 1}),
        (f"({video(100)}, {NOON})", {"ids_fit_their_time": 1}),
        (f"({video(-8 * 86_400)}, {NOON})", {"ids_fit_their_time": 1}),
        (f"({video(0)}, {NOON}), ({video(0)}, {NOON})", {"no_video_stands_twice": 1}),
        (f"({video(0)}, null)", {}),
    ],
)
def test_rules(tmp_path: Path, rows: str, found: dict[str, int]) -> None:
    put(tmp_path, "2026-02-03", rows)
    results = {rule.name: broken(tmp_path, "gardening", rule) for rule in RULES}
    counts = {name: result.metadata["rows that break the rule"].value for name, result in results.items()}
    bad = {name: count for name, count in counts.items() if count}
    assert bad == found
    assert {name for name, result in results.items() if not result.passed} == set(found)
    for name in found:
        assert results[name].severity == dg.AssetCheckSeverity.WARN
        assert BY_NAME[name].advice in (results[name].description or "")
        assert "| 7" in str(results[name].metadata["sample"].value)


def test_a_second_capture_of_a_day_is_no_second_video(tmp_path: Path) -> None:
    rule = BY_NAME["no_video_stands_twice"]
    put(tmp_path, "2026-02-03", f"({video(0)}, {NOON})", "a")
    put(tmp_path, "2026-02-03", f"({video(0)}, {NOON})", "b")
    assert broken(tmp_path, "gardening", rule).passed
    put(tmp_path, "2026-02-04", f"({video(0)}, {NOON})", "c")
    assert not broken(tmp_path, "gardening", rule).passed


def test_the_sample_is_short(tmp_path: Path) -> None:
    put(tmp_path, "2026-02-03", ", ".join(f"({video(0, number)}, {NOON + 86_400})" for number in range(50)))
    result = broken(tmp_path, "gardening", BY_NAME["videos_lie_in_their_day"])
    assert result.metadata["rows that break the rule"].value == 50
    assert len(str(result.metadata["sample"].value).splitlines()) == 12


@pytest.fixture
def published(settings: Settings) -> Settings:
    """Settings whose warehouse holds a mart `coverage` with one unit in each of several states."""
    prepare_root(settings)
    with duckdb.connect(str(settings.warehouse)) as connection:
        connection.execute("create schema marts")
        connection.execute(
            "create table marts.coverage as select study, 'videos' as entity, date '2026-02-03' as partition_day,"
            " 'day' as unit_kind, state as unit, state, 'because' as reason, null::timestamptz as next_try_at"
            " from (values ('gardening'), ('other')) as s(study), (values ('complete'), ('quarantined'), ('refused'),"
            " ('missing'), ('too_fresh'), ('not_asked'), ('partial'), ('suspicious')) as v(state)"
        )
    return settings


def test_coverage_tells_what_is_lacking(published: Settings) -> None:
    result = not_complete(warehouse(published), "gardening")
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert result.metadata["units not complete"].value == 4
    assert "1 not_asked, 1 partial, 1 quarantined, 1 suspicious" in (result.description or "")
    assert "because" in str(result.metadata["sample"].value)


def test_coverage_of_a_study_that_lacks_nothing(published: Settings) -> None:
    assert not_complete(warehouse(published), "unheard_of").passed


def test_coverage_before_the_first_build(settings: Settings) -> None:
    assert not_complete(warehouse(settings), "gardening").passed


def test_readers_cannot_write_the_warehouse(published: Settings) -> None:
    with warehouse(published).get_connection() as connection, pytest.raises(duckdb.InvalidInputException):
        connection.execute("delete from marts.coverage")


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Three days of a hostile world."""
    config = SandboxConfig(profile="hostile", videos_per_day=200)
    with running(config) as sandbox:
        yield Bench(sandbox, tmp_path_factory.mktemp("collected") / "data")


def test_the_checks_pass_on_what_the_collector_brings(collected: Bench) -> None:
    result = collected.run("videos", first="2026-02-01", last="2026-02-03")
    assert result.success
    evaluations = result.get_asset_check_evaluations()
    assert {one.check_name for one in evaluations} == set(BY_NAME)
    assert all(one.passed for one in evaluations), [one.metadata for one in evaluations]
    assert all(one.metadata["rows looked at"].value for one in evaluations)
