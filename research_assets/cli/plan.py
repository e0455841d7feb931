"""`research-assets plan`: estimate the remaining requests and the completion date, with an optional probe.

Not here: the estimates (see planning/forecast.py) and the collection of probed days (see collect/probe.py).
"""

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
    from research_assets.study.loader import DeclaredStudy
    from research_assets.study.spec import StudySpec

MAX_DETAILED_STUDIES = 5
"""Studies up to which the plan has a line for each entity of a study; of more studies it has one line each."""

MAX_PROBE_REQUESTS = 15
"""Highest number of requests of a probe, per study."""


@click.command("plan")
@click.argument("studies", nargs=-1, metavar="[STUDY]...")
@click.option("--by-partition", is_flag=True, help="Print the estimate of each day or period too.")
@click.option(
    "--probe",
    is_flag=True,
    help=f"Collect up to 3 days of each study without videos. Sends at most {MAX_PROBE_REQUESTS} requests per study.",
)
@click.option("--yes", is_flag=True, help="Send the probe's requests without a confirmation prompt.")
def command(studies: tuple[str, ...], by_partition: bool, probe: bool, yes: bool) -> None:
    """Estimate the remaining requests, the basis of the estimate and the completion date.

    Default: all studies. Sends no request without --probe. Days that a probe collects are stored like all other days.
    """
    from contextlib import nullcontext

    from research_assets.cli.environment import announce_simulation, api_settings, data_settings
    from research_assets.cli.terminal import Terminal
    from research_assets.study.loader import find_studies, overlooked_files

    console = Terminal()
    with api_settings() if probe else nullcontext(data_settings()) as settings:
        if probe:
            announce_simulation(settings)
        declared = find_studies(settings)
        for file in overlooked_files(settings):
            console.print(str(file), markup=False)
        known = [study.spec for study in declared]
        chosen = [study for study in known if not studies or study.name in studies]
        _print_notes(console, [study for study in declared if study.spec in chosen])
        if missing := set(studies) - {study.name for study in known}:
            names = ", ".join(study.name for study in known) or "none"
            raise click.UsageError(f"There is no study {', '.join(sorted(missing))}. Known studies: {names}.")
        if not chosen:
            console.print("There is no study yet. Write one with: research-assets new-study")
            return
        clock = _clock(settings)
        inputs = _inputs(settings, chosen, clock)
        if probe:
            _probe(
                console,
                settings,
                [study for study in inputs.studies if not any(inputs.hits_per_day[study.name].values())],
                yes,
            )
            inputs = _inputs(settings, chosen, clock)
        _show(console, settings, inputs, clock.now(), by_partition)


def _print_notes(console: "Console", studies: "Sequence[DeclaredStudy]") -> None:
    """Print the values of study and panel files that are requested in another spelling, or not at all."""
    from research_assets.study.left_out import describe_left_out

    for note in (note for study in studies for note in study.notes):
        console.print(str(note))
    for study in studies:
        if text := describe_left_out(study.spec):
            console.print(text)


def _clock(settings: "Settings") -> "Clock":
    from research_assets.clock import SystemClock
    from research_assets.quota.server_time import server_clock_or_local

    return server_clock_or_local(settings, SystemClock())


def _inputs(settings: "Settings", studies: "Sequence[StudySpec]", clock: "Clock") -> "AgendaInputs":
    from research_assets.planning.inputs import read_agenda_inputs
    from research_assets.quota.ledger import read_pools

    pools, used = read_pools(settings, clock)
    return read_agenda_inputs(settings, studies, pools, clock.now(), used=used)


def print_plan(console: "Console", settings: "Settings", studies: "Sequence[DeclaredStudy]") -> None:
    """Print the notes on some studies and their estimate, as the command does."""
    _print_notes(console, studies)
    clock = _clock(settings)
    inputs = _inputs(settings, [study.spec for study in studies], clock)
    _show(console, settings, inputs, clock.now(), by_partition=False)


