"""Conclusions from finished windows: one row per situation, with the states of its days and what follows."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pytest

from research_assets.collect.search.canary import CanaryResult
from research_assets.collect.search.conclude import conclude, needs_canary
from research_assets.collect.search.history import SearchHistory
from research_assets.collect.search.progress import SearchProgress, WindowOutcome
from research_assets.units.coverage import NO_VIDEO_FOUND
from research_assets.units.windows import SearchWindow
from research_assets_tests.collect.harness import START, days

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Situation:
    """A window of `hits` by day, the hits of the days after it, and the expected conclusion.

    `kept` are the videos that were delivered; without it, all hits were.
    `states` and `rechecked` are by day of the window; `reason` is part of the first reason that is not None.
    """

    hits: tuple[int, ...]
    known: tuple[int, ...] = ()
    outcome: WindowOutcome = "done"
    is_recheck: bool = False
    canary: CanaryResult | None = None
    has_replacement: bool = False
    states: tuple[str, ...] = ()
    rechecked: tuple[int, ...] = ()
    reason: str | None = None
    stops: bool = False
    part: str = ""
    kept: tuple[int, ...] | None = None


SITUATIONS = {
    "all days have their usual hits": Situation((50, 48, 53), (51, 49, 50), states=("complete",) * 3),
    "a sparse study has empty days": Situation((0, 1, 0, 0, 2), (1, 0, 0, 1), states=("complete",) * 5),
    "a full day is empty": Situation(
        (50, 0, 50), (50, 50, 50), states=("complete", "partial", "complete"), rechecked=(1,), reason="nearby days"
    ),
    "the second look finds the day empty too": Situation(
        (0,), (50, 50, 50), is_recheck=True, canary="found", states=("suspicious",), reason="No video"
    ),
    "the API does not answer the query": Situation(
        (0,), (50, 50, 50), is_recheck=True, canary="none", states=("suspicious",), stops=True, reason="not answering"
    ),
    "a day lost nine tenths of its hits": Situation(
        (5,), (50, 50, 50, 50), states=("partial",), rechecked=(0,), reason="Only 5 hits; 50 are usual"
    ),
    "few hits are confirmed by a canary check": Situation(
        (5,), (50, 50, 50, 50), is_recheck=True, canary="found", states=("complete",), reason="Only 5 hits"
    ),
    "few hits, none of which is delivered": Situation(
        (5,), (50, 50, 50, 50), kept=(0,), is_recheck=True, canary="found", states=("complete",), reason="Only 5 hits"
    ),
    "no hit of a sparse study is delivered": Situation((1, 2), (2, 0, 1), kept=(0, 0), states=("complete",) * 2),
    "few hits without a canary that is found": Situation(
        (5,), (50, 50, 50, 50), is_recheck=True, canary="none", states=("suspicious",), stops=True, reason="Only 5 hits"
    ),
    "a search of a sparse study finds nothing": Situation(
        (0, 0), (1, 0, 1), states=("partial",) * 2, rechecked=(0, 1), reason="no video at all"
    ),
    "no video was ever found": Situation((0, 0), states=("partial",) * 2, rechecked=(0, 1), reason=NO_VIDEO_FOUND),
    "no video was ever found, twice": Situation(
        (0, 0), is_recheck=True, states=("suspicious",) * 2, reason=NO_VIDEO_FOUND
    ),
    "an empty part of a day": Situation(
        (0,), is_recheck=True, part="video_length=LONG", states=("suspicious",), reason="no video at all"
    ),
    "the window failed and is split": Situation(
        (0, 0), (50,), "failed", has_replacement=True, states=("partial",) * 2, reason="other windows"
    ),
    "the window failed for good": Situation((0,), (50,), "failed", states=("quarantined",), reason="HTTP 500"),
    "the pages were of another search": Situation((0,), (50,), "doubtful", states=("suspicious",), reason="HTTP 500"),
    "the run paused": Situation((0, 0), (50,), "paused", states=("partial",) * 2, reason="HTTP 500"),
}


def make_progress(situation: Situation) -> SearchProgress:
    last = START + timedelta(days=len(situation.hits) - 1)
    window = SearchWindow(START, last, is_recheck=situation.is_recheck, part=situation.part)
    progress = SearchProgress(window, pages=1, has_more=situation.outcome != "done")
    kept_by_day = situation.hits if situation.kept is None else situation.kept
    for day, hits, kept in zip(window.days, situation.hits, kept_by_day, strict=True):
        progress.offered[day], progress.kept[day] = hits, kept
    return progress


@pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS.keys())
def test_conclusion_follows_from_progress_outcome_and_history(situation: Situation) -> None:
    progress = make_progress(situation)
    history = SearchHistory({}, configured_max_days=31, page_size=100, query_found=bool(situation.part))
    first_known = START + timedelta(days=len(situation.hits))
    history.hits_per_day |= dict(zip(days(len(situation.known), first_known), map(float, situation.known), strict=True))
    history.record_density(progress)
    replacements = (SearchWindow(START, START),) if situation.has_replacement else None
    conclusion = conclude(
        progress,
        situation.outcome,
        "HTTP 500",
        history,
        NOW,
        replacements=replacements,
        canary=situation.canary,
    )
    assert tuple(conclusion.states[day].state for day in progress.window.days) == situation.states
    reasons = [state.reason for state in conclusion.states.values() if state.reason]
    assert (situation.reason or "") in next(iter(reasons), "")
    assert bool(reasons) == (situation.reason is not None)
    rechecks = [window for window in conclusion.next_windows if window.is_recheck and not situation.is_recheck]
    expected = {progress.window.days[index] for index in situation.rechecked}
    assert expected <= {day for window in rechecks for day in window.days}
    assert bool(rechecks) == bool(expected)
    assert (conclusion.stop is not None) == situation.stops
    open_states = {"suspicious", "quarantined"}
    assert all((state.next_try is not None) == (state.state in open_states) for state in conclusion.states.values())


def test_search_without_a_video_is_repeated_with_the_nearest_known_day() -> None:
    progress = make_progress(Situation((0, 0)))
    history = SearchHistory({}, configured_max_days=31, page_size=100)
    known: dict[date, float] = {START + timedelta(days=2): 1.0, START - timedelta(days=1): 0.0}
    history.hits_per_day |= known
    history.record_density(progress)
    conclusion = conclude(progress, "done", None, history, NOW, replacements=None)
    assert conclusion.next_windows == (SearchWindow(START, START + timedelta(days=2), is_recheck=True),)


@pytest.mark.parametrize(
    ("hits", "is_recheck", "needed"),
    [((0,), True, True), ((5,), True, True), ((0,), False, False), ((50,), True, False)],
)
def test_canary_check_is_needed_only_if_a_second_look_is_implausible_too(
    hits: tuple[int, ...], is_recheck: bool, needed: bool
) -> None:
    progress = make_progress(Situation(hits, is_recheck=is_recheck))
    history = SearchHistory({}, configured_max_days=31, page_size=100)
    history.hits_per_day |= dict.fromkeys(days(5, START + timedelta(days=1)), 50.0)
    history.record_density(progress)
    assert needs_canary(progress, history) is needed
