"""Journals of searches that an earlier run left open: go on with one, end it, or leave it to whoever it belongs to."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from research_assets.captures import unfinished
from research_assets.collect.coverage import Held
from research_assets.collect.model import Ask
from research_assets.collect.plan import Window, cost, expected_hits, plan_windows, spread
from research_assets.collect.window import Outcome, Trail
from research_assets.fields import ENTITIES
from research_assets.journal import Journal, JournalBusy

STALE = timedelta(days=2)
"""Age from which an interrupted re-observation is begun anew: a day's counts shall be of about one moment."""


@dataclass(frozen=True, slots=True)
class Found:
    """An open journal with its trail. `outcome` says how it is to be ended; None: go on with it."""

    journal: Journal
    trail: Trail
    outcome: Outcome | None = None
    reason: str | None = None


def header(ask: Ask, window: Window) -> dict[str, Any]:
    """What the journal of a search keeps in order to be gone on with."""
    return {"failures": window.failures, "confirms": window.confirms, "again": ask.again, **asked(ask)}


def asked(ask: Ask) -> dict[str, Any]:
    """What the pages of one search must have in common."""
    study = ask.study
    query = {group: [dict(condition) for condition in conditions] for group, conditions in study.query.items()}
    return {"query": query, "fields": list(study.fields.get("videos", ENTITIES["videos"].requested))}


def open_journals(
    captures: Path,
    ask: Ask,
    left: Collection[date],
    held: Mapping[date, Held],
    density: Mapping[date, float],
    now: datetime,
    *,
    page_size: int,
    claim_more: Callable[[Collection[date]], bool],
) -> list[Found]:
    """The journals of a study that are gone on with or ended now; all others stay as they are.

    `left` are the days wanted. Going on may bring days that are not: then they are claimed by `claim_more`, which says
    whether nobody else is at them.
    """
    found = []
    for path in unfinished(captures, "videos", ask.study.name):
        try:
            journal = Journal.resume(path)
        except JournalBusy:
            # Another process is at it, for other days: what it brings need not be waited for.
            continue
        start = journal.start
        kept = start["header"]
        first, last = date.fromisoformat(start["first"]), date.fromisoformat(start["last"])
        trail = Trail(Window(first, last, kept["failures"], kept["confirms"]))
        for event in journal.events():
            trail.take(event)
        rest = set(trail.window.days) - set(trail.complete_days())
        again = kept.get("again", False)
        stale = again and trail.first_at is not None and now - trail.first_at > STALE
        needed = [day for day in rest if again or day not in held or held[day].verdict.state != "complete"]
        if trail.outcome is not None:
            found.append(Found(journal, trail, trail.outcome, trail.reason))
        elif any(kept.get(name, value) != value for name, value in asked(ask).items()):
            found.append(Found(journal, trail, "changed", "The study's query or fields have changed since."))
        elif stale or not needed:
            found.append(Found(journal, trail, "dropped" if rest else "done", "Its days were collected meanwhile."))
        elif (again and not ask.again) or not rest & set(left):
            journal.close()
        elif not _worth(trail, rest, rest & set(left), density, page_size):
            found.append(Found(journal, trail, "dropped", "Going on would cost more than asking the rest anew."))
        elif claim_more(rest - set(left)):
            found.append(Found(journal, trail))
        else:
            journal.close()
    return found


def _worth(
    trail: Trail, rest: Collection[date], wanted: Collection[date], density: Mapping[date, float], page_size: int
) -> bool:
    """Whether going on to the window's end costs no more than asking the wanted days among its rest anew."""
    expected = spread(density, sorted(rest))
    anew = plan_windows(sorted(wanted), expected, page_size=page_size)
    onward = cost(expected_hits([day for day in rest if day <= trail.reached], expected), page_size)
    return onward <= sum(cost(expected_hits(window.days, expected), page_size) for window in anew)
