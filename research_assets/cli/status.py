"""`research-assets status`: the quota that is left and what is held, from files alone; nothing is asked or written."""

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, get_args

import click

from research_assets.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from rich.table import Table

    from research_assets.collect.coverage import State
    from research_assets.collect.overview import Count
    from research_assets.collect.spec import StudySpec
    from research_assets.quota import PoolState

BAR = 60
"""Marks in a bar at most."""
WAITING = ("partial", "suspicious", "quarantined", "not_asked")
MOST_WAITING = 12
"""Lines of what waits at most."""

Held = dict[tuple[str, str], Counter[str]]
"""By study and entity: the units in each state, and under `rows` the rows that they brought."""


@click.command("status")
@click.option("--api", is_flag=True, help="Check the API instead: address, credentials, token. Spends no quota.")
def command(api: bool) -> None:
    """Say what is left of the day's quota and what is held of each study.

    Counts units by their state: a day of a search, the comments of a video, a profile, a list of an account; shows
    each entity's partitions as a bar, and what waits for another try. With --api it checks the address and the
    credentials, at the cost of one token and no data request.
    """
    if api:
        from research_assets.cli.api import check

        check()
        return
    from rich.console import Console

    from research_assets.cli.place import data_here
    from research_assets.collect.overview import read_overview

    settings = data_here()
    console = Console(highlight=False, soft_wrap=True)
    source = "simulated" if settings.origin == "sandbox" else f"from {settings.origin}"
    console.print(f"Data in {settings.root}, {source}.\n")
    console.print(_pool_table(pools(settings)))
    counts = read_overview(settings.raw)
    if not counts:
        console.print("\nNothing was collected yet. It begins by itself with: make ui. What it will cost says: plan.")
        return
    console.print(_held_table(held(counts)))
    console.print(_bars(settings, counts))
    if waiting := [count for count in counts if count.state in WAITING]:
        console.print(_waiting_table(waiting))


def pools(settings: Settings) -> "list[PoolState]":
    """Each quota pool today. A data folder without a ledger has spent nothing, and gets none by looking."""
    from research_assets.clock import SystemClock
    from research_assets.quota import Ledger, PoolState

    clock = SystemClock()
    if not settings.ledger.exists():
        today = clock.now().date()
        return [PoolState(pool, today, cap, 0, cap, 0, None) for pool, cap in settings.caps.items()]
    ledger = Ledger(settings.ledger, settings.caps, clock, due_reserve=settings.due_reserve)
    try:
        return [ledger.state(pool) for pool in settings.caps]
    finally:
        ledger.close()


def held(counts: "Sequence[Count]") -> Held:
    """What is held of each entity by study."""
    from research_assets.fields import ENTITIES

    order = list(ENTITIES)
    found: dict[tuple[str, str], Counter[str]] = {}
    for count in sorted(counts, key=lambda one: (one.study, order.index(one.entity))):
        entry = found.setdefault((count.study, count.entity), Counter())
        entry[count.state] += count.units
        entry["rows"] += count.rows
    return found


def _pool_table(states: "list[PoolState]") -> "Table":
    """The quota of the running UTC day."""
    from rich.table import Table

    table = Table("pool", title=f"Quota of {states[0].day} UTC", title_justify="left", box=None, pad_edge=False)
    for heading in ("used", "cap", "left", "refused", "opens (UTC)"):
        table.add_column(heading, justify="right")
    for state in states:
        opens = f"{state.opens_at.astimezone(UTC):%Y-%m-%d %H:%M}" if state.opens_at else "open"
        table.add_row(state.pool, *(f"{n:,}" for n in (state.used, state.cap, state.left, state.refused)), opens)
    return table


def _held_table(found: Held) -> "Table":
    """Units by state, with the states that occur as columns."""
    from rich.table import Table

    from research_assets.collect.coverage import State

    states = [state for state in get_args(State) if any(state in entry for entry in found.values())]
    table = Table("study", "entity", title="\nHeld, in units", title_justify="left", box=None, pad_edge=False)
    for heading in (*states, "rows"):
        table.add_column(heading, justify="right")
    for (study, entity), entry in found.items():
        table.add_row(study, entity, *(f"{entry[column]:,}" for column in (*states, "rows")))
    return table


def _bars(settings: Settings, counts: "Sequence[Count]") -> "Table":
    """Each entity's partitions in a row, days that were never asked included."""
    from rich.table import Table

    from research_assets.clock import SystemClock
    from research_assets.collect.overview import LEGEND, bar, speaking
    from research_assets.study_file import load_studies

    now = SystemClock().now()
    studies = {study.name: study for study in load_studies(settings)}
    table = Table("study", "entity", "from", title="\nCoverage", caption=LEGEND, box=None, pad_edge=False)
    table.title_justify = table.caption_justify = "left"
    table.add_column("", no_wrap=True)
    table.add_column("to")
    for study, entity in held(counts):
        states = speaking(count for count in counts if (count.study, count.entity) == (study, entity))
        if study in studies and entity in ("videos", "comments"):
            states = _days(studies[study], now) | states
        partitions = sorted(states)
        picture = bar([states[partition] for partition in partitions], BAR)
        table.add_row(study, entity, str(partitions[0]), picture, str(partitions[-1]))
    return table


def _days(study: "StudySpec", now: datetime) -> "dict[date, State]":
    """The days of a study as they stand while nothing is known of them."""
    from datetime import timedelta

    from research_assets.collect.agenda import due_at

    last = min(study.end or now.date(), now.date())
    days = [study.start + timedelta(days=n) for n in range((last - study.start).days + 1)]
    return {day: "too_fresh" if now < due_at(day, study.settle_days) else "not_asked" for day in days}


def _waiting_table(counts: "Sequence[Count]") -> "Table":
    """What is paused, suspicious or quarantined, and when it is asked again."""
    from rich.table import Table

    title = "\nWaiting for another try"
    table = Table("study", "entity", "partition", "state", title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("units", justify="right")
    table.add_column("next try (UTC)")
    table.add_column("reason")
    soonest = sorted(counts, key=lambda one: (one.next_try is not None, one.next_try, one.study, one.entity))
    for count in soonest[:MOST_WAITING]:
        when = f"{count.next_try.astimezone(UTC):%Y-%m-%d %H:%M}" if count.next_try else "at once"
        reason = (count.reason or "").split(". ")[0][:100]
        table.add_row(count.study, count.entity, str(count.partition), count.state, f"{count.units:,}", when, reason)
    if len(soonest) > MOST_WAITING:
        table.caption = f"and {len(soonest) - MOST_WAITING:,} more"
        table.caption_justify = "left"
    return table
