"""Open journals of searches from earlier runs: resume each, end it, or leave it to a later run.

Not here: the position of a resumed search (see progress.py); locks on its partitions (see run.py).
"""

import logging
from collections.abc import Callable, Collection, Mapping, Set
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from research_assets.collect.search.progress import SearchProgress, WindowOutcome
from research_assets.collect.types import CollectionTask, CollectorContext
from research_assets.fields import ENTITIES
from research_assets.storage.captures import (
    DamagedCapture,
    Journal,
    JournalBusy,
    days_of,
    list_open_journals,
    read_events,
)
from research_assets.storage.listing import matching_paths
from research_assets.storage.locks import PartitionBusy
from research_assets.units.coverage import MAX_REOBSERVATION_AGE
from research_assets.units.windows import (
    SearchWindow,
    estimate_hits_per_day,
    expected_hits,
    plan_windows,
    requests_for_hits,
)

_LOGGER = logging.getLogger(__name__)

_WINDOW_FIELDS = (
    "n_failures",
    "is_recheck",
    "usernames",
    "days_answer",
    "n_probes",
    "bisect_exhausted",
    "search_last",
    "part",
)


@dataclass(frozen=True, slots=True)
class OpenJournal:
    """An open journal with its progress. `outcome` is the outcome with which to end it; None if it is resumed."""

    journal: Journal
    progress: SearchProgress
    outcome: WindowOutcome | None = None
    reason: str | None = None


def create_journal(
    task: CollectionTask,
    context: CollectorContext,
    window: SearchWindow,
    header: Mapping[str, Any] = MappingProxyType({}),
) -> Journal:
    """Create the journal of a window; its header makes it resumable, together with `header`."""
    return Journal.create(
        context.settings.captures,
        entity="videos",
        study=task.study.name,
        first=window.first,
        last=window.last,
        now=context.clock.now(),
        origin=context.settings.origin,
        header={name: getattr(window, name) for name in _WINDOW_FIELDS}
        | {"recollect": task.recollect, **requested_query(task), **header},
    )


def rest_window(progress: SearchProgress) -> SearchWindow:
    """Return the window of the days that a search has not passed; its requests keep the days of the whole search."""
    days, window = progress.open_days(), progress.window
    return replace(window, first=days[0], last=days[-1], search_last=window.search_last or window.last)


def continuation_header(journal: Journal, progress: SearchProgress) -> dict[str, Any]:
    """Return what the header of a journal needs to continue another one from its position."""
    header = journal.start["header"]
    return {"continues": journal.capture, "rest": progress.rest(), "recollect": header["recollect"]}


def read_progress(journal: Journal) -> SearchProgress:
    """Return the progress of a window, rebuilt from the header and the events of its journal."""
    start, header = journal.start, journal.start["header"]
    fields = {name: header[name] for name in _WINDOW_FIELDS} | {"usernames": tuple(header["usernames"])}
    if header["search_last"] is not None:
        fields["search_last"] = date.fromisoformat(header["search_last"])
    window = SearchWindow(date.fromisoformat(start["first"]), date.fromisoformat(start["last"]), **fields)
    progress = SearchProgress.continued(window, header["rest"]) if "rest" in header else SearchProgress(window)
    for event in journal.events():
        progress.apply(event)
    return progress


def requested_query(task: CollectionTask) -> dict[str, Any]:
    """Return the query and the fields that all pages of one search share."""
    study = task.study
    query = {group: [dict(condition) for condition in conditions] for group, conditions in study.query.items()}
    return {"query": query, "fields": list(study.fields.get("videos", ENTITIES["videos"].requested))}


def has_same_query(captures: Path, task: CollectionTask, capture: str) -> bool:
    """Return whether a sealed capture was collected with the study's current query and fields; False if damaged."""
    for path in matching_paths(captures / "videos" / f"study={task.study.name}", f"*/{capture}.jsonl.zst"):
        try:
            header = next(iter(read_events(path)))["header"]
        except DamagedCapture as error:
            _LOGGER.warning("%s", error)
            continue
        return all(header.get(name) == value for name, value in requested_query(task).items())
    return False


