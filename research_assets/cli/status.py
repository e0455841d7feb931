"""`research-assets status`: the quota that is left and what is held, from files alone; nothing is asked or written."""

from collections import Counter
from datetime import UTC
from typing import TYPE_CHECKING, get_args

import click

from research_assets.settings import Settings

if TYPE_CHECKING:
    from rich.table import Table

    from research_assets.quota import PoolState

Held = dict[tuple[str, str], Counter[str]]
"""By study and entity: the units in each state, and under `rows` the rows that they brought."""


@click.command("status")
@click.option("--api", is_flag=True, help="Check the API instead: address, credentials, token. Spends no quota.")
def command(api: bool) -> None:
    """Say what is left of the day's quota and what is held of each study.

    Counts units by their state: a day of a search, the comments of a video, a profile, a list of an account. With
    --api it checks the address and the credentials, at the cost of one token and no data request.
    """
    if api:
        from research_assets.cli.api import check

        check()
        return
    from rich.console import Console

    from research_assets.cli.place import data_here

    settings = data_here()
    console = Console(highlight=False, soft_wrap=True)
    source = "simulated" if settings.origin == "sandbox" else f"from {settings.origin}"
    console.print(f"Data in {settings.root}, {source}.\n")
    console.print(_pool_table(pools(settings)))
    found = held(settings)
    if found:
        console.print(_held_table(found))
    else:
        console.print("\nNothing was collected yet. Next: make ui, then materialize an asset.")


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


def held(settings: Settings) -> Held:
    """What is held of each entity by study; empty where nothing was collected."""
    from research_assets.collect.coverage import read_held
    from research_assets.fields import ENTITIES

    found: dict[tuple[str, str], Counter[str]] = {}
    for entity in ENTITIES:
        for unit in read_held(settings.raw, entity):
            count = found.setdefault((unit.study, entity), Counter())
            count[unit.verdict.state] += 1
            count["rows"] += unit.verdict.kept or 0
    return dict(sorted(found.items(), key=lambda item: item[0][0]))


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