def _show(
    console: "Console", settings: "Settings", inputs: "AgendaInputs", now: "datetime", by_partition: bool
) -> None:
    """Print the table of remaining requests, the completion date of each pool, and what is not counted."""
    from itertools import groupby
    from math import ceil

    from research_assets.planning.messages import describe_day_sample

    for study in inputs.studies:
        if text := describe_day_sample(study, now):
            console.print(f"{study.name}: {text}")

    from rich.table import Table

    from research_assets.cli.status import print_studies_without_videos
    from research_assets.compliance.verification.cost import forecast_verification
    from research_assets.compliance.verification.planning import studies_by_lookup
    from research_assets.planning.forecast import add_recurring, forecast, forecast_canary_checks
    from research_assets.units.coverage import read_days_without_videos
    from research_assets.units.estimates import (
        max_requests_per_period,
        mean_comment_requests_per_day,
        sum_estimates,
    )

    lines = add_recurring(
        forecast(inputs, mean_comment_requests_per_day(settings.raw), now),
        inputs.studies,
        max_requests_per_period(settings.raw),
    )
    names = [study.name for study in inputs.studies]
    lines = sorted([*lines, *forecast_canary_checks(inputs, now)], key=lambda line: names.index(line.study))
    if (verification := forecast_verification(settings, studies_by_lookup(settings), now)) is not None:
        lines.append(verification)
    is_summary = len(inputs.studies) > MAX_DETAILED_STUDIES
    table = Table(title="Remaining requests", title_justify="left", box=None, pad_edge=False)
    # In 80 columns only the study and the heading "recurring per day" may wrap.
    table.add_column("study", overflow="fold")
    if not is_summary:
        table.add_column("entity", no_wrap=True)
        table.add_column("partitions", justify="right", no_wrap=True)
    table.add_column("requests", justify="right", no_wrap=True)
    table.add_column("recurring per day", justify="right")
    table.add_column("basis", no_wrap=True)
    for of_row in (
        ([*of_study] for _, of_study in groupby(lines, key=lambda line: line.study))
        if is_summary
        else ([line] for line in lines)
    ):
        remaining = sum_estimates(line.remaining for line in of_row)
        requests = f"{ceil(remaining.requests):,}" + (" or more" if any(line.unknown for line in of_row) else "")
        per_day = sum(line.recurring_per_day for line in of_row)
        first = of_row[0]
        entity = (first.label, "") if first.label else (first.entity, f"{first.partitions:,}")
        table.add_row(
            first.study,
            *(() if is_summary else entity),
            requests,
            f"{per_day:,.1f}" if per_day else "",
            remaining.basis,
        )
    console.print(table)
    if is_summary:
        console.print("For each entity and for re-observations: research-assets plan STUDY")
    if by_partition:
        _print_partitions(console, lines)
    console.print()
    _print_pools(console, inputs, lines, now)
    if not is_summary:
        _print_reobservations(console, inputs, lines, now)
    not_counted = {line.entity for line in lines if line.is_lower_bound}
    reasons = [
        text
        for entity, text in (
            ("comments", "replies, before the first was requested"),
            ("users", "authors of days not yet collected"),
        )
        if entity in not_counted
    ]
    if reasons:
        console.print(f"`or more` marks a lower bound. Not counted yet:\n  {'; '.join(reasons)}.")
    found_nothing = {name: days for name, days in read_days_without_videos(settings.raw).items() if name in names}
    print_studies_without_videos(console, found_nothing)
    unknown = [name for name in names if not inputs.hits_per_day[name] and name not in found_nothing]
    if is_summary and unknown:
        console.print(
            f"\n{len(unknown):,} of {len(names):,} studies: no data yet, so the number of videos per day is unknown.\n"
            "Their figures are lower bounds. For an estimate run:\n  research-assets plan STUDY --probe"
        )
    for name in () if is_summary else unknown:
        console.print(
            f"\n{name}: no data yet, so the number of videos per day is unknown.\n"
            f"The figures are lower bounds. For an estimate run:\n  research-assets plan {name} --probe"
        )


def _print_reobservations(
    console: "Console", inputs: "AgendaInputs", lines: "Sequence[EntityForecast]", now: "datetime"
) -> None:
    """Print the part of the estimate that re-observations cause, and the studies whose counts stay unconfirmed."""
    from math import ceil

    from research_assets.planning.forecast import days_with_unconfirmed_counts
    from research_assets.planning.messages import pluralize

    for study in inputs.studies:
        parts = [
            f"{ceil(line.after_reobservation.requests):,} for "
            f"{'searches' if line.entity == 'videos' else 'comments that newer counts show'}"
            f" ({line.after_reobservation.basis})"
            for line in lines
            if line.study == study.name and line.after_reobservation.requests
        ]
        if parts:
            ages = ", ".join(map(str, study.reobserve_days))
            console.print(f"{study.name}: re-observation at an age of {ages} days is included:\n  {'; '.join(parts)}.")
        if days := days_with_unconfirmed_counts(inputs, study, now):
            console.print(
                f"{study.name}: comment counts of 0 on {pluralize(len(days), 'day')} cannot be confirmed, because "
                f"reobserve_days\n  has no age of {study.count_confirmation_age} days or more. "
                "These videos stay too_fresh."
            )


