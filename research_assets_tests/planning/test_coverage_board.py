"""The coverage board: the states of its cells from units by state, from real collections, and runs of neighbours."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, get_args

import pytest

from research_assets.planning.coverage_board import (
    JOURNAL_OPEN,
    NO_ACCOUNT,
    NO_COMMENTS,
    NOT_REQUESTED,
    STATE_SYMBOLS,
    TOO_RECENT,
    BoardCell,
    BoardRow,
    CoverageBoard,
    StateRun,
    board_without_study,
    build_board,
    read_board,
    state_runs,
    symbol_bar,
)
from research_assets.planning.coverage_summary import StateCount
from research_assets.planning.expected_units import read_unattempted_units, write_expected_units
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.study.day_sample import DaySample
from research_assets.study.spec import CommentRule, StudySpec, UserRule
from research_assets.units.coverage import UnitState
from research_assets.units.periods import ObservedPeriods
from research_assets_tests.collect.harness import START, CollectorHarness, days, study
from research_assets_tests.conftest import FakeClock

NOW = datetime(2026, 2, 6, 9, tzinfo=UTC)
DAY = timedelta(days=1)
VIDEOS_ONLY = study(comments=CommentRule("none"), users=UserRule("none"))


def count(state: UnitState, day: date = START, entity: str = "videos", units: int = 1, **more: Any) -> StateCount:
    return replace(StateCount("garden", entity, day, state, units, 0, None, None), **more)


def cells(board: CoverageBoard, entity: str) -> dict[date, BoardCell]:
    [row] = [row for row in board.rows if row.entity == entity]
    return dict(row.cells)


def state_of(*states: UnitState) -> UnitState:
    """Return the state of a day with one unit in each of these states."""
    return cells(build_board(VIDEOS_ONLY, map(count, states), {}, NOW), "videos")[START].state


@pytest.mark.parametrize("state", get_args(UnitState))
def test_cell_of_one_unit_has_its_state(state: UnitState) -> None:
    assert state_of(state) == state


def test_cell_has_the_worst_open_state() -> None:
    order: tuple[UnitState, ...] = ("partial", "quarantined", "suspicious", "not_asked", "too_fresh")
    for index, state in enumerate(order):
        assert state_of("complete", "refused", "missing", *reversed(order[index:])) == state


def test_cell_with_settled_units_only_is_complete_unless_none_of_them_is() -> None:
    assert state_of("complete", "refused", "missing") == "complete"
    assert state_of("missing", "refused") == "refused"


def test_cell_has_all_units_and_the_reason_and_next_try_of_its_state() -> None:
    soon, later = NOW + DAY, NOW + 2 * DAY
    counts = [
        count("complete", units=5, rows=90, reason="of another state"),
        count("suspicious", units=2, rows=1, reason="rare", next_try=soon),
        count("quarantined", units=3, reason="HTTP 500", next_try=later),
        count("quarantined", units=1, reason="HTTP 400", next_try=later + DAY),
    ]
    cell = cells(build_board(VIDEOS_ONLY, counts, {}, NOW), "videos")[START]
    assert cell == BoardCell(
        "quarantined", {"complete": 5, "suspicious": 2, "quarantined": 4}, 91, "HTTP 500", later, is_partition=True
    )
    assert (cell.settled, cell.expected) == (5, 11)


def test_days_without_a_unit_are_cells_and_only_past_days_of_the_study_are_partitions() -> None:
    outside = START - DAY
    board = build_board(VIDEOS_ONLY, [count("complete", outside)], {}, NOW)
    found = cells(board, "videos")
    assert {day: (cell.state, cell.reason, cell.is_partition) for day, cell in found.items()} == {
        outside: ("complete", None, False),
        START: ("not_asked", NOT_REQUESTED, True),
        START + DAY: ("not_asked", NOT_REQUESTED, True),
        START + 2 * DAY: ("not_asked", NOT_REQUESTED, True),
        START + 3 * DAY: ("too_fresh", TOO_RECENT, True),
        START + 4 * DAY: ("too_fresh", TOO_RECENT, True),
        # Dagster has no partition for a day that has not ended.
        START + 5 * DAY: ("too_fresh", TOO_RECENT, False),
    }
    assert found[START + 3 * DAY].next_try == datetime(2026, 2, 7, tzinfo=UTC)
    assert board.count_partitions() == dict.fromkeys(STATE_SYMBOLS, 0) | {"complete": 1, "not_asked": 3, "too_fresh": 3}


def test_study_of_one_day_has_one_cell_and_a_future_study_none() -> None:
    assert list(cells(build_board(replace(VIDEOS_ONLY, end=START), [], {}, NOW), "videos")) == [START]
    assert cells(build_board(replace(VIDEOS_ONLY, start=date(2026, 3, 1)), [], {}, NOW), "videos") == {}


def test_days_that_were_not_sampled_are_no_gap() -> None:
    spec = replace(VIDEOS_ONLY, end=date(2026, 2, 28), day_sample=DaySample(0.25, ("month",), 7))
    later = datetime(2026, 4, 1, tzinfo=UTC)
    drawn = spec.days_to(date(2026, 2, 28))
    board = build_board(spec, [count("complete", day) for day in drawn], {}, later)
    assert tuple(cells(board, "videos")) == drawn
    assert [run.partitions for run in state_runs(board.rows[0])] == [7]


def test_day_without_comments_is_complete_once_its_videos_are() -> None:
    spec = replace(VIDEOS_ONLY, comments=CommentRule("all"), end=START + DAY)
    found = cells(build_board(spec, [count("complete"), count("partial", START + DAY)], {}, NOW), "comments")
    assert [(cell.state, cell.reason, cell.expected) for cell in found.values()] == [
        ("complete", NO_COMMENTS, 0),
        ("not_asked", NOT_REQUESTED, 0),
    ]


def test_periods_are_those_of_dagster_and_one_without_an_account_says_so() -> None:
    spec = replace(VIDEOS_ONLY, users=UserRule("authors"), start=date(2026, 1, 1))
    first, missed, running = date(2026, 1, 19), date(2026, 1, 26), date(2026, 2, 2)
    periods = {"users": ObservedPeriods(first, None, (missed,))}
    counts = [count("complete", first, "users"), count("not_asked", missed, "users", units=4)]
    found = cells(build_board(spec, counts, periods, NOW), "users")
    assert {period: (cell.state, cell.reason, cell.is_partition) for period, cell in found.items()} == {
        first: ("complete", None, True),
        missed: ("not_asked", None, False),
        running: ("not_asked", NO_ACCOUNT, True),
    }


def test_open_journal_makes_a_day_partial_that_has_no_attempt() -> None:
    started = [("videos", START), ("videos", START + DAY)]
    found = cells(build_board(VIDEOS_ONLY, [count("complete")], {}, NOW, started), "videos")
    assert found[START].state == "complete", "a re-collection takes nothing away"
    assert (found[START + DAY].state, found[START + DAY].reason) == ("partial", JOURNAL_OPEN)
    assert found[START + 2 * DAY].state == "not_asked"


def test_data_without_a_study_file_is_shown_without_partitions() -> None:
    monday = date(2026, 2, 2)
    board = board_without_study("garden", [count("complete"), count("refused", monday, "users")], NOW)
    assert [(row.entity, row.step, [*row.cells]) for row in board.rows] == [
        ("videos", DAY, [START]),
        ("users", 7 * DAY, [monday]),
    ]
    assert not any(cell.is_partition for row in board.rows for cell in row.cells.values())


def test_runs_group_neighbours_in_one_state_and_end_at_a_gap() -> None:
    states: tuple[UnitState, ...] = ("complete", "complete", "partial", "complete")
    row = BoardRow(
        "videos", DAY, {START + n * DAY: BoardCell(state) for n, state in zip((0, 1, 2, 5), states, strict=True)}
    )
    assert state_runs(row) == [
        StateRun("complete", START, START + DAY, 2),
        StateRun("partial", START + 2 * DAY, START + 2 * DAY, 1),
        StateRun("complete", START + 5 * DAY, START + 5 * DAY, 1),
    ]


def test_bar_shows_the_worst_state_of_each_group() -> None:
    assert symbol_bar(["complete", "quarantined", "not_asked"], 60) == "#!."
    assert symbol_bar([*["complete"] * 99, "quarantined"], 50) == "#" * 49 + "!"  # type: ignore[list-item]
    assert symbol_bar([], 10) == ""


def test_symbols_are_distinct_and_ascii() -> None:
    assert set(STATE_SYMBOLS) == set(get_args(UnitState))
    assert len({*STATE_SYMBOLS.values()}) == len(STATE_SYMBOLS)
    assert "".join(STATE_SYMBOLS.values()).isascii()


async def test_board_follows_a_collection_and_does_not_depend_on_a_build(settings: Settings) -> None:
    config = SandboxConfig(fixed_volume=250, fixed_comments=3)
    harness = CollectorHarness(replace(settings, research_cap=150), config, FakeClock(NOW + 20 * DAY))
    spec = study(end=START + 3 * DAY, comments=CommentRule("all", replies="none"), users=UserRule("none"))

    def board() -> CoverageBoard:
        return read_board(harness.settings, spec, harness.clock.now())

    def states(entity: str) -> list[str]:
        return [cell.state for cell in cells(board(), entity).values()]

    assert (states("videos"), states("comments")) == (["not_asked"] * 4, ["not_asked"] * 4)
    await harness.collect("videos", days(2), spec)
    assert states("videos") == ["complete", "complete", "not_asked", "not_asked"]
    unrequested = cells(board(), "comments")[START]
    assert (unrequested.state, unrequested.settled, unrequested.expected) == ("not_asked", 0, 250)

    _, pause = await harness.collect("comments", [START], spec)
    assert pause is not None
    paused = cells(board(), "comments")[START]
    assert paused.state == "partial", "its journal is open"
    assert paused.expected == 250
    assert paused.reason is not None
    assert paused.next_try == pause.retry_at

    for _ in range(2):
        harness.clock.advance(days=1)
        await harness.collect("comments", [START], spec)
    done = cells(board(), "comments")[START]
    assert (done.state, done.settled, done.expected) == ("complete", 250, 250)
    assert done.rows == harness.sql("SELECT count(*) FROM {comments}")[0][0] > 0

    # The same from the file that a build writes, and from memory.
    live, unattempted = board(), read_unattempted_units(harness.settings.raw, spec, harness.clock.now())
    assert {(one.entity, one.partition): one.units for one in unattempted} == {
        ("comments", START + DAY): 250,
        **{(entity, START + n * DAY): 1 for entity in ("videos", "comments") for n in (2, 3)},
    }
    write_expected_units(harness.settings.raw, [spec], harness.clock.now())
    assert board() == live
    # What was collected after the build counts at once.
    await harness.collect("videos", [START + 2 * DAY], spec)
    assert cells(board(), "comments")[START + 2 * DAY].expected == 250
    # A day that the study no longer expects has no unit.
    shorter = replace(spec, end=START)
    assert read_unattempted_units(harness.settings.raw, shorter, harness.clock.now()) == []


async def test_board_counts_the_accounts_of_each_period(settings: Settings) -> None:
    harness = CollectorHarness(settings, SandboxConfig(), FakeClock(NOW))
    spec: StudySpec = replace(VIDEOS_ONLY, users=UserRule("panel"), panel=("anna", "ben"))
    monday = date(2026, 2, 2)
    await harness.collect("users", [monday], spec)
    write_expected_units(harness.settings.raw, [spec], harness.clock.now())
    harness.clock.advance(days=7)
    larger = replace(spec, panel=("anna", "ben", "carl"))
    users = cells(read_board(harness.settings, larger, harness.clock.now()), "users")
    assert {period: (cell.expected, cell.settled) for period, cell in users.items()} == {
        monday: (2, 2),
        monday + 7 * DAY: (3, 0),
    }
