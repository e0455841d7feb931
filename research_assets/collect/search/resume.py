"""Journals of searches that an earlier run left open: go on with one, end it, or leave it to whoever it belongs to."""

from collections.abc import Callable, Collection, Mapping, Set
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

from research_assets.collect.search.progress import SearchProgress, WindowOutcome
from research_assets.collect.types import CollectionTask
from research_assets.fields import ENTITIES
from research_assets.storage.captures import Journal, JournalBusy, list_open_journals, read_events
from research_assets.units.coverage import MAX_REOBSERVATION_AGE, UnitStatus
from research_assets.units.windows import (
    SearchWindow,
    estimate_hits_per_day,
    expected_hits,
    plan_windows,
    requests_for_hits,
)

_WINDOW_FIELDS = ("n_failures", "is_recheck", "usernames", "days_answer", "n_probes", "bisect_exhausted")


@dataclass(frozen=True, slots=True)
class OpenJournal:
    """An open journal with its trail. `outcome` says how it is to be ended; None: go on with it."""

    journal: Journal
    progress: SearchProgress
    outcome: WindowOutcome | None = None
    reason: str | None = None


def journal_header(task: CollectionTask, window: SearchWindow) -> dict[str, Any]:
    """What the journal of a search keeps in order to be gone on with."""
    return {name: getattr(window, name) for name in _WINDOW_FIELDS} | {
        "recollect": task.recollect,
        **requested_query(task),
    }


def requested_query(task: CollectionTask) -> dict[str, Any]:
    """What the pages of one search must have in common."""
    study = task.study
    query = {group: [dict(condition) for condition in conditions] for group, conditions in study.query.items()}
    return {"query": query, "fields": list(study.fields.get("videos", ENTITIES["videos"].requested))}


def has_same_query(captures: Path, task: CollectionTask, capture: str) -> bool:
    """Whether a sealed capture was asked with the query and the fields that the study has now."""
    for path in (captures / "videos" / f"study={task.study.name}").glob(f"*/{capture}.jsonl.zst"):
        kept = next(iter(read_events(path)))["header"]
        return all(kept.get(name) == value for name, value in requested_query(task).items())
    return False


def resume_journals(
    captures: Path,
    task: CollectionTask,
    left: Set[date],
    status: Mapping[date, UnitStatus],
    density: Callable[[tuple[str, ...]], Mapping[date, float]],
    now: datetime,
    *,
    page_size: int,
    claim_more: Callable[[Collection[date]], bool],
) -> list[OpenJournal]:
    """The journals of a study that are gone on with or ended now; all others stay as they are.

    `left` are the days wanted, `density` gives the raw hits of days by the accounts that were asked. Going on may bring
    days that are not wanted: then they are claimed by `claim_more`, which says whether nobody else is at them.
    """
    found = []
    for path in list_open_journals(captures, "videos", task.study.name):
        try:
            journal = Journal.resume(path)
        except JournalBusy:
            # Another process is at it, for other days: what it brings need not be waited for.
            continue
        start = journal.start
        kept = start["header"]
        first, last = date.fromisoformat(start["first"]), date.fromisoformat(start["last"])
        names = tuple(kept.get("usernames", ()))
        about = {name: kept[name] for name in _WINDOW_FIELDS if name in kept} | {"usernames": names}
        progress = SearchProgress(SearchWindow(first, last, **about))
        for event in journal.events():
            progress.apply(event)
        rest = set(progress.window.days) - set(progress.complete_days())
        recollect = kept.get("recollect", False)
        stale = recollect and progress.first_at is not None and now - progress.first_at > MAX_REOBSERVATION_AGE
        needed = [day for day in rest if recollect or day not in status or status[day].attempt.state != "complete"]
        if progress.outcome is not None:
            found.append(OpenJournal(journal, progress, progress.outcome, progress.reason))
        elif any(kept.get(name, value) != value for name, value in requested_query(task).items()):
            found.append(OpenJournal(journal, progress, "changed", "The study's query or fields have changed since."))
        elif stale or not needed:
            found.append(
                OpenJournal(journal, progress, "dropped" if rest else "done", "Its days were collected meanwhile.")
            )
        elif (recollect and not task.recollect) or not left & set(progress.window.days):
            journal.close()
        else:
            choice = _cheapest_option(progress, rest, left & set(progress.window.days), density(names), page_size)
            if choice == "resume" and not claim_more(rest - left):
                choice = "leave"
            if choice == "leave":
                journal.close()
            elif choice == "end":
                found.append(
                    OpenJournal(journal, progress, "dropped", "Going on would cost more than asking the rest anew.")
                )
            else:
                found.append(OpenJournal(journal, progress))
    return found


def _cheapest_option(
    progress: SearchProgress, rest: Set[date], wanted: Set[date], density: Mapping[date, float], page_size: int
) -> Literal["resume", "end", "leave"]:
    """What costs the fewest requests: going on to the window's end, ending it, or leaving it to a run that wants more.

    Ended, it gives the days it has passed, but those that it was just passing will be asked a second time. Left, all
    that is wanted is asked anew.
    """
    expected = estimate_hits_per_day(
        {**density, **{day: progress.offered[day] for day in progress.complete_days()}}, progress.window.days
    )

    def anew(days: Set[date]) -> int:
        windows = plan_windows(sorted(days), expected, page_size=page_size)
        return sum(requests_for_hits(expected_hits(window.days, expected), page_size) for window in windows)

    onward = requests_for_hits(expected_hits([day for day in rest if day <= progress.reached_day], expected), page_size)
    again = anew({day for day in rest if day >= progress.reached_day} - wanted) if progress.pages else 0
    prices = {"end": anew(wanted & rest) + again, "leave": anew(wanted)}
    if wanted & rest and onward <= min(prices.values()):
        return "resume"
    return "end" if prices["end"] <= prices["leave"] else "leave"