def _print_pools(
    console: "Console", inputs: "AgendaInputs", lines: "Sequence[EntityForecast]", now: "datetime"
) -> None:
    """Print the requests, the days of quota and the completion date of each pool."""
    from research_assets.planning.forecast import forecast_pool
    from research_assets.planning.messages import pluralize
    from research_assets.tiktok.endpoints import BY_ENTITY

    for pool in inputs.pools.values():
        result = forecast_pool(lines, pool, now)
        head = f"Pool {pool.pool!r}: {pluralize(result.requests, 'request')}"
        if result.days is None or result.finish_day is None:
            console.print(
                f"{head}. There is no completion date,\n"
                f"  because recurring requests use the whole cap of {pool.cap:,} per day."
            )
        else:
            unknown = any(line.unknown for line in lines if BY_ENTITY[line.entity].pool == pool.pool)
            console.print(
                f"{head}, {pluralize(result.days, 'day')} of quota at {pool.cap:,} per day.\n"
                f"  Remaining today: {pool.remaining:,}. Estimated completion: {result.finish_day}"
                f"{' at the earliest' if unknown else ''}."
            )
    console.print("Completion dates assume that no other requests are sent.")


def _print_partitions(console: "Console", lines: "Sequence[EntityForecast]") -> None:
    from rich.table import Table

    table = Table(
        "study", "entity", "partition", title="\nBy partition", title_justify="left", box=None, pad_edge=False
    )
    table.add_column("requests", justify="right")
    table.add_column("basis")
    for line in lines:
        for partition, estimate in line.by_partition.items():
            table.add_row(line.study, line.entity, str(partition), f"{estimate.requests:,.1f}", estimate.basis)
    console.print(table)


def _probe(console: "Console", settings: "Settings", studies: "Sequence[StudySpec]", yes: bool) -> None:
    """Print the cost, prompt for confirmation unless `yes` is set, and probe each study."""
    import asyncio

    from research_assets.collect.probe import probe, probe_days
    from research_assets.collect.types import Paused
    from research_assets.planning.messages import pluralize
    from research_assets.quota.ledger import read_pools
    from research_assets.resources import CollectorResource

    collector = CollectorResource(settings)
    clock = collector.server_clock()
    days_by_study = {study.name: days for study in studies if (days := probe_days(study, clock.now()))}
    if not days_by_study:
        console.print("No probe is needed: each study has videos, or none of its days has settled yet.\n")
        return
    pools, _ = read_pools(settings, clock)
    n_days = sum(len(days) for days in days_by_study.values())
    console.print(
        f"The probe collects {n_days} single days of {', '.join(days_by_study)} and stores them.\n"
        f"Cost: at least {n_days} requests, plus one for each further 100 videos of a day, "
        f"at most {MAX_PROBE_REQUESTS * len(days_by_study)}.\n"
        f"Remaining today: {pools['research'].remaining:,} of {pools['research'].cap:,}."
    )
    if not yes:
        click.confirm("Send these requests?", abort=True)

    async def probe_study(study: "StudySpec") -> None:
        hits, requests, n_days = 0, 0.0, 0
        async with collector.open() as context:
            async for result in probe(study, days_by_study[study.name], MAX_PROBE_REQUESTS, context):
                if isinstance(result, Paused):
                    days = ", ".join(map(str, result.remaining))
                    console.print(
                        f"{study.name} {days}: paused at the limit of {MAX_PROBE_REQUESTS} requests; "
                        "collection resumes there."
                    )
                else:
                    hits, requests, n_days = hits + result.offered, requests + result.requests, n_days + 1
                    console.print(f"{study.name} {result.partition}: {result.offered:,} videos, {result.state}")
        if n_days:
            found = pluralize(hits, "video") if hits else "no video was found for this query"
            console.print(
                f"{study.name}, {pluralize(n_days, 'day')}: {found}; {pluralize(round(requests), 'request')}."
            )

    for study in studies:
        if study.name in days_by_study:
            asyncio.run(probe_study(study))
    console.print()
