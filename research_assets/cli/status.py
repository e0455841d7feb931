"""`research-assets status`: the quota that is left and what is held, from files alone.

Nothing is written. Nothing is asked either, but a simulated API for its time: that may have been moved.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, get_args

import click

from research_assets.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from rich.table import Table

    from research_assets.planning.coverage_summary import StateCount
    from research_assets.quota.ledger import PoolState
    from research_assets.study.spec import StudySpec
    from research_assets.units.coverage import UnitState

BAR_WIDTH = 60
"""Marks in a bar at most."""
OPEN_STATES = ("partial", "suspicious", "quarantined", "not_asked")
MAX_OPEN_ROWS = 12
"""Lines of what waits at most."""
FAILURE_WINDOW = timedelta(days=7)
MAX_FAILURE_ROWS = 5
"""How long what failed is shown, and lines of it at most."""

UnitCounts = dict[tuple[str, str], Counter[str]]
"""By study and entity: the units in each state, and under `rows` the rows that they brought."""


@click.command("status")
def command() -> None:
    """Say what is left of the day's quota and what is held of each study.

    Counts units by their state: a day of a search, the comments of a video, a profile, a list of an account.
    Shows the partitions of each entity as a bar, the open units, and the failures of the last 7 days.
    """
    from rich.console import Console

    from research_assets.cli.environment import data_settings
    from research_assets.clock import SystemClock
    from research_assets.planning.coverage_summary import read_state_counts
    from research_assets.quota.ledger import read_pools
    from research_assets.quota.server_time import server_clock_or_local

    settings = data_settings()
    clock = server_clock_or_local(settings, SystemClock())
    console = Console(highlight=False, soft_wrap=True)
    source = "simulated" if settings.origin == "sandbox" else f"from {settings.origin}"
    console.print(f"Data in {settings.root}, {source}.\n")
    states, _ = read_pools(settings, clock)
    console.print(_pool_table([*states.values()]))
    counts = read_state_counts(settings.raw)
    studies, mistakes = _studies(settings)
    if counts:
        console.print(_units_table(count_units(counts)))
        console.print(_coverage_table(studies, counts, clock.now()))
        if waiting := [count for count in counts if count.state in OPEN_STATES]:
            console.print(_open_units_table(waiting))
    else:
        console.print("\nNothing was collected yet. It begins by itself with: make ui. What it will cost says: plan.")
    if failures := _failures(settings):
        console.print(_failure_table(failures))
        console.print(f"All of them stand in {settings.alerts}; in the UI under Runs and Automation.")
    if mistakes:
        console.print(f"\nAs long as a study file is wrong nothing is collected. {mistakes}")


def _studies(settings: Settings) -> "tuple[Sequence[StudySpec], str]":
    """The studies whose files are right, and what is wrong with the others."""
    from research_assets.study.loader import StudyError, load_studies

    try:
        return load_studies(settings), ""
    except StudyError as error:
        return error.valid_studies, str(error)


def _failures(settings: Settings) -> "list[tuple[datetime, str, str]]":
    """What failed within `LATELY` by the machine's clock, the newest first: when, what, and why."""
    from research_assets.alerts import read_alerts
    from research_assets.clock import SystemClock

    since, found = SystemClock().now() - FAILURE_WINDOW, []
    for reported in read_alerts(settings):
        what = reported.get("sensor") or " ".join(
            [", ".join(reported.get("assets", ())) or "a run", reported.get("partitions", "")]
        )
        found.append((datetime.fromisoformat(reported["at"]), what.strip(), " ".join(reported["message"])))
    return sorted((one for one in found if one[0] >= since), reverse=True)


def count_units(counts: "Sequence[StateCount]") -> UnitCounts:
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
        opens = f"{state.available_at.astimezone(UTC):%Y-%m-%d %H:%M}" if state.available_at else "open"
        table.add_row(
            state.pool, *(f"{n:,}" for n in (state.used, state.cap, state.remaining, state.n_refused_by_api)), opens
        )
    return table