def resume_journals(
    captures: Path,
    task: CollectionTask,
    missing: Set[date],
    is_complete: Callable[[SearchWindow, date], bool],
    hits_per_day: Callable[[SearchWindow], Mapping[date, float]],
    now: datetime,
    *,
    page_size: int,
    claim_more: Callable[[Collection[date]], bool],
    claim_ended: Callable[[Collection[date]], bool],
) -> list[OpenJournal]:
    """Return the journals of a study that are resumed or ended now; all others stay open.

    `missing` are the days to collect. `is_complete` returns whether a day of a window is collected, and `hits_per_day`
    the raw hits by day for the query of a window. A resumed search may collect further days: `claim_more` locks them
    and returns False if another process collects them. `claim_ended` does so for the days of a search that ended. The
    other process ends it then, because it may have read the status of these days already. Raises PartitionBusy if
    another process still ends, or has just ended, the search of a missing day: a new search would send its requests
    again.
    """
    opened = _open_journals(captures, task.study.name, missing)
    unfinished = {journal.capture for journal, progress in opened if progress.outcome is None}
    journals = []
    for journal, progress in opened:
        header = journal.start["header"]
        if header.get("continues") in unfinished:
            # A crash came between the creation of this journal and the end of the one that it continues.
            journal.close()
            journal.path.unlink()
            continue
        rest = set(progress.window.days) - set(progress.complete_days())
        recollect = header.get("recollect", False)
        stale = recollect and progress.first_at is not None and now - progress.first_at > MAX_REOBSERVATION_AGE
        needed = [day for day in rest if recollect or not is_complete(progress.window, day)]
        if progress.outcome is not None:
            if claim_ended(set(progress.window.days) - missing):
                journals.append(OpenJournal(journal, progress, progress.outcome, progress.reason))
            else:
                journal.close()
        elif any(header.get(name, value) != value for name, value in requested_query(task).items()):
            reason = "The study's query or fields changed after this search began."
            journals.append(OpenJournal(journal, progress, "changed", reason))
        elif progress.done and missing & set(progress.window.days) and claim_more(set(progress.window.days) - missing):
            # Only its conclusion is missing, for example because no request was left for a canary check.
            journals.append(OpenJournal(journal, progress))
        elif stale or not needed:
            reason = (
                "The interrupted re-collection is too old to resume."
                if stale
                else "Its days were collected by another search in the meantime."
            )
            journals.append(OpenJournal(journal, progress, "dropped" if rest else "done", reason))
        elif (recollect and not task.recollect) or not missing & set(progress.window.days):
            journal.close()
        else:
            missing_in_window = missing & set(progress.window.days)
            choice = _cheapest_option(progress, rest, missing_in_window, hits_per_day(progress.window), page_size)
            if choice == "resume" and not claim_more(rest - missing):
                choice = "leave"
            if choice == "leave":
                journal.close()
            elif choice == "end":
                reason = "Resuming the search would cost more requests than a new search for the rest."
                journals.append(OpenJournal(journal, progress, "dropped", reason))
            else:
                journals.append(OpenJournal(journal, progress))
    return journals


def _open_journals(captures: Path, study: str, missing: Set[date]) -> list[tuple[Journal, SearchProgress]]:
    """Open all journals of a study that no other process has open. Raises PartitionBusy as `resume_journals` does."""
    with ExitStack() as stack:
        opened = []
        for path in list_open_journals(captures, "videos", study):
            try:
                journal = stack.enter_context(Journal.resume(path))
            except JournalBusy as error:
                first, last = days_of(path)
                if days := [day for day in missing if first <= day <= last]:
                    holder = f"another run, which ends its search in the journal {path}"
                    raise PartitionBusy(study, "videos", min(days), holder) from error
                # Another process works on it, for days that this run does not collect.
                continue
            opened.append((journal, read_progress(journal)))
        # On success they stay open.
        stack.pop_all()
    return opened


def _cheapest_option(
    progress: SearchProgress, rest: Set[date], missing: Set[date], hits_per_day: Mapping[date, float], page_size: int
) -> Literal["resume", "end", "leave"]:
    """Return the option with the fewest requests: resume to the window's end, end it now, or leave it to a later run.

    If it is ended, its complete days are published and the days around its position are requested a second time. If it
    is left open, all `missing` days are requested in new searches.
    """
    expected = estimate_hits_per_day(
        {**hits_per_day, **{day: progress.offered[day] for day in progress.complete_days()}}, progress.window.days
    )

    def new_search_requests(days: Set[date]) -> int:
        windows = plan_windows(sorted(days), expected, page_size=page_size)
        return sum(requests_for_hits(expected_hits(window.days, expected), page_size) for window in windows)

    resume = requests_for_hits(expected_hits([day for day in rest if day <= progress.reached_day], expected), page_size)
    repeated = (
        new_search_requests({day for day in rest if day >= progress.reached_day} - missing) if progress.pages else 0
    )
    end, leave = new_search_requests(missing & rest) + repeated, new_search_requests(missing)
    if missing & rest and resume <= min(end, leave):
        return "resume"
    return "end" if end <= leave else "leave"
