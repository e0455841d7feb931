"""`research-assets plan`: what the studies will still cost, before it is spent; a first look where nothing is known."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from rich.console import Console

    from research_assets.clock import Clock
    from research_assets.planning.forecast import EntityForecast
    from research_assets.planning.types import AgendaInputs
    from research_assets.settings import Settings
    from research_assets.study.spec import StudySpec

MAX_PROBE_REQUESTS = 15
"""Requests of a probe at most, for each study."""


@click.command("plan")
@click.argument("studies", nargs=-1, metavar="[STUDY]...")
@click.option("--by-partition", is_flag=True, help="Say it for each day or period too.")
@click.option(
    "--probe", is_flag=True, help="Ask a few days of studies of which nothing is known; says its price first."
)
@click.option("--yes", is_flag=True, help="Do not ask back before a probe.")
def command(studies: tuple[str, ...], by_partition: bool, probe: bool, yes: bool) -> None:
    """Say how many requests are still needed, on what that is founded, and when all will be done.

    Reads what is held and asks nothing; only --probe sends requests, after its price was agreed to. What it brings is
    kept, like all that is collected.
    """
    from contextlib import nullcontext

    from rich.console import Console

    from research_assets.cli.environment import api_settings, data_settings
    from research_assets.study.loader import load_studies

    console = Console(highlight=False, soft_wrap=True)
    with api_settings() if probe else nullcontext(data_settings()) as settings:
        known = load_studies(settings)
        chosen = [study for study in known if not studies or study.name in studies]
        if missing := set(studies) - {study.name for study in known}:
            names = ", ".join(study.name for study in known) or "none"
            raise click.UsageError(f"There is no study {', '.join(sorted(missing))}; there are: {names}.")
        if not chosen:
            console.print("There is no study yet. Write one; the README says how.")
            return
        clock = _clock(settings)
        inputs = _inputs(settings, chosen, clock)
        if probe:
            _probe(console, settings, [study for study in chosen if not inputs.hits_per_day[study.name]], yes)
            inputs = _inputs(settings, chosen, clock)
        _show(console, settings, inputs, clock.now(), by_partition)


def _clock(settings: "Settings") -> "Clock":
    from research_assets.clock import SystemClock
    from research_assets.quota.server_time import server_clock_or_local

    return server_clock_or_local(settings, SystemClock())


def _inputs(settings: "Settings", studies: "Sequence[StudySpec]", clock: "Clock") -> "AgendaInputs":
    from research_assets.planning.inputs import read_agenda_inputs
    from research_assets.quota.ledger import read_pools

    pools, used = read_pools(settings, clock)
    return read_agenda_inputs(settings, studies, pools, clock.now(), used=used)


def print_plan(console: "Console", settings: "Settings", studies: "Sequence[StudySpec]") -> None:
    """Say what some studies still need, as the command does."""
    clock = _clock(settings)
    _show(console, settings, _inputs(settings, studies, clock), clock.now(), days=False)


def _show(console: "Console", settings: "Settings", inputs: "AgendaInputs", now: "datetime", days: bool) -> None:
    """The table of what is left, and when it will be done."""
    from math import ceil

    from rich.table import Table

    from research_assets.planning.forecast import add_recurring, forecast, forecast_canary_checks, forecast_pool
    from research_assets.planning.messages import pluralize
    from research_assets.tiktok.endpoints import BY_ENTITY
    from research_assets.units.estimates import max_requests_per_period, mean_comment_requests_per_day

    lines = add_recurring(
        forecast(inputs, mean_comment_requests_per_day(settings.raw), now),
        inputs.studies,
        max_requests_per_period(settings.raw),
    )
    names = [study.name for study in inputs.studies]
    lines = sorted([*lines, *forecast_canary_checks(inputs, now)], key=lambda line: names.index(line.study))
    table = Table("study", "entity", title="Still needed", title_justify="left", box=None, pad_edge=False)
    for heading in ("partitions", "requests", "each day more"):
        table.add_column(heading, justify="right")
    table.add_column("estimate basis")
    for line in lines:
        requests = f"{ceil(line.remaining.requests):,}" + (" or more" if line.unknown else "")
        daily = f"{line.recurring_per_day:,.1f}" if line.recurring_per_day else ""
        what = ("known videos", "") if line.is_canary else (line.entity, f"{line.partitions:,}")
        table.add_row(line.study, *what, requests, daily, line.remaining.basis)
    console.print(table)
    if days:
        _print_partitions(console, lines)
    console.print()
    for pool in inputs.pools.values():
        end = forecast_pool(lines, pool, now)
        head = f"Pool {pool.pool!r}: {pluralize(end.requests, 'request')}"
        if end.days is None or end.finish_day is None:
            console.print(f"{head}; what recurs each day takes all of the {pool.cap:,} a day, so it is never done.")
        else:
            guess = any(line.unknown for line in lines if BY_ENTITY[line.entity].pool == pool.pool)
            console.print(
                f"{head}, {pluralize(end.days, 'day')} of quota at {pool.cap:,} a day; {pool.remaining:,} are left today. "
                f"Done on {end.finish_day}{' at the earliest' if guess else ''}, if nothing else is asked."
            )
    not_counted = {line.entity for line in lines if line.is_lower_bound}
    reasons = [
        text
        for entity, text in (("comments", "replies, before any was asked"), ("users", "authors of days to come"))
        if entity in not_counted
    ]
    if reasons:
        console.print(f"Not counted yet, and on top where it says `or more`: {'; '.join(reasons)}.")
    unknown = [study for study in inputs.studies if not inputs.hits_per_day[study.name]]
    for study in unknown:
        console.print(
            f"\n{study.name}: nothing is held, so nobody knows how many videos a day has. The numbers are the least "
            f"that it can cost. To find out: research-assets plan {study.name} --probe"
        )


def _print_partitions(console: "Console", lines: "Sequence[EntityForecast]") -> None:
    from rich.table import Table

    table = Table(
        "study", "entity", "partition", title="\nEach by itself", title_justify="left", box=None, pad_edge=False
    )
    table.add_column("requests", justify="right")
    table.add_column("estimate basis")
    for line in lines:
        for partition, estimate in line.by_partition.items():
            table.add_row(line.study, line.entity, str(partition), f"{estimate.requests:,.1f}", estimate.basis)
    console.print(table)


def _probe(console: "Console", settings: "Settings", studies: "Sequence[StudySpec]", yes: bool) -> None:
    """Say the price, ask, and look at each study."""
    import asyncio

    from research_assets.collect.probe import probe, probe_days
    from research_assets.collect.types import Paused
    from research_assets.quota.ledger import read_pools
    from research_assets.resources import CollectorResource

    collector = CollectorResource(settings)
    clock = collector.server_clock()
    asked = {study.name: days for study in studies if (days := probe_days(study, clock.now()))}
    if not asked:
        console.print("No probe is needed: something is held of each study, or no day of it has settled yet.\n")
        return
    pools, _ = read_pools(settings, clock)
    number = sum(len(days) for days in asked.values())
    console.print(
        f"The probe asks {number} single days of {', '.join(asked)}. Price: {number} requests at least, one more for "
        f"each further 100 videos of a day, {MAX_PROBE_REQUESTS * len(asked)} at most. {pools['research'].remaining:,} of "
        f"{pools['research'].cap:,} are left today. What it brings is kept."
    )
    if not yes:
        click.confirm("Send these requests?", abort=True)

    async def look(study: "StudySpec") -> None:
        async with collector.open() as context:
            async for result in probe(study, asked[study.name], MAX_PROBE_REQUESTS, context):
                if isinstance(result, Paused):
                    days = ", ".join(map(str, result.remaining))
                    console.print(f"{study.name} {days}: more than was agreed to; it goes on when it is collected.")
                else:
                    console.print(f"{study.name} {result.partition}: {result.offered:,} videos, {result.state}")

    for study in studies:
        if study.name in asked:
            asyncio.run(look(study))
    console.print()