def _units_table(found: UnitCounts) -> "Table":
    """Units by state, with the states that occur as columns."""
    from rich.table import Table

    from research_assets.units.coverage import UnitState

    states = [state for state in get_args(UnitState) if any(state in entry for entry in found.values())]
    table = Table("study", "entity", title="\nHeld, in units", title_justify="left", box=None, pad_edge=False)
    for heading in (*states, "rows"):
        table.add_column(heading, justify="right")
    for (study, entity), entry in found.items():
        table.add_row(study, entity, *(f"{entry[column]:,}" for column in (*states, "rows")))
    return table


def _coverage_table(known: "Sequence[StudySpec]", counts: "Sequence[StateCount]", now: datetime) -> "Table":
    """Each entity's partitions in a row, days that were never asked included."""
    from rich.table import Table

    from research_assets.planning.coverage_summary import LEGEND, coverage_bar, partition_states

    studies = {study.name: study for study in known}
    table = Table("study", "entity", "from", title="\nCoverage", caption=LEGEND, box=None, pad_edge=False)
    table.title_justify = table.caption_justify = "left"
    table.add_column("", no_wrap=True)
    table.add_column("to")
    for study, entity in count_units(counts):
        states = partition_states(count for count in counts if (count.study, count.entity) == (study, entity))
        if study in studies and entity in ("videos", "comments"):
            states = _uncollected_days(studies[study], now) | states
        partitions = sorted(states)
        picture = coverage_bar([states[partition] for partition in partitions], BAR_WIDTH)
        table.add_row(study, entity, str(partitions[0]), picture, str(partitions[-1]))
    return table


def _uncollected_days(study: "StudySpec", now: datetime) -> "dict[date, UnitState]":
    """The days of a study as they stand while nothing is known of them."""
    from research_assets.planning.agenda import observation_due_at

    last = min(study.end or now.date(), now.date())
    days = [study.start + timedelta(days=n) for n in range((last - study.start).days + 1)]
    return {day: "too_fresh" if now < observation_due_at(day, study.settle_days) else "not_asked" for day in days}


def _open_units_table(counts: "Sequence[StateCount]") -> "Table":
    """What is paused, suspicious or quarantined, and when it is asked again."""
    from rich.table import Table

    title = "\nWaiting for another try"
    table = Table("study", "entity", "partition", "state", title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("units", justify="right")
    table.add_column("next try (UTC)")
    table.add_column("reason")
    soonest = sorted(counts, key=lambda one: (one.next_try is not None, one.next_try, one.study, one.entity))
    for count in soonest[:MAX_OPEN_ROWS]:
        when = f"{count.next_try.astimezone(UTC):%Y-%m-%d %H:%M}" if count.next_try else "at once"
        reason = (count.reason or "").split(". ")[0][:100]
        table.add_row(count.study, count.entity, str(count.partition), count.state, f"{count.units:,}", when, reason)
    if len(soonest) > MAX_OPEN_ROWS:
        table.caption = f"and {len(soonest) - MAX_OPEN_ROWS:,} more"
        table.caption_justify = "left"
    return table


def _failure_table(failures: "Sequence[tuple[datetime, str, str]]") -> "Table":
    """What failed of late, and was told."""
    from rich.table import Table

    title = f"\nFailed within {FAILURE_WINDOW.days} days"
    table = Table("at (UTC)", "what", "why", title=title, title_justify="left", box=None, pad_edge=False)
    for at, what, why in failures[:MAX_FAILURE_ROWS]:
        table.add_row(f"{at.astimezone(UTC):%Y-%m-%d %H:%M}", what, " ".join(why.split())[:100])
    if len(failures) > MAX_FAILURE_ROWS:
        table.caption = f"and {len(failures) - MAX_FAILURE_ROWS:,} more"
        table.caption_justify = "left"
    return table
