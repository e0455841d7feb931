"""`research-assets population`: estimate how many videos match the query of a study on a day, from random draws."""

import math
from datetime import date
from typing import TYPE_CHECKING

import click

from research_assets.cli.day import read_day

if TYPE_CHECKING:
    from rich.console import Console

    from research_assets.clock import Clock
    from research_assets.collect.population import DrawResult, Population
    from research_assets.settings import Settings
    from research_assets.study.spec import StudySpec

MAX_DRAWS = 500
"""Draws of one run at most, half of a day's quota."""

ASSUMED_VIDEOS = 2000
"""Videos of a day that are assumed to plan the draws if no day of the study is collected."""


@click.command("population")
@click.argument("study")
@click.argument("day", callback=read_day)
@click.option(
    "--precision",
    type=click.FloatRange(0.01, 1),
    default=0.1,
    show_default=True,
    help="Half width of the 95 % interval, as a share of the estimate. Plans the number of draws.",
)
@click.option("--expected", type=click.IntRange(1), metavar="N", help="Videos that the day is believed to have.")
@click.option(
    "--draws", type=click.IntRange(2, MAX_DRAWS), metavar="R", help="Send R draws. Default: planned from --precision."
)
@click.option("--dry-run", is_flag=True, help="Print the number of draws and their cost. Send no request.")
@click.option("--yes", is_flag=True, help="Send the requests without a confirmation prompt.")
def command(
    study: str,
    day: date,
    precision: float,
    expected: int | None,
    draws: int | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Estimate how many videos match the query of STUDY on DAY (UTC), from random draws.

    Sends one request per draw of at most 100 random videos. The estimate follows from the videos that pairs of draws
    share. It is a lower bound if the API draws some videos more often than others. The received pages are kept in
    population/ in the data folder, and the mart `population` has each estimate after the next build. Run the command
    again to resume draws that the end of the quota interrupted.
    """
    from research_assets.cli.environment import announce_simulation, api_settings
    from research_assets.cli.terminal import Terminal, print_warning
    from research_assets.clock import SystemClock
    from research_assets.collect.population import POOL, open_draws
    from research_assets.planning.messages import pluralize
    from research_assets.quota.ledger import read_pools
    from research_assets.quota.server_time import server_clock_or_local

    # A range of click accepts NaN.
    if math.isnan(precision):
        raise click.BadParameter("nan is no number. No request was sent.", param_hint="--precision")
    console = Terminal()
    with api_settings() as settings:
        announce_simulation(settings)
        clock = server_clock_or_local(settings, SystemClock())
        spec = _study(settings, study, day, clock)
        assumed, basis = _assumed_videos(settings, spec, day, expected, clock)
        n_draws = draws or _plan(assumed, precision)
        console.print(f"{spec.name} {day}: {pluralize(n_draws, 'random draw')}. {basis}")
        n_open = open_draws(settings, spec, day, n_draws)
        if n_open:
            console.print(f"Resumes an unfinished run with {pluralize(n_open, 'draw')}.")
        pools, _ = read_pools(settings, clock)
        pool, cost = pools[POOL], n_draws - (n_open or 0)
        console.print(
            f"Cost: at least {pluralize(cost, 'request')}; {pool.remaining:,} of {pool.cap:,} remaining today (UTC)."
        )
        if dry_run:
            console.print("No request was sent.")
            return
        if cost > pool.remaining:
            console.print("The rest needs quota of a later day: run the same command again then.")
        if not yes:
            click.confirm("Send these requests?", abort=True)
        result = _draw(settings, spec, day, n_draws)
        if result.population is None:
            print_warning(console, "Paused:", f"{pluralize(result.n_draws, 'draw')} of {n_draws:,} are stored.")
            if result.stop:
                console.print(f"{result.stop.reason} Next: {result.stop.retry_at:%Y-%m-%d %H:%M} UTC.")
            console.print("Run the same command again then; it sends only the remaining draws.")
            return
        _print_estimate(console, result.population)


def _study(settings: "Settings", name: str, day: date, clock: "Clock") -> "StudySpec":
    from research_assets.study.loader import load_studies

    specs = {one.name: one for one in load_studies(settings)}
    if name not in specs:
        raise click.UsageError(f"There is no study {name}. Known studies: {', '.join(specs) or 'none'}.")
    spec = specs[name]
    if spec.is_too_fresh(day, clock.now()):
        raise click.UsageError(
            f"{day} settles at {spec.settles_at(day):%Y-%m-%d %H:%M} UTC; until then its videos change. No request was "
            "sent. Choose an earlier day."
        )
    return spec


def _assumed_videos(
    settings: "Settings", study: "StudySpec", day: date, expected: int | None, clock: "Clock"
) -> tuple[float, str]:
    """Return the number of videos for which the draws are planned, and where it comes from."""
    from research_assets.planning.inputs import read_day_status
    from research_assets.storage.raw_reader import RawTables
    from research_assets.units.windows import estimate_hits_per_day

    if expected is not None:
        return float(expected), f"Planned for {expected:,} videos, as stated."
    with RawTables(settings.raw) as raw:
        _, hits = read_day_status(raw, study, clock.now())
    if any(hits.values()):
        assumed = max(1.0, estimate_hits_per_day(hits, [day])[day])
        return assumed, f"Planned for about {assumed:,.0f} videos, from the collected days."
    return ASSUMED_VIDEOS, (
        f"Planned for {ASSUMED_VIDEOS:,} videos, because no day of the study is collected. State the number that you "
        "expect with --expected."
    )


def _plan(assumed: float, precision: float) -> int:
    from research_assets.estimates.population import draws_for_precision

    n_draws = draws_for_precision(assumed, precision)
    if n_draws > MAX_DRAWS:
        raise click.UsageError(
            f"A precision of {precision:g} needs about {n_draws:,} draws for {assumed:,.0f} videos; at most "
            f"{MAX_DRAWS} are sent. No request was sent. Choose a larger --precision, or --draws."
        )
    return n_draws


def _draw(settings: "Settings", study: "StudySpec", day: date, n_draws: int) -> "DrawResult":
    import asyncio

    from research_assets.collect.population import DrawResult, draw_population
    from research_assets.resources import CollectorResource

    async def draw() -> DrawResult:
        async with CollectorResource(settings).open() as context:
            return await draw_population(study, day, n_draws, context)

    return asyncio.run(draw())


def _print_estimate(console: "Console", population: "Population") -> None:
    """Print the estimate, what it means, and the tests of uniformity."""
    from research_assets.planning.messages import pluralize

    found = population.estimate
    console.print(
        f"Drawn: {found.n_drawn:,} videos in {pluralize(found.n_draws, 'draw')}, {found.n_distinct:,} of them "
        f"distinct; pairs of draws share {found.n_shared:,}. Requests: {population.n_requests:,}."
    )
    if not found.n_drawn:
        console.print("No draw returned a video, so the API returns none for the query on this day.")
        return
    if found.estimate is None or found.high is None:
        console.print(
            f"No two draws share a video, so the number is not known; it is at least {found.low:,.0f} (95 %). Send "
            "more draws."
        )
        return
    console.print(
        f"Estimate: at least {found.estimate:,.0f} videos (95 % limits {found.low:,.0f} to {found.high:,.0f}, exact "
        "for the number of shared videos)."
    )
    console.print(
        "It counts videos that the API returns. It is a lower bound: if the API draws some videos more often than "
        "others, with coefficient of variation CV, it is about N/(1 + CV²)."
    )
    names = (("hour", population.p_hour), ("region", population.p_region), ("length", population.p_length))
    tests = [f"{name}: {'not tested (too few)' if p is None else f'p = {p:.3f}'}" for name, p in names]
    console.print(f"Tests of equal probability by hour of upload, region and length: {'; '.join(tests)}.")
    if any(p is not None and p < 0.01 for _, p in names):
        console.print(
            "A small p suggests that the API does not draw all videos equally often, so the true number is probably "
            "higher."
        )
